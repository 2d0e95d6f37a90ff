/* request/session.c: a conversation's first byte, and the RESP side of it: bytes -> commands, in
 * order, a bounded number a turn.
 * Owns: the parser, the session's output, its place on the env's lists.
 * Borrows: the input until return.
 * Limits: LIMIT_TURN_COMMANDS, LIMIT_WAITING, LIMIT_OUTPUT_BYTES: replies that are unsent, or wait
 * for those before them, end the turn.
 * Not here: the socket (io), the native side (native.c), the commands (command.c, cmd_*.c). */
#include "request/session.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/units.h"
#include "request/command.h"
#include "request/native.h"
#include "wire/native.h"

#define HOSTILE_LOG_US UINT64_C(10000000) /* one line in so long */

enum { TLS_FIRST_BYTE = 0x16 };

void
session_init(struct session *s, struct env *env)
{
        *s = (struct session){.env = env, .since_us = env->wall_us};
        /* Unlike those of all other workers. */
        s->id = 1 + env->index + env->count * env->next_session_id++;
        list_init(&s->requests);
        list_init(&s->flush);
        list_init(&s->resume);
}

void
session_end(struct session *s)
{
        session_abandon_requests(s);
        native_end(s);
        if (s->parser != NULL) {
                resp_parser_deinit(s->parser);
                mem_free(s->parser);
                s->parser = NULL;
        }
        list_remove(&s->flush);
        list_remove(&s->resume);
        chain_free(&s->out);
        s->closing = true;
}

/* ---- what is no protocol of ours ---- */

static void
session_log(struct session *s, const char *what)
{
        uint64_t held;

        metric_add(s->env->metrics, M_protocol_errors, 1);
        if (!log_every(&s->env->hostile, s->env->mono_us, HOSTILE_LOG_US, &held))
                return;
        log_warn("client %s: %s; connection closed (%llu such since the last line)", s->peer, what,
                 (unsigned long long)held);
}

static void
session_refuse(struct session *s, const char *why)
{
        session_log(s, why);
        reply_error(request_out(s), ERR_PROTOCOL, why);
        s->closing = true;
}

/* A web page that talks to the port sends "POST ..." or "Host: ...". Nothing is answered: what
 * follows is text that a stranger chose. */
static bool
is_web_request(const struct resp_parser *p)
{
        struct bytes name = resp_arg(p, 0);

        return bytes_equal_nocase(name, "post") || bytes_equal_nocase(name, "host:");
}

/* ---- the first bytes ---- */

static bool
begins_resp(uint8_t c)
{
        return c == '*' || c == '\r' || c == '\n' || (c >= 'a' && c <= 'z') ||
               (c >= 'A' && c <= 'Z');
}

/* Chooses the protocol; what is to be said of it so far. */
static struct intake
session_open(struct session *s, struct bytes in)
{
        struct intake r = {.need = 1};
        size_t there = in.len < NATIVE_PREFACE_BYTES ? in.len : NATIVE_PREFACE_BYTES;

        if (in.len == 0)
                return r;
        if (in.at[0] == native_preface[0]) {
                if (memcmp(in.at, native_preface, there) != 0) {
                        session_refuse(s, "unknown preface; a native connection opens with "
                                          "FB 50 4E 01");
                } else if (there == NATIVE_PREFACE_BYTES) {
                        s->protocol = PROTOCOL_NATIVE;
                        r.consumed = NATIVE_PREFACE_BYTES;
                }
                r.need = NATIVE_PREFACE_BYTES;
        } else if (begins_resp(in.at[0])) {
                s->protocol = PROTOCOL_RESP2;
                s->parser = mem_alloc(sizeof *s->parser);
                resp_parser_init(s->parser, option_number(s->env->options, O_value_max));
        } else if (in.at[0] == TLS_FIRST_BYTE) {
                session_refuse(s, "this looks like TLS, which this port does not speak");
        } else {
                session_refuse(s, "neither RESP nor the native protocol");
        }
        return r;
}

/* ---- RESP ---- */

static void
session_refuse_value(struct session *s)
{
        char limit[32];

        reply_error(request_out(s), ERR_VALUE_TOO_BIG,
                    size_format(option_number(s->env->options, O_value_max), limit));
}

/* A command is there. False: it waits for those before it. */
static bool
session_command(struct session *s)
{
        if (resp_argc(s->parser) == 0)
                return true;
        if (is_web_request(s->parser)) {
                session_log(s, "an HTTP request came in on the port of RESP");
                s->closing = true;
                return true;
        }
        return command_run(s, s->parser);
}

bool
session_is_crowded(struct session *s)
{
        return s->waiting > 0 && (s->held_bytes > LIMIT_OUTPUT_BYTES || mem_is_short());
}

static struct intake
resp_consume(struct session *s, struct bytes in)
{
        struct intake r = {0};

        for (unsigned turn = 0; !s->closing; turn++) {
                struct resp_parsed parsed;

                if (turn == LIMIT_TURN_COMMANDS || s->out.bytes > LIMIT_OUTPUT_BYTES) {
                        r.again = r.consumed < in.len;
                        return r;
                }
                if (session_is_crowded(s)) {
                        r.blocked = s->blocked = true;
                        return r;
                }
                parsed = resp_parse(s->parser, bytes_from(in, r.consumed));
                switch (parsed.result) {
                case RESP_MORE:
                        r.consumed += parsed.consumed;
                        r.need = parsed.need;
                        return r;
                case RESP_BAD:
                        /* The commands before it are answered first. */
                        if (s->waiting == 0)
                                session_refuse(s, resp_fault(s->parser));
                        else
                                r.blocked = s->blocked = true;
                        return r;
                case RESP_REFUSED:
                        session_refuse_value(s);
                        break;
                case RESP_COMPLETE:
                        if (!session_command(s)) {
                                r.blocked = s->blocked = true;
                                return r;
                        }
                        break;
                }
                session_count_held(s);
                r.consumed += parsed.consumed;
                resp_next(s->parser);
        }
        return r;
}

struct intake
session_consume(struct session *s, struct bytes in)
{
        struct intake r = {0}, rest;

        s->blocked = false;
        if (s->closing)
                return r;
        if (s->protocol == PROTOCOL_UNKNOWN) {
                r = session_open(s, in);
                if (s->closing || s->protocol == PROTOCOL_UNKNOWN)
                        return r;
        }
        in = bytes_from(in, r.consumed);
        rest = s->protocol == PROTOCOL_NATIVE ? native_consume(s, in) : resp_consume(s, in);
        rest.consumed += r.consumed;
        return rest;
}
