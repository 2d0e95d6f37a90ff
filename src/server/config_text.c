/* config_text: options as people read them: --help, --print-config, guesses at misspelt names, and
 * values without their passwords. Owns nothing. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "server/config.h"

enum { COLUMNS = 79, HELP_AT = 24, SHOW_BYTES = 1024, GUESS_DISTANCE = 3, WORD_MAX = 64 };

/* ---- values without secrets ---- */

struct shown {
        char *out;
        size_t len;
};

static void
show(struct shown *s, const char *text, size_t len)
{
        if (len > SHOW_BYTES - 1 - s->len)
                len = SHOW_BYTES - 1 - s->len;
        memcpy(s->out + s->len, text, len);
        s->len += len;
        s->out[s->len] = '\0';
}

/* user:PASSWORD@ behind "://": what is shown of it is still a URL. How much of text was dealt
 * with. */
static size_t
show_user(struct shown *s, const char *text)
{
        const char *scheme = strstr(text, "://"), *at, *colon;

        if (scheme == NULL || (at = strrchr(scheme, '@')) == NULL)
                return 0;
        colon = memchr(scheme + 3, ':', (size_t)(at - scheme - 3));
        if (colon == NULL)
                return 0;
        show(s, text, (size_t)(colon - text) + 1);
        show(s, "***", 3);
        return (size_t)(at - text);
}

static size_t
word_end(const char *text)
{
        size_t n = 0;

        if (text[0] != '\'')
                return strcspn(text, " &");
        for (n = 1; text[n] != '\0' && text[n] != '\''; n++)
                n += text[n] == '\\' && text[n + 1] != '\0';
        return n + (text[n] == '\'');
}

/* The rest, without what stands behind "password=". */
static void
show_rest(struct shown *s, const char *text)
{
        static const char word[] = "password";
        const char *at;

        while ((at = strcasestr(text, word)) != NULL) {
                const char *value = at + strlen(word);

                value += strspn(value, " ");
                if (*value == '=') {
                        value++;
                        value += strspn(value, " ");
                        show(s, text, (size_t)(value - text));
                        show(s, "***", 3);
                        value += word_end(value);
                } else {
                        show(s, text, (size_t)(value - text));
                }
                text = value;
        }
        show(s, text, strlen(text));
}

char *
config_show(enum option_id id, union option_value value, char out[static 1024])
{
        struct shown s = {out, 0};

        out[0] = '\0';
        if (option_rows[id].type == OPTION_TEXT)
                show_rest(&s, value.text + show_user(&s, value.text));
        else
                option_format(&option_rows[id], value, out);
        return out;
}

/* ---- guesses ---- */

static unsigned
least(unsigned a, unsigned b, unsigned c)
{
        unsigned m = a < b ? a : b;

        return m < c ? m : c;
}

/* How many letters must be put in, left out or changed. */
static unsigned
distance(const char *a, const char *b)
{
        unsigned row[WORD_MAX + 1];
        size_t la = strlen(a), lb = strlen(b);

        if (la > WORD_MAX || lb > WORD_MAX)
                return WORD_MAX;
        for (size_t j = 0; j <= lb; j++)
                row[j] = (unsigned)j;
        for (size_t i = 1; i <= la; i++) {
                unsigned corner = row[0];

                row[0] = (unsigned)i;
                for (size_t j = 1; j <= lb; j++) {
                        unsigned above = row[j];

                        row[j] = least(above + 1, row[j - 1] + 1, corner + (a[i - 1] != b[j - 1]));
                        corner = above;
                }
        }
        return row[lb];
}

const char *
config_suggest(const char *wrong, const char *prefix, char out[static 128])
{
        unsigned best = GUESS_DISTANCE + 1;

        out[0] = '\0';
        for (int id = 0; id < OPTION_COUNT_ALL; id++) {
                char name[WORD_MAX];
                unsigned d;

                option_argv_name(&option_rows[id], name);
                if (prefix[0] == '\0')
                        snprintf(name, sizeof name, "%s", option_rows[id].name);
                d = distance(wrong, name);
                if (d >= best || d >= strlen(name))
                        continue;
                best = d;
                snprintf(out, 128, " (did you mean %s%s?)", prefix, name);
        }
        return out;
}

/* ---- help ---- */

static const char *
value_kind(enum option_type type)
{
        static const char *const kinds[] = {"SIZE", "TIME", "N", "yes|no", "TEXT", "NAME", "MODE"};

        return kinds[type];
}

/* Words from column HELP_AT on, at most COLUMNS wide; `column` is where we stand. */
static void
print_wrapped(const char *text, size_t column)
{
        while (*text != '\0') {
                size_t len = strcspn(text, " ");

                if (column < HELP_AT) {
                        printf("%*s", (int)(HELP_AT - column), "");
                        column = HELP_AT;
                } else if (column + 1 + len > COLUMNS) {
                        printf("\n%*s", HELP_AT, "");
                        column = HELP_AT;
                } else if (column > HELP_AT) {
                        putchar(' ');
                        column++;
                }
                printf("%.*s", (int)len, text);
                column += len;
                text += len + strspn(text + len, " ");
        }
        putchar('\n');
}

static void
print_option(const char *name, const char *kind, const char *text)
{
        size_t column = (size_t)printf("  --%s%s%s", name, kind[0] ? " " : "", kind);

        if (column + 1 > HELP_AT) {
                putchar('\n');
                column = 0;
        }
        print_wrapped(text, column);
}

/* The meaning, what is legal, and the default. */
static void
row_text(const struct option_row *row, char out[static 512])
{
        int n = snprintf(out, 512, "%s", row->help);

        if (row->type == OPTION_CHOICE)
                n += snprintf(out + n, 512 - (size_t)n, ": %s", row->values);
        else if (row->min[0] != '\0')
                n += snprintf(out + n, 512 - (size_t)n, "; %s to %s", row->min, row->max);
        if (row->fallback[0] != '\0')
                snprintf(out + n, 512 - (size_t)n, " [%s]", row->fallback);
}

static void
print_row(const struct option_row *row)
{
        char name[64], text[512];

        row_text(row, text);
        print_option(option_argv_name(row, name), value_kind(row->type), text);
}

void
config_print_help(void)
{
        const char *section = "";

        printf("Usage: pannierd [--NAME VALUE]...\n\n"
               "A cache beside a service: memory, Redis and PostgreSQL behind one socket.\n\n");
        print_option("config", "FILE",
                     "Configuration file (INI): [server] [l1] [l2] [l3] "
                     "[namespace NAME]");
        print_option("check-config", "", "Judge the configuration, then end: status 0 or 2");
        print_option("print-config", "",
                     "Show the configuration that would be used, as a file; a password as ***");
        print_option("print-schema", "",
                     "Show the SQL that makes the tables of L3, for whoever may create them");
        print_option("version", "", "Show the version (-V)");
        print_option("help", "", "Show this (-h)");
        for (int id = 0; id < OPTION_COUNT_ALL; id++) {
                const struct option_row *row = &option_rows[id];

                if (strcmp(section, row->section) != 0) {
                        section = row->section;
                        printf("\n[%s]\n", section);
                }
                print_row(row);
        }
        printf("\nEach is also a line of the file (--l2-timeout is timeout in [l2]; --l2 and --l3\n"
               "are url) and a variable (PANNIER_L2_TIMEOUT). The command line beats the\n"
               "environment beats the file. Sizes: 64kb 512mb 2gb; times: 250us 20ms 5m 24h.\n\n"
               "Lines of [namespace NAME] sections; [namespace default] holds for all others:\n\n");
        for (int id = 0; id < POLICY_COUNT_ALL; id++) {
                const struct option_row *row = &policy_rows[id];
                size_t column = (size_t)printf("  %s %s", row->name, value_kind(row->type));
                char text[512];

                row_text(row, text);
                if (column + 1 > HELP_AT) {
                        putchar('\n');
                        column = 0;
                }
                print_wrapped(text, column);
        }
}

/* ---- the configuration in use ---- */

static void
print_policies(const struct policies *p)
{
        const char *name;

        for (size_t i = 0; (name = policies_name(p, i)) != NULL; i++) {
                const struct policy *policy = policies_find(p, bytes_str(name));

                printf("\n[namespace %s]\n", name);
                for (int id = 0; id < POLICY_COUNT_ALL; id++) {
                        char text[256];

                        printf("%s = %s\n", policy_rows[id].name,
                               option_format(&policy_rows[id], policy->value[id], text));
                }
        }
}

void
config_print(const struct config *c)
{
        const char *section = "";

        for (int i = 0; i < OPTION_COUNT_ALL; i++) {
                enum option_id id = (enum option_id)i;
                const struct option_row *row = &option_rows[id];
                char text[SHOW_BYTES];

                if (strcmp(section, row->section) != 0) {
                        printf("%s[%s]\n", section[0] ? "\n" : "", row->section);
                        section = row->section;
                }
                printf("%s = %s\n", row->name, config_show(id, c->options.value[id], text));
        }
        print_policies(c->policies);
}
