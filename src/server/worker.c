/* worker: sets up an env, turns its loop, and takes orders. Owns: everything in struct worker.
 * Borrows: the crew. A turn: wait, timers, what clients sent, what is ready, replies; requests wait
 * for nothing but the loop. Connections are accepted by worker 0 and go to whoever has fewest. Not
 * here: signals, the process (server.c), what requests do (request). */
#include "server/worker.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/clock_os.h"
#include "io/postgres_tier.h"
#include "io/redis_tier.h"
#include "request/floors.h"
#include "request/queues.h"

#define SWEEP_US        UINT64_C(100000)
#define DRAIN_US        UINT64_C(5000)
#define ROOM_US         UINT64_C(20000)
#define TEARDOWN_US     UINT64_C(10000)
#define TEARDOWN_MAX_US UINT64_C(2000000)

enum {
        SWEEP_STEPS = 2000, /* of L1, ten times a second */
        RESUMES_MAX = 8,    /* rounds of resumed sessions within a turn */
        TABLE_SLOTS = 64,
        WAITING_MAX = 64, /* connections beyond connections-max */
};

static struct worker *
worker_of(struct env *env)
{
        return container_of(env, struct worker, env);
}

/* ---- what the env can do ---- */

static void
post(struct env *to, struct task *task)
{
        mailbox_post(&worker_of(to)->mailbox, task);
}

static void
offload(struct env *env, struct job *job)
{
        offload_run(worker_of(env)->crew->offload, env, job);
}

static void
shut_down(struct env *env)
{
        (void)env;
        kill(getpid(), SIGTERM);
}

/* ---- connections ---- */

struct arrival { /* a connection on its way to its worker */
        struct task task;
        struct timer timer;
        struct worker *here; /* who accepted it */
        int fd;
        char peer[PEER_NAME_MAX];
};

static void
arrive(struct task *task, struct env *env)
{
        struct arrival *a = container_of(task, struct arrival, task);

        clients_open(&worker_of(env)->clients, a->fd, a->peer);
        mem_free(a);
}

static struct arrival *
arrival_new(struct worker *here, int fd, const char *peer,
            void (*advance)(struct task *, struct env *))
{
        struct arrival *a = mem_zalloc(sizeof *a);

        a->here = here;
        a->fd = fd;
        snprintf(a->peer, sizeof a->peer, "%s", peer);
        task_init(&a->task, advance);
        return a;
}

/* The worker with the fewest clients; NULL: there are as many as there may be. */
static struct worker *
least_loaded(struct crew *crew, uint64_t most)
{
        struct worker *least = NULL;
        uint64_t total = 0;

        for (unsigned i = 0; i < crew->count; i++) {
                unsigned n = clients_count(&crew->workers[i].clients);

                total += n;
                if (least == NULL || n < clients_count(&least->clients))
                        least = &crew->workers[i];
        }
        return total < most ? least : NULL;
}

/* To the least loaded worker; false: there is no room. */
static bool
place(struct worker *here, int fd, const char *peer)
{
        uint64_t most = option_number(here->env.options, O_connections_max);
        struct worker *to = least_loaded(here->crew, most);

        if (to == NULL)
                return false;
        clients_expect(&to->clients);
        if (to == here)
                clients_open(&here->clients, fd, peer);
        else
                mailbox_post(&to->mailbox, &arrival_new(here, fd, peer, arrive)->task);
        return true;
}

static void
refuse(struct worker *here, int fd)
{
        static const char refusal[] = "-ERR max number of clients reached\r\n";

        metric_add(&here->metrics, M_connections_refused, 1);
        /* It fits an empty socket; who cannot read it does not mind. */
        (void)!send(fd, refusal, strlen(refusal), MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
}

static void
arrive_again(struct task *task, struct env *env)
{
        struct arrival *a = container_of(task, struct arrival, task);

        (void)env;
        a->here->waiting--;
        if (!place(a->here, a->fd, a->peer))
                refuse(a->here, a->fd);
        mem_free(a);
}

/* A client that leaves and comes back may be seen in the wrong order: before a connection is
 * refused, those that were closed meanwhile get a moment to be gone. */
static void
accepted(struct listener *l, int fd, const char *peer)
{
        struct worker *here = l->holder;
        struct arrival *a;

        if (place(here, fd, peer))
                return;
        if (here->waiting == WAITING_MAX || here->draining) {
                refuse(here, fd);
                return;
        }
        here->waiting++;
        a = arrival_new(here, fd, peer, arrive_again);
        timer_set(&here->env.timers, &a->timer, &a->task, here->env.mono_us + ROOM_US);
}

static void
listeners_start(struct worker *w)
{
        for (unsigned i = 0; w->env.index == 0 && i < w->crew->listener_count; i++)
                listener_start(&w->crew->listeners[i], w->loop, &w->env, accepted, w);
}

static void
listeners_stop(struct worker *w)
{
        for (unsigned i = 0; w->env.index == 0 && i < w->crew->listener_count; i++)
                listener_stop(&w->crew->listeners[i]);
}

/* ---- orders and chores ---- */

static void
drain(struct task *task, struct env *env)
{
        struct worker *w = container_of(task, struct worker, drain);

        (void)env;
        w->draining = true;
        listeners_stop(w);
        clients_drain(&w->clients);
}

static void
stop(struct task *task, struct env *env)
{
        (void)env;
        container_of(task, struct worker, stop)->stopping = true;
}

static void
adopt(struct task *task, struct env *env)
{
        struct worker *w = container_of(task, struct worker, adopt);
        struct config *config;

        /* Before the config: who changes that from here on posts again. */
        atomic_store(&w->adopting, false);
        config = atomic_load(&w->crew->config);

        env->options = &config->options;
        env->policies = config->policies;
}

static void
sweep(struct task *task, struct env *env)
{
        struct worker *w = container_of(task, struct worker, sweep);

        landing_sweep(env->landing, env->mono_us);
        if (env->index == 0)
                l1_sweep(env->l1, env->now_us, SWEEP_STEPS);
        timer_set(&env->timers, &w->sweep_timer, task, env->mono_us + SWEEP_US);
}

void
worker_drain(struct worker *w)
{
        mailbox_post(&w->mailbox, &w->drain);
}

void
worker_stop(struct worker *w)
{
        mailbox_post(&w->mailbox, &w->stop);
}

void
worker_adopt(struct worker *w)
{
        /* Not while it may still stand on the worker's list: that has no lock. */
        if (!atomic_exchange(&w->adopting, true))
                mailbox_post(&w->mailbox, &w->adopt);
}

/* ---- the turn ---- */

static void
clock_read(struct env *env)
{
        env_clock(env, clock_mono_us(), clock_wall_us());
}

static uint64_t
may_wait_us(const struct worker *w)
{
        const struct env *env = &w->env;
        uint64_t next = timers_next(&env->timers), wait;

        if (clients_pending(&w->clients) || !list_empty(&env->ready) || w->stopping)
                return 0;
        if (next == UINT64_MAX)
                wait = UINT64_MAX;
        else
                wait = next > env->mono_us ? next - env->mono_us : 0;
        return w->draining && wait > DRAIN_US ? DRAIN_US : wait;
}

static void
turn(struct worker *w, uint64_t wait_us)
{
        struct env *env = &w->env;

        loop_wait(w->loop, wait_us);
        clock_read(env);
        timers_fire(&env->timers, env->mono_us, &env->ready);
        clients_consume(&w->clients);
        env_advance(env);
        /* Whoever waited for what has just come goes on in this turn. */
        for (int i = 0; i < RESUMES_MAX && !list_empty(&env->resume); i++) {
                clients_consume(&w->clients);
                env_advance(env);
        }
        clients_flush(&w->clients);
        metric_add(&w->metrics, M_turns, 1);
}

/* Nothing is left to do: not even for requests whose clients have gone. Jobs before the mailbox:
 * what a finished one posted is in it. */
static bool
is_drained(struct worker *w)
{
        struct env *env = &w->env;

        return clients_count(&w->clients) == 0 && w->waiting == 0 && env->flights.count == 0 &&
               env->writes.count == 0 && offload_idle(w->crew->offload, env) &&
               mailbox_empty(&w->mailbox) && list_empty(&env->ready) && queues_drained(env);
}

static void
serve(struct worker *w)
{
        listeners_start(w);
        while (!w->stopping) {
                turn(w, may_wait_us(w));
                if (w->draining)
                        atomic_store(&w->drained, is_drained(w));
        }
}

/* ---- the beginning and the end ---- */

static bool
tiers_create(struct worker *w)
{
        struct env *env = &w->env;
        struct redis_config redis;
        enum err e = OK;

        if (option_text(env->options, O_l2_url)[0] != '\0') {
                if (redis_config_read(env->options, &redis, w->why) != OK)
                        return false;
                env->l2 = redis_tier_create(redis, w->loop, env, &e);
                if (env->l2 == NULL) {
                        snprintf(w->why, sizeof w->why, "[l2] url: %s", err_text(e));
                        return false;
                }
        }
        if (option_text(env->options, O_l3_url)[0] != '\0') {
                env->l3 = postgres_tier_create(env, w->loop, w->why);
                if (env->l3 == NULL)
                        return false;
        }
        return true;
}

/* What stands in the place of a tier that is taken apart: whoever still asks hears that it is down,
 * and ends by that. */
static void
gone_start(struct tier *tier, struct tier_call *call)
{
        struct gone_tier *gone = container_of(tier, struct gone_tier, tier);

        call->result = TIER_DOWN;
        task_ready(&gone->env->ready, call->owner);
}

static void
gone_cancel(struct tier *tier, struct tier_call *call)
{
        (void)tier;
        call->result = TIER_DOWN;
        list_remove(&call->owner->ready);
}

static void
gone_describe(struct tier *tier, struct tier_state *out)
{
        (void)tier;
        *out = (struct tier_state){.what = "", .trouble = "the server ends"};
}

static const struct tier_ops gone_ops = {
        .start = gone_start,
        .cancel = gone_cancel,
        .describe = gone_describe,
};

static void
tiers_destroy(struct worker *w)
{
        struct env *env = &w->env;
        struct tier *l2 = env->l2, *l3 = env->l3;

        w->gone = (struct gone_tier){.tier.ops = &gone_ops, .env = env};
        if (l2 != NULL) {
                env->l2 = &w->gone.tier;
                redis_tier_destroy(l2);
        }
        if (l3 != NULL) {
                env->l3 = &w->gone.tier;
                postgres_tier_destroy(l3);
        }
}

static bool
setup(struct worker *w)
{
        struct env *env = &w->env;
        struct loop_config config = {
                .choice = (enum io_choice)option_number(env->options, O_io),
                .connections_max = (unsigned)option_number(env->options, O_connections_max),
                .metrics = &w->metrics,
        };
        char why[256];

        if (loop_create(config, &w->loop, why) != OK) {
                snprintf(w->why, sizeof w->why, "--io %s cannot be had: %.200s",
                         config.choice == IO_URING ? "uring" : "epoll", why);
                return false;
        }
        snprintf(w->why, sizeof w->why, "%s", why);
        clock_read(env);
        shared_clock_init(&env->clock, env->mono_us, env->wall_us);
        clock_read(env);
        mailbox_listen(&w->mailbox, w->loop);
        clients_init(&w->clients, env, w->loop);
        env->landing = landing_create(LIMIT_LANDMARKS);
        env->floors = floors_create();
        env->queues = queues_create(env);
        timer_set(&env->timers, &w->sweep_timer, &w->sweep, env->mono_us + SWEEP_US);
        return true;
}

/* Nobody waits for anything here any more. The loop's last watch is the mailbox. */
static bool
is_settled(struct worker *w)
{
        const struct env *env = &w->env;

        return loop_busy(w->loop) <= 1 && w->waiting == 0 && env->flights.count == 0 &&
               env->writes.count == 0 && offload_idle(w->crew->offload, env) &&
               mailbox_empty(&w->mailbox) && list_empty(&env->ready);
}

static void
end_what_runs(struct worker *w)
{
        uint64_t until_us = clock_mono_us() + TEARDOWN_MAX_US;

        while (!is_settled(w) && clock_mono_us() < until_us)
                turn(w, TEARDOWN_US);
}

/* Clients, tiers and queues are let go; what was under way for them ends, each as it can. */
static void
settle(struct worker *w)
{
        struct env *env = &w->env;

        listeners_stop(w);
        clients_drop(&w->clients);
        env_advance(env);
        tiers_destroy(w);
        queues_forget(env, bytes_of(NULL, 0), UINT64_MAX);
        env_advance(env);
        end_what_runs(w);
}

static void
teardown(struct worker *w)
{
        struct env *env = &w->env;

        /* The last that the others had for us. */
        end_what_runs(w);
        mailbox_close(&w->mailbox);
        queues_destroy(env->queues);
        floors_destroy(env->floors);
        landing_destroy(env->landing);
        clients_deinit(&w->clients);
        loop_destroy(w->loop);
}

static void *
worker_main(void *argument)
{
        struct worker *w = argument;
        bool has_loop = setup(w);

        w->failed = !has_loop || !tiers_create(w);
        gate_pass(&w->crew->gate, PHASE_SERVE);
        if (!w->crew->cancelled)
                serve(w);
        /* The others may still post here: nothing is taken apart before all have stopped. */
        gate_pass(&w->crew->gate, PHASE_END);
        if (has_loop)
                settle(w);
        gate_pass(&w->crew->gate, PHASE_APART);
        if (has_loop)
                teardown(w);
        return NULL;
}

must_use enum err
worker_start(struct worker *w, struct crew *crew, unsigned index)
{
        const struct config *config = atomic_load(&crew->config);
        struct env *env = &w->env;
        uint64_t seed;

        *w = (struct worker){.crew = crew};
        must(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
        *env = (struct env){
                .index = index,
                .count = crew->count,
                .workers = crew->envs,
                .prng = {seed},
                .options = &config->options,
                .policies = config->policies,
                .facts = &crew->facts,
                .metrics = &w->metrics,
                .all_metrics = crew->metrics,
                .origin = crew->origin,
                .key_seed = crew->key_seed,
                .l1 = crew->l1,
                .post = post,
                .offload = offload,
                .shut_down = shut_down,
        };
        list_init(&env->ready);
        list_init(&env->flush);
        list_init(&env->resume);
        table_init(&env->flights, TABLE_SLOTS);
        table_init(&env->writes, TABLE_SLOTS);
        task_init(&w->sweep, sweep);
        task_init(&w->drain, drain);
        task_init(&w->stop, stop);
        task_init(&w->adopt, adopt);
        if (mailbox_init(&w->mailbox, &env->ready) != OK)
                return ERR_SYSTEM;
        return pthread_create(&w->thread, NULL, worker_main, w) == 0 ? OK : ERR_SYSTEM;
}

void
worker_join(struct worker *w)
{
        pthread_join(w->thread, NULL);
}

void
worker_deinit(struct worker *w)
{
        mailbox_deinit(&w->mailbox);
        table_deinit(&w->env.flights);
        table_deinit(&w->env.writes);
        timers_free(&w->env.timers);
}
