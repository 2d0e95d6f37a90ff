/* Soft and hard expiry, and how long each tier keeps an entry. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "cache/lifetime.h"

static const uint64_t second = 1000000, now = 1700000000000000;

static struct options options;
static struct policies *policies;

static void
set(const char *option, const char *value)
{
        char why[256];

        cr_assert(policies_set(policies, bytes_str("default"), bytes_str(option), bytes_str(value),
                               why),
                  "%s", why);
}

static const struct policy *
policy(void)
{
        return policies_find(policies, bytes_str("default"));
}

static void
setup(void)
{
        options_init(&options);
        policies = policies_create();
        set("mode", "behind");
}

static void
teardown(void)
{
        policies_destroy(policies);
        options_deinit(&options);
}

static struct meta
decide(const char *key, struct lifetime_asked asked)
{
        struct meta m = {0};

        lifetime_decide(&m, key_of(bytes_str(key), 1), asked, policy(), &options, now);
        return m;
}

static uint64_t
keep(const struct meta *m, enum keeper tier, enum keeper lowest)
{
        return lifetime_keep(m, key_of(bytes_str("k"), 1), tier, lowest, policy(), &options, now);
}

TestSuite(lifetime, .init = setup, .fini = teardown);

Test(lifetime, takes_what_the_caller_named_to_the_microsecond)
{
        struct meta m = decide("k", (struct lifetime_asked){.ttl_us = 7 * second});

        cr_expect_eq(m.soft_us, now + 7 * second);
        cr_expect_eq(m.hard_us, now + 7 * second);
        m = decide("k", (struct lifetime_asked){.ttl_us = 1, .grace_us = 2, .grace_named = true});
        cr_expect_eq(m.soft_us, now + 1);
        cr_expect_eq(m.hard_us, now + 3);
}

Test(lifetime, adds_the_policys_grace_unless_one_is_named)
{
        struct meta m;

        set("grace", "10s");
        m = decide("k", (struct lifetime_asked){.ttl_us = second});
        cr_expect_eq(m.soft_us, now + second);
        cr_expect_eq(m.hard_us, now + 11 * second);
        m = decide("k", (struct lifetime_asked){.ttl_us = second, .grace_named = true});
        cr_expect_eq(m.hard_us, now + second);
}

static void
expect_jittered(uint64_t until, uint64_t span)
{
        cr_expect_leq(until, now + span);
        cr_expect_geq(until, now + span - span / 10);
}

Test(lifetime, shortens_what_the_server_chose_by_a_tenth_at_most)
{
        uint64_t least = UINT64_MAX, most = 0;
        char key[16];

        set("ttl", "100s");
        for (int i = 0; i < 2000; i++) {
                struct meta m;

                snprintf(key, sizeof key, "key%d", i);
                m = decide(key, (struct lifetime_asked){0});
                expect_jittered(m.soft_us, 100 * second);
                cr_expect_eq(m.soft_us, m.hard_us);
                cr_expect_eq(m.soft_us, decide(key, (struct lifetime_asked){0}).soft_us);
                least = m.soft_us < least ? m.soft_us : least;
                most = m.soft_us > most ? m.soft_us : most;
        }
        /* Spread over the whole tenth. */
        cr_expect_lt(least, now + 90 * second + second / 5);
        cr_expect_gt(most, now + 100 * second - second / 5);
}

Test(lifetime, without_a_ttl_is_the_l3_cap_or_never_in_mode_l1)
{
        struct meta m = decide("k", (struct lifetime_asked){0});

        expect_jittered(m.soft_us, 24 * 3600 * second);
        set("mode", "l2");
        expect_jittered(decide("k", (struct lifetime_asked){0}).soft_us, 24 * 3600 * second);
        set("mode", "l1");
        set("grace", "1s");
        m = decide("k", (struct lifetime_asked){0});
        cr_expect_eq(m.soft_us, UINT64_MAX);
        cr_expect_eq(m.hard_us, UINT64_MAX);
        set("ttl", "1s");
        expect_jittered(decide("k", (struct lifetime_asked){0}).soft_us, second);
}

Test(lifetime, saturates)
{
        struct lifetime_asked asked = {
                .ttl_us = UINT64_MAX - now, .grace_us = 1, .grace_named = true};
        struct meta m;

        m = decide("k", asked);
        cr_expect_eq(m.soft_us, UINT64_MAX);
        cr_expect_eq(m.hard_us, UINT64_MAX);
        asked.ttl_us--;
        m = decide("k", asked);
        cr_expect_eq(m.soft_us, UINT64_MAX - 1);
        cr_expect_eq(m.hard_us, UINT64_MAX);
        asked = (struct lifetime_asked){
                .ttl_us = second, .grace_us = UINT64_MAX, .grace_named = true};
        cr_expect_eq(decide("k", asked).hard_us, UINT64_MAX);
}

Test(lifetime, caps_a_tier_where_a_lower_one_holds_it)
{
        struct meta m = {.version = 5, .soft_us = UINT64_MAX, .hard_us = UINT64_MAX};

        expect_jittered(keep(&m, KEEPER_L1, KEEPER_L2), 300 * second);
        expect_jittered(keep(&m, KEEPER_L1, KEEPER_L3), 300 * second);
        expect_jittered(keep(&m, KEEPER_L2, KEEPER_L3), 3600 * second);
        cr_expect_eq(keep(&m, KEEPER_L1, KEEPER_L1), UINT64_MAX);
        cr_expect_eq(keep(&m, KEEPER_L2, KEEPER_L2), UINT64_MAX);
        cr_expect_eq(keep(&m, KEEPER_L3, KEEPER_L3), UINT64_MAX);
}

Test(lifetime, never_keeps_past_hard)
{
        struct meta m = {.version = 5, .soft_us = now, .hard_us = now + second};

        cr_expect_eq(keep(&m, KEEPER_L1, KEEPER_L3), now + second);
        cr_expect_eq(keep(&m, KEEPER_L2, KEEPER_L3), now + second);
        cr_expect_eq(keep(&m, KEEPER_L3, KEEPER_L3), now + second);
        m.hard_us = now - 1;
        cr_expect_eq(keep(&m, KEEPER_L1, KEEPER_L3), now - 1);
        m.flags = ENTRY_TOMBSTONE;
        cr_expect_eq(keep(&m, KEEPER_L1, KEEPER_L3), now - 1);
}

Test(lifetime, jitters_a_cap_by_key_and_version)
{
        struct meta m = {.version = 5, .hard_us = UINT64_MAX};
        uint64_t until = keep(&m, KEEPER_L1, KEEPER_L3);

        cr_expect_eq(keep(&m, KEEPER_L1, KEEPER_L3), until);
        m.version = 6;
        cr_expect_neq(keep(&m, KEEPER_L1, KEEPER_L3), until);
}

Test(lifetime, keeps_a_tombstone_as_long_as_the_policy_says)
{
        struct meta m = {.version = 5, .hard_us = UINT64_MAX, .flags = ENTRY_TOMBSTONE};

        set("tombstone-ttl", "20s");
        cr_expect_eq(keep(&m, KEEPER_L1, KEEPER_L3), now + 20 * second);
        cr_expect_eq(keep(&m, KEEPER_L2, KEEPER_L3), now + 20 * second);
        cr_expect_eq(keep(&m, KEEPER_L3, KEEPER_L3), now + 20 * second);
}
