/* Watches, on both loops; and which loop is chosen. */
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

struct bell {
        struct watch watch;
        unsigned rung, events;
        struct bell *silences; /* disarms it */
};

static void
on_ready(struct watch *w, unsigned events)
{
        struct bell *b = container_of(w, struct bell, watch);

        check(!w->armed);
        b->rung++;
        b->events = events;
        if (b->silences != NULL)
                watch_disarm(&b->silences->watch);
}

static void
ring_bell(int fd)
{
        uint64_t one = 1;

        write_all(fd, &one, sizeof one);
}

static void
one_shot(void)
{
        struct loop *loop = test_loop();
        struct bell b = {.watch.ready = on_ready};
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

        watch_arm(loop, &b.watch, fd, POLLIN);
        run_idle(loop);
        check(b.rung == 0);
        ring_bell(fd);
        run_until(loop, 10, b.rung == 1);
        check(b.events & POLLIN);
        run_idle(loop);
        check(b.rung == 1); /* still readable, but not armed */
        watch_arm(loop, &b.watch, fd, POLLIN);
        run_until(loop, 10, b.rung == 2);
        watch_arm(loop, &b.watch, fd, POLLIN);
        watch_disarm(&b.watch);
        run_idle(loop);
        check(b.rung == 2);
        /* Other events while armed: the newer ones count. */
        check(read(fd, &(uint64_t){0}, 8) == 8);
        watch_arm(loop, &b.watch, fd, POLLIN);
        loop_wait(loop, 0);
        watch_arm(loop, &b.watch, fd, POLLOUT);
        run_until(loop, 10, b.rung == 3);
        check(b.events == POLLOUT);
        close(fd);
        loop_destroy(loop);
}

static void
disarm_then_nothing(void)
{
        struct loop *loop = test_loop();

        for (int i = 0; i < 200; i++) {
                struct bell b = {.watch.ready = on_ready};
                int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

                watch_arm(loop, &b.watch, fd, POLLIN);
                if (i % 2)
                        loop_wait(loop, 0);
                if (i % 3)
                        ring_bell(fd);
                watch_disarm(&b.watch);
                close(fd); /* the number comes again with the next round */
                if (i % 5 == 0)
                        loop_wait(loop, 0);
                check(b.rung == 0);
        }
        run_idle(loop);
        loop_destroy(loop);
}

/* Two are ready in one turn, and the first to be told silences the other. */
static void
disarm_within_the_turn(void)
{
        struct loop *loop = test_loop();
        struct bell a = {.watch.ready = on_ready}, b = {.watch.ready = on_ready, .silences = &a};
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), other = eventfd(0, EFD_NONBLOCK);

        a.silences = &b;
        watch_arm(loop, &a.watch, fd, POLLIN);
        watch_arm(loop, &b.watch, other, POLLIN);
        loop_wait(loop, 0);
        ring_bell(fd);
        ring_bell(other);
        run_until(loop, 10, a.rung + b.rung > 0);
        run_idle(loop);
        check(a.rung + b.rung == 1);
        watch_disarm(&a.watch);
        watch_disarm(&b.watch);
        close(fd);
        close(other);
        loop_destroy(loop);
}

static uint64_t
mono_us(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void
waits_as_long_as_told(void)
{
        struct loop *loop = test_loop();
        uint64_t start = mono_us();

        while (mono_us() - start < 20000)
                loop_wait(loop, 20000);
        check(mono_us() - start < 2000000);
        start = mono_us();
        for (int i = 0; i < 100; i++)
                loop_wait(loop, 0);
        check(mono_us() - start < 1000000);
        loop_destroy(loop);
}

static void
blocked_uring(void)
{
        struct loop_config config = {.choice = IO_URING, .metrics = &test_metrics};
        struct loop *loop = NULL;
        char why[256] = "";

        block_uring();
        check(loop_create(config, &loop, why) == ERR_SYSTEM);
        check(loop == NULL && why[0] != '\0');
        config.choice = IO_AUTO;
        why[0] = '\0';
        check(loop_create(config, &loop, why) == OK);
        check(strcmp(loop_name(loop), "epoll") == 0);
        check(strstr(why, "io_uring") != NULL);
        loop_destroy(loop);
}

static void
chosen_loop(void)
{
        struct loop *loop = test_loop();

        check(strcmp(loop_name(loop), test_config.choice == IO_URING ? "uring" : "epoll") == 0);
        loop_destroy(loop);
}

const struct test_case watch_cases[] = {
        {"one_shot", one_shot},
        {"disarm_then_nothing", disarm_then_nothing},
        {"disarm_within_the_turn", disarm_within_the_turn},
        {"waits_as_long_as_told", waits_as_long_as_told},
        {"blocked_uring", blocked_uring},
        {"chosen_loop", chosen_loop},
        {NULL, NULL},
};
