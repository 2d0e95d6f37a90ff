/* Namespaces: what they set, what they take from the default, and which modes there can be. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "cache/policy.h"

static struct policies *p;
static char why[256];

static void
setup(void)
{
        p = policies_create();
}

static void
teardown(void)
{
        policies_destroy(p);
}

static bool
set(const char *name, const char *option, const char *value)
{
        return policies_set(p, bytes_str(name), bytes_str(option), bytes_str(value), why);
}

static uint64_t
number(const char *name, enum policy_id id)
{
        return policy_number(policies_find(p, bytes_str(name)), id);
}

TestSuite(policy, .init = setup, .fini = teardown);

Test(policy, starts_with_the_tables_defaults)
{
        cr_expect_eq(number("default", P_deadline), 50000);
        cr_expect_eq(number("whatever", P_tombstone_ttl), 600000000);
        cr_expect_eq(number("", P_compress), 1);
        cr_expect_eq(number("x", P_mode), MODE_AUTO, "not resolved yet");
}

Test(policy, of_a_namespace_is_its_own)
{
        cr_assert(set("users", "ttl", "5s"));
        cr_assert(set("", "ttl", "6s"));
        cr_assert(set("users", "ttl", "7s"), "the later line counts");
        cr_expect_eq(number("users", P_ttl), 7000000);
        cr_expect_eq(number("", P_ttl), 6000000);
        cr_expect_eq(number("user", P_ttl), 0);
        cr_expect_eq(number("users2", P_ttl), 0);
}

Test(policy, takes_later_lines_of_the_default_but_keeps_its_own)
{
        cr_assert(set("users", "ttl", "5s"));
        cr_assert(set("default", "ttl", "9s"));
        cr_assert(set("default", "grace", "3s"));
        cr_expect_eq(number("users", P_ttl), 5000000);
        cr_expect_eq(number("users", P_grace), 3000000);
        cr_expect_eq(number("others", P_ttl), 9000000);
        cr_assert(policies_resolve(p, true, true, why));
        cr_expect_eq(number("users", P_ttl), 5000000);
        cr_expect_eq(number("users", P_grace), 3000000);
}

/* Set to what the default was: set all the same. */
Test(policy, keeps_a_line_that_says_the_defaults_value)
{
        cr_assert(set("users", "grace", "0s"));
        cr_assert(set("default", "grace", "3s"));
        cr_expect_eq(number("users", P_grace), 0);
}

Test(policy, resolves_auto_by_the_tiers_there_are)
{
        cr_assert(set("users", "ttl", "5s"));
        cr_assert(set("fixed", "mode", "l1"));
        cr_assert(policies_resolve(p, false, false, why));
        cr_expect_eq(number("users", P_mode), MODE_L1);
        cr_assert(policies_resolve(p, true, false, why));
        cr_expect_eq(number("users", P_mode), MODE_L2);
        cr_assert(policies_resolve(p, true, true, why));
        cr_expect_eq(number("users", P_mode), MODE_BEHIND);
        cr_assert(policies_resolve(p, false, true, why));
        cr_expect_eq(number("users", P_mode), MODE_BEHIND);
        cr_expect_eq(number("fixed", P_mode), MODE_L1);
        cr_expect_eq(number("default", P_mode), MODE_BEHIND);
        /* What comes later is resolved at once. */
        cr_assert(set("late", "ttl", "1s"));
        cr_expect_eq(number("late", P_mode), MODE_BEHIND);
}

Test(policy, refuses_a_mode_whose_tier_is_absent)
{
        cr_assert(set("pay", "mode", "through"));
        cr_expect(policies_resolve(p, false, true, why));
        cr_expect_not(policies_resolve(p, true, false, why));
        cr_expect_str_eq(why, "[namespace pay] mode = through needs [l3] url");
        cr_assert(set("pay", "mode", "l2"));
        cr_expect(policies_resolve(p, true, false, why));
        cr_expect_not(policies_resolve(p, false, true, why));
        cr_expect_str_eq(why, "[namespace pay] mode = l2 needs [l2] url");
        cr_assert(set("pay", "mode", "behind"));
        cr_expect_not(policies_resolve(p, true, false, why));
        cr_assert(set("pay", "mode", "l1"));
        cr_expect(policies_resolve(p, false, false, why));
}

Test(policy, says_what_is_wrong)
{
        cr_expect_not(set("users", "tttl", "5s"));
        cr_expect_not_null(strstr(why, "must be one of: ttl grace deadline"), "%s", why);
        cr_expect_not_null(strstr(why, "resp-stale"), "%s", why);
        why[0] = 0;
        cr_expect_not(set("users", "ttl", "soon"));
        cr_expect_neq(why[0], 0);
        cr_expect_not(set("users", "deadline", "61s"), "over the most");
        cr_expect(set("users", "deadline", "60s"));
        cr_expect_not(set("users", "mode", "sideways"));
        cr_expect_not_null(strstr(why, "through"), "%s", why);
        cr_expect_not(set("a:b", "ttl", "5s"));
        cr_expect_not_null(strstr(why, "':'"), "%s", why);
}

Test(policy, does_not_create_what_it_refuses)
{
        cr_expect_not(set("users", "ttl", "soon"));
        cr_expect_null(policies_name(p, 1));
}

Test(policy, bounds_names)
{
        char name[130];

        memset(name, 'n', sizeof name);
        name[129] = 0;
        cr_expect_not(set(name, "ttl", "5s"));
        name[128] = 0;
        cr_expect(set(name, "ttl", "5s"));
        cr_expect_eq(number(name, P_ttl), 5000000);
}

Test(policy, lists_names_in_order_default_first)
{
        char name[16];

        cr_assert(set("z", "ttl", "5s"));
        cr_assert(set("a", "ttl", "5s"));
        cr_assert(set("z", "grace", "5s"));
        cr_expect_str_eq(policies_name(p, 0), "default");
        cr_expect_str_eq(policies_name(p, 1), "z");
        cr_expect_str_eq(policies_name(p, 2), "a");
        cr_expect_null(policies_name(p, 3));
        for (int i = 0; i < 100; i++) {
                snprintf(name, sizeof name, "n%d", i);
                cr_assert(set(name, "deadline", "7ms"));
        }
        cr_expect_str_eq(policies_name(p, 102), "n99");
        cr_expect_eq(number("n0", P_deadline), 7000);
        cr_expect_eq(number("n99", P_deadline), 7000);
}
