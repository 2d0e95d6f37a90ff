/* tests/sim/world.h: a small world for the real request engine: simulated time, simulated tiers
 * shared by several servers, faults decided by one seed. Single-threaded; nothing here reads a
 * clock. Owns everything it makes. The engine under test is linked as it is. */
#ifndef PN_TESTS_SIM_WORLD_H
#define PN_TESTS_SIM_WORLD_H

#include "request/env.h"
#include "request/floors.h"
#include "request/queues.h"
#include "request/request.h"

enum { SIM_SERVERS_MAX = 8, SIM_WORKERS_MAX = 2, SIM_KEYS_MAX = 64, SIM_FLOORS_MAX = 8 };

struct sim_row { /* what a tier holds of a key */
        uint8_t key[64];
        size_t key_len;
        uint64_t version, origin, replid, hard_us, keep_us;
        bool tombstone, used;
        struct blob *blob; /* version prefix and envelope */
};

struct sim_store { /* one Redis or one PostgreSQL */
        struct sim_row rows[SIM_KEYS_MAX];
        struct {
                uint8_t name[64];
                size_t len;
                uint64_t version;
        } floors[SIM_FLOORS_MAX];
        size_t floors_count;
        int64_t clock_offset_us;
        uint64_t frozen_until_us; /* commands that arrive wait until then */
        uint64_t replid;
        uint64_t asked[TIER_RAISE + 1]; /* executed, by verb */
        struct sim_rules { /* what a tier must do; a test breaks one to see it matter */
                bool no_above_stored, no_late, no_compare, no_estimate;
        } broken;
};

struct sim_tier {
        struct tier head;
        struct sim_world *world;
        struct env *env;
        struct sim_store *store;
        uint64_t out_us[2], back_us[2]; /* order on the connection; [1]: on that of large values */
        uint64_t down_until_us;
        uint64_t generation;
        uint64_t late; /* answers that came after their time-out */
};

struct sim_server { /* one worker of a process; the first of them owns what they share */
        struct env env;
        struct env *workers[SIM_WORKERS_MAX];
        struct options options;
        struct metrics metrics;
        struct metrics *all_metrics[SIM_WORKERS_MAX];
        struct policies *policies;
        struct facts facts;
        struct sim_tier l2, l3;
        struct session session;
        uint64_t input_bytes;
};

struct sim_config {
        unsigned servers, workers; /* processes, and workers of each (0: one) */
        bool l2, l3;
        const char *mode; /* "" : auto */
        uint64_t l1_ttl_us;
        uint64_t delay_max_us;   /* one way */
        uint64_t clock_error_us; /* of an estimate, at most */
        uint64_t l1_bytes;       /* 0: 8 MiB */
        uint64_t seed;
};

struct sim_event;

struct sim_world {
        struct sim_config config;
        uint64_t now_us; /* simulated time; also the wall clock and, less an offset, Redis' */
        struct prng prng;
        struct sim_event *heap; /* by time, then order of birth */
        size_t events, events_cap;
        uint64_t births;
        struct sim_store l2, l3;
        struct sim_server server[SIM_SERVERS_MAX]; /* workers of one process stand together */
        unsigned servers;                          /* in use: processes * workers */
        bool trace; /* what the tiers execute, on stderr; times since began_us */
        uint64_t began_us;
        uint64_t large_us;   /* what a large value takes longer, one way */
        bool in_engine;      /* the engine runs, rather than a tier */
        unsigned delays_off; /* 1: every call is answered after exactly delay_max */
};

void sim_create(struct sim_world *w, struct sim_config config);
void sim_destroy(struct sim_world *w);
/* Calls `what(world, with)` after `in_us`. */
void sim_after(struct sim_world *w, uint64_t in_us, void (*what)(struct sim_world *, void *),
               void *with);
/* Runs until this much time has passed (events at its end included). */
void sim_run(struct sim_world *w, uint64_t for_us);

struct sim_row *sim_row(struct sim_store *s, struct bytes key); /* NULL if there is none */
void sim_forget(struct sim_store *s, struct bytes key);         /* evicted */
void sim_freeze(struct sim_world *w, struct sim_store *s, uint64_t for_us);
void sim_cut(struct sim_world *w, struct sim_tier *t,
             uint64_t for_us); /* the connection breaks and stays away */
/* Redis is another one from now on: empty, or (old != NULL) as it was then. All connections
 * break. */
void sim_fail_over(struct sim_world *w, struct sim_store *old);
void sim_copy(struct sim_store *to, const struct sim_store *from);
void sim_empty(struct sim_store *s);
/* The worker that is the key's home in the process of `s`. */
struct sim_server *sim_home(struct sim_world *w, struct sim_server *s, const char *key);

/* ---- asking a server, as a command would ---- */

struct sim_answer { /* filled when the op is done */
        bool done;
        enum op_state state;
        enum op_tier tier;
        enum err error;
        uint64_t version, began_us, ended_us;
        bool existed, estimated;
        size_t len;     /* of the raw value */
        char value[64]; /* raw, cut */
};

/* Starts one op on the server's home session; *answer must live until done. */
void sim_get(struct sim_server *s, const char *key, struct sim_answer *answer);
void sim_set(struct sim_server *s, const char *key, const char *value, const struct op_asked *more,
             struct sim_answer *answer);
/* The same for any bytes. */
void sim_set_bytes(struct sim_server *s, const char *key, struct bytes value,
                   const struct op_asked *more, struct sim_answer *answer);
void sim_del(struct sim_server *s, const char *key, struct sim_answer *answer);
void sim_expire(struct sim_server *s, const char *key, uint64_t hard_us, struct sim_answer *answer);

#endif
