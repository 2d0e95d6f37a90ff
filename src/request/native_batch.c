/* request/native_batch.c: MGET, MSET and MDEL: an op for each item that is sound, and one reply
 * with an item for each. Values stand in the reply as far as a frame has room for them; the others
 * follow as a stream.
 * Owns: struct batch, which hangs on the request.
 * Borrows: the frame, until the ops are started.
 * Limits: NATIVE_BATCH_MAX items, a frame of NATIVE_BODY_MAX bytes. */
#include "base/limits.h"
#include "base/mem.h"
#include "request/native_parts.h"

/* However few values find room, every item's head and fields do. */
_Static_assert(NATIVE_ITEM_BYTES + 4 +
                               NATIVE_BATCH_MAX * (NATIVE_ITEM_BYTES + NATIVE_REPLY_FIELDS_MAX) <=
                       NATIVE_BODY_MAX,
               "a batch's heads fit a frame");

struct batch { /* request.extra */
        uint32_t count;
        struct native_refusal refused[]; /* of each item; OK: it has the next op */
};

static enum op_kind
kind_of(uint8_t op)
{
        return op == NATIVE_OP_MGET ? OP_GET : op == NATIVE_OP_MSET ? OP_SET : OP_DEL;
}

/* ---- the reply ---- */

/* Adds one item; its value in place when that leaves room for the heads of the `behind` items. */
static void
add_item(struct native_session *ns, struct chain *items, struct native_answer *a, uint32_t behind,
         struct native_stream **st, const struct request *rq, uint32_t index)
{
        size_t reserved = (size_t)behind * (NATIVE_ITEM_BYTES + NATIVE_REPLY_FIELDS_MAX);
        size_t taken =
                NATIVE_ITEM_BYTES + 4 + items->bytes + NATIVE_ITEM_BYTES + NATIVE_REPLY_FIELDS_MAX;
        const struct batch *b = rq->extra;
        bool room = a->value.len <= NATIVE_CHUNK_MAX &&
                    taken + reserved + a->value.len <= NATIVE_BODY_MAX;

        if (!room && a->value.len > 0 && !native_stream_fits(ns, *st, a->value.len)) {
                blob_unref(a->blob);
                *a = (struct native_answer){.status = NATIVE_SHED};
        }
        if (room || a->value.len == 0) {
                native_item_write(items, a->status, &a->fields, native_nothing(), a->blob,
                                  a->value);
                blob_unref(a->blob);
                return;
        }
        native_put_number(&a->fields, NATIVE_F_LENGTH, a->value.len);
        must(!a->fields.full);
        native_item_write(items, a->status, &a->fields, native_nothing(), NULL, native_nothing());
        if (*st == NULL)
                *st = native_stream_new(rq->id, b->count);
        native_stream_add(*st, index, a->blob, a->value);
}

static void
finish_batch(struct request *rq)
{
        struct native_session *ns = rq->session->native;
        struct native_head head = native_reply_head((uint8_t)rq->opcode, rq->id, NATIVE_OK);
        const struct batch *b = rq->extra;
        const struct op *op = rq->ops;
        struct native_stream *st = NULL;
        struct chain items = {0};

        for (uint32_t i = 0; i < b->count; i++) {
                struct native_answer a;

                if (b->refused[i].error != OK)
                        native_answer_refusal(b->refused[i], NATIVE_BATCH_ERROR_MAX, &a);
                else
                        native_answer_op(ns, op++, NATIVE_BATCH_ERROR_MAX, &a);
                add_item(ns, &items, &a, b->count - 1 - i, &st, rq, i);
        }
        if (st != NULL)
                head.flags |= NATIVE_MORE;
        native_batch_write(&rq->reply, head, NULL, b->count, &items);
        chain_free(&items);
        if (st != NULL)
                native_stream_start(ns, st, &rq->reply);
        native_settle(ns, &rq->reply, rq->session->waiting - 1);
}

/* ---- the request ---- */

/* Judges one item; false: it is malformed, and the session has ended. */
static bool
judge_item(struct native_session *ns, const struct native_frame *f, const struct native_item *item,
           struct native_refusal *why)
{
        static const char too_long[] = "a value in a batch has at most 262144 bytes";
        uint64_t honoured = f->op == NATIVE_OP_MSET ? NATIVE_SET_FIELDS & ~NATIVE_BIT(DEADLINE) : 0;
        struct native_fields fields;
        char room[32];

        if (!native_judge_fields(ns, f, item->fields, honoured, &fields, why))
                return false;
        if (why->error == OK)
                *why = native_judge_key(item->key);
        if (why->error == OK)
                *why = native_judge_set(ns->session->env, f->op, &fields, item->value.len, room);
        if (why->error == ERR_VALUE_TOO_BIG) /* `room` ends here, and HELLO named the number */
                why->detail = "VALUE_MAX";
        if (why->error == OK && item->value.len > NATIVE_CHUNK_MAX)
                *why = (struct native_refusal){ERR_BAD_ARGUMENT, too_long};
        return true;
}

/* Judges all items; the number of sound ones, or -1: malformed, and the session has ended. */
static int
judge_items(struct native_session *ns, const struct native_frame *f, struct bytes items,
            struct batch *b)
{
        int sound = 0;

        for (uint32_t i = 0; i < b->count; i++) {
                struct native_fault fault;
                struct native_item item;

                if (native_item_read(&items, &item, &fault) != OK) {
                        native_malformed(ns, f, "an item of the batch", &fault);
                        return -1;
                }
                if (!judge_item(ns, f, &item, &b->refused[i]))
                        return -1;
                sound += b->refused[i].error == OK;
        }
        if (items.len > 0) {
                struct native_fault fault = {"bytes follow the last item", 0};

                native_malformed(ns, f, "batch", &fault);
                return -1;
        }
        return sound;
}

/* One sound item becomes an op. */
static void
ask_item(struct request *rq, struct op *op, const struct native_item *item, uint64_t deadline_us,
         struct native_refusal *why)
{
        struct native_fields fields;
        struct native_fault fault;
        enum err e;

        op_init(op, rq, kind_of((uint8_t)rq->opcode), request_key(rq, item->key), rq->env);
        if (op->kind == OP_SET) {
                e = native_fields_read(item->fields, NATIVE_SET_FIELDS & ~NATIVE_BIT(DEADLINE),
                                       &fields, &fault);
                must(e == OK); /* judge_item() read them */
                native_ask_set(op, rq, &fields);
                if (item->value.len > 0) {
                        op->asked.value = blob_copy(item->value);
                        if (op->asked.value == NULL)
                                *why = (struct native_refusal){ERR_BUSY_MEMORY, NULL};
                        else
                                op->asked.value_part = blob_bytes(op->asked.value);
                }
        }
        op->asked.stale_fine = true;
        op->asked.want_raw = (rq->session->native->features & NATIVE_LZ4) == 0;
        op->asked.deadline_us = deadline_us;
}

/* Makes the ops and starts them. An item whose value finds no memory gives its op back, to the next
 * item. */
static void
start_batch(struct native_session *ns, const struct native_frame *f, struct bytes items,
            struct batch *b, unsigned sound, uint64_t deadline_us)
{
        struct request *rq =
                request_new(ns->session, f->op == NATIVE_OP_MGET ? ACCESS_READ : ACCESS_WRITE,
                            sound, finish_batch);
        unsigned made = 0;

        rq->opcode = f->op;
        rq->id = f->id;
        rq->extra = b;
        for (uint32_t i = 0; i < b->count; i++) {
                struct native_fault fault;
                struct native_item item;
                enum err e = native_item_read(&items, &item, &fault);

                must(e == OK); /* judge_items() read them */
                if (b->refused[i].error != OK)
                        continue;
                ask_item(rq, &rq->ops[made], &item, deadline_us, &b->refused[i]);
                if (b->refused[i].error == OK)
                        made++;
                else
                        rq->ops[made] = (struct op){0};
        }
        rq->ops_count = made;
        request_start(rq);
}

void
native_batch(struct native_session *ns, const struct native_frame *f,
             const struct native_item *item)
{
        struct native_refusal why = {OK, NULL};
        struct native_fields fields;
        struct native_fault fault;
        struct bytes items;
        struct batch *b;
        uint32_t count = 0;
        int sound;

        if (!native_judge_fields(ns, f, item->fields, NATIVE_BIT(DEADLINE), &fields, &why))
                return;
        if (why.error == OK)
                why = native_judge_deadline(&fields);
        if (why.error == OK) {
                why.error = native_batch_read(item->value, &count, &items, &fault);
                why.detail = fault.what;
        }
        if (why.error == ERR_PROTOCOL) {
                native_malformed(ns, f, "batch", &fault);
                return;
        }
        if (why.error != OK) {
                native_reply_error(&ns->session->out, f->op, f->id, why);
                session_flush(ns->session);
                return;
        }
        b = mem_zalloc(sizeof *b + count * sizeof b->refused[0]);
        b->count = count;
        sound = judge_items(ns, f, items, b);
        if (sound < 0)
                mem_free(b);
        else
                start_batch(ns, f, items, b, (unsigned)sound, native_deadline(&fields));
}
