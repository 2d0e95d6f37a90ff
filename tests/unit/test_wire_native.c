/* Reading the native protocol's bytes: every vector of proto/vectors/native.jsonl, whole, one byte
 * at a time, cut short everywhere; and random bytes. */
#include "base/prng.h"
#include "native_vectors.h"

#define EVERY_FIELD UINT64_MAX

/* ---- what a server or a client reads of a frame, in one go ---- */

/* What an operation honours, as proto/native.md says it. */
static uint64_t
honoured_by(unsigned op, bool reply)
{
        uint64_t value = NATIVE_BIT(TTL) | NATIVE_BIT(GRACE) | NATIVE_BIT(COST) |
                         NATIVE_BIT(COMPUTE) | NATIVE_BIT(CONFIDENCE) | NATIVE_BIT(TAG) |
                         NATIVE_BIT(CODEC) | NATIVE_BIT(CONDITION) | NATIVE_BIT(DEADLINE);

        if (reply)
                return EVERY_FIELD;
        switch (op) {
        case NATIVE_OP_HELLO:
                return NATIVE_BIT(PROTOCOL) | NATIVE_BIT(FEATURES) | NATIVE_BIT(NAME);
        case NATIVE_OP_FLUSH:
                return NATIVE_BIT(TIERS) | NATIVE_BIT(NAMESPACE);
        case NATIVE_OP_SET:
                return value | NATIVE_BIT(LENGTH);
        case NATIVE_OP_MSET:
                return value;
        case NATIVE_OP_EXPIRE:
                return NATIVE_BIT(TTL) | NATIVE_BIT(DEADLINE);
        default:
                return NATIVE_BIT(DEADLINE) | NATIVE_BIT(WAIT) | NATIVE_BIT(LEASE) |
                       NATIVE_BIT(PRIORITY);
        }
}

static bool
is_batch(unsigned op)
{
        return op == NATIVE_OP_MGET || op == NATIVE_OP_MSET || op == NATIVE_OP_MDEL;
}

/* Reads all there is in a body; which part refused it is *where. */
static enum err
read_all(const struct native_frame *f, const char **where, struct native_fault *fault)
{
        bool reply = (f->flags & NATIVE_REPLY) != 0;
        struct native_fields fields;
        struct native_chunk chunk;
        struct native_item item;
        struct bytes items;
        uint32_t n;
        enum err e;

        *where = "chunk";
        if (f->op == NATIVE_OP_CHUNK)
                return native_chunk_read(f, &chunk, fault);
        *where = "credit";
        if (f->op == NATIVE_OP_CREDIT)
                return native_credit_read(f->body, &n, fault);
        *where = "item";
        e = native_body_read(f->body, &item, fault);
        if (e != OK)
                return e;
        *where = "field";
        e = native_fields_read(item.fields, honoured_by(f->op, reply), &fields, fault);
        if (e != OK || !is_batch(f->op))
                return e;
        *where = "batch";
        e = native_batch_read(item.value, &n, &items, fault);
        for (uint32_t i = 0; e == OK && i < n; i++) {
                e = native_item_read(&items, &item, fault);
                if (e == OK)
                        e = native_fields_read(item.fields, honoured_by(f->op, reply), &fields,
                                               fault);
        }
        if (e == OK && items.len > 0) {
                *fault = (struct native_fault){"bytes follow the last item", 0};
                return ERR_PROTOCOL;
        }
        return e;
}

/* ---- vectors ---- */

static enum native_side
reader_of(const json_t *v)
{
        return strcmp(text_of(v, "direction"), "reply") == 0 ? NATIVE_CLIENT : NATIVE_SERVER;
}

static void
expect_fields(const char *name, struct bytes block, uint64_t honoured, const json_t *want)
{
        struct native_fields fields;
        struct native_fault fault;
        uint64_t wanted = 0;
        size_t tag_at = 0, i;
        json_t *pair;

        cr_assert_eq(native_fields_read(block, honoured, &fields, &fault), OK, "%s", name);
        json_array_foreach(want, i, pair)
        {
                const char *content = json_string_value(json_array_get(pair, 1));
                bool number;
                enum native_field type =
                        field_named(json_string_value(json_array_get(pair, 0)), &number);

                wanted |= UINT64_C(1) << type;
                if (number)
                        cr_expect_eq(native_number(&fields, type, 0), strtoull(content, NULL, 10),
                                     "%s: field %d", name, type);
                else if (type == NATIVE_F_TAG)
                        cr_expect(same_as_hex(native_tag(&fields, &tag_at), content), "%s", name);
                else
                        cr_expect(same_as_hex(native_text(&fields, type), content), "%s", name);
        }
        cr_expect_eq(fields.seen, wanted, "%s", name);
        if ((wanted & NATIVE_BIT(TAG)) != 0)
                cr_expect_null(native_tag(&fields, &tag_at).at, "%s: no tag after the last", name);
}

static void
expect_item(const char *name, const struct native_item *item, uint64_t honoured, const json_t *want)
{
        cr_expect_eq(item->status, json_integer_value(json_object_get(want, "status")), "%s", name);
        cr_expect(same_as_hex(item->key, text_of(want, "key")), "%s", name);
        cr_expect(same_as_hex(item->value, text_of(want, "value")), "%s", name);
        expect_fields(name, item->fields, honoured, json_object_get(want, "fields"));
}

static void
expect_contents(const json_t *v, const struct native_frame *f)
{
        const char *name = text_of(v, "name");
        uint64_t honoured = honoured_by(f->op, (f->flags & NATIVE_REPLY) != 0);
        struct native_fault fault;
        struct native_item item;
        struct native_chunk chunk;
        struct bytes items;
        json_t *want = json_object_get(v, "chunk");
        uint32_t n;

        if (want != NULL) {
                cr_assert_eq(native_chunk_read(f, &chunk, &fault), OK, "%s", name);
                cr_expect_eq(chunk.index, strtoull(text_of(want, "index"), NULL, 10), "%s", name);
                cr_expect_eq(chunk.offset, strtoull(text_of(want, "offset"), NULL, 10), "%s", name);
                cr_expect(same_as_hex(chunk.data, text_of(want, "data")), "%s", name);
                return;
        }
        if (json_object_get(v, "credit") != NULL) {
                cr_assert_eq(native_credit_read(f->body, &n, &fault), OK, "%s", name);
                cr_expect_eq(n, strtoull(text_of(v, "credit"), NULL, 10), "%s", name);
                return;
        }
        cr_assert_eq(native_body_read(f->body, &item, &fault), OK, "%s", name);
        expect_item(name, &item, honoured, json_object_get(v, "item"));
        want = json_object_get(v, "items");
        if (want == NULL)
                return;
        cr_assert_eq(native_batch_read(item.value, &n, &items, &fault), OK, "%s", name);
        cr_assert_eq(n, json_array_size(want), "%s", name);
        for (uint32_t i = 0; i < n; i++) {
                cr_assert_eq(native_item_read(&items, &item, &fault), OK, "%s", name);
                expect_item(name, &item, honoured, json_array_get(want, i));
        }
        cr_expect_eq(items.len, 0, "%s", name);
}

static void
expect_refusal(const json_t *v, const struct native_frame *f)
{
        const char *name = text_of(v, "name"), *part = text_of(v, "malformed"), *where = "";
        struct native_fault fault = {NULL, 0};
        enum err e = read_all(f, &where, &fault);
        json_int_t refused;

        if (*part != '\0') {
                cr_expect_eq(e, ERR_PROTOCOL, "%s", name);
                cr_expect_str_eq(where, part, "%s: %s", name, fault.what);
                cr_expect_leq(fault.at, f->body.len, "%s", name);
                return;
        }
        /* Unknown ops, keys and times are for the executing side to refuse: the bytes are sound. */
        refused = json_integer_value(json_object_get(v, "refused"));
        cr_expect_eq(e, refused == err_status(ERR_BAD_ARGUMENT) ? ERR_BAD_ARGUMENT : OK, "%s",
                     name);
}

static void
run_vector(const json_t *v, struct bytes in)
{
        const char *name = text_of(v, "name");
        struct native_fault fault = {NULL, 0};
        struct native_frame f;
        size_t n = 0;
        enum native_read got = native_decode(in, reader_of(v), &f, &n, &fault);

        if (json_is_true(json_object_get(v, "incomplete"))) {
                cr_expect_eq(got, NATIVE_NEED, "%s", name);
                cr_expect_gt(n, 0, "%s", name);
                return;
        }
        if (strcmp(text_of(v, "malformed"), "header") == 0) {
                cr_expect_eq(got, NATIVE_BAD, "%s", name);
                cr_expect_not_null(fault.what, "%s", name);
                cr_expect_lt(fault.at, NATIVE_HEADER_BYTES, "%s", name);
                return;
        }
        cr_assert_eq(got, NATIVE_COMPLETE, "%s", name);
        cr_expect_eq(n, in.len, "%s", name);
        if (json_object_get(v, "refused") != NULL || json_object_get(v, "malformed") != NULL) {
                expect_refusal(v, &f);
                return;
        }
        cr_expect_eq(f.op, json_integer_value(json_object_get(v, "op")), "%s", name);
        cr_expect_eq(f.flags, json_integer_value(json_object_get(v, "flags")), "%s", name);
        cr_expect_eq(f.status, json_integer_value(json_object_get(v, "status")), "%s", name);
        cr_expect_eq(f.id, strtoull(text_of(v, "id"), NULL, 10), "%s", name);
        expect_contents(v, &f);
}

Test(native, reads_every_vector)
{
        size_t count, i;
        json_t *all = vectors(&count), *v;

        json_array_foreach(all, i, v)
        {
                struct bytes in = unhex(text_of(v, "hex"));

                run_vector(v, in);
                drop(in);
        }
        json_decref(all);
}

/* However the bytes arrive, what is missing is named so that it is enough to wait for that. */
Test(native, says_what_is_missing_at_every_byte)
{
        size_t count, i;
        json_t *all = vectors(&count), *v;

        json_array_foreach(all, i, v)
        {
                struct bytes in = unhex(text_of(v, "hex"));
                bool cut = json_object_get(v, "incomplete") != NULL ||
                           strcmp(text_of(v, "malformed"), "header") == 0;
                size_t wrong = 0;

                for (size_t len = 0; len < in.len && !cut; len++) {
                        size_t n = 0;
                        size_t want = len < NATIVE_HEADER_BYTES ? NATIVE_HEADER_BYTES : in.len;
                        struct native_fault fault;
                        struct native_frame f;
                        enum native_read got =
                                native_decode(bytes_of(in.at, len), reader_of(v), &f, &n, &fault);

                        wrong += got != NATIVE_NEED || n != want - len;
                }
                cr_expect_eq(wrong, 0, "%s", text_of(v, "name"));
                drop(in);
        }
        json_decref(all);
}

/* A body that is cut anywhere, its header corrected, is refused or read, never read beyond. */
Test(native, survives_every_truncation)
{
        size_t count, i;
        json_t *all = vectors(&count), *v;

        json_array_foreach(all, i, v)
        {
                struct bytes whole = unhex(text_of(v, "hex"));

                for (size_t len = NATIVE_HEADER_BYTES; len < whole.len && len < 4096; len++) {
                        uint8_t *cut = mem_alloc(len);
                        struct native_fault fault;
                        struct native_frame f;
                        const char *where;
                        size_t n;

                        memcpy(cut, whole.at, len);
                        put_u32(cut, (uint32_t)(len - NATIVE_HEADER_BYTES));
                        if (native_decode(bytes_of(cut, len), reader_of(v), &f, &n, &fault) ==
                            NATIVE_COMPLETE) {
                                enum err e = read_all(&f, &where, &fault);

                                if (len > NATIVE_HEADER_BYTES && f.op != NATIVE_OP_CHUNK &&
                                    json_is_true(json_object_get(v, "canonical")))
                                        cr_expect_neq(e, OK, "%s cut to %zu", text_of(v, "name"),
                                                      len);
                        }
                        mem_free(cut);
                }
                drop(whole);
        }
        json_decref(all);
}

/* ---- chance ---- */

/* Bytes of a stranger: random, or a vector with some of its bytes changed. */
Test(native, survives_random_bytes)
{
        size_t count;
        json_t *all = vectors(&count);
        struct prng prng = {20260101};
        unsigned sound = 0, refused = 0, silent = 0;

        for (unsigned round = 0; round < 60000; round++) {
                const json_t *v = json_array_get(all, prng_below(&prng, count));
                struct bytes whole = unhex(text_of(v, "hex"));
                size_t len = whole.len < 600 ? whole.len : 600;
                uint8_t *in = mem_alloc(len == 0 ? 1 : len);
                struct native_fault fault = {NULL, 0};
                struct native_frame f;
                const char *where;
                size_t n;

                memcpy(in, whole.at, len);
                drop(whole);
                for (uint64_t changes = prng_below(&prng, 6); changes > 0 && len > 0; changes--)
                        in[prng_below(&prng, len)] = (uint8_t)prng_next(&prng);
                if (len >= NATIVE_HEADER_BYTES)
                        put_u32(in, (uint32_t)(len - NATIVE_HEADER_BYTES));
                if (native_decode(bytes_of(in, len), NATIVE_CLIENT, &f, &n, &fault) ==
                    NATIVE_COMPLETE) {
                        enum err e = read_all(&f, &where, &fault);

                        sound += e == OK;
                        refused += e != OK;
                        silent += e != OK && fault.what == NULL;
                }
                mem_free(in);
        }
        cr_expect_eq(silent, 0, "what is refused is said");
        cr_expect_gt(sound, 1000);
        cr_expect_gt(refused, 1000);
        json_decref(all);
}
