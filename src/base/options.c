/* options: the rows of def/options.def, and judging a value by its row. Owns: the texts of the
 * table it is given. Not here: where values come from and which source wins (server/config.c),
 * namespaces (cache/policy.c). */
#include "base/options.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/units.h"

enum { WHY_BYTES = 256, FORMAT_BYTES = 256, TEXT_BYTES_MAX = 4096 };

const struct option_row option_rows[OPTION_COUNT_ALL] = {
#define OPTION(field, section, name, type, fallback, min, max, values, apply, help) \
        [O_##field] = {#section, name, fallback,      min,          max,            \
                       values,   help, OPTION_##type, APPLY_##apply},
#include "def/options.def"
#undef OPTION
};

const struct option_row policy_rows[POLICY_COUNT_ALL] = {
#define POLICY(field, name, type, fallback, min, max, values, help) \
        [P_##field] = {"", name, fallback, min, max, values, help, OPTION_##type, APPLY_LIVE},
#include "def/options.def"
#undef POLICY
};

printf_like(2, 3) static bool refuse(char *why, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(why, WHY_BYTES, format, args);
        va_end(args);
        return false;
}

static bool
octal_parse(struct bytes text, uint64_t *out)
{
        uint64_t n = 0;

        if (text.len == 0 || text.len > 8)
                return false;
        for (size_t i = 0; i < text.len; i++) {
                if (text.at[i] < '0' || text.at[i] > '7')
                        return false;
                n = n * 8 + (uint64_t)(text.at[i] - '0');
        }
        *out = n;
        return true;
}

static bool
number_parse(enum option_type type, struct bytes text, uint64_t *out)
{
        switch (type) {
        case OPTION_SIZE:
                return size_parse(text, out);
        case OPTION_TIME:
                return time_parse(text, out);
        case OPTION_COUNT:
                return bytes_to_u64(text, out);
        case OPTION_MODE:
                return octal_parse(text, out);
        case OPTION_BOOL:
        case OPTION_TEXT:
        case OPTION_CHOICE:
                break;
        }
        return false;
}

/* What a number of that type looks like, for those who wrote something else. */
static const char *
number_kind(enum option_type type)
{
        switch (type) {
        case OPTION_SIZE:
                return "a size (as 64kb, 512mb or 2gb)";
        case OPTION_TIME:
                return "a time (as 250us, 20ms, 5m or 24h)";
        case OPTION_MODE:
                return "permissions in octal digits";
        default:
                return "a whole number";
        }
}

static bool
number_judge(const struct option_row *row, struct bytes text, uint64_t *out, char *why)
{
        uint64_t n, min = 0, max = UINT64_MAX;

        must(row->min[0] == '\0' || number_parse(row->type, bytes_str(row->min), &min));
        must(row->max[0] == '\0' || number_parse(row->type, bytes_str(row->max), &max));
        if (!number_parse(row->type, text, &n))
                return refuse(why, "must be %s from %s to %s", number_kind(row->type), row->min,
                              row->max);
        if (n < min || n > max)
                return refuse(why, "must be from %s to %s", row->min, row->max);
        *out = n;
        return true;
}

/* Word number `index` of `values`; empty past the last. */
static struct bytes
choice_word(const char *values, uint64_t index)
{
        const char *at = values;

        for (; index > 0 && *at != '\0'; index--) {
                at += strcspn(at, " ");
                at += *at == ' ';
        }
        return bytes_of(at, strcspn(at, " "));
}

static bool
choice_judge(const struct option_row *row, struct bytes text, uint64_t *out, char *why)
{
        struct bytes word;

        for (uint64_t i = 0; (word = choice_word(row->values, i)).len > 0; i++) {
                if (bytes_equal(word, text)) {
                        *out = i;
                        return true;
                }
        }
        return refuse(why, "must be one of: %s", row->values);
}

static bool
bool_judge(struct bytes text, uint64_t *out, char *why)
{
        bool yes = bytes_equal(text, bytes_str("yes"));

        if (!yes && !bytes_equal(text, bytes_str("no")))
                return refuse(why, "must be one of: yes no");
        *out = yes;
        return true;
}

static bool
text_judge(struct bytes text, char **out, char *why)
{
        char *copy;

        if (text.len > TEXT_BYTES_MAX)
                return refuse(why, "must be at most %d bytes long", TEXT_BYTES_MAX);
        for (size_t i = 0; i < text.len; i++) {
                if (text.at[i] < ' ' || text.at[i] == 0x7f)
                        return refuse(why, "must not contain control characters");
        }
        copy = mem_alloc(text.len + 1);
        memcpy(copy, text.at, text.len);
        copy[text.len] = '\0';
        *out = copy;
        return true;
}

bool
option_parse(const struct option_row *row, struct bytes text, union option_value *out,
             char why[static 256])
{
        switch (row->type) {
        case OPTION_TEXT:
                return text_judge(text, &out->text, why);
        case OPTION_CHOICE:
                return choice_judge(row, text, &out->number, why);
        case OPTION_BOOL:
                return bool_judge(text, &out->number, why);
        case OPTION_SIZE:
        case OPTION_TIME:
        case OPTION_COUNT:
        case OPTION_MODE:
                break;
        }
        return number_judge(row, text, &out->number, why);
}

bool
options_set(struct options *o, enum option_id id, struct bytes text, char why[static 256])
{
        const struct option_row *row = &option_rows[id];
        union option_value value;

        if (!option_parse(row, text, &value, why))
                return false;
        if (row->type == OPTION_TEXT)
                mem_free(o->value[id].text);
        o->value[id] = value;
        return true;
}

void
options_init(struct options *o)
{
        char why[WHY_BYTES];

        *o = (struct options){0};
        for (int id = 0; id < OPTION_COUNT_ALL; id++)
                must(options_set(o, (enum option_id)id, bytes_str(option_rows[id].fallback), why));
}

void
options_deinit(struct options *o)
{
        for (int id = 0; id < OPTION_COUNT_ALL; id++) {
                if (option_rows[id].type == OPTION_TEXT)
                        mem_free(o->value[id].text);
        }
        *o = (struct options){0};
}

char *
option_format(const struct option_row *row, union option_value v, char out[static 256])
{
        struct bytes word;

        switch (row->type) {
        case OPTION_SIZE:
                return size_format(v.number, out);
        case OPTION_TIME:
                return time_format(v.number, out);
        case OPTION_COUNT:
                snprintf(out, FORMAT_BYTES, "%" PRIu64, v.number);
                return out;
        case OPTION_BOOL:
                snprintf(out, FORMAT_BYTES, "%s", v.number ? "yes" : "no");
                return out;
        case OPTION_TEXT:
                snprintf(out, FORMAT_BYTES, "%s", v.text);
                return out;
        case OPTION_CHOICE:
                word = choice_word(row->values, v.number);
                snprintf(out, FORMAT_BYTES, "%.*s", (int)word.len, (const char *)word.at);
                return out;
        case OPTION_MODE:
                snprintf(out, FORMAT_BYTES, "0%" PRIo64, v.number);
                return out;
        }
        return out;
}

char *
option_argv_name(const struct option_row *row, char out[static 64])
{
        if (row->section[0] == '\0' || strcmp(row->section, "server") == 0)
                snprintf(out, 64, "%s", row->name);
        else if (strcmp(row->name, "url") == 0)
                snprintf(out, 64, "%s", row->section);
        else
                snprintf(out, 64, "%s-%s", row->section, row->name);
        return out;
}
