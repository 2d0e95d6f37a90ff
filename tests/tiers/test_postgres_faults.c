/* test_postgres_faults: a server that is down, frozen, killed, behind a pooler, not ours, or
 * whose schema is not as it should be. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "postgres_harness.h"

static uint64_t
connects(struct tier *tier)
{
        struct tier_state s;

        tier->ops->describe(tier, &s);
        return s.connects;
}

/* ---- time ---- */

static void
test_timed_out(struct bench *b)
{
        uint64_t timeouts = metric_get(&b->metrics, M_l3_timeouts);
        uint64_t late = metric_get(&b->metrics, M_l3_late), before = connects(b->tier);
        struct entry e;
        struct ask a[3];

        entry_make(b, &e, "time", 10, 1, 0);
        store(b, "time", &e);
        sql("BEGIN; LOCK TABLE pannier.entry");
        get_key(b, &a[0], "time");
        write_new(b, &a[1], "time", &e);
        write_stamped(b, &a[2], "time", &e, 1);
        for (int i = 0; i < 3; i++)
                ask_start(b, b->tier, &a[i], 50 * MS);
        for (int i = 0; i < 3; i++) {
                check_is(ask_wait(b, &a[i]), TIER_TIMED_OUT);
                check(a[i].took_us >= 50 * MS && a[i].took_us < 80 * MS);
        }
        check_is(metric_get(&b->metrics, M_l3_timeouts), timeouts + 3);
        check_is(inside(b->tier)->slots, 0);
        sql("COMMIT");
        bench_run(b, 300 * MS);
        check_is(metric_get(&b->metrics, M_l3_late), late + (b->pooled ? 1 : 3));
        check_is(connects(b->tier), before);
        stands(b, "time", &e, store(b, "time", &e));
        entry_release(&e);
}

enum { CROWD = 3000 };

/* Nothing piles up while it is silent, and all is well as soon as it goes on. */
static void
test_frozen(struct bench *b)
{
        struct ask *asks = mem_zalloc(CROWD * sizeof *asks);
        uint64_t before = connects(b->tier), version;
        struct entry e;
        struct ask a;
        uint64_t gone_us;

        entry_make(b, &e, "frozen", 1000, 1, 0);
        version = store(b, "frozen", &e);
        server_freeze();
        for (int round = 0; round < 3; round++) {
                for (int i = 0; i < CROWD; i++) {
                        if (i % 2 == 0)
                                get_key(b, &asks[i], "frozen");
                        else
                                write_stamped(b, &asks[i], "frozen", &e, 1);
                        ask_start(b, b->tier, &asks[i], (uint64_t)(20 + i % 30) * MS);
                        if (i % 100 == 0)
                                bench_turn(b, 0);
                }
                for (int i = 0; i < CROWD; i++) {
                        check_is(ask_wait(b, &asks[i]), TIER_TIMED_OUT);
                        check(asks[i].took_us < 150 * MS);
                }
        }
        check_is(inside(b->tier)->slots, 0);
        check(inside(b->tier)->small.in_flight <= LIMIT_L3_INFLIGHT);
        check(b->tier->up);
        bench_run(b, 2 * SECOND);
        server_continue();
        gone_us = b->env.mono_us;
        get_key(b, &a, "frozen");
        ask_start(b, b->tier, &a, 5 * SECOND);
        check_is(ask_wait(b, &a), TIER_ANSWERED);
        found_is(b, &a, "frozen", &e, version);
        check(b->env.mono_us - gone_us < SECOND);
        check_is(connects(b->tier), before);
        mem_free(asks);
        entry_release(&e);
}

/* Beyond a limit it is as if it were down. */
static void
test_full(struct bench *b)
{
        enum { TOO_MANY = PG_WAITING_MAX + 100 };
        struct ask *asks = mem_zalloc(TOO_MANY * sizeof *asks);
        unsigned refused = 0;

        server_freeze();
        for (int i = 0; i < TOO_MANY; i++) {
                get_key(b, &asks[i], "full");
                ask_start(b, b->tier, &asks[i], 300 * MS);
        }
        for (int i = 0; i < TOO_MANY; i++) {
                ask_wait(b, &asks[i]);
                refused += asks[i].call.result == TIER_DOWN;
                check(asks[i].call.result == TIER_DOWN || asks[i].call.result == TIER_TIMED_OUT);
        }
        check_is(refused, 100);
        server_continue();
        absent(b, "full");
        mem_free(asks);
}

/* ---- going and coming ---- */

static void
test_killed(struct bench *b)
{
        unsigned synced = b->synced, kicked = b->kicked;
        struct entry e;
        struct ask a[2];
        uint64_t version;

        entry_make(b, &e, "killed", 10, 1, 0);
        version = store(b, "killed", &e);
        sql("BEGIN; LOCK TABLE pannier.entry");
        get_key(b, &a[0], "killed");
        ask_start(b, b->tier, &a[0], 20 * SECOND);
        bench_run(b, 50 * MS);
        server_stop();
        check_is(ask_wait(b, &a[0]), TIER_DOWN);
        check(a[0].took_us < SECOND);
        check(bench_up(b, b->tier, false, SECOND));
        check_is(metric_get(&b->metrics, M_l3_up), 0);
        check(tier_trouble(b->tier)[0] != '\0');
        get_key(b, &a[1], "killed");
        check_is(ask_now(b, &a[1]), TIER_DOWN);
        check(a[1].took_us < 10 * MS);
        bench_run(b, 2 * SECOND);
        server_start();
        check(bench_up(b, b->tier, true, 3 * SECOND));
        check_is(b->synced, synced + 1);
        check_is(b->kicked, kicked + 1);
        check_is(tier_trouble(b->tier)[0], '\0');
        stands(b, "killed", &e, version);
        entry_release(&e);
}

static void
test_starts_with_it_down(struct bench *b)
{
        struct tier *second;
        struct ask a;

        server_stop();
        second = bench_tier(b, NULL);
        bench_run(b, 500 * MS);
        check(!second->up);
        get_key(b, &a, "x");
        ask_start(b, second, &a, SECOND);
        check_is(ask_wait(b, &a), TIER_DOWN);
        server_start();
        check(bench_up(b, second, true, 3 * SECOND));
        check(bench_up(b, b->tier, true, 3 * SECOND));
        postgres_tier_destroy(second);
}

/* Destroyed at every moment of its life: nothing is left, nobody waits. */
static void
test_destroyed(struct bench *b)
{
        struct entry e, big;

        entry_make(b, &e, "destroyed", 10, 1, 0);
        entry_make(b, &big, "destroyed:big", 3 << 20, 1, 0);
        for (int turns = 0; turns < 40; turns++) {
                struct tier *second = bench_tier(b, NULL);
                struct ask a[4];

                for (int i = 0; i < turns / 2; i++)
                        bench_turn(b, 5000);
                get_key(b, &a[0], "destroyed");
                write_new(b, &a[1], "destroyed", &e);
                write_new(b, &a[2], "destroyed:big", &big);
                a[3] = (struct ask){
                        .call = {.verb = TIER_FLUSH, .name_space = bytes_str("nobody")}};
                for (int i = 0; i < 4; i++)
                        ask_start(b, second, &a[i], SECOND);
                for (int i = 0; i < turns % 8; i++)
                        bench_turn(b, 1000);
                postgres_tier_destroy(second);
                for (int i = 0; i < 4; i++) {
                        check(ask_wait(b, &a[i]) == TIER_DOWN || a[i].call.result == TIER_ANSWERED);
                        blob_unref(a[i].call.found);
                }
        }
        entry_release(&e);
        entry_release(&big);
}

/* ---- where it is ---- */

static void
comes_up(struct bench *b, const char *url)
{
        struct tier *second = bench_tier_url(b, url);

        if (!check(bench_up(b, second, true, 10 * SECOND)))
                fprintf(stderr, "# %s\n", tier_trouble(second));
        postgres_tier_destroy(second);
}

static void
test_addresses(struct bench *b)
{
        int silent = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in at = {.sin_family = AF_INET};
        socklen_t len = sizeof at;
        char url[700];

        snprintf(url, sizeof url, "postgresql://pannier@localhost:%u/postgres", server.port);
        comes_up(b, url);
        snprintf(url, sizeof url, "postgresql://pannier@127.0.0.1:%u,[::1]:1/postgres",
                 server.port);
        comes_up(b, url);
        /* The first is dead, the second is nobody, the third a socket. */
        snprintf(url, sizeof url,
                 "host=127.0.0.1,no-such-host.invalid,%s port=1,2,%u user=pannier dbname=postgres"
                 " target_session_attrs=read-write",
                 server.dir, server.port);
        comes_up(b, url);
        /* One takes the connection and says nothing at all; libpq alone would wait for ever. */
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        must(bind(silent, (struct sockaddr *)&at, sizeof at) == 0);
        must(listen(silent, 8) == 0 && getsockname(silent, (struct sockaddr *)&at, &len) == 0);
        snprintf(
                url, sizeof url,
                "host=127.0.0.1,localhost port=%u,%u user=pannier dbname=postgres connect_timeout=1"
                " sslmode=disable application_name=elsewhere",
                ntohs(at.sin_port), server.port);
        comes_up(b, url);
        /* Of several, the one that takes writes. */
        sql("ALTER ROLE pannier SET default_transaction_read_only = on");
        snprintf(url, sizeof url,
                 "host=localhost port=%u user=pannier dbname=postgres"
                 " target_session_attrs=read-write",
                 server.port);
        {
                struct tier *second = bench_tier_url(b, url);

                bench_run(b, 500 * MS);
                check(!second->up);
                sql("SET default_transaction_read_only = off;"
                    " ALTER ROLE pannier RESET default_transaction_read_only");
                check(bench_up(b, second, true, 5 * SECOND));
                postgres_tier_destroy(second);
        }
        close(silent);
}

static void
test_no_name(struct bench *b)
{
        struct tier *second = bench_tier_url(b, "host=no-such-host.invalid user=u password=geheim");

        bench_run(b, 200 * MS);
        check(!second->up);
        check(strstr(tier_trouble(second), "host name") != NULL);
        postgres_tier_destroy(second);
}

static void
test_bad_configuration(struct bench *b)
{
        static const char *const bad[] = {
                "postgresql://u:geheim@[::1/db",
                "host=a geheim",
                "postgresql://u:geh\"eim@[x/\"",
                "password=geheim nonsense=1",
                "postgresql://u:geheim@h/db?nonsense=geheim",
                "host=a,b,c port=1,2 password=geheim",
                "password='geheim",
        };
        static const char *const schemas[] = {
                "", "pg_pannier", "a$b", "back\\slash",
                "0123456789012345678901234567890123456789012345678901234567890123"};
        char why[256];

        bench_set(b, O_l3_url, "host=/nowhere");
        check(postgres_tier_check(&b->options, why));
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                bench_set(b, O_l3_url, bad[i]);
                why[0] = '\0';
                check(!postgres_tier_check(&b->options, why));
                check(postgres_tier_create(&b->env, b->loop, why) == NULL);
                check(strncmp(why, "[l3] url", 8) == 0);
                check(strstr(why, "geh") == NULL && strstr(why, "eim") == NULL);
        }
        bench_set(b, O_l3_url, "host=/nowhere");
        for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++) {
                bench_set(b, O_l3_schema, schemas[i]);
                check(!postgres_tier_check(&b->options, why));
                check(strncmp(why, "[l3] schema", 11) == 0);
        }
        bench_set(b, O_l3_schema, "pannier");
}

/* ---- the schema ---- */

static void
test_check_only(struct bench *b)
{
        struct tier *second;
        struct buf ddl = {0};

        bench_set(b, O_l3_schema, "only looked at");
        bench_set(b, O_l3_migrate, "check");
        second = bench_tier(b, NULL);
        bench_run(b, 300 * MS);
        check(!second->up);
        check(strstr(tier_trouble(second), "lacks: schema_version entry chunk") != NULL);
        check_is(sql_number("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'only%%'"), 0);
        postgres_schema_print("only looked at", &ddl);
        sql("%.*s", (int)ddl.len, (const char *)ddl.at);
        sql("%.*s", (int)ddl.len, (const char *)ddl.at); /* again changes nothing */
        check(bench_up(b, second, true, 10 * SECOND));
        sql("DROP TABLE \"only looked at\".floor");
        postgres_tier_destroy(second);
        second = bench_tier(b, NULL);
        bench_run(b, 300 * MS);
        check(strstr(tier_trouble(second), "lacks: floor (") != NULL);
        postgres_tier_destroy(second);
        sql("DROP SCHEMA \"only looked at\" CASCADE");
        buf_free(&ddl);
        bench_set(b, O_l3_migrate, "yes");
        bench_set(b, O_l3_schema, "pannier");
}

static void
test_newer_schema(struct bench *b)
{
        struct tier *second;

        sql("UPDATE pannier.schema_version SET version = 2");
        second = bench_tier(b, NULL);
        bench_run(b, 300 * MS);
        check(!second->up);
        check(strstr(tier_trouble(second), "is of version 2") != NULL);
        check_is(sql_number("SELECT version FROM pannier.schema_version"), 2);
        sql("UPDATE pannier.schema_version SET version = 1");
        check(bench_up(b, second, true, 10 * SECOND));
        postgres_tier_destroy(second);
}

/* Many begin at once, in a schema with a name that must be quoted: one makes it, all come up. */
static void
test_made_by_one(struct bench *b)
{
        struct tier *tier[6];
        struct entry e;
        struct ask a;

        bench_set(b, O_l3_schema, "Sch\"e'ma; --");
        for (int i = 0; i < 6; i++)
                tier[i] = bench_tier(b, NULL);
        for (int i = 0; i < 6; i++)
                check(bench_up(b, tier[i], true, 10 * SECOND));
        entry_make(b, &e, "made", 1 << 20, 1, 0);
        write_new(b, &a, "made", &e);
        ask_start(b, tier[0], &a, SECOND);
        check_is(ask_wait(b, &a), TIER_ANSWERED);
        get_key(b, &a, "made");
        ask_start(b, tier[5], &a, SECOND);
        check_is(ask_wait(b, &a), TIER_ANSWERED);
        found_is(b, &a, "made", &e, get_u64(a.call.found->at));
        absent(b, "made"); /* in the other schema */
        for (int i = 0; i < 6; i++)
                postgres_tier_destroy(tier[i]);
        sql("DROP SCHEMA \"Sch\"\"e'ma; --\" CASCADE");
        bench_set(b, O_l3_schema, "pannier");
        entry_release(&e);
}

static void
test_schema_goes(struct bench *b)
{
        struct entry e;
        struct ask a;

        entry_make(b, &e, "goes", 10, 1, 0);
        store(b, "goes", &e);
        sql("DROP SCHEMA pannier CASCADE");
        write_new(b, &a, "goes", &e);
        check(ask_now(b, &a) == TIER_FAILED || a.call.result == TIER_DOWN);
        bench_up(b, b->tier, false, SECOND);
        check(bench_up(b, b->tier, true, 10 * SECOND));
        stands(b, "goes", &e, store(b, "goes", &e));
        entry_release(&e);
}

/* ---- prepared statements ---- */

static void
test_prepare(struct bench *b)
{
        static const char *const modes[] = {"off", "on", "auto"};
        struct entry e;
        struct ask a;

        entry_make(b, &e, "prepare", 10, 1, 0);
        for (int m = 0; m < 3; m++) {
                struct tier *second;
                bool prepares = m == 1 || (m == 2 && !b->pooled);

                bench_set(b, O_l3_prepare, modes[m]);
                second = bench_tier(b, NULL);
                must(bench_up(b, second, true, 5 * SECOND));
                check_is(inside(second)->small.prepare, prepares);
                if (!b->pooled || m != 1) /* not with a pooler that loses them */
                        for (int i = 0; i < 40; i++) {
                                write_new(b, &a, "prepare", &e);
                                ask_start(b, second, &a, SECOND);
                                check_is(ask_wait(b, &a), TIER_ANSWERED);
                                if (i == 20 && prepares) /* planned anew */
                                        inside(second)->small.prepared_us[PG_NEW] = 1;
                        }
                check_is(inside(second)->small.prepared_us[PG_NEW] > 1,
                         prepares && !(b->pooled && m == 1));
                postgres_tier_destroy(second);
        }
        bench_set(b, O_l3_prepare, "auto");
        entry_release(&e);
}

/* A pooler that was not recognised: the server connection changes under the prepared statements;
 * every call is answered all the same. */
static void
test_prepare_lost(struct bench *b)
{
        struct tier *tier[4];
        struct entry e[4];
        struct ask a[4];
        char key[4][24];
        unsigned without = 0;

        if (!b->pooled)
                return;
        for (int i = 0; i < 4; i++) {
                tier[i] = bench_tier(b, NULL);
                must(bench_up(b, tier[i], true, 5 * SECOND));
                inside(tier[i])->small.prepare = true;
                snprintf(key[i], sizeof key[i], "lost:%d", i);
                entry_make(b, &e[i], key[i], 5000, (unsigned)i, 0);
        }
        for (int round = 0; round < 100; round++) {
                for (int i = 0; i < 4; i++) {
                        write_new(b, &a[i], key[i], &e[i]);
                        ask_start(b, tier[i], &a[i], 5 * SECOND);
                }
                for (int i = 0; i < 4; i++)
                        check_is(ask_wait(b, &a[i]), TIER_ANSWERED);
                for (int i = 0; i < 4; i++) {
                        uint64_t version = a[i].call.found_version;

                        get_key(b, &a[i], key[i]);
                        ask_start(b, tier[(i + round) % 4], &a[i], 5 * SECOND);
                        check_is(ask_wait(b, &a[i]), TIER_ANSWERED);
                        found_is(b, &a[i], key[i], &e[i], version);
                }
        }
        for (int i = 0; i < 4; i++) {
                without += !inside(tier[i])->small.prepare;
                postgres_tier_destroy(tier[i]);
                entry_release(&e[i]);
        }
        check(without > 0);
}

static const struct test_case cases[] = {
        {"timed_out", test_timed_out, false},
        {"frozen", test_frozen, false},
        {"full", test_full, true},
        {"killed", test_killed, false},
        {"starts_with_it_down", test_starts_with_it_down, true},
        {"destroyed", test_destroyed, false},
        {"addresses", test_addresses, true},
        {"no_name", test_no_name, true},
        {"bad_configuration", test_bad_configuration, true},
        {"check_only", test_check_only, false},
        {"newer_schema", test_newer_schema, false},
        {"made_by_one", test_made_by_one, false},
        {"schema_goes", test_schema_goes, false},
        {"prepare", test_prepare, false},
        {"prepare_lost", test_prepare_lost, false},
        {0},
};

int
main(int argc, char **argv)
{
        return cases_run(cases, argc > 1 ? argv[1] : NULL);
}
