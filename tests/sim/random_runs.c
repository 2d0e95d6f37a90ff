/* Random runs of the real request engine over simulated tiers: several servers over one L2 and one L3, delays, frozen tiers, broken
 * connections, evictions, all decided by a seed, and an oracle by versions:
 *   - on one server nothing older is returned than what it had acknowledged before the request came;
 *   - a value is its key's;
 *   - every request is answered within its deadline and some slack;
 *   - once the faults are over and L1's cap has passed, all servers agree, on nothing older than any acknowledged write;
 *   - nothing is left over.
 * random_runs [--seeds N] [--from SEED] [--seed SEED] [--trace]; a failing seed is printed and replays exactly. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/world.h"

enum { MS = 1000, SECOND = 1000000, KEYS = 3, ASKS = 400 };

enum what { ASK_GET, ASK_SET, ASK_DEL, ASK_NX, ASK_EXPIRE };

struct ask {
        struct sim_answer answer;
        enum what what;
        unsigned server, key;
        uint64_t floor; /* nothing older may be returned */
        bool judged;
};

static struct sim_world w;
static uint64_t began;
static struct ask asks[ASKS];
static unsigned asked;
static uint64_t newest[SIM_SERVERS_MAX][KEYS]; /* acknowledged by this server */
static uint64_t acknowledged[KEYS];            /* stamped by a shared tier, by any server */
static const char *const names[KEYS] = {"a:1", "a:2", "b:1"};
static unsigned failures;
static bool tracing;

#define trace(...) (void)(tracing && fprintf(stderr, __VA_ARGS__))

static void
fail(const struct ask *a, const char *what)
{
        fprintf(stderr, "seed %llu mode %s l3 %d: ask %d kind %d key %s server %u state %d: %s\n",
                (unsigned long long)w.config.seed, w.config.mode, w.config.l3,
                a != NULL ? (int)(a - asks) : -1, a != NULL ? (int)a->what : -1,
                a != NULL ? names[a->key] : "", a != NULL ? a->server : 0,
                a != NULL ? (int)a->answer.state : -1, what);
        failures++;
}

static void
judge(struct ask *a)
{
        struct sim_answer *r = &a->answer;
        uint64_t *mine = &newest[a->server][a->key];

        a->judged = true;
        trace("%10.2f   ask %u -> state %d tier %d error %d version %llu value %s\n",
              (double)(r->ended_us - began) / 1000, (unsigned)(a - asks), r->state, r->tier,
              r->error, (unsigned long long)(r->version - began), r->value);
        if (r->ended_us - r->began_us > 50 * MS + 600 * MS)
                fail(a, "answered late");
        if (a->what == ASK_GET && (r->state == OP_HIT || r->state == OP_STALE)) {
                if (r->version < a->floor)
                        fail(a, "older than what this server had acknowledged");
                if (strncmp(r->value, names[a->key], strlen(names[a->key])) != 0)
                        fail(a, "another key's value");
        }
        if (a->what != ASK_GET && r->state == OP_DONE) {
                if (r->version > *mine)
                        *mine = r->version;
                if (r->version > acknowledged[a->key])
                        acknowledged[a->key] = r->version;
        }
}

static void
judge_done(void)
{
        for (unsigned i = 0; i < asked; i++) {
                if (asks[i].answer.done && !asks[i].judged)
                        judge(&asks[i]);
        }
}

static void
ask(enum what what, unsigned server, unsigned key)
{
        struct ask *a = &asks[asked++];
        struct sim_server *s = &w.server[server];
        struct op_asked more = {0};
        char value[32];

        judge_done();
        *a = (struct ask){.what = what, .server = server, .key = key};
        a->floor = newest[server][key];
        snprintf(value, sizeof value, "%s=%u", names[key], asked);
        trace("%10.2f ask %u kind %d key %s server %u\n", (double)(w.now_us - began) / 1000,
              asked - 1, (int)what, names[key], server);
        switch (what) {
        case ASK_GET:
                sim_get(s, names[key], &a->answer);
                break;
        case ASK_DEL:
                sim_del(s, names[key], &a->answer);
                break;
        case ASK_NX:
                more.condition = OP_IF_ABSENT;
                sim_set(s, names[key], value, &more, &a->answer);
                break;
        case ASK_EXPIRE:
                sim_expire(s, names[key], w.now_us + SECOND + prng_below(&w.prng, 5 * SECOND),
                           &a->answer);
                break;
        case ASK_SET:
                if (prng_below(&w.prng, 4) == 0) {
                        more.lifetime = LIFE_AT;
                        more.hard_us = w.now_us + 200 * MS + prng_below(&w.prng, 4 * SECOND);
                }
                sim_set(s, names[key], value, &more, &a->answer);
                break;
        }
}

static void
fault(void)
{
        struct sim_server *s = &w.server[prng_below(&w.prng, w.config.servers)];
        struct bytes key = bytes_str(names[prng_below(&w.prng, KEYS)]);
        struct sim_row *row, *below;
        unsigned kind = (unsigned)prng_below(&w.prng, 6);

        trace("%10.2f fault %u server %u\n", (double)(w.now_us - began) / 1000, kind,
              (unsigned)(s - w.server));
        switch (kind) {
        case 0:
                sim_freeze(&w, &w.l2, prng_below(&w.prng, 3 * SECOND));
                break;
        case 1:
                sim_freeze(&w, &w.l3, prng_below(&w.prng, 3 * SECOND));
                break;
        case 2:
                sim_cut(&w, &s->l2, prng_below(&w.prng, 3 * SECOND));
                break;
        case 3:
                sim_cut(&w, &s->l3, prng_below(&w.prng, 3 * SECOND));
                break;
        case 4: /* L2 evicts, as its users may: what L3 has got, and no tombstone */
                row = sim_row(&w.l2, key);
                below = sim_row(&w.l3, key);
                if (row != NULL && below != NULL && !row->tombstone &&
                    below->version >= row->version)
                        sim_forget(&w.l2, key);
                break;
        case 5:
                l1_clear(s->env.l1, NULL);
                break;
        }
}

static enum what
choose(void)
{
        uint64_t x = prng_below(&w.prng, 20);

        return x < 11   ? ASK_GET
               : x < 15 ? ASK_SET
               : x < 17 ? ASK_DEL
               : x < 18 ? ASK_NX
                        : ASK_EXPIRE;
}

static void
check_end(void)
{
        uint64_t seen[KEYS] = {0};

        w.l2.frozen_until_us = w.l3.frozen_until_us = 0;
        w.config.delay_max_us = MS; /* no time-outs: what L2 says counts */
        sim_run(&w, 20 * SECOND);   /* faults are over, queues drain, L1's cap passes */
        judge_done();
        for (unsigned i = 0; i < asked; i++) {
                if (!asks[i].answer.done)
                        fail(&asks[i], "never answered");
        }
        for (unsigned k = 0; k < KEYS; k++) {
                for (unsigned i = 0; i < w.config.servers; i++) {
                        struct sim_answer a;

                        sim_get(&w.server[i], names[k], &a);
                        sim_run(&w, SECOND);
                        trace("%10.2f at last server %u key %s state %d tier %d version %llu value %s\n",
                              (double)(w.now_us - began) / 1000, i, names[k], a.state, a.tier,
                              (unsigned long long)(a.version - began), a.value);
                        if (!a.done || a.state != OP_HIT)
                                continue;
                        if (a.version < acknowledged[k])
                                fail(NULL, "in the end older than an acknowledged write");
                        if (seen[k] != 0 && seen[k] != a.version)
                                fail(NULL, "in the end the servers do not agree");
                        seen[k] = a.version;
                }
        }
        for (unsigned i = 0; i < w.config.servers; i++) {
                struct env *env = &w.server[i].env;

                sim_run(&w, 5 * SECOND);
                if (env->flights.count != 0 || env->writes.count != 0 ||
                    !list_empty(&w.server[i].session.requests) || landing_count(env->landing) != 0)
                        fail(NULL, "something is left over");
                if (metric_get(&w.server[i].metrics, M_queue_l2) +
                    metric_get(&w.server[i].metrics, M_queue_l3))
                        fail(NULL, "writes still wait");
        }
}

static void
run(uint64_t seed)
{
        static const char *const modes[] = {"l2", "behind", "through"};
        const char *mode = modes[seed % 3];
        unsigned before = failures;
        bool faults = seed % 4 != 0;

        memset(newest, 0, sizeof newest);
        memset(acknowledged, 0, sizeof acknowledged);
        asked = 0;
        sim_create(&w, (struct sim_config){.servers = 2 + seed % 2,
                                           .l2 = true,
                                           .l3 = seed % 3 != 0,
                                           .mode = mode,
                                           .l1_ttl_us = 4 * SECOND,
                                           .delay_max_us = seed % 5 == 0 ? 15 * MS : 3 * MS,
                                           .seed = seed});
        began = w.began_us = w.now_us;
        w.trace = tracing;
        while (asked < ASKS - 40) {
                ask(choose(), (unsigned)prng_below(&w.prng, w.config.servers),
                    (unsigned)prng_below(&w.prng, KEYS));
                if (faults && prng_below(&w.prng, 12) == 0)
                        fault();
                if (prng_below(&w.prng, 3) != 0)
                        sim_run(&w, prng_below(&w.prng,
                                               prng_below(&w.prng, 10) == 0 ? 4 * SECOND : 8 * MS));
                judge_done();
        }
        check_end();
        sim_destroy(&w);
        if (failures > before)
                fprintf(stderr, "replay: random_runs --seed %llu\n", (unsigned long long)seed);
}

int
main(int argc, char **argv)
{
        uint64_t from = 1, count = 100;

        if (argc > 1 && strcmp(argv[argc - 1], "--trace") == 0)
                tracing = true;
        for (int i = 1; i + 1 < argc; i += 2) {
                uint64_t n = strtoull(argv[i + 1], NULL, 10);

                if (strcmp(argv[i], "--seeds") == 0)
                        count = n;
                else if (strcmp(argv[i], "--from") == 0)
                        from = n;
                else if (strcmp(argv[i], "--seed") == 0)
                        from = n, count = 1;
        }
        for (uint64_t seed = from; seed < from + count; seed++)
                run(seed);
        printf("%llu seeds, %u failures\n", (unsigned long long)count, failures);
        return failures == 0 ? 0 : 1;
}
