/* Counted memory, growing buffers, counted blobs. */
#include <criterion/criterion.h>

#include <signal.h>

#include "base/blob.h"
#include "base/buf.h"
#include "base/mem.h"

Test(mem, counts_what_is_in_use)
{
        uint64_t before = mem_in_use();
        char *p = mem_alloc(1000);

        cr_expect_geq(mem_in_use(), before + 1000);
        p = mem_realloc(p, 100000);
        cr_expect_geq(mem_in_use(), before + 100000);
        p = mem_realloc(p, 10);
        cr_expect_lt(mem_in_use(), before + 1000);
        mem_free(p);
        cr_expect_eq(mem_in_use(), before);
        mem_free(NULL);
        cr_expect_eq(mem_in_use(), before);
}

Test(mem, zalloc_is_zero_and_realloc_takes_null)
{
        unsigned char *p = mem_zalloc(4096);

        for (int i = 0; i < 4096; i++)
                cr_assert_eq(p[i], 0);
        mem_free(p);
        p = mem_realloc(NULL, 8);
        cr_assert_not_null(p);
        mem_free(p);
}

Test(mem, a_strangers_size_that_cannot_be_had_is_null)
{
        uint64_t before = mem_in_use();

        cr_expect_null(mem_try_alloc(SIZE_MAX / 2));
        cr_expect_eq(mem_in_use(), before);
}

Test(mem, our_own_size_that_cannot_be_had_ends_the_process, .signal = SIGABRT)
{
        (void)mem_alloc(SIZE_MAX / 2);
}

Test(buf, grows_and_keeps)
{
        struct buf b = {0};

        for (int i = 0; i < 1000; i++)
                buf_append(&b, bytes_of(&(uint8_t){(uint8_t)i}, 1));
        cr_expect_eq(b.len, 1000);
        for (int i = 0; i < 1000; i++)
                cr_assert_eq(b.at[i], (uint8_t)i);
        buf_append(&b, (struct bytes){NULL, 0});
        cr_expect_eq(b.len, 1000);
        buf_free(&b);
        cr_expect_null(b.at);
}

Test(buf, reserve_gives_exactly_the_room_asked_for)
{
        struct buf b = {0};
        uint8_t *at = buf_reserve(&b, 100);

        memset(at, 'x', 100);
        b.len += 100;
        at = buf_reserve(&b, 28);
        cr_expect_eq(at, b.at + 100);
        cr_expect_geq(b.cap, 128);
        cr_expect_eq(buf_reserve(&b, 0), b.at + 100);
        buf_free(&b);
}

Test(buf, printf_of_any_length)
{
        struct buf b = {0};
        char text[301];

        memset(text, 'a', 300);
        text[300] = '\0';
        for (int len = 62; len <= 66; len++) { /* around the first room */
                b.len = 0;
                buf_printf(&b, "%.*s", len, text);
                cr_expect_eq(b.len, (size_t)len);
                cr_expect(bytes_equal(buf_bytes(&b), bytes_of(text, (size_t)len)));
        }
        b.len = 0;
        buf_printf(&b, "%d:", 300);
        buf_printf(&b, "%s", text);
        cr_expect_eq(b.len, 304);
        cr_expect(bytes_equal(buf_bytes(&b), bytes_of(b.at, 304)) && memcmp(b.at, "300:a", 5) == 0);
        buf_free(&b);
}

Test(buf, consume_moves_the_rest_to_the_front)
{
        struct buf b = {0};

        buf_append(&b, bytes_str("abcdef"));
        buf_consume(&b, 0);
        buf_consume(&b, 2);
        cr_expect(bytes_equal(buf_bytes(&b), bytes_str("cdef")));
        buf_consume(&b, 4);
        cr_expect_eq(b.len, 0);
        buf_free(&b);
}

Test(buf, consuming_more_than_there_is_is_a_bug, .signal = SIGABRT)
{
        struct buf b = {0};

        buf_append(&b, bytes_str("ab"));
        buf_consume(&b, 3);
}

Test(blob, lives_as_long_as_its_last_reference)
{
        uint64_t before = mem_in_use();
        struct blob *b = blob_copy(bytes_str("hello"));

        cr_assert_not_null(b);
        cr_expect_eq(blob_ref(b), b);
        blob_unref(b);
        cr_expect(bytes_equal(blob_bytes(b), bytes_str("hello")));
        blob_unref(b);
        cr_expect_eq(mem_in_use(), before);
        blob_unref(NULL);
}

Test(blob, may_be_empty_and_may_shrink)
{
        struct blob *b = blob_copy((struct bytes){NULL, 0});

        cr_expect_eq(blob_bytes(b).len, 0);
        blob_unref(b);
        b = blob_copy(bytes_str("hello"));
        blob_shrink(b, 5);
        blob_shrink(b, 2);
        cr_expect(bytes_equal(blob_bytes(b), bytes_str("he")));
        blob_unref(b);
}

Test(blob, too_long_for_its_length_is_null)
{
        cr_expect_null(blob_new((size_t)UINT32_MAX + 1));
        cr_expect_null(blob_new(SIZE_MAX));
}

Test(blob, shrinking_a_shared_one_is_a_bug, .signal = SIGABRT)
{
        struct blob *b = blob_copy(bytes_str("hello"));

        blob_shrink(blob_ref(b), 2);
}

/* A stranger's sizes end at the ceiling; what is small, or our own, does not. */
Test(mem, ceiling_refuses_large_blocks_only)
{
        void *held, *p;

        held = mem_try_alloc(100000);
        cr_assert_not_null(held);
        mem_ceiling_set(mem_in_use() + 50000);
        cr_expect_not(mem_is_short());
        cr_expect_null(mem_try_alloc(100000));
        cr_expect_null(mem_try_alloc(SIZE_MAX));
        p = mem_try_alloc(40000);
        cr_expect_not_null(p);
        mem_free(p);
        p = mem_alloc(200000);
        cr_expect(mem_is_short());
        cr_expect_null(mem_try_alloc(MEM_SMALL + 1));
        mem_free(mem_try_alloc(MEM_SMALL));
        mem_free(p);
        cr_expect_not(mem_is_short());
        mem_ceiling_set(UINT64_MAX);
        mem_free(held);
}
