/* tests/tiers/postgres_harness.h: tier_harness.h with the PostgreSQL tier, and a PostgreSQL of its
 * own, with PgBouncer in front of it, that can be frozen, killed and started again. */
#ifndef PN_TESTS_POSTGRES_HARNESS_H
#define PN_TESTS_POSTGRES_HARNESS_H

#include "io/postgres_inner.h"
#include "tier_harness.h"

/* cases_each() on each loop, with a PostgreSQL and a tier that is up, and once more through
 * PgBouncer where there is one. Returns the exit status. */
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
const char *tier_trouble(struct tier *tier);

/* Where no question to the tier tells enough. */
static inline struct postgres *
inside(struct tier *tier)
{
        return container_of(tier, struct postgres, tier);
}

#endif
