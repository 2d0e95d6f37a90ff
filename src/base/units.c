/* units: sizes and times as people write them. Whole numbers only, one unit, in any case of
 * letters. Owns nothing. Limit: what does not fit 64 bits is refused. */
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>

struct unit { /* tables are ordered from the largest; the last factor is 1 */
        const char *name;
        uint64_t factor;
};

static const struct unit size_units[] = {
        {"gb", 1073741824}, {"mb", 1048576}, {"kb", 1024}, {"b", 1}, {NULL, 0},
};
static const struct unit time_units[] = {
        {"h", 3600000000}, {"m", 60000000}, {"s", 1000000}, {"ms", 1000}, {"us", 1}, {NULL, 0},
};

static bool
unit_parse(struct bytes text, const struct unit *units, uint64_t bare, uint64_t *out)
{
        size_t digits = 0;
        uint64_t n, factor = bare;
        struct bytes name;

        while (digits < text.len && text.at[digits] >= '0' && text.at[digits] <= '9')
                digits++;
        if (!bytes_to_u64(bytes_of(text.at, digits), &n))
                return false;
        name = bytes_from(text, digits);
        if (name.len > 0) {
                while (units->name != NULL && !bytes_equal_nocase(name, units->name))
                        units++;
                if (units->name == NULL)
                        return false;
                factor = units->factor;
        }
        return !__builtin_mul_overflow(n, factor, out);
}

bool
size_parse(struct bytes text, uint64_t *bytes)
{
        uint64_t n;

        if (!unit_parse(text, size_units, 1, &n))
                return false;
        *bytes = n;
        return true;
}

bool
time_parse(struct bytes text, uint64_t *us)
{
        uint64_t n;

        if (!unit_parse(text, time_units, 1000000, &n))
                return false;
        *us = n;
        return true;
}

char *
size_format(uint64_t bytes, char out[static 32])
{
        const struct unit *u = size_units;

        while (u->factor > 1 && (bytes == 0 || bytes % u->factor != 0))
                u++;
        snprintf(out, 32, "%" PRIu64 "%s", bytes / u->factor, u->factor > 1 ? u->name : "");
        return out;
}

char *
time_format(uint64_t us, char out[static 32])
{
        const struct unit *u = time_units;

        if (us == 0)
                return memcpy(out, "0s", 3);
        while (us % u->factor != 0)
                u++;
        snprintf(out, 32, "%" PRIu64 "%s", us / u->factor, u->name);
        return out;
}
