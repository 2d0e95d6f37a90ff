/* request/native_session.c: a native client's conversation (proto/native.md): frames off the input,
 * HELLO, BYE, refusals, and the one timer that ends what idles.
 * Owns: struct native_session, which hangs on the session.
 * Borrows: the session, the input until return.
 * Limits: LIMIT_TURN_COMMANDS frames a turn, LIMIT_WAITING unanswered requests.
 * Not here: what a request does (native_ops.c, native_batch.c), values in parts (native_stream.c,
 * native_upload.c). */
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "request/native_parts.h"

size_t
native_sentence(struct native_refusal why, char *out, size_t max)
{
        const char *text = err_text(why.error), *gap = strstr(text, "%s");
        int n;

        if (gap == NULL)
                n = snprintf(out, max, "%s", text);
        else
                n = snprintf(out, max, "%.*s%s%s", (int)(gap - text), text,
                             why.detail != NULL ? why.detail : "", gap + 2);
        return (size_t)n < max ? (size_t)n : max - 1;
}

void
native_reply_error(struct chain *out, uint8_t op, uint64_t id, struct native_refusal why)
{
        char text[NATIVE_SENTENCE_MAX];
        size_t len = native_sentence(why, text, sizeof text);

        native_error_write(out, native_reply_head(op, id, err_status(why.error)),
                           bytes_of(text, len));
}

/* The answer after which nothing more is read. */
static void
last_words(struct native_session *ns, const struct native_frame *f, struct native_refusal why)
{
        uint8_t op = f->op;

        if (op == NATIVE_OP_CHUNK || op == NATIVE_OP_CREDIT) /* whose bodies are no items */
                op = NATIVE_OP_NONE;
        native_reply_error(&ns->session->out, op, f->id, why);
        session_flush(ns->session);
        ns->session->closing = true;
}

void
native_malformed(struct native_session *ns, const struct native_frame *f, const char *part,
                 const struct native_fault *fault)
{
        char where[NATIVE_SENTENCE_MAX];

        snprintf(where, sizeof where, "%s frame, %s, byte %zu: %s", native_op_name(f->op), part,
                 fault->at, fault->what);
        metric_add(ns->session->env->metrics, M_protocol_errors, 1);
        last_words(ns, f, (struct native_refusal){ERR_PROTOCOL, where});
}

void
native_settle(struct native_session *ns, struct chain *out, unsigned waiting)
{
        if (!ns->leaving || waiting > 0 || !list_empty(&ns->streams) || !list_empty(&ns->uploads))
                return;
        native_write(out, native_reply_head(NATIVE_OP_BYE, ns->bye_id, NATIVE_OK), NULL,
                     native_nothing(), NULL, native_nothing());
        ns->session->closing = true;
}

/* ---- what idles ---- */

void
native_watch(struct native_session *ns)
{
        struct env *env = ns->session->env;

        if (timer_idle(&ns->idle))
                timer_set(&env->timers, &ns->idle, &ns->task, env->mono_us + LIMIT_UPLOAD_IDLE_US);
}

static void
idle_advance(struct task *task, struct env *env)
{
        struct native_session *ns = container_of(task, struct native_session, task);
        uint64_t streams = native_stream_sweep(ns), uploads = native_upload_sweep(ns);
        uint64_t next = streams < uploads ? streams : uploads;

        if (next != UINT64_MAX)
                timer_set(&env->timers, &ns->idle, &ns->task, next);
        native_settle(ns, &ns->session->out, ns->session->waiting);
        session_flush(ns->session);
}

/* ---- beginning and end ---- */

static struct native_session *
native_begin(struct session *s)
{
        struct native_session *ns = mem_zalloc(sizeof *ns);

        ns->session = s;
        task_init(&ns->task, idle_advance);
        list_init(&ns->streams);
        list_init(&ns->uploads);
        s->native = ns;
        return ns;
}

void
native_end(struct session *s)
{
        struct native_session *ns = s->native;

        if (ns == NULL)
                return;
        native_stream_drop_all(ns);
        native_upload_drop_all(ns);
        timer_cancel(&s->env->timers, &ns->idle);
        list_remove(&ns->task.ready);
        mem_free(ns);
        s->native = NULL;
}

/* ---- HELLO ---- */

/* The client's name is shown in lists: printable, and as much as there is room for. */
static void
keep_name(struct session *s, struct bytes name)
{
        size_t len = name.len < SESSION_NAME_MAX ? name.len : SESSION_NAME_MAX;

        for (size_t i = 0; i < len; i++)
                s->name[i] = name.at[i] > ' ' && name.at[i] < 0x7f ? (char)name.at[i] : '_';
        s->name[len] = '\0';
}

static void
hello_reply(struct native_session *ns, uint64_t id)
{
        struct session *s = ns->session;
        uint8_t room[256];
        struct native_block b = native_block_of(room, sizeof room);

        native_put_number(&b, NATIVE_F_PROTOCOL, NATIVE_VERSION);
        native_put_number(&b, NATIVE_F_FEATURES, ns->features);
        native_put_text(&b, NATIVE_F_NAME, bytes_str("pannier " PANNIER_VERSION));
        native_put_number(&b, NATIVE_F_VALUE_MAX, option_number(s->env->options, O_value_max));
        native_put_number(&b, NATIVE_F_KEY_MAX, LIMIT_KEY_BYTES);
        native_put_number(&b, NATIVE_F_BODY_MAX, NATIVE_BODY_MAX);
        native_put_number(&b, NATIVE_F_CHUNK_MAX, NATIVE_CHUNK_MAX);
        native_put_number(&b, NATIVE_F_CREDIT_FIRST, NATIVE_CREDIT_FIRST);
        native_put_number(&b, NATIVE_F_BATCH_MAX, NATIVE_BATCH_MAX);
        native_put_number(&b, NATIVE_F_UPLOADS_MAX, LIMIT_UPLOADS);
        native_put_number(&b, NATIVE_F_UPLOAD_IDLE, LIMIT_UPLOAD_IDLE_US);
        must(!b.full);
        native_write(&s->out, native_reply_head(NATIVE_OP_HELLO, id, NATIVE_OK), &b,
                     native_nothing(), NULL, native_nothing());
        session_flush(s);
}

static void
hello(struct native_session *ns, const struct native_frame *f)
{
        struct native_refusal refusal = {OK, NULL};
        struct native_fields fields;
        struct native_fault fault;
        struct native_item item;

        if (native_body_read(f->body, &item, &fault) != OK) {
                native_malformed(ns, f, "item", &fault);
                return;
        }
        if (!native_judge_fields(ns, f, item.fields,
                                 NATIVE_BIT(PROTOCOL) | NATIVE_BIT(FEATURES) | NATIVE_BIT(NAME),
                                 &fields, &refusal))
                return;
        if (ns->greeted)
                refusal = (struct native_refusal){ERR_BAD_ARGUMENT, "HELLO was said already"};
        if (refusal.error != OK) {
                native_reply_error(&ns->session->out, f->op, f->id, refusal);
                session_flush(ns->session);
                return;
        }
        if (native_number(&fields, NATIVE_F_PROTOCOL, 0) < NATIVE_VERSION) {
                last_words(ns, f, (struct native_refusal){ERR_NO_PROTO, NULL});
                return;
        }
        ns->greeted = true;
        ns->features = native_number(&fields, NATIVE_F_FEATURES, 0) & NATIVE_LZ4;
        keep_name(ns->session, native_text(&fields, NATIVE_F_NAME));
        hello_reply(ns, f->id);
}

/* ---- frames ---- */

static void
bye(struct native_session *ns, const struct native_frame *f)
{
        ns->leaving = true;
        ns->bye_id = f->id;
        native_settle(ns, &ns->session->out, ns->session->waiting);
        session_flush(ns->session);
}

static void
credit(struct native_session *ns, const struct native_frame *f)
{
        struct native_fault fault;
        uint32_t bytes;

        if (native_credit_read(f->body, &bytes, &fault) != OK) {
                native_malformed(ns, f, "credit", &fault);
                return;
        }
        native_stream_credit(ns, f->id, bytes);
}

static void
take_frame(struct native_session *ns, const struct native_frame *f)
{
        if (!ns->greeted && f->op != NATIVE_OP_HELLO) {
                last_words(ns, f, (struct native_refusal){ERR_NO_PROTO, NULL});
                return;
        }
        switch (f->op) {
        case NATIVE_OP_CHUNK:
                native_upload_chunk(ns, f);
                return;
        case NATIVE_OP_CREDIT:
                credit(ns, f);
                return;
        case NATIVE_OP_CANCEL:
                native_stream_cancel(ns, f->id);
                native_upload_cancel(ns, f->id);
                return;
        default:
                break;
        }
        if (ns->leaving) /* behind a BYE only what ends that which was begun before it is heard */
                return;
        metric_add(ns->session->env->metrics, M_commands, 1);
        if (f->op == NATIVE_OP_HELLO)
                hello(ns, f);
        else if (f->op == NATIVE_OP_BYE)
                bye(ns, f);
        else
                native_execute(ns, f);
}

struct intake
native_consume(struct session *s, struct bytes in)
{
        struct native_session *ns = s->native != NULL ? s->native : native_begin(s);
        struct intake got = {0};

        s->blocked = false;
        for (unsigned turn = 0; !s->closing; turn++) {
                struct bytes rest = bytes_from(in, got.consumed);
                struct native_fault fault;
                struct native_frame f;
                enum native_read read;
                size_t n = 0;

                if (s->waiting >= LIMIT_WAITING || session_is_crowded(s)) {
                        got.blocked = s->blocked = true;
                        break;
                }
                read = native_decode(rest, NATIVE_SERVER, &f, &n, &fault);
                if (read == NATIVE_NEED) {
                        got.need = rest.len + n;
                        break;
                }
                if (read == NATIVE_BAD) {
                        native_malformed(ns, &f, "header", &fault);
                        break;
                }
                if (turn == LIMIT_TURN_COMMANDS || s->out.bytes > LIMIT_OUTPUT_BYTES) {
                        got.again = true;
                        break;
                }
                got.consumed += n;
                take_frame(ns, &f);
        }
        return got;
}
