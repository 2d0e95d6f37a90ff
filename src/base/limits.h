/* base/limits.h: LIMIT_<name> for every row of def/limits.def. */
#ifndef PN_BASE_LIMITS_H
#define PN_BASE_LIMITS_H

#include <stdint.h>

enum {
#define LIMIT(name, value, help) LIMIT_##name = (value),
#include "def/limits.def"
#undef LIMIT
};

#endif
