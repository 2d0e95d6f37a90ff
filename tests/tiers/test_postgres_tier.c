/* test_postgres_tier: the verbs of the PostgreSQL tier against a real server, on both loops and
 * through PgBouncer. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "postgres_harness.h"

/* ---- coming up ---- */

static void
test_up(struct bench *b)
{
        struct tier_state s;

        check(b->tier->up);
        check_is(b->synced, 1);
        check_is(b->kicked, 1);
        b->tier->ops->describe(b->tier, &s);
        check(s.up && strncmp(s.what, "postgresql ", 11) == 0 && s.trouble[0] == '\0');
        check_is(s.connects, 1);
        check_is(s.in_flight, 0);
        check_is(metric_get(&b->metrics, M_l3_up), 1);
        check(llabs(b->env.clock.wall_error_us) < 100 * MS);
        check_is(sql_number("SELECT version FROM pannier.schema_version"), 1);
}

/* ---- one key ---- */

static void
test_get_and_write(struct bench *b)
{
        const char *keys[] = {"a:1", "x", "ns:\xff\xfe", "k\r\n\"'\\ %s $1", ":", "ns2:"};
        struct entry e;
        struct ask a;

        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
                absent(b, keys[i]);
                entry_make(b, &e, keys[i], i * 1000, 1, 0);
                write_new(b, &a, keys[i], &e);
                check_is(ask_now(b, &a), TIER_ANSWERED);
                check_is(a.call.outcome, WRITE_STORED);
                check(!a.call.existed);
                check(llabs((int64_t)(a.call.found_version - b->env.now_us)) < SECOND);
                stands(b, keys[i], &e, a.call.found_version);
                entry_release(&e);
        }
        check_is(sql_number(
                         "SELECT count(*) FROM pannier.entry WHERE namespace IN ('a', '', 'ns2')"),
                 5);
}

static void
test_long_key(struct bench *b)
{
        char *key = mem_alloc(65537);
        struct entry e;

        for (int colon = 0; colon < 2; colon++) {
                memset(key, 'k', 65536);
                key[65536] = '\0';
                if (colon)
                        key[65000] = ':'; /* a namespace that no index row would hold */
                entry_make(b, &e, key, 10, 1, 0);
                stands(b, key, &e, store(b, key, &e));
                entry_release(&e);
        }
        mem_free(key);
}

static void
test_other_key_of_the_same_hash(struct bench *b)
{
        struct entry e;
        uint64_t version;

        entry_make(b, &e, "hash:1", 10, 1, 0);
        version = store(b, "hash:1", &e);
        stands(b, "hash:1", &e, version);
        sql("UPDATE pannier.entry SET key = 'hash:2' WHERE key = 'hash:1'");
        absent(b, "hash:1");
        stands(b, "hash:1", &e, store(b, "hash:1", &e));
        entry_release(&e);
}

/* ---- the newest wins ---- */

static void
stamped_is(struct bench *b, struct entry *e, uint64_t version, uint64_t origin,
           enum write_outcome outcome, uint64_t found)
{
        struct ask a;

        e->meta.origin = origin;
        write_stamped(b, &a, "stamped", e, version);
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, outcome);
        check_is(a.call.found_version, found);
}

static void
test_stamped(struct bench *b)
{
        struct entry e;

        entry_make(b, &e, "stamped", 10, 1, 0);
        stamped_is(b, &e, 1000, 1, WRITE_STORED, 1000);
        stamped_is(b, &e, 999, 1, WRITE_LOST, 1000);
        stamped_is(b, &e, 1000, 1, WRITE_STORED, 1000);
        stamped_is(b, &e, 1000, 2, WRITE_LOST, 1000);
        stamped_is(b, &e, 1001, UINT64_MAX, WRITE_STORED, 1001);
        stamped_is(b, &e, 1001, UINT64_MAX, WRITE_STORED, 1001);
        stamped_is(b, &e, 1000, 1, WRITE_LOST, 1001);
        stands(b, "stamped", &e, 1001);
        entry_release(&e);
}

static enum write_outcome
expecting(struct bench *b, const struct entry *e, uint64_t expect, uint64_t *version, bool *existed)
{
        struct ask a;

        write_new(b, &a, "expect", e);
        a.call.expect = expect;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        *version = a.call.found_version;
        *existed = a.call.existed;
        return a.call.outcome;
}

static void
test_expect(struct bench *b)
{
        struct entry e, gone;
        uint64_t first, second, v;
        bool existed;

        entry_make(b, &e, "expect", 10, 1, 0);
        entry_make(b, &gone, "expect", 0, 1, ENTRY_TOMBSTONE);
        check_is(expecting(b, &e, 5, &v, &existed), WRITE_CONFLICT);
        check_is(v, 0);
        check_is(expecting(b, &e, EXPECT_ABSENT, &first, &existed), WRITE_STORED);
        check(!existed);
        check_is(expecting(b, &e, EXPECT_ABSENT, &v, &existed), WRITE_CONFLICT);
        check_is(v, first);
        check_is(expecting(b, &e, first + 1, &v, &existed), WRITE_CONFLICT);
        check_is(v, first);
        check_is(expecting(b, &e, first, &second, &existed), WRITE_STORED);
        check(existed && second > first);
        check_is(expecting(b, &gone, EXPECT_ANY, &v, &existed), WRITE_STORED);
        check(existed && v > second);
        check_is(expecting(b, &gone, EXPECT_ANY, &v, &existed), WRITE_STORED);
        check(!existed); /* a tombstone is no value */
        check_is(expecting(b, &e, v, &v, &existed), WRITE_CONFLICT);
        check_is(v, 0);
        check_is(expecting(b, &e, EXPECT_ABSENT, &first, &existed), WRITE_STORED);
        sql("UPDATE pannier.entry SET expires_at = 1 WHERE key = 'expect'");
        absent(b, "expect");
        check_is(expecting(b, &e, EXPECT_ABSENT, &v, &existed), WRITE_STORED);
        check(!existed && v > first);
        entry_release(&e);
        entry_release(&gone);
}

static void
test_new_version(struct bench *b)
{
        uint64_t ahead = b->env.now_us + 3600ull * SECOND;
        struct entry e;
        struct ask a;

        entry_make(b, &e, "version", 10, 1, 0);
        write_new(b, &a, "version", &e);
        a.call.known_us = ahead;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.found_version, ahead + 1);
        check_is(store(b, "version", &e), ahead + 2);
        write_new(b, &a, "version", &e);
        a.call.estimate_us = ahead + SECOND;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.found_version, ahead + SECOND - LIMIT_CLOCK_SLACK_US);
        write_new(b, &a, "version", &e);
        a.call.until_us = b->env.now_us - 100 * MS;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_LATE);
        stands(b, "version", &e, ahead + SECOND - LIMIT_CLOCK_SLACK_US);
        write_new(b, &a, "version", &e);
        a.call.until_us = b->env.now_us + 5 * SECOND;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_STORED);
        entry_release(&e);
}

static void
test_take(struct bench *b)
{
        struct entry e;
        struct ask a;
        struct {
                uint64_t version, origin, gone;
        } takes[] = {{4999, 7, 0}, {5001, 7, 0}, {5000, 8, 0}, {5000, 7, 1}, {5000, 7, 0}};

        entry_make(b, &e, "take", 10, 1, 0);
        e.meta.origin = 7;
        write_stamped(b, &a, "take", &e, 5000);
        check_is(ask_now(b, &a), TIER_ANSWERED);
        for (size_t i = 0; i < sizeof takes / sizeof takes[0]; i++) {
                a = (struct ask){.call = {.verb = TIER_TAKE,
                                          .key = key_text("take"),
                                          .version = takes[i].version,
                                          .origin = takes[i].origin}};
                check_is(ask_now(b, &a), TIER_ANSWERED);
                check_is(a.call.count, takes[i].gone);
        }
        absent(b, "take");
        entry_release(&e);
}

static void
test_tombstone(struct bench *b)
{
        struct entry e;
        struct ask a;
        struct blob *found;

        entry_make(b, &e, "tomb", 0, 1, ENTRY_TOMBSTONE);
        stands(b, "tomb", &e, store(b, "tomb", &e));
        get_key(b, &a, "tomb");
        check_is(ask_now(b, &a), TIER_ANSWERED);
        found = a.call.found;
        check(found != NULL && found->at[ENVELOPE_PREFIX + 5] == ENTRY_TOMBSTONE);
        blob_unref(found);
        entry_release(&e);
}

/* ---- many at once ---- */

enum { MANY = 2000 };

struct many {
        struct ask ask[MANY];
        struct entry entry[MANY];
        char key[MANY][24];
};

static void
many_make(struct bench *b, struct many *m, const char *prefix, size_t len)
{
        for (int i = 0; i < MANY; i++) {
                snprintf(m->key[i], sizeof m->key[i], "%s:%d", prefix, i);
                entry_make(b, &m->entry[i], m->key[i], len, (unsigned)i, 0);
        }
}

static void
many_free(struct many *m)
{
        for (int i = 0; i < MANY; i++)
                entry_release(&m->entry[i]);
        mem_free(m);
}

static void
many_wait(struct bench *b, struct many *m)
{
        for (int i = 0; i < MANY; i++)
                check_is(ask_wait(b, &m->ask[i]), TIER_ANSWERED);
}

/* What a turn brings goes out as a few statements, not as thousands. */
static void
test_batches(struct bench *b)
{
        struct many *m = mem_zalloc(sizeof *m);
        uint64_t version[MANY];

        many_make(b, m, "many", 100);
        for (int i = 0; i < MANY; i++) {
                if (i % 2 == 0)
                        write_new(b, &m->ask[i], m->key[i], &m->entry[i]);
                else
                        write_stamped(b, &m->ask[i], m->key[i], &m->entry[i], (uint64_t)i);
                ask_start(b, b->tier, &m->ask[i], 20 * SECOND);
        }
        env_advance(&b->env);
        check(inside(b->tier)->small.in_flight <= 2 * (MANY / 2 / LIMIT_L3_BATCH + 1));
        many_wait(b, m);
        for (int i = 0; i < MANY; i++) {
                check_is(m->ask[i].call.outcome, WRITE_STORED);
                version[i] = m->ask[i].call.found_version;
        }
        for (int i = 0; i < MANY; i++) {
                get_key(b, &m->ask[i], i % 10 == 3 ? "nobody" : m->key[i]);
                ask_start(b, b->tier, &m->ask[i], 20 * SECOND);
        }
        env_advance(&b->env);
        /* A pooler gets one at a time. */
        check_is(inside(b->tier)->small.in_flight, b->pooled ? 1 : MANY / LIMIT_L3_BATCH + 1);
        many_wait(b, m);
        for (int i = 0; i < MANY; i++) {
                if (i % 10 == 3)
                        check(m->ask[i].call.found == NULL);
                else
                        found_is(b, &m->ask[i], m->key[i], &m->entry[i], version[i]);
        }
        many_free(m);
}

/* A statement takes about a megabyte of values, and no value of one turn is lost. */
static void
test_batches_of_bytes(struct bench *b)
{
        struct ask ask[24];
        struct entry e[24];
        char key[24][24];

        for (int i = 0; i < 24; i++) {
                snprintf(key[i], sizeof key[i], "bytes:%d", i);
                entry_make(b, &e[i], key[i], 250000, (unsigned)i, 0);
                write_stamped(b, &ask[i], key[i], &e[i], 7);
                ask_start(b, b->tier, &ask[i], 20 * SECOND);
        }
        env_advance(&b->env);
        check_is(inside(b->tier)->small.in_flight, b->pooled ? 1 : 6);
        for (int i = 0; i < 24; i++)
                check_is(ask_wait(b, &ask[i]), TIER_ANSWERED);
        for (int i = 0; i < 24; i++) {
                get_key(b, &ask[i], key[i]);
                ask_start(b, b->tier, &ask[i], 20 * SECOND);
        }
        for (int i = 0; i < 24; i++) {
                check_is(ask_wait(b, &ask[i]), TIER_ANSWERED);
                found_is(b, &ask[i], key[i], &e[i], 7);
                entry_release(&e[i]);
        }
}

static void
test_same_key_in_one_turn(struct bench *b)
{
        static const uint64_t versions[8] = {30, 10, 80, 20, 80, 50, 70, 60};
        struct ask ask[16];
        struct entry e;
        uint64_t newest = 0;

        entry_make(b, &e, "same", 10, 1, 0);
        for (int i = 0; i < 8; i++) {
                write_stamped(b, &ask[i], "same", &e, versions[i]);
                ask_start(b, b->tier, &ask[i], 5 * SECOND);
                get_key(b, &ask[8 + i], "same");
                ask_start(b, b->tier, &ask[8 + i], 5 * SECOND);
        }
        for (int i = 0; i < 16; i++) {
                check_is(ask_wait(b, &ask[i]), TIER_ANSWERED);
                blob_unref(ask[i].call.found);
        }
        for (int i = 0; i < 8; i++) {
                bool stored = versions[i] > newest || versions[i] == 80;

                newest = versions[i] > newest ? versions[i] : newest;
                check_is(ask[i].call.outcome, stored ? WRITE_STORED : WRITE_LOST);
                check_is(ask[i].call.found_version, newest);
        }
        stands(b, "same", &e, 80);
        for (int i = 0; i < 16; i++) {
                write_new(b, &ask[i], "same", &e);
                ask_start(b, b->tier, &ask[i], 5 * SECOND);
        }
        newest = 80;
        for (int i = 0; i < 16; i++) {
                check_is(ask_wait(b, &ask[i]), TIER_ANSWERED);
                check_is(ask[i].call.outcome, WRITE_STORED);
                check(ask[i].call.existed && ask[i].call.found_version > newest);
                newest = ask[i].call.found_version;
        }
        stands(b, "same", &e, newest);
        entry_release(&e);
}

static void
test_cancel(struct bench *b)
{
        struct ask ask[40];
        struct entry e;

        entry_make(b, &e, "cancel", 10, 1, 0);
        for (int i = 0; i < 40; i++) {
                if (i % 2 == 0)
                        get_key(b, &ask[i], "cancel");
                else
                        write_new(b, &ask[i], "cancel", &e);
                ask_start(b, b->tier, &ask[i], 5 * SECOND);
                if (i % 4 < 2) /* before it is sent */
                        tier_cancel(b->tier, &ask[i].call);
        }
        env_advance(&b->env);
        for (int i = 2; i < 40; i += 8) /* after */
                tier_cancel(b->tier, &ask[i].call);
        for (int i = 0; i < 40; i++) {
                if (i % 4 < 2 || i % 8 == 2)
                        continue;
                check_is(ask_wait(b, &ask[i]), TIER_ANSWERED);
                blob_unref(ask[i].call.found);
        }
        bench_run(b, 50 * MS);
        for (int i = 0; i < 40; i++)
                check_is(ask[i].done, !(i % 4 < 2 || i % 8 == 2));
        check_is(inside(b->tier)->slots, 0);
        entry_release(&e);
}

/* ---- namespaces ---- */

static enum tier_result
flush(struct bench *b, struct bytes name_space, uint64_t *count)
{
        struct ask a = {.call = {.verb = TIER_FLUSH, .name_space = name_space}};
        enum tier_result result = ask_now(b, &a);

        *count = a.call.count;
        return result;
}

static void
test_flush(struct bench *b)
{
        struct many *m = mem_zalloc(sizeof *m);
        struct entry e, tomb, later;
        uint64_t count, before;
        struct ask a;

        many_make(b, m, "flush", 10);
        for (int i = 0; i < MANY; i++) {
                write_new(b, &m->ask[i], m->key[i], &m->entry[i]);
                ask_start(b, b->tier, &m->ask[i], 20 * SECOND);
        }
        many_wait(b, m);
        entry_make(b, &e, "flush2:x", 10, 1, 0);
        entry_make(b, &tomb, "flush:tomb", 0, 1, ENTRY_TOMBSTONE);
        entry_make(b, &later, "flush:later", 10, 1, 0);
        store(b, "flush2:x", &e);
        store(b, "flush:tomb", &tomb);
        write_new(b, &a, "flush:later", &later);
        a.call.known_us = b->env.now_us + 3600ull * SECOND;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(flush(b, bytes_str("flush"), &count), TIER_ANSWERED);
        check_is(count, MANY);
        absent(b, m->key[0]);
        check_is(sql_number("SELECT count(*) FROM pannier.entry WHERE namespace = 'flush'"), 2);
        check_is(flush(b, bytes_str("flush"), &count), TIER_ANSWERED);
        check_is(count, 0);
        for (int i = 0; i < MANY; i++) {
                write_stamped(b, &m->ask[i], m->key[i], &m->entry[i], 9);
                ask_start(b, b->tier, &m->ask[i], 20 * SECOND);
        }
        many_wait(b, m);
        before = (uint64_t)sql_number(
                "SELECT count(*) FROM pannier.entry WHERE NOT tombstone"
                " AND version < 3000000000000000 AND key NOT IN ('version', 'flush:later')");
        check(before > MANY);
        check_is(flush(b, (struct bytes){0}, &count), TIER_ANSWERED);
        check_is(count, before);
        check_is(sql_number("SELECT count(*) FROM pannier.entry WHERE namespace = 'flush'"), 2);
        entry_release(&e);
        entry_release(&tomb);
        entry_release(&later);
        many_free(m);
}

static void
raise_to(struct bench *b, const char *name, uint64_t version)
{
        struct ask a = {
                .call = {.verb = TIER_RAISE, .name_space = bytes_str(name), .version = version}};

        check_is(ask_now(b, &a), TIER_ANSWERED);
}

static void
test_floors(struct bench *b)
{
        char *long_name = mem_zalloc(60001);
        struct ask a = {.call = {.verb = TIER_FLOORS}};
        uint64_t got_ns = 0, got_empty = 0, got_long = 0;
        struct bytes rest;

        memset(long_name, 'n', 60000);
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check(a.call.found != NULL && a.call.found->len == 0);
        blob_unref(a.call.found);
        raise_to(b, "ns", 100);
        raise_to(b, "ns", 99);
        raise_to(b, "", 50);
        raise_to(b, "", 51);
        raise_to(b, long_name, 7);
        check_is(ask_now(b, &a), TIER_ANSWERED);
        rest = blob_bytes(a.call.found);
        while (rest.len >= 10) {
                size_t len = get_u16(rest.at);
                uint64_t version = get_u64(rest.at + 2 + len);

                if (len == 0)
                        got_empty = version;
                else if (len == 2)
                        got_ns = version;
                else if (len == 60000)
                        got_long = version;
                rest = bytes_from(rest, 10 + len);
        }
        check_is(rest.len, 0);
        check_is(got_ns, 100);
        check_is(got_empty, 51);
        check_is(got_long, 7);
        blob_unref(a.call.found);
        mem_free(long_name);
}

/* ---- sweeping ---- */

static void
wait_for(struct bench *b, const char *query, long long value, uint64_t us)
{
        uint64_t end = b->env.mono_us + us;

        while (sql_number("%s", query) != value && b->env.mono_us < end)
                bench_run(b, 50 * MS);
        check_is(sql_number("%s", query), value);
}

static void
test_sweep(struct bench *b)
{
        struct many *m = mem_zalloc(sizeof *m);
        uint64_t swept = metric_get(&b->metrics, M_l3_swept);
        long long size;
        struct tier *second;

        sql("TRUNCATE pannier.entry");
        many_make(b, m, "sweep", 4000);
        for (int i = 0; i < MANY; i++) {
                write_new(b, &m->ask[i], m->key[i], &m->entry[i]);
                if (i >= 10) /* what stays stands in front, or no room could be given back */
                        m->ask[i].call.keep_until_us = b->env.now_us + SECOND;
                ask_start(b, b->tier, &m->ask[i], 20 * SECOND);
        }
        many_wait(b, m);
        size = sql_number("SELECT pg_total_relation_size('pannier.entry')");
        check(size > MANY * 4000);
        check_is(sql_number("SELECT count(*) FROM pannier.entry"), MANY);
        bench_set(b, O_l3_sweep, "100ms");
        bench_set(b, O_l3_sweep_rows, "300");
        second = bench_tier(
                b, NULL); /* it sweeps by the new numbers; so does a third, of another worker */
        must(bench_up(b, second, true, 5 * SECOND));
        wait_for(b, "SELECT count(*) FROM pannier.entry", 10, 10 * SECOND);
        bench_run(b, 300 * MS); /* the rows are seen to be gone before the sweeper hears of it */
        check_is(metric_get(&b->metrics, M_l3_swept) - swept, MANY - 10);
        absent(b, m->key[MANY - 1]);
        stands(b, m->key[9], &m->entry[9], m->ask[9].call.found_version);
        /* The room comes back by autovacuum. */
        if (!b->pooled) {
                uint64_t end = b->env.mono_us + 40 * SECOND;

                while (sql_number("SELECT pg_total_relation_size('pannier.entry')") > size / 4 &&
                       b->env.mono_us < end)
                        bench_run(b, 200 * MS);
                check(sql_number("SELECT pg_total_relation_size('pannier.entry')") <= size / 4);
        }
        postgres_tier_destroy(second);
        bench_set(b, O_l3_sweep, "10s");
        bench_set(b, O_l3_sweep_rows, "1000");
        many_free(m);
}

static const struct test_case cases[] = {
        {"up", test_up, false},
        {"get_and_write", test_get_and_write, false},
        {"long_key", test_long_key, false},
        {"other_key_of_the_same_hash", test_other_key_of_the_same_hash, false},
        {"stamped", test_stamped, false},
        {"expect", test_expect, false},
        {"new_version", test_new_version, false},
        {"take", test_take, false},
        {"tombstone", test_tombstone, false},
        {"batches", test_batches, false},
        {"batches_of_bytes", test_batches_of_bytes, false},
        {"same_key_in_one_turn", test_same_key_in_one_turn, false},
        {"cancel", test_cancel, false},
        {"flush", test_flush, false},
        {"floors", test_floors, false},
        {"sweep", test_sweep, false},
        {0},
};

int
main(int argc, char **argv)
{
        return cases_run(cases, argc > 1 ? argv[1] : NULL);
}
