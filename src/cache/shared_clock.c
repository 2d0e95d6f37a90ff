/* shared_clock: the estimate of the shared tier's clock. Owns: nothing. Limit: a time beyond 2^53
 * microseconds (the year 2255) is not believed; versions must fit a Lua number exactly. Not here:
 * when to ask, and the warning about a wall clock that is off. */
#include "cache/shared_clock.h"

static const uint64_t time_us_max = (uint64_t)1 << 53;

void
shared_clock_init(struct shared_clock *c, uint64_t mono_us, uint64_t wall_us)
{
        *c = (struct shared_clock){.offset_us = (int64_t)(wall_us - mono_us)};
}

uint64_t
shared_clock_now(struct shared_clock *c, uint64_t mono_us)
{
        uint64_t estimate = mono_us + (uint64_t)c->offset_us;

        /* A tier whose clock is behind our monotonic one, just after boot: before the epoch. */
        if ((int64_t)estimate < 0)
                estimate = 0;
        if (estimate > c->floor_us)
                c->floor_us = estimate;
        return c->floor_us;
}

void
shared_clock_learn(struct shared_clock *c, uint64_t tier_us, uint64_t asked_us,
                   uint64_t answered_us, uint64_t wall_us)
{
        uint64_t middle_us;

        if (tier_us > time_us_max)
                return;
        if (answered_us < asked_us)
                answered_us = asked_us;
        middle_us = asked_us + (answered_us - asked_us) / 2;
        /* What was said by the shared clock stays said: the floor is the last estimate by the old
         * offset. What the wall clock said before does not: an hour ahead, it would stop time. */
        if (c->learnt)
                (void)shared_clock_now(c, answered_us);
        else
                c->floor_us = 0;
        c->learnt = true;
        c->offset_us = (int64_t)(tier_us - middle_us);
        c->wall_error_us = (int64_t)(tier_us + (answered_us - middle_us) - wall_us);
}
