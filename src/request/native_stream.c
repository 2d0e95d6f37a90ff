/* request/native_stream.c: values of native replies that leave in chunks, as far as the client's
 * credit goes (proto/native.md, "Large values"). A stream is what is left to send under one request
 * id.
 * Owns: its streams, and one reference of each value in them.
 * Borrows: the native session.
 * Limits: a connection holds at most [server] output-max for them, or one reply of any size.
 * Not here: the head of the reply (native_reply.c, native_batch.c). */
#include "base/limits.h"
#include "base/mem.h"
#include "request/native_parts.h"

struct piece {
        struct blob *blob; /* one reference */
        struct bytes rest; /* what is still to send of it */
        uint64_t offset;   /* of that in the value */
        uint32_t index;    /* in the batch */
};

struct native_stream {
        struct list link; /* in native_session.streams */
        uint64_t id, credit, bytes, touched_us;
        unsigned next, count, room;
        struct piece pieces[];
};

struct native_stream *
native_stream_new(uint64_t id, unsigned pieces)
{
        struct native_stream *st = mem_zalloc(sizeof *st + pieces * sizeof(struct piece));

        list_init(&st->link);
        st->id = id;
        st->room = pieces;
        st->credit = NATIVE_CREDIT_FIRST;
        return st;
}

void
native_stream_add(struct native_stream *st, uint32_t index, struct blob *blob, struct bytes value)
{
        must(st->count < st->room && value.len > 0);
        st->pieces[st->count++] = (struct piece){blob, value, 0, index};
        st->bytes += value.len;
}

bool
native_stream_fits(const struct native_session *ns, const struct native_stream *st, uint64_t bytes)
{
        uint64_t held = ns->stream_bytes + (st != NULL ? st->bytes : 0);

        return held == 0 || held + bytes <= option_number(ns->session->env->options, O_output_max);
}

static void
stream_free(struct native_session *ns, struct native_stream *st)
{
        for (unsigned i = st->next; i < st->count; i++)
                blob_unref(st->pieces[i].blob);
        ns->stream_bytes -= st->bytes;
        list_remove(&st->link);
        mem_free(st);
}

/* Sends what credit allows; the stream is gone when all was sent. */
static void
stream_send(struct native_session *ns, struct native_stream *st, struct chain *out)
{
        while (st->next < st->count && st->credit > 0) {
                struct piece *p = &st->pieces[st->next];
                struct native_head head = native_reply_head(NATIVE_OP_CHUNK, st->id, NATIVE_OK);
                struct bytes data = p->rest;

                if (data.len > NATIVE_CHUNK_MAX)
                        data.len = NATIVE_CHUNK_MAX;
                if (data.len > st->credit)
                        data.len = st->credit;
                if (st->next + 1 < st->count || data.len < p->rest.len)
                        head.flags |= NATIVE_MORE;
                native_chunk_write(out, head, p->index, p->offset, p->blob, data);
                p->rest = bytes_from(p->rest, data.len);
                p->offset += data.len;
                st->credit -= data.len;
                if (p->rest.len == 0) {
                        blob_unref(p->blob);
                        st->next++;
                }
        }
        st->touched_us = ns->session->env->mono_us;
        if (st->next == st->count)
                stream_free(ns, st);
}

/* A chunk without data says why the rest does not come. */
static void
stream_break(struct native_session *ns, struct native_stream *st, unsigned status)
{
        const struct piece *p = &st->pieces[st->next];

        native_chunk_write(&ns->session->out, native_reply_head(NATIVE_OP_CHUNK, st->id, status),
                           p->index, p->offset, NULL, native_nothing());
        stream_free(ns, st);
}

void
native_stream_start(struct native_session *ns, struct native_stream *st, struct chain *out)
{
        ns->stream_bytes += st->bytes;
        list_push(&ns->streams, &st->link);
        stream_send(ns, st, out);
        if (!list_empty(&ns->streams))
                native_watch(ns);
}

static struct native_stream *
stream_find(const struct native_session *ns, uint64_t id)
{
        list_each (node, &ns->streams) {
                struct native_stream *st = container_of(node, struct native_stream, link);

                if (st->id == id)
                        return st;
        }
        return NULL;
}

static void
stream_changed(struct native_session *ns)
{
        native_settle(ns, &ns->session->out, ns->session->waiting);
        session_flush(ns->session);
}

void
native_stream_credit(struct native_session *ns, uint64_t id, uint32_t bytes)
{
        struct native_stream *st = stream_find(ns, id);

        if (st == NULL) /* it crossed the last chunk */
                return;
        st->credit += bytes;
        stream_send(ns, st, &ns->session->out);
        stream_changed(ns);
}

void
native_stream_cancel(struct native_session *ns, uint64_t id)
{
        struct native_stream *st = stream_find(ns, id);

        if (st == NULL)
                return;
        stream_break(ns, st, NATIVE_CANCELLED);
        stream_changed(ns);
}

uint64_t
native_stream_sweep(struct native_session *ns)
{
        uint64_t now = ns->session->env->mono_us, next = UINT64_MAX;

        list_each_safe (node, &ns->streams) {
                struct native_stream *st = container_of(node, struct native_stream, link);

                if (ns->session->out.bytes >
                    0) /* it is we who have not sent what it had credit for */
                        st->touched_us = now;
                if (now >= st->touched_us + LIMIT_UPLOAD_IDLE_US)
                        stream_break(ns, st, err_status(ERR_TIMED_OUT));
                else if (st->touched_us + LIMIT_UPLOAD_IDLE_US < next)
                        next = st->touched_us + LIMIT_UPLOAD_IDLE_US;
        }
        return next;
}

void
native_stream_drop_all(struct native_session *ns)
{
        list_each_safe (node, &ns->streams)
                stream_free(ns, container_of(node, struct native_stream, link));
}
