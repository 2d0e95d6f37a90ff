/* request/config_list.h: what CONFIG GET tells: every option of def/options.def, under its name on
 * the command line, and under Redis' names what tools ask for.
 * Passwords inside URLs are not told. */
#ifndef PN_REQUEST_CONFIG_LIST_H
#define PN_REQUEST_CONFIG_LIST_H

#include "request/env.h"

enum { CONFIG_NAME_BYTES = 64, CONFIG_VALUE_BYTES = 256 };

struct config_line {
        char name[CONFIG_NAME_BYTES], value[CONFIG_VALUE_BYTES];
};

size_t config_count(void);
void config_line(const struct env *env, size_t i, struct config_line *out); /* i < config_count() */
/* Redis' patterns: * ? [abc] [^a-c] and backslash, in any case of letters. */
bool config_matches(struct bytes pattern, const char *name);

#endif
