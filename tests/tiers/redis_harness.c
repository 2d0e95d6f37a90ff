/* redis_harness: see redis_harness.h. Owns the Redis it starts (it dies with the program, too). */
#include "redis_harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Redis ---- */

struct server server;
static redisContext *direct;
static redisReply *direct_reply;

static void
direct_close(void)
{
        if (direct_reply != NULL)
                freeReplyObject(direct_reply);
        if (direct != NULL)
                redisFree(direct);
        direct = NULL;
        direct_reply = NULL;
}

static void
direct_open(void)
{
        while (direct == NULL) {
                direct = redisConnectUnix(server.socket);
                if (direct == NULL || direct->err == 0)
                        continue;
                redisFree(direct);
                direct = NULL;
                poll(NULL, 0, 5);
        }
}

struct redisReply *
ask_redis_raw(int count, const char **at, const size_t *len)
{
        if (direct_reply != NULL)
                freeReplyObject(direct_reply);
        direct_open();
        direct_reply = redisCommandArgv(direct, count, at, len);
        must(direct_reply != NULL);
        return direct_reply;
}

static struct redisReply *
ask_redis_list(const char *format, va_list arguments)
{
        if (direct_reply != NULL)
                freeReplyObject(direct_reply);
        direct_open();
        direct_reply = redisvCommand(direct, format, arguments);
        must(direct_reply != NULL);
        return direct_reply;
}

struct redisReply *
ask_redis(const char *format, ...)
{
        struct redisReply *r;
        va_list arguments;

        va_start(arguments, format);
        r = ask_redis_list(format, arguments);
        va_end(arguments);
        return r;
}

long long
redis_number(const char *format, ...)
{
        struct redisReply *r;
        va_list arguments;

        va_start(arguments, format);
        r = ask_redis_list(format, arguments);
        va_end(arguments);
        must(r->type == REDIS_REPLY_INTEGER);
        return r->integer;
}

void
server_setup(void)
{
        struct sockaddr_in at = {.sin_family = AF_INET};
        socklen_t len = sizeof at;
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        must(getenv("REDIS_DIR") != NULL && getenv("REDIS_SERVER") != NULL);
        snprintf(server.dir, sizeof server.dir, "%s", getenv("REDIS_DIR"));
        snprintf(server.socket, sizeof server.socket, "%s/s", server.dir);
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
        must(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
        server.port = ntohs(at.sin_port); /* free a moment ago */
        close(fd);
}

void
server_start(const char *const *more)
{
        char port[8];
        const char *argv[32] = {
                getenv("REDIS_SERVER"),
                "--unixsocket",
                server.socket,
                "--bind",
                "127.0.0.1",
                "--port",
                port,
                "--dir",
                server.dir,
                "--logfile",
                "redis.log",
                "--save",
                "",
                "--appendonly",
                "no",
        };
        int n = 15;

        direct_close();
        snprintf(port, sizeof port, "%u", server.port);
        while (more != NULL && *more != NULL)
                argv[n++] = *more++;
        unlink(server.socket);
        server.pid = fork();
        must(server.pid >= 0);
        if (server.pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                execv(argv[0], (char *const *)argv);
                _exit(127);
        }
        direct_open();
}

void
server_stop(void)
{
        direct_close();
        if (server.pid <= 0)
                return;
        kill(server.pid, SIGKILL);
        waitpid(server.pid, NULL, 0);
        server.pid = 0;
}

void
server_freeze(void)
{
        int status;

        kill(server.pid, SIGSTOP);
        waitpid(server.pid, &status, WUNTRACED);
}

void
server_continue(void)
{
        kill(server.pid, SIGCONT);
}

/* ---- the world ---- */

struct tier *
bench_tier(struct bench *b, const char *url, const char *prefix)
{
        struct redis_config config;
        char text[256], why[256];
        struct tier *tier;
        enum err e;

        snprintf(text, sizeof text, "redis+unix://%s", server.socket);
        bench_set(b, O_l2_url, url != NULL ? url : text);
        bench_set(b, O_l2_prefix, prefix);
        e = redis_config_read(&b->options, &config, why);
        if (e != OK)
                fprintf(stderr, "l2: %s\n", why);
        must(e == OK);
        tier = redis_tier_create(config, b->loop, &b->env, &e);
        must(e == OK);
        return tier;
}

void
bench_open(struct bench *b, enum io_choice io, const char *url, const char *prefix)
{
        bench_init(b, io);
        b->within_us = 2 * SECOND;
        b->tier = bench_tier(b, url, prefix);
}

void
bench_close(struct bench *b)
{
        redis_tier_destroy(b->tier);
        bench_deinit(b);
}

int
cases_run(const struct test_case *cases, const char *only)
{
        static const struct {
                enum io_choice choice;
                const char *name;
        } loops[] = {{IO_URING, "uring"}, {IO_EPOLL, "epoll"}};

        server_setup();
        for (int l = 0; l < 2; l++) {
                struct bench b;

                if (!loop_works(loops[l].choice))
                        continue;
                server_start(NULL);
                bench_open(&b, loops[l].choice, NULL, "pn1");
                must(bench_up(&b, b.tier, true, 5 * SECOND));
                cases_each(cases, only, &b, loops[l].name);
                bench_close(&b);
                server_stop();
        }
        return cases_end();
}
