/* request/queues.h: writes that wait for a tier (ARCHITECTURE.md, "Queues"): what L2 did not answer
 * in time, and, in mode behind, what L3 gets in batches. One of each a worker. A key's writes keep
 * their order; a newer write of a key takes the older one's place. Bounded by [server] queue-max
 * and LIMIT_QUEUE_ITEMS; full, or older than half of tombstone-ttl: overflow, the namespace is
 * invalidated and its writes are dropped. */
#ifndef PN_REQUEST_QUEUES_H
#define PN_REQUEST_QUEUES_H

#include "request/env.h"

struct queues;

struct queues *queues_create(struct env *env);
void queues_destroy(struct queues *q);
/* Keeps a reference of e's blob. */
void queues_push_l2(struct env *env, struct key key, const struct entry *e);
void queues_push_l3(struct env *env, struct key key, const struct entry *e);
/* What lost in L3 is to be taken out of L2. */
void queues_push_take(struct env *env, struct key key, uint64_t version, uint64_t origin);
/* The newest write of the key that a tier has not got yet; one reference of out->blob is the
 * caller's. */
bool queues_unsent(struct env *env, struct key key, struct entry *out);
/* Is a write of this key waiting for L2? New writes of it then queue behind. */
bool queues_holds_l2(const struct env *env, struct key key);
/* L3 is there, but takes writes more slowly than they come: writers then wait for its commit, which
 * slows them to its pace. (Where L3 is gone the queue fills and overflows: a tier that is slow
 * slows writers, one that is gone is given up.) */
bool queues_l3_crowded(const struct env *env);
/* L3 has this version of the key: what waits for L3 and is older is no longer worth sending, nor
 * is it an answer. */
void queues_supersede_l3(struct env *env, struct key key, uint64_t version);
/* Drops what waits of a namespace (at == NULL: of all) and is not newer than version. */
void queues_forget(struct env *env, struct bytes name_space, uint64_t version);
/* Drain: everything is to go out now; true once nothing waits. */
bool queues_drained(struct env *env);
/* A tier came up. */
void queues_kick(struct env *env);

#endif
