/* bytes: comparing and reading numbers out of borrowed bytes. Owns nothing, borrows what it is
 * given. Limit: a decimal fraction of more than DOUBLE_CHARS_MAX characters is refused. Not here:
 * units (units.c), anything that knows a protocol. */
#include "base/bytes.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { DOUBLE_CHARS_MAX = 127 };

static uint8_t
lower(uint8_t c)
{
        return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool
bytes_equal_nocase(struct bytes a, const char *text)
{
        for (size_t i = 0; i < a.len; i++) {
                if (text[i] == '\0' || lower(a.at[i]) != lower((uint8_t)text[i]))
                        return false;
        }
        return text[a.len] == '\0';
}

bool
bytes_to_u64(struct bytes b, uint64_t *out)
{
        uint64_t n = 0;

        if (b.len > 0 && b.at[0] == '+')
                b = bytes_from(b, 1);
        if (b.len == 0)
                return false;
        for (size_t i = 0; i < b.len; i++) {
                if (b.at[i] < '0' || b.at[i] > '9')
                        return false;
                if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
                    __builtin_add_overflow(n, (uint64_t)(b.at[i] - '0'), &n))
                        return false;
        }
        *out = n;
        return true;
}

bool
bytes_to_i64(struct bytes b, int64_t *out)
{
        bool negative = b.len > 0 && b.at[0] == '-';
        uint64_t n;

        if (negative) {
                b = bytes_from(b, 1);
                if (b.len > 0 && b.at[0] == '+')
                        return false;
        }
        if (!bytes_to_u64(b, &n) || n > (uint64_t)INT64_MAX + negative)
                return false;
        *out = negative ? (int64_t)(0 - n) : (int64_t)n;
        return true;
}

bool
bytes_to_double(struct bytes b, double *out)
{
        char text[DOUBLE_CHARS_MAX + 1];
        char *end;
        double value;

        if (b.len == 0 || b.len > DOUBLE_CHARS_MAX)
                return false;
        /* strtod() also takes spaces, hexadecimal, "inf" and "nan": none of them is a decimal
         * number. */
        for (size_t i = 0; i < b.len; i++) {
                if (memchr("0123456789.+-eE", b.at[i], 15) == NULL)
                        return false;
        }
        memcpy(text, b.at, b.len);
        text[b.len] = '\0';
        value = strtod(text, &end);
        if (end != text + b.len || !isfinite(value))
                return false;
        *out = value;
        return true;
}
