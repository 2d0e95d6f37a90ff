/* request/tier.h: what a lower tier is. Two of them are real (io/redis_*, io/postgres_*), one is
 * simulated (tests/sim).
 *
 * A caller embeds a tier_call, fills the question, and starts it. The answer never comes in line:
 * when it is there, or its time is over, `result` is set and the owner's task is put on the ready
 * list, exactly once. Until then everything the question points to must stay. An answer that comes
 * after the time-out is dropped by the tier and counted; its connection lives. */
#ifndef PN_REQUEST_TIER_H
#define PN_REQUEST_TIER_H

#include "base/limits.h"
#include "base/list.h"
#include "base/task.h"
#include "base/timer.h"
#include "cache/entry.h"

enum tier_verb {
        TIER_GET,   /* key -> found, or absent */
        TIER_WRITE, /* key, entry, ... -> outcome, version, existed */
        TIER_TAKE,  /* key, version, origin: exactly this write is taken out (it lost in L3) */
        TIER_FLUSH, /* name_space or everything of ours -> count; in bounded steps */
        /* -> found: the namespaces' floors as u16 length, name, u64 version, one after the other */
        TIER_FLOORS,
        TIER_RAISE, /* name_space, version: its floor is at least this */
};

enum tier_result {
        TIER_PENDING,
        TIER_ANSWERED,
        TIER_DOWN,      /* not connected, the connection broke, or too much in flight */
        TIER_TIMED_OUT, /* the question may or may not have been executed */
        TIER_FAILED,    /* the tier refused it with an error (counted and logged by the tier) */
};

enum write_kind {
        /* The tier gives the version: max(its time, stored + 1, last grant + 1, known + 1,
         * estimate - slack). */
        WRITE_NEW,
        /* Carries its version; compared, may lose. */
        WRITE_STAMPED,
        /* The same, from a lower tier: ends no lease, is not announced; what was written under
         * another replication id gives way to it when `replid_strict`. */
        WRITE_PROMOTED,
};

enum write_outcome {
        /* The same version of the same origin again is stored, too. */
        WRITE_STORED,
        WRITE_LOST,     /* the tier holds a newer version; found_version names it */
        WRITE_CONFLICT, /* `expect` did not hold; found_version is what is there, 0: nothing */
        WRITE_LATE,     /* the tier's clock is past until_us: nothing was done, the clock learnt */
};

#define EXPECT_ANY    UINT64_MAX
#define EXPECT_ABSENT 0 /* nothing there, or a tombstone, or past its hard expiry */

struct tier_call {
        /* The question. */
        enum tier_verb verb;
        struct key key;
        struct bytes name_space;   /* FLUSH: at == NULL is everything */
        const struct entry *entry; /* WRITE; sealed */
        enum write_kind kind;
        uint64_t version;     /* STAMPED, PROMOTED, TAKE, RAISE */
        uint64_t origin;      /* TAKE: two servers without L2 may have estimated the same version */
        uint64_t expect;      /* WRITE_NEW: EXPECT_ANY, EXPECT_ABSENT or the version to be there */
        uint64_t known_us;    /* WRITE_NEW: the newest invalidation that the writer knows */
        uint64_t estimate_us; /* WRITE_NEW: the asker's estimate of the shared clock */
        uint64_t until_us;    /* WRITE_NEW: shared clock; nothing is done after it; 0: never */
        uint64_t keep_until_us; /* WRITE: how long the tier keeps it (shared clock) */
        bool replid_strict;     /* PROMOTED, in mode through */
        /* Monotonic: TIER_TIMED_OUT then. For GET the tier adds tier_extra_us() once it knows the
         * size; for WRITE the caller has added it. */
        uint64_t deadline_us;
        struct task *owner;

        /* The answer. */
        enum tier_result result;
        /* GET, FLOORS: one reference, the caller's; NULL is absent. GET: version prefix and
         * envelope, not judged yet. */
        struct blob *found;
        enum write_outcome outcome;
        uint64_t found_version; /* WRITE: as stored, or what stood in its way */
        bool existed;           /* WRITE: a live value (no tombstone) stood there before */
        uint64_t count;         /* FLUSH */
        /* GET, while pending: set once the value is known to be above LIMIT_CHUNK_BYTES; whoever
         * waits for it gives it more time. */
        uint64_t large_bytes;

        /* The tier's own while TIER_PENDING. */
        struct list link;
        struct timer timer;
        void *slot;
};

/* How much longer a value of so many bytes may take: nothing up to LIMIT_CHUNK_BYTES, then a second
 * and one more per 8 MiB. */
static inline uint64_t
tier_extra_us(uint64_t bytes)
{
        return bytes <= LIMIT_CHUNK_BYTES ? 0 : 1000000 + bytes / (8 << 20) * 1000000;
}

struct tier_state { /* for PN.TIERS, INFO, /readyz */
        bool up;
        const char *what; /* "redis 7.0.15", "postgresql 15.20"; "" before the first connection */
        const char *trouble;                       /* why it is down, or ""; no secrets */
        uint64_t in_flight, connects, up_since_us; /* monotonic */
        uint64_t last_rtt_us;
};

struct tier;
struct tier_ops {
        void (*start)(struct tier *tier, struct tier_call *call);
        /* The caller has no more interest: after return the call is the caller's again, nothing is
         * put on the ready list. */
        void (*cancel)(struct tier *tier, struct tier_call *call);
        void (*describe)(struct tier *tier, struct tier_state *out);
};

struct tier { /* the head of every tier; read-only for others */
        const struct tier_ops *ops;
        uint64_t replid;   /* L2: hash of the replication id; 0 unknown */
        bool up;           /* a connection works: a call would be sent at once */
        uint64_t heard_us; /* monotonic: the last answer of any kind */
};

static inline void
tier_start(struct tier *t, struct tier_call *call)
{
        call->result = TIER_PENDING;
        call->found = NULL;
        call->large_bytes = 0;
        list_init(&call->link);
        t->ops->start(t, call);
}
static inline void
tier_cancel(struct tier *t, struct tier_call *call)
{
        if (call->result == TIER_PENDING)
                t->ops->cancel(t, call);
}

#endif
