/* io/loop.h: one interface, two loops (loop_uring.c, loop_epoll.c; io/loop.c chooses). One a worker
 * thread.
 *
 * A turn: loop_wait() submits what was asked for since the last one, waits once for everything and
 * only *records*: it calls the owners' functions, which note what came; the worker then parses,
 * executes, and sends once per stream. Nothing but loop_wait() ever calls an owner. */
#ifndef PN_IO_LOOP_H
#define PN_IO_LOOP_H

#include <sys/socket.h>

#include "base/chain.h"
#include "base/err.h"
#include "base/list.h"
#include "base/metrics.h"
#include "base/options.h"

struct loop;
struct stream;

struct stream_owner {
        /* Bytes came; borrowed until return. */
        void (*input)(struct stream *s, struct bytes in);
        /* A send came back; `out` may have become shorter or empty. Not called while s->quiet; may
         * be NULL. */
        void (*sent)(struct stream *s);
        /* The peer sends no more (0: orderly, what is in `out` can still be sent), or an error
         * (errno), which may follow an orderly end. Each is told once at most; the owner calls
         * stream_close() in his own time. */
        void (*ended)(struct stream *s, int error);
        /* After stream_close(): the kernel holds nothing any more; the owner may free it. */
        void (*closed)(struct stream *s);
        /* stream_connect() succeeded; NULL where it is not used. */
        void (*connected)(struct stream *s);
};

/* Embedded by its owner, zeroed, who sets owner, out and quiet; the rest belongs to the loop. */
struct stream {
        const struct stream_owner *owner;
        /* What is to be sent: borrowed; bytes handed to the kernel stay until it is done. */
        struct chain *out;
        /* The owner does not want `sent` now: a finished send then costs no turn of its own. */
        bool quiet;
        bool paused, sending, closing, connecting;
        uint64_t sent_bytes; /* since it was opened */
        int fd;
        struct loop *loop;
        void *own;
};

/* A descriptor that only tells when it is ready (libpq's socket, eventfd, signalfd, listener). One
 * shot: armed again by the owner. */
struct watch { /* zeroed, the owner sets `ready`; the rest belongs to the loop */
        void (*ready)(struct watch *w, unsigned events); /* POLLIN, POLLOUT, POLLERR, POLLHUP */
        struct loop *loop;
        int fd;
        bool armed;
        void *own;
};

struct loop_config {
        enum io_choice choice;
        unsigned connections_max;
        struct metrics *metrics;
        /* 0: the loop's own choice. Tests make them small. Both numbers are powers of two. */
        unsigned ring_entries, recv_buffers, recv_buffer_bytes;
};

/* `why` (256 bytes) says what was chosen and why, or what failed. ERR_SYSTEM: none could be had.
 * Must be called by the thread that will run it. */
must_use enum err loop_create(struct loop_config config, struct loop **out, char why[static 256]);
/* Every stream has been closed (and told so), every watch is disarmed. */
void loop_destroy(struct loop *loop);
const char *loop_name(const struct loop *loop); /* "uring" or "epoll" */
/* How many streams are open (closing ones too) and watches armed. */
unsigned loop_busy(const struct loop *loop);

/* Submits everything, waits at most timeout_us (UINT64_MAX: for ever; 0: only look), dispatches
 * what came. May return early with nothing. */
void loop_wait(struct loop *loop, uint64_t timeout_us);

/* fd is a connected stream socket and the loop's from here on. */
void stream_open(struct loop *loop, struct stream *s, int fd);
/* A socket is made and connected without blocking; `connected` or `ended` follows. ERR_SYSTEM
 * (errno tells): there was no socket to be had; the stream is then not open. */
must_use enum err
stream_connect(struct loop *loop, struct stream *s, const struct sockaddr *address, socklen_t len);
/* No more `input` after return until resumed (what the kernel delivers meanwhile is kept), nor an
 * orderly `ended`. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);
/* What is in *out goes with the next loop_wait(), or, if a send is under way, after it. One send in
 * flight at most. */
void stream_send(struct stream *s);
/* Nothing more will be sent (the peer reads an end); input goes on. Only while *out is empty. */
void stream_shutdown(struct stream *s);
/* Closes, whatever is unsent; no call but `closed` from here on, in a later loop_wait(), when
 * nothing is in flight. */
void stream_close(struct stream *s);

/* Armed already: the new events count. */
void watch_arm(struct loop *loop, struct watch *w, int fd, unsigned events);
/* No `ready` after return; the watch is the owner's to free. Before the descriptor is closed. */
void watch_disarm(struct watch *w);

#endif
