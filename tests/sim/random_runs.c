/* Random runs of the real request engine over simulated tiers: several processes of one or two
 * workers over one L2 and one L3; delays, clocks, frozen tiers, broken connections, evictions and
 * failovers, all decided by a seed. The oracle (oracle.c) judges every answer and the end.
 * random_runs [--seeds N] [--from SEED] [--seed SEED] [--break RULE] [--trace]; a failing seed is
 * printed and replays exactly. --break takes a rule away from the simulated L2, to see that the
 * oracle minds. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/oracle.h"

static const char *const modes[] = {"l2", "behind", "through", "behind" /* with L3 alone */};
static const char *broken = "";
static struct sim_store old; /* what Redis held some time ago */
static bool have_old;

static void
ask_lifetime(struct ask *a, struct op_asked *more)
{
        if (prng_below(&w.prng, 4) != 0)
                return;
        more->lifetime = LIFE_AT;
        more->hard_us = w.now_us + 200 * MS + prng_below(&w.prng, 4 * SECOND);
        if (prng_below(&w.prng, 8) == 0)
                more->hard_us = w.now_us - 1;
        a->hard_us = more->hard_us;
}

static void
ask_set(struct ask *a, struct sim_server *s)
{
        static char value[400 * 1024];
        struct op_asked more = {0};
        int len = snprintf(value, 64, "%s=%u ", names[a->key], (unsigned)(a - asks));
        uint64_t x = prng_below(&w.prng, 64);
        size_t size = x == 0 && sizes > 1 ? sizeof value : x < 16 && sizes > 0 ? 3000 : 64;

        memset(value + len, 'x', size - (size_t)len);
        a->hard_us = UINT64_MAX;
        switch (a->what) {
        case ASK_NX:
                more.condition = OP_IF_ABSENT;
                break;
        case ASK_XX:
                more.condition = OP_IF_PRESENT;
                break;
        case ASK_KEEP:
                more.lifetime = LIFE_KEEP;
                a->hard_us = HARD_UNKNOWN;
                break;
        case ASK_SWAP:
                more.want_old = true;
                break;
        default:
                ask_lifetime(a, &more);
                break;
        }
        sim_set_bytes(s, names[a->key], bytes_of(value, size), &more, &a->answer);
}

static void
ask(enum what what, unsigned server, unsigned key)
{
        struct ask *a = oracle_ask(what, server, key);
        struct sim_server *s = &w.server[server];

        trace("%10.2f ask %u kind %d key %s server %u\n", (double)(w.now_us - w.began_us) / 1000,
              (unsigned)(a - asks), (int)what, names[key], server);
        switch (what) {
        case ASK_GET:
                sim_get(s, names[key], &a->answer);
                break;
        case ASK_DEL:
                a->hard_us = 0;
                sim_del(s, names[key], &a->answer);
                break;
        case ASK_EXPIRE:
                a->hard_us = w.now_us + SECOND + prng_below(&w.prng, 5 * SECOND);
                if (prng_below(&w.prng, 8) == 0)
                        a->hard_us = 1;
                sim_expire(s, names[key], a->hard_us, &a->answer);
                break;
        default:
                ask_set(a, s);
                break;
        }
}

static enum what
choose(void)
{
        static const enum what table[] = {
                ASK_GET, ASK_GET, ASK_GET, ASK_GET, ASK_GET,  ASK_GET,  ASK_GET,    ASK_GET,
                ASK_GET, ASK_GET, ASK_GET, ASK_SET, ASK_SET,  ASK_SET,  ASK_SET,    ASK_DEL,
                ASK_DEL, ASK_NX,  ASK_NX,  ASK_XX,  ASK_KEEP, ASK_SWAP, ASK_EXPIRE, ASK_EXPIRE,
        };

        return table[prng_below(&w.prng, sizeof table / sizeof table[0])];
}

/* ---- faults ---- */

/* L2 evicts, as its users may: what L3 has got, and no tombstone. Not while it is frozen: what
 * waits to be executed would then meet nothing that is newer, a limit that the documentation
 * states. */
static void
evict(struct bytes key)
{
        const struct sim_row *row = sim_row(&w.l2, key), *below = sim_row(&w.l3, key);

        if (w.l2.frozen_until_us <= w.now_us && row != NULL && below != NULL && !row->tombstone &&
            below->version >= row->version)
                sim_forget(&w.l2, key);
}

/* Redis comes back empty, or as it was when it was last looked at. */
static void
fail_over(void)
{
        if (!have_old && prng_below(&w.prng, 2) == 0) {
                sim_copy(&old, &w.l2);
                have_old = true;
                return;
        }
        sim_fail_over(&w, have_old ? &old : NULL);
        have_old = false;
}

static void
step_clock(void)
{
        w.l2.clock_offset_us += (int64_t)prng_below(&w.prng, 600 * MS) - 300 * MS;
}

static void
fault(enum profile profile)
{
        struct sim_server *s = &w.server[prng_below(&w.prng, w.servers)];
        unsigned kind = (unsigned)prng_below(&w.prng, 6);
        uint64_t long_us = prng_below(&w.prng, 3 * SECOND);

        trace("%10.2f fault %u of %d server %u\n", (double)(w.now_us - w.began_us) / 1000, kind,
              (int)profile, (unsigned)(s - w.server));
        if (kind == 5)
                l1_clear(s->env.l1, NULL);
        else if (profile == PROFILE_EVICT || (profile == PROFILE_ALL && kind == 4))
                evict(bytes_str(names[prng_below(&w.prng, KEYS)]));
        else if (profile == PROFILE_FAILOVER && kind < 2)
                fail_over();
        else if (profile == PROFILE_CLOCK && kind < 2)
                step_clock();
        else if (kind == 0)
                sim_freeze(&w, &w.l2, long_us);
        else if (kind == 1)
                sim_freeze(&w, &w.l3, long_us);
        else if (kind == 2)
                sim_cut(&w, &s->l2, long_us);
        else if (kind == 3)
                sim_cut(&w, &s->l3, long_us);
}

/* ---- runs ---- */

static void
world(uint64_t seed, enum profile profile)
{
        unsigned mode = seed % 4;
        bool slow = profile != PROFILE_NONE && profile != PROFILE_EVICT && seed % 5 == 0;
        bool clocks = profile == PROFILE_ALL || profile == PROFILE_CLOCK;

        sim_create(&w, (struct sim_config){.servers = 2 + seed % 2,
                                           .workers = 1 + seed / 4 % 2,
                                           .l2 = mode != 3,
                                           .l3 = mode != 0,
                                           .mode = modes[mode],
                                           .l1_ttl_us = L1_TTL_US,
                                           .delay_max_us = slow ? 15 * MS : 3 * MS,
                                           .clock_error_us = clocks ? 4 * MS : 0,
                                           .l1_bytes = seed % 7 == 0 ? 40000 : 0,
                                           .seed = seed});
        sizes = (unsigned)(seed % 3);
        for (unsigned i = 0; i < w.servers; i++) {
                if (sizes > 0 && mode != 0)
                        w.server[i].options.value[O_l2_value_max].number = 2500;
                if (seed % 11 == 0)
                        w.server[i].options.value[O_compress_min].number = 100;
        }
        w.trace = tracing;
        w.began_us = w.now_us;
        w.l2.broken = (struct sim_rules){
                .no_above_stored = strcmp(broken, "above_stored") == 0,
                .no_late = strcmp(broken, "late") == 0,
                .no_compare = strcmp(broken, "compare") == 0,
                .no_estimate = strcmp(broken, "estimate") == 0,
        };
}

static void
run(uint64_t seed)
{
        static const enum profile profiles[] = {PROFILE_NONE, PROFILE_ALL,      PROFILE_EVICT,
                                                PROFILE_ALL,  PROFILE_FAILOVER, PROFILE_CLOCK};
        enum profile profile = profiles[seed / 8 % 6];
        unsigned before = failures;

        if (profile == PROFILE_FAILOVER && strcmp(modes[seed % 4], "through") != 0)
                profile = PROFILE_ALL; /* what only Redis had may be lost: nothing to judge */
        world(seed, profile);
        oracle_begin(profile);
        while (asked < ASKS - 40) {
                ask(choose(), (unsigned)prng_below(&w.prng, w.servers),
                    (unsigned)prng_below(&w.prng, KEYS));
                if (profile != PROFILE_NONE && prng_below(&w.prng, 12) == 0)
                        fault(profile);
                if (prng_below(&w.prng, 3) != 0)
                        sim_run(&w, prng_below(&w.prng,
                                               prng_below(&w.prng, 10) == 0 ? 4 * SECOND : 8 * MS));
                oracle_judge();
        }
        oracle_end();
        sim_destroy(&w);
        sim_empty(&old);
        have_old = false;
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
                else if (strcmp(argv[i], "--break") == 0)
                        broken = argv[i + 1];
        }
        for (uint64_t seed = from; seed < from + count && failures == 0; seed++)
                run(seed);
        printf("%llu seeds, %u failures\n", (unsigned long long)count, failures);
        return failures == 0 ? 0 : 1;
}
