/* redis_sweep: calls that go through many names or fields, a bounded step at a time, on the main
 * connection. FLUSH takes out values and leases, everything or one namespace's; what is written
 * meanwhile may or may not go with it. Names that stand hashed do not tell their namespace: the
 * envelopes' headers do. FLOORS reads the invalidations of whole namespaces. Owns: what it
 * gathered. Limits: about STEP names at a time, FLOORS_BYTES of floors. Deliberately not flushed:
 * invalidations and everything else under {inv}, which outlive the values they speak of. */
#include <stdio.h>

#include "base/mem.h"
#include "io/redis_command.h"
#include "io/redis_state.h"

enum { STEP = 512, FLOORS_STEP = 64, FLOORS_BYTES = 16 << 20, HEADER_BYTES = 32 };

enum sweep_stage { SWEEP_NAMES, SWEEP_HEADERS, SWEEP_VALUES, SWEEP_LEASES };

static void
sweep_deinit(struct redis_op *op)
{
        buf_free(&op->sweep.values);
        buf_free(&op->sweep.leases);
        buf_free(&op->sweep.hashed);
        buf_free(&op->sweep.floors);
}

static void
sweep_begin(struct redis_op *op)
{
        op->sweep = (struct redis_sweep){.cursor = "0"};
        op->deinit = sweep_deinit;
}

/* Takes in the cursor of SCAN or HSCAN; *list is what came with it. */
static bool
cursor_take(struct redis_sweep *s, const struct redis_answer *a, const struct redis_answer **list)
{
        struct bytes cursor = answer_item(a, 0);
        uint64_t number;

        if (a->kind != ANSWER_ARRAY || a->count != 2 || !bytes_to_u64(cursor, &number) ||
            a->items[1] == NULL || a->items[1]->kind != ANSWER_ARRAY)
                return false;
        snprintf(s->cursor, sizeof s->cursor, "%.*s", (int)cursor.len, (const char *)cursor.at);
        *list = a->items[1];
        return true;
}

static bool
cursor_at_end(const struct redis_sweep *s)
{
        return strcmp(s->cursor, "0") == 0;
}

static void
sweep_strange(struct redis_op *op)
{
        redis_op_refused(op, "nonsense");
        redis_op_answer(op, TIER_FAILED);
}

/* ---- FLUSH ---- */

static void
scan_ask(struct redis_op *op)
{
        struct redis_link *l = op->tier->main;
        struct buf pattern = {0};

        for (const char *p = op->tier->config.prefix; *p != '\0'; p++) {
                if (strchr("*?[]\\^-", *p) != NULL)
                        buf_append(&pattern, bytes_str("\\"));
                buf_append(&pattern, bytes_of(p, 1));
        }
        buf_append(&pattern, bytes_str(":[vl]:{*"));
        op->stage = SWEEP_NAMES;
        command_begin(&l->out, 6);
        command_text(&l->out, "SCAN");
        command_text(&l->out, op->sweep.cursor);
        command_text(&l->out, "MATCH");
        command_part(&l->out, buf_bytes(&pattern));
        command_text(&l->out, "COUNT");
        command_number(&l->out, STEP);
        redis_op_ask(op, l);
        buf_free(&pattern);
}

static void
doom(struct buf *parts, size_t *count, struct bytes name)
{
        buf_printf(parts, "$%zu\r\n", name.len);
        buf_append(parts, name);
        buf_append(parts, bytes_str("\r\n"));
        ++*count;
}

/* "PFX:v:{KEY}" or "PFX:l:{KEY}": its kind and its KEY. */
static bool
name_parse(const struct redis_tier *t, struct bytes name, char *kind, struct bytes *key)
{
        size_t prefix = strlen(t->config.prefix);

        if (name.len < prefix + 5 || memcmp(name.at, t->config.prefix, prefix) != 0)
                return false;
        name = bytes_from(name, prefix);
        if (name.at[0] != ':' || name.at[2] != ':' || name.at[3] != '{' ||
            name.at[name.len - 1] != '}')
                return false;
        *kind = (char)name.at[1];
        *key = bytes_of(name.at + 4, name.len - 5);
        return *kind == 'v' || *kind == 'l';
}

static void
header_ask(struct redis_op *op, struct bytes name)
{
        struct redis_link *l = op->tier->main;
        uint8_t len[2];

        put_u16(len, (uint16_t)name.len);
        buf_append(&op->sweep.hashed, bytes_of(len, sizeof len));
        buf_append(&op->sweep.hashed, name);
        command_begin(&l->out, 4);
        command_text(&l->out, "GETRANGE");
        command_part(&l->out, name);
        command_number(&l->out, 0);
        command_number(&l->out, HEADER_BYTES - 1);
        redis_op_ask(op, l);
}

static void
name_judge(struct redis_op *op, struct bytes name)
{
        struct redis_sweep *s = &op->sweep;
        struct bytes wanted = op->call->name_space, key;
        char kind;

        if (!name_parse(op->tier, name, &kind, &key))
                return;
        if (wanted.at != NULL && key.len > 0 && key.at[0] == '#') {
                if (kind == 'v' && name.len <= UINT16_MAX)
                        header_ask(op, name); /* its lease goes with it */
                return;
        }
        if (wanted.at != NULL && !bytes_equal(key_namespace(key), wanted))
                return;
        if (kind == 'v')
                doom(&s->values, &s->values_count, name);
        else
                doom(&s->leases, &s->leases_count, name);
}

static void
unlink_ask(struct redis_op *op, struct buf *parts, size_t *count)
{
        struct redis_link *l = op->tier->main;

        command_begin(&l->out, *count + 1);
        command_text(&l->out, "UNLINK");
        chain_append(&l->out, buf_bytes(parts));
        redis_op_ask(op, l);
        buf_consume(parts, parts->len);
        *count = 0;
}

/* Everything of this step is known: out with it, then the next step. */
static void
sweep_on(struct redis_op *op)
{
        struct redis_sweep *s = &op->sweep;

        if (s->values_count > 0) {
                op->stage = SWEEP_VALUES;
                unlink_ask(op, &s->values, &s->values_count);
        } else if (s->leases_count > 0) {
                op->stage = SWEEP_LEASES;
                unlink_ask(op, &s->leases, &s->leases_count);
        } else if (!cursor_at_end(s)) {
                scan_ask(op);
        } else {
                op->call->count = s->count;
                redis_op_answer(op, TIER_ANSWERED);
        }
}

/* The header of the next hashed name. */
static void
header_take(struct redis_op *op, const struct redis_answer *a)
{
        struct redis_sweep *s = &op->sweep;
        const uint8_t *at = s->hashed.at + s->hashed_at;
        struct bytes name = bytes_of(at + 2, get_u16(at));
        struct bytes header = bytes_from(a->text, ENVELOPE_PREFIX);

        s->hashed_at += 2 + name.len;
        if (a->kind != ANSWER_STRING || a->text.len != HEADER_BYTES ||
            memcmp(header.at, "PNEV", 4) != 0 || header.at[ENVELOPE_AT_FORMAT] != ENVELOPE_FORMAT ||
            get_u64(header.at + ENVELOPE_AT_NAMESPACE) != s->name_space_hash)
                return;
        doom(&s->values, &s->values_count, name);
        /* The same name with 'l'. */
        doom(&s->leases, &s->leases_count, name);
        s->leases.at[s->leases.len - 2 - name.len + strlen(op->tier->config.prefix) + 1] = 'l';
}

static void
flush_step(struct redis_op *op, struct redis_answer *a)
{
        struct redis_sweep *s = &op->sweep;
        const struct redis_answer *names;

        switch ((enum sweep_stage)op->stage) {
        case SWEEP_NAMES:
                if (!cursor_take(s, a, &names)) {
                        sweep_strange(op);
                        return;
                }
                buf_consume(&s->hashed, s->hashed.len);
                s->hashed_at = 0;
                for (size_t i = 0; i < names->count; i++)
                        name_judge(op, answer_item(names, i));
                op->stage = SWEEP_HEADERS;
                break;
        case SWEEP_HEADERS:
                header_take(op, a);
                break;
        case SWEEP_VALUES:
                if (a->kind == ANSWER_INTEGER && a->integer > 0)
                        s->count += (uint64_t)a->integer;
                break;
        case SWEEP_LEASES:
                break;
        }
        if (op->slots == 0)
                sweep_on(op);
}

void
redis_flush_start(struct redis_op *op)
{
        sweep_begin(op);
        op->step = flush_step;
        if (op->call->name_space.at != NULL)
                op->sweep.name_space_hash = namespace_hash(op->call->name_space);
        scan_ask(op);
}

/* ---- FLOORS ---- */

static void
floors_ask(struct redis_op *op)
{
        struct redis_link *l = op->tier->main;
        struct buf name = {0};

        buf_printf(&name, "%s:t:{inv}", op->tier->config.prefix);
        command_begin(&l->out, 7);
        command_text(&l->out, "HSCAN");
        command_part(&l->out, buf_bytes(&name));
        command_text(&l->out, op->sweep.cursor);
        command_text(&l->out, "MATCH");
        command_text(&l->out, "n:*");
        command_text(&l->out, "COUNT");
        command_number(&l->out, FLOORS_STEP);
        redis_op_ask(op, l);
        buf_free(&name);
}

static void
floor_append(struct buf *out, struct bytes name, uint64_t version)
{
        uint8_t number[8];

        put_u16(number, (uint16_t)name.len);
        buf_append(out, bytes_of(number, 2));
        buf_append(out, name);
        put_u64(number, version);
        buf_append(out, bytes_of(number, 8));
}

static void
floors_step(struct redis_op *op, struct redis_answer *a)
{
        struct redis_sweep *s = &op->sweep;
        const struct redis_answer *fields;

        if (!cursor_take(s, a, &fields) || s->floors.len > FLOORS_BYTES) {
                sweep_strange(op);
                return;
        }
        for (size_t i = 0; i + 1 < fields->count; i += 2) {
                struct bytes field = answer_item(fields, i);
                uint64_t version;

                if (field.len >= 2 && field.at[0] == 'n' && field.at[1] == ':' &&
                    field.len - 2 <= UINT16_MAX &&
                    bytes_to_u64(answer_item(fields, i + 1), &version))
                        floor_append(&s->floors, bytes_from(field, 2), version);
        }
        if (!cursor_at_end(s)) {
                floors_ask(op);
                return;
        }
        if (s->floors.len > 0 && (op->call->found = blob_copy(buf_bytes(&s->floors))) == NULL)
                redis_op_answer(op, TIER_FAILED);
        else
                redis_op_answer(op, TIER_ANSWERED);
}

void
redis_floors_start(struct redis_op *op)
{
        sweep_begin(op);
        op->step = floors_step;
        floors_ask(op);
}
