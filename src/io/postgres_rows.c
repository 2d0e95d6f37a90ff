/* postgres_rows: the calls of one turn -> one statement of each kind, and its rows -> their
 * answers. Owns nothing that lasts. GET: sorted by id, each row answers every call of its id;
 * what got no row is absent. PUT and NEW: in the order of their ids, one row an id: a second
 * write of an id waits for the next statement. Values are copied once into the statement. Limits:
 * LIMIT_L3_BATCH calls, PG_STATEMENT_BYTES of values but for the first. */
#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"
#include "io/postgres_inner.h"

enum {
        ENVELOPE_ROOM = 65536
}; /* an envelope is at most so much longer than its value: header and tags */

static int
by_id(const void *a, const void *b)
{
        const struct pg_slot *x = *(struct pg_slot *const *)a, *y = *(struct pg_slot *const *)b;
        int order = memcmp(x->id, y->id, sizeof x->id);

        return order != 0 ? order : x->order < y->order ? -1 : 1;
}

static int64_t
bigint(uint64_t v) /* "never" is the largest there is */
{
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static size_t
sealed_len(const struct pg_slot *slot)
{
        return slot->call->entry->blob->len - ENVELOPE_PREFIX;
}

/* Takes waiting slots into a statement that is sorted by id. */
static struct pg_statement *
collect(struct list *line, enum pg_query query)
{
        struct pg_slot *slots[LIMIT_L3_BATCH];
        struct pg_statement *st;
        size_t bytes = 0;
        unsigned n = 0;

        list_each (node, line) {
                struct pg_slot *slot = container_of(node, struct pg_slot, link);
                size_t size = slot->call->key.text.len;

                if (slot->call->verb == TIER_WRITE)
                        size += sealed_len(slot);
                if (n == LIMIT_L3_BATCH || (n > 0 && bytes + size > PG_STATEMENT_BYTES))
                        break;
                bytes += size;
                slots[n++] = slot;
        }
        if (n == 0)
                return NULL;
        qsort(slots, n, sizeof *slots, by_id);
        st = pg_statement_new(query, n);
        for (unsigned i = 0; i < n; i++) {
                struct pg_slot *last = st->count > 0 ? st->slots[st->count - 1] : NULL;

                if (query != PG_GET && last != NULL &&
                    memcmp(last->id, slots[i]->id, sizeof last->id) == 0)
                        continue; /* stays in line */
                list_remove(&slots[i]->link);
                slots[i]->st = st;
                slots[i]->at = st->count;
                st->slots[st->count++] = slots[i];
        }
        return st;
}

/* What came instead of an answer. */
static void
settle_rest(struct pg_statement *st, enum pg_end end, enum tier_result nothing_said)
{
        for (unsigned i = 0; i < st->count; i++) {
                struct pg_slot *slot = st->slots[i];

                if (slot == NULL)
                        continue;
                if (end == PG_END_RETRY)
                        pg_slot_again(slot);
                else if (end == PG_END_OK)
                        pg_answer(slot, nothing_said);
                else
                        pg_answer(slot, end == PG_END_LOST ? TIER_DOWN : TIER_FAILED);
        }
        pg_statement_free(st);
}

/* ---- GET ---- */

struct get_row {
        struct bytes key, value;
        int64_t version, size, part;
        bool in_line;
};

static bool
get_row_read(const PGresult *r, int row, struct get_row *out)
{
        if (!field_bytes(r, row, 1, &out->key) || !field_i64(r, row, 2, &out->version) ||
            !field_i64(r, row, 3, &out->size) || out->size < 0)
                return false;
        out->in_line = field_bytes(r, row, 5, &out->value);
        return out->in_line || field_i64(r, row, 4, &out->part);
}

static void
get_answer(struct pg_slot *slot, const struct get_row *row)
{
        uint64_t most = option_number(slot->pg->env->options, O_value_max) + ENVELOPE_ROOM;
        struct blob *blob;

        if (!bytes_equal(slot->call->key.text, row->key))
                return; /* another key of the same hash: absent */
        if (!row->in_line) {
                if ((uint64_t)row->size > most)
                        pg_answer(slot, TIER_FAILED);
                else
                        pg_large_read(slot, row->part, (uint32_t)row->size, (uint64_t)row->version);
                return;
        }
        blob = blob_new(ENVELOPE_PREFIX + row->value.len);
        if (blob == NULL) {
                pg_answer(slot, TIER_FAILED);
                return;
        }
        put_u64(blob->at, (uint64_t)row->version);
        if (row->value.len > 0)
                memcpy(blob->at + ENVELOPE_PREFIX, row->value.at, row->value.len);
        slot->call->found = blob;
        pg_answer(slot, TIER_ANSWERED);
}

static void
get_row(struct pg_statement *st, const PGresult *r, int row)
{
        struct bytes id;
        struct get_row got;
        unsigned low = 0, high = st->count;

        if (!field_bytes(r, row, 0, &id) || id.len != 16 || !get_row_read(r, row, &got))
                return;
        /* The ids stand behind the slots' pointers: slots may be gone meanwhile. */
        while (low < high) {
                unsigned middle = (low + high) / 2;

                if (memcmp(st->ids[middle], id.at, 16) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        for (; low < st->count && memcmp(st->ids[low], id.at, 16) == 0; low++)
                if (st->slots[low] != NULL)
                        get_answer(st->slots[low], &got);
}

static void
get_end(struct pg_statement *st, enum pg_end end)
{
        settle_rest(st, end, TIER_ANSWERED);
}

bool
pg_send_gets(struct postgres *pg)
{
        struct pg_statement *st = collect(&pg->gets, PG_GET);
        struct pg_params *p = &pg->params;

        if (st == NULL)
                return false;
        st->row = get_row;
        st->end = get_end;
        params_reset(p);
        params_array(p, PG_BYTEA, st->count);
        for (unsigned i = 0; i < st->count; i++) {
                memcpy(st->ids[i], st->slots[i]->id, sizeof st->ids[i]);
                params_array_bytes(p, bytes_of(st->slots[i]->id, sizeof st->slots[i]->id));
        }
        params_array_end(p);
        params_i64(p, bigint(pg->env->now_us));
        pg_statement_send(&pg->small, st, p);
        return true;
}

/* ---- WRITE ---- */

static struct pg_slot *
slot_of_row(struct pg_statement *st, const PGresult *r, int row)
{
        int64_t n;

        if (!field_i64(r, row, 0, &n) || n < 1 || n > (int64_t)st->count)
                return NULL;
        return st->slots[n - 1];
}

static void
put_row(struct pg_statement *st, const PGresult *r, int row)
{
        struct pg_slot *slot = slot_of_row(st, r, row);
        struct tier_call *call;
        bool stored, same_origin = false, lived;
        int64_t was = -1;

        if (slot == NULL || !field_bool(r, row, 1, &stored) || !field_bool(r, row, 4, &lived))
                return;
        call = slot->call;
        if (field_i64(r, row, 2, &was) && !field_bool(r, row, 3, &same_origin))
                return;
        if (!stored &&
            was < bigint(call->version)) { /* raced: what is there now was not when we looked */
                pg_slot_again(slot);
                return;
        }
        if (!stored && was == bigint(call->version) && same_origin)
                stored = true;
        call->existed = lived;
        call->outcome = stored ? WRITE_STORED : WRITE_LOST;
        call->found_version = stored ? call->version : (uint64_t)was;
        pg_answer(slot, TIER_ANSWERED);
}

static void
new_row(struct pg_statement *st, const PGresult *r, int row)
{
        struct pg_slot *slot = slot_of_row(st, r, row);
        struct tier_call *call;
        int32_t outcome;
        int64_t stamp, was, clock;
        bool done, lived;

        if (slot == NULL || !field_i32(r, row, 1, &outcome) || !field_bool(r, row, 2, &done) ||
            !field_i64(r, row, 3, &stamp) || !field_i64(r, row, 4, &was) ||
            !field_bool(r, row, 5, &lived) || !field_i64(r, row, 6, &clock))
                return;
        call = slot->call;
        if (outcome == 0 && !done) {
                pg_slot_again(slot);
                return;
        }
        call->existed = lived;
        call->outcome = outcome == 0 ? WRITE_STORED : outcome == 3 ? WRITE_LATE : WRITE_CONFLICT;
        call->found_version = (uint64_t)(outcome == 0 ? stamp : was);
        if (call->outcome == WRITE_LATE)
                pg_clock_learn(slot->pg, clock, st->sent_us);
        pg_answer(slot, TIER_ANSWERED);
}

static void
write_end(struct pg_statement *st, enum pg_end end)
{
        settle_rest(st, end, TIER_FAILED); /* a row for each was due */
}

/* What a NEW write's version is at least, as far as the writer knows. */
static uint64_t
version_floor(const struct tier_call *call)
{
        uint64_t known = call->known_us + 1;
        uint64_t estimate = call->estimate_us > LIMIT_CLOCK_SLACK_US
                                    ? call->estimate_us - LIMIT_CLOCK_SLACK_US
                                    : 0;

        return known > estimate ? known : estimate;
}

enum column {
        ID,
        KEY,
        SPACE,
        VERSION,
        ORIGIN,
        EXPIRES,
        TOMBSTONE,
        VALUE,
        PART,
        SIZE,
        UNTIL,
        EXPECT
};
static const Oid column_types[] = {PG_BYTEA, PG_BYTEA, PG_BYTEA, PG_INT8, PG_INT8, PG_INT8,
                                   PG_BOOL,  PG_BYTEA, PG_INT8,  PG_INT8, PG_INT8, PG_INT8};

static void
column_add(struct pg_params *p, enum column column, const struct pg_slot *slot)
{
        const struct tier_call *call = slot->call;
        const struct meta *meta = &call->entry->meta;
        uint8_t room[PG_NAMESPACE_MAX + 24];

        switch (column) {
        case ID:
                params_array_bytes(p, bytes_of(slot->id, sizeof slot->id));
                break;
        case KEY:
                params_array_bytes(p, call->key.text);
                break;
        case SPACE:
                params_array_bytes(p, pg_space(key_namespace(call->key.text), room));
                break;
        case VERSION:
                params_array_i64(
                        p, bigint(call->kind == WRITE_NEW ? version_floor(call) : call->version));
                break;
        case ORIGIN:
                params_array_i64(p, (int64_t)meta->origin);
                break;
        case EXPIRES:
                params_array_i64(p, bigint(call->keep_until_us));
                break;
        case TOMBSTONE:
                params_array_bool(p, (meta->flags & ENTRY_TOMBSTONE) != 0);
                break;
        case VALUE:
                if (slot->part != 0)
                        params_array_null(p);
                else
                        params_array_bytes(
                                p, bytes_from(blob_bytes(call->entry->blob), ENVELOPE_PREFIX));
                break;
        case PART:
                if (slot->part != 0)
                        params_array_i64(p, slot->part);
                else
                        params_array_null(p);
                break;
        case SIZE:
                params_array_i64(p, (int64_t)sealed_len(slot));
                break;
        case UNTIL:
                params_array_i64(p, bigint(call->until_us));
                break;
        case EXPECT:
                params_array_i64(p, call->expect == EXPECT_ANY ? -1 : bigint(call->expect));
                break;
        }
}

static void
send_writes(struct pg_link *link, struct pg_statement *st)
{
        struct pg_params *p = &link->pg->params;
        unsigned last = st->query == PG_NEW ? EXPECT : SIZE;

        st->row = st->query == PG_NEW ? new_row : put_row;
        st->end = write_end;
        params_reset(p);
        for (unsigned column = 0; column <= last; column++) {
                params_array(p, column_types[column], st->count);
                for (unsigned i = 0; i < st->count; i++)
                        column_add(p, (enum column)column, st->slots[i]);
                params_array_end(p);
        }
        pg_statement_send(link, st, p);
}

bool
pg_send_puts(struct postgres *pg)
{
        struct pg_statement *st = collect(&pg->puts, PG_PUT);

        if (st != NULL)
                send_writes(&pg->small, st);
        return st != NULL;
}

bool
pg_send_news(struct postgres *pg)
{
        struct pg_statement *st = collect(&pg->news, PG_NEW);

        if (st != NULL)
                send_writes(&pg->small, st);
        return st != NULL;
}

void
pg_send_write(struct pg_link *link, struct pg_slot *slot)
{
        struct pg_statement *st =
                pg_statement_new(slot->call->kind == WRITE_NEW ? PG_NEW : PG_PUT, 1);

        slot->st = st;
        slot->at = 0;
        st->slots[st->count++] = slot;
        send_writes(link, st);
}

/* ---- TAKE, FLOORS, RAISE: one call a statement ---- */

static void
other_row(struct pg_statement *st, const PGresult *r, int row)
{
        struct pg_slot *slot = st->slots[0];
        struct bytes name;
        int64_t number;
        uint8_t fixed[8];

        if (slot == NULL)
                return;
        if (st->query == PG_TAKE) {
                if (field_i64(r, row, 0, &number))
                        slot->call->count = (uint64_t)number;
                return;
        }
        if (!field_bytes(r, row, 0, &name) || name.len > UINT16_MAX ||
            !field_i64(r, row, 1, &number))
                return;
        put_u16(fixed, (uint16_t)name.len);
        buf_append(&st->gathered, bytes_of(fixed, 2));
        buf_append(&st->gathered, name);
        put_u64(fixed, (uint64_t)number);
        buf_append(&st->gathered, bytes_of(fixed, 8));
}

static void
other_end(struct pg_statement *st, enum pg_end end)
{
        struct pg_slot *slot = st->slots[0];

        if (slot != NULL && end == PG_END_OK && st->query == PG_FLOORS) {
                slot->call->found = blob_copy(buf_bytes(&st->gathered));
                if (slot->call->found == NULL)
                        end = PG_END_ERROR;
        }
        settle_rest(st, end, TIER_ANSWERED);
}

static void
other_send(struct postgres *pg, struct pg_slot *slot)
{
        const struct tier_call *call = slot->call;
        enum pg_query query = call->verb == TIER_TAKE    ? PG_TAKE
                              : call->verb == TIER_RAISE ? PG_RAISE
                                                         : PG_FLOORS;
        struct pg_statement *st = pg_statement_new(query, 1);
        struct pg_params *p = &pg->params;
        uint8_t room[PG_NAMESPACE_MAX + 24];

        list_remove(&slot->link);
        slot->st = st;
        st->slots[st->count++] = slot;
        st->row = other_row;
        st->end = other_end;
        params_reset(p);
        if (query == PG_TAKE) {
                params_bytes(p, bytes_of(slot->id, sizeof slot->id));
                params_bytes(p, call->key.text);
                params_i64(p, bigint(call->version));
                params_i64(p, (int64_t)call->origin);
        } else if (query == PG_RAISE) {
                params_bytes(p, pg_space(call->name_space, room));
                params_bytes(p, call->name_space);
                params_i64(p, bigint(call->version));
        }
        pg_statement_send(&pg->small, st, p);
}

bool
pg_send_others(struct postgres *pg)
{
        if (list_empty(&pg->others))
                return false;
        other_send(pg, container_of(pg->others.next, struct pg_slot, link));
        return true;
}
