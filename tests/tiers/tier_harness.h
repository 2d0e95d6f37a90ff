/* tests/tiers/tier_harness.h: a worker without sessions around one tier, what is asked of the tier,
 * and what is expected: what the tests of Redis and of PostgreSQL share. Programs write TAP. */
#ifndef PN_TESTS_TIER_HARNESS_H
#define PN_TESTS_TIER_HARNESS_H

#include <stdio.h>

#include "io/loop.h"
#include "request/env.h"
#include "request/tier.h"

enum { MS = 1000, SECOND = 1000000 };

struct bench { /* one test's world */
        struct loop *loop;
        struct options options;
        struct metrics metrics;
        struct env env;
        struct tier *tier;
        uint64_t within_us;      /* ask_now(): its deadline, from then */
        bool extra;              /* ask_start() adds tier_extra_us() for what is written */
        bool pooled;             /* PostgreSQL: through PgBouncer */
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
        bool direct_only; /* PostgreSQL: not through PgBouncer */
};
/* `way`: the loop, and whatever else there is to tell two runs of a case apart. */
void case_begin(const char *name, const char *way);
void case_end(void);
void case_skip(const char *name, const char *why);
/* All of them (the last is zero) in this world. `only` (may be NULL): names that begin so. */
void cases_each(const struct test_case *cases, const char *only, struct bench *b, const char *way);
/* The exit status. */
int cases_end(void);
/* False, and a skipped case: this kernel does not have it. */
bool loop_works(enum io_choice io);

/* ---- the world ---- */

/* All but the tier and how it is asked. One world at a time. */
void bench_init(struct bench *b, enum io_choice io);
/* The tier was destroyed before. */
void bench_deinit(struct bench *b);
void bench_set(struct bench *b, enum option_id id, const char *text);
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

/* `len` bytes that the seed decides, sealed; it never expires. */
void entry_make(struct bench *b, struct entry *e, const char *key, size_t len, unsigned seed,
                uint8_t flags);
/* ... it expires at hard_us. */
void entry_make_until(struct bench *b, struct entry *e, const char *key, size_t len, unsigned seed,
                      uint8_t flags, uint64_t hard_us);
/* A WRITE_NEW of it with everything at its plainest. */
void write_new(struct bench *b, struct ask *a, const char *key, const struct entry *e);
/* A write that brings its version. */
void write_given(struct bench *b, struct ask *a, const char *key, const struct entry *e,
                 enum write_kind kind, uint64_t version);
/* ... of WRITE_STAMPED. */
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
