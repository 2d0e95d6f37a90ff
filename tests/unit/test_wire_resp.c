/* The RESP parser gives the same commands however the bytes are split, keeps its limits, and names
 * what is wrong; the writer says the same thing in both versions. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/prng.h"
#include "wire/resp.h"

enum { VALUE_MAX = 100000 };

/* Feeds `in` as a connection does: bytes arrive `step` at a time, what is consumed goes, what is
 * not moves (each call sees it at another address). Writes what came out as text: "[arg|arg]" for
 * a command, "REFUSED", "BAD why". */
static void
feed(struct bytes in, size_t step, struct buf *out)
{
        struct resp_parser p;
        struct buf held = {0};
        size_t fed = 0, need = 0;

        resp_parser_init(&p, VALUE_MAX);
        for (;;) {
                struct resp_parsed r;
                uint8_t *copy = NULL;

                while (fed < in.len && (held.len == 0 || held.len < need)) {
                        size_t n = step < in.len - fed ? step : in.len - fed;

                        buf_append(&held, bytes_of(in.at + fed, n));
                        fed += n;
                }
                /* Exactly as long: the sanitizer sees each byte that is read past the end. */
                copy = malloc(held.len);
                if (held.len > 0)
                        memcpy(copy, held.at, held.len);
                r = resp_parse(&p, bytes_of(copy, held.len));
                switch (r.result) {
                case RESP_COMPLETE:
                        buf_printf(out, "[");
                        for (unsigned i = 0; i < resp_argc(&p); i++) {
                                buf_printf(out, i > 0 ? "|" : "");
                                buf_append(out, resp_arg(&p, i));
                        }
                        buf_printf(out, "]");
                        break;
                case RESP_REFUSED:
                        buf_printf(out, "REFUSED");
                        break;
                case RESP_BAD:
                        buf_printf(out, "BAD %s", resp_fault(&p));
                        cr_expect_eq(resp_parse(&p, bytes_of(copy, held.len)).result, RESP_BAD);
                        break;
                case RESP_MORE:
                        need = r.need;
                        cr_assert_gt(r.consumed + r.need, held.len, "asks for what it has");
                        break;
                }
                free(copy);
                cr_assert_leq(r.consumed, held.len);
                buf_consume(&held, r.consumed);
                if (r.result == RESP_BAD || (r.result == RESP_MORE && fed == in.len))
                        break;
                if (r.result != RESP_MORE) {
                        need = 0;
                        resp_next(&p);
                }
        }
        resp_parser_deinit(&p);
        buf_free(&held);
}

/* All at once, and byte by byte, and in other steps: always `expected`. */
static void
expect_len(struct bytes in, const char *expected)
{
        static const size_t steps[] = {SIZE_MAX, 1, 2, 3, 5, 7, 13, 64, 1000};

        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                struct buf out = {0};

                feed(in, steps[i], &out);
                cr_assert(bytes_equal(buf_bytes(&out), bytes_str(expected)),
                          "steps of %zu: got \"%.*s\" instead of \"%s\"", steps[i], (int)out.len,
                          (const char *)out.at, expected);
                buf_free(&out);
        }
}

static void
expect(const char *in, const char *expected)
{
        expect_len(bytes_str(in), expected);
}

Test(resp_parser, reads_arrays_of_bulks)
{
        expect("*1\r\n$4\r\nPING\r\n", "[PING]");
        expect("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "[GET|k]");
        expect("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", "[SET|k|]");
        expect("*2\r\n$3\r\nGET\r\n$5\r\na\r\nb \r\n*1\r\n$4\r\nPING\r\n", "[GET|a\r\nb ][PING]");
}

Test(resp_parser, ignores_empty_commands)
{
        expect("*0\r\n*-1\r\n\r\n\n*1\r\n$1\r\na\r\n", "[][][][][a]");
}

Test(resp_parser, is_binary_safe)
{
        static const char in[] = "*2\r\n$3\r\nGET\r\n$4\r\n\0\r\n\377\r\n";
        struct resp_parser p;

        resp_parser_init(&p, VALUE_MAX);
        cr_assert_eq(resp_parse(&p, bytes_of(in, sizeof in - 1)).result, RESP_COMPLETE);
        cr_expect(bytes_equal(resp_arg(&p, 1), bytes_of("\0\r\n\377", 4)));
        resp_parser_deinit(&p);
}

Test(resp_parser, reads_inline_commands)
{
        expect("PING\r\n", "[PING]");
        expect("PING\n", "[PING]");
        expect("  set  key\tvalue \r\n", "[set|key|value]");
        expect("set k \"a b\\x41\\n\\\"\\q\"\r\n", "[set|k|a bA\n\"q]");
        expect("set k 'a \\'b\\n'\r\n", "[set|k|a 'b\\n]");
        expect("set k \"\" ''\r\n", "[set|k||]");
        expect("set a\"b c\"\r\nPING\r\n", "[set|ab c][PING]");
        expect("a\\x41\r\n", "[a\\x41]");
        expect("a \"\\x4\"\r\n", "[a|x4]");
}

Test(resp_parser, mixes_both_forms)
{
        expect("PING\r\n*1\r\n$4\r\nECHO\r\nGET a\r\n", "[PING][ECHO][GET|a]");
}

Test(resp_parser, names_what_is_wrong)
{
        expect("*a\r\n", "BAD invalid multibulk length");
        expect("*\r\n", "BAD invalid multibulk length");
        expect("*+1\r\n", "BAD invalid multibulk length");
        expect("*01\r\n", "BAD invalid multibulk length");
        expect("*1\rx", "BAD invalid multibulk length");
        expect("*1048577\r\n", "BAD invalid multibulk length");
        expect("*99999999999999999999999999\r\n", "BAD invalid multibulk length");
        expect("*1\r\nx", "BAD expected '$', got 'x'");
        expect("*1\r\n\r\n", "BAD expected '$', got ' '");
        expect("*1\r\n\x01", "BAD expected '$', got '?'");
        expect("*1\r\n$a\r\n", "BAD invalid bulk length");
        expect("*1\r\n$-1\r\n", "BAD invalid bulk length");
        expect("*1\r\n$400001\r\n", "BAD invalid bulk length");
        expect("*1\r\n$1\r\nabc\r\n", "BAD expected a line end after a bulk");
        expect("*1\r\n$1\r\na\rb", "BAD expected a line end after a bulk");
        expect("set k \"a\r\n", "BAD unbalanced quotes in request");
        expect("set k \"a\"b\r\n", "BAD unbalanced quotes in request");
        expect("set k 'a\r\n", "BAD unbalanced quotes in request");
        expect("PING\r\n*x\r\n", "[PING]BAD invalid multibulk length");
}

Test(resp_parser, bounds_lines)
{
        struct buf in = {0};

        buf_append(&in, bytes_str("*"));
        for (int i = 0; i < 64; i++)
                buf_append(&in, bytes_str("1"));
        expect_len(buf_bytes(&in), "BAD too big mbulk count string");
        in.len = 0;
        buf_append(&in, bytes_str("*1\r\n$"));
        for (int i = 0; i < 64; i++)
                buf_append(&in, bytes_str("1"));
        expect_len(buf_bytes(&in), "BAD too big bulk count string");
        in.len = 0;
        while (in.len < LIMIT_INLINE_BYTES - 1)
                buf_append(&in, bytes_str(" "));
        buf_append(&in, bytes_str("\n"));
        expect_len(buf_bytes(&in), "[]");
        in.at[in.len - 1] = ' ';
        expect_len(buf_bytes(&in), "BAD too big inline request");
        buf_free(&in);
}

/* One byte more than value-max is refused and the connection goes on; so does four times as much;
 * one byte more is the end of it. */
Test(resp_parser, swallows_what_is_too_long)
{
        static const struct {
                size_t len;
                const char *expected;
        } cases[] = {
                {VALUE_MAX + 1, "REFUSED[PING]"},
                {4 * VALUE_MAX, "REFUSED[PING]"},
                {4 * VALUE_MAX + 1, "[ECHO]BAD invalid bulk length"},
        };

        for (size_t i = 0; i < 3; i++) {
                struct buf in = {0};

                if (i == 2)
                        buf_printf(&in, "ECHO\r\n");
                buf_printf(&in, "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n", cases[i].len);
                memset(buf_reserve(&in, cases[i].len), '\r', cases[i].len);
                in.len += cases[i].len;
                buf_printf(&in, "\r\n$4\r\nlast\r\n*1\r\n$4\r\nPING\r\n");
                expect_len(buf_bytes(&in), cases[i].expected);
                buf_free(&in);
        }
}

Test(resp_parser, keeps_the_longest_value)
{
        struct buf in = {0}, out = {0};

        buf_printf(&in, "*1\r\n$%d\r\n", VALUE_MAX);
        memset(buf_reserve(&in, VALUE_MAX), 'v', VALUE_MAX);
        in.len += VALUE_MAX;
        buf_printf(&in, "\r\n");
        feed(buf_bytes(&in), 4096, &out);
        cr_expect_eq(out.len, VALUE_MAX + 2);
        buf_free(&in);
        buf_free(&out);
}

/* What is swallowed is not kept: the bytes held never grow. */
Test(resp_parser, holds_nothing_of_a_swallowed_bulk)
{
        static const uint8_t zeros[4096];
        struct resp_parser p;
        struct resp_parsed r;
        const char *head = "*2\r\n$3\r\nGET\r\n$400000\r\n";

        resp_parser_init(&p, VALUE_MAX);
        r = resp_parse(&p, bytes_str(head));
        cr_assert_eq(r.result, RESP_MORE);
        cr_expect_eq(r.consumed, strlen(head));
        r = resp_parse(&p, bytes_of(zeros, sizeof zeros));
        cr_assert_eq(r.result, RESP_MORE);
        cr_expect_eq(r.consumed, sizeof zeros);
        resp_parser_deinit(&p);
}

/* Nor of the arguments behind it. */
Test(resp_parser, holds_nothing_behind_a_swallowed_bulk)
{
        struct resp_parser p;
        struct buf in = {0};
        uint64_t before;

        resp_parser_init(&p, VALUE_MAX);
        buf_printf(&in, "*1001\r\n$%d\r\n", VALUE_MAX + 1);
        memset(buf_reserve(&in, VALUE_MAX + 1), 'v', VALUE_MAX + 1);
        in.len += VALUE_MAX + 1;
        buf_printf(&in, "\r\n");
        for (int i = 0; i < 1000; i++)
                buf_append(&in, bytes_str("$1\r\na\r\n"));
        before = mem_in_use();
        cr_assert_eq(resp_parse(&p, buf_bytes(&in)).result, RESP_REFUSED);
        cr_expect_eq(mem_in_use(), before);
        buf_free(&in);
        resp_parser_deinit(&p);
}

Test(resp_parser, takes_many_arguments_without_trusting_the_count)
{
        struct buf in = {0};
        struct resp_parser p;
        uint64_t before = mem_in_use();

        resp_parser_init(&p, VALUE_MAX);
        cr_assert_eq(resp_parse(&p, bytes_str("*1048576\r\n$1\r\na\r\n")).result, RESP_MORE);
        cr_expect_eq(mem_in_use(), before, "room was made for what was only announced");
        resp_parser_deinit(&p);

        resp_parser_init(&p, VALUE_MAX);
        buf_printf(&in, "*%d\r\n", LIMIT_ARGS);
        for (int i = 0; i < LIMIT_ARGS; i++)
                buf_append(&in, bytes_str("$1\r\na\r\n"));
        cr_assert_eq(resp_parse(&p, buf_bytes(&in)).result, RESP_COMPLETE);
        cr_expect_eq(resp_argc(&p), LIMIT_ARGS);
        resp_next(&p);
        buf_free(&in);
        cr_expect_eq(mem_in_use(), before, "the room of a long command was kept");
        resp_parser_deinit(&p);
}

/* One byte at a time, 2 MB: were earlier bytes looked at again, this would not end. */
Test(resp_parser, looks_at_each_byte_once, .timeout = 20)
{
        enum { ARGS = 200000 };
        struct buf in = {0};
        struct resp_parser p;
        struct resp_parsed r = {0};

        resp_parser_init(&p, VALUE_MAX);
        buf_printf(&in, "*%d\r\n", ARGS);
        for (int i = 0; i < ARGS; i++)
                buf_append(&in, bytes_str("$3\r\nabc\r\n"));
        for (size_t n = 1; n <= in.len; n++)
                r = resp_parse(&p, bytes_of(in.at, n));
        cr_expect_eq(r.result, RESP_COMPLETE);
        cr_expect_eq(resp_argc(&p), ARGS);
        buf_free(&in);
        resp_parser_deinit(&p);
}

/* Garbage made of what a parser cares about: no crash, and one answer for all splits. */
Test(resp_parser, takes_garbage_in_any_split)
{
        static const char alphabet[] = "**$$\r\n\r\n\r\n0123459-+ \"'\\xaZ\0\377";
        struct prng prng = {.state = 7};

        for (int round = 0; round < 20000; round++) {
                uint8_t in[64];
                size_t len = 1 + prng_below(&prng, sizeof in);
                struct buf whole = {0}, parts = {0};

                for (size_t i = 0; i < len; i++)
                        in[i] = (uint8_t)alphabet[prng_below(&prng, sizeof alphabet - 1)];
                feed(bytes_of(in, len), SIZE_MAX, &whole);
                feed(bytes_of(in, len), 1 + prng_below(&prng, 5), &parts);
                cr_assert(bytes_equal(buf_bytes(&whole), buf_bytes(&parts)), "round %d", round);
                buf_free(&whole);
                buf_free(&parts);
        }
}

/* ---- writer ---- */

static struct chain chain;

static void
expect_written(const char *expected)
{
        struct buf text = {0};
        struct iovec iov[16];
        int n = chain_iovecs(&chain, iov, 16);

        for (int i = 0; i < n; i++)
                buf_append(&text, bytes_of(iov[i].iov_base, iov[i].iov_len));
        cr_expect(bytes_equal(buf_bytes(&text), bytes_str(expected)),
                  "got \"%.*s\" instead of \"%s\"", (int)text.len, (const char *)text.at, expected);
        buf_free(&text);
        chain_free(&chain);
}

Test(resp_writer, says_what_both_versions_know)
{
        resp_simple(&chain, "OK");
        expect_written("+OK\r\n");
        resp_error(&chain, "ERR a\r\nb");
        expect_written("-ERR a  b\r\n");
        resp_integer(&chain, 0);
        resp_integer(&chain, -7);
        resp_integer(&chain, INT64_MAX);
        resp_integer(&chain, INT64_MIN);
        expect_written(":0\r\n:-7\r\n:9223372036854775807\r\n:-9223372036854775808\r\n");
        resp_bulk(&chain, bytes_of(NULL, 0));
        resp_bulk_text(&chain, "ab");
        resp_bulk_number(&chain, UINT64_MAX);
        resp_array(&chain, 10);
        expect_written("$0\r\n\r\n$2\r\nab\r\n$20\r\n18446744073709551615\r\n*10\r\n");
}

Test(resp_writer, says_the_rest_in_the_words_of_each_version)
{
        resp_null(&chain, RESP_2);
        resp_map(&chain, 3, RESP_2);
        resp_set(&chain, 3, RESP_2);
        resp_double(&chain, 0.5, RESP_2);
        resp_boolean(&chain, true, RESP_2);
        resp_verbatim(&chain, bytes_str("hello"), RESP_2);
        expect_written("$-1\r\n*6\r\n*3\r\n$3\r\n0.5\r\n:1\r\n$5\r\nhello\r\n");
        resp_null(&chain, RESP_3);
        resp_map(&chain, 3, RESP_3);
        resp_set(&chain, 3, RESP_3);
        resp_double(&chain, 0.5, RESP_3);
        resp_double(&chain, -INFINITY, RESP_3);
        resp_boolean(&chain, false, RESP_3);
        resp_verbatim(&chain, bytes_str("hello"), RESP_3);
        expect_written("_\r\n%3\r\n~3\r\n,0.5\r\n,-inf\r\n#f\r\n=9\r\ntxt:hello\r\n");
}

Test(resp_writer, pins_long_values_and_copies_short_ones)
{
        struct blob *blob = blob_new(LIMIT_PIN_MIN + 10);
        struct buf expected = {0};

        memset(blob->at, 'v', blob->len);
        resp_bulk_blob(&chain, blob, bytes_of(blob->at + 10, LIMIT_PIN_MIN - 1));
        cr_expect_eq(blob->refs, 1);
        chain_free(&chain);
        resp_bulk_blob(&chain, blob, bytes_of(blob->at + 10, LIMIT_PIN_MIN));
        cr_expect_eq(blob->refs, 2);
        buf_printf(&expected, "$%d\r\n", LIMIT_PIN_MIN);
        buf_append(&expected, bytes_of(blob->at + 10, LIMIT_PIN_MIN));
        buf_append(&expected, bytes_of("\r\n", 3));
        expect_written((const char *)expected.at);
        cr_expect_eq(blob->refs, 1);
        buf_free(&expected);
        blob_unref(blob);
}
