/* request/op.c: an op's way to its home worker and back. Owns nothing but what hangs on the op:
 * entries, the value asked for.
 * Not here: what happens at home (op_get.c, op_write.c, op_flush.c and what they use). */
#include "request/op.h"

#include "request/lookup.h"
#include "request/request.h"

static void
op_home_advance(struct task *task, struct env *env)
{
        struct op *op = container_of(task, struct op, task);

        switch (op->kind) {
        case OP_GET:
                op_get_advance(op, env);
                return;
        case OP_SET:
        case OP_DEL:
        case OP_EXPIRE:
                op_write_advance(op, env);
                return;
        case OP_FLUSH:
                op_flush_advance(op, env);
                return;
        }
}

static void
op_back_advance(struct task *task, struct env *env)
{
        (void)env;
        request_op_done(container_of(task, struct op, task));
}

void
op_init(struct op *op, struct request *rq, enum op_kind kind, struct key key, struct env *env)
{
        op->request = rq;
        op->origin = env;
        op->kind = kind;
        op->key = key;
        op->state = OP_OPEN;
        list_init(&op->follows);
        list_init(&op->call.link);
        task_init(&op->task, op_home_advance);
}

void
op_start(struct op *op, struct env *env)
{
        struct env *home = env->workers[op->key.hash % env->count];

        if (home == env)
                op_home_advance(&op->task, env);
        else
                env->post(home, &op->task);
}

void
op_finish(struct op *op, struct env *env, enum op_state state)
{
        op->state = state;
        timer_cancel(&env->timers, &op->timer);
        if (op->mark != NULL)
                landing_leave(env->landing, op->mark, env->mono_us);
        op->mark = NULL;
        if (op->in_line)
                op_line_leave(op, env);
        list_remove(&op->task.ready);
        if (op->origin == env) {
                request_op_done(op);
                return;
        }
        op->task.advance = op_back_advance;
        env->post(op->origin, &op->task);
}

void
op_fail(struct op *op, struct env *env, enum err error, const char *detail)
{
        if (error == ERR_TIER_DOWN)
                metric_add(env->metrics, M_tier_down_answers, 1);
        op->error = error;
        op->detail = detail;
        op_finish(op, env, OP_ERROR);
}

bool
op_waits_on(struct op *op, struct env *env)
{
        uint64_t extra_us = tier_extra_us(lookup_large_bytes(op->lookup));

        if (env->mono_us < op->ends_us) /* woken for nothing */
                return true;
        if (extra_us == 0 || op->large)
                return false;
        op->large = true;
        op->ends_us += extra_us;
        timer_set(&env->timers, &op->timer, &op->task, op->ends_us);
        return true;
}

struct blob *
op_raw(const struct op *op, struct bytes *part)
{
        if (op->raw == NULL)
                return entry_raw(&op->entry, part);
        *part = blob_bytes(op->raw);
        return blob_ref(op->raw);
}

void
op_deinit(struct op *op)
{
        blob_unref(op->raw);
        op->raw = NULL;
        entry_release(&op->entry);
        entry_release(&op->made);
        entry_release(&op->in_l3);
        blob_unref(op->asked.value);
        op->asked.value = NULL;
}
