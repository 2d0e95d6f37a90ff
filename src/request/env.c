/* request/env.c: the turn's clock and the running of what is ready. */
#include "request/env.h"

void
env_clock(struct env *env, uint64_t mono_us, uint64_t wall_us)
{
        env->mono_us = mono_us;
        env->wall_us = wall_us;
        env->now_us = shared_clock_now(&env->clock, mono_us);
}

void
env_advance(struct env *env)
{
        struct list *node;

        while ((node = list_pop(&env->ready)) != NULL) {
                struct task *task = container_of(node, struct task, ready);

                task->advance(task, env);
        }
}
