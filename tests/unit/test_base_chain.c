/* Chains: what comes out is what went in, however it is appended and however it is sent; committed
 * bytes stay where they are; pinned blobs are let go once they are sent. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/chain.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/prng.h"

static struct chain chain;
static uint64_t before;

static void
setup(void)
{
        before = mem_in_use();
}

/* Every test ends with nothing left over. */
static void
teardown(void)
{
        chain_free(&chain);
        cr_expect_eq(mem_in_use(), before);
        cr_expect_eq(chain.bytes, 0);
}

TestSuite(chain, .init = setup, .fini = teardown);

/* Sends n bytes at most, as the kernel would, and appends them to `to`. */
static void
send_some(struct chain *c, struct buf *to, size_t n, int iovecs)
{
        struct iovec iov[8];
        int count = chain_iovecs(c, iov, iovecs);
        size_t sent = 0;

        for (int i = 0; i < count && sent < n; i++) {
                size_t part = iov[i].iov_len < n - sent ? iov[i].iov_len : n - sent;

                buf_append(to, bytes_of(iov[i].iov_base, part));
                sent += part;
        }
        chain_sent(c, sent);
}

static struct blob *
pattern(size_t len, unsigned seed)
{
        struct blob *b = blob_new(len);

        cr_assert_not_null(b);
        for (size_t i = 0; i < len; i++)
                b->at[i] = (uint8_t)(i * 31 + seed);
        return b;
}

static uint32_t
refs(struct blob *b)
{
        return atomic_load(&b->refs);
}

Test(chain, empty)
{
        struct iovec iov[1];

        cr_expect_eq(chain_iovecs(&chain, iov, 1), 0);
        chain_sent(&chain, 0);
        chain_append(&chain, (struct bytes){NULL, 0});
        cr_expect_eq(chain_iovecs(&chain, iov, 1), 0);
        chain_reserve(&chain, 10);
        chain_commit(&chain, 0);
        cr_expect_eq(chain_iovecs(&chain, iov, 1), 0);
}

Test(chain, small_things_stand_in_one_piece)
{
        struct iovec iov[4];

        chain_append(&chain, bytes_str("+OK\r\n"));
        chain_printf(&chain, ":%d\r\n", 42);
        memcpy(chain_reserve(&chain, 100), "$-1\r\n", 5);
        chain_commit(&chain, 5);
        cr_expect_eq(chain.bytes, 15);
        cr_assert_eq(chain_iovecs(&chain, iov, 4), 1);
        cr_expect(bytes_equal(bytes_of(iov[0].iov_base, iov[0].iov_len),
                              bytes_str("+OK\r\n:42\r\n$-1\r\n")));
}

Test(chain, committed_bytes_never_move)
{
        struct iovec first[1], later[8];

        chain_append(&chain, bytes_str("first"));
        cr_assert_eq(chain_iovecs(&chain, first, 1), 1);
        for (int i = 0; i < 10000; i++)
                chain_append(&chain, bytes_str("0123456789"));
        memset(chain_reserve(&chain, 70000), 'x', 70000);
        chain_commit(&chain, 70000);
        cr_expect(bytes_equal(bytes_of(first[0].iov_base, 5), bytes_str("first")));
        cr_expect_gt(chain_iovecs(&chain, later, 8), 4);
        cr_expect_eq(later[0].iov_base, first[0].iov_base);
        cr_expect_eq(chain.bytes, 170005);
}

Test(chain, committing_more_than_there_is_room_for_is_a_bug, .signal = SIGABRT)
{
        struct chain c = {0};

        chain_reserve(&c, 20000);
        chain_commit(&c, 20001);
}

Test(chain, a_reserve_that_fits_no_buffer_gets_its_own)
{
        struct blob *want = pattern(100000, 1);
        struct buf out = {0};

        chain_append(&chain, bytes_str("head"));
        memcpy(chain_reserve(&chain, 100000), want->at, 100000);
        chain_commit(&chain, 100000);
        send_some(&chain, &out, 200000, 8);
        cr_expect_eq(out.len, 100004);
        cr_expect(bytes_equal(bytes_from(buf_bytes(&out), 4), blob_bytes(want)));
        cr_expect_eq(chain.bytes, 0);
        buf_free(&out);
        blob_unref(want);
}

Test(chain, long_bytes_are_copied_whole)
{
        struct blob *want = pattern(50000, 2);
        struct buf out = {0};

        chain_append(&chain, blob_bytes(want));
        while (chain.bytes > 0)
                send_some(&chain, &out, 777, 2);
        cr_expect(bytes_equal(buf_bytes(&out), blob_bytes(want)));
        buf_free(&out);
        blob_unref(want);
}

Test(chain, printf_longer_than_the_room)
{
        struct buf out = {0};
        char text[40001];

        memset(text, 'a', 40000);
        text[40000] = '\0';
        for (int len = 0; len <= 40000; len += 1000)
                chain_printf(&chain, "%.*s", len, text);
        while (chain.bytes > 0)
                send_some(&chain, &out, 100000, 8);
        cr_expect_eq(out.len, 820000);
        cr_expect_null(memchr(out.at, '\0', out.len));
        buf_free(&out);
}

Test(chain, blobs_are_pinned_from_4_KiB_on)
{
        struct blob *b = pattern(3 * LIMIT_PIN_MIN, 3);

        chain_append_blob(&chain, b, bytes_of(b->at, LIMIT_PIN_MIN - 1));
        cr_expect_eq(refs(b), 1);
        chain_append_blob(&chain, b, bytes_of(b->at + 5, LIMIT_PIN_MIN));
        cr_expect_eq(refs(b), 2);
        chain_append_blob(&chain, b, blob_bytes(b));
        cr_expect_eq(refs(b), 3);
        chain_sent(&chain, LIMIT_PIN_MIN - 1 + LIMIT_PIN_MIN - 1);
        cr_expect_eq(refs(b), 3, "one byte of it is still to send");
        chain_sent(&chain, 1);
        cr_expect_eq(refs(b), 2);
        chain_free(&chain);
        cr_expect_eq(refs(b), 1);
        blob_unref(b);
}

Test(chain, a_pin_outlives_its_other_owners)
{
        struct blob *b = pattern(10000, 4);
        struct buf out = {0};

        chain_append_blob(&chain, b, blob_bytes(b));
        chain_append(&chain, bytes_str("\r\n"));
        blob_unref(b);
        send_some(&chain, &out, 20000, 8);
        cr_expect_eq(out.len, 10002);
        cr_expect_eq(out.at[9999], (uint8_t)(9999 * 31 + 4));
        buf_free(&out);
}

Test(chain, a_part_outside_the_blob_is_a_bug, .signal = SIGABRT)
{
        struct blob *b = pattern(5000, 5);

        chain_append_blob(&chain, b, bytes_of(b->at + 1, 5000));
}

Test(chain, iovecs_stop_at_the_maximum)
{
        struct blob *b = pattern(LIMIT_PIN_MIN, 6);
        struct iovec iov[5];

        for (int i = 0; i < 4; i++)
                chain_append_blob(&chain, b, blob_bytes(b));
        cr_expect_eq(chain_iovecs(&chain, iov, 0), 0);
        cr_expect_eq(chain_iovecs(&chain, iov, 3), 3);
        cr_expect_eq(chain_iovecs(&chain, iov, 5), 4);
        chain_free(&chain);
        blob_unref(b);
}

Test(chain, sending_more_than_there_is_is_a_bug, .signal = SIGABRT)
{
        chain_append(&chain, bytes_str("ab"));
        chain_sent(&chain, 3);
}

Test(chain, a_drained_chain_allocates_nothing_for_the_next_reply)
{
        uint64_t used;

        chain_append(&chain, bytes_str("warm"));
        chain_sent(&chain, 4);
        used = mem_in_use();
        for (int i = 0; i < 10000; i++) {
                chain_append(&chain, bytes_str("+a short reply\r\n"));
                chain_sent(&chain, 16);
                cr_assert_eq(mem_in_use(), used);
        }
}

Test(chain, splice_keeps_order_and_empties_its_source)
{
        struct blob *b = pattern(LIMIT_PIN_MIN, 7);
        struct chain from = {0};
        struct buf out = {0};

        chain_splice(&chain, &from);
        cr_expect_eq(chain.bytes, 0);
        chain_append(&from, bytes_str("xxone"));
        chain_sent(&from, 2);
        chain_splice(&chain, &from); /* small: copied */
        cr_expect_eq(from.bytes, 0);
        chain_append(&from, bytes_str("yytwo"));
        chain_append_blob(&from, b, blob_bytes(b));
        chain_sent(&from, 2);
        chain_splice(&chain, &from); /* more: moved */
        cr_expect_eq(from.bytes, 0);
        chain_append(&from, bytes_str("end"));
        chain_append(&chain, bytes_str("three"));
        chain_splice(&chain, &from);
        cr_expect_eq(chain.bytes, 6 + LIMIT_PIN_MIN + 8);
        while (chain.bytes > 0)
                send_some(&chain, &out, 5, 2);
        cr_expect(memcmp(out.at, "onetwo", 6) == 0);
        cr_expect(bytes_equal(bytes_of(out.at + 6, b->len), blob_bytes(b)));
        cr_expect(bytes_equal(bytes_from(buf_bytes(&out), 6 + b->len), bytes_str("threeend")));
        cr_expect_eq(refs(b), 1);
        chain_free(&from);
        blob_unref(b);
        buf_free(&out);
}

/* Whatever is appended in whatever way, and sent in pieces of any size: the bytes are the same. */
Test(chain, random_work_against_a_plain_buffer)
{
        struct prng p = {99};
        struct blob *b = pattern(60000, 8);
        struct buf want = {0}, got = {0};

        for (int step = 0; step < 3000; step++) {
                size_t n = prng_below(&p, 8) ? prng_below(&p, 300) : prng_below(&p, 40000);
                struct bytes part = bytes_of(b->at + prng_below(&p, 60000 - n), n);
                struct chain other = {0};

                switch (prng_below(&p, 5)) {
                case 0:
                        chain_append(&chain, part);
                        break;
                case 1:
                        chain_append_blob(&chain, b, part);
                        break;
                case 2: /* more reserved than committed */
                        if (n > 0)
                                memcpy(chain_reserve(&chain, n + prng_below(&p, 1000)), part.at, n);
                        chain_commit(&chain, n);
                        break;
                case 3:
                        chain_append(&other, part);
                        chain_append_blob(&other, b, part);
                        buf_append(&want, part);
                        chain_splice(&chain, &other);
                        chain_free(&other);
                        break;
                default:
                        part.len = 0;
                        send_some(&chain, &got, prng_below(&p, 50000), 1 + (int)prng_below(&p, 8));
                }
                buf_append(&want, part);
                cr_assert_eq(chain.bytes + got.len, want.len, "after step %d", step);
        }
        while (chain.bytes > 0)
                send_some(&chain, &got, SIZE_MAX, 8);
        cr_expect(bytes_equal(buf_bytes(&want), buf_bytes(&got)));
        cr_expect_eq(refs(b), 1);
        blob_unref(b);
        buf_free(&want);
        buf_free(&got);
}
