/* tests/sim/world.c: time, servers and the asking of them. See world.h. */
#include "tests/sim/world.h"

#include <stdio.h>

#include "base/mem.h"

struct sim_event {
        uint64_t at_us, birth;
        void (*what)(struct sim_world *, void *);
        void *with;
};

void
sim_tier_init(struct sim_tier *t, struct sim_world *w, struct env *env, struct sim_store *store);

/* ---- events ---- */

static bool
before(const struct sim_event *a, const struct sim_event *b)
{
        return a->at_us != b->at_us ? a->at_us < b->at_us : a->birth < b->birth;
}

void
sim_after(struct sim_world *w, uint64_t in_us, void (*what)(struct sim_world *, void *), void *with)
{
        size_t i = w->events++;

        if (w->events > w->events_cap) {
                w->events_cap = w->events_cap * 2 + 64;
                w->heap = mem_realloc(w->heap, w->events_cap * sizeof *w->heap);
        }
        w->heap[i] = (struct sim_event){w->now_us + in_us, w->births++, what, with};
        while (i > 0 && before(&w->heap[i], &w->heap[(i - 1) / 2])) {
                struct sim_event e = w->heap[i];

                w->heap[i] = w->heap[(i - 1) / 2];
                i = (i - 1) / 2;
                w->heap[i] = e;
        }
}

static struct sim_event
event_pop(struct sim_world *w)
{
        struct sim_event first = w->heap[0];
        size_t i = 0;

        w->heap[0] = w->heap[--w->events];
        for (;;) {
                size_t least = i, left = 2 * i + 1;

                if (left < w->events && before(&w->heap[left], &w->heap[least]))
                        least = left;
                if (left + 1 < w->events && before(&w->heap[left + 1], &w->heap[least]))
                        least = left + 1;
                if (least == i)
                        return first;
                struct sim_event e = w->heap[i];

                w->heap[i] = w->heap[least];
                w->heap[least] = e;
                i = least;
        }
}

/* Every server takes note of the time and runs what is ready. */
static void
servers_advance(struct sim_world *w)
{
        for (unsigned i = 0; i < w->servers; i++) {
                struct env *env = &w->server[i].env;

                env_clock(env, w->now_us, w->now_us);
                timers_fire(&env->timers, env->mono_us, &env->ready);
                w->in_engine = true;
                env_advance(env);
                w->in_engine = false;
                landing_sweep(env->landing, env->mono_us);
        }
}

static uint64_t
next_time(const struct sim_world *w)
{
        uint64_t next = w->events > 0 ? w->heap[0].at_us : UINT64_MAX;

        for (unsigned i = 0; i < w->servers; i++) {
                uint64_t at = timers_next(&w->server[i].env.timers);

                if (at < next)
                        next = at;
        }
        return next > w->now_us ? next : w->now_us;
}

void
sim_run(struct sim_world *w, uint64_t for_us)
{
        uint64_t end = w->now_us + for_us;

        servers_advance(w);
        for (;;) {
                uint64_t at = next_time(w);

                if (at > end || at == UINT64_MAX)
                        break;
                w->now_us = at;
                while (w->events > 0 && w->heap[0].at_us <= at) {
                        struct sim_event e = event_pop(w);

                        e.what(w, e.with);
                }
                servers_advance(w);
        }
        w->now_us = end;
        servers_advance(w);
}

/* ---- servers ---- */

struct later { /* a task on its way to another worker's ready list */
        struct list *ready;
        struct task *task;
        struct job *job; /* done first, on the helper thread */
};

static void
later_run(struct sim_world *w, void *with)
{
        struct later *l = with;

        w->in_engine = true;
        if (l->job != NULL)
                l->job->work(l->job);
        w->in_engine = false;
        task_ready(l->ready, l->task);
        mem_free(l);
}

static void
later(struct env *env, struct task *task, struct job *job, uint64_t within_us)
{
        struct sim_world *w = container_of(env, struct sim_server, env)->l2.world;
        struct later *l = mem_zalloc(sizeof *l);

        *l = (struct later){&env->ready, task, job};
        sim_after(w, 1 + prng_below(&w->prng, within_us), later_run, l);
}

static void
sim_post(struct env *to, struct task *task)
{
        later(to, task, NULL, 300);
}

static void
sim_offload(struct env *env, struct job *job)
{
        later(env, job->owner, job, 2000);
}

static void
env_create(struct sim_world *w, struct sim_server *s, struct sim_server *first, unsigned index)
{
        struct env *env = &s->env;
        uint64_t error = w->config.clock_error_us;

        *env = (struct env){
                .index = index,
                .count = w->config.workers,
                .workers = first->workers,
                .prng.state = w->config.seed + (uint64_t)(s - w->server),
                .options = &first->options,
                .policies = first->policies,
                .facts = &first->facts,
                .metrics = &s->metrics,
                .all_metrics = first->all_metrics,
                .origin = 1000 + (uint64_t)(first - w->server),
                .key_seed = 7,
                .l1 = first->env.l1,
                .landing = landing_create(LIMIT_LANDMARKS),
                .floors = floors_create(),
                .input_bytes = &s->input_bytes,
                .post = sim_post,
                .offload = sim_offload,
        };
        first->workers[index] = env;
        first->all_metrics[index] = &s->metrics;
        list_init(&env->ready);
        list_init(&env->flush);
        list_init(&env->resume);
        shared_clock_init(&env->clock, w->now_us,
                          w->now_us + (error > 0 ? prng_below(&w->prng, 2 * error) - error : 0));
        env_clock(env, w->now_us, w->now_us);
        table_init(&env->flights, 16);
        table_init(&env->writes, 16);
        env->queues = queues_create(env);
        sim_tier_init(&s->l2, w, env, &w->l2);
        sim_tier_init(&s->l3, w, env, &w->l3);
        env->l2 = w->config.l2 ? &s->l2.head : NULL;
        env->l3 = w->config.l3 ? &s->l3.head : NULL;
        s->session.env = env;
        s->session.protocol = PROTOCOL_NATIVE;
        list_init(&s->session.requests);
        list_init(&s->session.flush);
        list_init(&s->session.resume);
}

static void
process_create(struct sim_world *w, struct sim_server *first)
{
        char why[256];
        bool fine;

        options_init(&first->options);
        first->options.value[O_l1_ttl].number = w->config.l1_ttl_us;
        first->options.value[O_compress_min].number = UINT64_MAX;
        first->policies = policies_create();
        fine = w->config.mode[0] == '\0' ||
               policies_set(first->policies, bytes_str("default"), bytes_str("mode"),
                            bytes_str(w->config.mode), why);
        must(fine);
        fine = policies_resolve(first->policies, w->config.l2, w->config.l3, why);
        must(fine);
        first->env.l1 = l1_create((struct l1_config){
                .bytes_max = w->config.l1_bytes > 0 ? w->config.l1_bytes : 8 << 20,
                .partitions = 1});
        for (unsigned i = 0; i < w->config.workers; i++)
                env_create(w, first + i, first, i);
}

struct sim_server *
sim_home(struct sim_world *w, struct sim_server *s, const char *key)
{
        unsigned n = (unsigned)(s - w->server), count = w->config.workers;
        struct key k = key_of(bytes_str(key), s->env.key_seed);

        return &w->server[n - n % count + k.hash % count];
}

void
sim_create(struct sim_world *w, struct sim_config config)
{
        memset(w, 0, sizeof *w);
        w->config = config;
        if (config.workers == 0)
                w->config.workers = 1;
        w->servers = config.servers * w->config.workers;
        must(w->servers <= SIM_SERVERS_MAX && w->config.workers <= SIM_WORKERS_MAX);
        w->prng.state = config.seed * 2654435761u + 1;
        w->now_us = UINT64_C(1800000000000000);
        w->l2.replid = 77;
        for (unsigned i = 0; i < w->servers; i += w->config.workers)
                process_create(w, &w->server[i]);
}

void
sim_destroy(struct sim_world *w)
{
        for (unsigned i = 0; i < w->servers; i++) {
                struct sim_server *s = &w->server[i];

                queues_destroy(s->env.queues);
                floors_destroy(s->env.floors);
                landing_destroy(s->env.landing);
                if (s->env.index == 0)
                        l1_destroy(s->env.l1);
                table_deinit(&s->env.flights);
                table_deinit(&s->env.writes);
                timers_free(&s->env.timers);
                if (s->env.index == 0) {
                        policies_destroy(s->policies);
                        options_deinit(&s->options);
                }
                chain_free(&s->session.out);
        }
        sim_empty(&w->l2);
        sim_empty(&w->l3);
        mem_free(w->heap);
}

/* ---- asking ---- */

static void
ask_finish(struct request *rq)
{
        struct sim_answer *a = (struct sim_answer *)(uintptr_t)rq->argument[0];
        struct op *op = &rq->ops[0];

        a->done = true;
        a->state = op->state;
        a->tier = op->tier;
        a->error = op->error;
        a->version = op->version;
        a->existed = op->existed;
        a->estimated = op->estimated;
        a->ended_us = rq->env->mono_us;
        if (op->entry.blob != NULL) {
                struct bytes part;
                struct blob *raw = op_raw(op, &part);

                a->version = op->state == OP_DONE ? a->version : op->entry.meta.version;
                if (raw == NULL) { /* memory is short */
                        a->error = ERR_BUSY_MEMORY;
                        return;
                }
                a->len = part.len;
                snprintf(a->value, sizeof a->value, "%.*s", (int)part.len, (const char *)part.at);
                blob_unref(raw);
        }
}

static struct op *
ask(struct sim_server *s, enum op_kind kind, const char *key, struct sim_answer *answer)
{
        struct request *rq = request_new(&s->session, kind == OP_GET ? ACCESS_READ : ACCESS_WRITE,
                                         1, ask_finish);

        *answer = (struct sim_answer){.began_us = s->env.mono_us};
        rq->argument[0] = (uintptr_t)answer;
        op_init(&rq->ops[0], rq, kind, request_key(rq, bytes_str(key)), &s->env);
        return &rq->ops[0];
}

void
sim_get(struct sim_server *s, const char *key, struct sim_answer *answer)
{
        request_start(ask(s, OP_GET, key, answer)->request);
}

void
sim_set(struct sim_server *s, const char *key, const char *value, const struct op_asked *more,
        struct sim_answer *answer)
{
        sim_set_bytes(s, key, bytes_str(value), more, answer);
}

void
sim_set_bytes(struct sim_server *s, const char *key, struct bytes value,
              const struct op_asked *more, struct sim_answer *answer)
{
        struct op *op = ask(s, OP_SET, key, answer);

        if (more != NULL)
                op->asked = *more;
        op->asked.value = blob_copy(value);
        op->asked.value_part = blob_bytes(op->asked.value);
        request_start(op->request);
}

void
sim_del(struct sim_server *s, const char *key, struct sim_answer *answer)
{
        request_start(ask(s, OP_DEL, key, answer)->request);
}

void
sim_expire(struct sim_server *s, const char *key, uint64_t hard_us, struct sim_answer *answer)
{
        struct op *op = ask(s, OP_EXPIRE, key, answer);

        op->asked.lifetime = LIFE_AT;
        op->asked.hard_us = hard_us;
        request_start(op->request);
}
