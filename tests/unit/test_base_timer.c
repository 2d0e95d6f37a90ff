/* Timers: order, moving, cancelling at every place of the heap. */
#include <criterion/criterion.h>

#include "base/prng.h"
#include "base/timer.h"

enum { MANY = 200 };

struct alarm {
        struct task task;
        struct timer timer;
};

static struct alarm alarms[MANY];
static struct timers timers;
static struct list ready;

static void
no_advance(struct task *task, struct env *env)
{
        (void)task;
        (void)env;
}

static void
setup(void)
{
        list_init(&ready);
        for (int i = 0; i < MANY; i++)
                task_init(&alarms[i].task, no_advance);
}

static void
teardown(void)
{
        timers_free(&timers);
}

static void
set(int i, uint64_t at_us)
{
        timer_set(&timers, &alarms[i].timer, &alarms[i].task, at_us);
}

/* The index of the next ready alarm; -1 when there is none. */
static int
next_ready(void)
{
        struct list *node = list_pop(&ready);

        return node == NULL ? -1 : (int)(container_of(node, struct alarm, task.ready) - alarms);
}

TestSuite(timer, .init = setup, .fini = teardown);

Test(timer, nothing_is_due_when_there_are_none)
{
        cr_expect_eq(timers_next(&timers), UINT64_MAX);
        timers_fire(&timers, UINT64_MAX, &ready);
        cr_expect(list_empty(&ready));
        timer_cancel(&timers, &alarms[0].timer);
        cr_expect(timer_idle(&alarms[0].timer));
}

Test(timer, fires_at_its_time_and_not_before)
{
        set(0, 100);
        cr_expect_eq(timers_next(&timers), 100);
        timers_fire(&timers, 99, &ready);
        cr_expect_eq(next_ready(), -1);
        cr_expect_not(alarms[0].timer.fired);
        timers_fire(&timers, 100, &ready);
        cr_expect_eq(next_ready(), 0);
        cr_expect(alarms[0].timer.fired);
        cr_expect(timer_idle(&alarms[0].timer));
        timers_fire(&timers, 101, &ready);
        cr_expect_eq(next_ready(), -1, "it fires once");
}

Test(timer, fires_in_the_order_of_time)
{
        set(0, 30);
        set(1, 10);
        set(2, 20);
        set(3, 40);
        timers_fire(&timers, 30, &ready);
        cr_expect_eq(next_ready(), 1);
        cr_expect_eq(next_ready(), 2);
        cr_expect_eq(next_ready(), 0);
        cr_expect_eq(next_ready(), -1);
        cr_expect_eq(timers_next(&timers), 40);
}

Test(timer, may_be_moved_both_ways)
{
        set(0, 10);
        set(1, 20);
        set(2, 30);
        set(0, 25);
        cr_expect_eq(timers_next(&timers), 20);
        set(2, 5);
        cr_expect_eq(timers_next(&timers), 5);
        cr_expect_eq(timers.count, 3);
        timers_fire(&timers, 100, &ready);
        cr_expect_eq(next_ready(), 2);
        cr_expect_eq(next_ready(), 1);
        cr_expect_eq(next_ready(), 0);
}

Test(timer, setting_it_again_forgets_that_it_fired)
{
        set(0, 10);
        timers_fire(&timers, 10, &ready);
        cr_expect(alarms[0].timer.fired);
        set(0, 20);
        cr_expect_not(alarms[0].timer.fired);
}

Test(timer, a_cancelled_one_never_fires)
{
        set(0, 10);
        set(1, 20);
        timer_cancel(&timers, &alarms[0].timer);
        cr_expect(timer_idle(&alarms[0].timer));
        cr_expect_eq(timers_next(&timers), 20);
        timers_fire(&timers, 100, &ready);
        cr_expect_eq(next_ready(), 1);
        cr_expect_eq(next_ready(), -1);
}

/* Random sets, moves and cancels: each step leaves the earliest on top, and the rest fires in
 * order. */
Test(timer, heap_holds_under_random_work)
{
        struct prng p = {20240607};
        uint64_t last = 0;

        for (int step = 0; step < 20000; step++) {
                int i = (int)prng_below(&p, MANY);
                uint64_t earliest = UINT64_MAX;

                if (prng_below(&p, 3) == 0)
                        timer_cancel(&timers, &alarms[i].timer);
                else
                        set(i, 1 + prng_below(&p, 1000));
                for (int k = 0; k < MANY; k++) {
                        if (!timer_idle(&alarms[k].timer) && alarms[k].timer.at_us < earliest)
                                earliest = alarms[k].timer.at_us;
                }
                cr_assert_eq(timers_next(&timers), earliest, "after step %d", step);
        }
        cr_assert_gt(timers.count, 0);
        timers_fire(&timers, 1000, &ready);
        cr_expect_eq(timers.count, 0);
        for (int i; (i = next_ready()) >= 0; last = alarms[i].timer.at_us)
                cr_assert_geq(alarms[i].timer.at_us, last);
}

Test(timer, freeing_the_heap_leaves_its_timers_idle)
{
        set(0, 10);
        timers_free(&timers);
        cr_expect(timer_idle(&alarms[0].timer));
        set(0, 20);
        cr_expect_eq(timers_next(&timers), 20);
}
