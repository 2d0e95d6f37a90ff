/* Streams, on both loops: nothing is lost, doubled or out of order, whatever the peer does. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/blob.h"
#include "base/mem.h"
#include "harness.h"

static uint8_t
pattern(size_t at)
{
        return (uint8_t)(at * 131 + at / 251);
}

static struct blob *
payload_new(size_t len)
{
        struct blob *b = blob_new(len);

        check(b != NULL);
        for (size_t i = 0; i < len; i++)
                b->at[i] = pattern(i);
        return b;
}

static void
check_pattern(struct bytes got, size_t from)
{
        for (size_t i = 0; i < got.len; i++)
                check(got.at[i] == pattern(from + i));
}

/* Sends `len` bytes from `from` in random pieces, copied and by reference, and checks what comes
 * back. */
static void
echo_through(struct loop *loop, struct end *from, size_t len)
{
        struct blob *payload = payload_new(len);
        struct prng random = {len + 7};
        size_t queued = 0, seen = 0;

        while (seen < len) {
                while (queued < len && from->out.bytes < 1 << 20) {
                        size_t room = (size_t)1 << prng_below(&random, 18);
                        size_t n = 1 + prng_below(&random, room);

                        if (n > len - queued)
                                n = len - queued;
                        chain_append_blob(&from->out, payload, bytes_of(payload->at + queued, n));
                        queued += n;
                        if (prng_below(&random, 4) == 0)
                                break;
                }
                stream_send(&from->stream);
                loop_wait(loop, 1000000);
                check(!from->ended);
                check_pattern(buf_bytes(&from->in), seen);
                seen += from->in.len;
                from->in.len = 0;
        }
        check(seen == len);
        blob_unref(payload);
}

static void
echo_sizes(struct loop *loop, struct end *from)
{
        static const size_t sizes[] = {1, 2, 100, 8191, 8192, 8193, 65536, 1000003, 64 << 20};

        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                echo_through(loop, from, sizes[i]);
}

static void
echo_socketpair(void)
{
        struct loop *loop = test_loop();
        struct end *a = end_new(), *b = end_new();
        int pair[2];

        test_pair(pair);
        b->echo = true;
        b->keep = false;
        end_open(loop, a, pair[0]);
        end_open(loop, b, pair[1]);
        echo_sizes(loop, a);
        check(a->sents > 0);
        end_close(loop, a);
        run_until(loop, 100, b->ended);
        check(b->error == 0);
        end_close(loop, b);
        loop_destroy(loop);
}

struct acceptor {
        struct watch watch;
        struct end *end; /* opened on what is accepted */
};

static void
on_accept(struct watch *w, unsigned events)
{
        struct acceptor *a = container_of(w, struct acceptor, watch);
        int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        check(events & POLLIN);
        check(fd >= 0);
        end_open(w->loop, a->end, fd);
}

static void
echo_over(const struct sockaddr *at, socklen_t at_len)
{
        struct sockaddr_storage got;
        struct sockaddr *address = (struct sockaddr *)&got;
        socklen_t len = sizeof got;
        struct loop *loop = test_loop();
        struct end *client = end_new(), *server = end_new();
        struct acceptor acceptor = {.watch.ready = on_accept, .end = server};
        int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        check(bind(fd, at, at_len) == 0);
        check(listen(fd, 16) == 0);
        check(getsockname(fd, address, &len) == 0);
        watch_arm(loop, &acceptor.watch, fd, POLLIN);
        server->echo = true;
        server->keep = false;
        check(stream_connect(loop, &client->stream, address, len) == OK);
        run_until(loop, 100, client->connected);
        echo_sizes(loop, client);
        end_close(loop, client);
        run_until(loop, 100, server->ended);
        end_close(loop, server);
        watch_disarm(&acceptor.watch);
        close(fd);
        loop_destroy(loop);
}

static void
echo_tcp(void)
{
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

        echo_over((struct sockaddr *)&in, sizeof in);
}

static void
echo_unix(void)
{
        struct sockaddr_un un = {.sun_family = AF_UNIX};

        /* The empty name: the kernel finds one that is free and no file. */
        echo_over((struct sockaddr *)&un, sizeof(sa_family_t));
}

/* What is sent to a peer that does not read waits without spinning, harms nobody, and comes whole
 * when he does read. */
static void
peer_does_not_read(void)
{
        enum { LEN = 8 << 20 };
        struct loop *loop = test_loop();
        struct end *a = end_new(), *b = end_new(), *c = end_new();
        struct blob *payload = payload_new(LEN);
        int pair[2], other[2];
        uint8_t *got = malloc(LEN);
        size_t n = 0;

        test_pair(pair);
        test_pair(other);
        end_open(loop, a, pair[0]);
        a->stream.quiet = true;
        chain_append_blob(&a->out, payload, blob_bytes(payload));
        stream_send(&a->stream);
        run_idle(loop);
        check(a->out.bytes > 0 && a->out.bytes < LEN);
        check(a->stream.sending);
        b->echo = true;
        end_open(loop, b, other[0]);
        end_open(loop, c, other[1]);
        echo_through(loop, c, 100000);
        while (n < LEN) {
                ssize_t r = recv(pair[1], got + n, LEN - n, MSG_DONTWAIT);

                if (r > 0)
                        n += (size_t)r;
                stream_send(
                        &a->stream); /* asking again while one is in flight must not overtake it */
                loop_wait(loop, 1000);
        }
        check_pattern(bytes_of(got, n), 0);
        run_until(loop, 10, a->out.bytes == 0);
        check(a->sents == 0);
        end_close(loop, a);
        end_close(loop, b);
        end_close(loop, c);
        close(pair[1]);
        free(got);
        blob_unref(payload);
        loop_destroy(loop);
}

static void
pause_and_resume(void)
{
        struct loop *loop = test_loop();
        struct end *a = end_new();
        int pair[2];

        test_pair(pair);
        end_open(loop, a, pair[0]);
        write_all(pair[1], "one", 3);
        run_until(loop, 10, a->in.len == 3);
        stream_pause(&a->stream);
        write_all(pair[1], "two", 3); /* before the pause has reached the kernel */
        run_idle(loop);
        write_all(pair[1], "three", 5);
        run_idle(loop);
        check(a->in.len == 3);
        stream_resume(&a->stream);
        stream_pause(&a->stream);
        stream_resume(&a->stream);
        run_until(loop, 10, a->in.len == 11);
        stream_pause(&a->stream);
        write_all(pair[1], "four", 4);
        close(pair[1]);
        run_idle(loop);
        check(a->in.len == 11 && !a->ended);
        stream_resume(&a->stream);
        run_until(loop, 10, a->ended);
        check(a->error == 0 && a->in.len == 15);
        check(memcmp(a->in.at, "onetwothreefour", 15) == 0);
        end_close(loop, a);
        loop_destroy(loop);
}

/* Paused by what came, while more of the same turn is still to be told. */
static void
pause_in_the_middle(void)
{
        enum { LEN = 100000 };
        struct loop *loop;
        struct end *a = end_new();
        struct blob *payload = payload_new(LEN);
        int pair[2];

        test_config.recv_buffer_bytes = 64;
        loop = test_loop();
        test_pair(pair);
        end_open(loop, a, pair[0]);
        a->pause_on_input = true;
        write_all(pair[1], payload->at, LEN);
        while (a->in.len < LEN) {
                unsigned inputs = a->inputs;

                run_until(loop, 10, a->inputs > inputs);
                check(a->inputs == inputs + 1);
                loop_wait(loop, 0);
                check(a->inputs == inputs + 1);
                stream_resume(&a->stream);
        }
        check_pattern(buf_bytes(&a->in), 0);
        end_close(loop, a);
        close(pair[1]);
        blob_unref(payload);
        loop_destroy(loop);
}

/* A paused stream whose peer has gone must not make the loop spin; a send tells. */
static void
pause_and_peer_goes(void)
{
        struct loop *loop = test_loop();
        struct end *a = end_new();
        int pair[2];

        test_pair(pair);
        end_open(loop, a, pair[0]);
        run_idle(loop);
        stream_pause(&a->stream);
        run_idle(loop);
        close(pair[1]);
        run_idle(loop);
        check(!a->ended);
        chain_append(&a->out, bytes_str("?"));
        stream_send(&a->stream);
        run_until(loop, 10, a->ended);
        check(a->error == EPIPE || a->error == ECONNRESET);
        end_close(loop, a);
        loop_destroy(loop);
}

static void
half_closed_peer_gets_its_answer(void)
{
        struct loop *loop = test_loop();
        struct end *a = end_new();
        int pair[2];
        char got[8];

        test_pair(pair);
        end_open(loop, a, pair[0]);
        write_all(pair[1], "ask", 3);
        check(shutdown(pair[1], SHUT_WR) == 0);
        run_until(loop, 10, a->ended);
        check(a->error == 0 && a->in.len == 3);
        chain_append(&a->out, bytes_str("answer"));
        stream_send(&a->stream);
        run_until(loop, 10, a->out.bytes == 0 && !a->stream.sending);
        check(read(pair[1], got, sizeof got) == 6);
        stream_shutdown(&a->stream);
        check(read(pair[1], got, sizeof got) == 0);
        end_close(loop, a);
        close(pair[1]);
        loop_destroy(loop);
}

/* Closed in the middle of a send: the bytes stay until the kernel lets go of them. */
static void
close_with_sends_in_flight(void)
{
        enum { LEN = 4 << 20, TIMES = 20 };
        struct loop *loop = test_loop();

        for (int i = 0; i < TIMES; i++) {
                struct end *a = end_new();
                struct blob *payload = payload_new(LEN);
                int pair[2];

                test_pair(pair);
                end_open(loop, a, pair[0]);
                chain_append_blob(&a->out, payload, blob_bytes(payload));
                blob_unref(payload);
                stream_send(&a->stream);
                for (int turn = 0; turn < i % 3; turn++)
                        loop_wait(loop, 1000);
                check(!a->closed);
                if (i % 2)
                        close(pair[1]);
                end_close(loop, a);
                if (i % 2 == 0)
                        close(pair[1]);
        }
        loop_destroy(loop);
}

static void
close_while_input_comes(void)
{
        struct loop *loop = test_loop();
        struct end *a = end_new(), *b = end_new();
        int pair[2], other[2];

        test_pair(pair);
        test_pair(other);
        a->close_on_input = true;
        end_open(loop, a, pair[0]);
        end_open(loop, b, other[0]);
        loop_wait(loop, 0);
        for (int i = 0; i < 10; i++) {
                write_all(pair[1], "bytes", 5);
                write_all(other[1], "bytes", 5);
        }
        run_until(loop, 20, a->closed && b->in.len == 50);
        check(a->inputs == 1);
        end_free(a);
        end_close(loop, b);
        close(pair[1]);
        close(other[1]);
        loop_destroy(loop);
}

static void
connect_refused(void)
{
        struct loop *loop = test_loop();
        struct end *a = end_new(), *b = end_new();
        struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/socket"};
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof in;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        /* Bound, but nobody listens. */
        check(bind(fd, (struct sockaddr *)&in, sizeof in) == 0);
        check(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
        check(stream_connect(loop, &a->stream, (struct sockaddr *)&un, sizeof un) == OK);
        check(stream_connect(loop, &b->stream, (struct sockaddr *)&in, len) == OK);
        run_until(loop, 100, a->ended && b->ended);
        check(a->error == ENOENT && b->error == ECONNREFUSED);
        check(!a->connected && !b->connected);
        end_close(loop, a);
        end_close(loop, b);
        close(fd);
        loop_destroy(loop);
}

/* `count` echoing streams, each with `len` bytes a round on their way at once. */
static void
many(unsigned count, size_t len, unsigned rounds)
{
        struct loop *loop = test_loop();
        struct end **ends = mem_alloc(count * sizeof *ends);
        int(*pairs)[2] = mem_alloc(count * sizeof *pairs);
        uint8_t *out = malloc(len), *in = malloc(len);

        for (size_t i = 0; i < len; i++)
                out[i] = pattern(i);
        for (unsigned i = 0; i < count; i++) {
                test_pair(pairs[i]);
                ends[i] = end_new();
                ends[i]->echo = true;
                ends[i]->keep = false;
                end_open(loop, ends[i], pairs[i][0]);
        }
        for (unsigned round = 0; round < rounds; round++) {
                for (unsigned i = 0; i < count; i++)
                        write_all(pairs[i][1], out, len);
                for (unsigned i = 0; i < count; i++) {
                        size_t got = 0;

                        for (int turn = 0; got < len && turn < 100000; turn++) {
                                ssize_t n = recv(pairs[i][1], in + got, len - got, MSG_DONTWAIT);

                                if (n > 0)
                                        got += (size_t)n;
                                else
                                        loop_wait(loop, 100000);
                        }
                        check(got == len && memcmp(in, out, len) == 0);
                }
        }
        for (unsigned i = 0; i < count; i++) {
                check(!ends[i]->ended);
                end_close(loop, ends[i]);
                close(pairs[i][1]);
        }
        free(out);
        free(in);
        mem_free(pairs);
        mem_free(ends);
        loop_destroy(loop);
}

static void
thousands(void)
{
        many(3000, 100, 5);
}

/* More bytes under way than receive buffers: nobody is closed for it, and everything comes. */
static void
buffers_exhausted(void)
{
        test_config.recv_buffers = 4;
        test_config.recv_buffer_bytes = 64;
        many(100, 5000, 3);
        check(test_config.choice != IO_URING || metric_get(&test_metrics, M_recv_starved) > 0);
}

/* Queues far too small: completions overflow, submitting is refused for a while. */
static void
queues_overflow(void)
{
        test_config.ring_entries = 4;
        many(500, 3000, 3);
}

/* Three peers that never stop must not keep the fourth from being served. */
static void
flood_is_fair(void)
{
        enum { FLOODERS = 3, ROUNDS = 200 };
        struct loop *loop;
        struct end *flooded[FLOODERS], *quiet = end_new();
        int pairs[FLOODERS][2], pair[2];
        static char junk[1 << 18];

        test_config.recv_buffers = 16;
        loop = test_loop();
        for (int i = 0; i < FLOODERS; i++) {
                test_pair(pairs[i]);
                flooded[i] = end_new();
                flooded[i]->keep = false;
                end_open(loop, flooded[i], pairs[i][0]);
        }
        test_pair(pair);
        quiet->echo = true;
        quiet->keep = false;
        end_open(loop, quiet, pair[0]);
        for (int round = 0; round < ROUNDS; round++) {
                char got;
                int turns = 0;

                write_all(pair[1], "q", 1);
                while (recv(pair[1], &got, 1, MSG_DONTWAIT) != 1) {
                        for (int i = 0; i < FLOODERS; i++) {
                                while (send(pairs[i][1], junk, sizeof junk, MSG_DONTWAIT) > 0)
                                        ;
                        }
                        loop_wait(loop, 0);
                        check(++turns < 10);
                }
        }
        for (int i = 0; i < FLOODERS; i++) {
                check(flooded[i]->inputs > ROUNDS / 2);
                end_close(loop, flooded[i]);
                close(pairs[i][1]);
        }
        end_close(loop, quiet);
        close(pair[1]);
        loop_destroy(loop);
}

/* A descriptor's number comes again at once: completions of the old one must not reach the new. */
static void
descriptors_come_again(void)
{
        struct loop *loop = test_loop();
        struct prng random = {11};
        struct list dying, *node;

        list_init(&dying);
        for (unsigned i = 0; i < 2000; i++) {
                struct end *e = end_new();
                char text[32];
                int pair[2], len = snprintf(text, sizeof text, "number %u", i);

                test_pair(pair);
                end_open(loop, e, pair[0]);
                if (prng_below(&random, 2))
                        loop_wait(loop, 0);
                write_all(pair[1], text, (size_t)len);
                if (prng_below(&random, 2)) {
                        run_until(loop, 100, e->in.len == (size_t)len);
                        check(memcmp(e->in.at, text, (size_t)len) == 0);
                } else if (prng_below(&random, 2)) {
                        chain_append(&e->out, bytes_of(text, (size_t)len));
                        stream_send(&e->stream);
                }
                close(pair[1]);
                stream_close(&e->stream);
                list_push(&dying, &e->link);
                if (prng_below(&random, 4) == 0)
                        loop_wait(loop, 0);
        }
        while ((node = list_pop(&dying)) != NULL)
                end_close(loop, container_of(node, struct end, link));
        loop_destroy(loop);
}

const struct test_case stream_cases[] = {
        {"echo_socketpair", echo_socketpair},
        {"echo_tcp", echo_tcp},
        {"echo_unix", echo_unix},
        {"peer_does_not_read", peer_does_not_read},
        {"pause_and_resume", pause_and_resume},
        {"pause_in_the_middle", pause_in_the_middle},
        {"pause_and_peer_goes", pause_and_peer_goes},
        {"half_closed_peer_gets_its_answer", half_closed_peer_gets_its_answer},
        {"close_with_sends_in_flight", close_with_sends_in_flight},
        {"close_while_input_comes", close_while_input_comes},
        {"connect_refused", connect_refused},
        {"thousands", thousands},
        {"buffers_exhausted", buffers_exhausted},
        {"queues_overflow", queues_overflow},
        {"flood_is_fair", flood_is_fair},
        {"descriptors_come_again", descriptors_come_again},
        {NULL, NULL},
};
