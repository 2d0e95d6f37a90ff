/* cli/arguments: the command line into struct arguments. Options may stand anywhere; everything
 * after "--" is a word. Owns nothing: strings stay argv's. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"
#include "cli/cli.h"

enum option_kind {
        HELP,
        VERSION,
        SERVER,
        DEADLINE,
        JSON,
        VERBOSE,
        FILE_OF,
        TTL,
        GRACE,
        TAG,
        COST,
        COMPUTE,
        CONFIDENCE,
        NX,
        XX,
        KEEPTTL,
};

static const struct option {
        const char *name, *letter, *argument, *help; /* argument: NULL: it has none */
        enum option_kind kind;
        bool of_set;
} options[] = {
        {"--server", "-s", "ADDRESS", "host:port, [ipv6]:port or unix:/path", SERVER, false},
        {"--deadline", "-d", "TIME", "longest wait, as in 50ms (default 10s)", DEADLINE, false},
        {"--json", "-j", NULL, "for scripts; bytes that are not UTF-8 as base64", JSON, false},
        {"--verbose", "-v", NULL, "tier, age and times, on standard error", VERBOSE, false},
        {"--help", "-h", NULL, "this text", HELP, false},
        {"--version", "-V", NULL, "the version", VERSION, false},
        {"--file", "-f", "FILE", "the value is what FILE holds; \"-\": standard input", FILE_OF,
         true},
        {"--ttl", "-t", "TIME", "until it is stale, as in 250ms 5m 24h", TTL, true},
        {"--grace", "-g", "TIME", "from then on it may be served as stale", GRACE, true},
        {"--tag", "-T", "TAG", "may be given 64 times", TAG, true},
        {"--cost", NULL, "NUMBER", "micro-dollars that computing it cost", COST, true},
        {"--compute", NULL, "TIME", "how long computing the value took", COMPUTE, true},
        {"--confidence", NULL, "NUMBER", "0 to 1", CONFIDENCE, true},
        {"--nx", NULL, NULL, "only if the key has no value", NX, true},
        {"--xx", NULL, NULL, "only if it has one", XX, true},
        {"--keepttl", NULL, NULL, "keep the time to live that it has", KEEPTTL, true},
};
enum { OPTIONS = sizeof options / sizeof *options };

/* The longest times: for which a call may wait, and what the protocol carries. */
#define DAY_US         UINT64_C(86400000000)
#define CENTURY_US     UINT64_C(3155760000000000)
#define COMPUTE_MAX_US UINT64_C(4294967295)

int
usage_error(const char *format, ...)
{
        char text[512];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        show_error("%s", text);
        return EXIT_USAGE;
}

static void
options_print(FILE *out, bool of_set)
{
        for (size_t i = 0; i < OPTIONS; i++) {
                const struct option *o = &options[i];
                char left[64];

                if (o->of_set != of_set)
                        continue;
                snprintf(left, sizeof left, "%s%s%s %s", o->letter != NULL ? o->letter : "  ",
                         o->letter != NULL ? ", " : "  ", o->name,
                         o->argument != NULL ? o->argument : "");
                fprintf(out, "  %-23s %s\n", left, o->help);
        }
}

void
usage_print(FILE *out)
{
        fprintf(out, "pannier: the command line of Pannier, a cache in three tiers\n\n"
                     "  pannier [OPTION...] COMMAND [ARGUMENT...]\n\n");
        for (const struct command *c = commands; c->name != NULL; c++)
                fprintf(out, "  %-23s %s\n", c->syntax, c->summary);
        fprintf(out, "  %-23s %s\n\n", "help", "this text");
        options_print(out, false);
        fprintf(out, "\nOf set:\n");
        options_print(out, true);
        fprintf(out,
                "\n"
                "The server is 127.0.0.1:7171, unless PANNIER_SERVER or --server says\n"
                "otherwise. \"--\" ends the options. A time is as in 250us 50ms 20s 5m 24h.\n"
                "What a terminal would obey is shown as \\x1b; pipes get every byte as it is.\n"
                "Exit status: 0 done; 1 failed, or none of the keys is there; 2 wrong usage.\n");
}

static const struct option *
find_option(const char *text, size_t len)
{
        for (size_t i = 0; i < OPTIONS; i++) {
                const struct option *o = &options[i];

                if ((strlen(o->name) == len && memcmp(o->name, text, len) == 0) ||
                    (o->letter != NULL && len == 2 && memcmp(o->letter, text, 2) == 0))
                        return o;
        }
        return NULL;
}

/* A time greater than 0; with unit_us 1000 it is kept in milliseconds. */
static bool
take_time(const struct option *o, const char *value, uint64_t unit_us, uint64_t most_us,
          uint64_t *out)
{
        uint64_t us;

        if (!time_parse(bytes_str(value), &us) || us < unit_us || us % unit_us != 0) {
                usage_error("%s %s: must be a time from %s on, as in %s50ms 20s 5m 24h", o->name,
                            value, unit_us == 1 ? "1us" : "1ms", unit_us == 1 ? "250us " : "");
                return false;
        }
        if (us > most_us) {
                char longest[32];

                usage_error("%s %s: must be at most %s", o->name, value,
                            show_time(most_us, longest));
                return false;
        }
        *out = us / unit_us;
        return true;
}

static bool
take_grace(const struct option *o, const char *value, uint64_t *out)
{
        uint64_t us;

        if (time_parse(bytes_str(value), &us) && us == 0) {
                *out = PN_NEVER;
                return true;
        }
        return take_time(o, value, 1000, CENTURY_US, out);
}

static bool
take_number(const struct option *o, const char *value, uint64_t *out)
{
        if (bytes_to_u64(bytes_str(value), out))
                return true;
        usage_error("%s %s: must be a whole number from 0 to 18446744073709551615", o->name, value);
        return false;
}

static bool
take_confidence(const struct option *o, const char *value, float *out)
{
        double number;

        if (!bytes_to_double(bytes_str(value), &number) || !(number >= 0 && number <= 1)) {
                usage_error("%s %s: must be a number from 0 to 1", o->name, value);
                return false;
        }
        *out = (float)number;
        return true;
}

static bool
take_tag(const struct option *o, const char *value, struct arguments *a)
{
        if (a->meta.tag_count == LIMIT_TAGS || *value == '\0' || strlen(value) > LIMIT_TAG_BYTES) {
                usage_error("%s: must be a text of 1 to %d bytes, at most %d times", o->name,
                            LIMIT_TAG_BYTES, LIMIT_TAGS);
                return false;
        }
        a->tags[a->meta.tag_count++] = value;
        return true;
}

static bool
take_option(const struct option *o, const char *value, struct arguments *a)
{
        if (o->of_set && a->of_set == NULL)
                a->of_set = o->name;
        switch (o->kind) {
        case HELP:
                a->help = true;
                return true;
        case VERSION:
                a->version = true;
                return true;
        case SERVER:
                a->server = value;
                return true;
        case DEADLINE:
                return take_time(o, value, 1, DAY_US, &a->deadline_us);
        case JSON:
                a->json = true;
                return true;
        case VERBOSE:
                a->verbose = true;
                return true;
        case FILE_OF:
                a->file = value;
                return true;
        case TTL:
                return take_time(o, value, 1000, CENTURY_US, &a->meta.ttl_ms);
        case GRACE:
                return take_grace(o, value, &a->meta.grace_ms);
        case TAG:
                return take_tag(o, value, a);
        case COST:
                return take_number(o, value, &a->meta.cost);
        case COMPUTE:
                return take_time(o, value, 1, COMPUTE_MAX_US, &a->meta.compute_us);
        case CONFIDENCE:
                return take_confidence(o, value, &a->meta.confidence);
        case NX:
                a->meta.flags |= PN_NX;
                return true;
        case XX:
                a->meta.flags |= PN_XX;
                return true;
        case KEEPTTL:
                a->meta.flags |= PN_KEEPTTL;
                return true;
        }
        return false;
}

/* argv[*i] is an option; its argument is behind "=" or the next word. */
static bool
parse_option(int argc, char **argv, int *i, struct arguments *a)
{
        const char *text = argv[*i], *equals = strchr(text, '=');
        size_t len = equals != NULL ? (size_t)(equals - text) : strlen(text);
        const struct option *o = find_option(text, len);
        const char *value = equals != NULL ? equals + 1 : NULL;

        if (o == NULL) {
                usage_error("there is no option %.*s; `pannier help` lists them", (int)len, text);
                return false;
        }
        if (o->argument == NULL && value != NULL) {
                usage_error("%s has no argument", o->name);
                return false;
        }
        if (o->argument != NULL && value == NULL) {
                if (*i + 1 >= argc) {
                        usage_error("%s needs its argument: %s %s", o->name, o->name, o->argument);
                        return false;
                }
                value = argv[++*i];
        }
        return take_option(o, value, a);
}

bool
arguments_parse(int argc, char **argv, const char **words, struct arguments *out)
{
        const char *server = getenv("PANNIER_SERVER");
        bool options_end = false;

        *out = (struct arguments){.words = words, .server = "127.0.0.1:7171"};
        if (server != NULL && *server != '\0')
                out->server = server;
        for (int i = 1; i < argc; i++) {
                const char *text = argv[i];

                if (options_end || text[0] != '-' || text[1] == '\0')
                        words[out->count++] = text;
                else if (strcmp(text, "--") == 0)
                        options_end = true;
                else if (!parse_option(argc, argv, &i, out))
                        return false;
        }
        out->meta.tags = out->tags;
        if ((out->meta.flags & PN_NX) != 0 && (out->meta.flags & PN_XX) != 0) {
                usage_error("--nx and --xx exclude each other");
                return false;
        }
        if ((out->meta.flags & PN_KEEPTTL) != 0 && out->meta.ttl_ms != 0) {
                usage_error("--keepttl and --ttl exclude each other");
                return false;
        }
        return true;
}
