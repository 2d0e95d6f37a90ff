/* clients/c/link: one connection: its states, what is sent and what is read, its end. Never waits.
 * Owns: the socket and both buffers. Limits: a frame of 1 MiB is the most that is buffered on the
 * way in, OUT_MAX on the way out. Not here: the meaning of frames (reply.c), waiting (call.c). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "inner.h"

enum { READ_BYTES = 64 << 10, READS_MAX = 64, IOVECS = 64 };

uint64_t
clock_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

pn_status
client_says(pn_client *c, pn_status status, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(c->why, sizeof c->why, format, args);
        va_end(args);
        return status;
}

void
link_close(pn_client *c)
{
        dial_end(c);
        if (c->fd >= 0)
                close(c->fd);
        c->fd = -1;
        c->lost = c->state == LINK_READY;
        c->state = LINK_CLOSED;
        chain_free(&c->out);
        buf_free(&c->in);
}

void
link_fail(pn_client *c, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(c->why, sizeof c->why, format, args);
        va_end(args);
        link_close(c);
        request_fail_all(c, c->why);
}

const struct limits limits_usual = {
        65536, NATIVE_BODY_MAX, NATIVE_CHUNK_MAX, NATIVE_CREDIT_FIRST, NATIVE_BATCH_MAX, 2};

/* Writes the preface and HELLO. */
static void
link_greet(pn_client *c)
{
        uint8_t room[128];
        struct native_block b = native_block_of(room, sizeof room);
        struct native_head head = {.op = NATIVE_OP_HELLO};

        c->features = 0;
        c->limits = limits_usual;
        c->hello_id = head.id = ++c->sequence << SLOT_BITS;
        native_put_number(&b, NATIVE_F_PROTOCOL, NATIVE_VERSION);
        native_put_number(&b, NATIVE_F_FEATURES, (c->opts.flags & PN_LZ4) != 0 ? NATIVE_LZ4 : 0);
        native_put_text(&b, NATIVE_F_NAME, bytes_str(c->name));
        chain_append(&c->out, bytes_of(native_preface, sizeof native_preface));
        native_write(&c->out, head, &b, bytes_of(NULL, 0), NULL, bytes_of(NULL, 0));
}

/* An attempt that is late, and a connection that is silent though it owes something, are given up
 * after a while; until then nobody waits for the attempt again. */
static pn_status
judge_attempt(pn_client *c, uint64_t now)
{
        if (now - c->attempt_us >= c->opts.dead_us) {
                link_fail(c, "no answer from %s", c->shown);
                return PN_OK;
        }
        if (now - c->attempt_us < c->opts.deadline_us)
                return PN_OK;
        return client_says(c, PN_UNAVAILABLE, "%s has not answered yet", c->shown);
}

pn_status
link_open(pn_client *c)
{
        uint64_t now = clock_us();
        pn_status status = PN_OK;

        if (c->address.kind == ADDRESS_BAD)
                return PN_USAGE;
        if (c->state == LINK_CONNECTING || c->state == LINK_GREETING)
                status = judge_attempt(c, now);
        else if (c->state == LINK_READY && c->active_count > c->wanted_count &&
                 now - c->heard_us >= c->opts.dead_us)
                link_fail(c, "%s was silent for too long", c->shown);
        if (status != PN_OK || c->state != LINK_CLOSED)
                return status;
        c->attempt_us = now;
        c->lost = false;
        if (!dial_begin(c))
                return PN_UNAVAILABLE;
        c->state = LINK_CONNECTING;
        link_greet(c);
        return PN_OK;
}

void
link_adopt(pn_client *c)
{
        c->attempt_us = c->heard_us = clock_us();
        c->state = LINK_GREETING;
        link_greet(c);
}

/* ---- out ---- */

static bool
send_some(pn_client *c)
{
        struct iovec iov[IOVECS];
        struct msghdr m = {.msg_iov = iov};
        ssize_t n;

        m.msg_iovlen = (size_t)chain_iovecs(&c->out, iov, IOVECS);
        n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (n >= 0) {
                chain_sent(&c->out, (size_t)n);
                return true;
        }
        if (errno == EINTR)
                return true;
        /* What the server said before it closed is still to be read: the reader meets the end. */
        if (errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
                link_fail(c, "cannot send to %s: %s", c->shown, strerror(errno));
        return false;
}

void
link_write(pn_client *c)
{
        if (c->state == LINK_CONNECTING) {
                int made = dial_continue(c);

                if (made < 0) {
                        char why[SENTENCE_MAX];

                        memcpy(why, c->why, sizeof why);
                        link_fail(c, "%s", why);
                        return;
                }
                if (made == 0)
                        return;
                c->state = LINK_GREETING;
                c->heard_us = clock_us();
        }
        while (c->state == LINK_GREETING || c->state == LINK_READY) {
                upload_pump(c);
                if (c->out.bytes == 0 || !send_some(c))
                        return;
        }
}

/* ---- in ---- */

/* Takes the complete frames; false: the link failed. *need: bytes missing in the next one. */
static bool
take_frames(pn_client *c, size_t *need)
{
        struct bytes rest = buf_bytes(&c->in);
        struct native_fault fault;
        struct native_frame f;
        enum native_read read;
        size_t n;

        while ((read = native_decode(rest, NATIVE_CLIENT, &f, &n, &fault)) == NATIVE_COMPLETE) {
                if (!reply_take(c, &f))
                        return false;
                rest = bytes_from(rest, n);
        }
        if (read == NATIVE_BAD) {
                if (c->state == LINK_GREETING)
                        link_fail(c, "%s does not speak Pannier's native protocol", c->shown);
                else
                        link_fail(c, "malformed bytes from %s: %s", c->shown, fault.what);
                return false;
        }
        *need = n;
        buf_consume(&c->in, c->in.len - rest.len);
        return true;
}

static void
link_ended(pn_client *c, int error)
{
        if (c->state == LINK_GREETING && c->in.len > 0)
                link_fail(c, "%s does not speak Pannier's native protocol", c->shown);
        else if (error != 0)
                link_fail(c, "the connection to %s broke: %s", c->shown, strerror(error));
        else
                link_fail(c, "%s closed the connection", c->shown);
}

void
link_read(pn_client *c)
{
        size_t need = 0;

        for (int i = 0; i < READS_MAX; i++) {
                size_t room = need > READ_BYTES ? need : READ_BYTES;
                ssize_t n;

                if (c->state != LINK_GREETING && c->state != LINK_READY)
                        return;
                n = recv(c->fd, buf_reserve(&c->in, room), room, MSG_DONTWAIT);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n <= 0) {
                        link_ended(c, n < 0 ? errno : 0);
                        return;
                }
                c->heard_us = clock_us();
                c->in.len += (size_t)n;
                if (!take_frames(c, &need) || (size_t)n < room)
                        return;
        }
}

/* Nothing was sent, and nobody waits any more: it never shall be. */
static void
link_unsend(pn_client *c)
{
        list_each_safe (node, &c->active)
                request_finish(c, container_of(node, struct request, link));
        chain_free(&c->out);
        link_greet(c);
}

void
link_expire(pn_client *c, uint64_t now_us)
{
        uint64_t next = PN_NEVER;

        if (now_us < c->next_deadline_us)
                return;
        list_each_safe (node, &c->active) {
                struct request *rq = container_of(node, struct request, link);

                if (rq->answer == NULL)
                        continue;
                if (rq->deadline_us <= now_us)
                        request_abandon(c, rq, PN_TIMEOUT, "no answer within the deadline");
                else if (rq->deadline_us < next)
                        next = rq->deadline_us;
        }
        c->next_deadline_us = next;
        if (c->state == LINK_CONNECTING && c->wanted_count == 0 && c->active_count > 0)
                link_unsend(c);
}
