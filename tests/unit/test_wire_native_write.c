/* Writing the native protocol's bytes: every canonical vector is written back as it stands; and
 * sizes at the limits, both ways. */
#include "native_vectors.h"

static struct bytes
nothing(void)
{
        return (struct bytes){NULL, 0};
}

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
        cr_assert_eq(native_fields_read(item.fields, UINT64_MAX, &fields, &fault), OK);
        cr_expect_gt(native_text(&fields, NATIVE_F_ERROR).len, 500);
        drop(bytes);
}

Test(native, names_its_ops)
{
        cr_expect_str_eq(native_op_name(NATIVE_OP_MGET), "MGET");
        cr_expect_str_eq(native_op_name(0), "?");
        cr_expect_str_eq(native_op_name(255), "?");
}
