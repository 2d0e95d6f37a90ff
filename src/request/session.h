/* request/session.h: one client's conversation, without its socket: bytes come in, commands are
 * executed, replies gather in `out`. The loop that owns the socket feeds session_consume(), sends
 * `out` when the session stands on env->flush, and calls session_end() when the peer has gone. */
#ifndef PN_REQUEST_SESSION_H
#define PN_REQUEST_SESSION_H

#include "base/chain.h"
#include "request/env.h"

enum protocol { PROTOCOL_UNKNOWN, PROTOCOL_RESP2, PROTOCOL_RESP3, PROTOCOL_NATIVE };

enum { SESSION_NAME_MAX = 64 };

struct native_session; /* uploads and streams of a native session: request/native_session.c */
struct resp_parser;    /* wire/resp.h */

struct session {
        struct env *env;
        uint64_t id;
        enum protocol protocol;
        struct chain out;
        bool closing;         /* no more input; the loop closes it when `out` is sent */
        struct list requests; /* unfinished, in order of arrival (request.in_session) */
        unsigned waiting;     /* of them that wait */
        size_t held_bytes; /* RESP: of replies that are done and stand behind others that are not */
        unsigned reads, writes; /* RESP: waiting commands of each kind; see session_admits() */
        bool blocked; /* its next command waits for those before it: comes back by env->resume */
        struct list flush, resume;
        struct resp_parser *parser; /* RESP; NULL before */
        struct native_session *native;
        char name[SESSION_NAME_MAX + 1], library[SESSION_NAME_MAX + 1],
                library_version[SESSION_NAME_MAX + 1];
        char peer[64];     /* address, for CLIENT LIST */
        uint64_t since_us; /* wall clock */
        uint64_t sent_bytes, got_bytes;
};

void session_init(struct session *s, struct env *env);
/* The peer has gone: its requests are abandoned (they free themselves when what they wait for has
 * come). */
void session_end(struct session *s);

struct intake {
        size_t consumed; /* of the bytes given: the caller drops them */
        size_t need;     /* of no use to call again before so many bytes are at the front; 0: any */
        /* More may be executed at once, but it is another's turn (LIMIT_TURN_COMMANDS). */
        bool again;
        bool blocked; /* call again when the session stands on env->resume */
};
/* Parses and executes what is complete at the front of `in`: contiguous bytes, borrowed until
 * return. Anything that waits has been copied. After s->closing nothing is consumed. */
struct intake session_consume(struct session *s, struct bytes in);

/* Its waiting commands hold as much as they may: it goes on when one of them is answered. */
bool session_is_crowded(struct session *s);

/* Output was appended: the loop is to send it. */
static inline void
session_flush(struct session *s)
{
        if (list_empty(&s->flush))
                list_push(&s->env->flush, &s->flush);
}

#endif
