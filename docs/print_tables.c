/* Prints the documentation that follows from the tables in src/def: `print_tables --options`,
 * `--metrics`, `--errors`, `--commands` (Markdown) and `--example` (a configuration file).
 * tests/docs_fresh.py compares what it prints with the files in the repository, and writes them. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "base/options.h"

static const char generated_mark[] =
        "<!-- Generated from src/def; `tests/docs_fresh.py build --write` renews it. -->\n";

static const char options_text[] =
        "Every option is a line of the configuration file (`--config FILE`), an argument and an\n"
        "environment variable. An argument beats the environment, and the environment beats the\n"
        "file. `[l2] timeout` in the file is `--l2-timeout` on the command line and\n"
        "`PANNIER_L2_TIMEOUT` in the environment; `[server] memory` is `--memory` and\n"
        "`PANNIER_MEMORY`. The addresses of the tiers have short names: `[l2] url` is `--l2`\n"
        "and `PANNIER_L2`.\n"
        "\n"
        "Sizes are written as `64kb`, `512mb`, `2gb`; a bare number is bytes. Times are written\n"
        "as `250us`, `20ms`, `5m`, `24h`; a bare number is seconds.\n"
        "\n"
        "*Change* says when a new value counts: after a restart, or after a reload (SIGHUP).\n"
        "`pannierd --check-config` judges a configuration without starting; `--print-config`\n"
        "shows the one in force. `deploy/pannier.conf` holds every option with its default.\n";

static const char policy_text[] =
        "\n"
        "## [namespace NAME]\n"
        "\n"
        "The namespace of a key is its text before the first `:`. A section sets the policy of\n"
        "one namespace; what a section does not say comes from `[namespace default]`, and what\n"
        "that does not say from this table. All of it can be changed by a reload.\n"
        "\n"
        "| Line | Values | Default | Meaning |\n"
        "|---|---|---|---|\n";

static const char limits_text[] =
        "\n"
        "## Fixed limits\n"
        "\n"
        "These are not options. Names that end in `_US` are microseconds.\n"
        "\n"
        "| Name | Limit | What it bounds |\n"
        "|---|---|---|\n";

static const char metrics_text[] =
        "`/metrics` of the admin address shows them in the text format of Prometheus, summed\n"
        "over all worker threads. INFO shows the same numbers under the names in the last\n"
        "column. A counter only grows; a gauge is what is so now.\n"
        "\n"
        "| Prometheus | Kind | Meaning | INFO |\n"
        "|---|---|---|---|\n";

static const char errors_text[] =
        "A RESP client reads the prefix and the sentence (`-ERR syntax error`); a native client\n"
        "reads the status and the sentence. A status never gets a new meaning. `%s` stands for\n"
        "a detail. No error ever holds a key or a value. Statuses from 48 on stay inside the\n"
        "server.\n"
        "\n"
        "| Status | Prefix | Sentence |\n"
        "|---|---|---|\n";

static const char commands_text[] =
        "What a RESP client may send. Replies come in the order of the commands. Of one\n"
        "connection, commands that read overlap each other, and so do commands that write; a\n"
        "command that writes waits for the reads before it, and the other way round, so a\n"
        "pipeline reads its own writes. A command that *waits* does so until all before it\n"
        "are answered.\n";

static const char example_text[] =
        "# Every option of Pannier with its default. Take away the `# ` of a line to change it.\n"
        "# Generated from src/def; docs/configuration.md says more.\n"
        "# Sizes: 64kb 512mb 2gb, a bare number is bytes. Times: 250us 20ms 5m 24h, a bare\n"
        "# number is seconds. `pannierd --config FILE --check-config` judges this file without\n"
        "# starting.\n";

static const char example_namespace_text[] =
        "\n"
        "# Policy of the keys that no other section speaks of. The namespace of a key is its\n"
        "# text before the first `:`.\n"
        "[namespace default]\n";

static const char example_end_text[] =
        "\n"
        "# An example: answers of a model, keys `llm:...`, kept for a day, and an hour more\n"
        "# while a fresh one is made.\n"
        "# [namespace llm]\n"
        "# ttl = 24h\n"
        "# grace = 1h\n"
        "# deadline = 100ms\n";

/* Markdown takes a bar as the end of a cell. */
static void
print_cell(const char *text)
{
        for (; *text != '\0'; text++) {
                if (*text == '|')
                        putchar('\\');
                putchar(*text);
        }
}

/* The legal values, for people. */
static void
print_values(const struct option_row *row, const char * or)
{
        switch (row->type) {
        case OPTION_CHOICE:
                for (const char *at = row->values; *at != '\0'; at++) {
                        if (*at == ' ')
                                printf("%s", or);
                        else
                                putchar(*at);
                }
                return;
        case OPTION_BOOL:
                printf("yes%sno", or);
                return;
        case OPTION_TEXT:
                printf("text");
                return;
        case OPTION_SIZE:
        case OPTION_TIME:
        case OPTION_COUNT:
        case OPTION_MODE:
                printf("%s to %s", row->min, row->max);
                return;
        }
}

static void
print_default(const struct option_row *row)
{
        if (row->fallback[0] == '\0')
                printf("none");
        else
                printf("`%s`", row->fallback);
}

static void
print_option_row(const struct option_row *row)
{
        char name[64];

        printf("| `%s` | `--%s` | ", row->name, option_argv_name(row, name));
        print_values(row, ", ");
        printf(" | ");
        print_default(row);
        printf(" | %s | ", row->apply == APPLY_LIVE ? "reload" : "restart");
        print_cell(row->help);
        printf(" |\n");
}

static void
print_options(void)
{
        const char *section = "";

        printf("# Configuration\n\n%s\n%s", generated_mark, options_text);
        for (int i = 0; i < OPTION_COUNT_ALL; i++) {
                const struct option_row *row = &option_rows[i];

                if (strcmp(section, row->section) != 0) {
                        section = row->section;
                        printf("\n## [%s]\n\n", section);
                        printf("| Line | Argument | Values | Default | Change | Meaning |\n");
                        printf("|---|---|---|---|---|---|\n");
                }
                print_option_row(row);
        }
        printf("%s", policy_text);
        for (int i = 0; i < POLICY_COUNT_ALL; i++) {
                const struct option_row *row = &policy_rows[i];

                printf("| `%s` | ", row->name);
                print_values(row, ", ");
                printf(" | ");
                print_default(row);
                printf(" | ");
                print_cell(row->help);
                printf(" |\n");
        }
        printf("%s", limits_text);
#define LIMIT(name, value, help) \
        printf("| `%s` | %" PRId64 " | %s |\n", #name, (int64_t)(value), help);
#include "def/limits.def"
#undef LIMIT
}

static void
print_metrics(void)
{
        printf("# Metrics\n\n%s\n%s", generated_mark, metrics_text);
        for (int i = 0; i < METRIC_COUNT; i++) {
                const struct metric_row *row = &metric_rows[i];
                bool counter = row->kind == METRIC_COUNTER;

                printf("| `pannier_%s%s", row->family, counter ? "_total" : "");
                if (row->labels[0] != '\0')
                        printf("{%s}", row->labels);
                printf("` | %s | ", counter ? "counter" : "gauge");
                print_cell(row->help);
                printf(" | `%s` |\n", row->name);
        }
}

static void
print_errors(void)
{
        printf("# Errors\n\n%s\n%s", generated_mark, errors_text);
        for (int i = 1; i < ERR_COUNT; i++) {
                enum err e = (enum err)i;

                printf("| %u | `%s` | ", err_status(e), err_prefix(e));
                print_cell(err_text(e));
                printf(" |\n");
        }
}

/* The flags of def/commands.def that matter here; the others are named, so that a row compiles. */
enum command_flag {
        FAST = 0,
        ADMIN = 0,
        KEY = 0,
        KEYS = 0,
        PAIRS = 0,
        READ = 1,
        WRITE = 2,
        BARRIER = 4,
        STRING = 8,
        GENERIC = 16,
        CONNECTION = 32,
        SERVER = 64,
        PANNIER = 128,
};

static const struct command_row {
        const char *syntax, *summary;
        unsigned flags;
} command_rows[] = {
#define COMMAND(id, name, arity, flags, start, syntax, summary) {syntax, summary, flags},
#include "def/commands.def"
#undef COMMAND
};

static void
print_command_group(const char *title, unsigned group)
{
        printf("\n## %s\n\n| Command | Meaning | |\n|---|---|---|\n", title);
        for (size_t i = 0; i < sizeof command_rows / sizeof *command_rows; i++) {
                const struct command_row *row = &command_rows[i];

                if (!(row->flags & group))
                        continue;
                printf("| `");
                print_cell(row->syntax);
                printf("` | ");
                print_cell(row->summary);
                printf(" | %s |\n", row->flags & BARRIER ? "waits"
                                    : row->flags & WRITE ? "writes"
                                    : row->flags & READ  ? "reads"
                                                         : "");
        }
}

static void
print_commands(void)
{
        printf("# Commands\n\n%s\n%s", generated_mark, commands_text);
        print_command_group("Values", STRING);
        print_command_group("Keys", GENERIC);
        print_command_group("Pannier's own", PANNIER);
        print_command_group("Connection", CONNECTION);
        print_command_group("Server", SERVER);
}

static void
print_example_option(const struct option_row *row)
{
        printf("\n# %s.\n# Values: ", row->help);
        print_values(row, " ");
        printf(".%s\n# %s =", row->apply == APPLY_LIVE ? "" : " Needs a restart.", row->name);
        printf("%s%s\n", row->fallback[0] == '\0' ? "" : " ", row->fallback);
}

static void
print_example(void)
{
        const char *section = "";

        printf("%s", example_text);
        for (int i = 0; i < OPTION_COUNT_ALL; i++) {
                if (strcmp(section, option_rows[i].section) != 0) {
                        section = option_rows[i].section;
                        printf("\n[%s]\n", section);
                }
                print_example_option(&option_rows[i]);
        }
        printf("%s", example_namespace_text);
        for (int i = 0; i < POLICY_COUNT_ALL; i++)
                print_example_option(&policy_rows[i]);
        printf("%s", example_end_text);
}

int
main(int argc, char **argv)
{
        static const struct {
                const char *name;
                void (*print)(void);
        } pages[] = {
                {"--options", print_options}, {"--metrics", print_metrics},
                {"--errors", print_errors},   {"--commands", print_commands},
                {"--example", print_example},
        };

        for (size_t i = 0; argc == 2 && i < sizeof pages / sizeof *pages; i++) {
                if (strcmp(argv[1], pages[i].name) == 0) {
                        pages[i].print();
                        return fflush(stdout) == 0 ? 0 : 1;
                }
        }
        fprintf(stderr,
                "usage: print_tables --options | --metrics | --errors | --commands | --example\n");
        return 2;
}
