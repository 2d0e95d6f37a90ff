/* io/redis_state.h: what the redis_*.c files share: the tier, its connections, its calls under way.
 * Private to them.
 *
 * redis_link.c     one connection, from connect to closed: bytes, slots, handshake
 * redis_dial.c     when and whereto to connect; the tier comes up and goes down
 * redis_clock.c    the shared clock learnt from TIME
 * redis_calls.c    calls that are one question and one answer; time-outs; refusals
 * redis_large.c    the second connection and values in pieces
 * redis_sweep.c    calls that go through many keys or fields in steps
 * redis_tier.c     create, destroy, describe, and the tier's task */
#ifndef PN_IO_REDIS_STATE_H
#define PN_IO_REDIS_STATE_H

#include <sys/socket.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/redis_answer.h"
#include "io/redis_scripts.h"
#include "io/redis_tier.h"

struct redis_link;
struct redis_op;
struct redis_tier;
struct redis_resolve; /* redis_dial.c */

enum {
        REDIS_ENVELOPE_ROOM = ENVELOPE_HEADER + LIMIT_TAGS * (10 + LIMIT_TAG_BYTES),
        /* A GET asks for so many bytes at once: all of a value that is not large. */
        REDIS_FIRST_BYTES = ENVELOPE_PREFIX + REDIS_ENVELOPE_ROOM + LIMIT_CHUNK_BYTES,
        REDIS_ADDRESSES = 8,
        REDIS_WHY_BYTES = 160,
        REDIS_SILENCE_US = 3000000,   /* nothing heard for so long while something waits */
        REDIS_CONNECT_US = 1000000,   /* for one address */
        REDIS_HANDSHAKE_US = 5000000, /* a frozen Redis may continue in it */
};

struct redis_address {
        struct sockaddr_storage at;
        socklen_t len;
};

/* ---- connections ---- */

/* A question without an answer yet. Answers come in the order of the questions. */
struct redis_slot {
        struct list link;
        /* The answer; NULL: the connection broke. It is freed afterwards. */
        void (*take)(struct redis_link *link, struct redis_slot *slot, struct redis_answer *answer);
        struct redis_op *op; /* NULL: the connection's own question */
        unsigned step;       /* of the handshake */
        uint64_t asked_us;   /* monotonic */
        struct answer_target target;
};

enum link_role { LINK_MAIN, LINK_LARGE };
enum link_stage { LINK_CONNECTING, LINK_SHAKING, LINK_TIMING, LINK_UP };

/* The answers to several TIMEs; the quickest counts. */
struct redis_timing {
        bool asked; /* one is under way */
        unsigned tries;
        uint64_t answer_us, answer_asked_us; /* came in this turn; 0: none */
        uint64_t best_us, best_asked_us, best_answered_us;
};

struct redis_link {
        struct stream stream;
        struct chain out;
        struct answer_reader *reader;
        struct redis_tier *tier; /* NULL: let go of, waits for `closed` */
        enum link_role role;
        enum link_stage stage;
        struct list slots;
        unsigned slot_count;
        bool heard;  /* something came in this turn */
        bool broken; /* to be let go of by the tier's task */
        bool slow;   /* broken by silence, not by refusal */
        char why[REDIS_WHY_BYTES];
        uint64_t opened_us, heard_us;
        uint64_t rtt_asked_us; /* of the last answered slot in this turn */
        struct redis_timing timing;
        uint64_t replid; /* what the handshake learns */
        char what[48];
        char policy[32];
};

struct redis_link *
redis_link_open(struct redis_tier *t, enum link_role role, const struct redis_address *address);
/* All its slots are taken with NULL; it frees itself when the loop has closed it. */
void redis_link_drop(struct redis_link *l);
/* Notes that it is of no more use. */
void redis_link_break(struct redis_link *l, const char *why);
/* Appends a slot; the caller has appended its question to l->out. */
struct redis_slot *
redis_link_ask(struct redis_link *l,
               void (*take)(struct redis_link *, struct redis_slot *, struct redis_answer *));
/* How long it has been silent while something waits. */
uint64_t redis_link_silent_us(const struct redis_link *l, uint64_t now_us);

/* ---- calls ---- */

struct redis_fetch {        /* a large value in pieces */
        struct blob *first; /* its beginning, while it waits for its turn */
        struct blob *whole;
        uint64_t version;
        size_t total, asked, got;
        bool asked_version, changed, retried;
};

struct redis_sweep { /* through many names */
        char cursor[24];
        struct buf values, leases; /* RESP parts of the names that go */
        size_t values_count, leases_count;
        struct buf hashed; /* u16 length and name: their namespaces are being read */
        size_t hashed_at;  /* the next answer's */
        uint64_t name_space_hash;
        uint64_t count;
        struct buf floors;
};

struct redis_op {
        struct task task; /* its time-out */
        struct redis_tier *tier;
        struct tier_call *call; /* NULL: answered or given up */
        /* An answer that is no error, while the call waits. */
        void (*step)(struct redis_op *op, struct redis_answer *answer);
        unsigned slots; /* questions under way */
        bool timed_out;
        bool again;          /* NOSCRIPT was answered once */
        bool large, running; /* goes, is on its way, over the second connection */
        struct list waiting; /* in tier.large_waiting */
        unsigned stage;
        enum redis_script script;
        union {
                struct redis_fetch fetch;
                struct redis_sweep sweep;
        };
        void (*deinit)(struct redis_op *op); /* of the union; NULL: nothing */
};

void redis_start(struct tier *tier, struct tier_call *call);
void redis_cancel(struct tier *tier, struct tier_call *call);
/* The slot of a question of op, on l. */
struct redis_slot *redis_op_ask(struct redis_op *op, struct redis_link *l);
void redis_op_answer(struct redis_op *op, enum tier_result result);
/* Frees it if nothing holds it any more; op must not be touched afterwards. */
void redis_op_settle(struct redis_op *op);
/* For the large connection: begins what waited. */
void redis_op_begin_large(struct redis_op *op);
/* The call has more time than it was started with. */
void redis_op_extend(struct redis_op *op, uint64_t bytes);
/* Notes for the log, at most once in 10 s, that a call failed. */
void redis_op_refused(struct redis_op *op, const char *word);
/* The first word of an error, if it is one of Redis' codes, else "ERR": the rest may quote the
 * command, and so a key or a value. Returns out. */
const char *redis_error_word(const struct redis_answer *a, char out[static 24]);

void redis_large_submit(struct redis_op *op);
void redis_large_next(struct redis_tier *t);
void redis_large_advance(struct redis_tier *t); /* its connection's state */
/* GETRANGE of the call's value. */
void redis_piece_ask(struct redis_op *op, struct redis_link *l, uint64_t from, uint64_t len,
                     struct answer_target target);
void redis_fetch_begin(struct redis_op *op, struct blob *first, uint64_t total);
void redis_fetch_start(struct redis_op *op);
/* The whole length that a value's beginning names, or 0: it is not to be believed. */
uint64_t redis_value_length(const struct redis_tier *t, struct bytes beginning);

void redis_flush_start(struct redis_op *op);
void redis_floors_start(struct redis_op *op);

/* ---- the tier ---- */

enum dial_stage { DIAL_IDLE, DIAL_WAITING, DIAL_RESOLVING, DIAL_TRYING };

struct redis_tier {
        struct tier tier;
        struct task task;
        struct loop *loop;
        struct env *env;
        struct redis_config config;
        char address_text[128]; /* for the log: no user, no password */

        struct redis_link *main;  /* the one that is up */
        struct redis_link *fresh; /* on its way to be it */
        struct redis_link *large;

        enum dial_stage dial;
        struct timer dial_timer;
        struct redis_resolve *resolve;
        struct redis_address addresses[REDIS_ADDRESSES];
        unsigned address_count, address_next;
        struct redis_address main_address; /* for the large one */
        unsigned failures;                 /* in a row */

        struct timer watch_timer, clock_timer;
        uint64_t late_us; /* TIME as a late write told it; 0: none in this turn */
        struct list large_waiting;
        unsigned large_waiting_count, large_running;
        uint64_t large_used_us;

        char sha[SCRIPT_COUNT][41];
        char what[48], trouble[REDIS_WHY_BYTES];
        bool said_down, said_policy;
        struct log_gate error_gate, wall_gate;
        uint64_t connects, up_since_us, rtt_us;
};

static inline void
redis_wake(struct redis_tier *t)
{
        task_ready(&t->env->ready, &t->task);
}

void redis_dial(struct redis_tier *t);
void redis_dial_advance(struct redis_tier *t); /* its timer, the fresh connection's state */
void redis_dial_end(struct redis_tier *t);
void redis_main_lost(struct redis_tier *t);
void redis_large_lost(struct redis_tier *t);
void redis_watch(struct redis_tier *t); /* looks in a second */
void redis_watch_advance(struct redis_tier *t);

void redis_time_ask(struct redis_link *l);
enum timing_state { TIMING_WAITS, TIMING_DONE, TIMING_HOPELESS };
/* Takes in what came; DONE: the clock has been learnt. */
enum timing_state redis_time_advance(struct redis_link *l);
void redis_time_late(struct redis_tier *t);

#endif
