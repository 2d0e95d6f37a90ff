/* request/op_line.c: the line of a key's writes: in the order in which they came home they go to
 * the tier that stamps them. A client that sends two writes of a key finds the later one in the
 * end, though the first may be large and packed on the helper thread, or has to read before it
 * writes. Writes that depend on nothing follow each other on one connection without waiting for
 * answers, as they are executed in that order.
 * Owns: op->earlier and op->later; env->writes holds the last op of each line.
 * Borrows: the ops, which leave when they end.
 * Limit: as many as ops.
 * Not here: what waits in a queue (queues.c), the order in L3 after L2 (versions are compared
 * there). */
#include "request/op.h"

static struct op *
line_last(const struct env *env, struct key key)
{
        table_each_match (node, &env->writes, key.hash) {
                struct op *op = container_of(node, struct op, writing);

                if (bytes_equal(op->key.text, key.text))
                        return op;
        }
        return NULL;
}

void
op_line_enter(struct op *op, struct env *env)
{
        struct op *last = line_last(env, op->key);

        if (last != NULL) {
                table_remove(&env->writes, &last->writing);
                last->later = op;
                op->earlier = last;
        }
        table_insert(&env->writes, &op->writing, op->key.hash);
        op->in_line = true;
}

/* The one behind may go on, or not: it looks itself. */
static void
line_wake(struct op *op, struct env *env)
{
        if (op == NULL || !op->waits)
                return;
        op->waits = false;
        task_ready(&env->ready, &op->task);
}

void
op_line_leave(struct op *op, struct env *env)
{
        if (op->later != NULL) {
                op->later->earlier = op->earlier;
        } else {
                table_remove(&env->writes, &op->writing);
                if (op->earlier != NULL)
                        table_insert(&env->writes, &op->earlier->writing, op->key.hash);
        }
        if (op->earlier != NULL)
                op->earlier->later = op->later;
        line_wake(op->later, env);
        op->earlier = op->later = NULL;
        op->in_line = false;
}

void
op_line_move(struct op *op, struct env *env, enum op_place place)
{
        if (op->place >= place)
                return;
        op->place = place;
        line_wake(op->later, env);
}

bool
op_line_waits(struct op *op, struct env *env)
{
        const struct op *before = op->earlier;

        op->waits = false;
        if (before == NULL || before->place == PLACE_STAMPED)
                return false;
        if (!op->alone && !before->alone && before->place == PLACE_SENT &&
            before->large == op->large)
                return false;
        if (op->ends_us < before->ends_us) /* it is not late before that one is */
                op->ends_us = before->ends_us;
        if (env->mono_us >= op->ends_us)
                return false;
        op->waits = true;
        timer_set(&env->timers, &op->timer, &op->task, op->ends_us);
        return true;
}
