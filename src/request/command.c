/* request/command.c: the table of RESP commands, and what all of them share: finding one, its
 * arity, when it may start, its keys, its requests, its errors. Owns nothing. Borrows the arguments
 * until the command's start returns: what waits is copied into the request.
 * Limits: LIMIT_BATCH_KEYS keys, LIMIT_KEY_BYTES, [server] value-max.
 * Not here: what each command does (cmd_*.c). */
#include "request/command.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/units.h"
#include "request/newest.h"

enum { REFUSAL_BYTES = 512, ARGS_SHOWN_BYTES = 128 };

enum { /* the words of the table's flags column */
       READ = CMD_READ,
       WRITE = CMD_WRITE,
       BARRIER = CMD_BARRIER,
       FAST = CMD_FAST,
       ADMIN = CMD_ADMIN,
       KEY = CMD_KEY,
       KEYS = CMD_KEYS,
       PAIRS = CMD_PAIRS,
       STRING = CMD_STRING,
       GENERIC = CMD_GENERIC,
       CONNECTION = CMD_CONNECTION,
       SERVER = CMD_SERVER,
       PANNIER = CMD_PANNIER,
};

const struct command command_rows[COMMAND_COUNT] = {
#define COMMAND(id, name, arity, flags, start, syntax, summary) \
        [COMMAND_##id] = {name, arity, flags, start, syntax, summary},
#include "def/commands.def"
#undef COMMAND
};

/* The next 8 characters of a name as a number that compares as they do. */
static uint64_t
name_word(const char *at)
{
        uint64_t word;

        memcpy(&word, at, sizeof word);
        return __builtin_bswap64(word);
}

const struct command *
command_find(struct bytes name)
{
        char padded[COMMAND_NAME_MAX] = {0};
        uint64_t first, second;
        size_t low = 0, high = COMMAND_COUNT;

        if (name.len >= COMMAND_NAME_MAX)
                return NULL;
        for (size_t i = 0; i < name.len; i++) {
                uint8_t c = name.at[i];

                padded[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
        }
        first = name_word(padded);
        second = name_word(padded + 8);
        while (low < high) {
                size_t middle = (low + high) / 2;
                const struct command *row = &command_rows[middle];
                uint64_t word = name_word(row->name);

                if (word == first) {
                        word = name_word(row->name + 8);
                        if (word == second)
                                return name.len > 0 && padded[name.len - 1] != '\0' ? row : NULL;
                        if (word < second)
                                low = middle + 1;
                        else
                                high = middle;
                } else if (word < first) {
                        low = middle + 1;
                } else {
                        high = middle;
                }
        }
        return NULL;
}

/* ---- errors ---- */

/* What a stranger sent must not end the line of an error. */
static void
text_clean(char *text)
{
        for (; *text != '\0'; text++) {
                if ((unsigned char)*text < ' ')
                        *text = ' ';
        }
}

void
call_error(struct call *c, enum err e, const char *detail)
{
        reply_error(call_out(c), e, detail);
}

void
call_refuse(struct call *c, const char *format, ...)
{
        char text[REFUSAL_BYTES];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        text_clean(text);
        reply_error(call_out(c), ERR_BAD_ARGUMENT, text);
}

void
call_bad_arity(struct call *c, const char *name)
{
        call_error(c, ERR_ARITY, name != NULL ? name : c->row->name);
}

/* As Redis says it: the client sees the beginning of what it sent. Nothing of it is logged. */
static void
refuse_unknown(struct call *c)
{
        char text[REFUSAL_BYTES];
        int n = snprintf(text, sizeof text, "'%.*s', with args beginning with: ", CALL_SHOW(c, 0));
        int shown = 0;

        for (unsigned i = 1; i < c->argc && shown < ARGS_SHOWN_BYTES; i++) {
                struct bytes arg = call_arg(c, i);
                int room = ARGS_SHOWN_BYTES - shown;
                int wrote = snprintf(text + n, sizeof text - (size_t)n, "'%.*s' ",
                                     arg.len < (size_t)room ? (int)arg.len : room, arg.at);

                n += wrote;
                shown += wrote;
        }
        text_clean(text);
        call_error(c, ERR_UNKNOWN, text);
}

/* ---- admission ---- */

/* A barrier still waits: nothing behind it starts. It is the last request then, or has but a place
 * for replies (refusals of what is no command) behind it. */
static bool
session_is_held(const struct session *s)
{
        const struct list *node = s->requests.prev;
        const struct request *rq = container_of(node, struct request, in_session);

        if (rq->done && node->prev != &s->requests)
                rq = container_of(node->prev, struct request, in_session);
        return !rq->done && (command_rows[rq->opcode].flags & CMD_BARRIER) != 0;
}

static bool
command_admits(const struct session *s, const struct command *row)
{
        if (s->waiting == 0)
                return true;
        if (s->waiting >= LIMIT_WAITING || (row->flags & CMD_BARRIER) != 0 || session_is_held(s))
                return false;
        if (row->flags & CMD_WRITE)
                return session_admits(s, ACCESS_WRITE);
        if (row->flags & CMD_READ)
                return session_admits(s, ACCESS_READ);
        return true;
}

/* ---- keys and values ---- */

/* Which arguments are keys: every `step`-th of 1 .. last. */
static unsigned
keys_step(const struct command *row)
{
        return row->flags & CMD_PAIRS ? 2 : 1;
}
static unsigned
keys_last(const struct call *c)
{
        if (c->row->flags & CMD_KEY)
                return 1;
        return c->row->flags & (CMD_KEYS | CMD_PAIRS) ? c->argc - 1 : 0;
}

static void
refuse_value(struct call *c)
{
        char limit[32];

        call_error(c, ERR_VALUE_TOO_BIG,
                   size_format(option_number(c->env->options, O_value_max), limit));
}

static bool
keys_judge(struct call *c)
{
        unsigned last = keys_last(c), step = keys_step(c->row);
        uint64_t value_max = option_number(c->env->options, O_value_max);

        if (last / step > LIMIT_BATCH_KEYS) {
                call_refuse(c, "more than %d keys in one command", LIMIT_BATCH_KEYS);
                return false;
        }
        if ((c->row->flags & CMD_PAIRS) != 0 && c->argc % 2 == 0) {
                call_bad_arity(c, NULL);
                return false;
        }
        for (unsigned i = 1; i <= last; i += step) {
                struct bytes key = call_arg(c, i);

                if (key.len == 0 || key.len > LIMIT_KEY_BYTES) {
                        call_error(c, key.len == 0 ? ERR_KEY_EMPTY : ERR_KEY_TOO_BIG, NULL);
                        return false;
                }
                if (step == 2 && call_arg(c, i + 1).len > value_max) {
                        refuse_value(c);
                        return false;
                }
        }
        return true;
}

bool
call_value(struct call *c, unsigned i, struct blob **value)
{
        struct bytes arg = call_arg(c, i);
        struct blob *blob;

        if (arg.len > option_number(c->env->options, O_value_max)) {
                refuse_value(c);
                return false;
        }
        blob = blob_copy(arg);
        if (blob == NULL) {
                call_error(c, ERR_BUSY_MEMORY, NULL);
                return false;
        }
        *value = blob;
        return true;
}

/* ---- execution ---- */

bool
command_run(struct session *s, const struct resp_parser *p)
{
        struct call c = {.session = s, .env = s->env, .args = p, .argc = resp_argc(p)};

        c.row = command_find(resp_arg(p, 0));
        if (c.row == NULL) {
                refuse_unknown(&c);
                return true;
        }
        if (c.row->arity > 0 ? c.argc != (unsigned)c.row->arity
                             : c.argc < (unsigned)-c.row->arity) {
                call_bad_arity(&c, NULL);
                return true;
        }
        if (!command_admits(s, c.row))
                return false;
        metric_add(s->env->metrics, M_commands, 1);
        if (keys_judge(&c))
                c.row->start(&c);
        return true;
}

struct request *
call_request(struct call *c, unsigned count, void (*finish)(struct request *))
{
        enum request_access access = c->row->flags & CMD_WRITE ? ACCESS_WRITE : ACCESS_READ;
        struct request *rq = request_new(c->session, access, count, finish);

        rq->opcode = (uint32_t)(c->row - command_rows);
        return rq;
}

struct request *
call_request_keys(struct call *c, enum op_kind kind, void (*finish)(struct request *))
{
        unsigned step = keys_step(c->row), count = keys_last(c) / step;
        struct request *rq;

        count += keys_last(c) % step; /* the last pair's key has its value behind it */
        rq = call_request(c, count, finish);
        for (unsigned i = 0; i < count; i++) {
                struct key key = request_key(rq, call_arg(c, 1 + i * step));

                op_init(&rq->ops[i], rq, kind, key, c->env);
        }
        return rq;
}

/* ---- commands within commands ---- */

static void
reply_help(struct call *c, const struct subcommand *rows, size_t count)
{
        struct chain *out = call_out(c);

        resp_array(out, count + 1);
        for (size_t i = 0; i < count; i++)
                resp_simple(out, rows[i].help);
        resp_simple(out, "HELP: This list.");
}

static bool
arity_holds(const struct call *c, int arity)
{
        return arity > 0 ? c->argc == (unsigned)arity : c->argc >= (unsigned)-arity;
}

void
call_subcommand(struct call *c, const struct subcommand *rows, size_t count)
{
        char both[64], upper[COMMAND_NAME_MAX];

        for (size_t i = 0; i < sizeof upper; i++)
                upper[i] = (char)(c->row->name[i] & ~0x20);
        for (size_t i = 0; i < count; i++) {
                if (!call_is(c, 1, rows[i].name))
                        continue;
                if (arity_holds(c, rows[i].arity)) {
                        rows[i].start(c);
                        return;
                }
                snprintf(both, sizeof both, "%s|%s", c->row->name, rows[i].name);
                call_bad_arity(c, both);
                return;
        }
        if (call_is(c, 1, "help"))
                reply_help(c, rows, count);
        else
                call_refuse(c, "unknown subcommand '%.*s'. Try %s HELP.", CALL_SHOW(c, 1), upper);
}

/* ---- replies of ops ---- */

void
reply_value(struct chain *out, const struct op *op)
{
        struct bytes part;
        struct blob *raw;

        if (!entry_is_packed(&op->entry)) {
                resp_bulk_blob(out, op->entry.blob, entry_payload(&op->entry));
                return;
        }
        raw = op_raw(op, &part);
        if (raw == NULL) {
                reply_error(out, ERR_BUSY_MEMORY, NULL);
                return;
        }
        resp_bulk_blob(out, raw, part);
        blob_unref(raw);
}

bool
reply_failure(struct request *rq)
{
        for (unsigned i = 0; i < rq->ops_count; i++) {
                if (rq->ops[i].state == OP_ERROR) {
                        reply_error(&rq->reply, rq->ops[i].error, rq->ops[i].detail);
                        return true;
                }
        }
        return false;
}

bool
serves_stale(const struct env *env, struct bytes key_text)
{
        const struct policy *p = policies_find(env->policies, key_namespace(key_text));

        return policy_number(p, P_resp_stale) != 0;
}
