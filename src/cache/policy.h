/* cache/policy.h: what a namespace wants. Configured sections; everything else falls back to
 * [namespace default]. Read-only between policies_setup() and the next reload. */
#ifndef PN_CACHE_POLICY_H
#define PN_CACHE_POLICY_H

#include "base/options.h"

struct policy {
        union option_value value[POLICY_COUNT_ALL]; /* all numbers; MODE_AUTO already resolved */
};

static inline uint64_t
policy_number(const struct policy *p, enum policy_id id)
{
        return p->value[id].number;
}

struct policies; /* opaque */

struct policies *policies_create(void); /* [namespace default] with the table's defaults */
void policies_destroy(struct policies *p);
/* One configured line; the namespace is created from the current default where it is new, so
 * `default` is set first. The name "default" is the fallback itself; *why as in option_parse(). */
must_use bool policies_set(struct policies *p, struct bytes name_space, struct bytes option,
                           struct bytes value, char why[static 256]);
/* Resolves `mode = auto` by the tiers there are; a mode that needs an absent tier is an error
 * (*why). */
must_use bool policies_resolve(struct policies *p, bool l2, bool l3, char why[static 256]);
/* Never NULL. Borrowed until the next change. */
const struct policy *policies_find(const struct policies *p, struct bytes name_space);
/* Configured names in order, "default" first; NULL past the end. */
const char *policies_name(const struct policies *p, size_t index);

#endif
