/* request/floors.h: the version at which a namespace was last invalidated as a whole (a queue that
 * overflowed, a flush): what is not newer is invalid in every tier. Kept by every worker, loaded
 * from L2 and L3 when they connect. */
#ifndef PN_REQUEST_FLOORS_H
#define PN_REQUEST_FLOORS_H

#include "base/bytes.h"
#include "request/env.h"

struct floors;

struct floors *floors_create(void);
void floors_destroy(struct floors *f);
/* The floor of the key's namespace; 0 if there is none. */
uint64_t floors_get(const struct floors *f, struct bytes key_text);
/* At least this version; true if that is news. name_space.at == NULL: all namespaces. */
bool floors_raise(struct floors *f, struct bytes name_space, uint64_t version);
/* The same on every worker of the process; `seen` counts it. */
void floors_spread(struct env *env, struct bytes name_space, uint64_t version);
/* A tier came up (again): its floors are loaded, ours are sent where they are higher. Called by the
 * worker. */
void floors_sync(struct env *env, struct tier *tier);

#endif
