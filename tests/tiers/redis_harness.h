/* tests/tiers/redis_harness.h: tier_harness.h with the Redis tier, and a Redis of its own that can
 * be frozen, killed and started again. */
#ifndef PN_TESTS_REDIS_HARNESS_H
#define PN_TESTS_REDIS_HARNESS_H

#include "io/redis_tier.h"
#include "tier_harness.h"

struct redisReply;

/* cases_each() on each loop, with a Redis and a tier that is up. Returns the exit status. */
int cases_run(const struct test_case *cases, const char *only);

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

/* ---- a path that can go dead without a word ---- */

unsigned proxy_start(void); /* in front of the server's TCP port: its own port */
void proxy_deaden(void);    /* what is connected gets no byte through any more; new ones do */
void proxy_stop(void);

#endif
