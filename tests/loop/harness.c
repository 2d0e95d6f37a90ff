/* harness: `test_loop LOOP CASE` runs one case on one loop. Status 77 and the reason where the
 * kernel does not allow the loop. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

struct metrics test_metrics;
struct loop_config test_config;

static void
on_input(struct stream *s, struct bytes in)
{
        struct end *e = container_of(s, struct end, stream);

        check(!s->paused && !s->closing && !e->closed);
        check(in.len > 0);
        e->inputs++;
        if (e->keep)
                buf_append(&e->in, in);
        if (e->echo) {
                chain_append(&e->out, in);
                stream_send(s);
        }
        if (e->pause_on_input)
                stream_pause(s);
        if (e->close_on_input)
                stream_close(s);
}

static void
on_sent(struct stream *s)
{
        container_of(s, struct end, stream)->sents++;
}

static void
on_ended(struct stream *s, int error)
{
        struct end *e = container_of(s, struct end, stream);

        check(!e->ended || (e->error == 0 && error != 0));
        check(!s->closing);
        e->ended = true;
        e->error = error;
}

static void
on_closed(struct stream *s)
{
        struct end *e = container_of(s, struct end, stream);

        check(!e->closed);
        e->closed = true;
}

static void
on_connected(struct stream *s)
{
        container_of(s, struct end, stream)->connected = true;
}

static const struct stream_owner end_owner = {on_input, on_sent, on_ended, on_closed, on_connected};

struct loop *
test_loop(void)
{
        struct loop *loop;
        char why[256];

        if (loop_create(test_config, &loop, why) != OK) {
                fprintf(stderr, "skipped: %s\n", why);
                exit(SKIPPED);
        }
        return loop;
}

struct end *
end_new(void)
{
        struct end *e = mem_zalloc(sizeof *e);

        e->stream.owner = &end_owner;
        e->stream.out = &e->out;
        e->keep = true;
        list_init(&e->link);
        return e;
}

void
end_free(struct end *e)
{
        check(e->closed);
        chain_free(&e->out);
        buf_free(&e->in);
        mem_free(e);
}

void
end_open(struct loop *loop, struct end *e, int fd)
{
        stream_open(loop, &e->stream, fd);
}

void
end_close(struct loop *loop, struct end *e)
{
        if (!e->stream.closing)
                stream_close(&e->stream);
        run_until(loop, 100, e->closed);
        end_free(e);
}

void
test_pair(int pair[2])
{
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
}

void
run_idle(struct loop *loop)
{
        for (int i = 0; i < 5; i++)
                loop_wait(loop, 2000);
}

void
write_all(int fd, const void *at, size_t len)
{
        check(write(fd, at, len) == (ssize_t)len);
}

int
main(int argc, char **argv)
{
        const struct test_case *const all[] = {stream_cases, watch_cases, thread_cases};

        check(argc == 3);
        test_config.metrics = &test_metrics;
        test_config.choice = strcmp(argv[1], "uring") == 0 ? IO_URING : IO_EPOLL;
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
                for (const struct test_case *c = all[i]; c->name != NULL; c++) {
                        if (strcmp(c->name, argv[2]) != 0)
                                continue;
                        c->run();
                        check(mem_in_use() == 0);
                        return 0;
                }
        }
        fprintf(stderr, "no such case: %s\n", argv[2]);
        return 2;
}
