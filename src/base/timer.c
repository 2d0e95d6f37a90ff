/* timer: a binary heap of timers, the earliest on top. Owns: the heap's array. Borrows: the timers
 * and their tasks; whoever frees one cancels it first. Setting, moving and cancelling cost O(log
 * n). Limit: none of its own (a timer lives in something that has one). Not here: reading a
 * clock. */
#include "base/timer.h"

#include "base/mem.h"
#include "base/must.h"

void
timers_free(struct timers *ts)
{
        for (size_t i = 1; i <= ts->count; i++)
                ts->heap[i]->place = 0;
        mem_free(ts->heap);
        *ts = (struct timers){0};
}

static void
put(struct timers *ts, size_t place, struct timer *t)
{
        ts->heap[place] = t;
        t->place = place;
}

static void
sift_up(struct timers *ts, struct timer *t)
{
        size_t place = t->place;

        while (place > 1 && ts->heap[place / 2]->at_us > t->at_us) {
                put(ts, place, ts->heap[place / 2]);
                place /= 2;
        }
        put(ts, place, t);
}

static void
sift_down(struct timers *ts, struct timer *t)
{
        size_t place = t->place;

        for (;;) {
                size_t child = place * 2;

                if (child > ts->count)
                        break;
                if (child < ts->count && ts->heap[child + 1]->at_us < ts->heap[child]->at_us)
                        child++;
                if (ts->heap[child]->at_us >= t->at_us)
                        break;
                put(ts, place, ts->heap[child]);
                place = child;
        }
        put(ts, place, t);
}

void
timer_set(struct timers *ts, struct timer *t, struct task *task, uint64_t at_us)
{
        if (t->place == 0) {
                if (ts->count + 1 >= ts->cap) {
                        ts->cap = ts->cap ? ts->cap * 2 : 16;
                        ts->heap = mem_realloc(ts->heap, ts->cap * sizeof *ts->heap);
                }
                put(ts, ++ts->count, t);
        }
        t->task = task;
        t->fired = false;
        t->at_us = at_us;
        sift_up(ts, t);
        sift_down(ts, t);
}

void
timer_cancel(struct timers *ts, struct timer *t)
{
        struct timer *moved;
        size_t place = t->place;

        if (place == 0)
                return;
        must(place <= ts->count && ts->heap[place] == t);
        t->place = 0;
        moved = ts->heap[ts->count--];
        if (moved == t)
                return;
        put(ts, place, moved);
        sift_up(ts, moved);
        sift_down(ts, moved);
}

void
timers_fire(struct timers *ts, uint64_t now_us, struct list *ready)
{
        while (ts->count > 0 && ts->heap[1]->at_us <= now_us) {
                struct timer *t = ts->heap[1];

                timer_cancel(ts, t);
                t->fired = true;
                task_ready(ready, t->task);
        }
}

uint64_t
timers_next(const struct timers *ts)
{
        return ts->count > 0 ? ts->heap[1]->at_us : UINT64_MAX;
}
