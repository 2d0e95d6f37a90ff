/* libpannier and large values: uploads by credit, replies in chunks, LZ4, batches with some of
 * each; small requests pass between. */
#include <lz4.h>

#include "test_client_fake.h"

static const pn_opts usual = PN_OPTS_INIT;

/* Takes a chunk of an upload, checks it against the value, and tells how far it reaches. */
static uint64_t
take_chunk(struct fake *f, uint64_t id, struct bytes value, uint64_t offset)
{
        struct native_frame frame = {0};
        struct native_fault fault;
        struct native_chunk chunk;
        size_t n;

        cr_assert(fake_peek(f, &frame, &n), "no chunk came at %" PRIu64, offset);
        cr_assert_eq(frame.op, NATIVE_OP_CHUNK, "%s at %" PRIu64, native_op_name(frame.op), offset);
        cr_assert_eq(frame.id, id);
        cr_assert_eq(native_chunk_read(&frame, &chunk, &fault), OK);
        cr_assert_eq(chunk.index, 0);
        cr_assert_eq(chunk.offset, offset);
        cr_assert_leq(offset + chunk.data.len, value.len);
        cr_assert_eq(memcmp(chunk.data.at, value.at + offset, chunk.data.len), 0);
        cr_assert_eq((frame.flags & NATIVE_MORE) != 0, offset + chunk.data.len < value.len);
        offset += chunk.data.len;
        fake_took(f, n);
        return offset;
}

/* Takes the SET that announces a value. */
static uint64_t
take_declaration(struct fake *f, uint64_t length)
{
        struct native_frame frame = {0};
        struct native_fields fields;
        struct native_fault fault;
        struct native_item item;
        size_t n;

        cr_assert(fake_peek(f, &frame, &n));
        cr_assert_eq(frame.op, NATIVE_OP_SET);
        cr_assert_eq(frame.flags, NATIVE_MORE);
        cr_assert_eq(native_body_read(frame.body, &item, &fault), OK);
        cr_assert_eq(native_fields_read(item.fields, UINT64_MAX, &fields, &fault), OK);
        cr_assert_eq(native_number(&fields, NATIVE_F_LENGTH, 0), length);
        cr_assert_eq(item.value.len, 0);
        cr_assert_eq(item.key.len, 1);
        fake_took(f, n);
        return frame.id;
}

static void
answer_set(struct fake *f, uint64_t id, unsigned status)
{
        fake_reply(f, (struct native_head){id, (uint16_t)status, NATIVE_OP_SET, 0}, NULL, none());
}

Test(client_large, the_longest_value_in_its_place_and_one_more)
{
        struct bytes value = noise(NATIVE_CHUNK_MAX + 1);
        struct native_frame frame = {0};
        struct fake f;
        uint64_t id;
        size_t n;

        fake_begin(&f, usual);
        cr_assert_eq(pn_append_set(f.c, "k", 1, value.at, NATIVE_CHUNK_MAX, NULL, &id), PN_OK);
        cr_assert(fake_peek(&f, &frame, &n));
        cr_assert(frame.op == NATIVE_OP_SET && frame.flags == 0 && n > NATIVE_CHUNK_MAX);
        fake_took(&f, n);
        answer_set(&f, id, NATIVE_OK);
        expect_reply(&f, id, PN_OK, NULL);
        cr_assert_eq(pn_append_set(f.c, "k", 1, value.at, value.len, NULL, &id), PN_OK);
        cr_assert_eq(take_declaration(&f, value.len), id);
        cr_assert_eq(take_chunk(&f, id, value, 0), NATIVE_CHUNK_MAX);
        cr_assert_eq(take_chunk(&f, id, value, NATIVE_CHUNK_MAX), value.len);
        expect_none(&f);
        answer_set(&f, id, NATIVE_OK);
        expect_reply(&f, id, PN_OK, NULL);
        fake_end(&f);
        forget(value);
}

Test(client_large, an_upload_stops_where_its_credit_ends)
{
        struct bytes value = noise(3 * MIB + 5);
        uint64_t at = 0, id, get;
        struct fake f;

        fake_begin(&f, usual);
        cr_assert_eq(pn_append_set(f.c, "k", 1, value.at, value.len, NULL, &id), PN_OK);
        take_declaration(&f, value.len);
        while (at < NATIVE_CREDIT_FIRST)
                at = take_chunk(&f, id, value, at);
        fake_expect_nothing(&f);
        get = ask_get(&f, "x"); /* a small one passes */
        fake_hit(&f, get, "v");
        expect_reply(&f, get, PN_HIT, NULL);
        fake_credit(&f, id, 7);
        at = take_chunk(&f, id, value, at);
        cr_assert_eq(at, NATIVE_CREDIT_FIRST + 7);
        fake_expect_nothing(&f);
        fake_credit(&f, id, UINT32_MAX);
        fake_credit(&f, id, UINT32_MAX);
        while (at < value.len)
                at = take_chunk(&f, id, value, at);
        fake_credit(&f, id, 1); /* it crossed the last chunk */
        answer_set(&f, id, NATIVE_OK);
        expect_reply(&f, id, PN_OK, NULL);
        fake_expect_nothing(&f);
        fake_end(&f);
        forget(value);
}

/* The server said that it takes two at a time: the third waits. */
Test(client_large, uploads_wait_their_turn)
{
        struct bytes value = noise(2 * MIB);
        uint64_t ids[3], at[2] = {0, 0};
        struct fake f;

        fake_begin(&f, usual);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(pn_append_set(f.c, "k", 1, value.at, value.len, NULL, &ids[i]), PN_OK);
        cr_assert_eq(take_declaration(&f, value.len), ids[0]);
        cr_assert_eq(take_declaration(&f, value.len), ids[1]);
        while (at[0] < MIB || at[1] < MIB) { /* they take turns */
                int i = at[0] <= at[1] ? 0 : 1;

                at[i] = take_chunk(&f, ids[i], value, at[i]);
        }
        fake_expect_nothing(&f);
        answer_set(&f, ids[0], 23); /* refused half-way: its place is free */
        expect_reply(&f, ids[0], PN_ERROR, NULL);
        cr_assert_eq(take_declaration(&f, value.len), ids[2]);
        pn_cancel(f.c, ids[2]);
        for (bool cancelled = false; !cancelled;) { /* behind what was on its way */
                struct native_frame frame = {0};
                size_t n;

                cr_assert(fake_peek(&f, &frame, &n));
                cr_assert_eq(frame.id, ids[2]);
                cancelled = frame.op == NATIVE_OP_CANCEL;
                fake_took(&f, n);
        }
        fake_expect_nothing(&f);
        fake_end(&f);
        forget(value);
}

/* One that nobody waits for any more before its turn came was never heard of. */
Test(client_large, an_upload_cancelled_in_the_queue_sends_nothing)
{
        struct bytes value = noise(2 * MIB);
        uint64_t ids[3], at = 0;
        struct fake f;

        fake_begin(&f, usual);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(pn_append_set(f.c, "k", 1, value.at, value.len, NULL, &ids[i]), PN_OK);
        pn_cancel(f.c, ids[1]);
        cr_assert_eq(take_declaration(&f, value.len), ids[0]);
        cr_assert_eq(take_declaration(&f, value.len), ids[2]);
        while (at < MIB) {
                take_chunk(&f, ids[0], value, at);
                at = take_chunk(&f, ids[2], value, at);
        }
        fake_expect_nothing(&f);
        cr_expect_eq(pn_pending(f.c), 2);
        fake_end(&f);
        forget(value);
}

/* ---- replies ---- */

static void
announce(struct fake *f, uint64_t id, uint64_t length, uint64_t raw)
{
        uint8_t room[32];
        struct native_block b = native_block_of(room, sizeof room);

        native_put_number(&b, NATIVE_F_LENGTH, length);
        if (raw != 0)
                native_put_number(&b, NATIVE_F_RAW_LENGTH, raw);
        fake_reply(f, (struct native_head){id, NATIVE_HIT, NATIVE_OP_GET, NATIVE_MORE}, &b, none());
}

/* Sends a value as a server does: never more than the client has given credit for. */
static void
send_by_credit(struct fake *f, uint64_t id, struct bytes value)
{
        uint64_t credit = NATIVE_CREDIT_FIRST, at = 0;

        while (at < value.len) {
                struct bytes part = bytes_from(value, at);

                if (credit == 0) {
                        struct native_frame frame = {0};
                        struct native_fault fault;
                        uint32_t bytes;
                        size_t n;

                        cr_assert(fake_peek(f, &frame, &n), "no credit at %" PRIu64, at);
                        cr_assert(frame.op == NATIVE_OP_CREDIT && frame.id == id);
                        cr_assert_eq(native_credit_read(frame.body, &bytes, &fault), OK);
                        fake_took(f, n);
                        credit += bytes;
                        continue;
                }
                part.len = part.len < 100000 ? part.len : 100000;
                part.len = part.len < credit ? part.len : credit;
                fake_chunk(f, id, 0, at, part, at + part.len < value.len);
                credit -= part.len;
                at += part.len;
        }
}

Test(client_large, a_value_in_chunks)
{
        static const size_t lengths[] = {1,       NATIVE_CHUNK_MAX + 1, MIB - 1, MIB,
                                         MIB + 1, 5 * MIB + 3};
        struct fake f;

        fake_begin(&f, usual);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
                struct bytes value = noise(lengths[i]);
                uint64_t id = ask_get(&f, "k"), other;
                pn_reply r;

                announce(&f, id, value.len, 0);
                expect_none(&f);
                other = ask_get(&f, "x");
                fake_hit(&f, other, "small");
                expect_reply(&f, other, PN_HIT, NULL);
                send_by_credit(&f, id, value);
                expect_reply(&f, id, PN_HIT, &r);
                cr_assert(r.len == value.len && memcmp(r.data, value.at, r.len) == 0);
                pn_reply_free(&r);
                forget(value);
        }
        fake_end(&f);
}

Test(client_large, a_value_that_ends_early_is_none)
{
        static const struct {
                uint16_t status;
                pn_status ours;
        } ends[] = {{NATIVE_CANCELLED, PN_CANCELLED},
                    {NATIVE_SHED, PN_SHED},
                    {36, PN_TIMEOUT},
                    {31, PN_ERROR}};
        struct fake f;

        fake_begin(&f, usual);
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
                uint64_t id = ask_get(&f, "k");
                struct chain out = {0};
                pn_reply r;

                announce(&f, id, 100, 0);
                fake_chunk(&f, id, 0, 0, bytes_str("half of it"), true);
                native_chunk_write(&out,
                                   (struct native_head){.id = id,
                                                        .status = ends[i].status,
                                                        .flags = NATIVE_REPLY},
                                   0, 10, NULL, none());
                fake_send_chain(&f, &out);
                expect_reply(&f, id, ends[i].ours, &r);
                cr_expect_eq(r.len, 0);
                pn_reply_free(&r);
        }
        cr_expect_geq(pn_fd(f.c), 0);
        fake_end(&f);
}

/* ---- LZ4 ---- */

static struct bytes
packed(struct bytes raw)
{
        int room = LZ4_compressBound((int)raw.len);
        char *at = mem_alloc((size_t)room);
        int n = LZ4_compress_default((const char *)raw.at, at, (int)raw.len, room);

        cr_assert_gt(n, 0);
        return bytes_of(at, (size_t)n);
}

static void
send_packed(struct fake *f, uint64_t id, struct bytes block, uint64_t raw)
{
        uint8_t room[16];
        struct native_block b = native_block_of(room, sizeof room);

        native_put_number(&b, NATIVE_F_RAW_LENGTH, raw);
        fake_reply(f, (struct native_head){id, NATIVE_HIT, NATIVE_OP_GET, 0}, &b, block);
}

Test(client_large, packed_values_are_unpacked)
{
        uint8_t *text = mem_zalloc(400000);
        struct bytes raw = bytes_of(text, 400000), block, random = noise(300000), random_block;
        pn_opts opts = usual;
        struct fake f;
        uint64_t id;
        pn_reply r;

        memset(text, 'x', 1000);
        opts.flags = PN_LZ4;
        fake_begin(&f, opts);
        block = packed(raw);
        id = ask_get(&f, "k");
        send_packed(&f, id, block, raw.len);
        expect_reply(&f, id, PN_HIT, &r);
        cr_expect(r.len == raw.len && memcmp(r.data, raw.at, raw.len) == 0);
        pn_reply_free(&r);
        random_block = packed(random); /* a block that comes in chunks */
        id = ask_get(&f, "k");
        announce(&f, id, random_block.len, random.len);
        send_by_credit(&f, id, random_block);
        expect_reply(&f, id, PN_HIT, &r);
        cr_expect(r.len == random.len && memcmp(r.data, random.at, random.len) == 0);
        pn_reply_free(&r);
        forget(random);
        forget(random_block);
        forget(block);
        mem_free(text);
        fake_end(&f);
}

Test(client_large, a_block_that_lies_about_its_length)
{
        struct bytes raw =
                bytes_str("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        static const uint64_t lies[] = {1, 63, 65, 1000000, INT32_MAX, UINT64_MAX};
        struct bytes block = packed(raw);
        pn_opts opts = usual;
        struct fake f;

        opts.flags = PN_LZ4;
        fake_begin(&f, opts);
        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
                uint64_t id = ask_get(&f, "k");
                pn_reply r;

                send_packed(&f, id, block, lies[i]);
                expect_reply(&f, id, PN_ERROR, &r);
                cr_expect_eq(r.len, 0);
                pn_reply_free(&r);
        }
        for (size_t i = 0; i < block.len; i++) { /* a damaged one: any answer but a crash */
                uint64_t id = ask_get(&f, "k");
                uint8_t *copy = mem_alloc(block.len);

                memcpy(copy, block.at, block.len);
                copy[i] ^= 0xFF;
                send_packed(&f, id, bytes_of(copy, block.len), raw.len);
                cr_assert_neq(pn_wait(f.c, id, NULL), PN_AGAIN);
                mem_free(copy);
        }
        cr_expect_geq(pn_fd(f.c), 0);
        forget(block);
        fake_end(&f);
}

/* ---- batches ---- */

static void
put_item(struct chain *items, unsigned status, uint64_t length, const char *value)
{
        uint8_t room[16];
        struct native_block b = native_block_of(room, sizeof room);

        if (length != 0)
                native_put_number(&b, NATIVE_F_LENGTH, length);
        native_item_write(items, (uint16_t)status, &b, none(), NULL, bytes_str(value));
}

static uint64_t
ask_three(struct fake *f)
{
        const pn_bytes keys[] = {{"a", 1}, {"b", 1}, {"c", 1}};
        uint64_t id;

        cr_assert_eq(pn_append_mget(f->c, keys, 3, &id), PN_OK);
        cr_assert_eq(fake_expect(f, NATIVE_OP_MGET), id);
        return id;
}

static void
answer_batch(struct fake *f, uint64_t id, uint8_t flags, uint32_t count, struct chain *items)
{
        struct chain out = {0};

        native_batch_write(&out,
                           (struct native_head){id, NATIVE_OK, NATIVE_OP_MGET,
                                                (uint8_t)(NATIVE_REPLY | flags)},
                           NULL, count, items);
        chain_free(items);
        fake_send_chain(f, &out);
}

Test(client_large, a_batch_with_small_large_and_missing_values)
{
        struct chain items = {0};
        struct fake f;
        uint64_t id;
        pn_reply r;

        fake_begin(&f, usual);
        id = ask_three(&f);
        put_item(&items, NATIVE_HIT, 6, "");
        put_item(&items, NATIVE_MISS, 0, "");
        put_item(&items, NATIVE_STALE, 3, "");
        answer_batch(&f, id, NATIVE_MORE, 3, &items);
        fake_chunk(&f, id, 0, 0, bytes_str("abc"), true);
        fake_chunk(&f, id, 0, 3, bytes_str("def"), true);
        expect_none(&f);
        fake_chunk(&f, id, 2, 0, bytes_str("xyz"), false);
        expect_reply(&f, id, PN_OK, &r);
        cr_assert_eq(r.item_count, 3);
        cr_expect(r.items[0].status == PN_HIT && value_is(&r.items[0], "abcdef"));
        cr_expect(r.items[1].status == PN_MISS && value_is(&r.items[1], ""));
        cr_expect(r.items[2].status == PN_STALE && value_is(&r.items[2], "xyz"));
        pn_reply_free(&r);
        id = ask_three(&f); /* ends early: what is whole stays */
        put_item(&items, NATIVE_HIT, 3, "");
        put_item(&items, NATIVE_HIT, 0, "here");
        put_item(&items, NATIVE_HIT, 3, "");
        answer_batch(&f, id, NATIVE_MORE, 3, &items);
        fake_chunk(&f, id, 0, 0, bytes_str("abc"), true);
        native_chunk_write(&items,
                           (struct native_head){.id = id, .status = 36, .flags = NATIVE_REPLY}, 2,
                           0, NULL, none());
        fake_send_chain(&f, &items);
        expect_reply(&f, id, PN_OK, &r);
        cr_expect(value_is(&r.items[0], "abc") && value_is(&r.items[1], "here"));
        cr_expect(r.items[2].status == PN_TIMEOUT && r.items[2].len == 0);
        pn_reply_free(&r);
        fake_end(&f);
}

Test(client_large, batches_that_lie)
{
        for (int lie = 0; lie < 3; lie++) {
                struct chain items = {0};
                struct fake f;
                uint64_t id;

                fake_begin(&f, usual);
                id = ask_three(&f);
                put_item(&items, NATIVE_HIT, 0, "a");
                put_item(&items, NATIVE_HIT, 0, "b");
                if (lie == 1)
                        put_item(&items, NATIVE_HIT, 0, "c");
                if (lie == 1)
                        put_item(&items, NATIVE_HIT, 0, "d");
                answer_batch(&f, id, 0, lie == 0 ? 2 : 3, &items);
                cr_expect_eq(pn_fd(f.c), -1, "lie %d", lie);
                expect_reply(&f, id, PN_UNAVAILABLE, NULL);
                fake_end(&f);
        }
}

/* Announced lengths cost no memory, and their sum has a limit. */
Test(client_large, a_batch_longer_than_four_values_is_refused)
{
        struct chain items = {0};
        pn_opts opts = usual;
        pn_bytes keys[5];
        struct fake f;
        uint64_t id;

        opts.value_max = MIB;
        fake_begin(&f, opts);
        for (int i = 0; i < 5; i++)
                keys[i] = (pn_bytes){"k", 1};
        cr_assert_eq(pn_append_mget(f.c, keys, 5, &id), PN_OK);
        fake_expect(&f, NATIVE_OP_MGET);
        for (int i = 0; i < 5; i++)
                put_item(&items, NATIVE_HIT, MIB, "");
        answer_batch(&f, id, NATIVE_MORE, 5, &items);
        expect_reply(&f, id, PN_ERROR, NULL);
        cr_assert_eq(fake_expect(&f, NATIVE_OP_CANCEL), id);
        cr_assert_eq(pn_append_mget(f.c, keys, 1, &id), PN_OK);
        fake_expect(&f, NATIVE_OP_MGET);
        put_item(&items, NATIVE_HIT, MIB + 1, "");
        answer_batch(&f, id, NATIVE_MORE, 1, &items);
        expect_reply(&f, id, PN_ERROR, NULL);
        cr_assert_eq(fake_expect(&f, NATIVE_OP_CANCEL), id);
        fake_end(&f);
}
