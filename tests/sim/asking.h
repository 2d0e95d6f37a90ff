/* tests/sim/asking.h: what the directed tests of the engine share: a world, one question at a time,
 * what is expected. */
#ifndef PN_TESTS_SIM_ASKING_H
#define PN_TESTS_SIM_ASKING_H

#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/sim/world.h"

enum { MS = 1000, SECOND = 1000000 };

static struct sim_world w; /* the test's own: Criterion runs each in a process */

static inline void
world(unsigned servers, bool l2, bool l3, const char *mode)
{
        sim_create(&w, (struct sim_config){.servers = servers,
                                           .l2 = l2,
                                           .l3 = l3,
                                           .mode = mode,
                                           .l1_ttl_us = 300 * SECOND,
                                           .delay_max_us = MS,
                                           .seed = 1});
        w.delays_off = 1;
}

static inline struct sim_answer
set(unsigned server, const char *key, const char *value)
{
        struct sim_answer a;

        sim_set(&w.server[server], key, value, NULL, &a);
        sim_run(&w, 100 * MS);
        cr_assert(a.done);
        return a;
}

static inline struct sim_answer
get(unsigned server, const char *key)
{
        struct sim_answer a;

        sim_get(&w.server[server], key, &a);
        sim_run(&w, 100 * MS);
        cr_assert(a.done);
        return a;
}

static inline struct sim_answer
del(unsigned server, const char *key)
{
        struct sim_answer a;

        sim_del(&w.server[server], key, &a);
        sim_run(&w, 400 * MS);
        cr_assert(a.done);
        return a;
}

static inline void
expect_hit(struct sim_answer a, enum op_tier tier, const char *value)
{
        cr_expect_eq(a.state, OP_HIT);
        cr_expect_eq(a.tier, tier, "tier %d, not %d", a.tier, tier);
        cr_expect_str_eq(a.value, value);
}

static inline void
empty_l1(unsigned server)
{
        l1_clear(w.server[server].env.l1, NULL);
}

static inline uint64_t
metric(unsigned server, enum metric id)
{
        return metric_get(&w.server[server].metrics, id);
}

static inline void
done(void)
{
        for (unsigned i = 0; i < 30; i++)
                sim_run(&w, SECOND);
        for (unsigned i = 0; i < w.servers; i++) {
                cr_expect_eq(w.server[i].env.flights.count, 0);
                cr_expect_eq(w.server[i].env.writes.count, 0);
                cr_expect_eq(landing_count(w.server[i].env.landing), 0);
                cr_expect(list_empty(&w.server[i].session.requests));
        }
        sim_destroy(&w);
}

static inline struct sim_row *
in_l2(const char *key)
{
        return sim_row(&w.l2, bytes_str(key));
}

static inline struct sim_row *
in_l3(const char *key)
{
        return sim_row(&w.l3, bytes_str(key));
}

static inline struct env *
env_of(unsigned server)
{
        return &w.server[server].env;
}

static inline void
option(enum option_id id, uint64_t number)
{
        for (unsigned i = 0; i < w.servers; i++)
                w.server[i].options.value[id].number = number;
}

/* A line of [namespace default]. */
static inline void
policy(const char *name, const char *value)
{
        char why[256];

        for (unsigned i = 0; i < w.servers; i++) {
                cr_assert(policies_set(w.server[i].policies, bytes_str("default"), bytes_str(name),
                                       bytes_str(value), why));
                cr_assert(policies_resolve(w.server[i].policies, w.config.l2, w.config.l3, why));
        }
}

static inline struct sim_answer
set_more(unsigned server, const char *key, const char *value, struct op_asked more)
{
        struct sim_answer a;

        sim_set(&w.server[server], key, value, &more, &a);
        sim_run(&w, 100 * MS);
        cr_assert(a.done);
        return a;
}

static inline struct sim_answer
set_nx(unsigned server, const char *key, const char *value)
{
        return set_more(server, key, value, (struct op_asked){.condition = OP_IF_ABSENT});
}

static inline struct sim_answer
set_until(unsigned server, const char *key, const char *value, uint64_t hard_us)
{
        return set_more(server, key, value,
                        (struct op_asked){.lifetime = LIFE_AT, .hard_us = hard_us});
}

static inline struct sim_answer
expire(unsigned server, const char *key, uint64_t hard_us)
{
        struct sim_answer a;

        sim_expire(&w.server[server], key, hard_us, &a);
        sim_run(&w, 100 * MS);
        cr_assert(a.done);
        return a;
}

/* What nobody reads: only its length matters. */
static inline struct sim_answer
set_long(unsigned server, const char *key, size_t len)
{
        char *bytes = calloc(1, len);
        struct sim_answer a;

        sim_set_bytes(&w.server[server], key, bytes_of(bytes, len), NULL, &a);
        free(bytes);
        sim_run(&w, 400 * MS);
        cr_assert(a.done);
        return a;
}

#endif
