/* lifetime: expiries and each tier's keep, as arithmetic that saturates: a sum that does not fit
 * is UINT64_MAX, never. Owns nothing. Not here: who asks whether something has expired. */
#include "cache/lifetime.h"

#include "base/hash.h"

enum { JITTER_PART = 10 }; /* a tenth */

static uint64_t
later(uint64_t at_us, uint64_t span_us)
{
        return span_us > UINT64_MAX - at_us ? UINT64_MAX : at_us + span_us;
}

/* A span that the server chose, shortened by 0 to 10 %, so that what came at once does not go at
 * once; the same key and salt always by the same. */
static uint64_t
jittered(uint64_t span_us, struct key key, uint64_t salt)
{
        uint8_t bytes[8];
        uint64_t range = span_us / JITTER_PART;

        put_u64(bytes, salt);
        return span_us -
               (uint64_t)((unsigned __int128)hash64(bytes_of(bytes, sizeof bytes), key.hash) *
                                  ((unsigned __int128)range + 1) >>
                          64);
}

void
lifetime_decide(struct meta *m, struct key key, struct lifetime_asked asked, const struct policy *p,
                const struct options *o, uint64_t now_us)
{
        uint64_t grace_us = asked.grace_named ? asked.grace_us : policy_number(p, P_grace);
        uint64_t ttl_us = asked.ttl_us;

        if (ttl_us == 0) {
                ttl_us = policy_number(p, P_ttl);
                if (ttl_us == 0 && policy_number(p, P_mode) == MODE_L1)
                        ttl_us = UINT64_MAX;
                else
                        ttl_us = jittered(ttl_us > 0 ? ttl_us : option_number(o, O_l3_ttl), key,
                                          now_us);
        }
        m->soft_us = later(now_us, ttl_us);
        m->hard_us = later(m->soft_us, grace_us);
}

uint64_t
lifetime_keep(const struct meta *m, struct key key, enum keeper tier, enum keeper lowest,
              const struct policy *p, const struct options *o, uint64_t now_us)
{
        uint64_t cap_us, until_us;

        if (m->flags & ENTRY_TOMBSTONE)
                until_us = later(now_us, policy_number(p, P_tombstone_ttl));
        else if (tier >= lowest)
                until_us = UINT64_MAX;
        else {
                cap_us = option_number(o, tier == KEEPER_L1 ? O_l1_ttl : O_l2_ttl);
                until_us = later(now_us, jittered(cap_us, key, m->version));
        }
        return until_us < m->hard_us ? until_us : m->hard_us;
}
