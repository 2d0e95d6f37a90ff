/* request/cmd_string.c: the commands that carry values: GET and SET in their forms. Owns nothing
 * that outlives the call: what waits is the request's.
 * Not here: where a value comes from and goes to (op_get.c, op_write.c). */
#include "base/mem.h"
#include "request/command.h"

enum { SECOND_US = 1000000, MILLI_US = 1000 };

/* ---- reading ---- */

static void
reply_get(struct chain *out, const struct op *op, enum resp_version v)
{
        if (op_has_value(op))
                reply_value(out, op);
        else if (op->state == OP_ERROR)
                reply_error(out, op->error, op->detail);
        else
                resp_null(out, v);
}

static void
finish_get(struct request *rq)
{
        reply_get(&rq->reply, &rq->ops[0], session_version(rq->session));
}

/* The way of a hit: the op lives here, the value goes from L1 into the output, nothing is
 * allocated. */
void
cmd_get(struct call *c)
{
        struct bytes text = call_arg(c, 1);
        struct op op = {0};
        struct request *rq;

        op_init(&op, NULL, OP_GET, key_of(text, c->env->key_seed), c->env);
        op.asked.stale_fine = serves_stale(c->env, text);
        op.asked.want_raw = true;
        if (op_get_at_once(&op, c->env)) {
                reply_get(call_out(c), &op, call_version(c));
                op_deinit(&op);
                return;
        }
        rq = call_request_keys(c, OP_GET, finish_get);
        rq->ops[0].asked = op.asked;
        request_start(rq);
}

/* A GET for each key, stale where a plain GET may be. */
static void
start_gets(struct call *c, bool want_raw, void (*finish)(struct request *))
{
        struct request *rq = call_request_keys(c, OP_GET, finish);

        for (unsigned i = 0; i < rq->ops_count; i++) {
                rq->ops[i].asked.stale_fine = serves_stale(c->env, rq->ops[i].key.text);
                rq->ops[i].asked.want_raw = want_raw;
        }
        request_start(rq);
}

/* One key that could not be asked for is a miss here: the others' values are worth having. */
static void
finish_mget(struct request *rq)
{
        enum resp_version v = session_version(rq->session);

        resp_array(&rq->reply, rq->ops_count);
        for (unsigned i = 0; i < rq->ops_count; i++) {
                if (op_has_value(&rq->ops[i]))
                        reply_value(&rq->reply, &rq->ops[i]);
                else
                        resp_null(&rq->reply, v);
        }
}

void
cmd_mget(struct call *c)
{
        start_gets(c, true, finish_mget);
}

static void
finish_strlen(struct request *rq)
{
        const struct op *op = &rq->ops[0];

        if (!reply_failure(rq))
                resp_integer(&rq->reply, op_has_value(op) ? op->entry.meta.raw_len : 0);
}

void
cmd_strlen(struct call *c)
{
        start_gets(c, false, finish_strlen);
}

static void
finish_exists(struct request *rq)
{
        unsigned there = 0;

        if (reply_failure(rq))
                return;
        for (unsigned i = 0; i < rq->ops_count; i++)
                there += op_has_value(&rq->ops[i]);
        resp_integer(&rq->reply, there);
}

void
cmd_exists(struct call *c)
{
        start_gets(c, false, finish_exists);
}

static void
finish_type(struct request *rq)
{
        if (!reply_failure(rq))
                resp_simple(&rq->reply, op_has_value(&rq->ops[0]) ? "string" : "none");
}

void
cmd_type(struct call *c)
{
        start_gets(c, false, finish_type);
}

/* ---- writing ---- */

static void
finish_set(struct request *rq)
{
        const struct op *op = &rq->ops[0];
        enum resp_version v = session_version(rq->session);

        if (reply_failure(rq))
                return;
        if (op->asked.want_old) { /* the value before, whether or not it was replaced */
                if (op->entry.blob != NULL && entry_is_value(&op->entry.meta))
                        reply_value(&rq->reply, op);
                else
                        resp_null(&rq->reply, v);
        } else if (op->state == OP_UNMET) {
                resp_null(&rq->reply, v);
        } else {
                resp_simple(&rq->reply, "OK");
        }
}

static void
finish_setnx(struct request *rq)
{
        if (!reply_failure(rq))
                resp_integer(&rq->reply, rq->ops[0].state == OP_DONE);
}

static void
start_set(struct call *c, unsigned value_at, struct op_asked asked,
          void (*finish)(struct request *))
{
        struct request *rq;

        if (!call_value(c, value_at, &asked.value))
                return;
        asked.value_part = blob_bytes(asked.value);
        rq = call_request_keys(c, OP_SET, finish);
        rq->ops[0].asked = asked;
        request_start(rq);
}

/* An expiry: `text` times `unit`, from now on unless absolute. False: refused. */
static bool
expiry_read(struct call *c, struct bytes text, uint64_t unit, bool absolute, struct op_asked *asked)
{
        uint64_t us;
        int64_t n;

        if (!resp_number(text, &n)) {
                call_error(c, ERR_NOT_INTEGER, NULL);
                return false;
        }
        if (n <= 0 || __builtin_mul_overflow((uint64_t)n, unit, &us) ||
            __builtin_add_overflow(us, absolute ? 0 : c->env->now_us, &us) || us > INT64_MAX) {
                call_error(c, ERR_BAD_EXPIRE, c->row->name);
                return false;
        }
        asked->lifetime = LIFE_AT;
        asked->hard_us = us;
        return true;
}

struct set_words { /* SET's options as they stand in the command */
        struct bytes expiry;
        uint64_t unit;
        bool absolute, expires, nx, xx, get, keep_ttl;
};

/* True when argument *i is an expiry's name; passes its value. */
static bool
expiry_word(const struct call *c, unsigned *i, struct set_words *w)
{
        static const struct {
                const char *name;
                uint64_t unit;
                bool absolute;
        } words[] = {
                {"ex", SECOND_US, false},
                {"px", MILLI_US, false},
                {"exat", SECOND_US, true},
                {"pxat", MILLI_US, true},
        };

        for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
                if (!call_is(c, *i, words[k].name) || *i + 1 == c->argc)
                        continue;
                if (w->expires && (w->unit != words[k].unit || w->absolute != words[k].absolute))
                        return false; /* the same again is fine, as in Redis: the last counts */
                w->expires = true;
                w->unit = words[k].unit;
                w->absolute = words[k].absolute;
                w->expiry = call_arg(c, ++*i);
                return true;
        }
        return false;
}

static bool
set_words_read(const struct call *c, struct set_words *w)
{
        for (unsigned i = 3; i < c->argc; i++) {
                if (call_is(c, i, "nx") && !w->xx)
                        w->nx = true;
                else if (call_is(c, i, "xx") && !w->nx)
                        w->xx = true;
                else if (call_is(c, i, "get"))
                        w->get = true;
                else if (call_is(c, i, "keepttl") && !w->expires)
                        w->keep_ttl = true;
                else if (w->keep_ttl || !expiry_word(c, &i, w))
                        return false;
        }
        return true;
}

void
cmd_set(struct call *c)
{
        struct op_asked asked = {0};
        struct set_words w = {0};

        if (!set_words_read(c, &w)) {
                call_error(c, ERR_SYNTAX, NULL);
                return;
        }
        if (w.expires && !expiry_read(c, w.expiry, w.unit, w.absolute, &asked))
                return;
        if (w.keep_ttl)
                asked.lifetime = LIFE_KEEP;
        asked.condition = w.nx ? OP_IF_ABSENT : w.xx ? OP_IF_PRESENT : OP_ALWAYS;
        asked.want_old = w.get;
        start_set(c, 2, asked, finish_set);
}

/* SETEX and PSETEX. */
void
cmd_setex(struct call *c)
{
        uint64_t unit = c->row == &command_rows[COMMAND_PSETEX] ? MILLI_US : SECOND_US;
        struct op_asked asked = {0};

        if (expiry_read(c, call_arg(c, 2), unit, false, &asked))
                start_set(c, 3, asked, finish_set);
}

void
cmd_setnx(struct call *c)
{
        start_set(c, 2, (struct op_asked){.condition = OP_IF_ABSENT}, finish_setnx);
}

static void
finish_mset(struct request *rq)
{
        if (!reply_failure(rq))
                resp_simple(&rq->reply, "OK");
}

/* Each key by itself: with tiers there is no one moment for all. All values are copied before the
 * first is set. */
void
cmd_mset(struct call *c)
{
        unsigned count = c->argc / 2, copied = 0;
        struct blob **values = mem_alloc(count * sizeof *values);
        struct request *rq;

        while (copied < count && call_value(c, 2 + 2 * copied, &values[copied]))
                copied++;
        if (copied < count) {
                while (copied > 0)
                        blob_unref(values[--copied]);
                mem_free(values);
                return;
        }
        rq = call_request_keys(c, OP_SET, finish_mset);
        for (unsigned i = 0; i < count; i++) {
                rq->ops[i].asked.value = values[i];
                rq->ops[i].asked.value_part = blob_bytes(values[i]);
        }
        mem_free(values);
        request_start(rq);
}
