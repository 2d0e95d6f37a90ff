/* The estimate of the shared clock: learnt, steady, never backwards. */
#include <criterion/criterion.h>

#include "cache/shared_clock.h"

static const uint64_t wall = 1700000000000000, second = 1000000;

static struct shared_clock
learnt(uint64_t tier_us)
{
        struct shared_clock c;

        shared_clock_init(&c, 500, wall);
        shared_clock_learn(&c, tier_us, 500, 500, wall);
        return c;
}

Test(shared_clock, is_the_wall_clock_before_anything_was_learnt)
{
        struct shared_clock c;

        shared_clock_init(&c, 500, wall);
        cr_expect_eq(shared_clock_now(&c, 500), wall);
        cr_expect_eq(shared_clock_now(&c, 700), wall + 200);
        cr_expect_eq(c.wall_error_us, 0);
}

Test(shared_clock, takes_the_middle_of_the_round_trip)
{
        struct shared_clock c;

        shared_clock_init(&c, 500, wall);
        shared_clock_learn(&c, wall + 10 * second, 1000, 3000, wall + 2500);
        cr_expect_eq(shared_clock_now(&c, 2000), wall + 10 * second);
        cr_expect_eq(shared_clock_now(&c, 2600), wall + 10 * second + 600);
        /* At the answer the tier says 1 ms more than it said; the wall clock said 2500. */
        cr_expect_eq(c.wall_error_us, (int64_t)(10 * second + 1000 - 2500));
}

/* A wall clock an hour ahead must not stop time for an hour. */
Test(shared_clock, steps_back_to_the_first_lesson)
{
        struct shared_clock c;

        shared_clock_init(&c, 500, wall + 3600 * second);
        cr_expect_eq(shared_clock_now(&c, 600), wall + 3600 * second + 100);
        shared_clock_learn(&c, wall, 1000, 1000, wall + 3600 * second);
        cr_expect_eq(shared_clock_now(&c, 1000), wall);
        cr_expect_eq(c.wall_error_us, -(int64_t)(3600 * second));
}

Test(shared_clock, never_runs_backwards_once_learnt)
{
        struct shared_clock c = learnt(wall);

        cr_expect_eq(shared_clock_now(&c, 500 + 5 * second), wall + 5 * second);
        shared_clock_learn(&c, wall + 3 * second, 500 + 6 * second, 500 + 6 * second, wall);
        /* It would have been 6 s, and is 3 s: it stands until the tier caught up. */
        cr_expect_eq(shared_clock_now(&c, 500 + 6 * second), wall + 6 * second);
        cr_expect_eq(shared_clock_now(&c, 500 + 9 * second), wall + 6 * second);
        cr_expect_eq(shared_clock_now(&c, 501 + 9 * second), wall + 6 * second + 1);
        /* Nor where the monotonic clock of another reading does. */
        cr_expect_eq(shared_clock_now(&c, 500 + 8 * second), wall + 6 * second + 1);
}

Test(shared_clock, follows_a_step_forward_at_once)
{
        struct shared_clock c = learnt(wall);

        shared_clock_learn(&c, wall + 3600 * second, 600, 600, wall);
        cr_expect_eq(shared_clock_now(&c, 600), wall + 3600 * second);
}

Test(shared_clock, does_not_believe_what_no_version_can_say)
{
        struct shared_clock c = learnt(wall);

        shared_clock_learn(&c, ((uint64_t)1 << 53) + 1, 600, 600, wall);
        shared_clock_learn(&c, UINT64_MAX, 600, 600, wall);
        cr_expect_eq(shared_clock_now(&c, 600), wall + 100);
        shared_clock_learn(&c, (uint64_t)1 << 53, 600, 600, wall);
        cr_expect_eq(shared_clock_now(&c, 600), (uint64_t)1 << 53);
}

Test(shared_clock, survives_a_tier_that_says_zero)
{
        struct shared_clock c;

        shared_clock_init(&c, 50 * second, wall);
        shared_clock_learn(&c, 0, 50 * second, 50 * second, wall);
        cr_expect_eq(shared_clock_now(&c, 49 * second), 0);
        cr_expect_eq(shared_clock_now(&c, 51 * second), second);
        /* An answer before its question takes no time. */
        shared_clock_learn(&c, wall, 60 * second, 59 * second, wall);
        cr_expect_eq(shared_clock_now(&c, 60 * second), wall);
}
