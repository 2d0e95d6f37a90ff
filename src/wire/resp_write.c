/* resp_write: replies of the Redis protocol, appended to a chain. What RESP2 cannot say is said in
 * its words: maps and sets as arrays, doubles and verbatim text as bulks, booleans as 1 and 0.
 * Owns nothing. */
#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "wire/resp.h"

enum { HEAD_MAX = 24, NUMBER_DIGITS_MAX = 20, DOUBLE_MAX = 40 };

/* Decimal digits of n at `to`; returns how many. */
static size_t
digits_put(uint8_t *to, uint64_t n)
{
        uint8_t digits[NUMBER_DIGITS_MAX];
        size_t i = sizeof digits;

        do {
                digits[--i] = (uint8_t)('0' + n % 10);
                n /= 10;
        } while (n > 0);
        memcpy(to, digits + i, sizeof digits - i);
        return sizeof digits - i;
}

/* `type`, n, line end. */
static size_t
head_put(uint8_t *to, char type, uint64_t n)
{
        size_t len = 1;

        to[0] = (uint8_t)type;
        len += digits_put(to + 1, n);
        to[len++] = '\r';
        to[len++] = '\n';
        return len;
}

static void
head(struct chain *out, char type, uint64_t n)
{
        chain_commit(out, head_put(chain_reserve(out, HEAD_MAX), type, n));
}

static void
line_end(struct chain *out)
{
        chain_append(out, bytes_of("\r\n", 2));
}

void
resp_simple(struct chain *out, const char *text)
{
        chain_append(out, bytes_of("+", 1));
        chain_append(out, bytes_str(text));
        line_end(out);
}

void
resp_error(struct chain *out, const char *text)
{
        size_t len = strlen(text);
        uint8_t *to = chain_reserve(out, len + 3);

        *to++ = '-';
        for (size_t i = 0; i < len; i++)
                *to++ = (uint8_t)((unsigned char)text[i] < ' ' ? ' ' : text[i]);
        *to++ = '\r';
        *to++ = '\n';
        chain_commit(out, len + 3);
}

void
resp_integer(struct chain *out, int64_t n)
{
        uint8_t *to = chain_reserve(out, HEAD_MAX);
        uint64_t size = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
        size_t len = 0;

        to[len++] = ':';
        if (n < 0)
                to[len++] = '-';
        len += digits_put(to + len, size);
        to[len++] = '\r';
        to[len++] = '\n';
        chain_commit(out, len);
}

void
resp_bulk(struct chain *out, struct bytes b)
{
        if (b.len < LIMIT_PIN_MIN) {
                uint8_t *to = chain_reserve(out, HEAD_MAX + b.len + 2);
                size_t len = head_put(to, '$', b.len);

                if (b.len > 0)
                        memcpy(to + len, b.at, b.len);
                len += b.len;
                to[len++] = '\r';
                to[len++] = '\n';
                chain_commit(out, len);
                return;
        }
        head(out, '$', b.len);
        chain_append(out, b);
        line_end(out);
}

void
resp_bulk_text(struct chain *out, const char *text)
{
        resp_bulk(out, bytes_str(text));
}

void
resp_bulk_blob(struct chain *out, struct blob *blob, struct bytes part)
{
        if (part.len < LIMIT_PIN_MIN) {
                resp_bulk(out, part);
                return;
        }
        head(out, '$', part.len);
        chain_append_blob(out, blob, part);
        line_end(out);
}

void
resp_bulk_number(struct chain *out, uint64_t n)
{
        uint8_t digits[NUMBER_DIGITS_MAX];

        resp_bulk(out, bytes_of(digits, digits_put(digits, n)));
}

void
resp_null(struct chain *out, enum resp_version v)
{
        chain_append(out, bytes_str(v == RESP_3 ? "_\r\n" : "$-1\r\n"));
}

void
resp_array(struct chain *out, size_t n)
{
        head(out, '*', n);
}

void
resp_map(struct chain *out, size_t n, enum resp_version v)
{
        if (v == RESP_3)
                head(out, '%', n);
        else
                head(out, '*', 2 * n);
}

void
resp_set(struct chain *out, size_t n, enum resp_version v)
{
        head(out, v == RESP_3 ? '~' : '*', n);
}

void
resp_double(struct chain *out, double d, enum resp_version v)
{
        char text[DOUBLE_MAX];

        if (isnan(d))
                snprintf(text, sizeof text, "nan");
        else if (isinf(d))
                snprintf(text, sizeof text, "%s", d > 0 ? "inf" : "-inf");
        else
                snprintf(text, sizeof text, "%.17g", d);
        if (v != RESP_3) {
                resp_bulk_text(out, text);
                return;
        }
        chain_append(out, bytes_of(",", 1));
        chain_append(out, bytes_str(text));
        line_end(out);
}

void
resp_boolean(struct chain *out, bool b, enum resp_version v)
{
        if (v == RESP_3)
                chain_append(out, bytes_str(b ? "#t\r\n" : "#f\r\n"));
        else
                resp_integer(out, b);
}

void
resp_verbatim(struct chain *out, struct bytes text, enum resp_version v)
{
        if (v != RESP_3) {
                resp_bulk(out, text);
                return;
        }
        head(out, '=', text.len + 4);
        chain_append(out, bytes_of("txt:", 4));
        chain_append(out, text);
        line_end(out);
}
