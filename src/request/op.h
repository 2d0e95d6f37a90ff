/* request/op.h: what is done to one key: the unit that is routed to the key's home worker, waits,
 * and is answered. A command is a request (request.h) with one op for each of its keys.  op_start()
 * sends it on its way; request_op_done() is called on the request's own worker when it is answered.
 * In between the op is on its home worker. Ops are born and die with their request; the key's bytes
 * are the request's. */
#ifndef PN_REQUEST_OP_H
#define PN_REQUEST_OP_H

#include "cache/lifetime.h"
#include "request/env.h"

struct request;
struct lookup;

enum op_kind {
        OP_GET,    /* -> HIT, STALE, NEGATIVE, MISS or ERROR */
        OP_SET,    /* -> DONE, UNMET (NX, XX), or ERROR; with want_old also what was there */
        OP_DEL,    /* -> DONE, `existed` */
        OP_EXPIRE, /* changes the lifetime of what is there -> DONE, or MISS */
        OP_FLUSH,  /* empties tiers, see flush_tiers */
};

enum op_state { OP_OPEN, OP_HIT, OP_STALE, OP_NEGATIVE, OP_MISS, OP_DONE, OP_UNMET, OP_ERROR };
enum op_tier {
        OP_TIER_NONE,
        OP_TIER_L1,
        OP_TIER_L2,
        OP_TIER_L3,
        OP_TIER_QUEUE, /* a write not yet sent */
};
enum op_condition { OP_ALWAYS, OP_IF_ABSENT, OP_IF_PRESENT };
enum op_lifetime {
        LIFE_DECIDE, /* from `asked` and the policy */
        LIFE_KEEP,   /* of what is there */
        LIFE_AT,     /* hard_us as given, 0: persist */
};
/* Of a write in the line of its key's writes. */
enum op_place { PLACE_BEHIND, PLACE_SENT, PLACE_STAMPED };
enum flush_tier { FLUSH_L1 = 1, FLUSH_L2 = 2, FLUSH_L3 = 4, FLUSH_ALL = 7 };

struct op_asked {                /* filled by the command; zero is the default of everything */
        struct blob *value;      /* SET: the raw value; one reference, the op's */
        struct bytes value_part; /* inside it (value may be NULL for an empty one) */
        struct lifetime_asked life;
        enum op_lifetime lifetime;
        uint64_t hard_us; /* LIFE_AT, shared clock */
        enum op_condition condition;
        bool want_old;        /* SET: the value before, read with the same atomicity */
        bool stale_fine;      /* GET: a stale value is an answer (the command judges by state) */
        bool want_raw;        /* GET: the command will ask op_raw() */
        uint64_t deadline_us; /* 0: the namespace's; how long, not when */
        uint64_t cost;
        uint32_t compute_us;
        uint16_t confidence;
        uint8_t codec;
        uint16_t tag_count;
        const struct bytes *tags; /* the request's */
        unsigned flush_tiers;     /* FLUSH; the key is then the namespace, or empty with all set */
        bool flush_everything;
};

struct op {
        struct task task;
        struct request *request;
        struct env *origin; /* the worker that owns the request */
        enum op_kind kind;
        struct key key;
        struct op_asked asked;

        /* The answer. */
        enum op_state state;
        enum op_tier tier;
        /* HIT, STALE, NEGATIVE, and with want_old: a reference of the op's; blob NULL otherwise. */
        struct entry entry;
        struct blob *raw;   /* op_get.c's, for op_raw() */
        uint64_t landed_us; /* when the tier got it, as far as known: for age */
        bool existed;
        uint64_t version, count;
        unsigned reached; /* SET: bits of enum flush_tier: tiers that hold it at the answer */
        enum err error;
        const char *detail; /* for the error's "%s"; static text */

        /* On its way; belongs to the file that advances it. */
        uint8_t stage, turns;
        bool estimated;
        uint64_t started_us, ends_us; /* monotonic */
        uint64_t floor; /* newest version known when it came: nothing older is handed to it */
        uint64_t known, stamp;
        uint64_t expect;
        uint64_t compress_min;
        struct entry made;  /* SET, DEL, EXPIRE: what is written */
        struct entry in_l3; /* the mark that L2 gets in its place, where it is too large for L2 */
        struct landmark *mark;
        struct lookup *lookup; /* it follows; NULL when that is over */
        struct list follows;   /* in lookup.followers */
        bool complete;         /* the lookup heard every tier that could know */
        bool fresh;            /* ... and began after the op looked */
        bool disputed;         /* what it found was dropped for something newer */
        uint64_t looked_us;    /* monotonic: when the op last looked */
        /* What stood in the way of the last try: if the next look does not count it (it was
         * invalidated, or written under another replication id) it is what is expected. */
        uint64_t stands;
        struct op *earlier, *later; /* the line of the key's writes: op_line.c's */
        struct table_node writing;  /* in env.writes: the last of its line */
        bool in_line, waits;        /* waits: for `earlier` */
        bool alone; /* it reads before it writes: no other write of the key beside it */
        bool large; /* over the tiers' second connection */
        enum op_place place;
        struct tier_call call;
        struct timer timer;
        struct job job;
};

/* The parts of the engine that advance an op, one file each; called by op.c alone. */
void op_get_advance(struct op *op, struct env *env);
void op_write_advance(struct op *op, struct env *env);
void op_flush_advance(struct op *op, struct env *env);

/* What a write writes, into op->made, or op->error; false: on the helper thread, the op will be
 * woken. */
bool op_make(struct op *op, struct env *env);
/* The lookup is not over: true while the op waits on. Its time ends, but a value that is known to
 * be large gets what its bytes need. */
bool op_waits_on(struct op *op, struct env *env);
/* The line of a key's writes: they reach the tier that stamps them in the order in which they
 * came. */
void op_line_enter(struct op *op, struct env *env);
void op_line_leave(struct op *op, struct env *env);
void op_line_move(struct op *op, struct env *env, enum op_place place);
/* True: one before it is not far enough; the op will be woken. */
bool op_line_waits(struct op *op, struct env *env);

/* The op has its answer: back to its request. */
void op_finish(struct op *op, struct env *env, enum op_state state);
void op_fail(struct op *op, struct env *env, enum err error, const char *detail);

void op_init(struct op *op, struct request *rq, enum op_kind kind, struct key key, struct env *env);
void op_start(struct op *op, struct env *env);
void op_deinit(struct op *op);

/* The shortest way: fresh (or stale, where fine) in L1 and nothing to wait for. Fills state, tier,
 * entry of a GET on any worker, without starting it; false: start it. */
bool op_get_at_once(struct op *op, struct env *env);

/* The raw value of the answer: one reference, the caller's, and the part of it. Large packed values
 * were unpacked on the helper thread where `want_raw` was set. NULL when memory is short or the
 * block is damaged. */
must_use struct blob *op_raw(const struct op *op, struct bytes *part);

#endif
