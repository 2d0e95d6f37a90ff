/* resp_parse: bytes -> commands of the Redis protocol: arrays of bulks, and inline commands.
 * Owns: the places of the arguments, and the text of an inline command. Borrows the input until
 * the next call.
 * Limits: LIMIT_ARGS, LIMIT_INLINE_BYTES, LENGTH_LINE_MAX for a line that holds a length, keep_max
 * and swallow_max for a bulk, 4 GiB for a command. Room for arguments grows with those that came,
 * never by what was announced.
 * Not here: which commands there are (request/command.c); what the whole input may take (io). */
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "wire/resp.h"

enum { LENGTH_LINE_MAX = 64, SPANS_KEEP = 1024, TEXT_KEEP_BYTES = 4096 };

void
resp_parser_init(struct resp_parser *p, uint64_t value_max)
{
        *p = (struct resp_parser){.cap = RESP_SPANS_FIRST};
        p->args = p->first;
        /* A key is a bulk too, and may be longer than a small value-max. */
        p->keep_max = value_max > LIMIT_KEY_BYTES ? value_max : LIMIT_KEY_BYTES;
        p->swallow_max = 4 * value_max > p->keep_max ? 4 * value_max : p->keep_max;
}

static void
spans_free(struct resp_parser *p)
{
        if (p->args != p->first)
                mem_free(p->args);
        p->args = p->first;
        p->cap = RESP_SPANS_FIRST;
}

void
resp_parser_deinit(struct resp_parser *p)
{
        spans_free(p);
        buf_free(&p->text);
}

void
resp_next(struct resp_parser *p)
{
        if (p->cap > SPANS_KEEP)
                spans_free(p);
        if (p->text.cap > TEXT_KEEP_BYTES)
                buf_free(&p->text);
        p->stage = RESP_AT_START;
        p->is_inline = p->refused = false;
        p->argc = 0;
        p->pos = p->seen = 0;
}

const char *
resp_fault(const struct resp_parser *p)
{
        return p->fault;
}

static void
span_push(struct resp_parser *p, size_t at, size_t len)
{
        if (p->argc == p->cap) {
                size_t bytes = sizeof *p->args * p->cap;

                if (p->args == p->first) {
                        p->args = mem_alloc(2 * bytes);
                        memcpy(p->args, p->first, bytes);
                } else {
                        p->args = mem_realloc(p->args, 2 * bytes);
                }
                p->cap *= 2;
        }
        p->args[p->argc++] = (struct resp_span){(uint32_t)at, (uint32_t)len};
}

static struct resp_parsed
bad(struct resp_parser *p, const char *why)
{
        if (why != p->fault)
                snprintf(p->fault, sizeof p->fault, "%s", why);
        p->stage = RESP_AT_FAULT;
        return (struct resp_parsed){.result = RESP_BAD};
}

/* `need` counts from the command's start, as pos does. What is swallowed is not kept. */
static struct resp_parsed
more(struct resp_parser *p, size_t need)
{
        struct resp_parsed r = {.result = RESP_MORE, .need = need};

        if (p->refused) {
                r.consumed = p->pos;
                r.need -= p->pos;
                p->pos = p->seen = 0;
        }
        return r;
}

static struct resp_parsed
complete(struct resp_parser *p, const uint8_t *base)
{
        p->stage = RESP_AT_END;
        p->base = base;
        return (struct resp_parsed){.result = p->refused ? RESP_REFUSED : RESP_COMPLETE,
                                    .consumed = p->pos};
}

enum length { LENGTH_READ, LENGTH_MORE, LENGTH_WRONG, LENGTH_ENDLESS };

bool
resp_number(struct bytes text, int64_t *out)
{
        struct bytes digits = text.len > 0 && text.at[0] == '-' ? bytes_from(text, 1) : text;

        if (digits.len == 0 || digits.at[0] == '+' || (digits.at[0] == '0' && text.len > 1))
                return false;
        return bytes_to_i64(text, out);
}

/* The length in the line at pos, whose first byte (the type) is there; moves pos behind it. */
static enum length
length_read(struct resp_parser *p, struct bytes in, int64_t *out)
{
        enum { QUICK_DIGITS = 9 };
        const uint8_t *at = in.at + p->pos + 1, *end = in.at + in.len, *cr;
        size_t room, from;
        unsigned n = 0;
        int i = 0;

        /* Nearly every line is a few digits that are all there. */
        for (; i < QUICK_DIGITS && at + i < end && at[i] >= '0' && at[i] <= '9'; i++)
                n = n * 10 + (unsigned)(at[i] - '0');
        if (i > 0 && end - at >= i + 2 && at[i] == '\r' && at[i + 1] == '\n' &&
            (at[0] != '0' || i == 1)) {
                *out = n;
                p->pos += (size_t)i + 3;
                return LENGTH_READ;
        }
        room = (size_t)(end - at) < LENGTH_LINE_MAX ? (size_t)(end - at) : LENGTH_LINE_MAX;
        from = p->seen > p->pos + 1 ? p->seen - p->pos - 1 : 0;
        cr = from < room ? memchr(at + from, '\r', room - from) : NULL;
        if (cr == NULL) {
                p->seen = p->pos + 1 + room;
                return room == LENGTH_LINE_MAX ? LENGTH_ENDLESS : LENGTH_MORE;
        }
        if (cr + 1 == end) {
                p->seen = p->pos + 1 + (size_t)(cr - at);
                return LENGTH_MORE;
        }
        if (cr[1] != '\n' || !resp_number(bytes_of(at, (size_t)(cr - at)), out))
                return LENGTH_WRONG;
        p->pos += (size_t)(cr - at) + 3;
        return LENGTH_READ;
}

/* The same. False: *r is the answer, in these words where the line is wrong or has no end. */
static bool
length_need(struct resp_parser *p, struct bytes in, const char *wrong, const char *endless,
            int64_t *out, struct resp_parsed *r)
{
        switch (length_read(p, in, out)) {
        case LENGTH_READ:
                return true;
        case LENGTH_MORE:
                *r = more(p, in.len + 1);
                break;
        case LENGTH_WRONG:
                *r = bad(p, wrong);
                break;
        case LENGTH_ENDLESS:
                *r = bad(p, endless);
                break;
        }
        return false;
}

/* The line "*N". False: *r is the answer. */
static bool
count_read(struct resp_parser *p, struct bytes in, struct resp_parsed *r)
{
        static const char wrong[] = "invalid multibulk length";
        int64_t n;

        if (!length_need(p, in, wrong, "too big mbulk count string", &n, r))
                return false;
        if (n > LIMIT_ARGS) {
                *r = bad(p, wrong);
                return false;
        }
        p->args_left = n > 0 ? (uint32_t)n : 0;
        p->stage = RESP_AT_HEADER;
        return true;
}

static struct resp_parsed
bad_type(struct resp_parser *p, uint8_t got)
{
        if (got == '\r' || got == '\n')
                got = ' ';
        else if (got < ' ' || got > '~')
                got = '?';
        snprintf(p->fault, sizeof p->fault, "expected '$', got '%c'", got);
        return bad(p, p->fault);
}

/* The line "$N". False: *r is the answer. */
static bool
header_read(struct resp_parser *p, struct bytes in, struct resp_parsed *r)
{
        static const char wrong[] = "invalid bulk length";
        int64_t n;

        if (p->pos == in.len) {
                *r = more(p, in.len + 1);
                return false;
        }
        if (in.at[p->pos] != '$') {
                *r = bad_type(p, in.at[p->pos]);
                return false;
        }
        if (!length_need(p, in, wrong, "too big bulk count string", &n, r))
                return false;
        if (n < 0 || (uint64_t)n > p->swallow_max) {
                *r = bad(p, wrong);
                return false;
        }
        if ((uint64_t)n > p->keep_max)
                p->refused = true;
        if (!p->refused && p->pos + (size_t)n + 2 > UINT32_MAX) {
                *r = bad(p, "too long command");
                return false;
        }
        p->bulk_left = (size_t)n;
        p->stage = RESP_AT_BULK;
        return true;
}

/* The bytes of a bulk and the line end behind them. False: *r is the answer. */
static bool
bulk_read(struct resp_parser *p, struct bytes in, struct resp_parsed *r)
{
        const uint8_t *end;

        if (p->refused) {
                size_t there = in.len - p->pos;
                size_t drop = there < p->bulk_left ? there : p->bulk_left;

                p->pos += drop;
                p->bulk_left -= drop;
        }
        if (in.len - p->pos < p->bulk_left + 2) {
                /* What is swallowed comes in any pieces. */
                *r = more(p,
                          p->refused && p->bulk_left > 0 ? p->pos + 1 : p->pos + p->bulk_left + 2);
                return false;
        }
        end = in.at + p->pos + p->bulk_left;
        if (end[0] != '\r' || end[1] != '\n') {
                *r = bad(p, "expected a line end after a bulk");
                return false;
        }
        if (!p->refused)
                span_push(p, p->pos, p->bulk_left);
        p->pos += p->bulk_left + 2;
        p->args_left--;
        p->stage = RESP_AT_HEADER;
        return true;
}

static bool
is_space(uint8_t c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

static int
hex_digit(uint8_t c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What `\c` stands for between double quotes. */
static uint8_t
escaped(uint8_t c)
{
        switch (c) {
        case 'n':
                return '\n';
        case 'r':
                return '\r';
        case 't':
                return '\t';
        case 'b':
                return '\b';
        case 'a':
                return '\a';
        default:
                return c;
        }
}

/* Copies what stands between two `quote`s, the first of which is passed, to p->text. Returns how
 * many bytes it took with the closing one; 0: that is missing, or something stands behind it. */
static size_t
quoted_read(struct resp_parser *p, struct bytes line, uint8_t quote)
{
        uint8_t *to = buf_reserve(&p->text, line.len);
        size_t i = 0;

        for (; i < line.len && line.at[i] != quote; i++) {
                uint8_t c = line.at[i];
                size_t left = line.len - i;

                if (c == '\\' && quote == '"' && left >= 4 && line.at[i + 1] == 'x' &&
                    hex_digit(line.at[i + 2]) >= 0 && hex_digit(line.at[i + 3]) >= 0) {
                        c = (uint8_t)(hex_digit(line.at[i + 2]) << 4 | hex_digit(line.at[i + 3]));
                        i += 3;
                } else if (c == '\\' && quote == '"' && left >= 2) {
                        c = escaped(line.at[++i]);
                } else if (c == '\\' && quote == '\'' && left >= 2 && line.at[i + 1] == '\'') {
                        c = line.at[++i];
                }
                *to++ = c;
                p->text.len++;
        }
        if (i == line.len || (i + 1 < line.len && !is_space(line.at[i + 1])))
                return 0;
        return i + 1;
}

/* Splits a line at its blanks. False: quotes without their partner. */
static bool
line_split(struct resp_parser *p, struct bytes line)
{
        p->text.len = 0;
        buf_reserve(&p->text, line.len);
        for (;;) {
                size_t from = p->text.len;

                while (line.len > 0 && is_space(line.at[0]))
                        line = bytes_from(line, 1);
                if (line.len == 0)
                        return true;
                while (line.len > 0 && !is_space(line.at[0])) {
                        uint8_t c = line.at[0];
                        size_t took;

                        line = bytes_from(line, 1);
                        if (c != '"' && c != '\'') {
                                p->text.at[p->text.len++] = c;
                                continue;
                        }
                        took = quoted_read(p, line, c);
                        if (took == 0)
                                return false;
                        line = bytes_from(line, took);
                }
                span_push(p, from, p->text.len - from);
        }
}

static struct resp_parsed
inline_read(struct resp_parser *p, struct bytes in)
{
        size_t room = in.len < LIMIT_INLINE_BYTES ? in.len : LIMIT_INLINE_BYTES;
        const uint8_t *lf = memchr(in.at + p->seen, '\n', room - p->seen);
        size_t len;

        if (lf == NULL) {
                if (room == LIMIT_INLINE_BYTES)
                        return bad(p, "too big inline request");
                p->seen = room;
                return more(p, in.len + 1);
        }
        len = (size_t)(lf - in.at);
        p->pos = len + 1;
        if (!line_split(p, bytes_of(in.at, len)))
                return bad(p, "unbalanced quotes in request");
        return complete(p, p->text.at);
}

struct resp_parsed
resp_parse(struct resp_parser *p, struct bytes in)
{
        struct resp_parsed r;

        switch (p->stage) {
        case RESP_AT_FAULT:
                return bad(p, p->fault);
        case RESP_AT_END:
                return complete(p, p->is_inline ? p->text.at : in.at);
        case RESP_AT_START:
                if (in.len == 0)
                        return more(p, 1);
                if (in.at[0] != '*') {
                        p->is_inline = true;
                        p->stage = RESP_AT_LINE;
                } else if (!count_read(p, in, &r)) {
                        return r;
                }
                break;
        case RESP_AT_HEADER:
        case RESP_AT_BULK:
        case RESP_AT_LINE:
                break;
        }
        if (p->stage == RESP_AT_LINE)
                return inline_read(p, in);
        if (p->stage == RESP_AT_BULK && !bulk_read(p, in, &r))
                return r;
        while (p->args_left > 0) {
                if (!header_read(p, in, &r) || !bulk_read(p, in, &r))
                        return r;
        }
        return complete(p, in.at);
}
