/* cache/shared_clock.h: an estimate of the shared tier's clock: an offset to the monotonic clock,
 * learnt from the tier, that never runs backwards. Before anything was learnt: the wall clock at
 * start (from there the first lesson may step back: a wrong wall clock must not stop time). One
 * per worker. */
#ifndef PN_CACHE_SHARED_CLOCK_H
#define PN_CACHE_SHARED_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct shared_clock {          /* embedded; fields belong to shared_clock.c */
        int64_t offset_us;     /* shared = monotonic + offset */
        uint64_t floor_us;     /* the estimate is never below */
        int64_t wall_error_us; /* shared - wall, as last learnt: a metric; a warning beyond 1 s */
        bool learnt;           /* until then the wall clock speaks */
};

void shared_clock_init(struct shared_clock *c, uint64_t mono_us, uint64_t wall_us);
/* The tier said `tier_us` between asked_us and answered_us (monotonic): offset to the middle. */
void shared_clock_learn(struct shared_clock *c, uint64_t tier_us, uint64_t asked_us,
                        uint64_t answered_us, uint64_t wall_us);
uint64_t shared_clock_now(struct shared_clock *c, uint64_t mono_us);

#endif
