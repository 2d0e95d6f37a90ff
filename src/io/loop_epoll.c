/* loop_epoll: the loop for kernels, containers and builds without io_uring. Level-triggered; what
 * changed since the last turn stands on one list and is done at the start of the next: one
 * sendmsg() a stream, one epoll_ctl() where the interest is another, the closing. Owns: the epoll
 * descriptor, the slots, one receive buffer; streams' descriptors from stream_open() to `closed`.
 * Borrows: streams and watches.
 * Limits: a stream is read at most READS_MAX times a turn, so that one that floods does not starve
 * others; what is left is seen again next turn. EPOLLOUT is asked for only while a send is short. A
 * stream without interest is taken out of the set: epoll tells EPOLLHUP whether asked or not. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/loop_kind.h"
#include "io/loop_slots.h"

enum { EVENTS_MAX = 1024, READ_BYTES = 65536, READS_MAX = 4, IOVECS_MAX = 64, WHY_BYTES = 256 };

struct epoll_slot {
        struct slot slot;
        struct list dirty;
        struct stream *stream; /* one of these two */
        struct watch *watch;
        uint32_t interest; /* what the kernel was told; 0: not in the set */
        bool wants_send;   /* stream_send() was called */
        bool blocked;      /* a send was short: go on when there is room */
        bool ended;        /* told, or to be told */
        bool tell;         /* `ended` is to be told */
        int error;
};

struct epoll_loop {
        struct loop loop;
        int fd;
        bool told;   /* an owner was called in this turn */
        bool coarse; /* no epoll_pwait2() here */
        struct slots slots;
        struct list dirty;
        struct epoll_event events[EVENTS_MAX];
        uint8_t buffer[READ_BYTES];
};

static struct epoll_loop *
epoll_of(struct loop *loop)
{
        return container_of(loop, struct epoll_loop, loop);
}

static struct epoll_slot *
slot_of(struct slot *s)
{
        return s != NULL ? container_of(s, struct epoll_slot, slot) : NULL;
}

static void
slot_touch(struct epoll_loop *l, struct epoll_slot *e)
{
        if (list_empty(&e->dirty))
                list_push(&l->dirty, &e->dirty);
}

static struct epoll_slot *
slot_new(struct epoll_loop *l)
{
        struct epoll_slot *e = slot_of(slots_take(&l->slots));

        list_init(&e->dirty);
        return e;
}

static void
slot_free(struct epoll_loop *l, struct epoll_slot *e)
{
        list_remove(&e->dirty);
        slots_give(&l->slots, &e->slot);
}

/* The stream has come to its end; an error ends sending too, and may follow an orderly end. */
static void
stream_end(struct epoll_loop *l, struct epoll_slot *e, int error)
{
        if (e->ended && (error == 0 || e->error != 0))
                return;
        e->tell = e->ended = true;
        e->error = error;
        slot_touch(l, e);
}

static void
stream_write(struct epoll_loop *l, struct epoll_slot *e)
{
        struct stream *s = e->stream;
        struct iovec iov[IOVECS_MAX];
        struct msghdr message = {.msg_iov = iov};
        ssize_t n;

        e->wants_send = false;
        if (s->connecting || (e->ended && e->error != 0) || s->out->bytes == 0)
                return;
        message.msg_iovlen = (size_t)chain_iovecs(s->out, iov, IOVECS_MAX);
        n = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS && errno != ENOMEM) {
                stream_end(l, e, errno);
                return;
        }
        if (n > 0) {
                chain_sent(s->out, (size_t)n);
                s->sent_bytes += (size_t)n;
        }
        e->blocked = s->out->bytes > 0;
        s->sending = e->blocked;
        if (n > 0 && !s->quiet && s->owner->sent != NULL) {
                l->told = true;
                s->owner->sent(s);
        }
}

/* Tells the kernel what the stream waits for, if that is news. */
static void
stream_interest(struct epoll_loop *l, struct epoll_slot *e)
{
        struct stream *s = e->stream;
        struct epoll_event event = {.data.u64 = slot_tag(&e->slot)};
        int how;

        if (s->connecting)
                event.events = e->ended ? 0 : EPOLLOUT;
        else
                event.events = (s->paused || e->ended ? 0 : (uint32_t)EPOLLIN) |
                               (e->blocked && !(e->ended && e->error) ? (uint32_t)EPOLLOUT : 0);
        if (event.events == e->interest)
                return;
        how = event.events == 0 ? EPOLL_CTL_DEL : e->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        e->interest = event.events;
        if (epoll_ctl(l->fd, how, s->fd, &event) < 0)
                stream_end(l, e, errno);
}

static void
stream_finish(struct epoll_loop *l, struct epoll_slot *e)
{
        struct stream *s = e->stream;

        close(s->fd); /* leaves the set by that */
        s->fd = -1;
        s->own = NULL;
        slot_free(l, e);
        l->told = true;
        s->owner->closed(s);
}

static void
slot_work(struct epoll_loop *l, struct epoll_slot *e)
{
        struct stream *s = e->stream;

        if (s->closing) {
                stream_finish(l, e);
                return;
        }
        if (e->wants_send && !e->blocked) {
                stream_write(l, e);
                if (s->closing) /* by `sent`; the slot is on the list again */
                        return;
        }
        stream_interest(l, e);
        if (e->tell && (!s->paused || e->error != 0)) {
                e->tell = false;
                l->told = true;
                s->owner->ended(s, e->error);
        }
}

static void
stream_read(struct epoll_loop *l, struct epoll_slot *e)
{
        struct stream *s = e->stream;

        for (int i = 0; i < READS_MAX && !s->paused && !s->closing; i++) {
                ssize_t n = recv(s->fd, l->buffer, sizeof l->buffer, MSG_DONTWAIT);

                if (n > 0) {
                        l->told = true;
                        s->owner->input(s, bytes_of(l->buffer, (size_t)n));
                }
                if (n == 0)
                        stream_end(l, e, 0);
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        stream_end(l, e, errno);
                if (n < (ssize_t)sizeof l->buffer)
                        return;
        }
}

static void
stream_event(struct epoll_loop *l, struct epoll_slot *e, uint32_t events)
{
        struct stream *s = e->stream;

        if (s->closing)
                return;
        if (s->connecting) {
                int error = loop_connect_result(s->fd);

                slot_touch(l, e);
                if (error != 0) {
                        stream_end(l, e, error);
                        return;
                }
                s->connecting = false;
                e->wants_send = true;
                l->told = true;
                s->owner->connected(s);
                return;
        }
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && e->blocked) {
                e->blocked = false;
                e->wants_send = true;
                slot_touch(l, e);
        }
        if (!e->ended && !s->paused && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                stream_read(l, e);
}

static void
watch_event(struct epoll_loop *l, struct epoll_slot *e, uint32_t events)
{
        struct watch *w = e->watch;

        w->armed = false;
        w->own = NULL;
        slot_free(l, e);
        l->told = true;
        /* The bits of EPOLL and POLL are the same numbers. */
        w->ready(w, events & (POLLIN | POLLOUT | POLLERR | POLLHUP));
}

static int
wait_kernel(struct epoll_loop *l, uint64_t timeout_us)
{
        struct timespec ts = {(time_t)(timeout_us / 1000000), (long)(timeout_us % 1000000) * 1000};
        uint64_t ms = timeout_us / 1000 + (timeout_us % 1000 != 0);
        int n;

        if (!l->coarse) {
                n = epoll_pwait2(l->fd, l->events, EVENTS_MAX,
                                 timeout_us == UINT64_MAX ? NULL : &ts, NULL);
                if (n >= 0 || errno != ENOSYS)
                        return n;
                l->coarse = true;
        }
        return epoll_wait(l->fd, l->events, EVENTS_MAX,
                          timeout_us == UINT64_MAX ? -1
                          : ms > 3600000           ? 3600000
                                                   : (int)ms);
}

static void
epoll_loop_wait(struct loop *loop, uint64_t timeout_us)
{
        struct epoll_loop *l = epoll_of(loop);
        struct list work, *node;
        int n;

        l->told = false;
        list_init(&work);
        list_splice(&work, &l->dirty);
        while ((node = list_pop(&work)) != NULL)
                slot_work(l, container_of(node, struct epoll_slot, dirty));
        /* Owners that were told may have set timers, and what they asked for stands on the list
         * again. */
        if (l->told || !list_empty(&l->dirty))
                timeout_us = 0;
        n = wait_kernel(l, timeout_us);
        for (int i = 0; i < n; i++) {
                struct epoll_slot *e = slot_of(slots_find(&l->slots, l->events[i].data.u64));

                if (e == NULL)
                        continue;
                if (e->watch != NULL)
                        watch_event(l, e, l->events[i].events);
                else
                        stream_event(l, e, l->events[i].events);
        }
}

static void
epoll_open(struct stream *s, int connect_error)
{
        struct epoll_loop *l = epoll_of(s->loop);
        struct epoll_slot *e = slot_new(l);

        e->stream = s;
        s->own = e;
        slot_touch(l, e);
        if (connect_error != 0)
                stream_end(l, e, connect_error);
}

static void
epoll_changed(struct stream *s)
{
        slot_touch(epoll_of(s->loop), s->own);
}

static void
epoll_send(struct stream *s)
{
        struct epoll_slot *e = s->own;

        e->wants_send = true;
        slot_touch(epoll_of(s->loop), e);
}

static void
epoll_arm(struct watch *w, unsigned events)
{
        struct epoll_loop *l = epoll_of(w->loop);
        struct epoll_slot *e = slot_new(l);
        struct epoll_event event = {.events = events | EPOLLONESHOT,
                                    .data.u64 = slot_tag(&e->slot)};

        e->watch = w;
        w->own = e;
        /* A descriptor that fired once is still in the set, asleep. */
        if (epoll_ctl(l->fd, EPOLL_CTL_MOD, w->fd, &event) < 0)
                must(errno == ENOENT && epoll_ctl(l->fd, EPOLL_CTL_ADD, w->fd, &event) == 0);
}

static void
epoll_disarm(struct watch *w)
{
        struct epoll_loop *l = epoll_of(w->loop);

        epoll_ctl(l->fd, EPOLL_CTL_DEL, w->fd, NULL); /* libraries close their sockets unasked */
        slot_free(l, w->own);
        w->own = NULL;
}

static void
epoll_destroy(struct loop *loop)
{
        struct epoll_loop *l = epoll_of(loop);

        close(l->fd);
        slots_deinit(&l->slots);
        mem_free(l);
}

static unsigned
epoll_busy(const struct loop *loop)
{
        return container_of(loop, const struct epoll_loop, loop)->slots.used;
}

static const struct loop_kind epoll_kind = {
        .name = "epoll",
        .destroy = epoll_destroy,
        .busy = epoll_busy,
        .wait = epoll_loop_wait,
        .open = epoll_open,
        .pause = epoll_changed,
        .resume = epoll_changed,
        .send = epoll_send,
        .close = epoll_changed,
        .arm = epoll_arm,
        .disarm = epoll_disarm,
};

must_use enum err
epoll_loop_create(struct loop_config config, struct loop **out, char why[static 256])
{
        struct epoll_loop *l;
        int fd = epoll_create1(EPOLL_CLOEXEC);

        if (fd < 0) {
                snprintf(why, WHY_BYTES, "epoll_create1: %s", strerror(errno));
                return ERR_SYSTEM;
        }
        l = mem_zalloc(sizeof *l);
        l->loop = (struct loop){&epoll_kind, config.metrics};
        l->fd = fd;
        slots_init(&l->slots, sizeof(struct epoll_slot));
        list_init(&l->dirty);
        *out = &l->loop;
        return OK;
}
