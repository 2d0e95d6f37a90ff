/* What RESP commands answer about the connection and the server, in both versions. */
#include "request_world.h"

#include <stdio.h>

#include "request/command.h"
#include "request/config_list.h"

TestSuite(server, .init = world_setup, .fini = world_teardown);
TestSuite(server_l2, .init = world_setup_l2, .fini = world_teardown);

static const char not_integer[] = "-ERR value is not an integer or out of range\r\n";

/* ---- the connection ---- */

Test(server, answers_small_talk)
{
        world_talk(&w, "PING", "+PONG\r\n");
        world_talk(&w, "ping \"a b\"", "$3\r\na b\r\n");
        world_talk(&w, "PING a b", "-ERR wrong number of arguments for 'ping' command\r\n");
        world_talk(&w, "ECHO a", "$1\r\na\r\n");
        world_talk(&w, "SELECT 0", "+OK\r\n");
        world_talk(&w, "SELECT 1", "-ERR DB index is out of range: there is only database 0\r\n");
        world_talk(&w, "SELECT x", not_integer);
        world_talk(&w, "TIME", "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n");
        world_talk(&w, "AUTH default x", "+OK\r\n");
        world_talk(&w, "AUTH joe x",
                   "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
        world_talk(&w, "QUIT", "+OK\r\n");
        cr_expect(w.client.closing);
}

#define HELLO_REPLY(head, proto)                               \
        head "$6\r\nserver\r\n$5\r\nredis\r\n"                 \
             "$7\r\nversion\r\n$5\r\n7.4.0\r\n"                \
             "$5\r\nproto\r\n:" proto "\r\n$2\r\nid\r\n:1\r\n" \
             "$4\r\nmode\r\n$10\r\nstandalone\r\n"             \
             "$4\r\nrole\r\n$6\r\nmaster\r\n"                  \
             "$7\r\nmodules\r\n*0\r\n"

Test(server, hello_chooses_the_version)
{
        world_talk(&w, "HELLO", HELLO_REPLY("*14\r\n", "2"));
        world_talk(&w, "HELLO 3 AUTH default pw SETNAME joe", HELLO_REPLY("%7\r\n", "3"));
        world_talk(&w, "CLIENT GETNAME", "$3\r\njoe\r\n");
        world_talk(&w, "GET a", "_\r\n");
        world_talk(&w, "HELLO 4", "-NOPROTO unsupported protocol version\r\n");
        world_talk(&w, "HELLO x", "-ERR Protocol version is not an integer or out of range\r\n");
        world_talk(&w, "HELLO 2 FOO", "-ERR Syntax error in HELLO option 'FOO'\r\n");
        world_talk(&w, "HELLO 2 AUTH joe pw",
                   "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
        world_talk(&w, "HELLO 2 SETNAME \"a b\"",
                   "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
        world_talk(&w, "GET a", "_\r\n");
        world_talk(&w, "RESET", "+RESET\r\n");
        world_talk(&w, "GET a", "$-1\r\n");
        world_talk(&w, "CLIENT GETNAME", "$-1\r\n");
}

Test(server, client_names_itself)
{
        strcpy(w.client.peer, "127.0.0.1:5000");
        world_talk(&w, "CLIENT ID", ":1\r\n");
        world_talk(&w, "CLIENT SETNAME joe", "+OK\r\n");
        world_talk(&w, "CLIENT SETINFO lib-name redis-py", "+OK\r\n");
        world_talk(&w, "client setinfo LIB-VER 5.0", "+OK\r\n");
        world_talk(&w, "CLIENT SETINFO foo x", "-ERR Unrecognized option 'foo'\r\n");
        world_talk(&w, "CLIENT SETINFO lib-name \"a b\"",
                   "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n");
        world_wait(&w, 3000000);
        world_talk(&w, "CLIENT LIST",
                   "$150\r\nid=1 addr=127.0.0.1:5000 name=joe age=3 idle=0 "
                   "flags=N db=0 sub=0 psub=0 ssub=0 "
                   "multi=-1 cmd=client user=default lib-name=redis-py lib-ver=5.0 resp=2\n\r\n");
        world_talk(&w, "CLIENT SETNAME",
                   "-ERR wrong number of arguments for 'client|setname' command\r\n");
        world_talk(&w, "CLIENT TRACKING ON", "-ERR CLIENT TRACKING is not supported\r\n");
        world_talk(&w, "CLIENT MAINT_NOTIFICATIONS ON",
                   "-ERR CLIENT MAINT_NOTIFICATIONS is not supported\r\n");
        world_talk(&w, "CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n");
        world_talk(&w, "CLIENT SETNAME \"\"", "+OK\r\n");
        world_talk(&w, "CLIENT GETNAME", "$-1\r\n");
}

/* ---- the server ---- */

static bool
heard_has(const char *text)
{
        return memmem(w.heard.at, w.heard.len, text, strlen(text)) != NULL;
}

Test(server, info_tells_what_tools_parse)
{
        static const char *const texts[] = {
                "# Server\r\n",
                "redis_version:7.4.0\r\n",
                "server_name:pannier\r\n",
                "pannier_version:" PANNIER_VERSION "\r\n",
                "redis_mode:standalone\r\n",
                "os:",
                "process_id:42\r\n",
                "tcp_port:7171\r\n",
                "uptime_in_seconds:",
                "io_backend:none\r\n",
                "io_backend_reason:a test\r\n",
                "connected_clients:0\r\n",
                "used_memory:",
                "maxmemory:268435456\r\n",
                "maxmemory_human:256.00M\r\n",
                "loading:0\r\n",
                "keyspace_hits:1\r\n",
                "keyspace_misses:1\r\n",
                "total_commands_processed:",
                "expired_keys:0\r\n",
                "evicted_keys:0\r\n",
                "role:master\r\n",
                "# Tiers\r\n",
                "l1:state=up,hits=1,entries=1,",
                "l2:state=off\r\n",
                "# Namespaces\r\n",
                "default:ttl=",
                "# Savings\r\n",
                "written_raw_bytes:5\r\n",
                "# Metrics\r\nhits_l1:1\r\n",
                "# Keyspace\r\ndb0:keys=1,",
        };

        world_say(&w, bytes_str("SET a hello\r\nGET a\r\nGET b\r\n"));
        w.heard.len = 0;
        world_say(&w, bytes_str("INFO\r\n"));
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                cr_expect(heard_has(texts[i]), "%s in %.*s", texts[i], (int)w.heard.len,
                          (const char *)w.heard.at);
        w.heard.len = 0;
        world_talk(&w, "INFO replication nosuch",
                   "$48\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n");
        world_say(&w, bytes_str("INFO everything\r\n"));
        cr_expect(heard_has("# Savings"));
}

Test(server_l2, tells_of_its_tiers)
{
        world_say(&w, bytes_str("INFO tiers\r\n"));
        cr_expect(heard_has("l2:state=up,hits=0,"));
        w.heard.len = 0;
        world_say(&w, bytes_str("HELLO 3\r\n"));
        w.heard.len = 0;
        world_say(&w, bytes_str("PN.TIERS\r\n"));
        cr_expect(heard_has("%2\r\n$2\r\nl1\r\n%4\r\n$5\r\nstate\r\n$2\r\nup\r\n$7\r\n"
                            "entries\r\n:0\r\n"));
        cr_expect(heard_has(
                "$9\r\nbytes-max\r\n:268435456\r\n$2\r\nl2\r\n%7\r\n$5\r\n"
                "state\r\n$2\r\nup\r\n"
                "$4\r\nwhat\r\n$12\r\nredis 7.0.15\r\n$7\r\ntrouble\r\n$0\r\n\r\n"
                "$9\r\nin-flight\r\n:0\r\n$8\r\nconnects\r\n:1\r\n$5\r\nup-ms\r\n:1000\r\n"
                "$6\r\nrtt-us\r\n:0\r\n"));
}

Test(server, config_tells_options)
{
        char why[256];

        world_talk(&w, "CONFIG GET maxmemory", "*2\r\n$9\r\nmaxmemory\r\n$9\r\n268435456\r\n");
        world_talk(&w, "CONFIG GET save appendonly",
                   "*4\r\n$10\r\nappendonly\r\n$2\r\nno\r\n$4\r\nsave\r\n$0\r\n\r\n");
        world_talk(&w, "CONFIG GET DATA*", "*2\r\n$9\r\ndatabases\r\n$1\r\n1\r\n");
        world_talk(&w, "CONFIG GET l2-timeout", "*2\r\n$10\r\nl2-timeout\r\n$4\r\n20ms\r\n");
        world_talk(&w, "CONFIG GET nosuch", "*0\r\n");
        world_talk(&w, "CONFIG SET maxmemory 1",
                   "-ERR CONFIG SET is not supported: "
                   "change the configuration file and send SIGHUP\r\n");
        world_talk(&w, "CONFIG FOO", "-ERR unknown subcommand 'FOO'. Try CONFIG HELP.\r\n");
        world_talk(&w, "CONFIG GET", "-ERR wrong number of arguments for 'config|get' command\r\n");
        cr_assert(options_set(&w.options, O_l2_url, bytes_str("redis://joe:p@ss@host:1/0"), why));
        world_talk(&w, "CONFIG GET l2", "*2\r\n$2\r\nl2\r\n$20\r\nredis://***@host:1/0\r\n");
        cr_assert(options_set(&w.options, O_l3_url,
                              bytes_str("host=a password = 'x y\\'z' dbname=d PASSWORD=q"), why));
        world_talk(&w, "CONFIG GET l3",
                   "*2\r\n$2\r\nl3\r\n$43\r\n"
                   "host=a password = *** dbname=d PASSWORD=***\r\n");
        cr_assert(options_set(&w.options, O_l3_url, bytes_str("postgresql://h/d?password=x&a=b"),
                              why));
        world_talk(&w, "CONFIG GET l3",
                   "*2\r\n$2\r\nl3\r\n$33\r\npostgresql://h/d?password=***&a=b\r\n");
}

Test(server, config_patterns_are_redis_own)
{
        static const struct {
                const char *pattern, *name;
                bool matches;
        } cases[] = {
                {"*", "abc", true},       {"a*", "abc", true},        {"*c", "abc", true},
                {"a*c", "abc", true},     {"a?c", "abc", true},       {"A?C", "abc", true},
                {"a[bx]c", "abc", true},  {"a[^b]c", "abc", false},   {"a[a-c]c", "abc", true},
                {"a[c-a]c", "abc", true}, {"a\\bc", "abc", true},     {"a\\*c", "abc", false},
                {"ab", "abc", false},     {"abcd", "abc", false},     {"", "abc", false},
                {"*a*b*c*", "abc", true}, {"**", "abc", true},        {"*b", "abc", false},
                {"a[", "abc", false},     {"ab\\", "abc", false},     {"ab[c", "abc", true},
                {"*?*?*?*", "abc", true}, {"*?*?*?*?", "abc", false},
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                cr_expect_eq(config_matches(bytes_str(cases[i].pattern), cases[i].name),
                             cases[i].matches, "%s", cases[i].pattern);
}

Test(server, describes_its_commands)
{
        char text[32];

        snprintf(text, sizeof text, ":%d\r\n", COMMAND_COUNT);
        world_say(&w, bytes_str("COMMAND COUNT\r\n"));
        world_heard(&w, text);
        world_talk(&w, "COMMAND INFO get nosuch",
                   "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n"
                   ":1\r\n:1\r\n:1\r\n"
                   "*3\r\n+@read\r\n+@fast\r\n+@string\r\n*0\r\n*0\r\n*0\r\n$-1\r\n");
        world_talk(&w, "COMMAND DOCS ECHO nosuch",
                   "*2\r\n$4\r\necho\r\n*8\r\n$7\r\nsummary\r\n$11\r\n"
                   "The message\r\n$5\r\nsince\r\n"
                   "$5\r\n0.1.0\r\n$5\r\ngroup\r\n$10\r\nconnection\r\n"
                   "$9\r\narguments\r\n*1\r\n*4\r\n$4\r\nname\r\n$7\r\nmessage\r\n"
                   "$4\r\ntype\r\n$6\r\nstring\r\n");
        world_say(&w, bytes_str("COMMAND\r\n"));
        snprintf(text, sizeof text, "*%d\r\n*10\r\n", COMMAND_COUNT);
        cr_expect(heard_has(text));
        w.heard.len = 0;
        world_say(&w, bytes_str("COMMAND LIST\r\n"));
        cr_expect(heard_has("$6\r\npn.get\r\n"));
        w.heard.len = 0;
        world_say(&w, bytes_str("PN.HELP\r\n"));
        cr_expect(heard_has("+PN.TIERS: The state of each tier\r\n"));
}
