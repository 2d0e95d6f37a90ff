/* redis_tier: L2 as request/tier.h wants it: making and ending it, what it tells of itself, and
 * its task, which does once a turn what the connections noted: judging silence, learning the
 * clock, reconnecting. Owns: the config and everything that redis_state.h hangs on the tier.
 * Borrows: the loop, the env. Limits: see the parts. Not here: a breaker (whoever asks judges),
 * leases, the stream of announcements. */
#include <stdio.h>

#include "base/mem.h"
#include "io/redis_state.h"

/* Something came on the main connection. */
static void
main_heard(struct redis_tier *t)
{
        struct redis_link *l = t->main;

        if (!l->heard)
                return;
        l->heard = false;
        l->heard_us = t->tier.heard_us = t->env->mono_us;
        t->rtt_us = t->env->mono_us - l->rtt_asked_us;
        /* The probe beside it is not needed. */
        if (t->dial != DIAL_IDLE && !l->broken)
                redis_dial_end(t);
}

static void
tier_advance(struct task *task, struct env *env)
{
        struct redis_tier *t = container_of(task, struct redis_tier, task);

        if (t->main != NULL) {
                main_heard(t);
                (void)redis_time_advance(t->main);
        }
        redis_time_late(t);
        if (t->main != NULL && t->main->broken)
                redis_main_lost(t);
        redis_large_advance(t);
        redis_dial_advance(t);
        redis_watch_advance(t);
        if (t->clock_timer.fired) {
                t->clock_timer.fired = false;
                redis_time_ask(t->main);
                redis_watch(t);
                timer_set(&env->timers, &t->clock_timer, task, env->mono_us + LIMIT_CLOCK_LEARN_US);
        }
}

static void
redis_describe(struct tier *tier, struct tier_state *out)
{
        const struct redis_tier *t = container_of(tier, struct redis_tier, tier);

        *out = (struct tier_state){
                .up = t->tier.up,
                .what = t->what,
                .trouble = t->trouble,
                .connects = t->connects,
                .up_since_us = t->up_since_us,
                .last_rtt_us = t->rtt_us,
        };
        if (t->main != NULL)
                out->in_flight += t->main->slot_count;
        if (t->large != NULL)
                out->in_flight += t->large->slot_count;
}

static const struct tier_ops redis_ops = {
        .start = redis_start,
        .cancel = redis_cancel,
        .describe = redis_describe,
};

static void
address_text(const struct redis_url *url, char *out, size_t room)
{
        if (url->path != NULL)
                snprintf(out, room, "%s", url->path);
        else if (strchr(url->host, ':') != NULL)
                snprintf(out, room, "[%s]:%u", url->host, url->port);
        else
                snprintf(out, room, "%s:%u", url->host, url->port);
}

struct tier *
redis_tier_create(struct redis_config config, struct loop *loop, struct env *env, enum err *error)
{
        struct redis_tier *t;

        if ((config.url.host == NULL) == (config.url.path == NULL) || config.prefix == NULL) {
                redis_config_free(&config);
                *error = ERR_BAD_ARGUMENT;
                return NULL;
        }
        t = mem_zalloc(sizeof *t);
        t->tier.ops = &redis_ops;
        t->loop = loop;
        t->env = env;
        t->config = config;
        task_init(&t->task, tier_advance);
        list_init(&t->large_waiting);
        address_text(&config.url, t->address_text, sizeof t->address_text);
        snprintf(t->trouble, sizeof t->trouble, "not connected yet");
        redis_dial(t);
        *error = OK;
        return &t->tier;
}

void
redis_tier_destroy(struct tier *tier)
{
        struct redis_tier *t = container_of(tier, struct redis_tier, tier);

        t->tier.up = false;
        metric_set(t->env->metrics, M_l2_up, 0);
        redis_dial_end(t);
        if (t->large != NULL)
                redis_large_lost(t);
        if (t->main != NULL)
                redis_link_drop(t->main);
        timer_cancel(&t->env->timers, &t->watch_timer);
        timer_cancel(&t->env->timers, &t->clock_timer);
        list_remove(&t->task.ready);
        redis_config_free(&t->config);
        mem_free(t);
}
