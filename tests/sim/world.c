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
        for (unsigned i = 0; i < w->config.servers; i++) {
                struct env *env = &w->server[i].env;

                env_clock(env, w->now_us, w->now_us);
                timers_fire(&env->timers, env->mono_us, &env->ready);
                env_advance(env);
                landing_sweep(env->landing, env->mono_us);
        }
}

static uint64_t
next_time(const struct sim_world *w)
{
        uint64_t next = w->events > 0 ? w->heap[0].at_us : UINT64_MAX;

        for (unsigned i = 0; i < w->config.servers; i++) {
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

static void
sim_post(struct env *to, struct task *task)
{
        task_ready(&to->ready, task);
}

static void
job_done(struct sim_world *w, void *with)
{
        struct job *job = with;

        (void)w;
        job->work(job);
        task_ready(job->link.next, job->owner); /* the env's ready list, noted by sim_offload() */
}

static void
sim_offload(struct env *env, struct job *job)
{
        struct sim_server *s = container_of(env, struct sim_server, env);

        job->link.next = &env->ready;
        sim_after(s->l2.world, 1 + prng_below(&env->prng, 2000), job_done, job);
}

static void
server_create(struct sim_world *w, unsigned i)
{
        struct sim_server *s = &w->server[i];
        struct env *env = &s->env;
        char why[256];
        bool fine;

        options_init(&s->options);
        s->options.value[O_l1_ttl].number = w->config.l1_ttl_us;
        s->options.value[O_compress_min].number = UINT64_MAX;
        s->policies = policies_create();
        fine = w->config.mode[0] == '\0' ||
               policies_set(s->policies, bytes_str("default"), bytes_str("mode"),
                            bytes_str(w->config.mode), why);
        must(fine);
        fine = policies_resolve(s->policies, w->config.l2, w->config.l3, why);
        must(fine);
        s->self[0] = env;
        s->all_metrics[0] = &s->metrics;
        env->index = 0;
        env->count = 1;
        env->workers = s->self;
        list_init(&env->ready);
        list_init(&env->flush);
        list_init(&env->resume);
        env->prng.state = w->config.seed + i;
        env->options = &s->options;
        env->policies = s->policies;
        env->facts = &s->facts;
        env->metrics = &s->metrics;
        env->all_metrics = s->all_metrics;
        env->origin = 1000 + i;
        env->key_seed = 7;
        shared_clock_init(&env->clock, w->now_us, w->now_us);
        env_clock(env, w->now_us, w->now_us);
        env->l1 = l1_create((struct l1_config){.bytes_max = 8 << 20, .partitions = 1});
        env->landing = landing_create(LIMIT_LANDMARKS);
        env->floors = floors_create();
        table_init(&env->flights, 16);
        table_init(&env->writes, 16);
        env->input_bytes = &s->input_bytes;
        env->post = sim_post;
        env->offload = sim_offload;
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

void
sim_create(struct sim_world *w, struct sim_config config)
{
        memset(w, 0, sizeof *w);
        w->config = config;
        w->prng.state = config.seed * 2654435761u + 1;
        w->now_us = UINT64_C(1800000000000000);
        w->l2.replid = 77;
        for (unsigned i = 0; i < config.servers; i++)
                server_create(w, i);
}

void
sim_destroy(struct sim_world *w)
{
        for (unsigned i = 0; i < w->config.servers; i++) {
                struct sim_server *s = &w->server[i];

                queues_destroy(s->env.queues);
                floors_destroy(s->env.floors);
                landing_destroy(s->env.landing);
                l1_destroy(s->env.l1);
                table_deinit(&s->env.flights);
                table_deinit(&s->env.writes);
                timers_free(&s->env.timers);
                policies_destroy(s->policies);
                options_deinit(&s->options);
                chain_free(&s->session.out);
        }
        for (unsigned i = 0; i < SIM_KEYS_MAX; i++) {
                blob_unref(w->l2.rows[i].blob);
                blob_unref(w->l3.rows[i].blob);
        }
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
        a->ended_us = rq->env->mono_us;
        if (op->entry.blob != NULL) {
                struct bytes part;
                struct blob *raw = entry_raw(&op->entry, &part);

                a->version = op->state == OP_DONE ? a->version : op->entry.meta.version;
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
        struct op *op = ask(s, OP_SET, key, answer);

        if (more != NULL)
                op->asked = *more;
        op->asked.value = blob_copy(bytes_str(value));
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
