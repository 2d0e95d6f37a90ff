/* request/cmd_server.c: the commands about the server: TIME, INFO, COMMAND, CONFIG. Owns nothing.
 * Not here: changing options (the configuration file and a reload do). */
#include <stdio.h>

#include "request/command.h"
#include "request/config_list.h"
#include "request/info.h"

void
cmd_time(struct call *c)
{
        struct chain *out = call_out(c);

        resp_array(out, 2);
        resp_bulk_number(out, c->env->wall_us / 1000000);
        resp_bulk_number(out, c->env->wall_us % 1000000);
}

void
cmd_info(struct call *c)
{
        enum { SECTIONS_MAX = 32 };
        struct bytes sections[SECTIONS_MAX];
        struct buf text = {0};
        size_t count = 0;

        for (unsigned i = 1; i < c->argc && count < SECTIONS_MAX; i++)
                sections[count++] = call_arg(c, i);
        info_write(c->env, sections, count, &text);
        resp_verbatim(call_out(c), buf_bytes(&text), call_version(c));
        buf_free(&text);
}

/* ---- CONFIG ---- */

static void
config_get(struct call *c)
{
        struct chain values = {0}, *out;
        size_t count = 0;

        for (size_t i = 0; i < config_count(); i++) {
                struct config_line line;
                bool wanted = false;

                config_line(c->env, i, &line);
                for (unsigned k = 2; k < c->argc && !wanted; k++)
                        wanted = config_matches(call_arg(c, k), line.name);
                if (!wanted)
                        continue;
                resp_bulk_text(&values, line.name);
                resp_bulk_text(&values, line.value);
                count++;
        }
        out = call_out(c);
        resp_map(out, count, call_version(c));
        chain_splice(out, &values);
        chain_free(&values);
}

static void
config_set(struct call *c)
{
        call_refuse(c,
                    "CONFIG %.*s is not supported: change the configuration file and send SIGHUP",
                    CALL_SHOW(c, 1));
}

void
cmd_config(struct call *c)
{
        static const struct subcommand rows[] = {
                {"get", -3, config_get, "GET pattern ...: Options that match, and their values."},
                {"set", -2, config_set,
                 "SET: Not supported: options are in the configuration file."},
                {"rewrite", -2, config_set, "REWRITE: Not supported."},
                {"resetstat", -2, config_set, "RESETSTAT: Not supported."},
        };

        call_subcommand(c, rows, sizeof rows / sizeof *rows);
}

/* ---- COMMAND ---- */

struct flag_name {
        unsigned flag;
        const char *name;
};

/* A set of the names of those flags that are in `flags`. */
static void
reply_flags(struct chain *out, unsigned flags, const struct flag_name *names, size_t count,
            enum resp_version v)
{
        size_t set = 0;

        for (size_t i = 0; i < count; i++)
                set += (flags & names[i].flag) != 0;
        resp_set(out, set, v);
        for (size_t i = 0; i < count; i++) {
                if (flags & names[i].flag)
                        resp_simple(out, names[i].name);
        }
}

/* As Redis 7 tells it: ten elements, the last three of which have nothing to say here. */
static void
reply_command(struct chain *out, const struct command *row, enum resp_version v)
{
        static const struct flag_name flags[] = {{CMD_READ, "readonly"},
                                                 {CMD_WRITE, "write"},
                                                 {CMD_ADMIN, "admin"},
                                                 {CMD_FAST, "fast"}};
        static const struct flag_name groups[] = {{CMD_READ, "@read"},
                                                  {CMD_WRITE, "@write"},
                                                  {CMD_ADMIN, "@admin"},
                                                  {CMD_FAST, "@fast"},
                                                  {CMD_STRING, "@string"},
                                                  {CMD_GENERIC, "@keyspace"},
                                                  {CMD_CONNECTION, "@connection"},
                                                  {CMD_PANNIER, "@pannier"}};
        bool keys = (row->flags & (CMD_KEY | CMD_KEYS | CMD_PAIRS)) != 0;

        resp_array(out, 10);
        resp_bulk_text(out, row->name);
        resp_integer(out, row->arity);
        reply_flags(out, row->flags, flags, sizeof flags / sizeof *flags, v);
        resp_integer(out, keys);
        resp_integer(out, !keys ? 0 : row->flags & CMD_KEY ? 1 : -1);
        resp_integer(out, !keys ? 0 : row->flags & CMD_PAIRS ? 2 : 1);
        reply_flags(out, row->flags, groups, sizeof groups / sizeof *groups, v);
        resp_set(out, 0, v);
        resp_array(out, 0);
        resp_array(out, 0);
}

static void
reply_all_commands(struct call *c)
{
        struct chain *out = call_out(c);

        resp_array(out, COMMAND_COUNT);
        for (size_t i = 0; i < COMMAND_COUNT; i++)
                reply_command(out, &command_rows[i], call_version(c));
}

static void
command_info(struct call *c)
{
        struct chain *out = call_out(c);

        if (c->argc == 2) {
                reply_all_commands(c);
                return;
        }
        resp_array(out, c->argc - 2);
        for (unsigned i = 2; i < c->argc; i++) {
                const struct command *row = command_find(call_arg(c, i));

                if (row != NULL)
                        reply_command(out, row, call_version(c));
                else
                        resp_null(out, call_version(c));
        }
}

static const char *
group_name(const struct command *row)
{
        static const struct flag_name names[] = {{CMD_STRING, "string"},
                                                 {CMD_GENERIC, "generic"},
                                                 {CMD_CONNECTION, "connection"},
                                                 {CMD_SERVER, "server"},
                                                 {CMD_PANNIER, "pannier"}};

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                if (row->flags & names[i].flag)
                        return names[i].name;
        }
        return "generic";
}

/* What stands behind the name in the syntax is told as one argument: redis-cli shows that. */
static void
reply_docs(struct chain *out, const struct command *row, enum resp_version v)
{
        const char *arguments = row->syntax + strlen(row->name);
        bool takes = *arguments == ' ';

        resp_bulk_text(out, row->name);
        resp_map(out, 3u + takes, v);
        resp_bulk_text(out, "summary");
        resp_bulk_text(out, row->summary);
        resp_bulk_text(out, "since");
        resp_bulk_text(out, PANNIER_VERSION);
        resp_bulk_text(out, "group");
        resp_bulk_text(out, group_name(row));
        if (!takes)
                return;
        resp_bulk_text(out, "arguments");
        resp_array(out, 1);
        resp_map(out, 2, v);
        resp_bulk_text(out, "name");
        resp_bulk_text(out, arguments + 1);
        resp_bulk_text(out, "type");
        resp_bulk_text(out, "string");
}

static void
command_docs(struct call *c)
{
        struct chain docs = {0}, *out;
        size_t count = 0;

        if (c->argc == 2) {
                for (; count < COMMAND_COUNT; count++)
                        reply_docs(&docs, &command_rows[count], call_version(c));
        }
        for (unsigned i = 2; i < c->argc; i++) {
                const struct command *row = command_find(call_arg(c, i));

                if (row == NULL)
                        continue;
                reply_docs(&docs, row, call_version(c));
                count++;
        }
        out = call_out(c);
        resp_map(out, count, call_version(c));
        chain_splice(out, &docs);
        chain_free(&docs);
}

static void
command_count(struct call *c)
{
        resp_integer(call_out(c), COMMAND_COUNT);
}

static void
command_list(struct call *c)
{
        struct chain *out = call_out(c);

        resp_array(out, COMMAND_COUNT);
        for (size_t i = 0; i < COMMAND_COUNT; i++)
                resp_bulk_text(out, command_rows[i].name);
}

void
cmd_command(struct call *c)
{
        static const struct subcommand rows[] = {
                {"count", 2, command_count, "COUNT: How many commands there are."},
                {"list", 2, command_list, "LIST: Their names."},
                {"info", -2, command_info, "INFO [name ...]: Arity, flags and keys of commands."},
                {"docs", -2, command_docs, "DOCS [name ...]: What commands do."},
        };

        if (c->argc == 1)
                reply_all_commands(c);
        else
                call_subcommand(c, rows, sizeof rows / sizeof *rows);
}
