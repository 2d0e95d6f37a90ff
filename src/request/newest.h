/* request/newest.h: "the newest wins": the rules by which a copy enters L1, counts, or is handed
 * out (ARCHITECTURE.md, "Landing"). */
#ifndef PN_REQUEST_NEWEST_H
#define PN_REQUEST_NEWEST_H

#include "cache/lifetime.h"
#include "request/env.h"

/* The policy of the key's namespace; its mode is resolved. */
const struct policy *newest_policy(const struct env *env, struct key key);
enum write_mode newest_mode(const struct policy *p);
bool mode_uses_l2(const struct env *env, enum write_mode mode);
bool mode_uses_l3(const struct env *env, enum write_mode mode);

/* Every version of the key that this process knows: heard of, in L1, its namespace's floor. */
uint64_t newest_known(struct env *env, struct key key);
/* Not past its hard expiry, not below its namespace's floor. */
bool newest_valid(const struct env *env, struct key key, const struct meta *m);
/* Into L1, unless something newer is known. `sure`: the shared tier has confirmed it. True if it is
 * there now. */
bool newest_land(struct env *env, struct key key, const struct entry *e, bool sure);
/* This version was written or heard of: older copies leave L1 and never come back. */
void newest_note(struct env *env, struct key key, uint64_t version);
/* Until when this tier keeps the entry (shared clock). */
uint64_t
newest_keep_until(const struct env *env, struct key key, const struct meta *m, enum keeper tier);

#endif
