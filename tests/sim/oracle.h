/* tests/sim/oracle.h: what must hold of every answer in a random run, and in the end. */
#ifndef PN_TESTS_SIM_ORACLE_H
#define PN_TESTS_SIM_ORACLE_H

#include <stdio.h>

#include "tests/sim/world.h"

enum { MS = 1000, SECOND = 1000000, KEYS = 3, ASKS = 400, L1_TTL_US = 4 * SECOND };

enum what { ASK_GET, ASK_SET, ASK_DEL, ASK_NX, ASK_XX, ASK_KEEP, ASK_SWAP, ASK_EXPIRE };

/* What may go wrong in a run, and so what is promised nevertheless. */
enum profile {
        PROFILE_NONE,
        PROFILE_EVICT,    /* L1 and L2 lose what a lower tier holds */
        PROFILE_ALL,      /* frozen tiers, broken connections, evictions, clocks a little off */
        PROFILE_FAILOVER, /* mode through: Redis comes back empty, or as it was */
        PROFILE_CLOCK,    /* Redis' clock steps; nothing is evicted */
};

#define HARD_UNKNOWN 2 /* of an ask: the lifetime is that of what was there */

struct ask {
        struct sim_answer answer;
        enum what what;
        unsigned server, process, key;
        uint64_t hard_us;        /* of a write: what it leaves is there until then; 0 a DEL */
        uint64_t floor, stamped; /* newest acknowledged before: by this process; by any, stamped */
        uint64_t bound;          /* newest that every process must know */
        bool judged;
};

extern struct sim_world w;
extern struct ask asks[ASKS];
extern unsigned asked, failures, sizes;
extern bool tracing;
extern const char *const names[KEYS];

#define trace(...) (void)(tracing && fprintf(stderr, __VA_ARGS__))

void oracle_begin(enum profile profile);
/* The next ask, with what must hold of its answer; the caller sends it. */
struct ask *oracle_ask(enum what what, unsigned server, unsigned key);
/* Judges what was answered since. */
void oracle_judge(void);
/* Lets everything come to rest and judges that. */
void oracle_end(void);

#endif
