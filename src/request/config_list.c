/* request/config_list.c: see config_list.h. Owns nothing.
 * Limit: a pattern of PATTERN_MAX bytes (no name is as long). */
#include "request/config_list.h"

#include <inttypes.h>
#include <stdio.h>

enum { PATTERN_MAX = 256 };

/* ---- Redis' own names, with what is true here ---- */

struct redis_name {
        const char *name;
        const char *value; /* NULL: the number of `from` */
        enum option_id from;
};

static const struct redis_name redis_names[] = {
        {"maxmemory", NULL, O_memory},
        {"maxclients", NULL, O_connections_max},
        {"proto-max-bulk-len", NULL, O_value_max},
        {"maxmemory-policy", "allkeys-lru", 0},
        {"appendonly", "no", 0},
        {"save", "", 0},
        {"databases", "1", 0},
        {"timeout", "0", 0},
        {"cluster-enabled", "no", 0},
        {"notify-keyspace-events", "", 0},
};

enum { REDIS_NAMES = sizeof redis_names / sizeof *redis_names };

size_t
config_count(void)
{
        return REDIS_NAMES + OPTION_COUNT_ALL;
}

/* Overwrites from `at` on with "***", what follows `end` moves up. */
static void
mask(char *text, size_t at, size_t end)
{
        char rest[CONFIG_VALUE_BYTES];

        snprintf(rest, sizeof rest, "%s", text + end);
        snprintf(text + at, CONFIG_VALUE_BYTES - at, "***%s", rest);
}

/* Where a value that begins at `at` ends: 'quoted', or at a blank or &. */
static size_t
word_end(const char *text, size_t at)
{
        if (text[at] != '\'')
                return at + strcspn(text + at, " &");
        for (at++; text[at] != '\0' && text[at] != '\''; at++) {
                if (text[at] == '\\' && text[at + 1] != '\0')
                        at++;
        }
        return at + (text[at] == '\'');
}

/* user:password@ of a URL, and password=... anywhere. What was cut off may have held the '@' that
 * ends a password, so a URL that long tells its beginning alone. */
static void
hide_secrets(char *text)
{
        char *scheme = strstr(text, "://"), *at;
        size_t from = 0;

        if (scheme != NULL) {
                size_t start = (size_t)(scheme - text) + 3;

                at = strrchr(scheme, '@');
                if (strlen(text) == CONFIG_VALUE_BYTES - 1)
                        mask(text, start, strlen(text));
                else if (at != NULL)
                        mask(text, start, (size_t)(at - text));
        }
        while ((at = strcasestr(text + from, "password")) != NULL) {
                size_t value = (size_t)(at - text) + strlen("password");

                value += strspn(text + value, " ");
                from = value;
                if (text[value] != '=')
                        continue;
                value++;
                value += strspn(text + value, " ");
                mask(text, value, word_end(text, value));
                from = value + strlen("***");
        }
}

void
config_line(const struct env *env, size_t i, struct config_line *out)
{
        const struct options *o = env->options;
        enum option_id id = (enum option_id)(i - REDIS_NAMES);

        if (i < REDIS_NAMES) {
                snprintf(out->name, sizeof out->name, "%s", redis_names[i].name);
                if (redis_names[i].value != NULL)
                        snprintf(out->value, sizeof out->value, "%s", redis_names[i].value);
                else
                        snprintf(out->value, sizeof out->value, "%" PRIu64,
                                 option_number(o, redis_names[i].from));
                return;
        }
        option_argv_name(&option_rows[id], out->name);
        option_format(&option_rows[id], o->value[id], out->value);
        if (id == O_l2_url || id == O_l3_url)
                hide_secrets(out->value);
}

/* ---- patterns ---- */

static uint8_t
lower(uint8_t c)
{
        return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* Does the class at p (behind its '[') hold c? *len is how many bytes it takes with its ']'. */
static bool
class_holds(struct bytes p, uint8_t c, size_t *len)
{
        bool not = p.len > 0 && p.at[0] == '^', holds = false;
        size_t i = not ;

        for (; i < p.len && p.at[i] != ']'; i++) {
                uint8_t from, to;

                if (p.at[i] == '\\' && i + 1 < p.len)
                        i++;
                from = to = lower(p.at[i]);
                if (i + 2 < p.len && p.at[i + 1] == '-' && p.at[i + 2] != ']') {
                        to = lower(p.at[i + 2]);
                        i += 2;
                }
                holds |= (c >= from && c <= to) || (c >= to && c <= from);
        }
        *len = i < p.len ? i + 1 : i;
        return holds != not ;
}

/* Does what stands first in p match c? *len is how many bytes of p that is. */
static bool
one_matches(struct bytes p, uint8_t c, size_t *len)
{
        *len = 1;
        switch (p.at[0]) {
        case '?':
                return true;
        case '[': {
                bool holds = class_holds(bytes_from(p, 1), c, len);

                *len += 1;
                return holds;
        }
        case '\\':
                if (p.len > 1) {
                        *len = 2;
                        return lower(p.at[1]) == c;
                }
                fallthrough;
        default:
                return lower(p.at[0]) == c;
        }
}

bool
config_matches(struct bytes pattern, const char *name)
{
        struct bytes p = pattern, behind_star = {0};
        const char *retry = NULL;
        size_t len;

        if (pattern.len > PATTERN_MAX)
                return false;
        while (*name != '\0') {
                if (p.len > 0 && p.at[0] == '*') {
                        p = behind_star = bytes_from(p, 1);
                        retry = name;
                } else if (p.len > 0 && one_matches(p, lower((uint8_t)*name), &len)) {
                        p = bytes_from(p, len);
                        name++;
                } else if (retry != NULL) {
                        p = behind_star;
                        name = ++retry;
                } else {
                        return false;
                }
        }
        while (p.len > 0 && p.at[0] == '*')
                p = bytes_from(p, 1);
        return p.len == 0;
}
