/* base/units.h: sizes (`64kb 512mb 2gb`, bare: bytes) and times (`250us 20ms 5m 24h`, bare:
 * seconds). */
#ifndef PN_BASE_UNITS_H
#define PN_BASE_UNITS_H

#include "base/bytes.h"
#include "base/must.h"

bool size_parse(struct bytes text, uint64_t *bytes);
bool time_parse(struct bytes text, uint64_t *us);
/* The shortest exact form; returns out. 32 bytes suffice. */
char *size_format(uint64_t bytes, char out[static 32]);
char *time_format(uint64_t us, char out[static 32]);

#endif
