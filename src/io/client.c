/* client: a connection of a client. Owns: the stream, the unconsumed input, the session, and after
 * the session's end what the kernel still sends. Borrows: env and loop.
 *
 * Input is only noted while the loop dispatches; clients_consume() gives it to the session, once
 * the session's `need` is there. Bounds: input beyond INPUT_HIGH that the session does not take,
 * and output beyond LIMIT_OUTPUT_BYTES that the peer does not take, pause the stream. Output beyond
 * [server] output-max closes who has taken nothing of it since the last reply. [server] input-max
 * is for all clients, an equal share for each worker: it refuses who would go past it, and then
 * closes who stopped in the middle of a request IDLE_US ago, as they would keep everybody out; the
 * first INPUT_FREE bytes of each are not counted, so that small requests always have room.
 *
 * A session that is through (QUIT, a malformed frame) is answered, then the stream is shut down for
 * writing and lingers until the peer closes, at most LINGER_US: closing at once with bytes unread
 * makes the kernel reset the connection, and the peer might never see the answer. A peer that sends
 * no more gets what it asked for. Not here: what bytes mean (request/session.c), which worker
 * (server). */
#include "io/client.h"

#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "request/request.h"
#include "request/session.h"

#define LINGER_US   UINT64_C(1000000)
#define IDLE_US     LIMIT_UPLOAD_IDLE_US
#define COMPLAIN_US UINT64_C(10000000)

#define NOT_OVER UINT64_MAX

enum {
        OUTPUT_LOW = LIMIT_OUTPUT_BYTES / 4,
        INPUT_HIGH = 1 << 18,
        INPUT_FREE = 16384,
        INPUT_KEEP = 4096, /* an idle client keeps no larger buffer */
};

struct client {
        struct stream stream;
        struct session session;
        struct clients *of;
        struct list all, input;
        struct buf in;
        size_t need;        /* the session has no use for less */
        size_t charged;     /* to input_bytes */
        uint64_t sent_seen; /* of stream.sent_bytes, already in the metrics */
        uint64_t
                sent_over; /* stream.sent_bytes when output-max was found exceeded; else NOT_OVER */
        uint64_t heard_us; /* when bytes came last */
        bool fresh;        /* there is something that the session has not looked at */
        bool blocked;      /* the session waits for what went before */
        bool full;         /* output is above its mark and not yet below the lower one */
        bool eof;          /* the peer sends no more */
        bool lingering;
        struct chain dying; /* what was unsent when the session ended: the kernel may hold it */
        struct timer timer;
        struct task task;
};

static struct client *
client_of(struct stream *s)
{
        return container_of(s, struct client, stream);
}

/* ---- the end ---- */

static void
count_sent(struct client *c)
{
        uint64_t sent = c->stream.sent_bytes;

        metric_add(c->of->env->metrics, M_bytes_out, sent - c->sent_seen);
        c->sent_seen = c->session.sent_bytes = sent;
}

static void
client_charge(struct client *c, size_t bytes)
{
        c->of->input_bytes += bytes - c->charged;
        c->charged = bytes;
}

static void
client_close(struct client *c)
{
        if (c->stream.closing)
                return;
        count_sent(c);
        list_remove(&c->input);
        timer_cancel(&c->of->env->timers, &c->timer);
        list_remove(&c->task.ready);
        c->dying = c->session.out;
        c->session.out = (struct chain){0};
        c->stream.out = &c->dying;
        session_end(&c->session);
        client_charge(c, 0);
        buf_free(&c->in);
        stream_close(&c->stream);
}

static void
client_linger_over(struct task *task, struct env *env)
{
        (void)env;
        client_close(container_of(task, struct client, task));
}

/* Everything is said: let the peer read it, then close. */
static void
client_linger(struct client *c)
{
        if (c->lingering)
                return;
        c->lingering = true;
        stream_shutdown(&c->stream);
        stream_resume(&c->stream);
        timer_set(&c->of->env->timers, &c->timer, &c->task, c->of->env->mono_us + LINGER_US);
}

/* ---- what is to be done next ---- */

static bool
client_may_consume(const struct client *c)
{
        return c->fresh && !c->stream.closing && !c->session.closing && !c->blocked && !c->full &&
               c->in.len > 0 && c->in.len >= c->need;
}

static void
client_wants_turn(struct client *c)
{
        if (client_may_consume(c) && list_empty(&c->input))
                list_push(&c->of->input, &c->input);
}

/* Pauses or resumes by what is unsent and unconsumed. */
static void
client_throttle(struct client *c)
{
        size_t out = c->session.out.bytes;
        bool crowded;

        if (out > LIMIT_OUTPUT_BYTES)
                c->full = true;
        else if (out <= OUTPUT_LOW)
                c->full = false;
        crowded = c->in.len >= INPUT_HIGH && c->in.len >= c->need;
        if ((c->full || crowded || c->of->draining) && !c->session.closing)
                stream_pause(&c->stream);
        else
                stream_resume(&c->stream);
        /* `sent` is only needed where something waits for it. */
        c->stream.quiet = !c->full && !c->eof && !c->session.closing && !c->of->draining;
        client_wants_turn(c);
}

/* After anything happened: is it through? */
static void
client_settle(struct client *c)
{
        struct session *s = &c->session;

        if (c->stream.closing || c->lingering)
                return;
        client_throttle(c);
        if (s->out.bytes > 0 || c->stream.sending || s->waiting > 0 || !list_empty(&c->input) ||
            !list_empty(&s->flush))
                return;
        if (c->eof)
                client_close(c);
        else if (s->closing || c->of->draining)
                client_linger(c);
}

/* ---- the loop's calls ---- */

static void
client_no_memory(struct client *c)
{
        uint64_t held;

        if (log_every(&c->of->complaint, c->of->env->mono_us, COMPLAIN_US, &held))
                log_warn("unfinished requests reached input-max; a client is refused "
                         "(%llu such since the last line)",
                         (unsigned long long)held);
        /* Behind answers that are still to come, an error would be taken for one of them. */
        if (c->session.waiting == 0 && c->session.protocol != PROTOCOL_NATIVE)
                reply_error(&c->session.out, ERR_BUSY_MEMORY, "");
        c->session.closing = true;
        buf_free(&c->in);
        client_charge(c, 0);
        session_flush(&c->session);
}

/* Room for `bytes` of input; false: the client was refused. */
static bool
client_afford(struct client *c, size_t bytes)
{
        struct env *env = c->of->env;
        uint64_t most = option_number(env->options, O_input_max) / env->count;

        bytes = bytes > INPUT_FREE ? bytes : 0;
        if (bytes > c->charged && c->of->input_bytes + (bytes - c->charged) > most) {
                c->of->crowded = true;
                client_no_memory(c);
                return false;
        }
        client_charge(c, bytes);
        return true;
}

static void
client_input(struct stream *stream, struct bytes in)
{
        struct client *c = client_of(stream);
        size_t after = c->in.len + in.len;

        metric_add(c->of->env->metrics, M_bytes_in, in.len);
        c->session.got_bytes += in.len;
        c->heard_us = c->of->env->mono_us;
        if (c->session.closing || c->lingering ||
            !client_afford(c, after > c->need ? after : c->need))
                return;
        buf_append(&c->in, in);
        c->fresh = true;
        client_throttle(c);
}

static void
client_sent(struct stream *stream)
{
        client_settle(client_of(stream));
}

static void
client_ended(struct stream *stream, int error)
{
        struct client *c = client_of(stream);

        c->eof = true;
        if (error != 0 || c->lingering)
                client_close(c);
        else
                client_settle(c);
}

static void
client_closed(struct stream *stream)
{
        struct client *c = client_of(stream);
        struct clients *cs = c->of;

        list_remove(&c->all);
        chain_free(&c->dying);
        mem_free(c);
        atomic_fetch_sub_explicit(&cs->open, 1, memory_order_relaxed);
        metric_sub(cs->env->metrics, M_connections, 1);
}

static const struct stream_owner client_owner = {
        .input = client_input,
        .sent = client_sent,
        .ended = client_ended,
        .closed = client_closed,
};

/* ---- the worker's calls ---- */

void
clients_init(struct clients *cs, struct env *env, struct loop *loop)
{
        *cs = (struct clients){.env = env, .loop = loop};
        list_init(&cs->all);
        list_init(&cs->input);
        env->input_bytes = &cs->input_bytes;
}

void
clients_deinit(struct clients *cs)
{
        must(list_empty(&cs->all));
}

void
clients_expect(struct clients *cs)
{
        atomic_fetch_add_explicit(&cs->open, 1, memory_order_relaxed);
}

void
clients_open(struct clients *cs, int fd, const char *peer)
{
        struct client *c;

        if (cs->draining) {
                close(fd);
                atomic_fetch_sub_explicit(&cs->open, 1, memory_order_relaxed);
                return;
        }
        c = mem_zalloc(sizeof *c);
        c->of = cs;
        session_init(&c->session, cs->env);
        snprintf(c->session.peer, sizeof c->session.peer, "%s", peer);
        c->stream.owner = &client_owner;
        c->stream.out = &c->session.out;
        c->stream.quiet = true;
        c->sent_over = NOT_OVER;
        list_init(&c->input);
        task_init(&c->task, client_linger_over);
        list_push(&cs->all, &c->all);
        metric_add(cs->env->metrics, M_connections, 1);
        metric_add(cs->env->metrics, M_connections_made, 1);
        stream_open(cs->loop, &c->stream, fd);
}

static void
client_consume(struct client *c)
{
        struct intake r = session_consume(&c->session, buf_bytes(&c->in));

        buf_consume(&c->in, r.consumed);
        c->blocked = r.blocked;
        c->fresh = r.again;
        c->need = r.need;
        if (c->session.closing)
                c->in.len = c->need = 0;
        if (!client_afford(c, c->in.len > c->need ? c->in.len : c->need))
                return;
        if (c->need > c->in.len)
                buf_reserve(&c->in, c->need - c->in.len);
        else if (c->in.len == 0 && c->in.cap > INPUT_KEEP)
                buf_free(&c->in);
        client_settle(c);
}

static void
client_resume(struct client *c)
{
        c->blocked = false;
        c->fresh = true;
        client_settle(c);
}

/* Somebody was refused: room is made for the next by those that keep it for nothing. Who waits for
 * us is not idle. */
static void
clients_drop_idle(struct clients *cs)
{
        cs->crowded = false;
        list_each_safe (node, &cs->all) {
                struct client *c = container_of(node, struct client, all);

                if (c->charged > 0 && c->session.waiting == 0 && !c->stream.closing && !c->full &&
                    cs->env->mono_us - c->heard_us > IDLE_US)
                        client_no_memory(c);
        }
}

void
clients_consume(struct clients *cs)
{
        struct list turn, *node;

        if (cs->crowded)
                clients_drop_idle(cs);
        while ((node = list_pop(&cs->env->resume)) != NULL) {
                struct session *s = container_of(node, struct session, resume);

                client_resume(container_of(s, struct client, session));
        }
        list_init(&turn);
        list_splice(&turn, &cs->input);
        while ((node = list_pop(&turn)) != NULL) {
                struct client *c = container_of(node, struct client, input);

                if (client_may_consume(c))
                        client_consume(c);
        }
}

/* More than output-max is unsent. One that reads may be behind what it asked for at once. */
static bool
client_lets_pile_up(struct client *c)
{
        bool over = c->session.out.bytes > option_number(c->of->env->options, O_output_max);
        bool stands = over && c->sent_over == c->stream.sent_bytes;

        c->sent_over = over ? c->stream.sent_bytes : NOT_OVER;
        return stands;
}

static void
client_flush(struct client *c)
{
        struct env *env = c->of->env;
        uint64_t held;

        if (c->stream.closing)
                return;
        if (client_lets_pile_up(c)) {
                if (log_every(&c->of->complaint, env->mono_us, COMPLAIN_US, &held))
                        log_warn("client %s does not read its replies: output-max is reached, the "
                                 "connection is closed (%llu such since the last line)",
                                 c->session.peer, (unsigned long long)held);
                client_close(c);
                return;
        }
        count_sent(c);
        stream_send(&c->stream);
        client_settle(c);
}

void
clients_flush(struct clients *cs)
{
        struct list *node;

        while ((node = list_pop(&cs->env->flush)) != NULL) {
                struct session *s = container_of(node, struct session, flush);

                client_flush(container_of(s, struct client, session));
        }
}

bool
clients_pending(const struct clients *cs)
{
        return !list_empty(&cs->input) || !list_empty(&cs->env->resume);
}

void
clients_drain(struct clients *cs)
{
        cs->draining = true;
        list_each_safe (node, &cs->all)
                client_settle(container_of(node, struct client, all));
}

void
clients_drop(struct clients *cs)
{
        cs->draining = true;
        list_each_safe (node, &cs->all)
                client_close(container_of(node, struct client, all));
}
