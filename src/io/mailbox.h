/* io/mailbox.h: tasks for a worker from other threads. Posting is the only thing here that any
 * thread may do; the rest is the worker's. */
#ifndef PN_IO_MAILBOX_H
#define PN_IO_MAILBOX_H

#include <pthread.h>

#include "base/task.h"
#include "io/loop.h"

struct mailbox { /* embedded; fields belong to mailbox.c */
        pthread_mutex_t lock;
        struct list posted;
        struct list *ready; /* the worker's */
        struct watch watch;
        int fd;
};

/* May be posted to from here on. ERR_SYSTEM: no descriptor. */
must_use enum err mailbox_init(struct mailbox *m, struct list *ready);
/* What was not fetched stays unrun. Nobody posts any more. */
void mailbox_deinit(struct mailbox *m);
/* On the worker's thread: posted tasks come to its ready list within loop_wait(). */
void mailbox_listen(struct mailbox *m, struct loop *loop);
void mailbox_close(struct mailbox *m);
void mailbox_post(struct mailbox *m, struct task *task);
bool mailbox_empty(struct mailbox *m);

#endif
