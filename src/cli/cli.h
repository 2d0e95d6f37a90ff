/* cli/cli.h: what the parts of the `pannier` command share. One command is one function that
 * returns the exit status: 0 done, 1 failed or nothing there, 2 wrong usage. */
#ifndef PN_CLI_CLI_H
#define PN_CLI_CLI_H

#include <jansson.h>

#include "base/buf.h"
#include "base/limits.h"
#include "pannier/client.h"

enum exit_status { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* The command line, taken apart. Strings are argv's. */
struct arguments {
        const char *server;   /* an address */
        uint64_t deadline_us; /* 0: not given */
        bool json, verbose, help, version;
        const char *file;   /* of set: where the value is; "-" is standard input */
        const char *of_set; /* the first option given that only set has; NULL: none */
        pn_meta meta;       /* of set */
        const char *tags[LIMIT_TAGS];
        const char **words; /* the command and what it is applied to */
        int count;
};

struct command {
        const char *name, *syntax, *summary;
        int words_min, words_max; /* after the name; max -1: any number */
        int (*run)(pn_client *c, const struct arguments *a);
};

/* ---- arguments.c ---- */
/* Prints one sentence and returns false if they are wrong. `words` has room for argc. */
bool arguments_parse(int argc, char **argv, const char **words, struct arguments *out);
void usage_print(FILE *out);
int usage_error(const char *format, ...) printf_like(1, 2);

/* ---- main.c ---- */
extern const struct command commands[]; /* the last has no name */

/* ---- keys.c ---- */
int cmd_get(pn_client *c, const struct arguments *a);
int cmd_mget(pn_client *c, const struct arguments *a);
int cmd_set(pn_client *c, const struct arguments *a);
int cmd_del(pn_client *c, const struct arguments *a);

/* ---- server.c ---- */
int cmd_ping(pn_client *c, const struct arguments *a);
int cmd_info(pn_client *c, const struct arguments *a);
int cmd_stats(pn_client *c, const struct arguments *a);

/* ---- show.c ---- */
/* "1.5 s", "298 s", "250 us": for people. Returns out. */
char *show_time(uint64_t us, char out[static 32]);
char *show_size(uint64_t bytes, char out[static 32]);
/* Bytes on standard output: as they are, but on a terminal with \xNN for what is no text. */
void show_bytes(struct bytes b);
/* A sentence on standard error, with whatever a terminal could obey made harmless. */
void show_error(const char *format, ...) printf_like(1, 2);
/* What befell the call as a whole: JSON on standard output or a sentence on standard error. Returns
 * EXIT_FAILED, or EXIT_USAGE where the call itself was wrong. */
int show_failure(const struct arguments *a, pn_status status, const char *why);
/* "hit", "tier_down" */
const char *status_name(pn_status status);

/* ---- json.c ---- */
/* Prints it and drops the reference. */
void json_print(json_t *j);
/* Member `name` of an object, or `name`_base64 if the bytes are not UTF-8. */
void json_put_bytes(json_t *object, const char *name, struct bytes b);
/* What a reply says about an entry, its value and its error. */
json_t *json_of_reply(struct bytes key, const pn_reply *r);
/* The text of INFO: an object for each section; numbers are numbers. */
json_t *json_of_info(struct bytes text);

#endif
