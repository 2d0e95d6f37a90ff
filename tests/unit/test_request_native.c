/* Native requests on the real engine, over simulated tiers and time: HELLO, one key, batches, what
 * is refused. What proto/native.md promises, from the bytes in to the bytes out. */
#include <stdio.h>

#include "tests/unit/native_client.h"

/* ---- hello ---- */

Test(native_session, agrees_on_version_and_features)
{
        struct chain c = {0};
        uint8_t room[64];
        struct native_block b = native_block_of(room, sizeof room);
        struct reply r;

        world(false);
        chain_append(&c, bytes_of(native_preface, NATIVE_PREFACE_BYTES));
        native_put_number(&b, NATIVE_F_PROTOCOL, 300);
        native_put_number(&b, NATIVE_F_FEATURES, UINT64_MAX);
        native_write(&c, (struct native_head){.op = NATIVE_OP_HELLO, .id = 5}, &b, none(), NULL,
                     none());
        say_chain(&c);
        r = expect(5, NATIVE_OK);
        cr_expect_eq(number(&r, NATIVE_F_PROTOCOL), 1);
        cr_expect_eq(number(&r, NATIVE_F_FEATURES), NATIVE_LZ4);
        cr_expect_eq(number(&r, NATIVE_F_VALUE_MAX), 64 * MIB);
        cr_expect_eq(number(&r, NATIVE_F_KEY_MAX), 65536);
        cr_expect_eq(number(&r, NATIVE_F_BODY_MAX), MIB);
        cr_expect_eq(number(&r, NATIVE_F_CHUNK_MAX), 262144);
        cr_expect_eq(number(&r, NATIVE_F_CREDIT_FIRST), MIB);
        cr_expect_eq(number(&r, NATIVE_F_BATCH_MAX), 4096);
        cr_expect_eq(number(&r, NATIVE_F_UPLOADS_MAX), 2);
        cr_expect_eq(number(&r, NATIVE_F_UPLOAD_IDLE), 10 * SECOND);
        cr_expect_eq(strncmp((const char *)native_text(&r.fields, NATIVE_F_NAME).at, "pannier ", 8),
                     0);
        cr_expect_not(talk.s.closing);
        end();
}

Test(native_session, refuses_a_second_hello_and_stays)
{
        uint8_t room[16];
        struct native_block b = native_block_of(room, sizeof room);

        world(false);
        hello(0);
        cr_expect_str_eq(talk.s.name, "a_test");
        native_put_number(&b, NATIVE_F_PROTOCOL, 1);
        ask(NATIVE_OP_HELLO, 2, &b, "", none());
        expect(2, 22);
        cr_expect_not(talk.s.closing);
        end();
}

Test(native_session, closes_without_hello_or_a_common_version)
{
        world(false);
        say(bytes_of(native_preface, NATIVE_PREFACE_BYTES));
        ask(NATIVE_OP_PING, 9, NULL, "", none());
        expect(9, 26);
        cr_expect(talk.s.closing);
        end();

        world(false);
        say(bytes_of(native_preface, NATIVE_PREFACE_BYTES));
        ask(NATIVE_OP_HELLO, 9, NULL, "", none());
        expect(9, 26);
        cr_expect(talk.s.closing);
        end();
}

/* ---- one key ---- */

Test(native_session, sets_gets_expires_and_deletes)
{
        struct bytes value = bytes_of("x\r\n\0y", 5);
        uint8_t room[128];
        struct native_block b = native_block_of(room, sizeof room);
        struct reply r;
        uint64_t version;

        world(false);
        hello(0);
        ask_get(1, "ns:k");
        expect(1, NATIVE_MISS);
        native_put_number(&b, NATIVE_F_TTL, 10 * SECOND);
        native_put_number(&b, NATIVE_F_GRACE, 5 * SECOND);
        native_put_number(&b, NATIVE_F_COST, 2100);
        native_put_number(&b, NATIVE_F_COMPUTE, 41000);
        native_put_number(&b, NATIVE_F_CONFIDENCE, 60000);
        native_put_number(&b, NATIVE_F_CODEC, 3);
        native_put_text(&b, NATIVE_F_TAG, bytes_str("a-tag"));
        ask(NATIVE_OP_SET, 2, &b, "ns:k", value);
        r = expect(2, NATIVE_OK);
        version = number(&r, NATIVE_F_VERSION);
        cr_expect_gt(version, 0);
        cr_expect_eq(number(&r, NATIVE_F_REACHED), 1);
        run(SECOND);
        ask_get(3, "ns:k");
        r = expect(3, NATIVE_HIT);
        cr_expect(bytes_equal(r.item.value, value));
        cr_expect_eq(number(&r, NATIVE_F_TIER), 1);
        cr_expect_eq(number(&r, NATIVE_F_VERSION), version);
        cr_expect_eq(number(&r, NATIVE_F_AGE), SECOND);
        cr_expect_eq(number(&r, NATIVE_F_SOFT), 9 * SECOND);
        cr_expect_eq(number(&r, NATIVE_F_HARD), 14 * SECOND);
        cr_expect_eq(number(&r, NATIVE_F_COST), 2100);
        cr_expect_eq(number(&r, NATIVE_F_COMPUTE), 41000);
        cr_expect_eq(number(&r, NATIVE_F_CONFIDENCE), 60000);
        cr_expect_eq(number(&r, NATIVE_F_CODEC), 3);
        run(11 * SECOND);
        ask_get(4, "ns:k");
        r = expect(4, NATIVE_STALE);
        cr_expect_eq(number(&r, NATIVE_F_SOFT), 0);
        cr_expect_eq(number(&r, NATIVE_F_HARD), 3 * SECOND);
        b = native_block_of(room, sizeof room);
        native_put_number(&b, NATIVE_F_TTL, 60 * SECOND);
        ask(NATIVE_OP_EXPIRE, 5, &b, "ns:k", none());
        expect(5, NATIVE_OK);
        ask_get(6, "ns:k");
        r = expect(6, NATIVE_HIT);
        cr_expect_eq(number(&r, NATIVE_F_HARD), 60 * SECOND);
        cr_expect_eq(number(&r, NATIVE_F_CODEC), 3);
        ask(NATIVE_OP_EXPIRE, 7, NULL, "ns:k", none());
        expect(7, NATIVE_OK);
        ask_get(8, "ns:k");
        r = expect(8, NATIVE_HIT);
        cr_expect_eq(number(&r, NATIVE_F_HARD), UINT64_MAX, "absent: never");
        ask(NATIVE_OP_DEL, 9, NULL, "ns:k", none());
        expect(9, NATIVE_OK);
        ask(NATIVE_OP_DEL, 10, NULL, "ns:k", none());
        expect(10, NATIVE_MISS);
        ask(NATIVE_OP_EXPIRE, 11, NULL, "ns:k", none());
        expect(11, NATIVE_MISS);
        ask_get(12, "ns:k");
        expect(12, NATIVE_MISS);
        end();
}

Test(native_session, keeps_conditions)
{
        struct bytes value = bytes_str("v");
        uint8_t room[16];
        struct native_block nx = native_block_of(room, 8), xx = native_block_of(room + 8, 8);

        world(false);
        hello(0);
        native_put_number(&nx, NATIVE_F_CONDITION, NATIVE_NX);
        native_put_number(&xx, NATIVE_F_CONDITION, NATIVE_XX);
        ask(NATIVE_OP_SET, 1, &xx, "k", value);
        expect(1, NATIVE_NOT_MET);
        ask(NATIVE_OP_SET, 2, &nx, "k", value);
        expect(2, NATIVE_OK);
        ask(NATIVE_OP_SET, 3, &nx, "k", value);
        expect(3, NATIVE_NOT_MET);
        ask(NATIVE_OP_SET, 4, &xx, "k", value);
        expect(4, NATIVE_OK);
        nx = native_block_of(room, 8);
        native_put_number(&nx, NATIVE_F_CONDITION, NATIVE_NX | NATIVE_XX);
        ask(NATIVE_OP_SET, 5, &nx, "k", value);
        expect(5, 22);
        end();
}

/* The promise of request ids: a hit does not wait for the miss before it. */
Test(native_session, answers_a_hit_before_the_miss_that_came_first)
{
        struct reply r;

        world(true);
        hello(0);
        ask_set(1, "hot", bytes_str("v"));
        run(100 * MS);
        r = expect(1, NATIVE_OK);
        cr_expect_eq(number(&r, NATIVE_F_REACHED), 3);
        ask_get(2, "cold");
        ask_get(3, "hot");
        expect(3, NATIVE_HIT);
        expect_nothing();
        run(100 * MS);
        expect(2, NATIVE_MISS);
        expect_nothing();
        end();
}

Test(native_session, refuses_and_stays_usable)
{
        struct blob *big = noise(NATIVE_CHUNK_MAX + 1, 1);
        char *key = mem_zalloc(65538);
        uint8_t room[32];
        struct native_block b = native_block_of(room, sizeof room);

        world(false);
        hello(0);
        ask_get(1, "");
        expect(1, 25);
        memset(key, 'k', 65537);
        ask_get(2, key);
        expect(2, 24);
        key[65536] = '\0';
        ask_set(3, key, bytes_str("of a key of 64 KiB"));
        expect(3, NATIVE_OK);
        ask_get(4, key);
        expect(4, NATIVE_HIT);
        ask(77, 5, NULL, "k", none());
        expect(5, 18);
        ask_set(6, "k", blob_bytes(big));
        expect(6, 22);
        talk.w.server[0].options.value[O_value_max].number = 100;
        ask_set(7, "k", bytes_of(big->at, 101));
        cr_expect(says(&(struct reply[]){expect(7, 23)}[0], "100"));
        ask_set(8, "k", bytes_of(big->at, 100));
        expect(8, NATIVE_OK);
        native_put_number(&b, NATIVE_F_TTL, 0);
        ask(NATIVE_OP_SET, 9, &b, "k", none());
        expect(9, 21);
        b = native_block_of(room, sizeof room);
        native_put_number(&b, NATIVE_F_DEADLINE, 0);
        ask(NATIVE_OP_GET, 10, &b, "k", none());
        expect(10, 22);
        ask(NATIVE_OP_INFO, 11, NULL, "no-such-section", none());
        expect(11, 35);
        cr_expect_not(talk.s.closing);
        mem_free(key);
        blob_unref(big);
        end();
}

Test(native_session, pings_informs_and_flushes)
{
        uint8_t room[32];
        struct native_block b = native_block_of(room, sizeof room);
        struct reply r;

        world(false);
        hello(0);
        ask(NATIVE_OP_PING, 1, NULL, "", bytes_str("hello"));
        r = expect(1, NATIVE_OK);
        cr_expect(bytes_equal(r.item.value, bytes_str("hello")));
        ask(NATIVE_OP_INFO, 2, NULL, "server", none());
        r = expect(2, NATIVE_OK);
        cr_expect_not_null(memmem(r.item.value.at, r.item.value.len, "server_name:pannier", 19));
        ask(NATIVE_OP_TIERS, 3, NULL, "", none());
        r = expect(3, NATIVE_OK);
        cr_expect_not_null(memmem(r.item.value.at, r.item.value.len, "# Tiers", 7));
        ask_set(4, "a:1", bytes_str("v"));
        ask_set(5, "b:1", bytes_str("v"));
        expect(4, NATIVE_OK);
        expect(5, NATIVE_OK);
        native_put_number(&b, NATIVE_F_TIERS, 1);
        native_put_text(&b, NATIVE_F_NAMESPACE, bytes_str("a"));
        ask(NATIVE_OP_FLUSH, 6, &b, "", none());
        r = expect(6, NATIVE_OK);
        cr_expect_eq(number(&r, NATIVE_F_COUNT), 1);
        ask_get(7, "a:1");
        expect(7, NATIVE_MISS);
        ask_get(8, "b:1");
        expect(8, NATIVE_HIT);
        ask(NATIVE_OP_FLUSH, 9, NULL, "", none());
        expect(9, NATIVE_OK);
        ask_get(10, "b:1");
        expect(10, NATIVE_MISS);
        b = native_block_of(room, sizeof room);
        native_put_number(&b, NATIVE_F_TIERS, 8);
        ask(NATIVE_OP_FLUSH, 11, &b, "", none());
        expect(11, 22);
        end();
}

Test(native_session, says_bye_last)
{
        world(true);
        hello(0);
        ask_get(1, "cold");
        ask(NATIVE_OP_BYE, 2, NULL, "", none());
        ask_get(3, "cold");
        expect_nothing();
        cr_expect_not(talk.s.closing);
        run(100 * MS);
        expect(1, NATIVE_MISS);
        expect(2, NATIVE_OK);
        expect_nothing();
        cr_expect(talk.s.closing);
        end();
}

/* ---- batches ---- */

Test(native_session, answers_each_item_of_a_batch)
{
        struct blob *big = noise(NATIVE_CHUNK_MAX + 1, 1);
        struct chain items = {0};
        uint8_t room[16];
        struct native_block b = native_block_of(room, sizeof room);
        struct native_fields fields;
        struct native_item item;
        struct bytes in;
        struct reply r;

        world(false);
        hello(0);
        native_put_number(&b, NATIVE_F_CONDITION, NATIVE_XX);
        put_item(&items, NULL, "a", bytes_str("1"));
        put_item(&items, NULL, "", bytes_str("no key"));
        put_item(&items, &b, "b", bytes_str("only if present"));
        put_item(&items, NULL, "c", blob_bytes(big));
        put_item(&items, NULL, "d", none());
        ask_batch(NATIVE_OP_MSET, 1, 5, &items);
        r = expect(1, NATIVE_OK);
        in = expect_batch(&r, 5);
        take_item(&in, &fields, NATIVE_OK);
        cr_expect_eq(native_number(&fields, NATIVE_F_REACHED, 0), 1);
        take_item(&in, &fields, 25);
        cr_expect_gt(native_text(&fields, NATIVE_F_ERROR).len, 0);
        take_item(&in, &fields, NATIVE_NOT_MET);
        take_item(&in, &fields, 22);
        take_item(&in, &fields, NATIVE_OK);

        put_item(&items, NULL, "d", none());
        put_item(&items, NULL, "b", none());
        put_item(&items, NULL, "a", none());
        put_item(&items, NULL, "a", none());
        ask_batch(NATIVE_OP_MGET, 2, 4, &items);
        r = expect(2, NATIVE_OK);
        in = expect_batch(&r, 4);
        item = take_item(&in, &fields, NATIVE_HIT);
        cr_expect_eq(item.value.len, 0);
        take_item(&in, &fields, NATIVE_MISS);
        item = take_item(&in, &fields, NATIVE_HIT);
        cr_expect(bytes_equal(item.value, bytes_str("1")));
        item = take_item(&in, &fields, NATIVE_HIT);
        cr_expect(bytes_equal(item.value, bytes_str("1")));

        put_item(&items, NULL, "a", none());
        put_item(&items, NULL, "b", none());
        ask_batch(NATIVE_OP_MDEL, 3, 2, &items);
        r = expect(3, NATIVE_OK);
        in = expect_batch(&r, 2);
        take_item(&in, &fields, NATIVE_OK);
        take_item(&in, &fields, NATIVE_MISS);

        ask_batch(NATIVE_OP_MGET, 4, 0, &items);
        r = expect(4, NATIVE_OK);
        expect_batch(&r, 0);
        blob_unref(big);
        end();
}

/* Values that find no room in the batch's frame follow it, item by item, by credit. */
Test(native_session, sends_what_a_batch_has_no_room_for_in_chunks)
{
        enum { COUNT = 30, EACH = 100 * 1024 };
        struct blob *values[COUNT];
        struct chain items = {0};
        struct buf got = {0}, want = {0};
        struct bytes in;
        struct reply r;
        unsigned apart = 0, chunks = 0;
        struct native_frame f;

        world(false);
        hello(0);
        for (unsigned i = 0; i < COUNT; i++) {
                char key[16];

                snprintf(key, sizeof key, "k%u", i);
                values[i] = noise(EACH + i, i);
                ask_set(100 + i, key, blob_bytes(values[i]));
                expect(100 + i, NATIVE_OK);
                put_item(&items, NULL, key, none());
        }
        ask_batch(NATIVE_OP_MGET, 1, COUNT, &items);
        r = expect(1, NATIVE_OK);
        cr_assert_leq(r.frame.body.len, NATIVE_BODY_MAX);
        cr_assert((r.frame.flags & NATIVE_MORE) != 0);
        in = expect_batch(&r, COUNT);
        for (unsigned i = 0; i < COUNT; i++) {
                struct native_fields fields;
                struct native_item item = take_item(&in, &fields, NATIVE_HIT);

                if ((fields.seen & NATIVE_BIT(LENGTH)) != 0) {
                        cr_assert_eq(native_number(&fields, NATIVE_F_LENGTH, 0), EACH + i);
                        cr_assert_eq(item.value.len, 0);
                        buf_append(&want, blob_bytes(values[i]));
                        apart++;
                } else {
                        cr_assert(bytes_equal(item.value, blob_bytes(values[i])));
                }
        }
        cr_assert_eq(apart, COUNT - 10, "ten of 100 KiB fit in a MiB");
        for (bool more = true; more;) {
                struct native_fault fault;
                struct native_chunk chunk;

                if (!next(&f)) {
                        give_credit(1, 300000);
                        cr_assert(next(&f), "credit brings more");
                }
                cr_assert_eq(native_chunk_read(&f, &chunk, &fault), OK);
                buf_append(&got, chunk.data);
                more = (f.flags & NATIVE_MORE) != 0;
                chunks++;
        }
        cr_expect(bytes_equal(buf_bytes(&got), buf_bytes(&want)));
        cr_expect_geq(chunks, apart);
        expect_nothing();
        for (unsigned i = 0; i < COUNT; i++)
                blob_unref(values[i]);
        buf_free(&got);
        buf_free(&want);
        end();
}

/* However full the frame is, the heads of all items keep their room. */
Test(native_session, answers_the_longest_batch_in_one_frame)
{
        enum { LARGE = 12 };
        struct blob *value = noise(100 * 1024, 1);
        struct chain items = {0};
        struct native_fields fields;
        struct bytes in;
        struct reply r;

        world(false);
        hello(0);
        ask_set(1, "large", blob_bytes(value));
        expect(1, NATIVE_OK);
        ask_set(2, "small", bytes_str("v"));
        expect(2, NATIVE_OK);
        for (unsigned i = 0; i < NATIVE_BATCH_MAX; i++)
                put_item(&items, NULL, i < LARGE ? "large" : "small", none());
        ask_batch(NATIVE_OP_MGET, 3, NATIVE_BATCH_MAX, &items);
        r = expect(3, NATIVE_OK);
        cr_assert_leq(r.frame.body.len, NATIVE_BODY_MAX);
        in = expect_batch(&r, NATIVE_BATCH_MAX);
        for (unsigned i = 0; i < NATIVE_BATCH_MAX; i++) {
                struct native_item item = take_item(&in, &fields, NATIVE_HIT);

                if (i >= LARGE)
                        cr_assert_eq(item.value.len, 1);
        }
        blob_unref(value);
        end();
}
