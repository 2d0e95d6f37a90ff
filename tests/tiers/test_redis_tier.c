/* test_redis_tier: the verbs of the Redis tier against a real Redis, on both loops. */
#include <stdlib.h>
#include <string.h>

#include "redis_harness.h"

/* ---- coming up ---- */

static void
test_up(struct bench *b)
{
        struct tier_state s;

        check(b->tier->up);
        check_is(b->synced, 1);
        check_is(b->kicked, 1);
        check(b->tier->replid != 0);
        check(b->env.clock.learnt);
        check(llabs(b->env.clock.wall_error_us) < 50 * MS);
        b->tier->ops->describe(b->tier, &s);
        check(s.up && strncmp(s.what, "redis ", 6) == 0 && s.trouble[0] == '\0');
        check_is(s.connects, 1);
        check_is(s.in_flight, 0);
        check_is(metric_get(&b->metrics, M_l2_up), 1);
}

static void
test_get_and_write(struct bench *b)
{
        const char *keys[] = {"a:1", "x", "#sharp", "with}brace", "b{c", "k\r\n\"'\\ %s"};
        struct entry e;
        struct ask a;

        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
                uint64_t version;

                absent(b, keys[i]);
                entry_make(b, &e, keys[i], i * 100, 1, 0);
                write_new(b, &a, keys[i], &e);
                check_is(ask_now(b, &a), TIER_ANSWERED);
                check_is(a.call.outcome, WRITE_STORED);
                check(!a.call.existed);
                version = a.call.found_version;
                check(llabs((int64_t)(version - b->env.now_us)) < SECOND);
                stands(b, keys[i], &e, version);
                entry_release(&e);
        }
        check_is(redis_number("EXISTS pn1:v:{a:1} pn1:v:{x} pn1:v:{b{c}"), 3);
}

static void
test_long_key(struct bench *b)
{
        char key[65537];
        struct entry e;

        memset(key, 'k', 65536);
        key[65536] = '\0';
        entry_make(b, &e, key, 10, 1, 0);
        stands(b, key, &e, store(b, key, &e));
        entry_release(&e);
}

static void
test_take(struct bench *b)
{
        struct {
                uint64_t version, origin;
                bool stays;
        } takes[] = {
                {4999, b->env.origin, true},     {5001, b->env.origin, true},
                {5000, b->env.origin + 1, true}, {5000, b->env.origin, false},
                {5000, b->env.origin, false},
        };
        struct entry e;
        struct ask a;

        entry_make(b, &e, "t:1", 10, 3, 0);
        write_stamped(b, &a, "t:1", &e, 5000);
        ask_now(b, &a);
        for (size_t i = 0; i < sizeof takes / sizeof takes[0]; i++) {
                a = (struct ask){.call = {.verb = TIER_TAKE,
                                          .key = key_text("t:1"),
                                          .version = takes[i].version,
                                          .origin = takes[i].origin}};
                check_is(ask_now(b, &a), TIER_ANSWERED);
                check_is(redis_number("EXISTS pn1:v:{t:1}"), takes[i].stays);
        }
        entry_release(&e);
}

static void
test_floors(struct bench *b)
{
        static const char *const names[] = {"a", "", "n:x", "*[]"};
        unsigned seen = 0, long_ones = 200;
        struct bytes rest;
        struct ask a;

        ask_redis("DEL pn1:t:{inv}");
        ask_redis("HSET pn1:t:{inv} t:tag 5");
        a = (struct ask){.call = {.verb = TIER_FLOORS}};
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check(a.call.found == NULL);
        for (uint64_t v = 12; v >= 10; v--) { /* the largest stays */
                for (size_t i = 0; i < 4; i++) {
                        a = (struct ask){.call = {.verb = TIER_RAISE,
                                                  .name_space = bytes_str(names[i]),
                                                  .version = v + i}};
                        check_is(ask_now(b, &a), TIER_ANSWERED);
                        check_is(a.call.found_version, 12 + i);
                }
        }
        for (unsigned i = 0; i < long_ones; i++)
                ask_redis("HSET pn1:t:{inv} n:%0300u 99", i);
        a = (struct ask){.call = {.verb = TIER_FLOORS}};
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check(a.call.found != NULL);
        rest = a.call.found != NULL ? blob_bytes(a.call.found) : (struct bytes){0};
        while (rest.len >= 2) {
                size_t len = get_u16(rest.at);
                struct bytes name = bytes_of(rest.at + 2, len);
                uint64_t version = get_u64(rest.at + 2 + len);

                for (size_t i = 0; i < 4; i++) {
                        if (bytes_equal(name, bytes_str(names[i])) && check_is(version, 12 + i))
                                seen |= 1u << i;
                }
                long_ones -= len == 300 && version == 99;
                rest = bytes_from(rest, 2 + len + 8);
        }
        check_is(seen, 15);
        check_is(long_ones, 0);
        blob_unref(a.call.found);
}

/* ---- FLUSH ---- */

static void
fill(struct bench *b, struct tier *tier, const char *ns, unsigned count)
{
        for (unsigned i = 0; i < count; i++) {
                char key[512];
                struct entry e;
                struct ask a;

                /* Every tenth stands hashed, because of a brace or its length. */
                snprintf(key, sizeof key, "%s:%u%s%0*u", ns, i, i % 20 == 3 ? "}" : "",
                         i % 20 == 13 ? 250 : 1, 0);
                entry_make(b, &e, key, 20, i, 0);
                write_new(b, &a, key, &e);
                ask_start(b, tier, &a, 2 * SECOND);
                check_is(ask_wait(b, &a), TIER_ANSWERED);
                entry_release(&e);
        }
}

static uint64_t
flush(struct bench *b, struct tier *tier, const char *ns)
{
        struct ask a = {.call = {.verb = TIER_FLUSH}};

        if (ns != NULL)
                a.call.name_space = bytes_str(ns);
        ask_start(b, tier, &a, 10 * SECOND);
        check_is(ask_wait(b, &a), TIER_ANSWERED);
        return a.call.count;
}

static void
test_flush(struct bench *b)
{
        struct tier *other = bench_tier(b, NULL, "pn1[*x");
        struct entry e;
        struct ask a;

        check(bench_up(b, other, true, 2 * SECOND));
        ask_redis("FLUSHALL");
        check_is(flush(b, b->tier, NULL), 0);
        fill(b, b->tier, "a", 1500);
        fill(b, b->tier, "a*", 40);
        fill(b, b->tier, "ab", 40);
        fill(b, other, "a", 40);
        entry_make(b, &e, "plain", 20, 1, 0);
        write_new(b, &a, "plain", &e);
        ask_now(b, &a);
        ask_redis("HSET pn1:l:{a:1} g 1 k t");
        ask_redis("HSET pn1:l:{ab:1} g 1 k t");
        ask_redis("HSET pn1:t:{inv} n:a 1");
        ask_redis("SET foreign:v:{a:1} x");
        check_is(flush(b, b->tier, "a*"), 40);
        check_is(flush(b, b->tier, ""), 1);
        check_is(flush(b, b->tier, "nothing"), 0);
        check_is(flush(b, b->tier, "a"), 1500);
        check_is(redis_number("EXISTS pn1:l:{a:1}"), 0);
        check_is(redis_number("EXISTS pn1:l:{ab:1}"), 1);
        check_is(redis_number("DBSIZE"), 40 + 40 + 3);
        check_is(flush(b, other, "a"), 40);
        check_is(flush(b, b->tier, NULL), 40);
        check_is(redis_number("DBSIZE"), 2); /* the floors and what is not ours */
        redis_tier_destroy(other);
        entry_release(&e);
}

/* ---- many at once ---- */

/* Two tiers write one key, everything under way at the same time. */
static void
test_races(struct bench *b)
{
        enum { COUNT = 200 };
        struct tier *two[2] = {b->tier, bench_tier(b, NULL, "pn1")};
        static struct ask asks[COUNT], once[COUNT], last;
        uint64_t newest = 0;
        unsigned stored = 0;
        struct entry e;

        check(bench_up(b, two[1], true, 2 * SECOND));
        entry_make(b, &e, "race:k", 50, 1, 0);
        for (unsigned i = 0; i < COUNT; i++) {
                write_new(b, &asks[i], "race:k", &e);
                ask_start(b, two[i % 2], &asks[i], 2 * SECOND);
                write_new(b, &once[i], "race:once", &e);
                once[i].call.expect = EXPECT_ABSENT;
                ask_start(b, two[i / 2 % 2], &once[i], 2 * SECOND);
        }
        for (unsigned i = 0; i < COUNT; i++) {
                check_is(ask_wait(b, &asks[i]), TIER_ANSWERED);
                check_is(asks[i].call.outcome, WRITE_STORED);
                check_is(ask_wait(b, &once[i]), TIER_ANSWERED);
                stored += once[i].call.outcome == WRITE_STORED;
                for (unsigned k = 0; k < i; k++)
                        check(asks[i].call.found_version != asks[k].call.found_version);
                if (asks[i].call.found_version > newest)
                        newest = asks[i].call.found_version;
        }
        check_is(stored, 1);
        get_key(b, &last, "race:k");
        ask_now(b, &last);
        found_is(b, &last, "race:k", &e, newest);
        entry_release(&e);
        redis_tier_destroy(two[1]);
}

static void
test_cancel(struct bench *b)
{
        struct ask a, c;

        get_key(b, &a, "a:1");
        ask_start(b, b->tier, &a, SECOND);
        tier_cancel(b->tier, &a.call);
        get_key(b, &c, "a:1");
        check_is(ask_now(b, &c), TIER_ANSWERED);
        blob_unref(c.call.found);
        check(!a.done && a.call.found == NULL);
        check_is(metric_get(&b->metrics, M_l2_late), 0);
}

static void
test_script_flush(struct bench *b)
{
        struct entry e;
        struct ask a[3];

        entry_make(b, &e, "s:1", 10, 3, 0);
        ask_redis("SCRIPT FLUSH");
        write_new(b, &a[0], "s:1", &e);
        a[1] = (struct ask){.call = {.verb = TIER_TAKE, .key = key_text("s:2"), .version = 5000}};
        a[2] = (struct ask){
                .call = {.verb = TIER_RAISE, .name_space = bytes_str("s"), .version = 5000}};
        for (int turn = 0; turn < 2; turn++) {
                for (int i = 0; i < 3; i++) {
                        check_is(ask_now(b, &a[i]), TIER_ANSWERED);
                }
                check_is(a[0].call.outcome, WRITE_STORED);
        }
        entry_release(&e);
}

int
main(int argc, char **argv)
{
        static const struct test_case cases[] = {
                {"comes up", test_up},
                {"GET and WRITE", test_get_and_write},
                {"a key of 64 KiB", test_long_key},
                {"TAKE", test_take},
                {"FLOORS and RAISE", test_floors},
                {"FLUSH", test_flush},
                {"races", test_races},
                {"cancelled calls", test_cancel},
                {"SCRIPT FLUSH", test_script_flush},
                {0},
        };

        return cases_run(cases, argc > 1 ? argv[1] : NULL);
}
