/* What each RESP command answers, in both versions. Replies and error sentences are Redis 7's
 * unless said. */
#include "request_world.h"

#include "base/limits.h"
#include "request/command.h"

static void
setup(void)
{
        static const char *const lines[] = {"default.resp-stale=no", "st.resp-stale=yes", NULL};

        world_open(&w, false, lines);
}

TestSuite(command, .init = setup, .fini = world_teardown);
TestSuite(command_l2, .init = world_setup_l2, .fini = world_teardown);

static const char syntax_error[] = "-ERR syntax error\r\n";
static const char not_integer[] = "-ERR value is not an integer or out of range\r\n";

/* ---- the table ---- */

Test(command, table_is_in_order)
{
        for (size_t i = 0; i < COMMAND_COUNT; i++) {
                const struct command *row = &command_rows[i];
                char upper[COMMAND_NAME_MAX] = {0};

                cr_expect(i == 0 || strcmp(command_rows[i - 1].name, row->name) < 0, "%s",
                          row->name);
                cr_expect_eq(row->name[COMMAND_NAME_MAX - 1], '\0');
                for (size_t k = 0; row->name[k] != '\0'; k++)
                        upper[k] = (char)(row->name[k] >= 'a' ? row->name[k] - 32 : row->name[k]);
                cr_expect_eq(command_find(bytes_str(row->name)), row);
                cr_expect_eq(command_find(bytes_str(upper)), row);
                cr_expect_eq(command_find(bytes_of(row->name, strlen(row->name) - 1)),
                             strcmp(row->name, "setex") == 0 || strcmp(row->name, "pttl") == 0
                                     ? command_find(bytes_of(row->name, strlen(row->name) - 1))
                                     : NULL,
                             "a part of %s", row->name);
        }
        cr_expect_null(command_find(bytes_str("")));
        cr_expect_null(command_find(bytes_of("get\0", 4)));
        cr_expect_null(command_find(bytes_str("getget")));
        cr_expect_null(command_find(bytes_str("averylongnamethatnocommandhas")));
}

/* Too few and too many arguments: the same sentence for each, and the connection goes on. */
Test(command, judges_arity)
{
        for (size_t i = 0; i < COMMAND_COUNT; i++) {
                const struct command *row = &command_rows[i];
                struct buf in = {0}, expected = {0};
                int argc = row->arity > 0 ? row->arity + 1 : -row->arity - 1;

                if (argc == 0)
                        continue;
                buf_printf(&in, "%s", row->name);
                for (int k = 1; k < argc; k++)
                        buf_printf(&in, " x");
                buf_printf(&in, "\r\n");
                world_say(&w, buf_bytes(&in));
                buf_printf(&expected, "-ERR wrong number of arguments for '%s' command\r\n%c",
                           row->name, 0);
                world_heard(&w, (const char *)expected.at);
                buf_free(&in);
                buf_free(&expected);
        }
}

Test(command, shows_an_unknown_command_its_arguments)
{
        struct buf in = {0};

        world_talk(&w, "nope", "-ERR unknown command 'nope', with args beginning with: \r\n");
        world_talk(&w, "NOPE a \"b\\r\\nc\"",
                   "-ERR unknown command 'NOPE', with args beginning with: 'a' 'b  c' \r\n");
        buf_printf(&in, "nope ");
        for (int i = 0; i < 1000; i++)
                buf_append(&in, bytes_str("x"));
        buf_printf(&in, "\r\n");
        world_say(&w, buf_bytes(&in));
        cr_expect_lt(w.heard.len, 220);
        w.heard.len = 0;
        buf_free(&in);
}

Test(command, judges_keys)
{
        struct buf in = {0};

        world_talk(&w, "GET \"\"", "-ERR key is empty\r\n");
        world_talk(&w, "DEL a \"\"", "-ERR key is empty\r\n");
        for (int i = 0; i < 2; i++) {
                size_t len = LIMIT_KEY_BYTES + (size_t)i;

                in.len = 0;
                buf_printf(&in, "*2\r\n$3\r\nGET\r\n$%zu\r\n", len);
                memset(buf_reserve(&in, len), 'k', len);
                in.len += len;
                buf_printf(&in, "\r\n");
                world_say(&w, buf_bytes(&in));
                world_heard(&w, i == 0 ? "$-1\r\n" : "-ERR key is longer than 65536 bytes\r\n");
        }
        buf_free(&in);
}

/* ---- values ---- */

Test(command, sets_and_gets)
{
        world_talk(&w, "GET a", "$-1\r\n");
        world_talk(&w, "SET a hello", "+OK\r\n");
        world_talk(&w, "GET a", "$5\r\nhello\r\n");
        world_talk(&w, "SET a \"\"", "+OK\r\n");
        world_talk(&w, "GET a", "$0\r\n\r\n");
        world_talk(&w, "STRLEN a", ":0\r\n");
        world_talk(&w, "EXISTS a b a", ":2\r\n");
        world_talk(&w, "TYPE a", "+string\r\n");
        world_talk(&w, "TYPE b", "+none\r\n");
        world_talk(&w, "STRLEN b", ":0\r\n");
        world_talk(&w, "DBSIZE", ":1\r\n");
        world_talk(&w, "DEL a b", ":1\r\n");
        world_talk(&w, "DBSIZE", ":0\r\n");
        world_talk(&w, "GET a", "$-1\r\n");
        world_talk(&w, "UNLINK a", ":0\r\n");
}

/* What GET allocates on a hit is nothing: the reply's buffer is there already. */
Test(command, a_hit_allocates_nothing)
{
        static const char in[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        uint64_t before;

        world_talk(&w, "SET a hello", "+OK\r\n");
        world_talk(&w, "GET a", "$5\r\nhello\r\n");
        before = mem_in_use();
        cr_assert_eq(session_consume(&w.client, bytes_str(in)).consumed, sizeof in - 1);
        cr_expect_eq(mem_in_use(), before);
        world_turn(&w);
        world_heard(&w, "$5\r\nhello\r\n");
        cr_expect_eq(metric_get(&w.metrics, M_hits_l1), 2);
}

/* The larger is unpacked beside the loop: its GET waits, and its reply keeps its place. */
Test(command, tells_raw_lengths_and_values_of_packed_entries)
{
        static const size_t sizes[] = {50000, 2 * LIMIT_CHUNK_BYTES};

        for (size_t i = 0; i < 2; i++) {
                struct buf in = {0}, expected = {0};
                uint64_t stored = metric_get(&w.metrics, M_stored_bytes);

                buf_printf(&in, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%zu\r\n", sizes[i]);
                buf_printf(&expected, "+OK\r\n$%zu\r\n", sizes[i]);
                for (size_t k = 0; k < sizes[i]; k++) {
                        uint8_t digit = (uint8_t)('0' + k % 10);

                        buf_append(&in, bytes_of(&digit, 1));
                        buf_append(&expected, bytes_of(&digit, 1));
                }
                buf_printf(&in, "\r\nGET a\r\nPING\r\nSTRLEN a\r\n");
                buf_printf(&expected, "\r\n+PONG\r\n:%zu\r\n%c", sizes[i], 0);
                world_say(&w, buf_bytes(&in));
                cr_assert_lt(metric_get(&w.metrics, M_stored_bytes) - stored, sizes[i] / 5,
                             "it was not packed at all");
                world_heard(&w, (const char *)expected.at);
                buf_free(&in);
                buf_free(&expected);
        }
}

Test(command, set_knows_its_conditions)
{
        world_talk(&w, "SET a 1 XX", "$-1\r\n");
        world_talk(&w, "GET a", "$-1\r\n");
        world_talk(&w, "SET a 1 NX", "+OK\r\n");
        world_talk(&w, "SET a 2 nx", "$-1\r\n");
        world_talk(&w, "GET a", "$1\r\n1\r\n");
        world_talk(&w, "SET a 2 xx", "+OK\r\n");
        world_talk(&w, "SET a 3 GET", "$1\r\n2\r\n");
        world_talk(&w, "SET a 4 NX GET", "$1\r\n3\r\n");
        world_talk(&w, "GET a", "$1\r\n3\r\n");
        world_talk(&w, "SET b 1 NX GET", "$-1\r\n");
        world_talk(&w, "GET b", "$1\r\n1\r\n");
        world_talk(&w, "SET c 1 XX GET", "$-1\r\n");
        world_talk(&w, "EXISTS c", ":0\r\n");
        world_talk(&w, "SETNX a 9", ":0\r\n");
        world_talk(&w, "SETNX d 9", ":1\r\n");
        world_talk(&w, "MGET a b c d", "*4\r\n$1\r\n3\r\n$1\r\n1\r\n$-1\r\n$1\r\n9\r\n");
}

Test(command, set_knows_its_expiries)
{
        world_talk(&w, "SET a 1 EX 1 EX 100", "+OK\r\n");
        world_talk(&w, "TTL a", ":100\r\n");
        world_talk(&w, "PTTL a", ":100000\r\n");
        world_talk(&w, "SET a 2 KEEPTTL", "+OK\r\n");
        world_talk(&w, "TTL a", ":100\r\n");
        world_talk(&w, "SET a 2", "+OK\r\n");
        world_talk(&w, "TTL a", ":-1\r\n");
        world_talk(&w, "SET a 1 px 1500", "+OK\r\n");
        world_talk(&w, "PTTL a", ":1500\r\n");
        world_talk(&w, "TTL a", ":2\r\n");
        world_talk(&w, "SET a 1 EXAT 1700000010", "+OK\r\n");
        world_talk(&w, "PTTL a", ":10000\r\n");
        world_talk(&w, "SET a 1 PXAT 1700000010500", "+OK\r\n");
        world_talk(&w, "PTTL a", ":10500\r\n");
        world_wait(&w, 10499999);
        world_talk(&w, "EXISTS a", ":1\r\n");
        world_wait(&w, 1);
        world_talk(&w, "EXISTS a", ":0\r\n");
        world_talk(&w, "TTL a", ":-2\r\n");
        world_talk(&w, "SET a 1 EXAT 1", "+OK\r\n");
        world_talk(&w, "EXISTS a", ":0\r\n");
        world_talk(&w, "SETEX a 7 v", "+OK\r\n");
        world_talk(&w, "TTL a", ":7\r\n");
        world_talk(&w, "PSETEX a 7000 v", "+OK\r\n");
        world_talk(&w, "PTTL a", ":7000\r\n");
}

Test(command, set_refuses_what_contradicts_itself)
{
        static const char *const wrong[] = {
                "SET a 1 NX XX",        "SET a 1 XX NX",        "SET a 1 EX",  "SET a 1 EX 1 PX 1",
                "SET a 1 KEEPTTL EX 1", "SET a 1 EX 1 KEEPTTL", "SET a 1 foo", "SET a 1 EX 1 foo",
        };

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                world_say(&w, bytes_str(wrong[i]));
                world_talk(&w, "", syntax_error);
        }
        world_talk(&w, "SET a 1 EX x", not_integer);
        world_talk(&w, "SET a 1 EX +1", not_integer);
        world_talk(&w, "SET a 1 EX 01", not_integer);
        world_talk(&w, "SET a 1 EX 1.5", not_integer);
        world_talk(&w, "SET a 1 EX 99999999999999999999", not_integer);
        world_talk(&w, "SET a 1 EX 0", "-ERR invalid expire time in 'set' command\r\n");
        world_talk(&w, "SET a 1 PX -1", "-ERR invalid expire time in 'set' command\r\n");
        world_talk(&w, "SET a 1 EX 9223372036854775807",
                   "-ERR invalid expire time in 'set' command\r\n");
        world_talk(&w, "SETEX a 0 v", "-ERR invalid expire time in 'setex' command\r\n");
        world_talk(&w, "PSETEX a 0 v", "-ERR invalid expire time in 'psetex' command\r\n");
        world_talk(&w, "SETEX a x v", not_integer);
        world_talk(&w, "EXISTS a", ":0\r\n");
}

Test(command, mset_takes_pairs)
{
        world_talk(&w, "MSET a 1 b 2 a 3", "+OK\r\n");
        world_talk(&w, "MGET a b", "*2\r\n$1\r\n3\r\n$1\r\n2\r\n");
        world_talk(&w, "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n");
        world_talk(&w, "MGET a b", "*2\r\n$1\r\n3\r\n$1\r\n2\r\n");
}

Test(command, expire_changes_what_is_there)
{
        world_talk(&w, "EXPIRE a 10", ":0\r\n");
        world_talk(&w, "PERSIST a", ":0\r\n");
        world_talk(&w, "SET a 1", "+OK\r\n");
        world_talk(&w, "PERSIST a", ":0\r\n");
        world_talk(&w, "EXPIRE a 10", ":1\r\n");
        world_talk(&w, "PTTL a", ":10000\r\n");
        world_talk(&w, "PEXPIRE a 1234", ":1\r\n");
        world_talk(&w, "PTTL a", ":1234\r\n");
        world_talk(&w, "EXPIREAT a 1700000020", ":1\r\n");
        world_talk(&w, "PTTL a", ":20000\r\n");
        world_talk(&w, "PEXPIREAT a 1700000020001", ":1\r\n");
        world_talk(&w, "PTTL a", ":20001\r\n");
        world_talk(&w, "GET a", "$1\r\n1\r\n");
        world_talk(&w, "PERSIST a", ":1\r\n");
        world_talk(&w, "TTL a", ":-1\r\n");
        world_talk(&w, "EXPIRE a x", not_integer);
        world_talk(&w, "EXPIRE a 9223372036854775807",
                   "-ERR invalid expire time in 'expire' command\r\n");
        world_talk(&w, "EXPIRE a 10 NX", "-ERR Unsupported option NX\r\n");
        world_talk(&w, "TTL a", ":-1\r\n");
}

Test(command, expire_in_the_past_deletes)
{
        static const char *const past[] = {"EXPIRE a 0",   "EXPIRE a -1",  "PEXPIRE a -1",
                                           "EXPIREAT a 1", "EXPIREAT a 0", "EXPIREAT a -5",
                                           "PEXPIREAT a 0"};

        for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
                world_talk(&w, "SET a 1", "+OK\r\n");
                world_say(&w, bytes_str(past[i]));
                world_talk(&w, "", ":1\r\n");
                world_talk(&w, "EXISTS a", ":0\r\n");
                world_talk(&w, "TTL a", ":-2\r\n");
        }
}

/* Fresh for 1 s, stale for 9 more: a plain GET has it only where resp-stale says so; TTL tells
 * hard. */
Test(command, serves_stale_only_where_it_may)
{
        world_talk(&w, "PN.SET no:a 1 TTL 1000 GRACE 9000", "+OK\r\n");
        world_talk(&w, "PN.SET st:a 1 TTL 1000 GRACE 9000", "+OK\r\n");
        world_wait(&w, 2000000);
        world_talk(&w, "GET no:a", "$-1\r\n");
        world_talk(&w, "EXISTS no:a", ":0\r\n");
        world_talk(&w, "TTL no:a", ":8\r\n");
        world_talk(&w, "GET st:a", "$1\r\n1\r\n");
        world_talk(&w, "MGET no:a st:a", "*2\r\n$-1\r\n$1\r\n1\r\n");
        world_talk(&w, "PN.GET no:a",
                   "*12\r\n$5\r\nstate\r\n$5\r\nstale\r\n$5\r\nvalue\r\n$1\r\n1\r\n"
                   "$4\r\ntier\r\n$2\r\nl1\r\n"
                   "$6\r\nage-ms\r\n:2000\r\n$7\r\nsoft-ms\r\n:0\r\n$7\r\n"
                   "hard-ms\r\n:8000\r\n");
        world_wait(&w, 8000000);
        world_talk(&w, "GET st:a", "$-1\r\n");
        world_talk(&w, "TTL no:a", ":-2\r\n");
}

Test(command, flushes)
{
        world_talk(&w, "MSET a:1 x b:1 x", "+OK\r\n");
        world_talk(&w, "PN.FLUSH L1 NAMESPACE a", ":1\r\n");
        world_talk(&w, "MGET a:1 b:1", "*2\r\n$-1\r\n$1\r\nx\r\n");
        world_talk(&w, "PN.FLUSH all", ":1\r\n");
        world_talk(&w, "DBSIZE", ":0\r\n");
        world_talk(&w, "SET a 1", "+OK\r\n");
        world_talk(&w, "FLUSHALL ASYNC", "+OK\r\n");
        world_talk(&w, "DBSIZE", ":0\r\n");
        world_talk(&w, "SET a 1", "+OK\r\n");
        world_talk(&w, "FLUSHDB", "+OK\r\n");
        world_talk(&w, "EXISTS a", ":0\r\n");
        world_talk(&w, "FLUSHALL foo", syntax_error);
        world_talk(&w, "PN.FLUSH L2", "-ERR L2 is not configured\r\n");
        world_talk(&w, "PN.FLUSH L4", "-ERR what is flushed is one of L1, L2, L3 and ALL\r\n");
        world_talk(&w, "PN.FLUSH L1 NAMESPACE", syntax_error);
        world_talk(&w, "PN.FLUSH L1 NAMESPACE a:b",
                   "-ERR a namespace is what stands before the first ':' of a key\r\n");
}

Test(command_l2, flushall_needs_leave_where_others_share)
{
        world_talk(&w, "FLUSHALL",
                   "-ERR it would empty L2 and L3 for everybody; use PN.FLUSH, or set "
                   "flushall = yes\r\n");
        w.options.value[O_flushall].number = 1;
        world_say(&w, bytes_str("FLUSHALL\r\n"));
        world_heard(&w, "");
        cr_expect_eq(world_answer(&w), TIER_FLUSH);
        world_heard(&w, "+OK\r\n");
}

/* L2 does not answer: a DEL says so, a GET is a miss. */
Test(command_l2, says_when_a_tier_is_down)
{
        world_say(&w, bytes_str("GET a\r\n"));
        world_wait(&w, 60000);
        world_heard(&w, "$-1\r\n");
        world_answer(&w);
        world_say(&w, bytes_str("DEL a b\r\n"));
        while (!list_empty(&w.calls)) {
                struct tier_call *call = container_of(list_pop(&w.calls), struct tier_call, link);

                call->result = TIER_DOWN;
                task_ready(&w.env.ready, call->owner);
                env_advance(&w.env);
        }
        world_turn(&w);
        world_heard(&w, "-TIERDOWN l2\r\n");
}

/* ---- PN ---- */

Test(command, pn_get_tells_all_it_knows)
{
        world_talk(&w, "PN.GET a", "*2\r\n$5\r\nstate\r\n$4\r\nmiss\r\n");
        world_talk(&w, "SET a 1", "+OK\r\n");
        world_wait(&w, 5000);
        world_talk(&w, "PN.GET a DEADLINE 10",
                   "*8\r\n$5\r\nstate\r\n$3\r\nhit\r\n$5\r\nvalue\r\n$1\r\n1\r\n"
                   "$4\r\ntier\r\n$2\r\nl1\r\n"
                   "$6\r\nage-ms\r\n:5\r\n");
        world_say(&w, bytes_str("HELLO 3\r\n"));
        w.heard.len = 0;
        world_talk(&w, "PN.SET a 2 TTL 3000", "+OK\r\n");
        world_talk(&w, "PN.GET a",
                   "%6\r\n$5\r\nstate\r\n$3\r\nhit\r\n$5\r\nvalue\r\n$1\r\n2\r\n"
                   "$4\r\ntier\r\n$2\r\nl1\r\n"
                   "$6\r\nage-ms\r\n:0\r\n$7\r\nsoft-ms\r\n:3000\r\n$7\r\n"
                   "hard-ms\r\n:3000\r\n");
        world_talk(&w, "PN.GET a LEASE 1000", "-ERR LEASE is not available yet\r\n");
        world_talk(&w, "PN.GET a wait 1000", "-ERR wait is not available yet\r\n");
        world_talk(&w, "PN.GET a PRIO low", "-ERR PRIO is not available yet\r\n");
        world_talk(&w, "PN.GET a foo", syntax_error);
        world_talk(&w, "PN.GET a DEADLINE", syntax_error);
        world_talk(&w, "PN.GET a DEADLINE 0",
                   "-ERR DEADLINE is not an integer or out of range\r\n");
}

/* A tier that does not say in time is a miss that tells why. */
Test(command_l2, pn_get_tells_why_it_missed)
{
        world_say(&w, bytes_str("PN.GET a DEADLINE 10\r\n"));
        world_wait(&w, 9999);
        world_heard(&w, "");
        world_wait(&w, 1);
        world_heard(&w, "*4\r\n$5\r\nstate\r\n$4\r\nmiss\r\n$5\r\nerror\r\n$29\r\n"
                        "no answer within the deadline\r\n");
}

Test(command, pn_set_keeps_all_it_is_told)
{
        struct key key = key_of(bytes_str("n:a"), w.env.key_seed);
        struct l1_found found;
        uint64_t hash;

        world_talk(
                &w,
                "PN.SET n:a v TTL 1000 GRACE 500 COST 7 COMPUTE 8 CONF 0.5 TAG red TAG blue green",
                "+OK\r\n");
        cr_assert(l1_get(w.env.l1, key, w.env.now_us, &found));
        cr_expect_eq(found.entry.meta.soft_us, w.env.now_us + 1000000);
        cr_expect_eq(found.entry.meta.hard_us, w.env.now_us + 1500000);
        cr_expect_eq(found.entry.meta.cost, 7);
        cr_expect_eq(found.entry.meta.compute_us, 8);
        cr_expect_eq(found.entry.meta.confidence, 32768);
        cr_assert_eq(found.entry.meta.tag_count, 3);
        cr_expect(bytes_equal(entry_tag(&found.entry, 2, &hash), bytes_str("green")));
        entry_release(&found.entry);
        world_talk(&w, "PN.SET a v TTL 0", "-ERR TTL is not an integer or out of range\r\n");
        world_talk(&w, "PN.SET a v GRACE -1", "-ERR GRACE is not an integer or out of range\r\n");
        world_talk(&w, "PN.SET a v CONF 1.5", "-ERR CONF is from 0 to 1\r\n");
        world_talk(&w, "PN.SET a v CONF x", "-ERR value is not a valid float\r\n");
        world_talk(&w, "PN.SET a v TTL", syntax_error);
        world_talk(&w, "PN.SET a v foo 1", syntax_error);
        world_talk(&w, "PN.SET a v TAG", syntax_error);
        world_talk(&w, "PN.SET a v TAG \"\"", "-ERR a tag has 1 to 256 bytes\r\n");
        world_talk(&w, "EXISTS a", ":0\r\n");
}
