/* Landing: what is remembered of a key's versions, how long, and what happens beyond the limit. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/prng.h"
#include "cache/landing.h"

enum { KEEP = LIMIT_LANDING_KEEP_US };

static struct landing *l;

static void
setup(void)
{
        l = landing_create(4);
}

static void
teardown(void)
{
        landing_destroy(l);
}

static struct key
key(unsigned n)
{
        static char text[16];

        snprintf(text, sizeof text, "key%u", n);
        return key_of(bytes_str(text), 1);
}

static uint64_t
newest(unsigned n)
{
        return landing_newest(l, key(n), NULL);
}

TestSuite(landing, .init = setup, .fini = teardown);

Test(landing, knows_nothing_at_first)
{
        uint64_t heard_us = 99;

        cr_expect_eq(landing_newest(l, key(1), &heard_us), 0);
        cr_expect_eq(heard_us, 0);
        cr_expect_eq(landing_count(l), 0);
}

Test(landing, remembers_the_newest_and_when_it_was_heard)
{
        uint64_t heard_us;

        landing_note(l, key(1), 10, 100);
        landing_note(l, key(1), 9, 200);
        landing_note(l, key(1), 10, 300);
        cr_expect_eq(landing_newest(l, key(1), &heard_us), 10);
        cr_expect_eq(heard_us, 100, "heard again is not learnt again");
        landing_note(l, key(1), 11, 400);
        cr_expect_eq(landing_newest(l, key(1), &heard_us), 11);
        cr_expect_eq(heard_us, 400);
        cr_expect_eq(newest(2), 0);
}

Test(landing, forgets_after_its_time_and_not_before)
{
        landing_note(l, key(1), 10, 100);
        landing_sweep(l, 100 + KEEP - 1);
        cr_expect_eq(newest(1), 10);
        landing_sweep(l, 100 + KEEP);
        cr_expect_eq(newest(1), 0);
        cr_expect_eq(landing_count(l), 0);
}

Test(landing, keeps_longer_what_was_heard_again)
{
        landing_note(l, key(1), 10, 100);
        landing_note(l, key(2), 20, 200);
        landing_note(l, key(1), 10, 300);
        landing_sweep(l, 200 + KEEP);
        cr_expect_eq(newest(1), 10);
        cr_expect_eq(newest(2), 0);
        landing_sweep(l, 300 + KEEP);
        cr_expect_eq(newest(1), 0);
}

Test(landing, keeps_while_a_call_is_under_way_and_then_its_time)
{
        struct landmark *first = landing_enter(l, key(1));
        struct landmark *second;

        landing_note(l, key(1), 10, 100);
        second = landing_enter(l, key(1));
        cr_expect_eq(first, second);
        landing_sweep(l, 100 + 10 * (uint64_t)KEEP);
        cr_expect_eq(newest(1), 10);
        landing_leave(l, first, 20 * (uint64_t)KEEP);
        landing_sweep(l, 30 * (uint64_t)KEEP);
        cr_expect_eq(newest(1), 10, "another call is under way");
        landing_leave(l, second, 30 * (uint64_t)KEEP);
        landing_sweep(l, 31 * (uint64_t)KEEP - 1);
        cr_expect_eq(newest(1), 10);
        landing_sweep(l, 31 * (uint64_t)KEEP);
        cr_expect_eq(newest(1), 0);
}

Test(landing, takes_up_a_resting_mark_again)
{
        struct landmark *mark;

        landing_note(l, key(1), 10, 100);
        mark = landing_enter(l, key(1));
        landing_sweep(l, 100 + KEEP);
        cr_expect_eq(newest(1), 10);
        landing_leave(l, mark, 200 + KEEP);
        landing_sweep(l, 100 + 2 * (uint64_t)KEEP);
        cr_expect_eq(newest(1), 10);
}

Test(landing, keeps_no_mark_of_a_call_that_heard_nothing)
{
        struct landmark *mark = landing_enter(l, key(1));

        cr_expect_eq(landing_count(l), 1);
        landing_leave(l, mark, 100);
        cr_expect_eq(landing_count(l), 0);
}

Test(landing, beyond_its_limit_the_oldest_speaks_for_all)
{
        uint64_t heard_us;

        for (unsigned i = 1; i <= 4; i++)
                landing_note(l, key(i), 100 - i, i);
        cr_expect_eq(newest(9), 0);
        landing_note(l, key(5), 7, 50);
        cr_expect_eq(landing_count(l), 4);
        cr_expect_eq(newest(9), 99, "key 1 was the oldest");
        cr_expect_eq(newest(1), 99);
        cr_expect_eq(landing_newest(l, key(5), &heard_us), 99, "7 is below the floor");
        cr_expect_eq(heard_us, 1);
        landing_note(l, key(5), 200, 60);
        cr_expect_eq(landing_newest(l, key(5), &heard_us), 200);
        cr_expect_eq(heard_us, 60);
        landing_sweep(l, 1 + KEEP - 1);
        cr_expect_eq(newest(9), 99);
        landing_sweep(l, 1 + KEEP);
        cr_expect_eq(newest(9), 0, "as long as key 1 would have been remembered");
        cr_expect_eq(newest(2), 98);
}

Test(landing, never_drops_what_is_in_use)
{
        struct landmark *marks[5];
        uint64_t heard_us;

        for (unsigned i = 0; i < 5; i++)
                marks[i] = landing_enter(l, key(i));
        cr_expect_eq(landing_count(l), 5, "as many as calls are under way");
        for (unsigned i = 0; i < 5; i++)
                landing_note(l, key(i), 10 + i, 100);
        /* No room for one more: its version speaks for all. */
        landing_note(l, key(7), 50, 200);
        cr_expect_eq(landing_count(l), 5);
        cr_expect_eq(landing_newest(l, key(7), &heard_us), 50);
        cr_expect_eq(heard_us, 200);
        cr_expect_eq(newest(0), 50);
        landing_sweep(l, 200 + KEEP);
        cr_expect_eq(newest(0), 10);
        cr_expect_eq(newest(7), 0);
        for (unsigned i = 0; i < 5; i++)
                landing_leave(l, marks[i], 300 + KEEP);
}

Test(landing, sweeps_in_small_steps)
{
        struct landing *big = landing_create(1000);
        unsigned calls = 0;

        for (unsigned i = 0; i < 1000; i++)
                landing_note(big, key(i), 1, i);
        while (landing_count(big) > 0) {
                unsigned before = landing_count(big);

                landing_sweep(big, 1000 + (uint64_t)KEEP);
                cr_expect_lt(landing_count(big), before);
                cr_expect_geq(landing_count(big) + 8, before);
                calls++;
        }
        cr_expect_geq(calls, 100);
        landing_destroy(big);
}

Test(landing, of_a_call_outlives_the_floor)
{
        struct landmark *mark;
        uint64_t heard_us;

        for (unsigned i = 1; i <= 5; i++)
                landing_note(l, key(i), 100 - i, i);
        mark = landing_enter(l, key(1)); /* dropped into the floor a moment ago */
        landing_sweep(l, 2 + KEEP);
        cr_expect_eq(newest(9), 0);
        cr_expect_eq(landing_newest(l, key(1), &heard_us), 99);
        cr_expect_eq(heard_us, 1);
        landing_leave(l, mark, 2 + KEEP);
        cr_expect_eq(newest(1), 0);
}

/* Else the floor of one overflow would be told on by every key that was in use then. */
Test(landing, of_a_call_ends_with_it)
{
        struct landmark *mark;

        for (unsigned i = 1; i <= 5; i++)
                landing_note(l, key(i), 100 - i, i);
        mark = landing_enter(l, key(1));
        landing_note(l, key(1), 7, 10);
        landing_sweep(l, 2 + KEEP);
        cr_expect_eq(newest(1), 99);
        landing_leave(l, mark, 2 + KEEP);
        cr_expect_eq(newest(1), 7);
}

/* The oracle: what was noted of each key, and until when it has to be remembered. */
struct notes {
        uint64_t version[64], until_us[64];
        unsigned count, users;
};

static void
notes_forget(struct notes *n, uint64_t now_us)
{
        unsigned left = 0;

        for (unsigned i = 0; i < n->count; i++)
                if (n->users > 0 || now_us < n->until_us[i]) {
                        n->version[left] = n->version[i];
                        n->until_us[left++] = n->until_us[i];
                }
        n->count = left;
}

/* The rule itself: never an answer below what was noted while it had to be remembered. */
Test(landing, never_answers_too_little_whatever_happens)
{
        enum { KEYS = 12, MARKS = 6 };
        static struct notes notes[KEYS];
        struct prng prng = {11};
        struct landmark *marks[MARKS] = {0};
        unsigned of[MARKS] = {0}, forgotten = 0;
        uint64_t now_us = 1000;

        for (int turn = 0; turn < 200000; turn++) {
                unsigned k = (unsigned)prng_below(&prng, KEYS);
                unsigned m = (unsigned)prng_below(&prng, MARKS);
                uint64_t v = prng_below(&prng, 1000000);

                now_us += prng_below(&prng, KEEP / 4);
                for (unsigned i = 0; i < KEYS; i++)
                        notes_forget(&notes[i], now_us);
                landing_sweep(l, now_us);
                if (prng_below(&prng, 2) && notes[k].count < 64) {
                        landing_note(l, key(k), v, now_us);
                        notes[k].version[notes[k].count] = v;
                        notes[k].until_us[notes[k].count++] = now_us + KEEP;
                } else if (marks[m] == NULL) {
                        marks[m] = landing_enter(l, key(of[m] = k));
                        notes[k].users++;
                } else {
                        landing_leave(l, marks[m], now_us);
                        marks[m] = NULL;
                        notes[of[m]].users--;
                        notes_forget(&notes[of[m]], now_us);
                }
                for (unsigned i = 0; i < KEYS; i++) {
                        for (unsigned j = 0; j < notes[i].count; j++)
                                cr_assert_geq(newest(i), notes[i].version[j], "turn %d", turn);
                        forgotten += newest(i) == 0;
                }
                cr_assert_leq(landing_count(l), 4 + MARKS);
        }
        cr_expect_gt(forgotten, 1000, "it does forget: %u", forgotten);
        for (unsigned m = 0; m < MARKS; m++)
                if (marks[m] != NULL)
                        landing_leave(l, marks[m], now_us);
}
