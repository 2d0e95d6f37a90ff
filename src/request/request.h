/* request/request.h: one command on its way: its ops, its reply, its place in the session's order.
 * A command that finishes at once writes to request_out() and needs no request. One that must wait
 * makes a request, starts its ops, and renders its reply in `finish` when the last of them is done.
 * RESP replies keep the order of the commands; native ones go out as they come. A session that ends
 * only lets go of its requests: the last op that comes back frees them. */
#ifndef PN_REQUEST_REQUEST_H
#define PN_REQUEST_REQUEST_H

#include "base/chain.h"
#include "request/op.h"
#include "request/session.h"

enum request_access { ACCESS_READ, ACCESS_WRITE };

struct request {
        struct list in_session;
        struct session *session; /* NULL once abandoned */
        struct env *env;
        enum request_access access;
        bool done; /* reply is complete, waits for those before it */
        struct chain reply;
        size_t held_bytes; /* of reply: what session.held_bytes counts of it */
        void (*finish)(struct request *
                               rq); /* appends the reply to rq->reply (RESP) or sends it (native) */
        unsigned ops_count, ops_open;
        struct op *ops;               /* ops_count of them, behind the request */
        uint64_t id;                  /* native: the request id */
        uint32_t opcode, variant;     /* the command's own */
        uint64_t argument[2];         /* the command's own */
        void *extra;                  /* mem_alloc'ed, freed with the request: the command's own */
        uint64_t arrived_us;          /* monotonic */
        struct request_bytes *copies; /* request.c's */
};

/* A request with ops_count zeroed ops (op_init() each, then request_start()). Keys: request_key()
 * copies. */
must_use struct request *request_new(struct session *s, enum request_access access,
                                     unsigned ops_count, void (*finish)(struct request *));
/* A copy of a key's bytes that lives as long as the request, with its hash. */
struct key request_key(struct request *rq, struct bytes text);
/* The same for any bytes (tags). */
struct bytes request_copy(struct request *rq, struct bytes b);
/* Starts all ops. finish may be called before it returns (ops that are answered in L1, or an empty
 * request). */
void request_start(struct request *rq);
/* Called on rq->env when an op has its answer. */
void request_op_done(struct op *op);

/* RESP: where the reply of a command goes that finishes at once: the session's output, or, behind
 * waiting ones, a place of its own in the order. Valid until the next call of anything else
 * here. */
struct chain *request_out(struct session *s);
/* RESP: counts what was appended to request_out() behind a waiting command. */
void session_count_held(struct session *s);
/* The peer has gone: done requests are freed, the others let go of the session. */
void session_abandon_requests(struct session *s);
/* RESP: may this command start now? Reads overlap reads and writes overlap writes; a change of kind
 * waits for those before, so that a pipeline reads its own writes and no later one. */
bool session_admits(const struct session *s, enum request_access access);
/* Renders a refusal in the session's protocol (RESP only; native: native_reply_error()). */
void reply_error(struct chain *out, enum err e, const char *detail);

#endif
