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

#include "io/clock_os.h"
#include "request/floors.h"
#include "request/queues.h"

/* ---- TAP ---- */

static const char *case_name;
static unsigned case_count, case_failures, all_failures;

bool
check_that(bool fine, const char *what, const char *file, int line)
{
        if (!fine && case_failures++ < 10)
                printf("# %s:%d: not true: %s\n", file, line, what);
        return fine;
}

bool
check_equal(uint64_t a, uint64_t b, const char *what, const char *file, int line)
{
        if (a != b && case_failures++ < 10)
                printf("# %s:%d: not true: %s (%llu, %llu)\n", file, line, what,
                       (unsigned long long)a, (unsigned long long)b);
        return a == b;
}

void
case_begin(const char *name)
{
        case_name = name;
        case_failures = 0;
        fprintf(stderr, "# %s\n", name);
}

void
case_end(const char *loop)
{
        printf("%sok %u - %s [%s]\n", case_failures ? "not " : "", ++case_count, case_name, loop);
        fflush(stdout);
        all_failures += case_failures > 0;
}

int
cases_end(void)
{
        printf("1..%u\n", case_count);
        return all_failures > 0;
}

bool
loop_works(enum io_choice io)
{
        struct loop_config config = {.choice = io, .connections_max = 4};
        struct metrics metrics = {0};
        struct loop *loop;
        char why[256];

        config.metrics = &metrics;
        if (loop_create(config, &loop, why) == OK) {
                loop_destroy(loop);
                return true;
        }
        printf("ok %u - loop # skip %s\n", ++case_count, why);
        return false;
}

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

static struct bench *running;

void
floors_sync(struct env *env, struct tier *tier)
{
        (void)tier;
        must(env == &running->env && tier->up);
        running->synced++;
}

void
queues_kick(struct env *env)
{
        must(env == &running->env);
        running->kicked++;
}

static void
offload_here(struct env *env, struct job *job)
{
        job->work(job);
        task_ready(&env->ready, job->owner);
}

struct tier *
bench_tier(struct bench *b, const char *url, const char *prefix)
{
        struct redis_config config;
        char text[256], why[256];
        struct tier *tier;
        enum err e;

        snprintf(text, sizeof text, "redis+unix://%s", server.socket);
        must(options_set(&b->options, O_l2_url, bytes_str(url != NULL ? url : text), why));
        must(options_set(&b->options, O_l2_prefix, bytes_str(prefix), why));
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
        struct loop_config config = {.choice = io, .connections_max = 64, .metrics = &b->metrics};
        char why[256];

        *b = (struct bench){0};
        running = b;
        must(loop_create(config, &b->loop, why) == OK);
        options_init(&b->options);
        list_init(&b->env.ready);
        list_init(&b->env.flush);
        list_init(&b->env.resume);
        b->env.count = 1;
        b->env.options = &b->options;
        b->env.metrics = &b->metrics;
        b->env.origin = 0x1122334455667788;
        b->env.offload = offload_here;
        b->env.prng.state = 7;
        shared_clock_init(&b->env.clock, clock_mono_us(), clock_wall_us());
        env_clock(&b->env, clock_mono_us(), clock_wall_us());
        b->tier = bench_tier(b, url, prefix);
}

void
bench_close(struct bench *b)
{
        redis_tier_destroy(b->tier);
        for (int i = 0; i < 20; i++)
                bench_turn(b, 1000);
        loop_destroy(b->loop);
        timers_free(&b->env.timers);
        options_deinit(&b->options);
}

void
bench_turn(struct bench *b, uint64_t longest_us)
{
        uint64_t next_us = timers_next(&b->env.timers), now_us = clock_mono_us();

        if (next_us < now_us + longest_us)
                longest_us = next_us > now_us ? next_us - now_us : 0;
        loop_wait(b->loop, longest_us);
        env_clock(&b->env, clock_mono_us(), clock_wall_us());
        timers_fire(&b->env.timers, b->env.mono_us, &b->env.ready);
        env_advance(&b->env);
}

void
bench_run(struct bench *b, uint64_t us)
{
        uint64_t end_us = clock_mono_us() + us;

        while (clock_mono_us() < end_us)
                bench_turn(b, end_us - clock_mono_us());
}

bool
bench_until(struct bench *b, const bool *what, uint64_t us)
{
        uint64_t end_us = clock_mono_us() + us;

        while (!*what && clock_mono_us() < end_us)
                bench_turn(b, 10000);
        return *what;
}

bool
bench_up(struct bench *b, struct tier *tier, bool up, uint64_t us)
{
        uint64_t end_us = clock_mono_us() + us;

        while (tier->up != up && clock_mono_us() < end_us)
                bench_turn(b, 10000);
        return tier->up == up;
}

struct key
key_text(const char *text)
{
        return key_of(bytes_str(text), 1);
}

static void
ask_advance(struct task *task, struct env *env)
{
        struct ask *a = container_of(task, struct ask, task);

        must(!a->done && a->call.result != TIER_PENDING);
        a->done = true;
        a->took_us = env->mono_us - a->started_us;
}

void
ask_start(struct bench *b, struct tier *tier, struct ask *a, uint64_t deadline_us)
{
        env_clock(&b->env, clock_mono_us(), clock_wall_us());
        task_init(&a->task, ask_advance);
        a->done = false;
        a->started_us = b->env.mono_us;
        a->call.owner = &a->task;
        a->call.deadline_us = b->env.mono_us + deadline_us;
        tier_start(tier, &a->call);
}

enum tier_result
ask_wait(struct bench *b, struct ask *a)
{
        must(bench_until(b, &a->done, 60 * SECOND));
        return a->call.result;
}

enum tier_result
ask_now(struct bench *b, struct ask *a)
{
        ask_start(b, b->tier, a, 2 * SECOND);
        return ask_wait(b, a);
}

/* ---- entries ---- */

void
entry_make(struct bench *b, struct entry *e, const char *key, size_t len, unsigned seed,
           uint8_t flags, uint64_t hard_us)
{
        struct prng prng = {.state = seed};
        struct meta m = {.origin = b->env.origin, .replid = b->tier->replid, .flags = flags};
        struct blob *value = blob_new(len);

        for (size_t i = 0; i < len; i++)
                value->at[i] = (uint8_t)(i % 8 == 0 ? prng_next(&prng) : value->at[i - 1] * 5u + 1);
        m.hard_us = m.soft_us = hard_us != 0 ? hard_us : UINT64_MAX;
        m.raw_len = (uint32_t)len;
        must(envelope_seal(bytes_str(key), &m, NULL, blob_bytes(value), e) == OK);
        blob_unref(value);
}

void
write_new(struct bench *b, struct ask *a, const char *key, const struct entry *e)
{
        *a = (struct ask){.call = {
                                  .verb = TIER_WRITE,
                                  .key = key_text(key),
                                  .entry = e,
                                  .kind = WRITE_NEW,
                                  .expect = EXPECT_ANY,
                                  .estimate_us = b->env.now_us,
                                  .keep_until_us = UINT64_MAX,
                          }};
}

void
write_stamped(struct bench *b, struct ask *a, const char *key, const struct entry *e,
              enum write_kind kind, uint64_t version)
{
        write_new(b, a, key, e);
        a->call.kind = kind;
        a->call.version = version;
        a->call.expect = 0;
}

void
get_key(struct bench *b, struct ask *a, const char *key)
{
        (void)b;
        *a = (struct ask){.call = {.verb = TIER_GET, .key = key_text(key)}};
}

bool
found_is(struct bench *b, struct ask *a, const char *key, const struct entry *e, uint64_t version)
{
        struct blob *found = a->call.found;
        struct entry opened;
        bool same;

        a->call.found = NULL;
        if (!check(found != NULL))
                return false;
        if (!check(envelope_open(bytes_str(key), found, option_number(&b->options, O_value_max),
                                 &opened) == OK)) {
                blob_unref(found);
                return false;
        }
        same = check_is(opened.meta.version, version) &&
               check(bytes_equal(entry_payload(&opened), entry_payload(e)));
        entry_release(&opened);
        return same;
}

void
cases_run(const struct test_case *cases)
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
                for (const struct test_case *c = cases; c->name != NULL; c++) {
                        case_begin(c->name);
                        c->run(&b);
                        case_end(loops[l].name);
                }
                bench_close(&b);
                server_stop();
        }
}
