/* test_redis_faults: Redis frozen, killed, refusing, unreachable, not there at all. */
#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "redis_harness.h"

static bool
works(struct bench *b)
{
        struct ask a;

        get_key(b, &a, "works");
        ask_start(b, b->tier, &a, SECOND);
        return check_is(ask_wait(b, &a), TIER_ANSWERED) && check(a.call.found == NULL);
}

/* Until a call is answered; how long that took. */
static uint64_t
back_after_us(struct bench *b)
{
        uint64_t begin_us = b->env.mono_us;
        struct ask a;

        do {
                get_key(b, &a, "works");
                ask_start(b, b->tier, &a, 20 * MS);
                if (ask_wait(b, &a) == TIER_DOWN)
                        bench_run(b, 5 * MS);
        } while (a.call.result != TIER_ANSWERED && b->env.mono_us - begin_us < 20 * SECOND);
        return b->env.mono_us - begin_us;
}

static void
test_frozen(struct bench *b)
{
        enum { COUNT = 50 };
        uint64_t connects = metric_get(&b->metrics, M_l2_connects);
        uint64_t late = metric_get(&b->metrics, M_l2_late);
        uint64_t timeouts = metric_get(&b->metrics, M_l2_timeouts);
        struct tier_state s;
        struct ask asks[COUNT], w;
        struct entry e;

        entry_make(b, &e, "frozen:w", 100, 1, 0);
        server_freeze();
        for (unsigned i = 0; i < COUNT; i++) {
                get_key(b, &asks[i], "works");
                ask_start(b, b->tier, &asks[i], (i + 1) * MS);
        }
        write_new(b, &w, "frozen:w", &e);
        w.call.until_us = b->env.now_us + 20 * MS;
        ask_start(b, b->tier, &w, 20 * MS);
        for (unsigned i = 0; i < COUNT; i++) {
                check_is(ask_wait(b, &asks[i]), TIER_TIMED_OUT);
                check(asks[i].took_us >= (i + 1) * MS && asks[i].took_us < (i + 30) * MS);
        }
        check_is(ask_wait(b, &w), TIER_TIMED_OUT);
        b->tier->ops->describe(b->tier, &s);
        check(s.up);
        check_is(s.in_flight, COUNT + 1);
        bench_run(b, 300 * MS);
        server_continue();
        check(back_after_us(b) < 500 * MS);
        check_is(metric_get(&b->metrics, M_l2_connects), connects);
        check(metric_get(&b->metrics, M_l2_late) >= late + COUNT + 1);
        check(metric_get(&b->metrics, M_l2_timeouts) >= timeouts + COUNT + 1);
        b->tier->ops->describe(b->tier, &s);
        check_is(s.in_flight, 0);
        /* The write came after its time: nothing was done. */
        check_is(redis_number("EXISTS pn1:v:{frozen:w}"), 0);
        entry_release(&e);
}

/* Longer than the silence that makes the tier try a connection beside it; under load all the
 * while. */
static void
test_frozen_long(struct bench *b)
{
        uint64_t end_us, offset;
        struct entry e;
        struct ask a;

        /* A refusal makes the tier ask for the time; the answer comes when it is over. */
        entry_make(b, &e, "frozen:l", 100, 1, 0);
        write_new(b, &a, "frozen:l", &e);
        a.call.until_us = 1;
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_LATE);
        entry_release(&e);
        offset = (uint64_t)b->env.clock.offset_us;
        server_freeze();
        end_us = b->env.mono_us + 8500 * (uint64_t)MS;
        while (b->env.mono_us < end_us) {
                get_key(b, &a, "works");
                ask_start(b, b->tier, &a, 10 * MS);
                check(ask_wait(b, &a) != TIER_ANSWERED);
                check(a.took_us < 200 * MS);
        }
        server_continue();
        check(back_after_us(b) < SECOND);
        bench_run(b, 200 * MS);
        works(b);
        /* Nobody took an answer of long ago for the time. */
        check(llabs((int64_t)((uint64_t)b->env.clock.offset_us - offset)) < 50 * MS);
}

static void
test_in_flight(struct bench *b)
{
        enum { COUNT = LIMIT_L2_INFLIGHT + 20 };
        static struct ask asks[COUNT];
        unsigned down = 0, timed_out = 0;
        bool first_ones = true;

        works(b);
        server_freeze();
        for (unsigned i = 0; i < COUNT; i++) {
                get_key(b, &asks[i], "works");
                ask_start(b, b->tier, &asks[i], 100 * MS);
                down += asks[i].call.result == TIER_DOWN; /* known at once */
                first_ones &= i >= LIMIT_L2_INFLIGHT || asks[i].call.result == TIER_PENDING;
        }
        check_is(down, 20);
        check(first_ones);
        for (unsigned i = 0; i < COUNT; i++)
                timed_out += ask_wait(b, &asks[i]) == TIER_TIMED_OUT;
        check_is(timed_out, LIMIT_L2_INFLIGHT);
        server_continue();
        check(back_after_us(b) < SECOND);
}

static void
test_killed(struct bench *b)
{
        unsigned synced = b->synced, kicked = b->kicked;
        struct entry small, large;
        struct tier_state s;
        struct ask a[4];

        entry_make(b, &small, "killed:s", 100, 1, 0);
        entry_make(b, &large, "killed:l", 1000000, 1, 0);
        write_new(b, &a[0], "killed:l", &large);
        check_is(ask_now(b, &a[0]), TIER_ANSWERED);
        server_freeze();
        get_key(b, &a[0], "works");
        write_new(b, &a[1], "killed:s", &small);
        write_new(b, &a[2], "killed:l", &large);
        a[3] = (struct ask){.call = {.verb = TIER_FLUSH}};
        for (int i = 0; i < 4; i++)
                ask_start(b, b->tier, &a[i], 5 * SECOND);
        bench_run(b, 20 * MS);
        server_stop();
        for (int i = 0; i < 4; i++) {
                check_is(ask_wait(b, &a[i]), TIER_DOWN);
                check(a[i].took_us < SECOND);
        }
        check(!b->tier->up);
        check_is(metric_get(&b->metrics, M_l2_up), 0);
        b->tier->ops->describe(b->tier, &s);
        check(!s.up && s.trouble[0] != '\0');
        check_is(ask_now(b, &a[0]), TIER_DOWN);
        bench_run(b, 700 * MS);
        check(!b->tier->up);
        server_start(NULL);
        check(back_after_us(b) < 2500 * MS);
        check_is(metric_get(&b->metrics, M_l2_up), 1);
        check_is(b->synced, synced + 1);
        check_is(b->kicked, kicked + 1);
        write_new(b, &a[2], "killed:l", &large);
        check_is(ask_now(b, &a[2]), TIER_ANSWERED);
        entry_release(&small);
        entry_release(&large);
}

/* It was not there when the tier was made, or not ready to speak. */
static void
test_starts_without(struct bench *b)
{
        struct bench *world = b;
        struct tier *early;

        server_stop();
        early = bench_tier(world, NULL, "pn1");
        bench_run(b, 300 * MS);
        check(!early->up);
        server_start(NULL);
        check(bench_up(b, early, true, 2500 * MS));
        check(bench_up(b, b->tier, true, 2500 * MS));
        redis_tier_destroy(early);
        server_freeze();
        early = bench_tier(world, NULL, "pn1");
        bench_run(b, 1500 * MS);
        check(!early->up);
        server_continue();
        check(bench_up(b, early, true, SECOND));
        redis_tier_destroy(early);
        works(b);
}

static void
test_refusals(struct bench *b)
{
        uint64_t errors = metric_get(&b->metrics, M_l2_errors);
        struct entry e;
        struct ask a;

        entry_make(b, &e, "refused:k", 100, 1, 0);
        ask_redis("CONFIG SET maxmemory 1");
        write_new(b, &a, "refused:k", &e);
        check_is(ask_now(b, &a), TIER_FAILED);
        check_is(metric_get(&b->metrics, M_l2_errors), errors + 1);
        ask_redis("CONFIG SET maxmemory 0");
        check_is(ask_now(b, &a), TIER_ANSWERED);
        /* It becomes a replica: no writes, so it is not what we want; then a master again. */
        ask_redis("REPLICAOF 127.0.0.1 1");
        check_is(ask_now(b, &a), TIER_FAILED);
        check(bench_up(b, b->tier, false, SECOND));
        bench_run(b, 300 * MS);
        check(!b->tier->up);
        ask_redis("REPLICAOF NO ONE");
        check(back_after_us(b) < 2500 * MS);
        check_is(ask_now(b, &a), TIER_ANSWERED);
        entry_release(&e);
}

/* A password, a database, an address by name; what is wrong with it is told, what is secret is
 * not. */
static void
test_login(struct bench *b)
{
        static const struct {
                const char *user, *host;
                unsigned db;
                bool fine;
        } logins[] = {
                {":s3cret%40@", "127.0.0.1", 3, true}, {"ann:s3cret%40@", "localhost", 0, true},
                {":wr0ng@", "127.0.0.1", 0, false},    {"bob:s3cret%40@", "127.0.0.1", 0, false},
                {"", "127.0.0.1", 0, false},           {":s3cret%40@", "127.0.0.1", 99, false},
        };
        char url[256];

        ask_redis("ACL SETUSER ann on >s3cret@ ~* +@all");
        ask_redis("CONFIG SET requirepass s3cret@");
        for (size_t i = 0; i < sizeof logins / sizeof logins[0]; i++) {
                struct tier_state s;
                struct tier *t;

                snprintf(url, sizeof url, "redis://%s%s:%u/%u", logins[i].user, logins[i].host,
                         server.port, logins[i].db);
                t = bench_tier(b, url, "pn1");
                check_is(bench_up(b, t, true, logins[i].fine ? 2 * SECOND : 300 * MS),
                         logins[i].fine);
                t->ops->describe(t, &s);
                check((s.trouble[0] == '\0') == logins[i].fine);
                check(strstr(s.trouble, "s3cret") == NULL && strstr(s.trouble, "wr0ng") == NULL);
                if (!logins[i].fine)
                        printf("# %s\n", s.trouble);
                redis_tier_destroy(t);
                bench_run(b, 5 * MS);
        }
        ask_redis("CONFIG SET requirepass %s", "");
        works(b);
}

/* The rights that proto/l2.md names suffice for every verb, and some of them are only of use. */
static void
test_rights(struct bench *b)
{
        static const char rights[] =
                "+auth +select +client|setname +time +script|load +evalsha +eval +getrange +scan "
                "+hscan +unlink +set +hget +hset +hdel";
        static const enum tier_verb verbs[] = {TIER_WRITE, TIER_GET,    TIER_TAKE,
                                               TIER_RAISE, TIER_FLOORS, TIER_FLUSH};
        struct entry e;

        entry_make(b, &e, "rights:k", 1000000, 1, 0);
        for (int info = 0; info < 2; info++) {
                char command[512], url[256];
                struct tier *t;

                snprintf(command, sizeof command, "ACL SETUSER eve reset on >pw ~pn1:* %s %s",
                         rights, info ? "+info +config|get" : "");
                check(ask_redis(command)->type == REDIS_REPLY_STATUS);
                snprintf(url, sizeof url, "redis+unix://eve:pw@%s", server.socket);
                t = bench_tier(b, url, "pn1");
                check(bench_up(b, t, true, 2 * SECOND));
                check((t->replid != 0) == info);
                ask_redis("SCRIPT FLUSH");
                for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
                        struct ask a;

                        write_new(b, &a, "rights:k", &e);
                        a.call.verb = verbs[i];
                        a.call.version = 1;
                        if (verbs[i] == TIER_RAISE || verbs[i] == TIER_FLUSH)
                                a.call.name_space = bytes_str("rights");
                        ask_start(b, t, &a, 2 * SECOND);
                        check_is(ask_wait(b, &a), TIER_ANSWERED);
                        if (verbs[i] == TIER_GET)
                                check(a.call.found != NULL && a.call.found->len > 1000000);
                        blob_unref(a.call.found);
                }
                redis_tier_destroy(t);
                bench_run(b, 5 * MS);
        }
        ask_redis("ACL DELUSER eve");
        ask_redis("DEL pn1:t:{inv}");
        entry_release(&e);
}

static void
test_no_address(struct bench *b)
{
        struct tier *t = bench_tier(b, "redis://no-such-host.invalid:1", "pn1");
        struct tier_state s;

        bench_run(b, 300 * MS);
        t->ops->describe(t, &s);
        check(!s.up && strstr(s.trouble, "address") != NULL);
        printf("# %s\n", s.trouble);
        redis_tier_destroy(t);
        bench_run(b, 5 * MS);
}

/* The path dies without a word: a new connection takes over. */
static void
test_dead_path(struct bench *b)
{
        struct bench *world = b;
        struct tier *t;
        char url[64];
        uint64_t begin_us;
        struct ask a;

        snprintf(url, sizeof url, "redis://127.0.0.1:%u", proxy_start());
        t = bench_tier(world, url, "pn1");
        check(bench_up(b, t, true, 2 * SECOND));
        proxy_deaden();
        begin_us = b->env.mono_us;
        do {
                get_key(b, &a, "works");
                ask_start(b, t, &a, 50 * MS);
                ask_wait(b, &a);
        } while (a.call.result != TIER_ANSWERED && b->env.mono_us - begin_us < 15 * SECOND);
        check_is(a.call.result, TIER_ANSWERED);
        check(b->env.mono_us - begin_us > 2 * SECOND && b->env.mono_us - begin_us < 6 * SECOND);
        check(t->up);
        redis_tier_destroy(t);
        bench_run(b, 20 * MS);
        proxy_stop();
}

/* Something that answers, but is no Redis. */
static void
test_no_redis(struct bench *b)
{
        static const char *const answers[] = {
                "HTTP/1.1 400 Bad Request\r\n\r\n",
                "*1000000000\r\n",
                "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
                "$-5\r\n",
                ":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
                "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        };
        struct sockaddr_in at = {.sin_family = AF_INET};
        socklen_t len = sizeof at;
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        char url[64];

        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        must(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 4) == 0);
        must(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
        snprintf(url, sizeof url, "redis://127.0.0.1:%u", ntohs(at.sin_port));
        for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
                struct tier *t = bench_tier(b, url, "pn1");
                struct tier_state s;
                int fd;

                bench_run(b, 5 * MS);
                fd = accept(listener, NULL, NULL);
                must(fd >= 0);
                must(write(fd, answers[i], strlen(answers[i])) > 0);
                bench_run(b, 15 * MS);
                t->ops->describe(t, &s);
                check(!s.up && strcmp(s.trouble, "not connected yet") != 0);
                printf("# %s\n", s.trouble);
                redis_tier_destroy(t);
                bench_run(b, 5 * MS);
                close(fd);
        }
        close(listener);
}

/* The owner ends while calls wait: they are answered. */
static void
test_destroyed(struct bench *b)
{
        struct tier *t = bench_tier(b, NULL, "pn1");
        struct entry large;
        struct ask a[3];

        check(bench_up(b, t, true, 2 * SECOND));
        entry_make(b, &large, "end:l", 1000000, 1, 0);
        server_freeze();
        get_key(b, &a[0], "works");
        write_new(b, &a[1], "end:l", &large);
        a[2] = (struct ask){.call = {.verb = TIER_FLOORS}};
        for (int i = 0; i < 3; i++)
                ask_start(b, t, &a[i], 5 * SECOND);
        bench_run(b, 10 * MS);
        redis_tier_destroy(t);
        for (int i = 0; i < 3; i++)
                check_is(ask_wait(b, &a[i]), TIER_DOWN);
        server_continue();
        check(back_after_us(b) < SECOND);
        entry_release(&large);
}

int
main(int argc, char **argv)
{
        static const struct test_case cases[] = {
                {"frozen", test_frozen},
                {"frozen for long", test_frozen_long},
                {"too many in flight", test_in_flight},
                {"killed and started again", test_killed},
                {"starts without Redis", test_starts_without},
                {"refusals", test_refusals},
                {"login", test_login},
                {"as few rights as documented", test_rights},
                {"no address", test_no_address},
                {"a path that dies", test_dead_path},
                {"not a Redis", test_no_redis},
                {"destroyed while calls wait", test_destroyed},
                {0},
        };

        return cases_run(cases, argc > 1 ? argv[1] : NULL);
}
