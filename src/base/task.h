/* base/task.h: something that can be advanced: a request's step, a flight, a queue's drain.
 * Completions (a tier's answer, a timer) only put the task on the ready list; the worker runs the
 * list between reading and sending. Nothing is ever called back in line. */
#ifndef PN_BASE_TASK_H
#define PN_BASE_TASK_H

#include <stdint.h>

#include "base/list.h"

struct env; /* request/env.h */

struct task { /* embedded; task_init() first */
        struct list ready;
        void (*advance)(struct task *task, struct env *env);
};

static inline void
task_init(struct task *t, void (*advance)(struct task *, struct env *))
{
        list_init(&t->ready);
        t->advance = advance;
}

/* A task stands on the list at most once: told twice before it runs, it runs once. */
static inline void
task_ready(struct list *ready, struct task *t)
{
        if (list_empty(&t->ready))
                list_push(ready, &t->ready);
}

#endif
