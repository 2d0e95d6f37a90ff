/* request/lookup.h: a flight: the lookup of one key in the lower tiers, one a key in the process,
 * however many ask. */
#ifndef PN_REQUEST_LOOKUP_H
#define PN_REQUEST_LOOKUP_H

#include "request/op.h"

/* The op follows the key's lookup, which is started if none is under way. When it ends, op->lookup
 * is NULL, op->entry (a reference of the op's, blob NULL if there is none), op->tier, op->landed_us
 * and op->complete tell, and the op's task is ready. False: too many lookups are under way. */
must_use bool lookup_join(struct op *op, struct env *env);
/* The op's time is over; the lookup goes on for the others, and for L1. */
void lookup_leave(struct op *op);
/* How large the value turned out to be, while it is on its way; 0: not known to be large. */
uint64_t lookup_large_bytes(const struct lookup *l);

#endif
