/* tests/tiers/redis_harness.h: a worker without sessions around the Redis tier, and a Redis of its
 * own that can be frozen, killed and started again. Programs write TAP. */
#ifndef PN_TESTS_REDIS_HARNESS_H
#define PN_TESTS_REDIS_HARNESS_H

#include <stdio.h>

#include "io/redis_tier.h"

enum { MS = 1000, SECOND = 1000000 };

struct redisReply;

struct bench { /* one test's world */
        struct loop *loop;
        struct options options;
        struct metrics metrics;
        struct env env;
        struct tier *tier;
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
void case_begin(const char *name);
void case_end(const char *loop);
int cases_end(void);

struct bench;
struct test_case {
        const char *name;
        void (*run)(struct bench *b);
};
/* All of them (the last is zero) on each loop, with a Redis and a tier that is up. */
void cases_run(const struct test_case *cases);
/* False, and a skipped case: this kernel does not have it. */
bool loop_works(enum io_choice io);

/* ---- Redis ---- */

struct server {
        int pid;
        char dir[128], socket[160];
        unsigned port;
};
extern struct server server;

void server_setup(void); /* the environment: REDIS_DIR, REDIS_SERVER */
/* `more`: NULL-terminated options of redis-server, or NULL. */
void server_start(const char *const *more);
void server_stop(void); /* kill -9 */
void server_freeze(void);
void server_continue(void);
/* Asks it directly. The answer is freed by the next call. */
struct redisReply *ask_redis(const char *format, ...);
struct redisReply *ask_redis_raw(int count, const char **at, const size_t *len);
long long redis_number(const char *format, ...);

/* ---- the world ---- */

/* url NULL: the server's Unix socket. */
void bench_open(struct bench *b, enum io_choice io, const char *url, const char *prefix);
void bench_close(struct bench *b);
struct tier *bench_tier(struct bench *b, const char *url, const char *prefix);
void bench_turn(struct bench *b, uint64_t longest_us);
void bench_run(struct bench *b, uint64_t us);
/* Turns until *what, at most us; false: it did not come. */
bool bench_until(struct bench *b, const bool *what, uint64_t us);
bool bench_up(struct bench *b, struct tier *tier, bool up, uint64_t us);

struct key key_text(const char *text);
/* Starts; the deadline is from now. */
void ask_start(struct bench *b, struct tier *tier, struct ask *a, uint64_t deadline_us);
/* ... and waits for the answer. */
enum tier_result ask_wait(struct bench *b, struct ask *a);
enum tier_result ask_now(struct bench *b, struct ask *a);

/* ---- entries ---- */

/* `len` bytes that the seed decides, sealed. hard_us 0: never. */
void entry_make(struct bench *b, struct entry *e, const char *key, size_t len, unsigned seed,
                uint8_t flags, uint64_t hard_us);
/* A WRITE_NEW of it with everything at its plainest. */
void write_new(struct bench *b, struct ask *a, const char *key, const struct entry *e);
void write_stamped(struct bench *b, struct ask *a, const char *key, const struct entry *e,
                   enum write_kind kind, uint64_t version);
void get_key(struct bench *b, struct ask *a, const char *key);
/* What a GET found is whole, of this key, and has this payload; releases it. */
bool
found_is(struct bench *b, struct ask *a, const char *key, const struct entry *e, uint64_t version);

/* ---- a path that can go dead without a word ---- */

unsigned proxy_start(void); /* in front of the server's TCP port: its own port */
void proxy_deaden(void);    /* what is connected gets no byte through any more; new ones do */
void proxy_stop(void);

#endif
