/* request/command.h: a RESP command being executed: its row (def/commands.def), its arguments, its
 * session. Each `start` function answers at once in call_out(), or makes a request whose `finish`
 * renders the reply. */
#ifndef PN_REQUEST_COMMAND_H
#define PN_REQUEST_COMMAND_H

#include "base/err.h"
#include "base/limits.h"
#include "request/request.h"
#include "wire/resp.h"

enum command_flag {
        CMD_READ = 1,
        CMD_WRITE = 2,
        CMD_BARRIER = 4,
        CMD_FAST = 8,
        CMD_ADMIN = 16,
        CMD_KEY = 32,
        CMD_KEYS = 64,
        CMD_PAIRS = 128,
        CMD_STRING = 256,
        CMD_GENERIC = 512,
        CMD_CONNECTION = 1024,
        CMD_SERVER = 2048,
        CMD_PANNIER = 4096,
};

enum command_id {
#define COMMAND(id, ...) COMMAND_##id,
#include "def/commands.def"
#undef COMMAND
        COMMAND_COUNT
};

struct call;
enum { COMMAND_NAME_MAX = 16 };

struct command {
        char name[COMMAND_NAME_MAX]; /* lower case, padded with zeros */
        int arity;
        unsigned flags;
        void (*start)(struct call *c);
        const char *syntax, *summary;
};
extern const struct command command_rows[COMMAND_COUNT];

/* In any case of letters; NULL: no such command. */
const struct command *command_find(struct bytes name);

struct call {
        struct session *session;
        struct env *env;
        const struct command *row;
        const struct resp_parser *args;
        unsigned argc;
};

/* Executes the command that p holds. False: it must wait for those before it, nothing was done. */
must_use bool command_run(struct session *s, const struct resp_parser *p);

static inline struct bytes
call_arg(const struct call *c, unsigned i)
{
        return resp_arg(c->args, i);
}
static inline bool
call_is(const struct call *c, unsigned i, const char *word)
{
        return bytes_equal_nocase(call_arg(c, i), word);
}
static inline struct chain *
call_out(const struct call *c)
{
        return request_out(c->session);
}
static inline enum resp_version
session_version(const struct session *s)
{
        return s->protocol == PROTOCOL_RESP3 ? RESP_3 : RESP_2;
}
static inline enum resp_version
call_version(const struct call *c)
{
        return session_version(c->session);
}

void call_error(struct call *c, enum err e, const char *detail);
/* ERR_BAD_ARGUMENT with a sentence. Control characters (an argument may be in it) become spaces. */
void call_refuse(struct call *c, const char *format, ...) printf_like(2, 3);
/* Wrong number of arguments; `name` as in "client|setname", NULL: the command's. */
void call_bad_arity(struct call *c, const char *name);
/* Argument i, for a "%.*s": at most 128 bytes of it. */
#define CALL_SHOW(c, i) \
        (int)(call_arg(c, i).len < 128 ? call_arg(c, i).len : 128), (const char *)call_arg(c, i).at

/* A request of `count` ops for this command. */
struct request *call_request(struct call *c, unsigned count, void (*finish)(struct request *));
/* A request of one op of that kind for each key of the command (row flags), not started. */
struct request *
call_request_keys(struct call *c, enum op_kind kind, void (*finish)(struct request *));

/* Takes a copy of argument i as the op's value. False: it was refused, the error is written. */
must_use bool call_value(struct call *c, unsigned i, struct blob **value);

struct subcommand { /* of CLIENT, CONFIG, COMMAND; arity with both names */
        const char *name;
        int arity;
        void (*start)(struct call *c);
        const char *help;
};
/* Executes what argument 1 names; HELP and errors are answered here. */
void call_subcommand(struct call *c, const struct subcommand *rows, size_t count);

/* ---- replies of ops ---- */

/* The value of an op's entry as a bulk. Set want_raw where it is asked for. */
void reply_value(struct chain *out, const struct op *op);
/* The first op that failed is the reply; false: none did. */
bool reply_failure(struct request *rq);
/* A GET's value is one for a plain RESP reader: HIT, or a STALE that was allowed. */
static inline bool
op_has_value(const struct op *op)
{
        return op->state == OP_HIT || op->state == OP_STALE;
}
/* May a plain GET of this key be answered with a stale value? */
bool serves_stale(const struct env *env, struct bytes key_text);

#define COMMAND(id, name, arity, flags, start, ...) void start(struct call *c);
#include "def/commands.def"
#undef COMMAND

#endif
