/* test_postgres_large: values above LIMIT_CHUNK_BYTES: whole or not at all, chunks that nobody
 * names go, small calls are not held up. */
#include <string.h>

#include "base/mem.h"
#include "io/clock_os.h"
#include "postgres_harness.h"

enum { MB = 1 << 20, CHUNK = LIMIT_CHUNK_BYTES };

static long long
chunks(void)
{
        return sql_number("SELECT count(*) FROM pannier.chunk");
}

/* Chunks without an entry, or entries without their chunks; garbage counts as named. */
static long long
strays(void)
{
        return sql_number(
                "SELECT (SELECT count(*) FROM pannier.chunk c WHERE NOT EXISTS (SELECT FROM"
                " pannier.entry e WHERE e.part = c.part) AND NOT EXISTS (SELECT FROM"
                " pannier.garbage g WHERE g.part = c.part)) + (SELECT count(*) FROM"
                " pannier.entry e WHERE e.part IS NOT NULL AND e.size <> (SELECT"
                " coalesce(sum(length(data)), 0) FROM pannier.chunk c WHERE c.part = e.part))");
}

static void
test_sizes(struct bench *b)
{
        static const size_t sizes[] = {CHUNK - 200, CHUNK,  CHUNK + 1, 2 * CHUNK - 104,
                                       3 * CHUNK,   8 * MB, 64 * MB};
        struct entry e;
        struct ask a;
        char key[32];

        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                snprintf(key, sizeof key, "size:%zu", sizes[i]);
                entry_make(b, &e, key, sizes[i], (unsigned)i, 0);
                if (i % 2 == 0) {
                        stands(b, key, &e, store(b, key, &e));
                } else {
                        write_stamped(b, &a, key, &e, 77);
                        check_is(ask_now(b, &a), TIER_ANSWERED);
                        check_is(a.call.outcome, WRITE_STORED);
                        check_is(a.call.found_version, 77);
                        stands(b, key, &e, 77);
                }
                entry_release(&e);
        }
        check_is(strays(), 0);
        check(inside(b->tier)->large.state == LINK_UP);
        check_is(inside(b->tier)->large_count, 0);
        check_is(inside(b->tier)->slots, 0);
}

static void
test_size_is_told(struct bench *b)
{
        struct entry e;
        struct ask a;

        entry_make(b, &e, "told", 20 * MB, 1, 0);
        store(b, "told", &e);
        get_key(b, &a, "told");
        ask_start(b, b->tier, &a, SECOND);
        while (!a.done && a.call.large_bytes == 0)
                bench_turn(b, 10000);
        check_is(a.call.large_bytes, e.blob->len - ENVELOPE_PREFIX);
        check_is(ask_wait(b, &a), TIER_ANSWERED);
        found_is(b, &a, "told", &e, get_u64(a.call.found->at));
        entry_release(&e);
}

static void
stamped(struct bench *b, const struct entry *e, uint64_t version, enum write_outcome outcome,
        uint64_t found)
{
        struct ask a;

        write_stamped(b, &a, "replace", e, version);
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, outcome);
        check_is(a.call.found_version, found);
}

static void
test_replaced(struct bench *b)
{
        struct entry one, two, small;
        struct ask a;

        entry_make(b, &one, "replace", 2 * MB, 1, 0);
        entry_make(b, &two, "replace", 3 * MB, 2, 0);
        entry_make(b, &small, "replace", 10, 3, 0);
        stamped(b, &one, 100, WRITE_STORED, 100);
        stamped(b, &two, 99, WRITE_LOST, 100);
        stamped(b, &one, 100, WRITE_STORED, 100); /* sent again */
        two.meta.origin++;
        stamped(b, &two, 100, WRITE_LOST, 100);
        two.meta.origin--;
        stands(b, "replace", &one, 100);
        stamped(b, &two, 101, WRITE_STORED, 101);
        stands(b, "replace", &two, 101);
        stamped(b, &small, 102, WRITE_STORED, 102);
        stands(b, "replace", &small, 102);
        stamped(b, &one, 103, WRITE_STORED, 103);
        stands(b, "replace", &one, 103);
        write_new(b, &a, "replace", &two);
        a.call.expect = 102;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_CONFLICT);
        check_is(a.call.found_version, 103);
        a.call.expect = 103;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_STORED);
        stands(b, "replace", &two, a.call.found_version);
        check_is(strays(), 0);
        entry_release(&one);
        entry_release(&two);
        entry_release(&small);
}

/* Two large writes of one key from two connections: the newer stands, whole. */
static void
test_race(struct bench *b)
{
        struct tier *second = bench_tier(b, NULL);
        struct entry e[2];
        struct ask a[2];

        must(bench_up(b, second, true, 5 * SECOND));
        entry_make(b, &e[0], "race", 3 * MB, 1, 0);
        entry_make(b, &e[1], "race", 4 * MB, 2, 0);
        for (uint64_t round = 1; round < 12; round++) {
                unsigned newer = round % 3 == 0;

                for (unsigned i = 0; i < 2; i++) {
                        write_stamped(b, &a[i], "race", &e[i], round * 10 + (i == newer));
                        ask_start(b, i ? second : b->tier, &a[i], 20 * SECOND);
                }
                for (unsigned i = 0; i < 2; i++)
                        check_is(ask_wait(b, &a[i]), TIER_ANSWERED);
                check_is(a[newer].call.outcome, WRITE_STORED);
                stands(b, "race", &e[newer], round * 10 + 1);
        }
        check_is(strays(), 0);
        postgres_tier_destroy(second);
        entry_release(&e[0]);
        entry_release(&e[1]);
}

/* What is read while it is replaced is one of the two, whole. */
static void
test_replaced_while_read(struct bench *b)
{
        struct entry e[2];
        struct ask write, read;

        entry_make(b, &e[0], "reading", 6 * MB, 1, 0);
        entry_make(b, &e[1], "reading", 5 * MB, 2, 0);
        write_stamped(b, &write, "reading", &e[0], 1);
        check_is(ask_now(b, &write), TIER_ANSWERED);
        for (uint64_t v = 2; v < 10; v++) {
                uint64_t got;

                get_key(b, &read, "reading");
                ask_start(b, b->tier, &read, 20 * SECOND);
                while (!read.done && read.call.large_bytes == 0)
                        bench_turn(b, 1000);
                /* At once, not when the sweep would: the chunks of what is being read are gone. */
                sql("WITH gone AS (DELETE FROM pannier.entry WHERE key = 'reading' RETURNING part)"
                    " DELETE FROM pannier.chunk WHERE part IN (SELECT part FROM gone)");
                write_stamped(b, &write, "reading", &e[v % 2 == 0], v);
                ask_start(b, b->tier, &write, 20 * SECOND);
                check_is(ask_wait(b, &read), TIER_ANSWERED);
                if (read.call.found != NULL) {
                        got = get_u64(read.call.found->at);
                        check(got == v || got == v - 1);
                        found_is(b, &read, "reading", &e[got > 1 && got % 2 == 0], got);
                }
                check_is(ask_wait(b, &write), TIER_ANSWERED);
                check_is(write.call.outcome, WRITE_STORED);
                stands(b, "reading", &e[v % 2 == 0], v);
        }
        entry_release(&e[0]);
        entry_release(&e[1]);
}

static void
test_cancelled(struct bench *b)
{
        struct entry e;
        struct ask a;

        entry_make(b, &e, "cancelled", 8 * MB, 1, 0);
        for (int turns = 0; turns < 30; turns++) {
                write_new(b, &a, "cancelled", &e);
                ask_start(b, b->tier, &a, 20 * SECOND);
                for (int i = 0; i < turns && !a.done; i++)
                        bench_turn(b, 1000);
                tier_cancel(b->tier, &a.call);
        }
        entry_release(&e);
        entry_make(b, &e, "cancelled", 8 * MB, 2, 0);
        store(b, "cancelled", &e);
        for (int turns = 0; turns < 30; turns++) {
                get_key(b, &a, "cancelled");
                ask_start(b, b->tier, &a, 20 * SECOND);
                for (int i = 0; i < turns && !a.done; i++)
                        bench_turn(b, 1000);
                if (a.done)
                        blob_unref(a.call.found);
                tier_cancel(b->tier, &a.call);
        }
        bench_run(b, 200 * MS);
        check_is(inside(b->tier)->large_count, 0);
        check_is(inside(b->tier)->slots, 0);
        check_is(strays(), 0);
        entry_release(&e);
}

static void
test_timed_out(struct bench *b)
{
        uint64_t late = metric_get(&b->metrics, M_l3_late);
        struct entry e;
        struct ask a;

        entry_make(b, &e, "slow", 4 * MB, 1, 0);
        sql("BEGIN; LOCK TABLE pannier.chunk");
        write_new(b, &a, "slow", &e);
        ask_start(b, b->tier, &a, 50 * MS);
        check_is(ask_wait(b, &a), TIER_TIMED_OUT);
        check(a.took_us >= SECOND); /* it was given more for its size */
        sql("COMMIT");
        absent(b, "slow");
        stands(b, "slow", &e, store(b, "slow", &e));
        check(metric_get(&b->metrics, M_l3_late) >= late);
        check_is(strays(), 0);
        entry_release(&e);
}

/* Small calls go on while 64 MiB come: no turn of the loop is long. */
static void
test_small_ones_beside(struct bench *b)
{
        struct entry big, small;
        struct ask large[3], ask;
        uint64_t worst_us = 0, longest_us = 0, version, count = 0;

        entry_make(b, &big, "big", 64 * MB, 1, 0);
        entry_make(b, &small, "small", 100, 1, 0);
        store(b, "big", &big);
        version = store(b, "small", &small);
        for (int i = 0; i < 3; i++) {
                get_key(b, &large[i], "big");
                ask_start(b, b->tier, &large[i], 30 * SECOND);
        }
        get_key(b, &ask, "small");
        ask_start(b, b->tier, &ask, SECOND);
        while (!large[0].done || !large[1].done || !large[2].done) {
                uint64_t before = clock_mono_us(), took;

                bench_turn(b, 1000);
                took = clock_mono_us() - before;
                longest_us = took > longest_us ? took : longest_us;
                if (!ask.done)
                        continue;
                worst_us = ask.took_us > worst_us ? ask.took_us : worst_us;
                count++;
                check_is(ask.call.result, TIER_ANSWERED);
                found_is(b, &ask, "small", &small, version);
                get_key(b, &ask, "small");
                ask_start(b, b->tier, &ask, SECOND);
        }
        ask_wait(b, &ask);
        blob_unref(ask.call.found);
        fprintf(stderr,
                "# %llu small ones meanwhile, the slowest %llu us; the longest turn %llu us\n",
                (unsigned long long)count, (unsigned long long)worst_us,
                (unsigned long long)longest_us);
        check(count >= 20);
        for (int i = 0; i < 3; i++)
                found_is(b, &large[i], "big", &big, get_u64(large[i].call.found->at));
        entry_release(&big);
        entry_release(&small);
}

static void
test_lost_connection(struct bench *b)
{
        struct entry e;
        struct ask a;

        entry_make(b, &e, "lost", 16 * MB, 1, 0);
        write_new(b, &a, "lost", &e);
        ask_start(b, b->tier, &a, 20 * SECOND);
        for (int i = 0; i < 20; i++)
                bench_turn(b, 1000);
        check(!a.done);
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'pannierd'");
        check_is(ask_wait(b, &a), TIER_DOWN);
        bench_up(b, b->tier, false, SECOND); /* both connections */
        must(bench_up(b, b->tier, true, 10 * SECOND));
        absent(b, "lost");
        stands(b, "lost", &e, store(b, "lost", &e));
        check_is(strays(), 0);
        entry_release(&e);
}

/* Chunks of what was replaced, abandoned or expired go, in steps. */
static void
test_chunks_are_swept(struct bench *b)
{
        uint64_t end;
        struct entry e;
        struct ask a;

        entry_make(b, &e, "swept", 20 * MB, 1, 0);
        write_new(b, &a, "swept", &e);
        a.call.keep_until_us = b->env.now_us + 1500 * MS;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        stands(b, "swept", &e, a.call.found_version);
        sql("DELETE FROM pannier.entry WHERE key <> 'swept'"); /* the triggers note their chunks */
        sql("UPDATE pannier.garbage SET due_at = 0");
        bench_set(b, O_l3_sweep, "100ms");
        {
                struct tier *second = bench_tier(b, NULL);

                end = b->env.mono_us + 20 * SECOND;
                while (sql_number("SELECT count(*) FROM pannier.entry") > 0 && b->env.mono_us < end)
                        bench_run(b, 50 * MS);
                sql("UPDATE pannier.garbage SET due_at = 0");
                while (chunks() + sql_number("SELECT count(*) FROM pannier.garbage") > 0 &&
                       b->env.mono_us < end)
                        bench_run(b, 50 * MS);
                postgres_tier_destroy(second);
        }
        check_is(sql_number("SELECT count(*) FROM pannier.garbage"), 0);
        check_is(chunks(), 0);
        bench_set(b, O_l3_sweep, "10s");
        entry_release(&e);
}

/* An upload that took so long that its chunks are due is refused, not stored without them. */
static void
test_upload_that_is_due(struct bench *b)
{
        struct entry e;
        struct ask a;

        entry_make(b, &e, "due", 4 * MB, 1, 0);
        sql("BEGIN; LOCK TABLE pannier.chunk");
        write_new(b, &a, "due", &e);
        ask_start(b, b->tier, &a, 20 * SECOND);
        bench_run(b, 100 * MS);
        check(!a.done);
        sql("UPDATE pannier.garbage SET due_at = 1");
        sql("COMMIT");
        check_is(ask_wait(b, &a), TIER_FAILED);
        absent(b, "due");
        check_is(strays(), 0);
        entry_release(&e);
}

static const struct test_case cases[] = {
        {"sizes", test_sizes, false},
        {"size_is_told", test_size_is_told, false},
        {"replaced", test_replaced, false},
        {"race", test_race, false},
        {"replaced_while_read", test_replaced_while_read, false},
        {"cancelled", test_cancelled, false},
        {"timed_out", test_timed_out, true},
        {"small_ones_beside", test_small_ones_beside, false},
        {"lost_connection", test_lost_connection, true},
        {"upload_that_is_due", test_upload_that_is_due, false},
        {"chunks_are_swept", test_chunks_are_swept, false},
        {0},
};

int
main(int argc, char **argv)
{
        return cases_run(cases, argc > 1 ? argv[1] : NULL);
}
