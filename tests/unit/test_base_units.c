/* Sizes and times: every unit, the largest numbers that fit, and what is none. */
#include <criterion/criterion.h>

#include "base/units.h"

static uint64_t
size(const char *text)
{
        uint64_t n = 12345;

        return size_parse(bytes_str(text), &n) ? n : 12345;
}

static uint64_t
time_us(const char *text)
{
        uint64_t n = 12345;

        return time_parse(bytes_str(text), &n) ? n : 12345;
}

Test(units, sizes)
{
        cr_expect_eq(size("0"), 0);
        cr_expect_eq(size("1"), 1);
        cr_expect_eq(size("7b"), 7);
        cr_expect_eq(size("64kb"), 65536);
        cr_expect_eq(size("512MB"), 512u << 20);
        cr_expect_eq(size("2gb"), (uint64_t)2 << 30);
        cr_expect_eq(size("17179869183gb"), UINT64_MAX - ((1u << 30) - 1));
}

Test(units, what_is_no_size)
{
        static const char *const bad[] = {"",    "kb",    "1k", "1 kb",
                                          " 1",  "1.5gb", "-1", "+",
                                          "1tb", "1kbx",  "1s", "18446744073709551616",
                                          "0x1", "1kb2mb"};

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                cr_expect_eq(size(bad[i]), 12345, "'%s' was taken for a size", bad[i]);
        cr_expect_eq(size("17179869184gb"), 12345, "one past the largest must not wrap around");
}

Test(units, times)
{
        cr_expect_eq(time_us("0"), 0);
        cr_expect_eq(time_us("1"), 1000000, "a bare number is seconds");
        cr_expect_eq(time_us("250us"), 250);
        cr_expect_eq(time_us("20ms"), 20000);
        cr_expect_eq(time_us("3S"), 3000000);
        cr_expect_eq(time_us("5m"), 300000000);
        cr_expect_eq(time_us("24h"), (uint64_t)86400 * 1000000);
        cr_expect_eq(time_us("18446744073709551615us"), UINT64_MAX);
}

Test(units, what_is_no_time)
{
        static const char *const bad[] = {"", "ms", "1d", "1 ms", "1.5s", "-1s", "1min", "1kb"};

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                cr_expect_eq(time_us(bad[i]), 12345, "'%s' was taken for a time", bad[i]);
        cr_expect_eq(time_us("18446744073710s"), 12345);
        cr_expect_eq(time_us("5124095577h"), 12345);
}

Test(units, shortest_exact_form)
{
        char out[32];

        cr_expect_str_eq(size_format(0, out), "0");
        cr_expect_str_eq(size_format(1023, out), "1023");
        cr_expect_str_eq(size_format(1024, out), "1kb");
        cr_expect_str_eq(size_format(1025, out), "1025");
        cr_expect_str_eq(size_format((uint64_t)1024 << 30, out), "1024gb");
        cr_expect_str_eq(size_format(UINT64_MAX, out), "18446744073709551615");
        cr_expect_str_eq(time_format(0, out), "0s");
        cr_expect_str_eq(time_format(999, out), "999us");
        cr_expect_str_eq(time_format(1000, out), "1ms");
        cr_expect_str_eq(time_format(90000000, out), "90s");
        cr_expect_str_eq(time_format(120000000, out), "2m");
        cr_expect_str_eq(time_format((uint64_t)86400 * 1000000, out), "24h");
        cr_expect_str_eq(time_format(UINT64_MAX, out), "18446744073709551615us");
}

Test(units, what_is_formatted_parses_back)
{
        static const uint64_t n[] = {0,    1,        59,         60,       1000,
                                     1024, 61000000, 3600000000, 1u << 30, UINT64_MAX};
        char out[32];

        for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
                cr_expect_eq(size(size_format(n[i], out)), n[i]);
                cr_expect_eq(time_us(time_format(n[i], out)), n[i]);
        }
}
