/* A worker's env without a loop, for tests of commands: L1, and if wanted an L2 whose calls lie
 * still until the test answers them. A client speaks bytes and reads bytes. */
#ifndef PN_TESTS_REQUEST_WORLD_H
#define PN_TESTS_REQUEST_WORLD_H

#include <criterion/criterion.h>

#include "base/buf.h"
#include "base/mem.h"
#include "request/floors.h"
#include "request/queues.h"
#include "request/session.h"

#define WORLD_NOW_US UINT64_C(1700000000000000)

struct world {
        struct env env, *workers[1];
        struct metrics metrics, *all_metrics[1];
        struct options options;
        struct policies *policies;
        struct facts facts;
        struct tier l2;
        struct list calls; /* of L2, unanswered, in order */
        struct session client;
        struct buf sent;  /* what the client said and the session has not consumed */
        struct buf heard; /* what the client was told since it was last asked */
};

static void
world_post(struct env *to, struct task *task)
{
        task_ready(&to->ready, task);
}

static void
world_offload(struct env *env, struct job *job)
{
        job->work(job);
        task_ready(&env->ready, job->owner);
}

static void
world_tier_start(struct tier *tier, struct tier_call *call)
{
        struct world *w = container_of(tier, struct world, l2);

        list_push(&w->calls, &call->link);
}

static void
world_tier_cancel(struct tier *tier, struct tier_call *call)
{
        (void)tier;
        list_remove(&call->link);
}

static void
world_tier_describe(struct tier *tier, struct tier_state *out)
{
        (void)tier;
        *out = (struct tier_state){
                .up = true, .what = "redis 7.0.15", .trouble = "", .connects = 1};
}

static const struct tier_ops world_tier_ops = {world_tier_start, world_tier_cancel,
                                               world_tier_describe};

static void
world_connect(struct world *w)
{
        session_init(&w->client, &w->env);
        w->sent.len = w->heard.len = 0;
}

/* `lines`: "option=value" of [namespace default], or "namespace.option=value", up to NULL. */
static void
world_open(struct world *w, bool with_l2, const char *const *lines)
{
        struct env *env = &w->env;
        char why[256];

        *w = (struct world){.workers = {env}, .all_metrics = {&w->metrics}};
        options_init(&w->options);
        w->policies = policies_create();
        for (; lines != NULL && *lines != NULL; lines++) {
                const char *equals = strchr(*lines, '='), *dot = strchr(*lines, '.');
                struct bytes space = bytes_str("default"), name;

                if (dot != NULL && dot < equals)
                        space = bytes_of(*lines, (size_t)(dot - *lines));
                name = dot != NULL && dot < equals ? bytes_of(dot + 1, (size_t)(equals - dot - 1))
                                                   : bytes_of(*lines, (size_t)(equals - *lines));
                cr_assert(policies_set(w->policies, space, name, bytes_str(equals + 1), why), "%s",
                          why);
        }
        cr_assert(policies_resolve(w->policies, with_l2, false, why), "%s", why);
        list_init(&w->calls);
        w->l2.ops = &world_tier_ops;
        w->l2.up = true;
        w->facts = (struct facts){.io_backend = "none",
                                  .io_backend_reason = "a test",
                                  .pid = 42,
                                  .tcp_port = 7171,
                                  .config_file = "",
                                  .listen = "",
                                  .unix_socket = "",
                                  .admin = ""};
        *env = (struct env){.count = 1,
                            .workers = w->workers,
                            .options = &w->options,
                            .policies = w->policies,
                            .facts = &w->facts,
                            .metrics = &w->metrics,
                            .all_metrics = w->all_metrics,
                            .origin = 7,
                            .key_seed = 11,
                            .l2 = with_l2 ? &w->l2 : NULL,
                            .post = world_post,
                            .offload = world_offload};
        list_init(&env->ready);
        list_init(&env->flush);
        list_init(&env->resume);
        table_init(&env->flights, 16);
        table_init(&env->writes, 16);
        shared_clock_init(&env->clock, 1000000, WORLD_NOW_US);
        env_clock(env, 1000000, WORLD_NOW_US);
        env->l1 = l1_create((struct l1_config){.bytes_max = 64 << 20, .partitions = 1});
        env->landing = landing_create(1000);
        env->floors = floors_create();
        env->queues = queues_create(env);
        world_connect(w);
}

/* What a loop does: feeds, advances, collects what is to be sent, until nothing moves. */
static void
world_turn(struct world *w)
{
        bool again = true;
        size_t need = 0;

        while (again) {
                struct intake r = {0};
                struct iovec iov[8];
                uint8_t *exact = NULL;
                int n;

                again = false;
                if (!w->client.blocked && w->sent.len > 0 && w->sent.len >= need) {
                        /* Of just that size, so that a sanitizer sees what is read behind it. */
                        exact = mem_alloc(w->sent.len);
                        memcpy(exact, w->sent.at, w->sent.len);
                        r = session_consume(&w->client, bytes_of(exact, w->sent.len));
                        cr_assert_leq(r.consumed, w->sent.len);
                        cr_assert_eq(r.blocked, w->client.blocked);
                        buf_consume(&w->sent, r.consumed);
                        mem_free(exact);
                        need = r.need;
                        again = r.again;
                }
                env_advance(&w->env);
                while ((n = chain_iovecs(&w->client.out, iov, 8)) > 0) {
                        size_t sent = 0;

                        cr_assert(!list_empty(&w->client.flush), "output that nobody is told of");
                        for (int i = 0; i < n; i++) {
                                buf_append(&w->heard, bytes_of(iov[i].iov_base, iov[i].iov_len));
                                sent += iov[i].iov_len;
                        }
                        chain_sent(&w->client.out, sent);
                }
                list_remove(&w->client.flush);
                if (!list_empty(&w->client.resume)) {
                        list_remove(&w->client.resume);
                        w->client.blocked = false;
                        need = 0;
                        again = true;
                }
        }
}

static void
world_say(struct world *w, struct bytes bytes)
{
        buf_append(&w->sent, bytes);
        world_turn(w);
}

/* Time goes on; timers fire. */
static inline void
world_wait(struct world *w, uint64_t us)
{
        env_clock(&w->env, w->env.mono_us + us, w->env.wall_us + us);
        timers_fire(&w->env.timers, w->env.mono_us, &w->env.ready);
        world_turn(w);
}

/* The oldest call to L2 is answered: a GET finds nothing, a write is stored. Says what it was. */
static inline enum tier_verb
world_answer(struct world *w)
{
        struct tier_call *call;
        enum tier_verb verb;

        cr_assert(!list_empty(&w->calls), "L2 was not asked");
        call = container_of(list_pop(&w->calls), struct tier_call, link);
        verb = call->verb;
        call->result = TIER_ANSWERED;
        call->outcome = WRITE_STORED;
        call->found_version = w->env.now_us + 1;
        task_ready(&w->env.ready, call->owner);
        world_turn(w);
        return verb;
}

static void
world_close(struct world *w)
{
        struct env *env = &w->env;

        session_end(&w->client);
        while (!list_empty(&w->calls)) {
                struct tier_call *call = container_of(list_pop(&w->calls), struct tier_call, link);

                call->result = TIER_DOWN;
                task_ready(&env->ready, call->owner);
                env_advance(env);
        }
        env_advance(env);
        queues_destroy(env->queues);
        floors_destroy(env->floors);
        landing_destroy(env->landing);
        l1_destroy(env->l1);
        table_deinit(&env->flights);
        table_deinit(&env->writes);
        timers_free(&env->timers);
        policies_destroy(w->policies);
        options_deinit(&w->options);
        buf_free(&w->sent);
        buf_free(&w->heard);
}

/* The client was told exactly this since it was last asked. */
#define world_heard(w, expected)                                                       \
        do {                                                                           \
                struct buf *heard = &(w)->heard;                                       \
                                                                                       \
                cr_expect(bytes_equal(buf_bytes(heard), bytes_str(expected)),          \
                          "heard \"%.*s\" instead of \"%s\"", (int)heard->len,         \
                          heard->at != NULL ? (const char *)heard->at : "", expected); \
                heard->len = 0;                                                        \
        } while (0)

/* The client says a line (inline commands) and is told this. */
#define world_talk(w, line, expected)                   \
        do {                                            \
                world_say((w), bytes_str(line "\r\n")); \
                world_heard((w), expected);             \
        } while (0)

/* The world of the running test, and how a suite begins and ends with it: memory alone, or with an
 * L2. Last in this file: nothing above knows it. */
static struct world w;

static inline void
world_setup(void)
{
        world_open(&w, false, NULL);
}

static inline void
world_setup_l2(void)
{
        world_open(&w, true, NULL);
}

static inline void
world_teardown(void)
{
        world_close(&w);
}

#endif
