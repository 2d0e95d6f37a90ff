/* redis_clock: the shared clock, learnt from Redis' TIME (cache/shared_clock.h keeps it). Owns
 * nothing. An answer that was long under way says little about now: one is asked for up to three
 * times until it comes within TRUSTED_US, and the quickest counts; what took a second is not
 * believed at all (Redis may have been frozen in between). Not here: when it is asked
 * (redis_tier.c). */
#include "io/redis_command.h"
#include "io/redis_state.h"

enum {
        TRUSTED_US = 2 * LIMIT_CLOCK_SLACK_US,
        BELIEVED_US = 1000000,
        TRIES = 3,
        WALL_OFF_US = 1000000,
};

static const uint64_t wall_warning_us = 3600000000;

static void
time_take(struct redis_link *l, struct redis_slot *slot, struct redis_answer *a)
{
        uint64_t seconds, us;

        l->timing.asked = false;
        if (a == NULL)
                return;
        if (!answer_item_number(a, 0, &seconds) || !answer_item_number(a, 1, &us) ||
            seconds > UINT32_MAX || us >= 1000000) {
                redis_link_break(l, "it refuses TIME");
                return;
        }
        l->timing.answer_us = seconds * 1000000 + us;
        l->timing.answer_asked_us = slot->asked_us;
}

void
redis_time_ask(struct redis_link *l)
{
        if (l->timing.asked)
                return;
        l->timing.asked = true;
        command_begin(&l->out, 1);
        command_text(&l->out, "TIME");
        redis_link_ask(l, time_take);
}

static void
time_learn(struct redis_tier *t, uint64_t tier_us, uint64_t asked_us, uint64_t answered_us)
{
        struct env *env = t->env;
        int64_t off_us;

        shared_clock_learn(&env->clock, tier_us, asked_us, answered_us, env->wall_us);
        env->now_us = shared_clock_now(&env->clock, env->mono_us);
        off_us = env->clock.wall_error_us;
        if ((off_us > WALL_OFF_US || off_us < -WALL_OFF_US) &&
            log_every(&t->wall_gate, env->mono_us, wall_warning_us, &(uint64_t){0}))
                log_warn("this host's clock is %.1f s %s that of %s (only Redis' counts)",
                         (double)(off_us < 0 ? -off_us : off_us) / 1e6,
                         off_us < 0 ? "ahead of" : "behind", t->address_text);
}

enum timing_state
redis_time_advance(struct redis_link *l)
{
        struct redis_timing *timing = &l->timing;
        uint64_t now_us = l->tier->env->mono_us, took_us, best_us;
        struct redis_timing best;

        if (timing->answer_us == 0)
                return TIMING_WAITS;
        took_us = now_us - timing->answer_asked_us;
        best_us = timing->best_answered_us - timing->best_asked_us;
        if (timing->best_us == 0 || took_us < best_us) {
                timing->best_us = timing->answer_us;
                timing->best_asked_us = timing->answer_asked_us;
                timing->best_answered_us = now_us;
                best_us = took_us;
        }
        timing->answer_us = 0;
        if (best_us > TRUSTED_US && ++timing->tries < TRIES) {
                redis_time_ask(l);
                return TIMING_WAITS;
        }
        best = *timing;
        timing->best_us = timing->tries = 0;
        if (best_us > BELIEVED_US)
                return TIMING_HOPELESS;
        time_learn(l->tier, best.best_us, best.best_asked_us, best.best_answered_us);
        return TIMING_DONE;
}

/* A script said "late": what it took for now was not later than now. So far the clock is behind for
 * certain; the rest TIME will tell. */
void
redis_time_late(struct redis_tier *t)
{
        uint64_t now_us = t->env->mono_us;

        if (t->late_us == 0)
                return;
        if (shared_clock_now(&t->env->clock, now_us) < t->late_us)
                time_learn(t, t->late_us, now_us, now_us);
        t->late_us = 0;
        if (t->main != NULL)
                redis_time_ask(t->main);
}
