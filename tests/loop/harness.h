/* tests/loop/harness.h: what the loop's cases share. */
#ifndef PN_TESTS_LOOP_HARNESS_H
#define PN_TESTS_LOOP_HARNESS_H

#include "base/buf.h"
#include "base/prng.h"
#include "check.h"
#include "io/loop.h"

/* A stream that keeps what it is told. `echo` sends everything back. */
struct end {
        struct stream stream;
        struct chain out;
        struct buf in;
        bool echo, keep, ended, closed, connected, close_on_input, pause_on_input;
        int error;
        unsigned inputs, sents;
        struct list link; /* the test's */
};

extern struct metrics test_metrics;
extern struct loop_config test_config; /* choice and metrics; a test may add to it */

struct loop *test_loop(void);
struct end *end_new(void);
/* After `closed`. */
void end_free(struct end *e);
void end_open(struct loop *loop, struct end *e, int fd);
/* Closes and runs the loop until that is told; frees. */
void end_close(struct loop *loop, struct end *e);
void test_pair(int pair[2]);
/* Turns until cond holds; at most `turns`. */
#define run_until(loop, turns, cond)                                     \
        do {                                                             \
                for (int turn_ = 0; !(cond) && turn_ < (turns); turn_++) \
                        loop_wait((loop), 100000);                       \
                check(cond);                                             \
        } while (0)
/* A few turns in which nothing is expected. */
void run_idle(struct loop *loop);
void write_all(int fd, const void *at, size_t len);

struct test_case {
        const char *name;
        void (*run)(void);
};
extern const struct test_case stream_cases[], watch_cases[], thread_cases[];

#endif
