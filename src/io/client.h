/* io/client.h: the clients of one worker: each a stream, the bytes it sent that are not consumed
 * yet, and a session. The worker's turn calls clients_consume() after loop_wait() and
 * clients_flush() at its end. */
#ifndef PN_IO_CLIENT_H
#define PN_IO_CLIENT_H

#include "io/loop.h"
#include "request/env.h"

struct clients { /* embedded by the worker; fields belong to client.c */
        struct loop *loop;
        struct env *env;
        struct list all;
        struct list input;     /* have bytes that may be consumed */
        uint64_t input_bytes;  /* env->input_bytes points here */
        _Atomic unsigned open; /* read by others; clients_expect() counts in advance */
        bool draining;
        bool crowded; /* a client was refused for want of input-max */
        struct log_gate complaint;
};

void clients_init(struct clients *cs, struct env *env, struct loop *loop);
/* All of them have been closed. */
void clients_deinit(struct clients *cs);
/* From any thread: a connection is on its way here. */
void clients_expect(struct clients *cs);
/* A connection that was expected. fd is taken over. */
void clients_open(struct clients *cs, int fd, const char *peer);
/* Parses and executes what came, each client a bounded piece. */
void clients_consume(struct clients *cs);
/* Sends what the sessions on env->flush have to say. */
void clients_flush(struct clients *cs);
/* Is there input that can be consumed without waiting? */
bool clients_pending(const struct clients *cs);
/* What has arrived is executed and answered, then each is closed. */
void clients_drain(struct clients *cs);
/* Closes all, answered or not. */
void clients_drop(struct clients *cs);

static inline unsigned
clients_count(const struct clients *cs)
{
        return atomic_load_explicit(&cs->open, memory_order_relaxed);
}

#endif
