/* The native protocol's bytes: every vector of proto/vectors/native.jsonl (whole, one byte at a
 * time, cut short everywhere, and written back), sizes at the limits, and random bytes. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/prng.h"
#include "wire/native.h"

#define EVERY_FIELD UINT64_MAX

static struct bytes
nothing(void)
{
        return (struct bytes){NULL, 0};
}

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

static json_t *
vectors(size_t *count)
{
        char path[512], *line = NULL;
        const char *here = strstr(__FILE__, "tests/unit/");
        json_t *all = json_array();
        size_t room = 0;
        FILE *file;

        cr_assert_not_null(here);
        snprintf(path, sizeof path, "%.*sproto/vectors/native.jsonl", (int)(here - __FILE__),
                 __FILE__);
        file = fopen(path, "r");
        cr_assert_not_null(file, "%s is not there", path);
        while (getline(&line, &room, file) > 0) {
                json_t *one = json_loads(line, 0, NULL);

                cr_assert_not_null(one, "%s", line);
                json_array_append_new(all, one);
        }
        free(line);
        fclose(file);
        *count = json_array_size(all);
        cr_assert_gt(*count, 90);
        return all;
}

static const char *
text_of(const json_t *v, const char *member)
{
        const char *text = json_string_value(json_object_get(v, member));

        return text != NULL ? text : "";
}

/* The bytes of a hex string, in a block of exactly that size: ASan sees every step too far. */
static struct bytes
unhex(const char *hex)
{
        size_t len = strlen(hex) / 2;
        uint8_t *at = mem_alloc(len == 0 ? 1 : len);

        for (size_t i = 0; i < len; i++) {
                const char digits[] = {hex[2 * i], hex[2 * i + 1], '\0'};

                at[i] = (uint8_t)strtoul(digits, NULL, 16);
        }
        return bytes_of(at, len);
}

static void
drop(struct bytes b)
{
        mem_free((void *)(uintptr_t)b.at);
}

static bool
same_as_hex(struct bytes b, const char *hex)
{
        struct bytes want = unhex(hex);
        bool same = bytes_equal(b, want);

        drop(want);
        return same;
}

static enum native_side
reader_of(const json_t *v)
{
        return strcmp(text_of(v, "direction"), "reply") == 0 ? NATIVE_CLIENT : NATIVE_SERVER;
}

static enum native_field
field_named(const char *name, bool *number)
{
        enum { TEXT, NUMBER };
#define FIELD(field, type, kind, critical)  \
        if (strcmp(name, #field) == 0) {    \
                *number = (kind) == NUMBER; \
                return NATIVE_F_##field;    \
        }
        NATIVE_FIELDS(FIELD)
#undef FIELD
        cr_assert_fail("no field %s", name);
        return 0;
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
        /* Unknown ops, keys and times are for the executing side to refuse: those bytes are sound. */
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

/* ---- writing ---- */

static struct bytes
flat(struct chain *c)
{
        uint8_t *at = mem_alloc(c->bytes == 0 ? 1 : c->bytes);
        struct iovec iov[64];
        size_t len = 0;
        int n;

        while ((n = chain_iovecs(c, iov, 64)) > 0) {
                size_t sent = 0;

                for (int i = 0; i < n; i++) {
                        memcpy(at + len + sent, iov[i].iov_base, iov[i].iov_len);
                        sent += iov[i].iov_len;
                }
                len += sent;
                chain_sent(c, sent);
        }
        chain_free(c);
        return bytes_of(at, len);
}

static struct native_block
fields_from(const json_t *item, uint8_t *room, size_t cap)
{
        struct native_block b = native_block_of(room, cap);
        json_t *pair;
        size_t i;

        json_array_foreach(json_object_get(item, "fields"), i, pair)
        {
                const char *content = json_string_value(json_array_get(pair, 1));
                bool number;
                enum native_field type =
                        field_named(json_string_value(json_array_get(pair, 0)), &number);

                if (number) {
                        native_put_number(&b, type, strtoull(content, NULL, 10));
                } else {
                        struct bytes text = unhex(content);

                        native_put_text(&b, type, text);
                        drop(text);
                }
        }
        cr_assert_not(b.full);
        return b;
}

static void
write_batch(struct chain *out, struct native_head head, const struct native_block *fields,
            const json_t *items)
{
        struct chain chain = {0};
        json_t *item;
        size_t i;

        json_array_foreach(items, i, item)
        {
                uint8_t room[4096];
                struct native_block own = fields_from(item, room, sizeof room);
                struct bytes key = unhex(text_of(item, "key")),
                             value = unhex(text_of(item, "value"));

                native_item_write(&chain,
                                  (uint16_t)json_integer_value(json_object_get(item, "status")),
                                  &own, key, NULL, value);
                drop(key);
                drop(value);
        }
        native_batch_write(out, head, fields, (uint32_t)json_array_size(items), &chain);
        cr_expect_eq(chain.bytes, 0);
        chain_free(&chain);
}

static void
write_vector(struct chain *out, const json_t *v)
{
        struct native_head head = {
                .id = strtoull(text_of(v, "id"), NULL, 10),
                .status = (uint16_t)json_integer_value(json_object_get(v, "status")),
                .op = (uint8_t)json_integer_value(json_object_get(v, "op")),
                .flags = (uint8_t)json_integer_value(json_object_get(v, "flags")),
        };
        json_t *item = json_object_get(v, "item"), *chunk = json_object_get(v, "chunk");
        json_t *items = json_object_get(v, "items");
        uint8_t room[4096];
        struct native_block fields = fields_from(item, room, sizeof room);
        struct bytes key = unhex(text_of(item, "key"));
        struct bytes value =
                unhex(text_of(chunk != NULL ? chunk : item, chunk != NULL ? "data" : "value"));

        if (chunk != NULL)
                native_chunk_write(out, head, (uint32_t)strtoul(text_of(chunk, "index"), NULL, 10),
                                   strtoull(text_of(chunk, "offset"), NULL, 10), NULL, value);
        else if (json_object_get(v, "credit") != NULL)
                native_credit_write(out, head, (uint32_t)strtoul(text_of(v, "credit"), NULL, 10));
        else if (items != NULL)
                write_batch(out, head, &fields, items);
        else
                native_write(out, head, &fields, key, NULL, value);
        drop(key);
        drop(value);
}

Test(native, writes_every_canonical_vector)
{
        size_t count, i, written = 0;
        json_t *all = vectors(&count), *v;

        json_array_foreach(all, i, v)
        {
                struct chain out = {0};
                struct bytes bytes;

                if (!json_is_true(json_object_get(v, "canonical")))
                        continue;
                write_vector(&out, v);
                bytes = flat(&out);
                cr_expect(same_as_hex(bytes, text_of(v, "hex")), "%s", text_of(v, "name"));
                drop(bytes);
                written++;
        }
        cr_expect_gt(written, 50);
        json_decref(all);
}

Test(native, writes_a_pinned_value_without_copying_it)
{
        struct blob *blob = blob_new(NATIVE_CHUNK_MAX);
        struct native_head head = {
                .op = NATIVE_OP_GET, .flags = NATIVE_REPLY, .status = NATIVE_HIT};
        struct chain out = {0};
        struct native_fault fault;
        struct native_frame f;
        struct native_item item;
        struct bytes bytes;
        size_t n;

        cr_assert_not_null(blob);
        memset(blob->at, 'v', blob->len);
        native_write(&out, head, NULL, nothing(), blob, blob_bytes(blob));
        cr_expect_eq(blob->refs, 2);
        bytes = flat(&out);
        cr_expect_eq(blob->refs, 1);
        cr_assert_eq(native_decode(bytes, NATIVE_CLIENT, &f, &n, &fault), NATIVE_COMPLETE);
        cr_assert_eq(native_body_read(f.body, &item, &fault), OK);
        cr_expect(bytes_equal(item.value, blob_bytes(blob)));
        drop(bytes);
        blob_unref(blob);
}

/* ---- limits ---- */

Test(native, takes_a_body_at_the_limit_and_none_beyond)
{
        uint8_t header[NATIVE_HEADER_BYTES] = {0};
        struct native_fault fault;
        struct native_frame f;
        size_t n;

        header[4] = NATIVE_OP_GET;
        put_u64(header + 8, 77);
        put_u32(header, NATIVE_BODY_MAX);
        cr_expect_eq(native_decode(bytes_of(header, sizeof header), NATIVE_SERVER, &f, &n, &fault),
                     NATIVE_NEED);
        cr_expect_eq(n, NATIVE_BODY_MAX);
        put_u32(header, NATIVE_BODY_MAX + 1);
        cr_expect_eq(native_decode(bytes_of(header, sizeof header), NATIVE_SERVER, &f, &n, &fault),
                     NATIVE_BAD);
        cr_expect_eq(f.id, 77, "the refusal names the request");
        cr_expect_eq(f.op, NATIVE_OP_GET);
}

Test(native, takes_chunks_at_the_limit_and_none_beyond)
{
        uint8_t *body = mem_zalloc(NATIVE_CHUNK_BYTES + NATIVE_CHUNK_MAX + 1);
        struct native_frame f = {.op = NATIVE_OP_CHUNK};
        struct native_fault fault;
        struct native_chunk chunk;

        f.body = bytes_of(body, NATIVE_CHUNK_BYTES + NATIVE_CHUNK_MAX);
        cr_assert_eq(native_chunk_read(&f, &chunk, &fault), OK);
        cr_expect_eq(chunk.data.len, NATIVE_CHUNK_MAX);
        f.body.len++;
        cr_expect_eq(native_chunk_read(&f, &chunk, &fault), ERR_PROTOCOL);
        mem_free(body);
}

Test(native, takes_batches_at_the_limit_and_none_beyond)
{
        size_t len = 4 + (NATIVE_BATCH_MAX + 1) * NATIVE_ITEM_BYTES;
        uint8_t *batch = mem_zalloc(len);
        struct native_fault fault;
        struct bytes items;
        uint32_t n;

        put_u32(batch, NATIVE_BATCH_MAX);
        cr_expect_eq(native_batch_read(bytes_of(batch, len), &n, &items, &fault), OK);
        cr_expect_eq(n, NATIVE_BATCH_MAX);
        put_u32(batch, NATIVE_BATCH_MAX + 1);
        cr_expect_eq(native_batch_read(bytes_of(batch, len), &n, &items, &fault), ERR_BAD_ARGUMENT);
        mem_free(batch);
}

Test(native, says_when_fields_do_not_fit_the_room)
{
        uint8_t room[16];
        struct native_block b = native_block_of(room, 10);

        native_put_number(&b, NATIVE_F_TTL, 1);
        cr_expect_eq(b.len, 5);
        native_put_number(&b, NATIVE_F_GRACE, 256);
        cr_expect(b.full, "5 + 6 bytes into 10");
        cr_expect_eq(b.len, 5, "what did not fit left nothing behind");
        b.full = false;
        native_put_number(&b, NATIVE_F_GRACE, 255);
        cr_expect_not(b.full, "exactly 10");
        native_put_text(&b, NATIVE_F_TAG, nothing());
        cr_expect(b.full, "no room even for a head");
}

Test(native, writes_numbers_in_the_shortest_of_1_2_4_8_bytes)
{
        static const struct {
                uint64_t number;
                size_t len;
        } cases[] = {{0, 1},
                     {255, 1},
                     {256, 2},
                     {65535, 2},
                     {65536, 4},
                     {UINT32_MAX, 4},
                     {UINT64_C(1) << 32, 8},
                     {UINT64_MAX, 8}};

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                uint8_t room[16];
                struct native_block b = native_block_of(room, sizeof room);
                struct native_fields f;
                struct native_fault fault;

                native_put_number(&b, NATIVE_F_VERSION, cases[i].number);
                cr_expect_eq(b.len, NATIVE_FIELD_BYTES + cases[i].len);
                cr_assert_eq(
                        native_fields_read(bytes_of(b.at, b.len), NATIVE_BIT(VERSION), &f, &fault),
                        OK);
                cr_expect_eq(native_number(&f, NATIVE_F_VERSION, 1), cases[i].number);
                cr_expect_eq(native_number(&f, NATIVE_F_AGE, 1), 1, "absent");
        }
}

Test(native, cuts_an_error_that_is_too_long)
{
        char text[4096];
        struct native_head head = {.op = NATIVE_OP_GET, .flags = NATIVE_REPLY, .status = 22};
        struct native_fields fields;
        struct native_fault fault;
        struct native_frame f;
        struct native_item item;
        struct chain out = {0};
        struct bytes bytes;
        size_t n;

        memset(text, 'e', sizeof text);
        native_error_write(&out, head, bytes_of(text, sizeof text));
        bytes = flat(&out);
        cr_assert_eq(native_decode(bytes, NATIVE_CLIENT, &f, &n, &fault), NATIVE_COMPLETE);
        cr_assert_eq(native_body_read(f.body, &item, &fault), OK);
        cr_assert_eq(native_fields_read(item.fields, EVERY_FIELD, &fields, &fault), OK);
        cr_expect_gt(native_text(&fields, NATIVE_F_ERROR).len, 500);
        drop(bytes);
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

Test(native, names_its_ops)
{
        cr_expect_str_eq(native_op_name(NATIVE_OP_MGET), "MGET");
        cr_expect_str_eq(native_op_name(0), "?");
        cr_expect_str_eq(native_op_name(255), "?");
}
