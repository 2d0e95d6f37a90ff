/* redis_dial: when and whereto the tier connects, and what follows when it comes up or goes down.
 * Owns: the fresh connection while it is on its way, and the question for addresses. Names are
 * resolved anew for each round, on a helper thread. A refused round is followed by a pause, 50 ms
 * at first and at most 2 s; one that met silence is followed at once: a frozen Redis that
 * continues is to find a connection waiting. While the main connection is only silent, the fresh
 * one is a probe: whichever is heard first stays. Limits: REDIS_ADDRESSES. Not here: the handshake
 * (redis_link.c). */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/mem.h"
#include "io/redis_state.h"
#include "request/floors.h"
#include "request/queues.h"

enum { PAUSE_FIRST_US = 50000, PAUSE_MAX_US = 2000000 };

struct redis_resolve { /* may outlive the tier */
        struct job job;
        struct task task;
        struct redis_tier *tier; /* NULL: nobody waits */
        char host[256], port[8];
        int error;
        struct redis_address addresses[REDIS_ADDRESSES];
        unsigned count;
};

static void dial_try(struct redis_tier *t);

/* ---- addresses ---- */

/* Both threads use it: no reading of the tier here. */
static void
resolve_by(struct redis_resolve *r, int flags)
{
        struct addrinfo hints = {
                .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
        struct addrinfo *found = NULL;

        r->error = getaddrinfo(r->host, r->port, &hints, &found);
        if (r->error != 0)
                return;
        for (struct addrinfo *a = found; a != NULL && r->count < REDIS_ADDRESSES; a = a->ai_next) {
                if (a->ai_addrlen > sizeof r->addresses[0].at)
                        continue;
                memcpy(&r->addresses[r->count].at, a->ai_addr, a->ai_addrlen);
                r->addresses[r->count++].len = a->ai_addrlen;
        }
        freeaddrinfo(found);
}

static void
resolve_work(struct job *job)
{
        resolve_by(container_of(job, struct redis_resolve, job), 0);
}

static void
dial_pause(struct redis_tier *t, bool at_once)
{
        unsigned doublings = t->failures < 6 ? t->failures : 6;
        uint64_t pause_us = (uint64_t)PAUSE_FIRST_US << doublings;

        if (pause_us > PAUSE_MAX_US)
                pause_us = PAUSE_MAX_US;
        if (at_once)
                pause_us = PAUSE_FIRST_US;
        else
                t->failures++;
        /* Half of it is chance: a fleet must not come back in step. */
        pause_us = pause_us / 2 + prng_below(&t->env->prng, pause_us / 2 + 1);
        t->dial = DIAL_WAITING;
        timer_set(&t->env->timers, &t->dial_timer, &t->task, t->env->mono_us + pause_us);
}

static const char *
worker_text(const struct redis_tier *t, char out[static 32])
{
        out[0] = '\0';
        if (t->env->count > 1)
                snprintf(out, 32, " (worker %u)", t->env->index);
        return out;
}

static void
say_down(struct redis_tier *t)
{
        char worker[32];

        if (t->said_down)
                return;
        t->said_down = true;
        log_warn("l2: %s is down%s: %s; trying on", t->address_text, worker_text(t, worker),
                 t->trouble);
}

/* A round is over. */
static void
dial_failed(struct redis_tier *t, bool silent)
{
        if (t->main == NULL)
                say_down(t);
        dial_pause(t, silent);
}

static void
resolved(struct redis_tier *t, struct redis_resolve *r)
{
        if (r->count == 0) {
                snprintf(t->trouble, sizeof t->trouble, "no address: %s",
                         r->error != 0 ? gai_strerror(r->error) : "none of a usable kind");
                dial_failed(t, false);
                return;
        }
        memcpy(t->addresses, r->addresses, sizeof t->addresses);
        t->address_count = r->count;
        t->address_next = 0;
        dial_try(t);
}

static void
resolve_advance(struct task *task, struct env *env)
{
        struct redis_resolve *r = container_of(task, struct redis_resolve, task);

        (void)env;
        if (r->tier != NULL) {
                r->tier->resolve = NULL;
                resolved(r->tier, r);
        }
        mem_free(r);
}

static void
dial_resolve(struct redis_tier *t)
{
        const struct redis_url *url = &t->config.url;
        struct redis_resolve *r = mem_zalloc(sizeof *r);

        snprintf(r->host, sizeof r->host, "%s", url->host);
        snprintf(r->port, sizeof r->port, "%u", url->port);
        list_init(&r->job.link);
        task_init(&r->task, resolve_advance);
        r->job.owner = &r->task;
        r->job.work = resolve_work;
        resolve_by(r, AI_NUMERICHOST | AI_NUMERICSERV);
        if (r->count > 0) {
                resolved(t, r);
                mem_free(r);
                return;
        }
        r->tier = t;
        t->resolve = r;
        t->dial = DIAL_RESOLVING;
        t->env->offload(t->env, &r->job);
}

/* ---- rounds ---- */

static void
dial_begin(struct redis_tier *t)
{
        struct sockaddr_un at = {.sun_family = AF_UNIX};

        if (t->config.url.path == NULL) {
                dial_resolve(t);
                return;
        }
        snprintf(at.sun_path, sizeof at.sun_path, "%s", t->config.url.path);
        memcpy(&t->addresses[0].at, &at, sizeof at);
        t->addresses[0].len = sizeof at;
        t->address_count = 1;
        t->address_next = 0;
        dial_try(t);
}

void
redis_dial(struct redis_tier *t)
{
        if (t->dial == DIAL_IDLE)
                dial_begin(t);
}

static void
dial_try(struct redis_tier *t)
{
        while (t->address_next < t->address_count) {
                t->fresh = redis_link_open(t, LINK_MAIN, &t->addresses[t->address_next++]);
                if (t->fresh == NULL)
                        continue;
                t->dial = DIAL_TRYING;
                timer_set(&t->env->timers, &t->dial_timer, &t->task,
                          t->env->mono_us + REDIS_CONNECT_US);
                return;
        }
        dial_failed(t, false);
}

/* The fresh connection is of no use: the next address, or the end of the round. */
static void
fresh_lost(struct redis_tier *t)
{
        struct redis_link *l = t->fresh;
        bool shaken = l->stage != LINK_CONNECTING, slow = l->slow;

        snprintf(t->trouble, sizeof t->trouble, "%s", l->why);
        redis_link_drop(l);
        if (shaken)
                dial_failed(t, slow);
        else
                dial_try(t);
}

void
redis_dial_end(struct redis_tier *t)
{
        if (t->fresh != NULL)
                redis_link_drop(t->fresh);
        if (t->resolve != NULL)
                t->resolve->tier = NULL;
        t->resolve = NULL;
        timer_cancel(&t->env->timers, &t->dial_timer);
        t->dial_timer.fired = false;
        t->dial = DIAL_IDLE;
}

static void
warn_policy(struct redis_tier *t, const char *policy)
{
        if (t->said_policy || policy[0] == '\0' || strcmp(policy, "noeviction") == 0 ||
            strncmp(policy, "volatile-", 9) == 0)
                return;
        t->said_policy = true;
        log_warn(
                "l2: %s has maxmemory-policy %s, which may evict what must stay: use noeviction or "
                "one of volatile-*",
                t->address_text, policy);
}

/* The fresh connection has shaken hands and told the time. */
static void
come_up(struct redis_tier *t)
{
        struct redis_link *l = t->fresh;
        char worker[32];

        l->stage = LINK_UP;
        t->fresh = NULL;
        redis_dial_end(t);
        if (t->main != NULL) {
                log_info("l2: %s: a silent connection was replaced", t->address_text);
                redis_link_drop(t->main);
        }
        if (t->large != NULL)
                redis_large_lost(t); /* it may lead to another server */
        t->main = l;
        t->main_address = t->addresses[t->address_next - 1];
        t->failures = 0;
        t->connects++;
        t->tier.replid = l->replid;
        t->tier.heard_us = t->env->mono_us;
        memcpy(t->what, l->what, sizeof t->what);
        t->trouble[0] = '\0';
        metric_add(t->env->metrics, M_l2_connects, 1);
        timer_set(&t->env->timers, &t->clock_timer, &t->task,
                  t->env->mono_us + LIMIT_CLOCK_LEARN_US);
        warn_policy(t, l->policy);
        if (!t->tier.up) {
                log_info("l2: %s at %s is up%s", t->what, t->address_text, worker_text(t, worker));
                t->up_since_us = t->env->mono_us;
                t->tier.up = true;
                t->said_down = false;
                metric_set(t->env->metrics, M_l2_up, 1);
        }
        floors_sync(t->env, &t->tier);
        queues_kick(t->env);
}

static void
trying_advance(struct redis_tier *t)
{
        struct redis_link *l = t->fresh;
        bool timed_out = t->dial_timer.fired && !l->heard; /* it may be we who stood still */

        t->dial_timer.fired = false;
        if (l->heard)
                timer_set(&t->env->timers, &t->dial_timer, &t->task,
                          t->env->mono_us + REDIS_HANDSHAKE_US);
        l->heard = false;
        if (timed_out && !l->broken) {
                l->slow = true;
                redis_link_break(l, "it does not answer");
        }
        if (!l->broken && l->stage == LINK_SHAKING && l->slot_count == 0) {
                l->stage = LINK_TIMING;
                redis_time_ask(l);
        }
        if (!l->broken && l->stage == LINK_TIMING) {
                switch (redis_time_advance(l)) {
                case TIMING_WAITS:
                        break;
                case TIMING_DONE:
                        come_up(t);
                        return;
                case TIMING_HOPELESS:
                        l->slow = true;
                        redis_link_break(l, "it answers too slowly");
                }
        }
        if (l->broken)
                fresh_lost(t);
}

void
redis_dial_advance(struct redis_tier *t)
{
        if (t->dial == DIAL_TRYING) {
                trying_advance(t);
                return;
        }
        if (t->dial == DIAL_WAITING && t->dial_timer.fired) {
                t->dial_timer.fired = false;
                t->dial = DIAL_IDLE;
                /* A probe is over once the main connection speaks again. */
                if (t->main == NULL ||
                    redis_link_silent_us(t->main, t->env->mono_us) > REDIS_SILENCE_US)
                        dial_begin(t);
        }
}

void
redis_main_lost(struct redis_tier *t)
{
        snprintf(t->trouble, sizeof t->trouble, "%s", t->main->why);
        t->tier.up = false;
        metric_set(t->env->metrics, M_l2_up, 0);
        timer_cancel(&t->env->timers, &t->clock_timer);
        t->clock_timer.fired = false;
        redis_link_drop(t->main);
        if (t->large != NULL)
                redis_large_lost(t);
        say_down(t);
        if (t->dial == DIAL_IDLE)
                dial_pause(t, false);
}
