/* request/op_flush.c: emptying tiers: `PN.FLUSH`. One op for each worker: every one forgets what it
 * would still send; the first also empties the tiers, from the lowest up, so that nothing is
 * promoted behind its back. A flush of all tiers is an invalidation, too: what is under way and
 * older never lands. A flush of some only drops copies.
 * Not here: other processes' L1, which their own caps bound. */
#include "request/floors.h"
#include "request/op.h"
#include "request/queues.h"

enum { FLUSH_BEGIN, FLUSH_ASK_L3, FLUSH_HAVE_L3, FLUSH_ASK_L2, FLUSH_HAVE_L2, FLUSH_ASK_L1 };

#define FLUSH_DEADLINE_US \
        UINT64_C(300000000) /* a big table takes its time; every step of the tier is short */

static struct bytes
flush_namespace(const struct op *op)
{
        return op->asked.flush_everything ? bytes_of(NULL, 0) : op->key.text;
}

static void
flush_begin(struct op *op, struct env *env)
{
        struct bytes name = flush_namespace(op);

        if (op->asked.flush_tiers != FLUSH_ALL)
                return;
        floors_spread(env, name, env->now_us > env->seen ? env->now_us : env->seen);
        queues_forget(env, name, env->now_us > env->seen ? env->now_us : env->seen);
}

static bool
flush_ask(struct op *op, struct env *env, struct tier *tier, unsigned bit)
{
        if (tier == NULL || !(op->asked.flush_tiers & bit) || env->index != 0)
                return false;
        op->call = (struct tier_call){
                .verb = TIER_FLUSH,
                .name_space = flush_namespace(op),
                .deadline_us = env->mono_us + FLUSH_DEADLINE_US,
                .owner = &op->task,
        };
        tier_start(tier, &op->call);
        return true;
}

/* The tier's answer is in: false when it could not do it; the op has ended then. */
static bool
flush_have(struct op *op, struct env *env, const char *tier)
{
        if (op->call.result != TIER_ANSWERED) {
                op_fail(op, env, ERR_TIER_DOWN, tier);
                return false;
        }
        op->count += op->call.count;
        return true;
}

void
op_flush_advance(struct op *op, struct env *env)
{
        struct bytes name;

        switch (op->stage) {
        case FLUSH_BEGIN:
                flush_begin(op, env);
                fallthrough;
        case FLUSH_ASK_L3:
                op->stage = FLUSH_HAVE_L3;
                if (flush_ask(op, env, env->l3, FLUSH_L3))
                        return;
                op->stage = FLUSH_ASK_L2;
                op_flush_advance(op, env);
                return;
        case FLUSH_HAVE_L3:
                if (!flush_have(op, env, "l3"))
                        return;
                fallthrough;
        case FLUSH_ASK_L2:
                op->stage = FLUSH_HAVE_L2;
                if (flush_ask(op, env, env->l2, FLUSH_L2))
                        return;
                op->stage = FLUSH_ASK_L1;
                op_flush_advance(op, env);
                return;
        case FLUSH_HAVE_L2:
                if (!flush_have(op, env, "l2"))
                        return;
                fallthrough;
        case FLUSH_ASK_L1:
                name = flush_namespace(op);
                if ((op->asked.flush_tiers & FLUSH_L1) && env->index == 0)
                        op->count += l1_clear(env->l1, name.at == NULL ? NULL : &name);
                op_finish(op, env, OP_DONE);
                return;
        }
}
