/* postgres_large: values above LIMIT_CHUNK_BYTES, on a connection of their own, opened when first
 * needed and closed when idle. Each statement carries one chunk; the values under way take turns,
 * so the loop never has more than a few chunks in hand.
 *
 * Writing: a number for the chunks is drawn and put into `garbage`, due in ten minutes; the
 * chunks are written under it, each committed by itself and visible to nobody; then the entry's
 * own statement, PUT or NEW, names the number, and a trigger takes it out of `garbage`. So all or
 * nothing is seen without a transaction that stays open (which a pooler, a vacuum and a frozen
 * client would all suffer from), and what is abandoned half-way is swept. A write that has lost
 * already ends before the first chunk. Reading: the small connection brought number and size; the
 * chunks go straight into one blob. One that is missing was replaced meanwhile: the entry is
 * asked for again.
 * Owns: pg_large, a reference of the blob that is written or filled. Limits: PG_LARGE_MAX under
 * way, others wait in line. */
#include "base/limits.h"
#include "base/mem.h"
#include "io/postgres_inner.h"

enum large_stage { LARGE_PART, LARGE_CHUNKS, LARGE_LAST };

struct pg_large {
        struct list link;
        struct postgres *pg;
        struct pg_slot *slot; /* NULL: nobody waits; it ends with its last statement */
        bool reading;
        enum large_stage stage;
        struct blob *blob;
        int64_t part;
        uint32_t size, next, done, chunks; /* bytes; chunks sent, finished, all */
        unsigned in_flight;
};

static struct bytes
chunk_of(const struct pg_large *l, uint32_t n)
{
        size_t from = (size_t)n * LIMIT_CHUNK_BYTES;
        size_t len = l->size - from < LIMIT_CHUNK_BYTES ? l->size - from : LIMIT_CHUNK_BYTES;

        return bytes_of(l->blob->at + ENVELOPE_PREFIX + from, len);
}

static void
large_free(struct pg_large *l)
{
        struct postgres *pg = l->pg;

        list_remove(&l->link);
        blob_unref(l->blob);
        mem_free(l);
        pg->large_count--;
        task_ready(&pg->env->ready, &pg->large_task);
}

/* The call has no more interest in it: what is under way is waited for, nothing more is sent. */
void
pg_large_abandon(struct pg_slot *slot)
{
        struct pg_large *l = slot->large;

        slot->large = NULL;
        l->slot = NULL;
        if (l->in_flight == 0)
                large_free(l);
}

static void
large_new(struct pg_slot *slot, bool reading, struct blob *blob, uint32_t size)
{
        struct postgres *pg = slot->pg;
        struct pg_large *l = mem_zalloc(sizeof *l);

        l->pg = pg;
        l->slot = slot;
        l->reading = reading;
        l->stage = reading ? LARGE_CHUNKS : LARGE_PART;
        l->blob = blob;
        l->size = size;
        l->chunks = (size + LIMIT_CHUNK_BYTES - 1) / LIMIT_CHUNK_BYTES;
        slot->large = l;
        pg->large_count++;
        list_push(&pg->large_waiting, &l->link);
        task_ready(&pg->env->ready, &pg->large_task);
}

void
pg_large_read(struct pg_slot *slot, int64_t part, uint32_t size, uint64_t version)
{
        struct blob *blob = blob_new(ENVELOPE_PREFIX + (size_t)size);

        pg_slot_detach(slot);
        if (blob == NULL) {
                pg_answer(slot, TIER_FAILED);
                return;
        }
        put_u64(blob->at, version);
        large_new(slot, true, blob, size);
        slot->large->part = part;
        slot->call->large_bytes = size;
        pg_slot_deadline(slot, tier_extra_us(size));
}

void
pg_large_write(struct pg_slot *slot)
{
        struct blob *blob = slot->call->entry->blob;

        large_new(slot, false, blob_ref(blob), blob->len - ENVELOPE_PREFIX);
}

void
pg_large_raced(struct pg_slot *slot)
{
        slot->large->stage = LARGE_LAST;
        task_ready(&slot->pg->env->ready, &slot->pg->large_task);
}

/* ---- statements ---- */

/* One of its statements is over. True: go on with it. */
static bool
step_over(struct pg_statement *st, enum pg_end end)
{
        struct pg_large *l = st->whose;

        l->in_flight--;
        if (l->slot == NULL) {
                if (l->in_flight == 0)
                        large_free(l);
                return false;
        }
        if (end == PG_END_OK)
                return true;
        pg_answer(l->slot, end == PG_END_LOST ? TIER_DOWN : TIER_FAILED);
        return false;
}

static void
step_send(struct pg_large *l, struct pg_statement *st,
          void (*row)(struct pg_statement *, const PGresult *, int),
          void (*end)(struct pg_statement *, enum pg_end))
{
        st->whose = l;
        st->row = row;
        st->end = end;
        l->in_flight++;
        pg_statement_send(&l->pg->large, st, &l->pg->params);
}

static void
part_row(struct pg_statement *st, const PGresult *r, int row)
{
        struct pg_large *l = st->whose;
        struct tier_call *call;
        int64_t was;
        bool same_origin, lived;

        if (l->slot == NULL)
                return;
        call = l->slot->call;
        if (field_i64(r, row, 0, &l->part))
                return;
        if (!field_i64(r, row, 1, &was) || !field_bool(r, row, 2, &same_origin) ||
            !field_bool(r, row, 3, &lived))
                return;
        /* It has lost already, or stands there already. */
        call->outcome = was == (int64_t)call->version && same_origin ? WRITE_STORED : WRITE_LOST;
        call->found_version = (uint64_t)was;
        call->existed = lived;
        l->stage = LARGE_LAST;
}

static void
part_end(struct pg_statement *st, enum pg_end end)
{
        struct pg_large *l = st->whose;

        if (step_over(st, end)) {
                if (l->stage == LARGE_LAST)
                        pg_answer(l->slot, TIER_ANSWERED);
                else if (l->part <= 0)
                        pg_answer(l->slot, TIER_FAILED);
                else
                        l->stage = LARGE_CHUNKS;
        }
        pg_statement_free(st);
}

static void
part_send(struct pg_large *l)
{
        const struct tier_call *call = l->slot->call;
        struct pg_params *p = &l->pg->params;
        int64_t version = call->kind == WRITE_NEW || call->version > INT64_MAX
                                  ? INT64_MAX
                                  : (int64_t)call->version;

        params_reset(p);
        params_bytes(p, bytes_of(l->slot->id, sizeof l->slot->id));
        params_i64(p, version);
        params_i64(p, (int64_t)call->entry->meta.origin);
        step_send(l, pg_statement_new(PG_PART, 0), part_row, part_end);
}

static void
chunk_row(struct pg_statement *st, const PGresult *r, int row)
{
        struct pg_large *l = st->whose;
        struct bytes want, got;

        if (l->slot == NULL || !l->reading)
                return;
        want = chunk_of(l, (uint32_t)st->number);
        if (!field_bytes(r, row, 0, &got) || got.len != want.len)
                return;
        memcpy(l->blob->at + (want.at - l->blob->at), got.at, got.len);
        l->done++;
        st->number = -1; /* once */
}

static void
chunk_end(struct pg_statement *st, enum pg_end end)
{
        struct pg_large *l = st->whose;
        struct pg_slot *slot;
        bool missing = l->reading && st->number >= 0;

        if (step_over(st, end)) {
                slot = l->slot;
                if (!l->reading && ++l->done == l->chunks)
                        l->stage = LARGE_LAST;
                if (missing) {
                        pg_large_abandon(slot);
                        pg_slot_again(slot);
                } else if (l->reading && l->done == l->chunks) {
                        slot->call->found = blob_ref(l->blob);
                        pg_answer(slot, TIER_ANSWERED);
                }
        }
        pg_statement_free(st);
}

static void
chunk_send(struct pg_large *l)
{
        struct pg_params *p = &l->pg->params;
        struct pg_statement *st = pg_statement_new(l->reading ? PG_CHUNK_GET : PG_CHUNK_PUT, 0);

        st->number = l->next++;
        params_reset(p);
        params_i64(p, l->part);
        params_i32(p, (int32_t)st->number);
        if (!l->reading)
                params_bytes(p, chunk_of(l, (uint32_t)st->number));
        step_send(l, st, chunk_row, chunk_end);
}

/* ---- turns ---- */

/* One statement of it, if one is due; false when none is. */
static bool
large_step(struct pg_large *l)
{
        if (l->slot == NULL)
                return false;
        switch (l->stage) {
        case LARGE_PART:
                if (l->in_flight > 0)
                        return false;
                part_send(l);
                return true;
        case LARGE_CHUNKS:
                if (l->next == l->chunks || l->in_flight == PG_LARGE_FLIGHT)
                        return false;
                chunk_send(l);
                return true;
        case LARGE_LAST:
                if (l->in_flight > 0 || l->slot->st != NULL)
                        return false;
                l->slot->part = l->part;
                pg_send_write(&l->pg->large, l->slot);
                return true;
        }
        return false;
}

static unsigned
active_count(const struct postgres *pg)
{
        unsigned n = 0;

        list_each (node, &pg->large_active)
                n++;
        return n;
}

void
pg_large_advance(struct task *task, struct env *env)
{
        struct postgres *pg = container_of(task, struct postgres, large_task);
        bool more = true;

        (void)env;
        if (pg->large.state == LINK_IDLE && !list_empty(&pg->large_waiting))
                pg_link_open(&pg->large);
        if (pg->large.state != LINK_UP)
                return;
        for (unsigned n = active_count(pg); n < PG_LARGE_MAX && !list_empty(&pg->large_waiting);
             n++)
                list_push(&pg->large_active, list_pop(&pg->large_waiting));
        while (more) {
                more = false;
                list_each (node, &pg->large_active)
                        if (pg_link_has_room(&pg->large))
                                more |= large_step(container_of(node, struct pg_large, link));
        }
        pg_link_flush(&pg->large);
}

void
pg_large_link_up(struct postgres *pg)
{
        task_ready(&pg->env->ready, &pg->large_task);
}

static void
down_all(struct list *list)
{
        list_each_safe (node, list) {
                struct pg_large *l = container_of(node, struct pg_large, link);

                if (l->slot != NULL)
                        pg_answer(l->slot, TIER_DOWN);
                else
                        large_free(l);
        }
}

/* Its statements are over by now. */
void
pg_large_link_down(struct postgres *pg)
{
        down_all(&pg->large_active);
        down_all(&pg->large_waiting);
}
