/* request/request.c: see request.h.
 * Owns: requests, the bytes they copied, their replies until they join the session's output.
 * Borrows: the session, until session_end() lets go.
 * Not here: what a command does (resp_*.c, native.c), what an op does (op_*.c). */
#include "request/request.h"

#include "base/limits.h"
#include "base/mem.h"

/* Bytes that live as long as their request. */
struct request_bytes {
        struct request_bytes *next;
        uint8_t at[];
};

struct request *
request_new(struct session *s, enum request_access access, unsigned ops_count,
            void (*finish)(struct request *))
{
        struct request *rq = mem_zalloc(sizeof *rq + ops_count * sizeof(struct op));

        rq->session = s;
        rq->env = s->env;
        rq->access = access;
        rq->finish = finish;
        rq->ops_count = ops_count;
        rq->ops = (struct op *)(rq + 1);
        rq->arrived_us = s->env->mono_us;
        list_push(&s->requests, &rq->in_session);
        s->waiting++;
        if (access == ACCESS_WRITE)
                s->writes++;
        else
                s->reads++;
        return rq;
}

struct bytes
request_copy(struct request *rq, struct bytes b)
{
        struct request_bytes *block = mem_alloc(sizeof *block + b.len);

        block->next = rq->copies;
        rq->copies = block;
        if (b.len > 0)
                memcpy(block->at, b.at, b.len);
        return bytes_of(block->at, b.len);
}

struct key
request_key(struct request *rq, struct bytes text)
{
        return key_of(request_copy(rq, text), rq->env->key_seed);
}

static void
request_free(struct request *rq)
{
        struct request_bytes *block;

        for (unsigned i = 0; i < rq->ops_count; i++)
                op_deinit(&rq->ops[i]);
        while ((block = rq->copies) != NULL) {
                rq->copies = block->next;
                mem_free(block);
        }
        chain_free(&rq->reply);
        mem_free(rq->extra);
        list_remove(&rq->in_session);
        mem_free(rq);
}

/* RESP: what is complete at the head of the line joins the output. */
static void
session_deliver(struct session *s)
{
        while (!list_empty(&s->requests)) {
                struct request *rq = container_of(s->requests.next, struct request, in_session);

                if (!rq->done)
                        break;
                s->held_bytes -= rq->held_bytes;
                chain_splice(&s->out, &rq->reply);
                request_free(rq);
        }
        session_flush(s);
}

static void
request_count_held(struct request *rq)
{
        rq->session->held_bytes += rq->reply.bytes - rq->held_bytes;
        rq->held_bytes = rq->reply.bytes;
}

void
session_count_held(struct session *s)
{
        struct request *last = container_of(s->requests.prev, struct request, in_session);

        if (!list_empty(&s->requests) && last->done)
                request_count_held(last);
}

static void
request_complete(struct request *rq)
{
        struct session *s = rq->session;

        if (s == NULL) {
                request_free(rq);
                return;
        }
        rq->finish(rq);
        rq->done = true;
        s->waiting--;
        if (rq->access == ACCESS_WRITE)
                s->writes--;
        else
                s->reads--;
        if (s->protocol == PROTOCOL_NATIVE) {
                chain_splice(&s->out, &rq->reply);
                request_free(rq);
                session_flush(s);
        } else {
                request_count_held(rq);
                session_deliver(s);
        }
        if (s->blocked && list_empty(&s->resume))
                list_push(&s->env->resume, &s->resume);
}

void
request_start(struct request *rq)
{
        unsigned count = rq->ops_count;

        must(rq->ops_open == 0);
        rq->ops_open =
                count +
                1; /* one for ourselves: the request must not end while its ops are started */
        for (unsigned i = 0; i < count; i++)
                op_start(&rq->ops[i], rq->env);
        if (--rq->ops_open == 0)
                request_complete(rq);
}

void
request_op_done(struct op *op)
{
        struct request *rq = op->request;

        must(rq->ops_open > 0);
        if (--rq->ops_open == 0)
                request_complete(rq);
}

struct chain *
request_out(struct session *s)
{
        struct request *rq;

        if (list_empty(&s->requests) || s->protocol == PROTOCOL_NATIVE) {
                session_flush(s);
                return &s->out;
        }
        /* Something before it still waits. One placeholder takes the replies of all commands behind
         * that. */
        rq = container_of(s->requests.prev, struct request, in_session);
        if (!rq->done || rq->ops_count != 0) {
                rq = mem_zalloc(sizeof *rq);
                rq->session = s;
                rq->env = s->env;
                rq->done = true;
                list_push(&s->requests, &rq->in_session);
        }
        return &rq->reply;
}

bool
session_admits(const struct session *s, enum request_access access)
{
        if (s->waiting >= LIMIT_WAITING)
                return false;
        return access == ACCESS_WRITE ? s->reads == 0 : s->writes == 0;
}

void
session_abandon_requests(struct session *s)
{
        list_each_safe (node, &s->requests) {
                struct request *rq = container_of(node, struct request, in_session);

                list_remove(node);
                if (rq->done)
                        request_free(rq);
                else
                        rq->session = NULL;
        }
}

/* A detail may hold a client's own words: a line break in them would end the reply early. */
static void
append_in_line(struct chain *out, const char *text)
{
        for (; *text != '\0'; text++) {
                uint8_t byte = *text == '\r' || *text == '\n' ? ' ' : (uint8_t)*text;

                chain_append(out, bytes_of(&byte, 1));
        }
}

void
reply_error(struct chain *out, enum err e, const char *detail)
{
        const char *text = err_text(e);
        const char *hole = strstr(text, "%s");

        chain_printf(out, "-%s ", err_prefix(e));
        if (hole == NULL) {
                chain_append(out, bytes_str(text));
        } else {
                chain_append(out, bytes_of(text, (size_t)(hole - text)));
                append_in_line(out, detail != NULL ? detail : "");
                chain_append(out, bytes_str(hole + 2));
        }
        chain_append(out, bytes_of("\r\n", 2));
}
