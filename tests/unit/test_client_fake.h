/* The server's end of a conversation with libpannier, for test_client_*.c: frames written and read
 * with wire/native.h over a socketpair, in lock step with the client in one thread. What does not
 * happen as expected fails the test. */
#ifndef PN_TESTS_UNIT_TEST_CLIENT_FAKE_H
#define PN_TESTS_UNIT_TEST_CLIENT_FAKE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "pannier/client.h"
#include "wire/native.h"

enum { MILLI = 1000, SECOND = 1000000, MIB = 1 << 20 };

struct fake {
        pn_client *c;
        int fd;
        struct buf in; /* came from the client, not looked at yet */
        size_t step;   /* so many bytes reach the client at once; 0: all */
};

static inline struct bytes
none(void)
{
        return (struct bytes){NULL, 0};
}

/* Whatever the client has sent, or wants to send now. */
static inline void
fake_listen(struct fake *f)
{
        for (;;) {
                ssize_t n;

                pn_flush(f->c);
                n = recv(f->fd, buf_reserve(&f->in, MIB), MIB, MSG_DONTWAIT);
                if (n <= 0)
                        return;
                f->in.len += (size_t)n;
        }
}

/* Bytes to the client, which takes them as they come. */
static inline void
fake_send(struct fake *f, struct bytes b)
{
        while (b.len > 0) {
                size_t len = f->step != 0 && f->step < b.len ? f->step : b.len;
                ssize_t n = send(f->fd, b.at, len, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EPIPE)
                        return;
                cr_assert(n > 0 || errno == EAGAIN, "%s", strerror(errno));
                if (n > 0)
                        b = bytes_from(b, (size_t)n);
                pn_on_io(f->c, PN_READ);
        }
}

static inline void
fake_send_chain(struct fake *f, struct chain *c)
{
        while (c->bytes > 0) {
                struct iovec iov;

                cr_assert_eq(chain_iovecs(c, &iov, 1), 1);
                fake_send(f, bytes_of(iov.iov_base, iov.iov_len));
                chain_sent(c, iov.iov_len);
        }
        chain_free(c);
}

/* The next frame from the client, whose body lies in f->in until fake_took(). False: none. */
static inline bool
fake_peek(struct fake *f, struct native_frame *frame, size_t *n)
{
        struct native_fault fault = {0};
        enum native_read read;

        fake_listen(f);
        read = native_decode(buf_bytes(&f->in), NATIVE_SERVER, frame, n, &fault);
        cr_assert_neq(read, NATIVE_BAD, "%s", fault.what);
        return read == NATIVE_COMPLETE;
}

static inline void
fake_took(struct fake *f, size_t n)
{
        buf_consume(&f->in, n);
}

/* Takes a frame of this op; its id. */
static inline uint64_t
fake_expect(struct fake *f, unsigned op)
{
        struct native_frame frame = {0};
        size_t n;

        cr_assert(fake_peek(f, &frame, &n), "no %s came", native_op_name(op));
        cr_assert_eq(frame.op, op, "%s came, not %s", native_op_name(frame.op), native_op_name(op));
        fake_took(f, n);
        return frame.id;
}

static inline void
fake_expect_nothing(struct fake *f)
{
        struct native_frame frame;
        size_t n;

        cr_assert_not(fake_peek(f, &frame, &n), "%s came", native_op_name(frame.op));
        cr_assert_eq(f->in.len, 0);
}

static inline void
fake_reply(struct fake *f, struct native_head head, const struct native_block *fields,
           struct bytes value)
{
        struct chain out = {0};

        head.flags |= NATIVE_REPLY;
        native_write(&out, head, fields, none(), NULL, value);
        fake_send_chain(f, &out);
}

static inline void
fake_hit(struct fake *f, uint64_t id, const char *value)
{
        fake_reply(f, (struct native_head){id, NATIVE_HIT, NATIVE_OP_GET, 0}, NULL,
                   bytes_str(value));
}

static inline void
fake_chunk(struct fake *f, uint64_t id, uint32_t index, uint64_t offset, struct bytes data,
           bool more)
{
        struct chain out = {0};

        native_chunk_write(&out,
                           (struct native_head){.id = id,
                                                .flags = (uint8_t)(more ? NATIVE_REPLY | NATIVE_MORE
                                                                        : NATIVE_REPLY)},
                           index, offset, NULL, data);
        fake_send_chain(f, &out);
}

static inline void
fake_credit(struct fake *f, uint64_t id, uint32_t bytes)
{
        struct chain out = {0};

        native_credit_write(
                &out, (struct native_head){.id = id, .flags = NATIVE_REPLY | NATIVE_MORE}, bytes);
        fake_send_chain(f, &out);
}

static inline void
fake_take_preface(struct fake *f)
{
        fake_listen(f);
        cr_assert_geq(f->in.len, NATIVE_PREFACE_BYTES);
        cr_assert_eq(memcmp(f->in.at, native_preface, NATIVE_PREFACE_BYTES), 0);
        buf_consume(&f->in, NATIVE_PREFACE_BYTES);
}

static inline void
fake_hello(struct fake *f, uint64_t features)
{
        uint8_t room[128];
        struct native_block b = native_block_of(room, sizeof room);
        uint64_t id;

        fake_take_preface(f);
        id = fake_expect(f, NATIVE_OP_HELLO);
        native_put_number(&b, NATIVE_F_PROTOCOL, 1);
        native_put_number(&b, NATIVE_F_FEATURES, features);
        native_put_text(&b, NATIVE_F_NAME, bytes_str("fake 1"));
        fake_reply(f, (struct native_head){id, NATIVE_OK, NATIVE_OP_HELLO, 0}, &b, none());
}

/* A client and a server that have not said a word. The deadline is long: tests of deadlines set it.
 */
static inline void
fake_pair(struct fake *f, pn_opts opts)
{
        int pair[2];

        *f = (struct fake){0};
        if (opts.deadline_us == 0)
                opts.deadline_us = 60 * SECOND;
        if (opts.tier_deadline_us == 0)
                opts.tier_deadline_us = PN_NEVER;
        opts.flags |= PN_LAZY;
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        f->fd = pair[1];
        cr_assert_eq(pn_connect_fd(&f->c, pair[0], &opts), PN_OK);
}

static inline void
fake_begin(struct fake *f, pn_opts opts)
{
        fake_pair(f, opts);
        fake_hello(f, (opts.flags & PN_LZ4) != 0 ? NATIVE_LZ4 : 0);
        cr_assert_str_eq(pn_server_name(f->c), "fake 1");
}

static inline void
fake_end(struct fake *f)
{
        pn_close(f->c);
        close(f->fd);
        buf_free(&f->in);
}

/* A GET that the server has read; its id on the wire is the caller's id as well. */
static inline uint64_t
ask_get(struct fake *f, const char *key)
{
        uint64_t id = 0;

        cr_assert_eq(pn_append_get(f->c, key, strlen(key), &id), PN_OK, "%s", pn_error(f->c));
        cr_assert_eq(fake_expect(f, NATIVE_OP_GET), id);
        return id;
}

/* The reply that is there, with this status; it is freed unless somebody wants it. */
static inline void
expect_reply(struct fake *f, uint64_t id, pn_status status, pn_reply *out)
{
        pn_reply r;
        pn_status got = pn_next(f->c, &r);

        cr_assert_eq(got, status, "%s, not %s: %s", pn_strerror(got), pn_strerror(status), r.error);
        cr_assert_eq(r.status, status);
        cr_assert_eq(r.id, id);
        if (out != NULL)
                *out = r;
        else
                pn_reply_free(&r);
}

static inline void
expect_none(struct fake *f)
{
        pn_reply r;

        cr_assert_eq(pn_next(f->c, &r), PN_AGAIN);
}

static inline bool
value_is(const pn_reply *r, const char *text)
{
        return r->len == strlen(text) && memcmp(r->data, text, r->len + 1) == 0;
}

/* Bytes that do not repeat soon. */
static inline struct bytes
noise(size_t len)
{
        uint8_t *at = mem_alloc(len);
        uint64_t x = len;

        for (size_t i = 0; i < len; i++) {
                x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
                at[i] = (uint8_t)(x >> 56);
        }
        return bytes_of(at, len);
}

static inline void
forget(struct bytes b)
{
        mem_free((void *)b.at);
}

#endif
