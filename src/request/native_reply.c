/* request/native_reply.c: what became of an op, in the words of the native protocol: a status,
 * fields, a value. An answer owns one reference of its value until that is sent or streamed.
 * Not here: batches (native_batch.c), the sending of values in parts (native_stream.c). */
#include "base/mem.h"
#include "request/native_parts.h"

static uint64_t
time_left(uint64_t until_us, uint64_t now_us)
{
        return until_us > now_us ? until_us - now_us : 0;
}

static void
put_unless_zero(struct native_block *b, enum native_field type, uint64_t number)
{
        if (number != 0)
                native_put_number(b, type, number);
}

static void
put_entry(struct native_block *b, const struct op *op, uint64_t now_us)
{
        const struct meta *m = &op->entry.meta;

        if (op->tier >= OP_TIER_L1 && op->tier <= OP_TIER_L3)
                native_put_number(b, NATIVE_F_TIER, (uint64_t)op->tier);
        native_put_number(b, NATIVE_F_AGE, time_left(now_us, m->version));
        if (m->soft_us != UINT64_MAX)
                native_put_number(b, NATIVE_F_SOFT, time_left(m->soft_us, now_us));
        if (m->hard_us != UINT64_MAX)
                native_put_number(b, NATIVE_F_HARD, time_left(m->hard_us, now_us));
        native_put_number(b, NATIVE_F_VERSION, m->version);
        put_unless_zero(b, NATIVE_F_COST, m->cost);
        put_unless_zero(b, NATIVE_F_COMPUTE, m->compute_us);
        put_unless_zero(b, NATIVE_F_CONFIDENCE, m->confidence);
        put_unless_zero(b, NATIVE_F_CODEC, m->codec);
}

/* The value as this client takes it; false: no memory to unpack it. */
static bool
take_value(const struct native_session *ns, const struct op *op, struct native_answer *a)
{
        const struct entry *e = &op->entry;

        if (entry_is_packed(e) && (ns->features & NATIVE_LZ4) != 0) {
                a->blob = blob_ref(e->blob);
                a->value = entry_payload(e);
                native_put_number(&a->fields, NATIVE_F_RAW_LENGTH, e->meta.raw_len);
                return true;
        }
        a->blob = op_raw(op, &a->value);
        return a->blob != NULL;
}

void
native_answer_refusal(struct native_refusal why, size_t text_max, struct native_answer *a)
{
        char text[NATIVE_SENTENCE_MAX];
        size_t len = native_sentence(why, text, sizeof text);

        a->status = (uint16_t)err_status(why.error);
        a->blob = NULL;
        a->value = native_nothing();
        a->fields = native_block_of(a->room, sizeof a->room);
        native_put_text(&a->fields, NATIVE_F_ERROR,
                        bytes_of(text, len < text_max ? len : text_max));
        must(!a->fields.full);
}

static void
answer_get(struct native_session *ns, const struct op *op, size_t text_max, struct native_answer *a)
{
        if (op->state == OP_MISS) {
                if (op->error != OK) { /* it might have been there: a tier could not be asked */
                        native_answer_refusal((struct native_refusal){op->error, op->detail},
                                              text_max, a);
                        a->status = NATIVE_MISS;
                }
                return;
        }
        a->status = op->state == OP_HIT     ? NATIVE_HIT
                    : op->state == OP_STALE ? NATIVE_STALE
                                            : NATIVE_NEGATIVE;
        put_entry(&a->fields, op, ns->session->env->now_us);
        if (!take_value(ns, op, a))
                native_answer_refusal((struct native_refusal){ERR_BUSY_MEMORY, NULL}, text_max, a);
}

void
native_answer_op(struct native_session *ns, const struct op *op, size_t text_max,
                 struct native_answer *a)
{
        a->status = NATIVE_OK;
        a->blob = NULL;
        a->value = native_nothing();
        a->fields = native_block_of(a->room, sizeof a->room);
        if (op->state == OP_ERROR) {
                native_answer_refusal((struct native_refusal){op->error, op->detail}, text_max, a);
                return;
        }
        switch (op->kind) {
        case OP_GET:
                a->status = NATIVE_MISS;
                answer_get(ns, op, text_max, a);
                break;
        case OP_SET:
                if (op->state == OP_UNMET) {
                        a->status = NATIVE_NOT_MET;
                        break;
                }
                native_put_number(&a->fields, NATIVE_F_VERSION, op->version);
                native_put_number(&a->fields, NATIVE_F_REACHED, op->reached);
                break;
        case OP_DEL:
                if (!op->existed)
                        a->status = NATIVE_MISS;
                put_unless_zero(&a->fields, NATIVE_F_VERSION, op->version);
                break;
        case OP_EXPIRE:
                if (op->state == OP_MISS)
                        a->status = NATIVE_MISS;
                else
                        native_put_number(&a->fields, NATIVE_F_VERSION, op->version);
                break;
        case OP_FLUSH:
                native_put_number(&a->fields, NATIVE_F_COUNT, op->count);
                break;
        }
        must(!a->fields.full);
}

/* The connection's replies hold as much memory as they may. */
static void
shed(struct native_answer *a)
{
        enum { RETRY_US = 100000 };

        blob_unref(a->blob);
        a->blob = NULL;
        a->value = native_nothing();
        a->status = NATIVE_SHED;
        a->fields.len = 0;
        native_put_number(&a->fields, NATIVE_F_RETRY, RETRY_US);
}

void
native_reply_answer(struct native_session *ns, struct chain *out, uint8_t opcode, uint64_t id,
                    struct native_answer *a)
{
        struct native_head head;
        struct native_stream *st;

        if (a->value.len > NATIVE_CHUNK_MAX && !native_stream_fits(ns, NULL, a->value.len))
                shed(a);
        head = native_reply_head(opcode, id, a->status);
        if (a->value.len <= NATIVE_CHUNK_MAX) {
                native_write(out, head, &a->fields, native_nothing(), a->blob, a->value);
                blob_unref(a->blob);
                return;
        }
        native_put_number(&a->fields, NATIVE_F_LENGTH, a->value.len);
        must(!a->fields.full);
        head.flags |= NATIVE_MORE;
        native_write(out, head, &a->fields, native_nothing(), NULL, native_nothing());
        st = native_stream_new(id, 1);
        native_stream_add(st, 0, a->blob, a->value);
        native_stream_start(ns, st, out);
}

void
native_reply_op(struct native_session *ns, struct chain *out, uint8_t opcode, uint64_t id,
                const struct op *op)
{
        struct native_answer a;

        native_answer_op(ns, op, NATIVE_REPLY_FIELDS_MAX - NATIVE_FIELD_BYTES, &a);
        native_reply_answer(ns, out, opcode, id, &a);
}
