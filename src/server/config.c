/* config: gathers the options. Order of work: the command line is looked through for --config and
 * for what ends at once (--help), then the file is read, then the environment, then the command
 * line, so that the later one wins; then what only makes sense together is judged. Owns: the config
 * it makes. Not here: the file's lines (config_file.c), how things are shown (config_text.c). */
#include "server/config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "io/listener.h"
#include "io/postgres_tier.h"
#include "io/redis_tier.h"
#include "server/memory_limit.h"

#define VARIABLE_PREFIX "PANNIER_"

enum { NAME_BYTES = 64, SHOWN_BYTES = 256, SOCKET_PATH_MAX = 107 };

static char *
text_copy(const char *text)
{
        size_t len = strlen(text) + 1;

        return memcpy(mem_alloc(len), text, len);
}

const char *
config_variable(enum option_id id, char out[static 80])
{
        char name[NAME_BYTES];

        option_argv_name(&option_rows[id], name);
        snprintf(out, 80, VARIABLE_PREFIX "%s", name);
        for (char *p = out; *p != '\0'; p++)
                *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        return out;
}

const char *
config_where(const struct config *c, enum option_id id, char out[static 256])
{
        const struct option_row *row = &option_rows[id];
        char name[NAME_BYTES];

        switch (c->origin[id].source) {
        case FROM_FILE:
                snprintf(out, 256, "%.160s:%u: [%s] %s", c->file, c->origin[id].line, row->section,
                         row->name);
                break;
        case FROM_ENVIRONMENT:
                config_variable(id, out);
                break;
        default:
                snprintf(out, 256, "--%s", option_argv_name(row, name));
                break;
        }
        return out;
}

bool
config_set(struct config *c, enum option_id id, const char *value, struct config_origin from,
           const char *shown, char why[static CONFIG_WHY_BYTES])
{
        char wrong[256];

        if (options_set(&c->options, id, bytes_str(value), wrong)) {
                c->origin[id] = from;
                return true;
        }
        /* A text may hold a password. */
        if (option_rows[id].type == OPTION_TEXT)
                snprintf(why, CONFIG_WHY_BYTES, "%.240s %.240s", shown, wrong);
        else
                snprintf(why, CONFIG_WHY_BYTES, "%.160s %.80s: %.240s", shown, value, wrong);
        return false;
}

/* ---- the command line ---- */

struct argument {
        const char *name, *value; /* value NULL: none stands there */
        size_t name_len;
};

/* The argument at *i, which moves to the last word of it. False: it is no option. */
static bool
argument_at(const struct config_input *in, int *i, struct argument *out)
{
        const char *word = in->argv[*i], *equals;

        if (strcmp(word, "-h") == 0)
                word = "--help";
        else if (strcmp(word, "-V") == 0)
                word = "--version";
        if (strncmp(word, "--", 2) != 0 || word[2] == '\0')
                return false;
        out->name = word + 2;
        equals = strchr(out->name, '=');
        out->name_len = equals != NULL ? (size_t)(equals - out->name) : strlen(out->name);
        out->value = equals != NULL ? equals + 1 : NULL;
        return true;
}

static bool
argument_is(const struct argument *a, const char *name)
{
        return strlen(name) == a->name_len && memcmp(a->name, name, a->name_len) == 0;
}

static bool
argument_action(const struct argument *a, enum config_action *out)
{
        static const struct {
                const char *name;
                enum config_action action;
        } actions[] = {
                {"help", CONFIG_HELP},           {"version", CONFIG_VERSION},
                {"check-config", CONFIG_CHECK},  {"print-config", CONFIG_PRINT},
                {"print-schema", CONFIG_SCHEMA},
        };

        for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
                if (argument_is(a, actions[i].name)) {
                        *out = actions[i].action;
                        return true;
                }
        }
        return false;
}

static bool
argument_option(const struct argument *a, enum option_id *out)
{
        char name[NAME_BYTES];

        for (int id = 0; id < OPTION_COUNT_ALL; id++) {
                if (argument_is(a, option_argv_name(&option_rows[id], name))) {
                        *out = (enum option_id)id;
                        return true;
                }
        }
        return false;
}

static bool
argument_unknown(const struct argument *a, char *why)
{
        char name[NAME_BYTES], guess[128];

        snprintf(name, sizeof name, "%.*s", (int)a->name_len, a->name);
        snprintf(why, CONFIG_WHY_BYTES, "--%s: no such option%s; see pannierd --help", name,
                 config_suggest(name, "--", guess));
        return false;
}

/* One argument with its value. `apply` false: only what is needed before the file is read. */
static bool
argument_take(struct config *c, const struct config_input *in, int *i, bool apply, char *why)
{
        struct argument a;
        enum config_action action;
        enum option_id id = 0;
        char shown[SHOWN_BYTES];
        bool is_file;

        if (!argument_at(in, i, &a)) {
                snprintf(why, CONFIG_WHY_BYTES,
                         "%.100s: only options are expected, as --NAME VALUE; see pannierd --help",
                         in->argv[*i]);
                return false;
        }
        if (argument_action(&a, &action)) {
                if (!apply && c->action < CONFIG_HELP)
                        c->action = action;
                return true;
        }
        is_file = argument_is(&a, "config");
        if (!is_file && !argument_option(&a, &id))
                return argument_unknown(&a, why);
        snprintf(shown, sizeof shown, "--%.*s", (int)a.name_len, a.name);
        if (a.value == NULL) {
                if (*i + 1 >= in->argc) {
                        snprintf(why, CONFIG_WHY_BYTES, "%s needs a value", shown);
                        return false;
                }
                a.value = in->argv[++*i];
        }
        if (is_file && !apply) {
                mem_free(c->file);
                c->file = text_copy(a.value);
        }
        if (is_file || !apply)
                return true;
        return config_set(c, id, a.value, (struct config_origin){FROM_ARGV, 0}, shown, why);
}

static bool
arguments_take(struct config *c, const struct config_input *in, bool apply, char *why)
{
        for (int i = 1; i < in->argc; i++) {
                if (!argument_take(c, in, &i, apply, why))
                        return false;
                if (c->action == CONFIG_HELP || c->action == CONFIG_VERSION)
                        return true;
        }
        return true;
}

/* ---- the environment ---- */

static const char *
variable_value(const char *line, const char *name)
{
        size_t len = strlen(name);

        return strncmp(line, name, len) == 0 && line[len] == '=' ? line + len + 1 : NULL;
}

static bool
begins(const char *line, const char *with)
{
        return strncmp(line, with, strlen(with)) == 0;
}

/* Kubernetes sets PANNIER_PORT... and PANNIER_SERVICE_... for a service of that name. */
static bool
variable_is_another(const char *line)
{
        return !begins(line, VARIABLE_PREFIX) || begins(line, VARIABLE_PREFIX "PORT") ||
               begins(line, VARIABLE_PREFIX "SERVICE_") ||
               begins(line, VARIABLE_PREFIX "CONFIG=") ||
               begins(line, VARIABLE_PREFIX "SERVER="); /* the command line's */
}

static bool
variable_take(struct config *c, const char *line, bool quiet, char *why)
{
        char name[80], shown[SHOWN_BYTES];

        for (int id = 0; id < OPTION_COUNT_ALL; id++) {
                const char *value = variable_value(line, config_variable((enum option_id)id, name));

                if (value == NULL)
                        continue;
                snprintf(shown, sizeof shown, "%s", name);
                return config_set(c, (enum option_id)id, value,
                                  (struct config_origin){FROM_ENVIRONMENT, 0}, shown, why);
        }
        if (!quiet)
                log_warn("%.*s: no option has this variable; it is ignored",
                         (int)strcspn(line, "="), line);
        return true;
}

static bool
environment_take(struct config *c, const struct config_input *in, char *why)
{
        for (char *const *v = in->environment; *v != NULL; v++) {
                if (!variable_is_another(*v) && !variable_take(c, *v, in->quiet, why))
                        return false;
        }
        return true;
}

static void
environment_file(struct config *c, const struct config_input *in)
{
        for (char *const *v = in->environment; *v != NULL && c->file == NULL; v++) {
                const char *value = variable_value(*v, VARIABLE_PREFIX "CONFIG");

                if (value != NULL && value[0] != '\0')
                        c->file = text_copy(value);
        }
}

/* ---- what only makes sense together ---- */

static bool
refuse(const struct config *c, enum option_id id, const char *wrong, char *why)
{
        char where[256];

        snprintf(why, CONFIG_WHY_BYTES, "%s: %.240s", config_where(c, id, where), wrong);
        return false;
}

static bool
address_judge(const struct config *c, enum option_id id, char *why)
{
        char host[128], port[8], wrong[256], where[256];
        const char *text = option_text(&c->options, id);

        if (strcmp(text, "none") == 0 || address_split(text, host, port, wrong))
                return true;
        snprintf(why, CONFIG_WHY_BYTES, "%s%s %.60s: %.100s, or none", config_where(c, id, where),
                 c->origin[id].source == FROM_FILE ? " =" : "", text, wrong);
        return false;
}

/* The sentence of a tier that judged several options and begins with the one it means. */
static bool
refuse_named(const struct config *c, enum option_id usual, enum option_id other, const char *wrong,
             char *why)
{
        for (int i = 0; i < 2; i++) {
                enum option_id id = i == 0 ? usual : other;
                char name[NAME_BYTES];
                int len = snprintf(name, sizeof name, "[%s] %s ", option_rows[id].section,
                                   option_rows[id].name);

                if (strncmp(wrong, name, (size_t)len) == 0)
                        return refuse(c, id, wrong + len, why);
        }
        return refuse(c, usual, wrong, why);
}

/* Where a mode needs a tier that is not there: `wrong` begins with the namespace. */
static bool
refuse_mode(const struct config *c, const char *wrong, char *why)
{
        for (const struct config_mode *m = c->modes; m != NULL; m = m->next) {
                char section[160];
                int len = snprintf(section, sizeof section, "[namespace %s] ", m->name_space);

                if (strncmp(wrong, section, (size_t)len) != 0)
                        continue;
                snprintf(why, CONFIG_WHY_BYTES, "%.200s:%u: %.240s", c->file, m->line, wrong);
                return false;
        }
        snprintf(why, CONFIG_WHY_BYTES, "%s%.240s", c->file != NULL ? c->file : "", wrong);
        return false;
}

static bool
tiers_judge(const struct config *c, bool l2, bool l3, char *why)
{
        struct redis_config redis;
        char wrong[256];

        if (l2) {
                if (redis_config_read(&c->options, &redis, wrong) != OK)
                        return refuse_named(c, O_l2_url, O_l2_prefix, wrong, why);
                redis_config_free(&redis);
        }
        if (l3 && !postgres_tier_check(&c->options, wrong))
                return refuse_named(c, O_l3_url, O_l3_schema, wrong, why);
        return policies_resolve(c->policies, l2, l3, wrong) || refuse_mode(c, wrong, why);
}

static bool
config_judge(struct config *c, char *why)
{
        const struct options *o = &c->options;

        if (!address_judge(c, O_listen, why) || !address_judge(c, O_admin, why))
                return false;
        if (strcmp(option_text(o, O_listen), "none") == 0 &&
            option_text(o, O_unix_socket)[0] == '\0')
                return refuse(c, O_listen, "is none and there is no unix-socket: nobody could come",
                              why);
        if (strlen(option_text(o, O_unix_socket)) > SOCKET_PATH_MAX)
                return refuse(c, O_unix_socket, "must be at most 107 bytes long", why);
        return tiers_judge(c, option_text(o, O_l2_url)[0] != '\0',
                           option_text(o, O_l3_url)[0] != '\0', why);
}

/* The budget of L1 where nobody named one: what the table says, but not more than the share of the
 * container that leaves room for buffers and connections. */
static void
memory_choose(struct config *c)
{
        uint64_t share = memory_limit_share(c->memory_limit);

        if (c->origin[O_memory].source == FROM_DEFAULT &&
            share < option_number(&c->options, O_memory)) {
                char text[32], why[256];

                if (!options_set(&c->options, O_memory, bytes_str(size_format(share, text)), why))
                        log_warn("a container of so little memory needs --memory to be set");
        }
}

struct config *
config_read(const struct config_input *in, char why[static CONFIG_WHY_BYTES])
{
        struct config *c = mem_zalloc(sizeof *c);

        options_init(&c->options);
        c->policies = policies_create();
        c->memory_limit = memory_limit();
        if (!arguments_take(c, in, false, why))
                goto fail;
        if (c->action == CONFIG_HELP || c->action == CONFIG_VERSION)
                return c;
        environment_file(c, in);
        if ((c->file != NULL && !config_file_read(c, why)) || !environment_take(c, in, why) ||
            !arguments_take(c, in, true, why) || !config_judge(c, why))
                goto fail;
        memory_choose(c);
        return c;
fail:
        config_free(c);
        return NULL;
}

static void
modes_free(struct config_mode *mode)
{
        while (mode != NULL) {
                struct config_mode *next = mode->next;

                mem_free(mode);
                mode = next;
        }
}

void
config_free(struct config *c)
{
        while (c != NULL) {
                struct config *older = c->older;

                modes_free(c->modes);
                options_deinit(&c->options);
                policies_destroy(c->policies);
                mem_free(c->file);
                mem_free(c);
                c = older;
        }
}

/* ---- reload ---- */

static bool
same_value(enum option_id id, const struct config *a, const struct config *b)
{
        if (option_rows[id].type == OPTION_TEXT)
                return strcmp(option_text(&a->options, id), option_text(&b->options, id)) == 0;
        return option_number(&a->options, id) == option_number(&b->options, id);
}

bool
config_adopt(struct config *next, struct config *c, char why[static CONFIG_WHY_BYTES])
{
        char wrong[256];

        /* By the tiers that there are, not those there will be after a restart. */
        if (!policies_resolve(next->policies, option_text(&c->options, O_l2_url)[0] != '\0',
                              option_text(&c->options, O_l3_url)[0] != '\0', wrong)) {
                return refuse_mode(next, wrong, why);
        }
        for (int i = 0; i < OPTION_COUNT_ALL; i++) {
                enum option_id id = (enum option_id)i;
                char before[1024], after[1024], name[NAME_BYTES];

                if (same_value(id, next, c))
                        continue;
                option_argv_name(&option_rows[id], name);
                config_show(id, c->options.value[id], before);
                config_show(id, next->options.value[id], after);
                if (option_rows[id].apply == APPLY_LIVE) {
                        log_info("reload: %s is now %s, was %s", name, after, before);
                        continue;
                }
                log_warn("reload: %s is %s in the configuration, but stays %s until a restart",
                         name, after, before);
                if (option_rows[id].type == OPTION_TEXT) {
                        mem_free(next->options.value[id].text);
                        next->options.value[id].text = text_copy(option_text(&c->options, id));
                } else {
                        next->options.value[id] = c->options.value[id];
                }
        }
        next->older = c;
        return true;
}
