/* Sessions: the first byte chooses; replies keep the order of the commands whatever waits; a
 * pipeline reads its own writes; any split of the bytes gives the same replies. */
#include "request_world.h"

#include "base/limits.h"
#include "base/prng.h"

TestSuite(session, .init = world_setup, .fini = world_teardown);
TestSuite(session_l2, .init = world_setup_l2, .fini = world_teardown);

Test(session, judges_every_first_byte)
{
        for (int c = 0; c < 256; c++) {
                uint8_t byte = (uint8_t)c;
                bool resp = c == '*' || c == '\r' || c == '\n' || (c >= 'a' && c <= 'z') ||
                            (c >= 'A' && c <= 'Z');

                session_end(&w.client);
                world_connect(&w);
                world_say(&w, bytes_of(&byte, 1));
                if (resp) {
                        cr_expect_eq(w.client.protocol, PROTOCOL_RESP2, "byte %d", c);
                        cr_expect_not(w.client.closing);
                } else if (c == 0xfb) {
                        cr_expect_eq(w.client.protocol, PROTOCOL_UNKNOWN);
                        cr_expect_not(w.client.closing);
                } else {
                        cr_expect(w.client.closing, "byte %d", c);
                        cr_expect_neq(w.heard.len, 0);
                }
                w.heard.len = 0;
        }
}

Test(session, names_tls)
{
        world_say(&w, bytes_str("\x16\x03\x01"));
        world_heard(&w,
                    "-ERR Protocol error: this looks like TLS, which this port does not speak\r\n");
        cr_expect(w.client.closing);
}

Test(session, opens_native_by_its_preface_alone)
{
        world_say(&w, bytes_str("\xfb\x50"));
        cr_expect_eq(w.client.protocol, PROTOCOL_UNKNOWN);
        world_say(&w, bytes_str("\x4e\x01"));
        cr_expect_eq(w.client.protocol, PROTOCOL_NATIVE);
        session_end(&w.client);
        world_connect(&w);
        world_say(&w, bytes_str("\xfb\x50\x4f"));
        cr_expect(w.client.closing);
        cr_expect_neq(w.heard.len, 0);
}

Test(session, closes_on_what_a_web_page_sends)
{
        world_say(&w, bytes_str("POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a b\r\n"));
        world_heard(&w, "");
        cr_expect(w.client.closing);
        cr_expect_eq(metric_get(&w.metrics, M_protocol_errors), 1);

        session_end(&w.client);
        world_connect(&w);
        world_say(&w, bytes_str("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a b\r\n"));
        world_heard(&w, "-ERR wrong number of arguments for 'get' command\r\n");
        cr_expect(w.client.closing);
        session_end(&w.client);
        world_connect(&w);
        world_talk(&w, "GET a", "$-1\r\n");
}

Test(session, says_what_is_malformed_after_what_was_fine)
{
        world_say(&w, bytes_str("PING\r\n*1\r\n$x\r\nPING\r\n"));
        world_heard(&w, "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n");
        cr_expect(w.client.closing);
        world_talk(&w, "PING", "");
}

Test(session, counts_in_turns)
{
        struct buf in = {0};
        struct intake r;

        for (int i = 0; i < LIMIT_TURN_COMMANDS + 10; i++)
                buf_append(&in, bytes_str("PING\r\n"));
        r = session_consume(&w.client, buf_bytes(&in));
        cr_expect_eq(r.consumed, LIMIT_TURN_COMMANDS * strlen("PING\r\n"));
        cr_expect(r.again);
        r = session_consume(&w.client, bytes_from(buf_bytes(&in), r.consumed));
        cr_expect_eq(r.consumed, 10 * strlen("PING\r\n"));
        cr_expect_not(r.again);
        buf_free(&in);
}

static const char mixed[] =
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\n\r\n\0x\r\r\n"
        "GET a\r\n"
        "*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n"
        "\r\n*0\r\n"
        "mset b \"1 2\" c 3\r\n"
        "*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nx\r\n"
        "HELLO 3 SETNAME me\r\n"
        "GET none\r\n"
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nz\r\n"
        "EXPIRE a 100\r\nTTL a\r\nDEL a b a\r\nfoo bar\r\nGET\r\nSTRLEN c\r\nQUIT\r\n";

/* The order on the wire is the order of the commands, in one piece and in every other. */
Test(session, gives_the_same_replies_however_bytes_are_split)
{
        static const char hello[] = "%7\r\n$6\r\nserver\r\n";
        struct buf whole = {0};

        for (size_t step = sizeof mixed - 1; step > 0; step = step > 16 ? step / 2 : step - 1) {
                session_end(&w.client);
                world_close(&w);
                world_open(&w, false, NULL);
                for (size_t at = 0; at < sizeof mixed - 1; at += step) {
                        size_t n = step < sizeof mixed - 1 - at ? step : sizeof mixed - 1 - at;

                        world_say(&w, bytes_of(mixed + at, n));
                }
                cr_assert(w.client.closing);
                if (whole.len == 0) {
                        buf_append(&whole, buf_bytes(&w.heard));
                        cr_assert_not_null(memmem(whole.at, whole.len, hello, sizeof hello - 1));
                }
                cr_assert(bytes_equal(buf_bytes(&whole), buf_bytes(&w.heard)), "in steps of %zu",
                          step);
        }
        buf_free(&whole);
}

/* Every place to cut a stream in two. */
Test(session, gives_the_same_replies_wherever_the_cut_is)
{
        struct buf whole = {0};

        world_say(&w, bytes_of(mixed, sizeof mixed - 1));
        buf_append(&whole, buf_bytes(&w.heard));
        for (size_t cut = 1; cut < sizeof mixed - 1; cut++) {
                world_close(&w);
                world_open(&w, false, NULL);
                world_say(&w, bytes_of(mixed, cut));
                world_say(&w, bytes_of(mixed + cut, sizeof mixed - 1 - cut));
                cr_assert(bytes_equal(buf_bytes(&whole), buf_bytes(&w.heard)), "cut at %zu", cut);
        }
        buf_free(&whole);
}

/* Words that commands know, in any order and number: no crash, and one reply for each command. */
Test(session, answers_each_random_command_once)
{
        static const char *const words[] = {
                "get",       "set",
                "k",         "v",
                "1",         "-1",
                "ex",        "px",
                "nx",        "xx",
                "get",       "keepttl",
                "mget",      "mset",
                "del",       "expire",
                "ttl",       "pn.get",
                "pn.set",    "tag",
                "ttl",       "conf",
                "0.5",       "info",
                "config",    "maxmemory*",
                "command",   "docs",
                "client",    "list",
                "setinfo",   "lib-name",
                "pn.flush",  "l1",
                "namespace", "time",
                "type",      "persist",
                "[a-",       "9223372036854775807",
                "deadline",  "getname",
                "count",     "echo",
                "exat",      "18446744073709551616",
                "",          "hello",
        };
        struct prng prng = {.state = 3};

        for (int round = 0; round < 20000; round++) {
                struct buf in = {0};
                unsigned argc = 1 + (unsigned)prng_below(&prng, 6);

                buf_printf(&in, "*%u\r\n", argc);
                for (unsigned i = 0; i < argc; i++) {
                        const char *word = words[prng_below(&prng, sizeof words / sizeof *words)];

                        buf_printf(&in, "$%zu\r\n%s\r\n", strlen(word), word);
                }
                world_say(&w, buf_bytes(&in));
                cr_assert_eq(w.sent.len, 0);
                cr_assert_gt(w.heard.len, 2);
                w.heard.len = 0;
                world_talk(&w, "PING mark", "$4\r\nmark\r\n");
                buf_free(&in);
        }
}

Test(session, goes_on_after_a_value_that_is_too_long)
{
        struct buf in = {0};

        w.options.value[O_value_max].number = 70000;
        buf_printf(&in, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$70001\r\n");
        memset(buf_reserve(&in, 70001), 'v', 70001);
        in.len += 70001;
        buf_printf(&in, "\r\nPING\r\n");
        world_say(&w, buf_bytes(&in));
        world_heard(&w, "-ERR value is longer than value-max (70000)\r\n+PONG\r\n");
        world_talk(&w, "EXISTS a", ":0\r\n");
        buf_free(&in);
}

/* Below the parser's own bound (a key may have 64 KiB) the commands judge. */
Test(session, judges_values_by_value_max_whatever_the_command)
{
        struct buf in = {0};
        const char *refused = "-ERR value is longer than value-max (1kb)\r\n";

        w.options.value[O_value_max].number = 1024;
        for (int i = 0; i < 1025; i++)
                buf_append(&in, bytes_str("v"));
        buf_append(&in, bytes_of("", 1));
        for (int i = 0; i < 4; i++) {
                static const char *const before[] = {"set a", "mset b 1 a", "setex a 10",
                                                     "pn.set a"};
                struct buf line = {0};

                buf_printf(&line, "%s %s\r\n", before[i], (const char *)in.at);
                world_say(&w, buf_bytes(&line));
                world_heard(&w, refused);
                buf_free(&line);
        }
        world_talk(&w, "EXISTS a b", ":0\r\n");
        buf_free(&in);
}

/* ---- with something that waits ---- */

Test(session_l2, keeps_the_order_of_replies)
{
        world_say(&w, bytes_str("GET a\r\nPING\r\nECHO x\r\nGET b\r\nPING y\r\n"));
        world_heard(&w, "");
        cr_expect_eq(w.client.waiting, 2);
        world_answer(&w);
        world_heard(&w, "$-1\r\n+PONG\r\n$1\r\nx\r\n");
        world_answer(&w);
        world_heard(&w, "$-1\r\n$1\r\ny\r\n");
        cr_expect_eq(w.client.waiting, 0);
}

Test(session_l2, lets_reads_overlap_and_holds_back_the_write)
{
        world_say(&w, bytes_str("GET a\r\nGET b\r\nSET a 1\r\nGET a\r\n"));
        cr_expect(w.client.blocked);
        cr_expect_eq(world_answer(&w), TIER_GET);
        cr_expect_eq(world_answer(&w), TIER_GET);
        world_heard(&w, "$-1\r\n$-1\r\n");
        cr_expect_eq(world_answer(&w), TIER_WRITE);
        world_heard(&w, "+OK\r\n$1\r\n1\r\n");
        cr_expect_not(w.client.blocked);
}

Test(session_l2, lets_writes_overlap_and_reads_them)
{
        world_say(&w, bytes_str("SET a 1\r\nSET b 2\r\nMGET a b\r\n"));
        cr_expect_eq(w.client.waiting, 2);
        cr_expect_eq(world_answer(&w), TIER_WRITE);
        cr_expect_eq(world_answer(&w), TIER_WRITE);
        world_heard(&w, "+OK\r\n+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
}

/* DBSIZE counts what was written before it; HELLO changes no earlier reply; QUIT and a malformed
 * command come last. */
Test(session_l2, a_barrier_waits_for_all_before_it)
{
        world_say(&w, bytes_str("SET a 1\r\nDBSIZE\r\nGET b\r\nHELLO 3\r\nGET c\r\nQUIT\r\n"));
        world_heard(&w, "");
        world_answer(&w);
        world_heard(&w, "+OK\r\n:1\r\n");
        world_answer(&w);
        cr_expect(w.heard.len > 20 && memcmp(w.heard.at, "$-1\r\n%7\r\n", 9) == 0);
        w.heard.len = 0;
        cr_expect_not(w.client.closing);
        world_answer(&w);
        world_heard(&w, "_\r\n+OK\r\n");
        cr_expect(w.client.closing);
}

Test(session_l2, a_malformed_command_waits_for_all_before_it)
{
        world_say(&w, bytes_str("GET a\r\n*x\r\n"));
        world_heard(&w, "");
        cr_expect_not(w.client.closing);
        world_answer(&w);
        world_heard(&w, "$-1\r\n-ERR Protocol error: invalid multibulk length\r\n");
        cr_expect(w.client.closing);
}

/* What is no command is answered in its place, and does not let others past the barrier. */
Test(session_l2, a_flush_holds_back_what_follows)
{
        world_say(&w, bytes_str("PN.FLUSH L2\r\nfoo\r\nSET a 1\r\n"));
        cr_expect(w.client.blocked);
        cr_expect_eq(world_answer(&w), TIER_FLUSH);
        cr_expect_eq(world_answer(&w), TIER_WRITE);
        world_heard(&w, ":0\r\n-ERR unknown command 'foo', with args beginning with: \r\n+OK\r\n");
}

/* One byte at a time, everything that can wait waiting. */
Test(session_l2, resumes_wherever_it_was)
{
        static const char in[] = "SET a 1\r\nGET b\r\nPING\r\nSET b 2\r\nGET b\r\nDBSIZE\r\n";

        for (size_t i = 0; i < sizeof in - 1; i++) {
                world_say(&w, bytes_of(in + i, 1));
                if (i % 3 == 0 && !list_empty(&w.calls))
                        world_answer(&w);
        }
        while (!list_empty(&w.calls))
                world_answer(&w);
        world_heard(&w, "+OK\r\n$-1\r\n+PONG\r\n+OK\r\n$1\r\n2\r\n:2\r\n");
}

Test(session_l2, takes_no_more_than_may_wait)
{
        struct buf in = {0};
        unsigned answers = 0;

        for (int i = 0; i < LIMIT_WAITING + 10; i++)
                buf_printf(&in, "GET k%d\r\n", i);
        world_say(&w, buf_bytes(&in));
        cr_expect_eq(w.client.waiting, LIMIT_WAITING);
        cr_expect(w.client.blocked);
        while (!list_empty(&w.calls)) {
                world_answer(&w);
                answers++;
        }
        cr_expect_eq(answers, LIMIT_WAITING + 10);
        cr_expect_eq(w.heard.len, answers * strlen("$-1\r\n"));
        buf_free(&in);
}

/* The client goes while its requests wait: they free themselves (the leak check sees), and nothing
 * is sent. */
Test(session_l2, may_end_while_requests_wait)
{
        world_say(&w, bytes_str("GET a\r\nGET b\r\nPING\r\nSET a 1\r\n"));
        session_end(&w.client);
        cr_expect(list_empty(&w.env.flush));
        cr_expect(list_empty(&w.env.resume));
        world_connect(&w);
        world_answer(&w);
        world_answer(&w);
        world_talk(&w, "PING", "+PONG\r\n");
}
