/* redis_large: values above LIMIT_CHUNK_BYTES, on a connection of their own, so that they stand in
 * the way of no small one. Owns: that connection, from the first use until it was idle for
 * IDLE_US; the ops that wait for their turn. A value is fetched in pieces, a few under way at a
 * time, straight into the blob that will be given out; it is whole if the version at the end is
 * that of the beginning (a key's versions never come twice with different bytes), else it is
 * fetched once more. Limits: LIMIT_L2_LARGE ops at a time, LIMIT_L2_LARGE_WAITING that wait; a
 * length beyond [server] value-max is not believed. */
#include "base/mem.h"
#include "io/redis_command.h"
#include "io/redis_state.h"

/* Redis answers one command at a time, so every piece stands in the way of small calls for as
 * long as it takes to copy. Measured with 24 MiB values beside 100-byte ones: p99 of the small
 * ones is twice that of an idle Redis; with 16 pieces of 256 KiB under way it is 18 times, and
 * the large ones come no sooner. */
enum { PIECES = 2, PIECE_BYTES = 65536 };

static const uint64_t idle_us = 60000000, watch_us = 1000000;

enum fetch_stage { FETCH_PIECES, FETCH_AGAIN };

/* ---- the connection ---- */

static void
large_fail(struct redis_tier *t)
{
        struct list waiting, *node;

        list_init(&waiting);
        list_splice(&waiting, &t->large_waiting);
        t->large_waiting_count = 0;
        while ((node = list_pop(&waiting)) != NULL) {
                struct redis_op *op = container_of(node, struct redis_op, waiting);

                redis_op_answer(op, TIER_DOWN);
                redis_op_settle(op);
        }
}

void
redis_large_lost(struct redis_tier *t)
{
        redis_link_drop(t->large);
        large_fail(t);
}

void
redis_large_next(struct redis_tier *t)
{
        struct list *node;

        while (t->large != NULL && t->large->stage == LINK_UP && !t->large->broken &&
               t->large_running < LIMIT_L2_LARGE && (node = list_pop(&t->large_waiting)) != NULL) {
                struct redis_op *op = container_of(node, struct redis_op, waiting);

                t->large_waiting_count--;
                t->large_running++;
                op->running = true;
                redis_op_begin_large(op);
                redis_op_settle(op);
        }
}

void
redis_large_submit(struct redis_op *op)
{
        struct redis_tier *t = op->tier;

        if (t->large == NULL)
                t->large = redis_link_open(t, LINK_LARGE, &t->main_address);
        if (t->large == NULL || t->large_waiting_count >= LIMIT_L2_LARGE_WAITING) {
                redis_op_answer(op, TIER_DOWN);
                return;
        }
        redis_watch(t);
        list_push(&t->large_waiting, &op->waiting);
        t->large_waiting_count++;
        redis_large_next(t);
}

/* What came for it in this turn. */
void
redis_large_advance(struct redis_tier *t)
{
        struct redis_link *l = t->large;

        if (l == NULL)
                return;
        if (l->heard)
                l->heard_us = t->large_used_us = t->env->mono_us;
        l->heard = false;
        if (!l->broken && l->stage == LINK_SHAKING && l->slot_count == 0) {
                if (l->replid != t->tier.replid) {
                        redis_link_break(l, "it is another server");
                } else {
                        l->stage = LINK_UP;
                        metric_add(t->env->metrics, M_l2_connects, 1);
                        redis_large_next(t);
                }
        }
        if (l->broken)
                redis_large_lost(t);
}

static void
large_watch(struct redis_tier *t)
{
        uint64_t now_us = t->env->mono_us;
        struct redis_link *l = t->large;
        bool idle;

        if (redis_link_silent_us(l, now_us) > REDIS_SILENCE_US ||
            (l->stage == LINK_CONNECTING && now_us - l->opened_us > REDIS_SILENCE_US)) {
                redis_large_lost(t);
                return;
        }
        idle = l->slot_count == 0 && t->large_waiting_count == 0 && t->large_running == 0;
        if (idle && now_us - t->large_used_us > idle_us)
                redis_link_drop(l);
}

/* ---- both connections ---- */

void
redis_watch(struct redis_tier *t)
{
        if (timer_idle(&t->watch_timer))
                timer_set(&t->env->timers, &t->watch_timer, &t->task, t->env->mono_us + watch_us);
}

void
redis_watch_advance(struct redis_tier *t)
{
        uint64_t now_us = t->env->mono_us;

        if (!t->watch_timer.fired)
                return;
        t->watch_timer.fired = false;
        if (t->large != NULL)
                large_watch(t);
        if (t->main != NULL && redis_link_silent_us(t->main, now_us) > REDIS_SILENCE_US)
                redis_dial(t);
        if (t->large != NULL || (t->main != NULL && t->main->slot_count > 0))
                redis_watch(t);
}

/* ---- values in pieces ---- */

uint64_t
redis_value_length(const struct redis_tier *t, struct bytes beginning)
{
        struct bytes envelope = bytes_from(beginning, ENVELOPE_PREFIX);
        uint64_t payload, tags;

        if (envelope.len < ENVELOPE_HEADER || memcmp(envelope.at, "PNEV", 4) != 0 ||
            envelope.at[ENVELOPE_AT_FORMAT] != ENVELOPE_FORMAT)
                return 0;
        payload = get_u32(envelope.at + ENVELOPE_AT_PAYLOAD_LEN);
        tags = get_u32(envelope.at + ENVELOPE_AT_TAGS_LEN);
        if (payload > option_number(t->env->options, O_value_max) ||
            tags > REDIS_ENVELOPE_ROOM - ENVELOPE_HEADER)
                return 0;
        return ENVELOPE_PREFIX + ENVELOPE_HEADER + tags + payload;
}

static void
fetch_deinit(struct redis_op *op)
{
        blob_unref(op->fetch.first);
        blob_unref(op->fetch.whole);
}

static void
fetch_ask(struct redis_op *op)
{
        struct redis_fetch *f = &op->fetch;
        struct redis_link *l = op->tier->large;

        while (op->slots < PIECES && f->asked < f->total) {
                size_t left = f->total - f->asked;
                size_t len = left < PIECE_BYTES ? left : PIECE_BYTES;

                redis_piece_ask(op, l, f->asked, len,
                                (struct answer_target){f->whole->at + f->asked, len});
                f->asked += len;
        }
        if (f->asked == f->total && !f->asked_version) {
                f->asked_version = true;
                redis_piece_ask(op, l, 0, ENVELOPE_PREFIX, (struct answer_target){0});
        }
}

void
redis_fetch_start(struct redis_op *op)
{
        struct redis_fetch *f = &op->fetch;

        f->whole = blob_new(f->total);
        if (f->whole == NULL) {
                redis_op_refused(op, "more than there is memory for");
                redis_op_answer(op, TIER_FAILED);
                return;
        }
        op->stage = FETCH_PIECES;
        f->version = get_u64(f->first->at);
        f->asked = f->got = f->first->len;
        f->asked_version = f->changed = false;
        memcpy(f->whole->at, f->first->at, f->first->len);
        blob_unref(f->first);
        f->first = NULL;
        fetch_ask(op);
}

/* It was written while it was read: from the beginning, once. */
static void
fetch_again(struct redis_op *op)
{
        struct redis_fetch *f = &op->fetch;

        blob_unref(f->whole);
        f->whole = NULL;
        if (f->retried) {
                redis_op_refused(op, "a value that changes while it is read");
                redis_op_answer(op, TIER_FAILED);
                return;
        }
        f->retried = true;
        op->stage = FETCH_AGAIN;
        redis_piece_ask(op, op->tier->large, 0, REDIS_FIRST_BYTES, (struct answer_target){0});
}

static void
fetch_found(struct redis_op *op, struct blob *found)
{
        op->call->found = found;
        redis_op_answer(op, TIER_ANSWERED);
}

static void
fetch_first_again(struct redis_op *op, struct redis_answer *a)
{
        struct redis_fetch *f = &op->fetch;
        struct blob *blob = a->blob;

        if (a->kind != ANSWER_STRING || blob == NULL) {
                fetch_again(op);
                return;
        }
        if (a->text.len == 0) {
                fetch_found(op, NULL);
                return;
        }
        a->blob = NULL;
        f->total = a->text.len < REDIS_FIRST_BYTES ? 0 : redis_value_length(op->tier, a->text);
        if (f->total <= REDIS_FIRST_BYTES) {
                fetch_found(op, blob);
                return;
        }
        f->first = blob;
        redis_op_extend(op, f->total);
        redis_fetch_start(op);
}

static void
fetch_step(struct redis_op *op, struct redis_answer *a)
{
        struct redis_fetch *f = &op->fetch;
        size_t left = f->total - f->got;
        size_t expected = left < PIECE_BYTES ? left : PIECE_BYTES;

        if (op->stage == FETCH_AGAIN) {
                fetch_first_again(op, a);
                return;
        }
        if (a->kind != ANSWER_STRING)
                f->changed = true;
        else if (f->got < f->total)
                f->changed |= a->text.len != expected; /* it lies in f->whole already */
        else
                f->changed |= a->text.len != ENVELOPE_PREFIX || get_u64(a->text.at) != f->version;
        if (!f->changed && f->got == f->total) {
                struct blob *whole = f->whole;

                f->whole = NULL;
                fetch_found(op, whole);
                return;
        }
        f->got += expected;
        if (!f->changed)
                fetch_ask(op);
        else if (op->slots == 0)
                fetch_again(op);
}

void
redis_fetch_begin(struct redis_op *op, struct blob *first, uint64_t total)
{
        op->deinit = fetch_deinit;
        op->fetch = (struct redis_fetch){.first = first, .total = total};
        op->step = fetch_step;
        redis_op_extend(op, total);
        redis_large_submit(op);
}
