/* request/native_ops.c: what each native operation does, but for batches (native_batch.c). Each
 * starts an op on the engine that RESP uses, too, or answers at once. Owns nothing: what waits is
 * the request's.
 * Not here: what becomes of an op (native_reply.c), values in parts (native_upload.c,
 * native_stream.c). */
#include "base/limits.h"
#include "base/mem.h"
#include "request/info.h"
#include "request/native_parts.h"

static const struct native_refusal fine = {OK, NULL};

static void
refuse(struct native_session *ns, const struct native_frame *f, struct native_refusal why)
{
        native_reply_error(&ns->session->out, f->op, f->id, why);
        session_flush(ns->session);
}

/* A request of native ops, all of one kind's `finish`. */
static struct request *
make_request(struct native_session *ns, uint8_t opcode, uint64_t id, enum request_access access,
             unsigned ops, void (*finish)(struct request *))
{
        struct request *rq = request_new(ns->session, access, ops, finish);

        rq->opcode = opcode;
        rq->id = id;
        return rq;
}

static void
finish_op(struct request *rq)
{
        struct native_session *ns = rq->session->native;

        native_reply_op(ns, &rq->reply, (uint8_t)rq->opcode, rq->id, &rq->ops[0]);
        native_settle(ns, &rq->reply, rq->session->waiting - 1);
}

/* ---- one key ---- */

/* The way of a hit: the op lives here, nothing is allocated. */
static void
get(struct native_session *ns, const struct native_frame *f, const struct native_item *item,
    const struct native_fields *fields)
{
        struct session *s = ns->session;
        struct op op = {0};
        struct request *rq;

        op_init(&op, NULL, OP_GET, key_of(item->key, s->env->key_seed), s->env);
        op.asked.stale_fine = true;
        op.asked.want_raw = (ns->features & NATIVE_LZ4) == 0;
        op.asked.deadline_us = native_deadline(fields);
        if (op_get_at_once(&op, s->env)) {
                native_reply_op(ns, &s->out, f->op, f->id, &op);
                session_flush(s);
                op_deinit(&op);
                return;
        }
        rq = make_request(ns, f->op, f->id, ACCESS_READ, 1, finish_op);
        op_init(&rq->ops[0], rq, OP_GET, request_key(rq, item->key), s->env);
        rq->ops[0].asked = op.asked;
        request_start(rq);
}

void
native_set(struct native_session *ns, uint64_t id, struct bytes key,
           const struct native_fields *fields, struct blob *value)
{
        struct request *rq = make_request(ns, NATIVE_OP_SET, id, ACCESS_WRITE, 1, finish_op);
        struct op *op = &rq->ops[0];

        op_init(op, rq, OP_SET, request_key(rq, key), ns->session->env);
        native_ask_set(op, rq, fields);
        op->asked.value = value;
        op->asked.value_part = value != NULL ? blob_bytes(value) : native_nothing();
        request_start(rq);
}

static void
set(struct native_session *ns, const struct native_frame *f, const struct native_item *item,
    const struct native_fields *fields)
{
        bool apart = (fields->seen & NATIVE_BIT(LENGTH)) != 0;
        uint64_t len = apart ? native_number(fields, NATIVE_F_LENGTH, 0) : item->value.len;
        struct blob *value = NULL;
        struct native_refusal why;
        char room[32];

        why = native_judge_set(ns->session->env, f->op, fields, len, room);
        if (why.error == OK && item->value.len > NATIVE_CHUNK_MAX)
                why = (struct native_refusal){ERR_BAD_ARGUMENT,
                                              "a value above 262144 bytes comes in chunks"};
        if (why.error != OK) {
                refuse(ns, f, why);
                return;
        }
        if (apart) {
                native_upload_begin(ns, f, item, fields);
                return;
        }
        if (len > 0) {
                value = blob_copy(item->value);
                if (value == NULL) {
                        refuse(ns, f, (struct native_refusal){ERR_BUSY_MEMORY, NULL});
                        return;
                }
        }
        native_set(ns, f->id, item->key, fields, value);
}

static void
del(struct native_session *ns, const struct native_frame *f, const struct native_item *item,
    const struct native_fields *fields)
{
        struct request *rq = make_request(ns, f->op, f->id, ACCESS_WRITE, 1, finish_op);

        op_init(&rq->ops[0], rq, OP_DEL, request_key(rq, item->key), ns->session->env);
        rq->ops[0].asked.deadline_us = native_deadline(fields);
        request_start(rq);
}

static void
expire(struct native_session *ns, const struct native_frame *f, const struct native_item *item,
       const struct native_fields *fields)
{
        struct env *env = ns->session->env;
        char room[32];
        struct native_refusal why = native_judge_set(env, f->op, fields, 0, room);
        uint64_t ttl_us = native_number(fields, NATIVE_F_TTL, 0);
        struct request *rq;

        if (why.error != OK) {
                refuse(ns, f, why);
                return;
        }
        rq = make_request(ns, f->op, f->id, ACCESS_WRITE, 1, finish_op);
        op_init(&rq->ops[0], rq, OP_EXPIRE, request_key(rq, item->key), env);
        rq->ops[0].asked.lifetime = LIFE_AT;
        rq->ops[0].asked.hard_us = ttl_us > 0 ? env->now_us + ttl_us : 0;
        rq->ops[0].asked.deadline_us = native_deadline(fields);
        request_start(rq);
}

/* ---- the server ---- */

static void
finish_flush(struct request *rq)
{
        struct native_session *ns = rq->session->native;
        const struct op *shown = &rq->ops[0];
        uint64_t count = 0;

        for (unsigned i = 0; i < rq->ops_count; i++) {
                count += rq->ops[i].count;
                if (rq->ops[i].state == OP_ERROR)
                        shown = &rq->ops[i];
        }
        rq->ops[0].count = count;
        native_reply_op(ns, &rq->reply, NATIVE_OP_FLUSH, rq->id, shown);
        native_settle(ns, &rq->reply, rq->session->waiting - 1);
}

/* One op for each worker. */
static void
flush(struct native_session *ns, const struct native_frame *f, const struct native_fields *fields)
{
        struct env *env = ns->session->env;
        uint64_t tiers = native_number(fields, NATIVE_F_TIERS, FLUSH_ALL);
        bool everything = (fields->seen & NATIVE_BIT(NAMESPACE)) == 0;
        struct request *rq;
        struct key key;

        if (tiers == 0 || (tiers & ~(uint64_t)FLUSH_ALL) != 0) {
                refuse(ns, f,
                       (struct native_refusal){ERR_BAD_ARGUMENT,
                                               "TIERS is 1 (L1), 2 (L2), 4 (L3) or a sum"});
                return;
        }
        rq = make_request(ns, f->op, f->id, ACCESS_WRITE, env->count, finish_flush);
        key.text = request_copy(rq, native_text(fields, NATIVE_F_NAMESPACE));
        for (unsigned i = 0; i < env->count; i++) {
                key.hash = i; /* which is worker i's */
                op_init(&rq->ops[i], rq, OP_FLUSH, key, env);
                rq->ops[i].asked.flush_tiers = (unsigned)tiers;
                rq->ops[i].asked.flush_everything = everything;
        }
        request_start(rq);
}

static void
info(struct native_session *ns, const struct native_frame *f, struct bytes section)
{
        struct native_answer a = {.status = NATIVE_OK};
        struct buf text = {0};

        info_write(ns->session->env, &section, section.len > 0, &text);
        a.fields = native_block_of(a.room, sizeof a.room);
        a.blob = blob_copy(buf_bytes(&text));
        if (a.blob == NULL)
                refuse(ns, f, (struct native_refusal){ERR_BUSY_MEMORY, NULL});
        else if (text.len == 0 && section.len > 0)
                refuse(ns, f, (struct native_refusal){ERR_NOT_FOUND, "section of INFO"});
        else {
                a.value = blob_bytes(a.blob);
                native_reply_answer(ns, &ns->session->out, f->op, f->id, &a);
                a.blob = NULL;
        }
        blob_unref(a.blob);
        buf_free(&text);
        session_flush(ns->session);
}

static void
ping(struct native_session *ns, const struct native_frame *f, struct bytes value)
{
        if (value.len > NATIVE_CHUNK_MAX) {
                refuse(ns, f,
                       (struct native_refusal){ERR_BAD_ARGUMENT,
                                               "a value in its place has at most 262144 bytes"});
                return;
        }
        native_write(&ns->session->out, native_reply_head(f->op, f->id, NATIVE_OK), NULL,
                     native_nothing(), NULL, value);
        session_flush(ns->session);
}

/* ---- which ---- */

static uint64_t
honoured(uint8_t op)
{
        switch (op) {
        case NATIVE_OP_SET:
                return NATIVE_SET_FIELDS | NATIVE_BIT(LENGTH);
        case NATIVE_OP_EXPIRE:
                return NATIVE_BIT(TTL) | NATIVE_BIT(DEADLINE);
        case NATIVE_OP_GET:
        case NATIVE_OP_DEL:
                return NATIVE_BIT(DEADLINE);
        case NATIVE_OP_FLUSH:
                return NATIVE_BIT(TIERS) | NATIVE_BIT(NAMESPACE);
        default:
                return 0;
        }
}

/* The operations on one key, whose key is judged here. */
static void
execute_key(struct native_session *ns, const struct native_frame *f, const struct native_item *item,
            const struct native_fields *fields)
{
        struct native_refusal why = native_judge_key(item->key);

        if (why.error == OK)
                why = native_judge_deadline(fields);
        if (why.error != OK)
                refuse(ns, f, why);
        else if (f->op == NATIVE_OP_GET)
                get(ns, f, item, fields);
        else if (f->op == NATIVE_OP_SET)
                set(ns, f, item, fields);
        else if (f->op == NATIVE_OP_DEL)
                del(ns, f, item, fields);
        else
                expire(ns, f, item, fields);
}

void
native_execute(struct native_session *ns, const struct native_frame *f)
{
        struct native_refusal refusal = fine;
        struct native_fields fields;
        struct native_fault fault;
        struct native_item item;

        if (native_body_read(f->body, &item, &fault) != OK) {
                native_malformed(ns, f, "body", &fault);
                return;
        }
        if (f->op == NATIVE_OP_MGET || f->op == NATIVE_OP_MSET || f->op == NATIVE_OP_MDEL) {
                native_batch(ns, f, &item);
                return;
        }
        if (!native_judge_fields(ns, f, item.fields, honoured(f->op), &fields, &refusal))
                return;
        if (refusal.error != OK) {
                refuse(ns, f, refusal);
                return;
        }
        switch (f->op) {
        case NATIVE_OP_GET:
        case NATIVE_OP_SET:
        case NATIVE_OP_DEL:
        case NATIVE_OP_EXPIRE:
                execute_key(ns, f, &item, &fields);
                return;
        case NATIVE_OP_PING:
                ping(ns, f, item.value);
                return;
        case NATIVE_OP_INFO:
                info(ns, f, item.key);
                return;
        case NATIVE_OP_TIERS:
                info(ns, f, bytes_str("tiers"));
                return;
        case NATIVE_OP_FLUSH:
                flush(ns, f, &fields);
                return;
        default:
                refuse(ns, f, (struct native_refusal){ERR_UNKNOWN, "of the native protocol"});
        }
}
