/* tests/tiers/postgres_harness.h: a worker without sessions around the PostgreSQL tier, and a
 * PostgreSQL of its own, with PgBouncer in front of it, that can be frozen, killed and started
 * again. Programs write TAP. */
#ifndef PN_TESTS_POSTGRES_HARNESS_H
#define PN_TESTS_POSTGRES_HARNESS_H

#include <stdio.h>

#include "io/postgres_inner.h"

enum { MS = 1000, SECOND = 1000000 };

struct bench { /* one test's world */
        struct loop *loop;
        struct options options;
        struct metrics metrics;
        struct env env;
        struct tier *tier;
        bool pooled;             /* through PgBouncer */
        unsigned synced, kicked; /* floors_sync(), queues_kick() */
};

struct ask { /* one call and who waits for it */
        struct task task;
        struct tier_call call;
        bool done;
        uint64_t took_us, started_us;
};

/* ---- TAP ---- */

/* Notes a failure of the running case and goes on. */
#define check(x)       check_that((x), #x, __FILE__, __LINE__)
#define check_is(a, b) check_equal((uint64_t)(a), (uint64_t)(b), #a " is " #b, __FILE__, __LINE__)
bool check_that(bool fine, const char *what, const char *file, int line);
bool check_equal(uint64_t a, uint64_t b, const char *what, const char *file, int line);

struct test_case {
        const char *name;
        void (*run)(struct bench *b);
        bool direct_only;
};
/* All of them (the last is zero) on each loop, with a PostgreSQL and a tier that is up, and once
 * more through PgBouncer where there is one. `only` (may be NULL): names that begin so. Returns
 * the exit status. */
int cases_run(const struct test_case *cases, const char *only);

/* ---- PostgreSQL ---- */

struct server {
        int pid, bouncer_pid;
        char dir[128];
        unsigned port, bouncer_port;
};
extern struct server server;

void server_setup(void); /* the environment that with_postgres.py makes */
void server_start(void);
void server_stop(void); /* kill -9 */
/* Every process of it. */
void server_freeze(void);
void server_continue(void);
bool bouncer_start(void); /* false: there is none here */
void bouncer_stop(void);
/* Asks it directly: the first field of the first row as text ("" where there is none), until the
 * next call. */
const char *sql(const char *format, ...) printf_like(1, 2);
long long sql_number(const char *format, ...) printf_like(1, 2);

/* ---- the world ---- */

/* `more`: appended to the connection string, or NULL. The schema is the options'. */
struct tier *bench_tier(struct bench *b, const char *more);
/* With that connection string. */
struct tier *bench_tier_url(struct bench *b, const char *url);
void bench_open(struct bench *b, enum io_choice io, bool pooled);
void bench_close(struct bench *b);
void bench_set(struct bench *b, enum option_id id, const char *text);
void bench_turn(struct bench *b, uint64_t longest_us);
void bench_run(struct bench *b, uint64_t us);
/* Turns until *what, at most us; false: it did not come. */
bool bench_until(struct bench *b, const bool *what, uint64_t us);
bool bench_up(struct bench *b, struct tier *tier, bool up, uint64_t us);
const char *tier_trouble(struct tier *tier);

struct key key_text(const char *text);
/* Starts; the deadline is from now. */
void ask_start(struct bench *b, struct tier *tier, struct ask *a, uint64_t deadline_us);
/* ... and waits for the answer. */
enum tier_result ask_wait(struct bench *b, struct ask *a);
enum tier_result ask_now(struct bench *b, struct ask *a);

/* Where no question to the tier tells enough. */
static inline struct postgres *
inside(struct tier *tier)
{
        return container_of(tier, struct postgres, tier);
}

/* ---- entries ---- */

/* `len` bytes that the seed decides, sealed. */
void entry_make(struct bench *b, struct entry *e, const char *key, size_t len, unsigned seed,
                uint8_t flags);
/* A WRITE_NEW of it with everything at its plainest. */
void write_new(struct bench *b, struct ask *a, const char *key, const struct entry *e);
void write_stamped(struct bench *b, struct ask *a, const char *key, const struct entry *e,
                   uint64_t version);
void get_key(struct bench *b, struct ask *a, const char *key);
/* What a GET found is whole, of this key, and has this payload; releases it. */
bool
found_is(struct bench *b, struct ask *a, const char *key, const struct entry *e, uint64_t version);
/* A GET of the key, at once. */
bool stands(struct bench *b, const char *key, const struct entry *e, uint64_t version);
bool absent(struct bench *b, const char *key);
/* Writes and checks that it was stored; the version given. */
uint64_t store(struct bench *b, const char *key, const struct entry *e);

#endif
