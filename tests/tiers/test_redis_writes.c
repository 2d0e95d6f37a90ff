/* test_redis_writes: who wins: the rules of the write script, one by one, on both loops. */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "redis_harness.h"

/* ---- the table of write rules ---- */

enum { T = 5000 }; /* versions below are this and a bit: far below any clock */

struct rule {
        const char *what;
        /* what stands there; version 0: nothing */
        uint64_t version;
        bool tombstone, expired, other_origin, other_replid;
        uint64_t grant;
        /* the write */
        enum write_kind kind;
        uint64_t given, expect;
        bool strict;
        /* the answer */
        enum write_outcome outcome;
        uint64_t answer; /* 0: a new version from the clock */
        bool existed;
};

static const struct rule rules[] = {
        {"new on nothing", 0, 0, 0, 0, 0, 0, WRITE_NEW, 0, EXPECT_ANY, 0, WRITE_STORED, 0, 0},
        {"new on a value", T, 0, 0, 0, 0, 0, WRITE_NEW, 0, EXPECT_ANY, 0, WRITE_STORED, 0, 1},
        {"new on a tombstone", T, 1, 0, 0, 0, 0, WRITE_NEW, 0, EXPECT_ANY, 0, WRITE_STORED, 0, 0},
        {"new on what expired", T, 0, 1, 0, 0, 0, WRITE_NEW, 0, EXPECT_ANY, 0, WRITE_STORED, 0, 0},
        {"absent expected", 0, 0, 0, 0, 0, 0, WRITE_NEW, 0, EXPECT_ABSENT, 0, WRITE_STORED, 0, 0},
        {"absent expected: tombstone", T, 1, 0, 0, 0, 0, WRITE_NEW, 0, EXPECT_ABSENT, 0,
         WRITE_STORED, 0, 0},
        {"absent expected: expired", T, 0, 1, 0, 0, 0, WRITE_NEW, 0, EXPECT_ABSENT, 0, WRITE_STORED,
         0, 0},
        {"absent expected: value", T, 0, 0, 0, 0, 0, WRITE_NEW, 0, EXPECT_ABSENT, 0, WRITE_CONFLICT,
         T, 1},
        {"version expected", T, 0, 0, 0, 0, 0, WRITE_NEW, 0, T, 0, WRITE_STORED, 0, 1},
        {"version expected: older", T - 1, 0, 0, 0, 0, 0, WRITE_NEW, 0, T, 0, WRITE_CONFLICT, T - 1,
         1},
        {"version expected: newer", T + 1, 0, 0, 0, 0, 0, WRITE_NEW, 0, T, 0, WRITE_CONFLICT, T + 1,
         1},
        {"version expected: nothing", 0, 0, 0, 0, 0, 0, WRITE_NEW, 0, T, 0, WRITE_CONFLICT, 0, 0},
        {"version expected: tombstone", T, 1, 0, 0, 0, 0, WRITE_NEW, 0, T, 0, WRITE_CONFLICT, 0, 0},
        {"stamped on nothing", 0, 0, 0, 0, 0, 0, WRITE_STAMPED, T, 0, 0, WRITE_STORED, T, 0},
        {"stamped on older", T - 1, 0, 0, 0, 0, 0, WRITE_STAMPED, T, 0, 0, WRITE_STORED, T, 1},
        {"stamped on newer", T + 1, 0, 0, 0, 0, 0, WRITE_STAMPED, T, 0, 0, WRITE_LOST, T + 1, 1},
        {"stamped on newer tombstone", T + 1, 1, 0, 0, 0, 0, WRITE_STAMPED, T, 0, 0, WRITE_LOST,
         T + 1, 0},
        {"stamped on newer, expired", T + 1, 0, 1, 0, 0, 0, WRITE_STAMPED, T, 0, 0, WRITE_LOST,
         T + 1, 0},
        {"stamped on itself", T, 0, 0, 0, 0, 0, WRITE_STAMPED, T, 0, 0, WRITE_STORED, T, 1},
        {"stamped on the same of another", T, 0, 0, 1, 0, 0, WRITE_STAMPED, T, 0, 0, WRITE_LOST, T,
         1},
        {"stamped, other replication id", T + 1, 0, 0, 0, 1, 0, WRITE_STAMPED, T, 0, 1, WRITE_LOST,
         T + 1, 1},
        {"promoted on nothing", 0, 0, 0, 0, 0, 0, WRITE_PROMOTED, T, 0, 0, WRITE_STORED, T, 0},
        {"promoted on older", T - 1, 0, 0, 0, 0, 0, WRITE_PROMOTED, T, 0, 0, WRITE_STORED, T, 1},
        {"promoted on newer", T + 1, 0, 0, 0, 0, 0, WRITE_PROMOTED, T, 0, 0, WRITE_LOST, T + 1, 1},
        {"promoted on newer tombstone", T + 1, 1, 0, 0, 0, 0, WRITE_PROMOTED, T, 0, 0, WRITE_LOST,
         T + 1, 0},
        {"promoted on itself", T, 0, 0, 0, 0, 0, WRITE_PROMOTED, T, 0, 0, WRITE_STORED, T, 1},
        {"promoted, other replication id, lax", T + 1, 0, 0, 0, 1, 0, WRITE_PROMOTED, T, 0, 0,
         WRITE_LOST, T + 1, 1},
        {"promoted, other replication id, strict", T + 1, 0, 0, 0, 1, 0, WRITE_PROMOTED, T, 0, 1,
         WRITE_STORED, T, 1},
        {"promoted, same replication id, strict", T + 1, 0, 0, 0, 0, 0, WRITE_PROMOTED, T, 0, 1,
         WRITE_LOST, T + 1, 1},
        {"new ends a lease", 0, 0, 0, 0, 0, T, WRITE_NEW, 0, EXPECT_ANY, 0, WRITE_STORED, 0, 0},
        {"stamped above a grant ends it", 0, 0, 0, 0, 0, T - 1, WRITE_STAMPED, T, 0, 0,
         WRITE_STORED, T, 0},
        {"stamped below a grant leaves it", 0, 0, 0, 0, 0, T + 1, WRITE_STAMPED, T, 0, 0,
         WRITE_STORED, T, 0},
        {"promoted leaves a lease", 0, 0, 0, 0, 0, T - 1, WRITE_PROMOTED, T, 0, 0, WRITE_STORED, T,
         0},
};

/* Puts a value there behind the tier's back. */
static void
plant(struct bench *b, const struct rule *r)
{
        const char *argv[3] = {"SET", "pn1:v:{rule:k}"};
        size_t len[3] = {3, 14};
        uint64_t origin = b->env.origin, replid = b->tier->replid;
        struct entry e;

        ask_redis("DEL pn1:v:{rule:k} pn1:l:{rule:k}");
        if (r->grant != 0)
                ask_redis("HSET pn1:l:{rule:k} g %llu k token", (unsigned long long)r->grant);
        if (r->version == 0)
                return;
        b->env.origin += r->other_origin;
        b->tier->replid += r->other_replid;
        entry_make_until(b, &e, "rule:k", 100, 2, r->tombstone ? ENTRY_TOMBSTONE : 0,
                         r->expired ? 1000000 : UINT64_MAX);
        b->env.origin = origin;
        b->tier->replid = replid;
        envelope_set_version(&e, r->version);
        argv[2] = (const char *)e.blob->at;
        len[2] = e.blob->len;
        ask_redis_raw(3, argv, len);
        entry_release(&e);
}

static void
test_rules(struct bench *b)
{
        struct entry e;

        entry_make(b, &e, "rule:k", 120, 3, 0);
        for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
                const struct rule *r = &rules[i];
                bool fine = true, ends;
                struct ask a;

                plant(b, r);
                write_given(b, &a, "rule:k", &e, r->kind, r->given);
                a.call.expect = r->expect;
                a.call.replid_strict = r->strict;
                fine &= check_is(ask_now(b, &a), TIER_ANSWERED);
                fine &= check_is(a.call.outcome, r->outcome);
                fine &= check_is(a.call.existed, r->existed);
                if (r->answer != 0 || r->outcome == WRITE_CONFLICT)
                        fine &= check_is(a.call.found_version, r->answer);
                else
                        fine &= check(llabs((int64_t)(a.call.found_version - b->env.now_us)) <
                                      SECOND);
                if (r->outcome == WRITE_STORED && r->version != r->given) {
                        uint64_t version = a.call.found_version;

                        get_key(b, &a, "rule:k");
                        ask_now(b, &a);
                        fine &= found_is(b, &a, "rule:k", &e, version);
                }
                ends = r->kind != WRITE_PROMOTED &&
                       !(r->kind == WRITE_STAMPED && r->grant > r->given);
                if (r->grant != 0)
                        fine &= check_is(redis_number("HEXISTS pn1:l:{rule:k} k"), !ends) &&
                                check_is(redis_number("HEXISTS pn1:l:{rule:k} g"), 1);
                if (!fine)
                        printf("#   in: %s\n", r->what);
        }
        entry_release(&e);
}

/* A version is above everything that the writer or the tier knows. */
static void
test_versions(struct bench *b)
{
        uint64_t far = b->env.now_us + 3600 * (uint64_t)SECOND;
        struct rule there = {.version = far};
        struct entry e;
        struct ask a;

        entry_make(b, &e, "rule:k", 10, 3, 0);
        plant(b, &there);
        write_new(b, &a, "rule:k", &e);
        ask_now(b, &a);
        check_is(a.call.found_version, far + 1);
        there = (struct rule){.grant = far};
        plant(b, &there);
        write_new(b, &a, "rule:k", &e);
        ask_now(b, &a);
        check_is(a.call.found_version, far + 1);
        there.grant = 0;
        plant(b, &there);
        write_new(b, &a, "rule:k", &e);
        a.call.known_us = far;
        ask_now(b, &a);
        check_is(a.call.found_version, far + 1);
        plant(b, &there);
        write_new(b, &a, "rule:k", &e);
        a.call.estimate_us = far;
        ask_now(b, &a);
        check_is(a.call.found_version, far - LIMIT_CLOCK_SLACK_US);
        entry_release(&e);
}

static void
test_late(struct bench *b)
{
        struct entry e;
        struct ask a;
        uint64_t now_us;

        entry_make(b, &e, "late:k", 10, 3, 0);
        write_new(b, &a, "late:k", &e);
        a.call.until_us = b->env.now_us + SECOND;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_STORED);
        /* Our clock goes a minute slow; the refusal puts it right before the caller goes on. */
        ask_redis("DEL pn1:v:{late:k}");
        b->env.clock.offset_us -= 60 * (int64_t)SECOND;
        b->env.clock.floor_us = 0;
        env_clock(&b->env, b->env.mono_us, b->env.wall_us);
        write_new(b, &a, "late:k", &e);
        a.call.until_us = b->env.now_us + SECOND;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_LATE);
        check_is(redis_number("EXISTS pn1:v:{late:k}"), 0);
        now_us = shared_clock_now(&b->env.clock, b->env.mono_us);
        check(llabs((int64_t)(now_us - b->env.wall_us)) < 50 * MS);
        check(now_us >= a.call.found_version);
        entry_release(&e);
}

static void
test_expiry(struct bench *b)
{
        struct entry e;
        struct ask a;

        entry_make(b, &e, "x:1", 10, 3, 0);
        write_new(b, &a, "x:1", &e);
        a.call.keep_until_us = b->env.now_us + 5 * SECOND;
        ask_now(b, &a);
        check(llabs(redis_number("PTTL pn1:v:{x:1}") - 5000) < 200);
        write_new(b, &a, "x:1", &e);
        ask_now(b, &a);
        check_is(redis_number("PTTL pn1:v:{x:1}"), (uint64_t)-1);
        for (uint64_t past = 0; past < 2; past++) {
                write_new(b, &a, "x:1", &e);
                a.call.keep_until_us = past;
                check_is(ask_now(b, &a), TIER_ANSWERED);
                check_is(a.call.outcome, WRITE_STORED);
                bench_run(b, 5 * MS);
                check_is(redis_number("EXISTS pn1:v:{x:1}"), 0);
        }
        entry_release(&e);
}

/* What is there is no envelope, of a newer format, or not even a string. */
static void
test_strangers(struct bench *b)
{
        struct rule newer = {.version = T + 1};
        struct entry e;
        struct ask a;

        entry_make(b, &e, "rule:k", 10, 3, 0);
        ask_redis("SET pn1:v:{rule:k} %s", "some text that is by no means an envelope of ours");
        write_stamped(b, &a, "rule:k", &e, T);
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_STORED);
        check(!a.call.existed);
        ask_redis("DEL pn1:v:{rule:k}");
        ask_redis("SET pn1:v:{rule:k} %b", "\xff\xff\xff\xff\xff\xff\xff\xffPNEV\x01", (size_t)13);
        write_stamped(b, &a, "rule:k", &e, T);
        ask_now(b, &a);
        check_is(a.call.outcome, WRITE_STORED);
        for (int older = 0; older < 2; older++) {
                newer.version = older ? T - 1 : T + 1;
                plant(b, &newer);
                ask_redis("SETRANGE pn1:v:{rule:k} 12 %b", "\x02", (size_t)1);
                write_given(b, &a, "rule:k", &e, WRITE_PROMOTED, T);
                a.call.replid_strict = true;
                ask_now(b, &a);
                check_is(a.call.outcome, WRITE_LOST);
                check_is(a.call.found_version, newer.version);
        }
        ask_redis("DEL pn1:v:{rule:k}");
        ask_redis("HSET pn1:v:{rule:k} a b");
        get_key(b, &a, "rule:k");
        check_is(ask_now(b, &a), TIER_FAILED);
        write_new(b, &a, "rule:k", &e);
        check_is(ask_now(b, &a), TIER_FAILED);
        check(metric_get(&b->metrics, M_l2_errors) >= 2);
        ask_redis("DEL pn1:v:{rule:k}");
        entry_release(&e);
}

int
main(int argc, char **argv)
{
        static const struct test_case cases[] = {
                {"the table of write rules", test_rules},
                {"versions are above what is known", test_versions},
                {"a late write does nothing", test_late},
                {"how long Redis keeps it", test_expiry},
                {"what is not ours", test_strangers},
                {0},
        };

        return cases_run(cases, argc > 1 ? argv[1] : NULL);
}
