/* mailbox: a list behind a lock and an eventfd that wakes the worker. Only the post that finds the
 * list empty rings: a crowd of them costs one system call. Owns: the eventfd. Borrows: the tasks,
 * by their `ready` node, until the worker has them. Limit: none of its own; what is posted belongs
 * to requests and connections, which are counted. */
#include "io/mailbox.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void
mailbox_fetch(struct watch *w, unsigned events)
{
        struct mailbox *m = container_of(w, struct mailbox, watch);
        uint64_t rings;

        (void)events;
        /* Before the list: who posts after it was emptied rings again. */
        if (read(m->fd, &rings, sizeof rings) == (ssize_t)sizeof rings) {
                pthread_mutex_lock(&m->lock);
                list_splice(m->ready, &m->posted);
                pthread_mutex_unlock(&m->lock);
        }
        watch_arm(w->loop, w, m->fd, POLLIN);
}

must_use enum err
mailbox_init(struct mailbox *m, struct list *ready)
{
        *m = (struct mailbox){.ready = ready, .watch.ready = mailbox_fetch};
        list_init(&m->posted);
        m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (m->fd < 0)
                return ERR_SYSTEM;
        must(pthread_mutex_init(&m->lock, NULL) == 0);
        return OK;
}

void
mailbox_deinit(struct mailbox *m)
{
        close(m->fd);
        pthread_mutex_destroy(&m->lock);
}

void
mailbox_listen(struct mailbox *m, struct loop *loop)
{
        watch_arm(loop, &m->watch, m->fd, POLLIN);
}

void
mailbox_close(struct mailbox *m)
{
        watch_disarm(&m->watch);
}

void
mailbox_post(struct mailbox *m, struct task *task)
{
        const uint64_t one = 1;
        bool first;

        pthread_mutex_lock(&m->lock);
        first = list_empty(&m->posted);
        if (list_empty(&task->ready))
                list_push(&m->posted, &task->ready);
        pthread_mutex_unlock(&m->lock);
        /* An eventfd takes 2^64 - 2 rings. */
        if (first)
                must(write(m->fd, &one, sizeof one) == (ssize_t)sizeof one);
}

bool
mailbox_empty(struct mailbox *m)
{
        bool empty;

        pthread_mutex_lock(&m->lock);
        empty = list_empty(&m->posted);
        pthread_mutex_unlock(&m->lock);
        return empty;
}
