/* cache/l1.h: the first tier: entries in memory, least recently used first out, within a byte
 * budget. Split into partitions by hash, each behind a short lock, reachable from any worker.
 * Owns: its nodes, a copy of each key, one reference of each entry's blob.
 * Pure but for the locks: times are arguments (shared-clock microseconds).
 * Not here: policy, tags, when an entry is stale; whoever asks judges what he gets. */
#ifndef PN_CACHE_L1_H
#define PN_CACHE_L1_H

#include "cache/entry.h"
#include "cache/key.h"

struct l1;

struct l1_config {
        uint64_t bytes_max;
        unsigned partitions; /* a power of two */
};

enum l1_flag {
        L1_UNSURE = 1, /* L3's word without L2's: compared with L2 at its next use */
};

struct l1_found { /* one reference of entry.blob is the asker's: entry_release() */
        struct entry entry;
        uint64_t until_us;  /* L1's own cap on it */
        uint64_t landed_us; /* when it came in */
        unsigned flags;     /* enum l1_flag */
};

struct l1_stats {
        uint64_t entries, bytes, tombstones, evicted, expired, raw_bytes, stored_bytes;
};

struct l1 *l1_create(struct l1_config config);
void l1_destroy(struct l1 *l1);

/* The entry, tombstones too, unless its own cap or its hard expiry has passed. Counts as a use. */
bool l1_get(struct l1 *l1, struct key key, uint64_t now_us, struct l1_found *out);
/* The same without counting as a use and without the blob: is there something, and what? `flags`
 * may be NULL. */
bool l1_peek(struct l1 *l1, struct key key, uint64_t now_us, struct meta *out, unsigned *flags);

enum l1_put { L1_STORED, L1_OLDER, L1_TOO_BIG };
/* Keeps e (takes a reference of its own) unless what is there is newer (L1_OLDER), or as new, not
 * unsure, and kept as long (L1_STORED: it is there). Evicts until the budget holds. L1_TOO_BIG:
 * larger than l1_entry_max(), or than what is left beside other threads' puts of such sizes; what
 * was there and older is gone then. */
enum l1_put l1_put(struct l1 *l1, struct key key, const struct entry *e, uint64_t until_us,
                   unsigned flags, uint64_t now_us);
/* The largest blob that is kept at all. */
uint64_t l1_entry_max(const struct l1 *l1);
/* Takes out what is older than `version` (UINT64_MAX: whatever is there). True if it went. */
bool l1_remove_older(struct l1 *l1, struct key key, uint64_t version);
/* Takes out exactly this version of this origin. */
bool l1_remove_exact(struct l1 *l1, struct key key, uint64_t version, uint64_t origin);
/* What was unsure is confirmed, if it is still that version. */
void l1_confirm(struct l1 *l1, struct key key, uint64_t version);
/* Empties it, or one namespace of it (name_space.at != NULL). Returns how many went. */
uint64_t l1_clear(struct l1 *l1, const struct bytes *name_space);
/* Looks at up to `steps` table slots for expired entries, going round over time. Returns how many
 * went. */
uint64_t l1_sweep(struct l1 *l1, uint64_t now_us, unsigned steps);
void l1_stats(const struct l1 *l1, struct l1_stats *out);

#endif
