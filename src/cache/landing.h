/* cache/landing.h: the newest version of a key that this process wrote or heard of, kept while any
 * call about the key is under way and LIMIT_LANDING_KEEP_US more (ARCHITECTURE.md, "Landing").
 * Nothing older enters L1 or is promoted to L2, whatever brings it. One per worker (a key's home),
 * so no locks. Limit: LIMIT_LANDMARKS; beyond it the oldest memory is dropped into `floor`, which
 * then speaks for all keys. */
#ifndef PN_CACHE_LANDING_H
#define PN_CACHE_LANDING_H

#include <stdint.h>

#include "cache/key.h"

struct landing;
struct landmark; /* opaque */

struct landing *landing_create(unsigned limit);
void landing_destroy(struct landing *l);

/* A call about the key begins; the mark is kept until landing_leave(). Never NULL, also beyond
 * the limit: marks in use are as many as calls under way. */
struct landmark *landing_enter(struct landing *l, struct key key);
void landing_leave(struct landing *l, struct landmark *mark, uint64_t mono_us);
/* This version was written or heard of. */
void landing_note(struct landing *l, struct key key, uint64_t version, uint64_t mono_us);
/* The newest version known, 0 if none; *heard_us (may be NULL) is when it was learnt (monotonic),
 * 0 if never. */
uint64_t landing_newest(const struct landing *l, struct key key, uint64_t *heard_us);
/* Forgets what nobody uses and was last heard of long enough ago; a few steps a call. */
void landing_sweep(struct landing *l, uint64_t mono_us);
unsigned landing_count(const struct landing *l);

#endif
