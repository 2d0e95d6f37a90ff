/* Bytes: comparing, slicing, numbers at and just past their bounds. */
#include <criterion/criterion.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/prng.h"

static struct bytes
b(const char *text)
{
        return bytes_str(text);
}

Test(bytes, equal_looks_at_length_and_every_byte)
{
        cr_expect(bytes_equal(b(""), (struct bytes){NULL, 0}));
        cr_expect(bytes_equal(bytes_of("a\0b", 3), bytes_of("a\0b", 3)));
        cr_expect_not(bytes_equal(bytes_of("a\0b", 3), bytes_of("a\0c", 3)));
        cr_expect_not(bytes_equal(b("ab"), b("abc")));
}

Test(bytes, equal_nocase_wants_the_whole_text)
{
        cr_expect(bytes_equal_nocase(b("GeT"), "get"));
        cr_expect(bytes_equal_nocase(b("get"), "GET"));
        cr_expect(bytes_equal_nocase(b(""), ""));
        cr_expect_not(bytes_equal_nocase(b("ge"), "get"));
        cr_expect_not(bytes_equal_nocase(b("gett"), "get"));
        cr_expect_not(bytes_equal_nocase(bytes_of("get\0", 4), "get"));
        /* Only letters have a case: '[' and '{' differ by the same bit. */
        cr_expect_not(bytes_equal_nocase(b("["), "{"));
        cr_expect_not(bytes_equal_nocase(b("@"), "`"));
}

Test(bytes, from_never_leaves_the_run)
{
        cr_expect(bytes_equal(bytes_from(b("abc"), 0), b("abc")));
        cr_expect(bytes_equal(bytes_from(b("abc"), 2), b("c")));
        cr_expect_eq(bytes_from(b("abc"), 3).len, 0);
        cr_expect_eq(bytes_from(b("abc"), 4).len, 0);
}

Test(bytes, u64_to_its_bounds)
{
        uint64_t n = 7;

        cr_expect(bytes_to_u64(b("0"), &n) && n == 0);
        cr_expect(bytes_to_u64(b("18446744073709551615"), &n) && n == UINT64_MAX);
        cr_expect(bytes_to_u64(b("007"), &n) && n == 7);
        cr_expect_not(bytes_to_u64(b("18446744073709551616"), &n));
        cr_expect_not(bytes_to_u64(b("99999999999999999999"), &n));
        cr_expect_not(bytes_to_u64(b(""), &n));
        cr_expect_not(bytes_to_u64(b("+"), &n));
        cr_expect_not(bytes_to_u64(b("-1"), &n));
        cr_expect_not(bytes_to_u64(b(" 1"), &n));
        cr_expect_not(bytes_to_u64(b("1 "), &n));
        cr_expect_not(bytes_to_u64(b("0x1"), &n));
        cr_expect_not(bytes_to_u64(bytes_of("1\0", 2), &n));
        cr_expect_eq(n, 7, "a refusal leaves the result alone");
}

Test(bytes, i64_to_its_bounds)
{
        int64_t n = 7;

        cr_expect(bytes_to_i64(b("9223372036854775807"), &n) && n == INT64_MAX);
        cr_expect(bytes_to_i64(b("-9223372036854775808"), &n) && n == INT64_MIN);
        cr_expect(bytes_to_i64(b("-0"), &n) && n == 0);
        cr_expect(bytes_to_i64(b("+5"), &n) && n == 5);
        cr_expect_not(bytes_to_i64(b("9223372036854775808"), &n));
        cr_expect_not(bytes_to_i64(b("-9223372036854775809"), &n));
        cr_expect_not(bytes_to_i64(b("-"), &n));
        cr_expect_not(bytes_to_i64(b("--1"), &n));
        cr_expect_not(bytes_to_i64(b("-+1"), &n));
        cr_expect_not(bytes_to_i64(b("+-1"), &n));
        cr_expect_not(bytes_to_i64(b(""), &n));
        cr_expect_eq(n, 5);
}

Test(bytes, doubles_are_finite_decimals)
{
        double x = 7;
        char longest[129];

        cr_expect(bytes_to_double(b("0.5"), &x) && x == 0.5);
        cr_expect(bytes_to_double(b("-1e3"), &x) && x == -1000);
        cr_expect(bytes_to_double(b(".25"), &x) && x == 0.25);
        cr_expect_not(bytes_to_double(b(""), &x));
        cr_expect_not(bytes_to_double(b("nan"), &x));
        cr_expect_not(bytes_to_double(b("inf"), &x));
        cr_expect_not(bytes_to_double(b("1e999"), &x));
        cr_expect_not(bytes_to_double(b("0x10"), &x));
        cr_expect_not(bytes_to_double(b(" 1"), &x));
        cr_expect_not(bytes_to_double(b("1.2.3"), &x));
        cr_expect_not(bytes_to_double(b("1e"), &x));
        memset(longest, '0', sizeof longest);
        cr_expect(bytes_to_double(bytes_of(longest, 127), &x) && x == 0);
        cr_expect_not(bytes_to_double(bytes_of(longest, 128), &x));
}

Test(bytes, integers_are_little_endian_at_any_address)
{
        uint8_t room[9] = {0};
        static const uint8_t want[] = {0, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01};

        put_u64(room + 1, 0x0123456789abcdefu);
        cr_expect_arr_eq(room, want, sizeof want);
        cr_expect_eq(get_u64(room + 1), 0x0123456789abcdefu);
        cr_expect_eq(get_u32(room + 1), 0x89abcdefu);
        cr_expect_eq(get_u16(room + 7), 0x0123);
}

/* The published value of XXH3-64 of nothing, and that length, seed and bytes all count. */
Test(hash, is_xxh3)
{
        static const uint8_t empty128[16] = {0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
                                             0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f};
        uint8_t out[16];

        cr_expect_eq(hash64(b(""), 0), 0x2d06800538d394c2u);
        hash128(b(""), out);
        cr_expect_arr_eq(out, empty128, 16);
        cr_expect_neq(hash64(b("a"), 0), hash64(b("a"), 1));
        cr_expect_neq(hash64(b("a"), 0), hash64(b("b"), 0));
        cr_expect_neq(hash64(bytes_of("a\0", 2), 0), hash64(b("a"), 0));
}

/* The reference sequence of SplitMix64 from seed 1234567. */
Test(prng, is_splitmix64)
{
        struct prng p = {1234567};

        cr_expect_eq(prng_next(&p), 6457827717110365317u);
        cr_expect_eq(prng_next(&p), 3203168211198807973u);
        cr_expect_eq(prng_next(&p), 9817491932198370423u);
}

Test(prng, below_reaches_every_number_and_no_more)
{
        struct prng p = {42};
        unsigned seen[7] = {0};

        for (int i = 0; i < 7000; i++) {
                uint64_t n = prng_below(&p, 7);

                cr_assert_lt(n, 7);
                seen[n]++;
        }
        for (int i = 0; i < 7; i++)
                cr_expect(seen[i] > 800 && seen[i] < 1200, "%d came %u times", i, seen[i]);
        cr_expect_eq(prng_below(&p, 1), 0);
        /* More than half of all draws fall into the incomplete top here and are drawn again. */
        for (int i = 0; i < 100; i++)
                cr_expect_lt(prng_below(&p, ((uint64_t)1 << 63) + 1), ((uint64_t)1 << 63) + 1);
}
