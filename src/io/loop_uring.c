/* loop_uring: the io_uring loop (Linux 6.1 or newer; the ring is made and probed in
 * loop_uring_ring.c). One io_uring_enter() a turn for all streams while there is work; a second,
 * only to wait, when there is none. What owners ask for is noted in a slot's `wants` and becomes
 * SQEs at the start of loop_wait(): so the queue never needs room in the middle of a callback, and
 * -EBUSY only means "reap first".
 * Owns: ring, receive buffers, slots, kept bytes; streams' descriptors from stream_open() to
 * `closed`. Borrows: streams, watches, and what lies in their chains: a send's bytes are the
 * kernel's until its completion.
 * Rules it keeps: one send in flight a stream; F_MORE is looked at in every completion of a
 * receive; a receive that found no buffer is armed again once buffers came back; a stream is closed
 * only when nothing is in flight; a completion whose slot has gone is dropped. A multishot receive
 * cannot be paused: it is cancelled, and what still comes is kept. Not here: SQPOLL, zero-copy
 * sends, registered files, multishot accept: none of them pays here. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "io/loop_uring.h"

enum { IOVECS_MAX = 64 };
enum operation { OP_RECV, OP_SEND, OP_POLL, OP_CANCEL };

enum want {
        WANT_RECV = 1, /* arm the receive */
        WANT_SEND = 2,
        WANT_POLL = 4,
        WANT_CANCEL_RECV = 8,
        WANT_CANCEL_POLL = 16,
        WANT_CANCEL_ALL = 32,
        WANT_TELL = 64, /* kept bytes, the end, or `closed` */
};

struct send_vector { /* stays where it is until the send comes back */
        struct send_vector *next_free;
        struct msghdr message;
        struct iovec iov[IOVECS_MAX];
};

struct uring_slot {
        struct slot slot;
        struct list dirty;     /* in loop.dirty while it wants anything */
        struct stream *stream; /* one of these two; neither: disarmed in flight */
        struct watch *watch;
        unsigned wants, in_flight, events;
        bool receiving, polling, cancelled, ended, tell_end;
        bool fed; /* bytes came since the receive was armed */
        int error;
        struct buf kept; /* came while paused */
        struct send_vector *vector;
};

static struct uring_loop *
uring_of(struct loop *loop)
{
        return container_of(loop, struct uring_loop, loop);
}

static struct uring_slot *
slot_of(struct slot *s)
{
        return s != NULL ? container_of(s, struct uring_slot, slot) : NULL;
}

static void
want(struct uring_loop *l, struct uring_slot *u, unsigned what)
{
        u->wants |= what;
        if (list_empty(&u->dirty))
                list_push(&l->dirty, &u->dirty);
}

static struct uring_slot *
slot_new(struct uring_loop *l)
{
        struct uring_slot *u = slot_of(slots_take(&l->slots));

        list_init(&u->dirty);
        return u;
}

static void
slot_free(struct uring_loop *l, struct uring_slot *u)
{
        must(u->in_flight == 0);
        list_remove(&u->dirty);
        buf_free(&u->kept);
        slots_give(&l->slots, &u->slot);
}

static uint64_t
user_data(const struct uring_slot *u, enum operation op)
{
        return (uint64_t)op << SLOT_TAG_BITS | slot_tag(&u->slot);
}

static void
stream_end(struct uring_loop *l, struct uring_slot *u, int error)
{
        if (u->ended && (error == 0 || u->error != 0))
                return;
        u->tell_end = u->ended = true;
        u->error = error;
        want(l, u, WANT_TELL);
}

static bool
may_receive(const struct uring_slot *u)
{
        const struct stream *s = u->stream;

        return !s->closing && !s->paused && !s->connecting && !u->ended;
}

/* ---- From wants to SQEs ---- */

static void
submitted(struct uring_slot *u, struct io_uring_sqe *sqe, enum operation op)
{
        io_uring_sqe_set_data64(sqe, user_data(u, op));
        u->in_flight++;
}

static void
put_recv(struct uring_slot *u, struct io_uring_sqe *sqe)
{
        io_uring_prep_recv_multishot(sqe, u->stream->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = RECV_GROUP;
        submitted(u, sqe, OP_RECV);
        u->receiving = true;
        u->fed = false;
}

static void
put_send(struct uring_loop *l, struct uring_slot *u, struct io_uring_sqe *sqe)
{
        struct stream *s = u->stream;
        struct send_vector *v = l->free_vectors;
        int n;

        if (v != NULL)
                l->free_vectors = v->next_free;
        else
                v = mem_alloc(sizeof *v);
        n = chain_iovecs(s->out, v->iov, IOVECS_MAX);
        v->message = (struct msghdr){.msg_iov = v->iov, .msg_iovlen = (size_t)n};
        if (n == 1)
                io_uring_prep_send(sqe, s->fd, v->iov[0].iov_base, v->iov[0].iov_len, MSG_NOSIGNAL);
        else
                io_uring_prep_sendmsg(sqe, s->fd, &v->message, MSG_NOSIGNAL);
        submitted(u, sqe, OP_SEND);
        u->vector = v;
        s->sending = true;
}

static void
put_cancel(struct uring_slot *u, struct io_uring_sqe *sqe, enum operation op)
{
        io_uring_prep_cancel64(sqe, user_data(u, op), 0);
        submitted(u, sqe, OP_CANCEL);
}

static void
put_cancel_all(struct uring_slot *u, struct io_uring_sqe *sqe)
{
        io_uring_prep_cancel_fd(sqe, u->stream->fd, IORING_ASYNC_CANCEL_ALL);
        submitted(u, sqe, OP_CANCEL);
        u->cancelled = true;
}

/* What of the slot's wants still holds; the rest is forgotten. */
static unsigned
wants_now(const struct uring_slot *u)
{
        const struct stream *s = u->stream;
        unsigned w = u->wants;

        if (s == NULL)
                return u->polling || u->watch != NULL ? w : 0;
        if (s->closing)
                return u->in_flight > 0 && !u->cancelled ? WANT_CANCEL_ALL : 0;
        if (u->receiving || !may_receive(u))
                w &= ~(unsigned)WANT_RECV;
        if (!u->receiving || !s->paused)
                w &= ~(unsigned)WANT_CANCEL_RECV;
        if (s->sending || s->connecting || s->out->bytes == 0 || (u->ended && u->error != 0))
                w &= ~(unsigned)WANT_SEND;
        return w & ~(unsigned)WANT_TELL;
}

/* False: the queue is full, the slot still wants. */
static bool
slot_submit(struct uring_loop *l, struct uring_slot *u)
{
        static const enum want order[] = {WANT_CANCEL_RECV, WANT_RECV,        WANT_SEND,
                                          WANT_POLL,        WANT_CANCEL_POLL, WANT_CANCEL_ALL};
        unsigned wants = wants_now(u);

        for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
                struct io_uring_sqe *sqe;

                if (!(wants & order[i]))
                        continue;
                sqe = io_uring_get_sqe(&l->ring);
                if (sqe == NULL)
                        return false;
                u->wants &= ~(unsigned)order[i];
                switch (order[i]) {
                case WANT_RECV:
                        put_recv(u, sqe);
                        break;
                case WANT_SEND:
                        put_send(l, u, sqe);
                        break;
                case WANT_POLL:
                        io_uring_prep_poll_add(sqe, u->watch ? u->watch->fd : u->stream->fd,
                                               u->events);
                        submitted(u, sqe, OP_POLL);
                        u->polling = true;
                        break;
                case WANT_CANCEL_RECV:
                case WANT_CANCEL_POLL:
                        put_cancel(u, sqe, order[i] == WANT_CANCEL_RECV ? OP_RECV : OP_POLL);
                        break;
                default:
                        put_cancel_all(u, sqe);
                        break;
                }
        }
        u->wants = 0;
        return true;
}

/* ---- Telling owners, at the start of a turn ---- */

static void
stream_finish(struct uring_loop *l, struct uring_slot *u)
{
        struct stream *s = u->stream;

        close(s->fd);
        s->fd = -1;
        s->own = NULL;
        slot_free(l, u);
        l->told = true;
        s->owner->closed(s);
}

/* What was kept, then the end. False: the slot has gone. */
static bool
stream_tell(struct uring_loop *l, struct uring_slot *u)
{
        struct stream *s = u->stream;

        if (s->closing) {
                if (u->in_flight > 0)
                        return true;
                stream_finish(l, u);
                return false;
        }
        if (u->kept.len > 0 && !s->paused) {
                struct buf kept = u->kept;

                u->kept = (struct buf){0};
                l->told = true;
                s->owner->input(s, buf_bytes(&kept));
                buf_free(&kept);
        }
        if (u->tell_end && !s->closing && (!s->paused || u->error != 0)) {
                u->tell_end = false;
                l->told = true;
                s->owner->ended(s, u->error);
        }
        return true;
}

/* Tells what is to be told and fills the queue. False: it is full and some still want. */
static bool
dirty_work(struct uring_loop *l)
{
        struct list work, *node;

        list_init(&work);
        list_splice(&work, &l->hungry);
        list_splice(&work, &l->dirty);
        while ((node = list_pop(&work)) != NULL) {
                struct uring_slot *u = container_of(node, struct uring_slot, dirty);

                if (u->stream != NULL && !stream_tell(l, u))
                        continue;
                if (!slot_submit(l, u)) {
                        list_remove(&u->dirty);
                        list_push_front(&work, &u->dirty);
                        list_splice(&work, &l->dirty);
                        list_splice(&l->dirty, &work);
                        return false;
                }
        }
        return true;
}

/* ---- Completions ---- */

static void
buffer_back(struct uring_loop *l, unsigned id)
{
        io_uring_buf_ring_add(l->buffers, l->memory + (size_t)id * l->buffer_bytes, l->buffer_bytes,
                              (unsigned short)id, io_uring_buf_ring_mask(l->buffer_count),
                              l->buffers_back++);
}

static void
recv_bytes(struct uring_loop *l, struct uring_slot *u, const struct io_uring_cqe *cqe)
{
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        struct stream *s = u != NULL ? u->stream : NULL;
        struct bytes in = bytes_of(l->memory + (size_t)id * l->buffer_bytes,
                                   cqe->res > 0 ? (size_t)cqe->res : 0);

        if (in.len > 0 && s != NULL && !s->closing) {
                l->told = u->fed = true;
                if (s->paused || u->kept.len > 0)
                        buf_append(&u->kept, in);
                else
                        s->owner->input(s, in);
        }
        buffer_back(l, id);
}

static void
recv_done(struct uring_loop *l, struct uring_slot *u, const struct io_uring_cqe *cqe)
{
        u->receiving = false;
        u->in_flight--;
        if (u->stream->closing)
                return;
        if (cqe->res == -ENOBUFS) {
                /* Not the connection's fault. The buffers that ran out come back at the end of this
                 * turn, and the receive is armed in the next: first for those who went away with
                 * nothing, in the order in which they asked, as one that floods may take the whole
                 * ring again. */
                metric_add(l->loop.metrics, M_recv_starved, 1);
                if (!u->fed && list_empty(&u->dirty))
                        list_push(&l->hungry, &u->dirty);
                want(l, u, WANT_RECV);
        } else if (cqe->res > 0 || cqe->res == -ECANCELED || cqe->res == -EINTR ||
                   cqe->res == -EAGAIN) {
                if (!u->stream->paused)
                        want(l, u, WANT_RECV);
        } else {
                stream_end(l, u, -cqe->res);
        }
}

static void
send_done(struct uring_loop *l, struct uring_slot *u, int result)
{
        struct stream *s = u->stream;

        s->sending = false;
        u->in_flight--;
        u->vector->next_free = l->free_vectors;
        l->free_vectors = u->vector;
        u->vector = NULL;
        if (s->closing)
                return;
        if (result > 0) {
                chain_sent(s->out, (size_t)result);
                s->sent_bytes += (size_t)result;
        } else if (result < 0 && result != -EAGAIN && result != -EINTR && result != -ECANCELED)
                stream_end(l, u, -result);
        if (s->out->bytes > 0)
                want(l, u, WANT_SEND);
        if (result > 0 && !s->quiet && s->owner->sent != NULL) {
                l->told = true;
                s->owner->sent(s);
        }
}

static void
poll_done(struct uring_loop *l, struct uring_slot *u, int result)
{
        struct watch *w = u->watch;
        struct stream *s = u->stream;

        u->polling = false;
        u->in_flight--;
        if (s != NULL && !s->closing) {
                int error = loop_connect_result(s->fd);

                if (error != 0 || result < 0) {
                        stream_end(l, u, error != 0 ? error : -result);
                        return;
                }
                s->connecting = false;
                want(l, u, WANT_RECV | WANT_SEND);
                l->told = true;
                s->owner->connected(s);
        } else if (w != NULL) {
                w->armed = false;
                w->own = NULL;
                u->watch = NULL;
                l->told = true;
                w->ready(w, result < 0 ? POLLERR : (unsigned)result);
        }
}

static void
complete(struct uring_loop *l, const struct io_uring_cqe *cqe)
{
        struct uring_slot *u = slot_of(slots_find(&l->slots, cqe->user_data));

        if (cqe->flags & IORING_CQE_F_BUFFER)
                recv_bytes(l, u, cqe);
        if (u == NULL)
                return;
        switch ((enum operation)(cqe->user_data >> SLOT_TAG_BITS)) {
        case OP_RECV:
                if (!(cqe->flags & IORING_CQE_F_MORE))
                        recv_done(l, u, cqe);
                break;
        case OP_SEND:
                send_done(l, u, cqe->res);
                break;
        case OP_POLL:
                poll_done(l, u, cqe->res);
                break;
        case OP_CANCEL:
                u->in_flight--;
                break;
        }
        if (u->in_flight > 0)
                return;
        if (u->stream == NULL && u->watch == NULL)
                slot_free(l, u);
        else if (u->stream != NULL && u->stream->closing)
                want(l, u, WANT_TELL);
}

static void
reap(struct uring_loop *l)
{
        struct io_uring_cqe *cqes[128];
        unsigned n;

        /* Entries that overflowed wait in the kernel: the next enter brings them. */
        while ((n = io_uring_peek_batch_cqe(&l->ring, cqes, 128)) > 0) {
                for (unsigned i = 0; i < n; i++) {
                        struct io_uring_cqe cqe = *cqes[i];

                        complete(l, &cqe);
                }
                io_uring_cq_advance(&l->ring, n);
        }
        /* Not before: who sends as fast as we look would keep us here. */
        io_uring_buf_ring_advance(l->buffers, l->buffers_back);
        l->buffers_back = 0;
}

/* ---- The kind's functions ---- */

static void
uring_wait(struct loop *loop, uint64_t timeout_us)
{
        struct uring_loop *l = uring_of(loop);
        bool more;

        l->told = false;
        do {
                more = !dirty_work(l);
                uring_submit(l);
                reap(l);
        } while (more && !l->told);
        if (l->told || !list_empty(&l->dirty) || !list_empty(&l->hungry) || timeout_us == 0)
                return;
        uring_sleep(l, timeout_us);
        reap(l);
}

static void
uring_open(struct stream *s, int connect_error)
{
        struct uring_loop *l = uring_of(s->loop);
        struct uring_slot *u = slot_new(l);

        u->stream = s;
        s->own = u;
        if (connect_error != 0)
                stream_end(l, u, connect_error);
        else if (s->connecting)
                u->events = POLLOUT;
        want(l, u, connect_error != 0 ? WANT_TELL : s->connecting ? WANT_POLL : WANT_RECV);
}

static void
uring_pause(struct stream *s)
{
        want(uring_of(s->loop), s->own, WANT_CANCEL_RECV);
}

static void
uring_resume(struct stream *s)
{
        want(uring_of(s->loop), s->own, WANT_TELL | WANT_RECV);
}

static void
uring_send(struct stream *s)
{
        want(uring_of(s->loop), s->own, WANT_SEND);
}

static void
uring_close(struct stream *s)
{
        want(uring_of(s->loop), s->own, WANT_CANCEL_ALL | WANT_TELL);
}

static void
uring_arm(struct watch *w, unsigned events)
{
        struct uring_loop *l = uring_of(w->loop);
        struct uring_slot *u = slot_new(l);

        u->watch = w;
        u->events = events;
        w->own = u;
        want(l, u, WANT_POLL);
}

static void
uring_disarm(struct watch *w)
{
        struct uring_loop *l = uring_of(w->loop);
        struct uring_slot *u = w->own;

        u->watch = NULL;
        w->own = NULL;
        if (u->in_flight == 0)
                slot_free(l, u);
        else
                want(l, u, WANT_CANCEL_POLL);
}

static void
uring_destroy(struct loop *loop)
{
        struct uring_loop *l = uring_of(loop);
        struct send_vector *v;
        uint32_t cursor = 0;
        struct slot *s;

        uring_ring_deinit(l);
        while ((s = slots_walk(&l->slots, &cursor)) != NULL)
                buf_free(&slot_of(s)->kept);
        while ((v = l->free_vectors) != NULL) {
                l->free_vectors = v->next_free;
                mem_free(v);
        }
        slots_deinit(&l->slots);
        mem_free(l);
}

static unsigned
uring_busy(const struct loop *loop)
{
        return container_of(loop, const struct uring_loop, loop)->slots.used;
}

static const struct loop_kind uring_kind = {
        .name = "uring",
        .destroy = uring_destroy,
        .busy = uring_busy,
        .wait = uring_wait,
        .open = uring_open,
        .pause = uring_pause,
        .resume = uring_resume,
        .send = uring_send,
        .close = uring_close,
        .arm = uring_arm,
        .disarm = uring_disarm,
};

must_use enum err
uring_create(struct loop_config config, struct loop **out, char why[static 256])
{
        struct uring_loop *l = mem_zalloc(sizeof *l);

        l->loop = (struct loop){&uring_kind, config.metrics};
        list_init(&l->dirty);
        list_init(&l->hungry);
        if (uring_ring_init(l, config, why) != OK) {
                mem_free(l);
                return ERR_SYSTEM;
        }
        slots_init(&l->slots, sizeof(struct uring_slot));
        *out = &l->loop;
        return OK;
}
