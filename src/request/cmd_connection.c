/* request/cmd_connection.c: the commands about the connection itself. Owns nothing; changes the
 * session's version and names.
 * Not here: users and passwords (there is the user default, without one), other sessions. */
#include <stdio.h>

#include "request/command.h"
#include "request/info.h"

void
cmd_ping(struct call *c)
{
        if (c->argc > 2)
                call_bad_arity(c, NULL);
        else if (c->argc == 2)
                resp_bulk(call_out(c), call_arg(c, 1));
        else
                resp_simple(call_out(c), "PONG");
}

void
cmd_echo(struct call *c)
{
        resp_bulk(call_out(c), call_arg(c, 1));
}

/* Nothing waits any more (BARRIER): the output holds every reply. */
void
cmd_quit(struct call *c)
{
        resp_simple(call_out(c), "OK");
        c->session->closing = true;
}

void
cmd_select(struct call *c)
{
        int64_t index;

        if (!resp_number(call_arg(c, 1), &index))
                call_error(c, ERR_NOT_INTEGER, NULL);
        else if (index != 0)
                call_error(c, ERR_DB_INDEX, NULL);
        else
                resp_simple(call_out(c), "OK");
}

/* ---- names ---- */

/* Printable, without blanks: names stand in the lines of CLIENT LIST. */
static bool
name_judge(struct call *c, const char *what, struct bytes name)
{
        for (size_t i = 0; i < name.len; i++) {
                if (name.at[i] < '!' || name.at[i] > '~') {
                        call_refuse(c, "%s cannot contain spaces, newlines or special characters.",
                                    what);
                        return false;
                }
        }
        if (name.len > SESSION_NAME_MAX) {
                call_refuse(c, "%s is longer than %d bytes", what, SESSION_NAME_MAX);
                return false;
        }
        return true;
}

static void
name_set(char to[static SESSION_NAME_MAX + 1], struct bytes name)
{
        memcpy(to, name.at, name.len);
        to[name.len] = '\0';
}

static void
client_setname(struct call *c)
{
        if (!name_judge(c, "Client names", call_arg(c, 2)))
                return;
        name_set(c->session->name, call_arg(c, 2));
        resp_simple(call_out(c), "OK");
}

static void
client_getname(struct call *c)
{
        if (c->session->name[0] == '\0')
                resp_null(call_out(c), call_version(c));
        else
                resp_bulk_text(call_out(c), c->session->name);
}

static void
client_setinfo(struct call *c)
{
        bool name = call_is(c, 2, "lib-name");

        if (!name && !call_is(c, 2, "lib-ver")) {
                call_refuse(c, "Unrecognized option '%.*s'", CALL_SHOW(c, 2));
                return;
        }
        if (!name_judge(c, name ? "lib-name" : "lib-ver", call_arg(c, 3)))
                return;
        name_set(name ? c->session->library : c->session->library_version, call_arg(c, 3));
        resp_simple(call_out(c), "OK");
}

/* ---- CLIENT ---- */

static void
client_id(struct call *c)
{
        resp_integer(call_out(c), (int64_t)c->session->id);
}

/* The one line of CLIENT LIST and CLIENT INFO: a client learns of itself alone. */
static void
client_line(struct call *c)
{
        const struct session *s = c->session;
        uint64_t age_us = c->env->wall_us > s->since_us ? c->env->wall_us - s->since_us : 0;
        char line[512];
        int n = snprintf(line, sizeof line,
                         "id=%llu addr=%s name=%s age=%llu idle=0 flags=N db=0 sub=0 psub=0 ssub=0 "
                         "multi=-1 cmd=client user=default lib-name=%s lib-ver=%s resp=%d\n",
                         (unsigned long long)s->id, s->peer, s->name,
                         (unsigned long long)(age_us / 1000000), s->library, s->library_version,
                         (int)call_version(c));

        resp_verbatim(call_out(c), bytes_of(line, (size_t)n), call_version(c));
}

static void
client_on_off(struct call *c)
{
        if (call_is(c, 2, "on") || call_is(c, 2, "off"))
                resp_simple(call_out(c), "OK");
        else
                call_error(c, ERR_SYNTAX, NULL);
}

static void
client_unsupported(struct call *c)
{
        call_refuse(c, "CLIENT %.*s is not supported", CALL_SHOW(c, 1));
}

void
cmd_client(struct call *c)
{
        static const struct subcommand rows[] = {
                {"id", 2, client_id, "ID: The number of this connection."},
                {"info", 2, client_line, "INFO: What is known of this connection."},
                {"list", -2, client_line, "LIST: The same: a connection sees only itself."},
                {"getname", 2, client_getname, "GETNAME: The name given by SETNAME."},
                {"setname", 3, client_setname, "SETNAME name: Names this connection."},
                {"setinfo", 4, client_setinfo,
                 "SETINFO LIB-NAME|LIB-VER text: Names the client's library."},
                {"no-evict", 3, client_on_off, "NO-EVICT ON|OFF: Accepted without effect."},
                {"no-touch", 3, client_on_off, "NO-TOUCH ON|OFF: Accepted without effect."},
                {"tracking", -3, client_unsupported, "TRACKING: Not supported."},
                {"maint_notifications", -2, client_unsupported,
                 "MAINT_NOTIFICATIONS: Not supported."},
        };

        call_subcommand(c, rows, sizeof rows / sizeof *rows);
}

/* ---- HELLO ---- */

/* There is one user, and he needs no password: any is right. */
static bool
user_judge(struct call *c, struct bytes user)
{
        if (bytes_equal(user, bytes_str("default")))
                return true;
        resp_error(call_out(c), "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
}

void
cmd_auth(struct call *c)
{
        if (c->argc > 3)
                call_error(c, ERR_SYNTAX, NULL);
        else if (c->argc == 2)
                call_refuse(c, "AUTH <password> called without any password configured for the "
                               "default user. Are you sure your configuration is correct?");
        else if (user_judge(c, call_arg(c, 1)))
                resp_simple(call_out(c), "OK");
}

static void
reply_hello(struct call *c)
{
        struct chain *out = call_out(c);
        enum resp_version v = call_version(c);

        resp_map(out, 7, v);
        resp_bulk_text(out, "server");
        resp_bulk_text(out, "redis"); /* what clients compare with; INFO says who we are */
        resp_bulk_text(out, "version");
        resp_bulk_text(out, REDIS_VERSION);
        resp_bulk_text(out, "proto");
        resp_integer(out, (int64_t)v);
        resp_bulk_text(out, "id");
        resp_integer(out, (int64_t)c->session->id);
        resp_bulk_text(out, "mode");
        resp_bulk_text(out, "standalone");
        resp_bulk_text(out, "role");
        resp_bulk_text(out, "master");
        resp_bulk_text(out, "modules");
        resp_array(out, 0);
}

/* Judges all, then changes the session: a refused HELLO leaves it as it was. */
void
cmd_hello(struct call *c)
{
        struct bytes name = {0};
        int64_t version = (int64_t)call_version(c);

        if (c->argc > 1 && !resp_number(call_arg(c, 1), &version)) {
                call_refuse(c, "Protocol version is not an integer or out of range");
                return;
        }
        if (version != RESP_2 && version != RESP_3) {
                call_error(c, ERR_NO_PROTO, NULL);
                return;
        }
        for (unsigned i = 2; i < c->argc; i++) {
                unsigned more = c->argc - 1 - i;

                if (call_is(c, i, "auth") && more >= 2) {
                        if (!user_judge(c, call_arg(c, i + 1)))
                                return;
                        i += 2;
                } else if (call_is(c, i, "setname") && more >= 1) {
                        name = call_arg(c, ++i);
                        if (!name_judge(c, "Client names", name))
                                return;
                } else {
                        call_refuse(c, "Syntax error in HELLO option '%.*s'", CALL_SHOW(c, i));
                        return;
                }
        }
        c->session->protocol = version == RESP_3 ? PROTOCOL_RESP3 : PROTOCOL_RESP2;
        if (name.at != NULL)
                name_set(c->session->name, name);
        reply_hello(c);
}

void
cmd_reset(struct call *c)
{
        c->session->protocol = PROTOCOL_RESP2;
        c->session->name[0] = '\0';
        resp_simple(call_out(c), "RESET");
}
