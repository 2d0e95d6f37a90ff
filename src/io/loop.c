/* loop: chooses one of two loops and passes calls on to it; what both do alike (making and
 * connecting a socket) is here. Owns nothing. `auto` is uring where the kernel allows it, else
 * epoll; container runtimes block io_uring by default, so epoll is what many run, and the reason is
 * told. Not here: timers (base/timer.h), what bytes mean (client.c and the tiers). */
#include "io/loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/loop_kind.h"

enum { WHY_BYTES = 256 };

must_use enum err
loop_create(struct loop_config config, struct loop **out, char why[static 256])
{
        char refused[WHY_BYTES];
        enum err e;

        if (config.choice == IO_EPOLL) {
                e = epoll_loop_create(config, out, why);
                if (e == OK)
                        snprintf(why, WHY_BYTES, "asked for");
                return e;
        }
        e = uring_create(config, out, refused);
        if (e == OK || config.choice == IO_URING) {
                snprintf(why, WHY_BYTES, "%s", refused);
                return e;
        }
        e = epoll_loop_create(config, out, why);
        if (e == OK)
                snprintf(why, WHY_BYTES, "%s", refused);
        return e;
}

void
loop_destroy(struct loop *loop)
{
        loop->kind->destroy(loop);
}

const char *
loop_name(const struct loop *loop)
{
        return loop->kind->name;
}

unsigned
loop_busy(const struct loop *loop)
{
        return loop->kind->busy(loop);
}

void
loop_wait(struct loop *loop, uint64_t timeout_us)
{
        loop->kind->wait(loop, timeout_us);
}

static void
stream_begin(struct loop *loop, struct stream *s, int fd, bool connecting, int connect_error)
{
        s->loop = loop;
        s->fd = fd;
        s->paused = s->sending = s->closing = false;
        s->connecting = connecting;
        s->sent_bytes = 0;
        loop->kind->open(s, connect_error);
}

void
stream_open(struct loop *loop, struct stream *s, int fd)
{
        stream_begin(loop, s, fd, false, 0);
}

must_use enum err
stream_connect(struct loop *loop, struct stream *s, const struct sockaddr *address, socklen_t len)
{
        int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int error = 0, one = 1;

        if (fd < 0)
                return ERR_SYSTEM;
        /* Small commands in pipelines: what waits for an acknowledgement waits in vain. */
        if (address->sa_family != AF_UNIX)
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(fd, address, len) < 0 && errno != EINPROGRESS && errno != EINTR)
                error = errno;
        stream_begin(loop, s, fd, true, error);
        return OK;
}

int
loop_connect_result(int fd)
{
        int error = 0;
        socklen_t len = sizeof error;

        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
                return errno;
        return error;
}

void
stream_pause(struct stream *s)
{
        if (s->paused || s->closing)
                return;
        s->paused = true;
        s->loop->kind->pause(s);
}

void
stream_resume(struct stream *s)
{
        if (!s->paused || s->closing)
                return;
        s->paused = false;
        s->loop->kind->resume(s);
}

void
stream_send(struct stream *s)
{
        if (!s->closing)
                s->loop->kind->send(s);
}

void
stream_shutdown(struct stream *s)
{
        must(s->closing || (s->out->bytes == 0 && !s->sending));
        /* It fails only where the peer has gone already. */
        if (!s->closing)
                shutdown(s->fd, SHUT_WR);
}

void
stream_close(struct stream *s)
{
        must(!s->closing);
        s->closing = true;
        s->loop->kind->close(s);
}

void
watch_arm(struct loop *loop, struct watch *w, int fd, unsigned events)
{
        if (w->armed)
                watch_disarm(w);
        w->loop = loop;
        w->fd = fd;
        w->armed = true;
        loop->kind->arm(w, events);
}

void
watch_disarm(struct watch *w)
{
        if (!w->armed)
                return;
        w->armed = false;
        w->loop->kind->disarm(w);
}
