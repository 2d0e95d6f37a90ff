/* base/options.h: the configuration. Rows: def/options.def. Sizes are bytes, times microseconds. */
#ifndef PN_BASE_OPTIONS_H
#define PN_BASE_OPTIONS_H

#include "base/bytes.h"
#include "base/must.h"

enum option_type {
        OPTION_SIZE,
        OPTION_TIME,
        OPTION_COUNT,
        OPTION_BOOL,
        OPTION_TEXT,
        OPTION_CHOICE,
        OPTION_MODE
};
enum option_apply { APPLY_START, APPLY_LIVE };

/* What a CHOICE row's number means, in the order of its `values`. */
enum io_choice { IO_AUTO, IO_URING, IO_EPOLL };
enum migrate_choice { MIGRATE_YES, MIGRATE_CHECK };
enum prepare_choice { PREPARE_AUTO, PREPARE_ON, PREPARE_OFF };
enum write_mode { MODE_AUTO, MODE_L1, MODE_L2, MODE_BEHIND, MODE_THROUGH };
enum delete_ack { DELETE_ACK_TIERS, DELETE_ACK_LOCAL };

/* number: SIZE TIME COUNT BOOL CHOICE MODE; text: TEXT, owned by the table it is in */
union option_value {
        uint64_t number;
        char *text;
};

enum option_id {
#define OPTION(field, ...) O_##field,
#include "def/options.def"
#undef OPTION
        OPTION_COUNT_ALL
};
enum policy_id {
#define POLICY(field, ...) P_##field,
#include "def/options.def"
#undef POLICY
        POLICY_COUNT_ALL
};

struct option_row {
        const char *section; /* "" for a policy row */
        const char *name;
        const char *fallback, *min, *max, *values, *help;
        enum option_type type;
        enum option_apply apply;
};
extern const struct option_row option_rows[OPTION_COUNT_ALL];
extern const struct option_row policy_rows[POLICY_COUNT_ALL];

/* Read-only while the server runs, but for LIVE rows (options_set() under the server's care). */
struct options {
        union option_value value[OPTION_COUNT_ALL];
};

static inline uint64_t
option_number(const struct options *o, enum option_id id)
{
        return o->value[id].number;
}
static inline const char *
option_text(const struct options *o, enum option_id id)
{
        return o->value[id].text;
}

void options_init(struct options *o); /* the defaults */
void options_deinit(struct options *o);
/* Parses and judges `text` by the row and stores it. On failure *why (256 bytes) is the sentence's
 * end: what is wrong and what would be right ("must be from 1ms to 60s", "must be one of: auto
 * uring epoll"). TEXT: *out is a new string of the caller's (mem_free); what stood there before is
 * his as well. */
must_use bool option_parse(const struct option_row *row, struct bytes text, union option_value *out,
                           char why[static 256]);
/* option_parse() of row `id` into the table, freeing what stood there. */
must_use bool
options_set(struct options *o, enum option_id id, struct bytes text, char why[static 256]);
/* The value as a user would write it; returns out. TEXT longer than the buffer is cut. */
char *option_format(const struct option_row *row, union option_value v, char out[static 256]);
/* The name on the command line without "--": "l2-timeout", "l2" (for [l2] url), "memory". Returns
 * out. */
char *option_argv_name(const struct option_row *row, char out[static 64]);

#endif
