/* postgres_harness: see postgres_harness.h. Owns the tier of one test's world at a time. */
#include "postgres_harness.h"

/* ---- the world ---- */

struct tier *
bench_tier_url(struct bench *b, const char *url)
{
        char why[256];
        struct tier *tier;

        bench_set(b, O_l3_url, url);
        tier = postgres_tier_create(&b->env, b->loop, why);
        if (tier == NULL)
                fprintf(stderr, "l3: %s\n", why);
        must(tier != NULL);
        return tier;
}

struct tier *
bench_tier(struct bench *b, const char *more)
{
        char url[512];

        snprintf(url, sizeof url, "host=%s port=%u user=pannier dbname=postgres %s", server.dir,
                 b->pooled ? server.bouncer_port : server.port, more != NULL ? more : "");
        return bench_tier_url(b, url);
}

void
bench_open(struct bench *b, enum io_choice io, bool pooled)
{
        bench_init(b, io);
        b->within_us = 10 * SECOND;
        b->extra = true;
        b->pooled = pooled;
        b->tier = bench_tier(b, NULL);
}

void
bench_close(struct bench *b)
{
        postgres_tier_destroy(b->tier);
        bench_deinit(b);
}

const char *
tier_trouble(struct tier *tier)
{
        struct tier_state s;

        tier->ops->describe(tier, &s);
        return s.trouble;
}

/* ---- all cases, on all ways ---- */

static void
way_run(const struct test_case *cases, const char *only, enum io_choice io, bool pooled,
        const char *name)
{
        struct bench b;

        server_start();
        if (pooled && !bouncer_start()) {
                case_skip("pooled", "no pgbouncer");
                server_stop();
                return;
        }
        sql("DROP SCHEMA IF EXISTS pannier CASCADE");
        bench_open(&b, io, pooled);
        if (!bench_up(&b, b.tier, true, 20 * SECOND)) {
                fprintf(stderr, "# it does not come up: %s\n", tier_trouble(b.tier));
                must(!"up");
        }
        must(inside(b.tier)->small.pooled == pooled);
        cases_each(cases, only, &b, name);
        bench_close(&b);
        bouncer_stop();
        server_stop();
}

int
cases_run(const struct test_case *cases, const char *only)
{
        server_setup();
        if (loop_works(IO_URING))
                way_run(cases, only, IO_URING, false, "uring");
        way_run(cases, only, IO_EPOLL, false, "epoll");
        way_run(cases, only, IO_EPOLL, true, "epoll, pgbouncer");
        return cases_end();
}
