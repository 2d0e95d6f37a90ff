/* base/timer.h: timers in a binary heap. Firing puts the timer's task on the ready list. Pure: the
 * caller brings the time (monotonic microseconds). */
#ifndef PN_BASE_TIMER_H
#define PN_BASE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/task.h"

/* Embedded; zero-initialised is idle. Fields belong to timer.c; `fired` is the owner's to read and
 * reset, and timer_set() resets it. */
struct timer {
        uint64_t at_us;
        size_t place; /* in the heap, from 1; 0 is idle */
        struct task *task;
        bool fired;
};

struct timers { /* zero-initialised is empty */
        struct timer **heap;
        size_t count, cap;
};

void timers_free(struct timers *ts);
/* Sets or moves it; a time that has passed fires at the next timers_fire(). */
void timer_set(struct timers *ts, struct timer *t, struct task *task, uint64_t at_us);
void timer_cancel(struct timers *ts, struct timer *t); /* safe when idle */
static inline bool
timer_idle(const struct timer *t)
{
        return t->place == 0;
}
/* Puts the tasks of all timers due at now_us on the ready list, in the order of their times. */
void timers_fire(struct timers *ts, uint64_t now_us, struct list *ready);
/* When the next one is due; UINT64_MAX if there is none. */
uint64_t timers_next(const struct timers *ts);

#endif
