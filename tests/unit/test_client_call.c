/* libpannier's calls that wait, against a small server in a thread that listens on a real socket,
 * may be slow, silent or gone, and counts what it was asked. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/un.h>
#include <time.h>

#include "test_client_fake.h"

enum behaviour {
        ANSWER,       /* at once */
        SILENT,       /* accepts, reads, says nothing */
        LATE,         /* answers GETs after 30 ms, in a row */
        CLOSE_ON_GET, /* ends the connection where a GET should be answered */
        CLOSE_ON_SET,
        CLOSE_ON_OPEN, /* ends the connection once, right after HELLO, then answers */
};

struct server {
        pthread_t thread;
        char path[64];
        int listener, stop[2];
        _Atomic int behaviour, connections, gets, sets;
};

static bool
put(int fd, struct chain *out)
{
        while (out->bytes > 0) {
                struct iovec iov;
                ssize_t n;

                chain_iovecs(out, &iov, 1);
                n = send(fd, iov.iov_base, iov.iov_len, MSG_NOSIGNAL);
                if (n <= 0)
                        break;
                chain_sent(out, (size_t)n);
        }
        chain_free(out);
        return true;
}

static void
reply_batch(struct chain *out, const struct native_frame *f)
{
        struct native_head head = {f->id, NATIVE_OK, f->op, NATIVE_REPLY};
        struct native_item item;
        struct native_fault fault;
        struct chain items = {0};
        struct bytes rest;
        uint32_t count;

        if (native_body_read(f->body, &item, &fault) != OK ||
            native_batch_read(item.value, &count, &rest, &fault) != OK)
                return;
        for (uint32_t i = 0; i < count; i++) {
                if (native_item_read(&rest, &item, &fault) != OK)
                        return;
                native_item_write(&items, f->op == NATIVE_OP_MGET ? NATIVE_HIT : NATIVE_OK, NULL,
                                  none(), NULL, f->op == NATIVE_OP_MGET ? item.key : none());
        }
        native_batch_write(out, head, NULL, count, &items);
        chain_free(&items);
}

/* One frame; false: the connection ends. */
static bool
serve_frame(struct server *s, int fd, const struct native_frame *f)
{
        struct native_head head = {f->id, NATIVE_OK, f->op, NATIVE_REPLY};
        struct native_block b = {0};
        struct chain out = {0};
        uint8_t room[16];

        s->gets += f->op == NATIVE_OP_GET;
        s->sets += f->op == NATIVE_OP_SET;
        if (s->behaviour == SILENT)
                return true;
        if ((s->behaviour == CLOSE_ON_GET && f->op == NATIVE_OP_GET) ||
            (s->behaviour == CLOSE_ON_SET && f->op == NATIVE_OP_SET))
                return false;
        if (s->behaviour == LATE && f->op == NATIVE_OP_GET)
                usleep(30 * MILLI);
        if (f->op == NATIVE_OP_CHUNK || f->op == NATIVE_OP_CANCEL || f->flags != 0) {
                if (f->op != NATIVE_OP_CHUNK || (f->flags & NATIVE_MORE) != 0) {
                        if (f->op == NATIVE_OP_SET) { /* credit for all that will come */
                                head.flags |= NATIVE_MORE;
                                native_credit_write(&out, head, UINT32_MAX);
                        }
                        return put(fd, &out);
                }
                head.op = NATIVE_OP_SET;
        }
        if (f->op >= NATIVE_OP_MGET && f->op <= NATIVE_OP_MDEL) {
                reply_batch(&out, f);
                return put(fd, &out);
        }
        b = native_block_of(room, sizeof room);
        if (f->op == NATIVE_OP_HELLO)
                native_put_number(&b, NATIVE_F_PROTOCOL, 1);
        if (f->op == NATIVE_OP_GET)
                head.status = NATIVE_HIT;
        native_write(&out, head, &b, none(), NULL,
                     f->op == NATIVE_OP_GET ? bytes_str("value") : none());
        put(fd, &out);
        if (s->behaviour == CLOSE_ON_OPEN && f->op == NATIVE_OP_HELLO) {
                s->behaviour = ANSWER;
                return false;
        }
        return true;
}

/* False: the connection ended. */
static bool
serve_bytes(struct server *s, int fd, struct buf *in, bool *greeted)
{
        struct native_fault fault;
        struct native_frame f;
        size_t n;
        ssize_t got = recv(fd, buf_reserve(in, MIB), MIB, 0);

        if (got <= 0)
                return false;
        in->len += (size_t)got;
        if (!*greeted && in->len >= NATIVE_PREFACE_BYTES) {
                buf_consume(in, NATIVE_PREFACE_BYTES);
                *greeted = true;
        }
        while (*greeted &&
               native_decode(buf_bytes(in), NATIVE_SERVER, &f, &n, &fault) == NATIVE_COMPLETE) {
                if (!serve_frame(s, fd, &f))
                        return false;
                buf_consume(in, n);
        }
        return true;
}

static void *
serve(void *argument)
{
        struct server *s = argument;
        struct buf in = {0};
        bool greeted = false;
        int fd = -1;

        for (;;) {
                struct pollfd p[3] = {
                        {s->stop[0], POLLIN, 0}, {s->listener, POLLIN, 0}, {fd, POLLIN, 0}};

                poll(p, fd >= 0 ? 3 : 2, -1);
                if (p[0].revents != 0)
                        break;
                if (p[1].revents != 0) { /* one client: a new connection ends the old one */
                        if (fd >= 0)
                                close(fd);
                        fd = accept(s->listener, NULL, NULL);
                        s->connections++;
                        greeted = false;
                        in.len = 0;
                } else if (fd >= 0 && p[2].revents != 0 && !serve_bytes(s, fd, &in, &greeted)) {
                        close(fd);
                        fd = -1;
                }
        }
        if (fd >= 0)
                close(fd);
        buf_free(&in);
        return NULL;
}

static void
server_listen(struct server *s)
{
        struct sockaddr_un at = {.sun_family = AF_UNIX};

        unlink(s->path + 5);
        memcpy(at.sun_path, s->path + 5, strlen(s->path + 5) + 1);
        s->listener = socket(AF_UNIX, SOCK_STREAM, 0);
        cr_assert_eq(bind(s->listener, (struct sockaddr *)&at, sizeof at), 0);
        cr_assert_eq(listen(s->listener, 16), 0);
        cr_assert_eq(pipe(s->stop), 0);
        cr_assert_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void
server_start(struct server *s, enum behaviour behaviour)
{
        memset(s, 0, sizeof *s);
        s->behaviour = behaviour;
        snprintf(s->path, sizeof s->path, "unix:/tmp/pannier-client-test-%d", (int)getpid());
        server_listen(s);
}

static void
server_stop(struct server *s)
{
        close(s->listener);
        cr_assert_eq(write(s->stop[1], "", 1), 1);
        pthread_join(s->thread, NULL);
        close(s->stop[0]);
        close(s->stop[1]);
        unlink(s->path + 5);
}

static uint64_t
now_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static const pn_opts usual = {.size = sizeof(pn_opts), .deadline_us = 5 * SECOND};

/* ---- */

Test(client_call, every_call)
{
        const pn_bytes keys[] = {{"a", 1}, {"bb", 2}};
        const pn_entry entries[] = {{{"a", 1}, {"1", 1}, NULL}, {{"b", 1}, {"2", 1}, NULL}};
        struct server s;
        pn_reply many[2], r;
        pn_client *c;

        server_start(&s, ANSWER);
        cr_assert_eq(pn_connect(&c, s.path, &usual), PN_OK, "%s", pn_error(c));
        cr_expect_eq(pn_ping(c), PN_OK);
        cr_expect_eq(pn_set(c, "k", 1, "v", 1, NULL, NULL), PN_OK);
        cr_expect_eq(pn_get(c, "k", 1, &r), PN_HIT);
        cr_expect(value_is(&r, "value"));
        pn_reply_free(&r);
        cr_expect_eq(pn_del(c, "k", 1, &r), PN_OK);
        pn_reply_free(&r);
        cr_expect_eq(pn_expire(c, "k", 1, 1000, NULL), PN_OK);
        cr_expect_eq(pn_info(c, "server", &r), PN_OK);
        pn_reply_free(&r);
        cr_expect_eq(pn_mget(c, keys, 2, many), PN_OK);
        cr_expect(value_is(&many[0], "a") && value_is(&many[1], "bb"));
        pn_reply_free(&many[0]);
        pn_reply_free(&many[1]);
        cr_expect_eq(pn_mset(c, entries, 2, many), PN_OK);
        cr_expect(many[0].status == PN_OK && many[1].status == PN_OK);
        cr_expect_eq(pn_mset(c, entries, 2, NULL), PN_OK);
        cr_expect_eq(pn_mdel(c, keys, 2, NULL), PN_OK);
        cr_expect_eq(pn_mget(c, keys, 0, NULL), PN_OK);
        cr_expect_eq(pn_get(c, "", 0, &r), PN_USAGE);
        cr_expect_not_null(strstr(r.error, "empty"));
        pn_reply_free(&r);
        cr_expect_eq((int)s.connections, 1);
        pn_close(c);
        server_stop(&s);
}

/* More than one frame holds: by count, by bytes, and a value that needs a SET of its own. */
Test(client_call, batches_of_any_size)
{
        enum { N = 10000, BIG = 20 };
        pn_bytes *keys = mem_alloc(N * sizeof *keys);
        pn_reply *replies = mem_alloc(N * sizeof *replies);
        struct bytes value = noise(400000);
        char(*names)[16] = mem_alloc((size_t)N * 16);
        pn_entry entries[BIG];
        struct server s;
        pn_client *c;

        server_start(&s, ANSWER);
        cr_assert_eq(pn_connect(&c, s.path, &usual), PN_OK);
        for (int i = 0; i < N; i++) {
                snprintf(names[i], 16, "key:%d", i);
                keys[i] = (pn_bytes){names[i], strlen(names[i])};
        }
        cr_assert_eq(pn_mget(c, keys, N, replies), PN_OK, "%s", pn_error(c));
        for (int i = 0; i < N; i++) {
                cr_assert(value_is(&replies[i], names[i]), "%d", i);
                pn_reply_free(&replies[i]);
        }
        for (size_t i = 0; i < BIG; i++)
                entries[i] = (pn_entry){keys[i], {value.at, i % 3 == 0 ? 400000 : 200000}, NULL};
        cr_assert_eq(pn_mset(c, entries, BIG, replies), PN_OK, "%s", pn_error(c));
        for (int i = 0; i < BIG; i++) {
                cr_expect_eq(replies[i].status, PN_OK, "%d: %s", i, replies[i].error);
                pn_reply_free(&replies[i]);
        }
        cr_expect_eq((int)s.sets, 7);
        keys[5].len = 0; /* nothing is asked at all */
        cr_assert_eq(pn_mget(c, keys, 10, replies), PN_USAGE);
        for (int i = 0; i < 10; i++) {
                cr_expect_eq(replies[i].status, PN_USAGE);
                pn_reply_free(&replies[i]);
        }
        pn_close(c);
        server_stop(&s);
        mem_free(keys);
        mem_free(replies);
        mem_free(names);
        forget(value);
}

Test(client_call, a_deadline_ends_a_call_and_not_the_connection)
{
        pn_opts opts = usual;
        struct server s;
        pn_client *c;
        pn_reply r;
        uint64_t begun;

        opts.deadline_us = 10 * MILLI;
        server_start(&s, ANSWER);
        cr_assert_eq(pn_connect(&c, s.path, &opts), PN_OK);
        s.behaviour = LATE;
        begun = now_us();
        cr_expect_eq(pn_get(c, "k", 1, &r), PN_TIMEOUT);
        cr_expect_geq(now_us() - begun, 10 * MILLI);
        cr_expect_not_null(strstr(pn_error(c), "deadline"));
        pn_reply_free(&r);
        pn_set_deadline(c, 5 * SECOND);
        cr_expect_eq(pn_get(c, "k", 1, &r), PN_HIT);
        pn_reply_free(&r);
        cr_expect_eq((int)s.connections, 1);
        pn_close(c);
        server_stop(&s);
}

/* The server is started again: the next call, whatever it is, meets the new one. */
Test(client_call, a_lost_connection_is_made_again)
{
        struct server s;
        pn_client *c;
        pn_reply r;

        server_start(&s, ANSWER);
        cr_assert_eq(pn_connect(&c, s.path, &usual), PN_OK);
        server_stop(&s);
        cr_expect_eq(pn_set(c, "k", 1, "v", 1, NULL, &r), PN_UNAVAILABLE);
        cr_expect_not_null(strstr(r.error, "no server listens at"), "%s", r.error);
        pn_reply_free(&r);
        server_listen(&s);
        cr_expect_eq(pn_set(c, "k", 1, "v", 1, NULL, NULL), PN_OK);
        server_stop(&s);
        server_listen(&s);
        cr_expect_eq(pn_set(c, "k", 1, "v", 1, NULL, NULL), PN_OK);
        cr_expect_eq(pn_fd(c) >= 0, 1);
        pn_close(c);
        server_stop(&s);
}

Test(client_call, reads_are_repeated_once_and_writes_are_not)
{
        struct server s;
        pn_client *c;
        pn_reply r;

        server_start(&s, CLOSE_ON_GET);
        cr_assert_eq(pn_connect(&c, s.path, &usual), PN_OK);
        cr_expect_eq(pn_get(c, "k", 1, &r), PN_UNAVAILABLE);
        pn_reply_free(&r);
        cr_expect_eq((int)s.gets, 2);
        s.behaviour = CLOSE_ON_SET;
        cr_expect_eq(pn_set(c, "k", 1, "v", 1, NULL, NULL), PN_UNAVAILABLE);
        cr_expect_eq((int)s.sets, 1);
        s.behaviour = CLOSE_ON_OPEN;
        cr_expect_eq(pn_get(c, "k", 1, &r), PN_HIT);
        pn_reply_free(&r);
        pn_close(c);
        server_stop(&s);
}

/* One call waits for a server that accepts and says nothing; the next ones know, until it is time
 * to try again. */
Test(client_call, a_frozen_server_costs_one_deadline)
{
        pn_opts opts = usual;
        struct server s;
        pn_client *c;
        pn_reply r;
        uint64_t begun;

        opts.deadline_us = 50 * MILLI;
        opts.dead_us = 200 * MILLI;
        server_start(&s, SILENT);
        begun = now_us();
        cr_expect_eq(pn_connect(&c, s.path, &opts), PN_TIMEOUT);
        cr_assert_not_null(c);
        cr_expect_geq(now_us() - begun, 50 * MILLI);
        begun = now_us();
        cr_expect_eq(pn_get(c, "k", 1, &r), PN_UNAVAILABLE);
        cr_expect_not_null(strstr(r.error, "not answered yet"), "%s", r.error);
        cr_expect_lt(now_us() - begun, 50 * MILLI);
        pn_reply_free(&r);
        s.behaviour = ANSWER;
        while (now_us() - begun < 200 * MILLI)
                usleep(10 * MILLI);
        pn_set_deadline(c, 5 * SECOND);
        cr_expect_eq(pn_get(c, "k", 1, &r), PN_HIT, "%s", pn_error(c));
        pn_reply_free(&r);
        pn_close(c);
        server_stop(&s);
}

Test(client_call, large_values_there)
{
        struct bytes value = noise(9 * MIB);
        struct server s;
        pn_client *c;

        server_start(&s, ANSWER);
        cr_assert_eq(pn_connect(&c, s.path, &usual), PN_OK);
        cr_expect_eq(pn_set(c, "k", 1, value.at, value.len, NULL, NULL), PN_OK, "%s", pn_error(c));
        pn_close(c);
        server_stop(&s);
        forget(value);
}

/* ---- addresses ---- */

Test(client_call, addresses_that_are_none)
{
        static const char *const wrong[] = {
                "",
                "unix:",
                "unix://",
                ":7171",
                "host:",
                "host:0",
                "host:65536",
                "host:71x",
                "::1",
                "::1:7171",
                "[::1",
                "[::1]7171",
                "[]:7171",
                "http://host",
                "pannier://",
                "host/path",
                "user@host:1",
                "pannier://h:1/prod",
                "redis://host:1",
        };
        char path[300];
        pn_client *c;

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                cr_expect_eq(pn_connect(&c, wrong[i], &usual), PN_USAGE, "%s", wrong[i]);
                cr_expect_not_null(strstr(pn_error(c), "unix:/path"), "%s", pn_error(c));
                pn_close(c);
        }
        memset(path, 'x', sizeof path);
        path[0] = '/';
        path[108] = '\0';
        cr_expect_eq(pn_connect(&c, path, &usual), PN_USAGE);
        pn_close(c);
        cr_expect_eq(pn_connect(&c, NULL, &usual), PN_USAGE);
        pn_close(c);
}

Test(client_call, addresses_of_every_form)
{
        static const char *const forms[][2] = {{"", ""}, {"pannier://", ""}, {"pannier://", "/"}};
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        socklen_t len = sizeof at;
        struct server s = {.behaviour = ANSWER};
        char address[64];
        pn_client *c;

        s.listener = socket(AF_INET, SOCK_STREAM, 0);
        cr_assert_eq(bind(s.listener, (struct sockaddr *)&at, sizeof at), 0);
        cr_assert_eq(getsockname(s.listener, (struct sockaddr *)&at, &len), 0);
        cr_assert_eq(listen(s.listener, 16), 0);
        cr_assert_eq(pipe(s.stop), 0);
        cr_assert_eq(pthread_create(&s.thread, NULL, serve, &s), 0);
        snprintf(s.path, sizeof s.path, "unix:/nonexistent");
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
                snprintf(address, sizeof address, "%s%s:%d%s", forms[i][0],
                         i % 2 ? "127.0.0.1" : "localhost", ntohs(at.sin_port), forms[i][1]);
                cr_expect_eq(pn_connect(&c, address, &usual), PN_OK, "%s: %s", address,
                             pn_error(c));
                cr_expect_eq(pn_ping(c), PN_OK);
                pn_close(c);
        }
        server_stop(&s);
        snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(at.sin_port));
        cr_expect_eq(pn_connect(&c, address, &usual), PN_UNAVAILABLE);
        cr_expect_not_null(strstr(pn_error(c), address), "%s", pn_error(c));
        pn_close(c);
}

Test(client_call, numbers_of_info)
{
        static const char text[] = "# Stats\r\nmisses:7\r\nl1:state=up,hits=42,entries=x\r\nlast:9";
        pn_reply r = {.data = text, .len = sizeof text - 1};
        uint64_t n = 0;

        cr_expect(pn_info_number(&r, "misses", NULL, &n) && n == 7);
        cr_expect(pn_info_number(&r, "l1", "hits", &n) && n == 42);
        cr_expect(pn_info_number(&r, "last", NULL, &n) && n == 9);
        cr_expect_not(pn_info_number(&r, "l1", "entries", &n));
        cr_expect_not(pn_info_number(&r, "l1", "state", &n));
        cr_expect_not(pn_info_number(&r, "miss", NULL, &n));
        cr_expect_not(pn_info_number(&r, "l1", NULL, &n));
}
