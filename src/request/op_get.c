/* request/op_get.c: a GET of one key: L1, else the key's lookup; what is handed over is never older
 * than what was known when the op came.
 * Owns: the op's reference of what it answers.
 * Borrows: the lookup it follows.
 * Limit: three lookups a GET (each may bring what is too old for it), and its deadline.
 * Not here: the tiers (lookup.c). */
#include "base/limits.h"
#include "request/lookup.h"
#include "request/newest.h"
#include "request/op.h"

enum { GET_BEGIN, GET_LOOK, GET_HAVE, GET_UNPACKED };
enum { GET_TURNS_MAX = 3 };

/* A value that may be handed out as HIT or STALE; its state, or OP_OPEN when it may not. */
static enum op_state
get_judge(const struct op *op, const struct env *env, const struct meta *m)
{
        if (!entry_is_value(m) || !newest_valid(env, op->key, m))
                return OP_OPEN;
        if (env->now_us >= m->soft_us)
                return OP_STALE;
        return m->flags & ENTRY_NEGATIVE ? OP_NEGATIVE : OP_HIT;
}

/* True when L1 answers: op->entry and the state are set. An unsure copy is compared first, so it
 * does not answer. */
static bool
get_from_l1(struct op *op, struct env *env)
{
        struct l1_found found;

        if (!l1_get(env->l1, op->key, env->now_us, &found))
                return false;
        op->state = found.flags & L1_UNSURE ? OP_OPEN : get_judge(op, env, &found.entry.meta);
        if (op->state == OP_OPEN || (op->state == OP_STALE && !op->asked.stale_fine)) {
                entry_release(&found.entry);
                return false;
        }
        entry_release(&op->entry);
        op->entry = found.entry;
        op->landed_us = found.landed_us;
        op->tier = OP_TIER_L1;
        return true;
}

static void
get_count(const struct op *op, struct env *env, enum op_state state)
{
        static const enum metric hits[] = {
                [OP_TIER_L1] = M_hits_l1,
                [OP_TIER_L2] = M_hits_l2,
                [OP_TIER_L3] = M_hits_l3,
                [OP_TIER_QUEUE] = M_hits_unsent,
        };

        if (state == OP_MISS) {
                metric_add(env->metrics, op->error == OK ? M_misses : M_failed_lookups, 1);
                return;
        }
        metric_add(env->metrics, hits[op->tier], 1);
        metric_add(env->metrics, M_stale_served, state == OP_STALE);
}

static void
get_finish(struct op *op, struct env *env, enum op_state state)
{
        get_count(op, env, state);
        op_finish(op, env, state);
}

static void
unpack_work(struct job *job)
{
        struct op *op = container_of(job, struct op, job);
        struct bytes part;

        op->raw = entry_raw(&op->entry, &part);
}

static bool
get_is_long_to_unpack(const struct op *op, const struct entry *e)
{
        return op->asked.want_raw && entry_is_packed(e) && e->meta.raw_len > LIMIT_CHUNK_BYTES;
}

/* There is an answer; a large packed value is first unpacked on the helper thread. */
static void
get_answer(struct op *op, struct env *env, enum op_state state)
{
        if (!get_is_long_to_unpack(op, &op->entry)) {
                get_finish(op, env, state);
                return;
        }
        timer_cancel(&env->timers, &op->timer);
        op->state = state;
        op->stage = GET_UNPACKED;
        op->job.owner = &op->task;
        op->job.work = unpack_work;
        env->offload(env, &op->job);
}

/* No tier had it, or not in time: MISS; `error` then says that it might have been there. */
static void
get_miss(struct op *op, struct env *env, enum err error, const char *detail)
{
        entry_release(&op->entry);
        op->tier = OP_TIER_NONE;
        op->error = error;
        op->detail = detail;
        get_finish(op, env, OP_MISS);
}

bool
op_get_at_once(struct op *op, struct env *env)
{
        if (get_from_l1(op, env)) {
                if (get_is_long_to_unpack(op, &op->entry)) {
                        entry_release(&op->entry);
                        op->state = OP_OPEN;
                        return false;
                }
        } else {
                enum write_mode mode = newest_mode(newest_policy(env, op->key));

                if (mode_uses_l2(env, mode) || mode_uses_l3(env, mode))
                        return false;
                op->state = OP_MISS;
        }
        get_count(op, env, op->state);
        return true;
}

static void
get_begin(struct op *op, struct env *env)
{
        uint64_t within = op->asked.deadline_us;

        if (within == 0)
                within = policy_number(newest_policy(env, op->key), P_deadline);
        op->started_us = env->mono_us;
        op->ends_us = env->mono_us + within;
        op->mark = landing_enter(env->landing, op->key);
        op->floor = newest_known(env, op->key);
}

/* The lookup's result, if it may be handed to this op. */
static enum op_state
get_fit(struct op *op, struct env *env)
{
        struct meta m;

        if (op->entry.blob == NULL || op->entry.meta.version < op->floor)
                return OP_OPEN;
        if (l1_peek(env->l1, op->key, env->now_us, &m, NULL) && (m.flags & ENTRY_TOMBSTONE) &&
            m.version > op->entry.meta.version)
                return OP_OPEN;
        return get_judge(op, env, &op->entry.meta);
}

/* The lookup brought nothing: true when that is the answer, false when it is worth another look,
 * for something newer came in its way. A write of this process may have put it into L1
 * meanwhile. */
static bool
get_ends_without(struct op *op, struct env *env)
{
        if (get_from_l1(op, env))
                get_answer(op, env, op->state);
        else if (!op->complete)
                get_miss(op, env, ERR_TIER_DOWN, "a lower tier gave no answer");
        else if (op->disputed)
                return false;
        else
                get_miss(op, env, OK, NULL);
        return true;
}

void
op_get_advance(struct op *op, struct env *env)
{
        enum write_mode mode;
        enum op_state state;

        switch (op->stage) {
        case GET_BEGIN:
                get_begin(op, env);
                op->stage = GET_LOOK;
                fallthrough;
        case GET_LOOK:
                if (get_from_l1(op, env)) {
                        get_answer(op, env, op->state);
                        return;
                }
                mode = newest_mode(newest_policy(env, op->key));
                if (!mode_uses_l2(env, mode) && !mode_uses_l3(env, mode)) {
                        get_miss(op, env, OK, NULL);
                        return;
                }
                if (!lookup_join(op, env)) {
                        get_miss(op, env, ERR_TIER_DOWN, "too many lookups under way");
                        return;
                }
                op->stage = GET_HAVE;
                timer_set(&env->timers, &op->timer, &op->task, op->ends_us);
                return;
        case GET_HAVE:
                if (op->lookup != NULL) {
                        if (op_waits_on(op, env))
                                return;
                        lookup_leave(op);
                        if (get_from_l1(op, env))
                                get_answer(op, env, op->state);
                        else
                                get_miss(op, env, ERR_TIMED_OUT, NULL);
                        return;
                }
                if (op->entry.blob == NULL && get_ends_without(op, env))
                        return;
                state = get_fit(op, env);
                if (state == OP_STALE && !op->asked.stale_fine) {
                        get_miss(op, env, OK, NULL);
                        return;
                }
                if (state != OP_OPEN) {
                        get_answer(op, env, state);
                        return;
                }
                if (++op->turns == GET_TURNS_MAX || env->mono_us >= op->ends_us) {
                        get_miss(op, env, OK, NULL);
                        return;
                }
                op->stage = GET_LOOK;
                op_get_advance(op, env);
                return;
        case GET_UNPACKED:
                if (op->raw == NULL)
                        get_miss(op, env, ERR_CORRUPT, NULL);
                else
                        get_finish(op, env, op->state);
                return;
        }
}
