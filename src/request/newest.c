/* request/newest.c: see newest.h. Owns nothing; reads and changes L1, the landing memory and the
 * floors of env.
 * Not here: asking tiers (lookup.c), writing (op_write.c). */
#include "request/newest.h"

#include "request/floors.h"

/* L2 keeps a short-lived value at least so long: expired or not, it is the floor that keeps its
 * predecessor out, whether that stands in L3 or waits in the queue of a server that was cut off. */
#define L2_KEEP_MIN_US UINT64_C(30000000)

const struct policy *
newest_policy(const struct env *env, struct key key)
{
        return policies_find(env->policies, key_namespace(key.text));
}

enum write_mode
newest_mode(const struct policy *p)
{
        return (enum write_mode)policy_number(p, P_mode);
}

bool
mode_uses_l2(const struct env *env, enum write_mode mode)
{
        return env->l2 != NULL && mode != MODE_L1;
}

bool
mode_uses_l3(const struct env *env, enum write_mode mode)
{
        return env->l3 != NULL && (mode == MODE_BEHIND || mode == MODE_THROUGH);
}

uint64_t
newest_known(struct env *env, struct key key)
{
        uint64_t known = landing_newest(env->landing, key, NULL);
        uint64_t floor = floors_get(env->floors, key.text);
        struct meta m;

        if (floor > known)
                known = floor;
        if (l1_peek(env->l1, key, env->now_us, &m, NULL) && m.version > known)
                known = m.version;
        return known;
}

bool
newest_valid(const struct env *env, struct key key, const struct meta *m)
{
        return env->now_us < m->hard_us && m->version > floors_get(env->floors, key.text);
}

bool
newest_land(struct env *env, struct key key, const struct entry *e, bool sure)
{
        uint64_t until;

        if (e->meta.version > env->seen)
                env->seen = e->meta.version;
        if (e->meta.flags & ENTRY_IN_L3)
                return false;
        if (e->meta.version < landing_newest(env->landing, key, NULL)) {
                metric_add(env->metrics, M_landings_refused, 1);
                return false;
        }
        until = newest_keep_until(env, key, &e->meta, KEEPER_L1);
        switch (l1_put(env->l1, key, e, until, sure ? 0 : L1_UNSURE, env->now_us)) {
        case L1_STORED:
                return true;
        case L1_OLDER:
                metric_add(env->metrics, M_landings_refused, 1);
                return false;
        case L1_TOO_BIG:
                l1_remove_older(env->l1, key, e->meta.version);
                return false;
        }
        return false;
}

void
newest_note(struct env *env, struct key key, uint64_t version)
{
        if (version > env->seen)
                env->seen = version;
        landing_note(env->landing, key, version, env->mono_us);
        l1_remove_older(env->l1, key, version);
}

uint64_t
newest_keep_until(const struct env *env, struct key key, const struct meta *m, enum keeper tier)
{
        const struct policy *p = newest_policy(env, key);
        enum write_mode mode = newest_mode(p);
        enum keeper lowest = mode_uses_l3(env, mode)   ? KEEPER_L3
                             : mode_uses_l2(env, mode) ? KEEPER_L2
                                                       : KEEPER_L1;
        uint64_t until = lifetime_keep(m, key, tier, lowest, p, env->options, env->now_us);
        uint64_t least = env->now_us;

        /* What is older may still be on its way from another process' queue, for at most half of
         * tombstone-ttl: in L3 even an expired row stands against it. */
        if (tier == KEEPER_L3)
                least += policy_number(p, P_tombstone_ttl);
        else if (tier == KEEPER_L2)
                least += L2_KEEP_MIN_US;
        return until < least ? least : until;
}
