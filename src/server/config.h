/* server/config.h: where options come from: the command line beats the environment beats the file
 * beats the table's defaults. Every mistake is one sentence that names the place, the option and
 * what would be right. */
#ifndef PN_SERVER_CONFIG_H
#define PN_SERVER_CONFIG_H

#include "base/options.h"
#include "cache/policy.h"

enum { CONFIG_WHY_BYTES = 512 };

enum config_action {
        CONFIG_RUN,
        CONFIG_CHECK,
        CONFIG_PRINT,
        CONFIG_SCHEMA,
        CONFIG_HELP,
        CONFIG_VERSION,
};
enum config_source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_ARGV };

struct config_origin {
        enum config_source source;
        unsigned line; /* of the file */
};

/* Where a namespace says its mode, which is judged when the tiers are known. */
struct config_mode {
        struct config_mode *next;
        unsigned line;
        char name_space[];
};

struct config {
        struct options options;
        struct config_origin origin[OPTION_COUNT_ALL];
        struct policies *policies;
        struct config_mode *modes; /* the latest line first */
        char *file;                /* NULL: none */
        enum config_action action;
        uint64_t memory_limit; /* of the cgroup; UINT64_MAX: none */
        struct config *older;  /* replaced by a reload; what points into it stays valid */
};

struct config_input {
        int argc;
        char *const *argv;
        char *const *environment;
        bool quiet; /* no warnings: they were given at the start */
};

/* NULL: *why says what is wrong. HELP and VERSION are found without judging the rest. */
struct config *config_read(const struct config_input *in, char why[static CONFIG_WHY_BYTES]);
/* With everything it replaced. */
void config_free(struct config *c);
/* What may change while running is taken from `next`, which becomes the one in use and keeps `c` as
 * its older; every difference is logged, also what waits for a restart.
 * False: next does not fit the tiers there are; nothing was done. */
must_use bool
config_adopt(struct config *next, struct config *c, char why[static CONFIG_WHY_BYTES]);

/* To standard output. */
void config_print_help(void);
void config_print(const struct config *c);

/* ---- among the files of config ---- */

/* Reads the file's lines into c. */
must_use bool config_file_read(struct config *c, char why[static CONFIG_WHY_BYTES]);
/* Where the option's value stands: "pannier.conf:12: [l2] timeout", "PANNIER_L2_TIMEOUT",
 * "--l2-timeout". */
const char *config_where(const struct config *c, enum option_id id, char out[static 256]);
/* PANNIER_L2_TIMEOUT */
const char *config_variable(enum option_id id, char out[static 80]);
/* Judges and keeps a value; false: *why is the whole sentence. `shown` is what stands before the
 * value in it. */
must_use bool
config_set(struct config *c, enum option_id id, const char *value, struct config_origin from,
           const char *shown, char why[static CONFIG_WHY_BYTES]);
/* " (did you mean NAME?)" with prefix before NAME, or "". */
const char *config_suggest(const char *wrong, const char *prefix, char out[static 128]);
/* The value as it may be shown: without passwords. */
char *config_show(enum option_id id, union option_value value, char out[static 1024]);

#endif
