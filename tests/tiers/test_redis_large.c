/* test_redis_large: values above LIMIT_CHUNK_BYTES: whole, beside small ones, and while they
 * change. */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "redis_harness.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static long long
connections(void)
{
        const char *line = strstr(ask_redis("INFO clients")->str, "connected_clients:");

        return atoll(line + strlen("connected_clients:"));
}

static void
test_sizes(struct bench *b)
{
        static const size_t sizes[] = {0,
                                       1,
                                       LIMIT_CHUNK_BYTES - 1,
                                       LIMIT_CHUNK_BYTES,
                                       LIMIT_CHUNK_BYTES + 1,
                                       LIMIT_CHUNK_BYTES + 17000,
                                       LIMIT_CHUNK_BYTES + 17200,
                                       2 * LIMIT_CHUNK_BYTES,
                                       2 * LIMIT_CHUNK_BYTES + 17000,
                                       1 * MIB,
                                       8 * MIB,
                                       20 * MIB + 12345};
        long long before = connections();

        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                struct entry e;

                entry_make(b, &e, "large:k", sizes[i], (unsigned)i, 0);
                stands(b, "large:k", &e, store(b, "large:k", &e));
                entry_release(&e);
                /* What is not large opens no second connection. */
                check_is(connections() - before, sizes[i] > LIMIT_CHUNK_BYTES);
        }
}

/* The deadline is the small call's; a large one has a second more for each 8 MiB. */
static void
test_deadline(struct bench *b)
{
        struct entry e;
        struct ask a;

        entry_make(b, &e, "large:d", 32 * MIB, 1, 0);
        write_new(b, &a, "large:d", &e);
        ask_start(b, b->tier, &a, 1 * MS);
        check_is(ask_wait(b, &a), TIER_ANSWERED);
        get_key(b, &a, "large:d");
        ask_start(b, b->tier, &a, 15 * MS); /* for the first read */
        check_is(ask_wait(b, &a), TIER_ANSWERED);
        check(a.took_us > 0);
        found_is(b, &a, "large:d", &e, get_u64(a.call.found->at));
        entry_release(&e);
}

struct times {
        uint64_t us[20000];
        size_t count;
};

static int
time_compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

static uint64_t
time_at(struct times *t, unsigned percent)
{
        qsort(t->us, t->count, sizeof t->us[0], time_compare);
        return t->us[t->count * percent / 100];
}

static void
small_call(struct bench *b, const struct entry *s, struct times *t)
{
        struct ask small;

        get_key(b, &small, "small:b");
        check_is(ask_now(b, &small), TIER_ANSWERED);
        found_is(b, &small, "small:b", s, get_u64(small.call.found->at));
        if (t->count < sizeof t->us / sizeof t->us[0])
                t->us[t->count++] = small.took_us;
}

/* Small calls beside large ones: none of them waits for one. */
static void
test_beside(struct bench *b)
{
        enum { LARGE = 6 };
        static struct times alone, beside;
        static struct ask large[LARGE], small;
        struct entry e, s;
        unsigned open = LARGE;

        alone.count = beside.count = 0;
        entry_make(b, &e, "large:b", 24 * MIB, 1, 0);
        entry_make(b, &s, "small:b", 100, 1, 0);
        write_new(b, &large[0], "large:b", &e);
        ask_now(b, &large[0]);
        write_new(b, &small, "small:b", &s);
        ask_now(b, &small);
        for (int i = 0; i < 2000; i++)
                small_call(b, &s, &alone);
        for (int i = 0; i < LARGE; i++) {
                get_key(b, &large[i], "large:b");
                ask_start(b, b->tier, &large[i], 10 * SECOND);
        }
        while (open > 0) {
                small_call(b, &s, &beside);
                open = 0;
                for (int i = 0; i < LARGE; i++)
                        open += !large[i].done;
        }
        time_at(&beside, 0);
        printf("# small calls: alone median %llu us, p99 %llu us; %zu beside %d of 24 MiB: median "
               "%llu us, p99 %llu us, slowest %llu us\n",
               (unsigned long long)time_at(&alone, 50), (unsigned long long)time_at(&alone, 99),
               beside.count, LARGE, (unsigned long long)time_at(&beside, 50),
               (unsigned long long)time_at(&beside, 99),
               (unsigned long long)beside.us[beside.count - 1]);
        check(beside.count > 20);
        /* Far less in truth, but the machine may be busy, and sanitizers are slow. */
        check(time_at(&beside, 99) < 250 * MS);
        for (int i = 0; i < LARGE; i++) {
                check_is(large[i].call.result, TIER_ANSWERED);
                printf("# large: %llu us\n", (unsigned long long)large[i].took_us);
                found_is(b, &large[i], "large:b", &e, get_u64(large[i].call.found->at));
        }
        entry_release(&e);
        entry_release(&s);
}

/* Written again, taken away, made shorter while it is fetched: what comes is one whole value. */
static void
test_changes(struct bench *b)
{
        struct entry e[3];
        unsigned old = 0, fresh = 0;

        for (unsigned i = 0; i < 3; i++)
                entry_make(b, &e[i], "large:c", i < 2 ? 8 * MIB : 1000, i, 0);
        for (unsigned i = 0; i < 24; i++) {
                unsigned to = 1 + i % 2;
                struct ask first, get, second;

                write_new(b, &first, "large:c", &e[0]);
                check_is(ask_now(b, &first), TIER_ANSWERED);
                get_key(b, &get, "large:c");
                ask_start(b, b->tier, &get, 2 * SECOND);
                for (unsigned turns = 0; turns < i * i && !get.done; turns++)
                        bench_turn(b, 1000);
                if (i % 3 == 2) {
                        ask_redis("DEL pn1:v:{large:c}");
                        check_is(ask_wait(b, &get), TIER_ANSWERED);
                        if (get.call.found != NULL)
                                found_is(b, &get, "large:c", &e[0], first.call.found_version);
                        continue;
                }
                write_new(b, &second, "large:c", &e[to]);
                ask_start(b, b->tier, &second, 2 * SECOND);
                check_is(ask_wait(b, &get), TIER_ANSWERED);
                check_is(ask_wait(b, &second), TIER_ANSWERED);
                if (!check(get.call.found != NULL))
                        continue;
                if (get_u64(get.call.found->at) == first.call.found_version) {
                        found_is(b, &get, "large:c", &e[0], first.call.found_version);
                        old++;
                } else {
                        found_is(b, &get, "large:c", &e[to], second.call.found_version);
                        fresh++;
                }
        }
        printf("# %u old, %u new\n", old, fresh);
        check(old > 0 && fresh > 0);
        for (unsigned i = 0; i < 3; i++)
                entry_release(&e[i]);
}

/* A length that cannot be is not obeyed; a value cut short is handed over as it is, to be
 * judged. */
static void
test_lies(struct bench *b)
{
        struct entry e;
        struct ask a;

        entry_make(b, &e, "large:l", 300 * KIB, 1, 0);
        write_new(b, &a, "large:l", &e);
        ask_now(b, &a);
        ask_redis("SETRANGE pn1:v:{large:l} 80 %b", "\xff\xff\xff\x7f", (size_t)4);
        get_key(b, &a, "large:l");
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check(a.call.found != NULL && a.call.found->len < 300 * KIB);
        blob_unref(a.call.found);
        write_new(b, &a, "large:l", &e);
        ask_now(b, &a);
        /* It claims more than is there: seen as a change, twice. */
        ask_redis("SETRANGE pn1:v:{large:l} 80 %b", "\x00\x00\x10\x00", (size_t)4);
        get_key(b, &a, "large:l");
        check_is(ask_now(b, &a), TIER_FAILED);
        check(a.call.found == NULL);
        entry_release(&e);
}

/* Many at once: few run, some wait, the rest are refused at once. */
static void
test_too_many(struct bench *b)
{
        enum { COUNT = LIMIT_L2_LARGE + LIMIT_L2_LARGE_WAITING + 5 };
        static struct ask asks[COUNT];
        unsigned answered = 0, down = 0;
        struct entry e;

        entry_make(b, &e, "large:m", 300 * KIB, 1, 0);
        for (unsigned i = 0; i < COUNT; i++) {
                write_new(b, &asks[i], "large:m", &e);
                ask_start(b, b->tier, &asks[i], 20 * SECOND);
        }
        for (unsigned i = 0; i < COUNT; i++) {
                enum tier_result r = ask_wait(b, &asks[i]);

                answered += r == TIER_ANSWERED;
                down += r == TIER_DOWN;
        }
        check_is(answered + down, COUNT);
        check_is(down, 5);
        entry_release(&e);
}

int
main(int argc, char **argv)
{
        static const struct test_case cases[] = {
                {"sizes", test_sizes},
                {"deadlines grow", test_deadline},
                {"small beside large", test_beside},
                {"values that change", test_changes},
                {"lengths that lie", test_lies},
                {"too many", test_too_many},
                {0},
        };

        return cases_run(cases, argc > 1 ? argv[1] : NULL);
}
