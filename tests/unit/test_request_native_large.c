/* Large values of the native protocol on the real engine: chunks, credit, uploads and replies that
 * end early, what they are charged to; and LZ4. */
#include <lz4.h>

#include "tests/unit/native_client.h"

static void
passes_unchanged(size_t len, uint32_t credit)
{
        struct blob *value = noise(len, len);
        struct buf got = {0};
        struct reply r;
        bool done;

        upload(1, "k", value);
        run(SECOND);
        if (len > NATIVE_CREDIT_FIRST) {
                struct native_frame f;

                cr_assert(next(&f), "the server gives credit");
                cr_assert_eq(f.op, NATIVE_OP_CREDIT);
                cr_assert_eq(f.flags, NATIVE_REPLY | NATIVE_MORE);
                cr_assert_eq(get_u32(f.body.at), len - NATIVE_CREDIT_FIRST);
        }
        expect(1, NATIVE_OK);
        ask_get(2, "k");
        r = expect(2, NATIVE_HIT);
        cr_assert_eq(number(&r, NATIVE_F_LENGTH), len);
        cr_assert((r.frame.flags & NATIVE_MORE) != 0);
        done = take_chunks(2, 0, &got);
        cr_assert_eq(done, len <= NATIVE_CREDIT_FIRST);
        cr_assert_eq(got.len, len <= NATIVE_CREDIT_FIRST ? len : NATIVE_CREDIT_FIRST);
        while (!done) {
                size_t before = got.len, left = len - before;

                give_credit(2, credit);
                done = take_chunks(2, 0, &got);
                cr_assert_eq(got.len - before, left < credit ? left : credit);
        }
        cr_expect(bytes_equal(buf_bytes(&got), blob_bytes(value)));
        give_credit(2, 1);
        expect_nothing();
        blob_unref(value);
        buf_free(&got);
}

Test(native_session, passes_large_values_in_chunks)
{
        world(false);
        hello(0);
        passes_unchanged(NATIVE_CHUNK_MAX + 1, 1);
        passes_unchanged(NATIVE_CREDIT_FIRST, 1);
        passes_unchanged(NATIVE_CREDIT_FIRST + 1, 1);
        passes_unchanged(8 * MIB, 300000);
        passes_unchanged(8 * MIB, UINT32_MAX);
        end();
}

Test(native_session, passes_a_value_of_chunk_size_in_its_place)
{
        struct blob *value = noise(NATIVE_CHUNK_MAX, 1);
        struct reply r;

        world(false);
        hello(0);
        ask_set(1, "k", blob_bytes(value));
        expect(1, NATIVE_OK);
        ask_get(2, "k");
        r = expect(2, NATIVE_HIT);
        cr_expect_eq(r.frame.flags, NATIVE_REPLY);
        cr_expect(bytes_equal(r.item.value, blob_bytes(value)));
        blob_unref(value);
        end();
}

/* A large value whose receiver is slow stands in nobody's way. */
Test(native_session, answers_small_requests_while_a_large_reply_waits)
{
        struct blob *value = noise(3 * MIB, 1);
        struct buf got = {0};

        world(false);
        hello(0);
        upload(1, "big", value);
        run(SECOND);
        talk.read_at = talk.output.len;
        ask_set(2, "small", bytes_str("v"));
        expect(2, NATIVE_OK);
        ask_get(3, "big");
        expect(3, NATIVE_HIT);
        cr_assert_not(take_chunks(3, 0, &got));
        ask_get(4, "small");
        expect(4, NATIVE_HIT);
        declare(5, "other", 2 * MIB);
        ask_get(6, "small");
        talk.read_at = talk.output.len;
        give_credit(3, 2 * MIB);
        cr_assert(take_chunks(3, 0, &got));
        cr_expect(bytes_equal(buf_bytes(&got), blob_bytes(value)));
        blob_unref(value);
        buf_free(&got);
        end();
}

Test(native_session, ends_uploads_that_go_wrong)
{
        struct blob *value = noise(2 * MIB, 1);
        struct bytes part = bytes_of(value->at, 1000);

        world(false);
        hello(0);
        declare(1, "k", 300000);
        send_chunk(1, 0, part);
        send_chunk(1, 1001, part);
        expect(1, 22);
        send_chunk(1, 1000, part);
        expect_nothing();

        declare(2, "k", 1500);
        send_chunk(2, 0, part);
        send_chunk(2, 1000, part);
        expect(2, 22);

        declare(3, "k", 64 * MIB + 1);
        cr_expect(says(&(struct reply[]){expect(3, 23)}[0], "64mb"));
        send_chunk(3, 0, part);

        declare(4, "k", 300000);
        declare(4, "k", 300000);
        expect(4, 22);
        declare(5, "k", 300000);
        declare(6, "k", 300000);
        expect(6, 28);
        cancel(4);
        expect(4, NATIVE_CANCELLED);
        cancel(4);
        declare(6, "k", 300000);
        expect_nothing();
        cr_expect_eq(talk.w.server[0].input_bytes, 600000);
        ask_get(7, "k");
        expect(7, NATIVE_MISS);
        cr_expect_not(talk.s.closing);
        blob_unref(value);
        end();
}

Test(native_session, drops_uploads_that_idle)
{
        struct blob *value = noise(300000, 1);

        world(false);
        hello(0);
        declare(1, "k", 300000);
        run(6 * SECOND);
        send_chunk(1, 0, bytes_of(value->at, 1000));
        declare(2, "j", 300000);
        run(6 * SECOND);
        expect_nothing();
        run(4 * SECOND);
        expect(1, 36);
        expect(2, 36);
        cr_expect_eq(talk.w.server[0].input_bytes, 0);
        blob_unref(value);
        end();
}

Test(native_session, charges_uploads_to_the_input_budget)
{
        world(false);
        talk.w.server[0].options.value[O_input_max].number = 10 * MIB;
        hello(0);
        declare(1, "k", 6 * MIB);
        cr_expect_eq(talk.w.server[0].input_bytes, 6 * MIB);
        talk.read_at = talk.output.len;
        declare(2, "k", 6 * MIB);
        expect(2, 31);
        declare(3, "k", 4 * MIB);
        cr_expect_eq(talk.w.server[0].input_bytes, 10 * MIB);
        end();
}

Test(native_session, ends_replies_on_cancel_and_idling)
{
        struct blob *value = noise(3 * MIB, 1);
        struct buf got = {0};
        struct native_frame f;

        world(false);
        hello(0);
        upload(1, "k", value);
        run(SECOND);
        talk.read_at = talk.output.len;
        ask_get(2, "k");
        expect(2, NATIVE_HIT);
        take_chunks(2, 0, &got);
        cancel(2);
        cr_assert(next(&f));
        cr_expect_eq(f.op, NATIVE_OP_CHUNK);
        cr_expect_eq(f.status, NATIVE_CANCELLED);
        cr_expect_eq(f.flags, NATIVE_REPLY);
        give_credit(2, 1000);
        expect_nothing();

        got.len = 0;
        ask_get(3, "k");
        expect(3, NATIVE_HIT);
        take_chunks(3, 0, &got);
        run(9 * SECOND);
        give_credit(3, 1000);
        take_chunks(3, 0, &got);
        run(9 * SECOND);
        expect_nothing();
        run(SECOND);
        cr_assert(next(&f));
        cr_expect_eq(f.status, 36);
        cr_expect_eq(f.flags, NATIVE_REPLY);
        ask_get(4, "k");
        expect(4, NATIVE_HIT);
        buf_free(&got);
        blob_unref(value);
        end(); /* with a reply under way */
}

Test(native_session, sheds_when_its_replies_hold_too_much)
{
        struct blob *value = noise(3 * MIB, 1);
        struct buf got = {0};
        struct reply r;

        world(false);
        talk.w.server[0].options.value[O_output_max].number = 5 * MIB;
        hello(0);
        upload(1, "k", value);
        run(SECOND);
        talk.read_at = talk.output.len;
        ask_get(2, "k");
        expect(2, NATIVE_HIT);
        take_chunks(2, 0, &got);
        ask_get(3, "k");
        r = expect(3, NATIVE_SHED);
        cr_expect_lt(number(&r, NATIVE_F_RETRY), SECOND);
        give_credit(2, 2 * MIB);
        cr_assert(take_chunks(2, 0, &got));
        ask_get(4, "k");
        expect(4, NATIVE_HIT);
        buf_free(&got);
        blob_unref(value);
        end();
}

Test(native_session, says_bye_after_a_large_reply)
{
        struct blob *value = noise(2 * MIB, 1);
        struct buf got = {0};

        world(false);
        hello(0);
        upload(1, "k", value);
        run(SECOND);
        talk.read_at = talk.output.len;
        ask_get(2, "k");
        expect(2, NATIVE_HIT);
        cr_assert_not(take_chunks(2, 0, &got));
        ask(NATIVE_OP_BYE, 3, NULL, "", none());
        expect_nothing();
        give_credit(2, MIB);
        cr_assert(take_chunks(2, 0, &got));
        expect(3, NATIVE_OK);
        cr_expect(talk.s.closing);
        buf_free(&got);
        blob_unref(value);
        end();
}

/* ---- LZ4 ---- */

Test(native_session, sends_lz4_to_those_who_take_it)
{
        char raw[8000], back[8000];
        struct reply r;

        for (size_t i = 0; i < sizeof raw; i++)
                raw[i] = (char)('a' + i % 7);
        for (uint64_t features = 0; features <= NATIVE_LZ4; features++) {
                world(false);
                talk.w.server[0].options.value[O_compress_min].number = 1024;
                hello(features);
                ask_set(1, "k", bytes_of(raw, sizeof raw));
                run(SECOND);
                expect(1, NATIVE_OK);
                ask_get(2, "k");
                r = expect(2, NATIVE_HIT);
                if (features == 0) {
                        cr_expect(bytes_equal(r.item.value, bytes_of(raw, sizeof raw)));
                        cr_expect_eq(number(&r, NATIVE_F_RAW_LENGTH), UINT64_MAX);
                } else {
                        cr_expect_lt(r.item.value.len, 1000);
                        cr_assert_eq(number(&r, NATIVE_F_RAW_LENGTH), sizeof raw);
                        cr_assert_eq(LZ4_decompress_safe((const char *)r.item.value.at, back,
                                                         (int)r.item.value.len, sizeof back),
                                     sizeof back);
                        cr_expect_eq(memcmp(raw, back, sizeof raw), 0);
                }
                end();
        }
}

Test(native_session, sends_as_it_is_what_is_stored_as_it_is)
{
        struct blob *value = noise(8000, 1);
        struct reply r;

        world(false);
        talk.w.server[0].options.value[O_compress_min].number = 1024;
        hello(NATIVE_LZ4);
        ask_set(1, "k", blob_bytes(value));
        run(SECOND);
        expect(1, NATIVE_OK);
        ask_get(2, "k");
        r = expect(2, NATIVE_HIT);
        cr_expect(bytes_equal(r.item.value, blob_bytes(value)));
        cr_expect_eq(number(&r, NATIVE_F_RAW_LENGTH), UINT64_MAX);
        blob_unref(value);
        end();
}
