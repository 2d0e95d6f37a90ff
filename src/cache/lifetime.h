/* cache/lifetime.h: how long: soft and hard expiry from what the caller named and the policy, and
 * each tier's own keep. Pure arithmetic on shared-clock microseconds; UINT64_MAX is never. */
#ifndef PN_CACHE_LIFETIME_H
#define PN_CACHE_LIFETIME_H

#include <stdbool.h>

#include "base/options.h"
#include "cache/entry.h"
#include "cache/policy.h"

struct lifetime_asked { /* what the caller named; 0 is not named */
        uint64_t ttl_us;
        uint64_t grace_us;
        bool grace_named;
};
/* Fills meta's soft_us and hard_us. TTL named: soft = now + ttl, hard = soft + grace (named, else
 * the policy's). Not named: the policy's ttl; else never in mode l1; else [l3] ttl. A TTL the
 * server chose is shortened by up to 10 % from hash(key, now), one the caller named never. */
void lifetime_decide(struct meta *m, struct key key, struct lifetime_asked asked,
                     const struct policy *p, const struct options *o, uint64_t now_us);

enum keeper { KEEPER_L1, KEEPER_L2, KEEPER_L3 };
/* Until when the tier keeps this entry: never past hard; the tier's cap (jittered, only ever
 * shorter) where a lower tier holds it too; a tombstone as long as the policy says. `lowest` is
 * the lowest tier of the namespace's mode. */
uint64_t lifetime_keep(const struct meta *m, struct key key, enum keeper tier, enum keeper lowest,
                       const struct policy *p, const struct options *o, uint64_t now_us);

#endif
