/* request/env.h: what a request may use: one env a worker, made by src/server (or by a test),
 * injected everywhere. Everything here belongs to the worker's thread, except l1 (locks) and what
 * is read-only. */
#ifndef PN_REQUEST_ENV_H
#define PN_REQUEST_ENV_H

#include "base/list.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/options.h"
#include "base/prng.h"
#include "base/table.h"
#include "base/task.h"
#include "base/timer.h"
#include "cache/l1.h"
#include "cache/landing.h"
#include "cache/policy.h"
#include "cache/shared_clock.h"
#include "request/tier.h"

struct floors;
struct queues;

/* Work that takes long and needs nothing but memory (compressing, checking a large value): done by
 * `work` on a helper thread, then the owner's task is ready. */
struct job {
        struct list link;
        struct task *owner;
        void (*work)(struct job *job);
};

struct facts { /* about the process, for INFO and the like; read-only */
        const char *io_backend, *io_backend_reason, *config_file;
        const char *listen, *unix_socket, *admin;
        uint64_t started_mono_us, started_wall_us;
        uint32_t pid, tcp_port;
};

struct env {
        unsigned index, count;      /* this worker among all */
        struct env *const *workers; /* all of them; a key's home is workers[hash % count] */
        uint64_t mono_us, now_us,
                wall_us; /* read once a turn: monotonic; the shared clock's estimate; wall clock */

        struct list ready;  /* tasks to advance */
        struct list flush;  /* sessions with output to send (session.flush) */
        struct list resume; /* sessions whose input may be parsed again (session.resume) */
        struct timers timers;
        struct prng prng;

        const struct options *options;
        const struct policies *policies;
        const struct facts *facts;
        struct metrics *metrics;
        struct metrics *const *all_metrics; /* `count` of them */
        uint64_t origin;                    /* this process' id in envelopes */
        uint64_t key_seed;

        struct shared_clock clock;
        struct l1 *l1;
        struct landing *landing;
        struct floors *floors;
        struct queues *queues;
        struct table flights;
        struct table writes; /* ops that are writing to L2 (op.writing) */
        uint64_t seen;       /* the newest version of anything that was written or heard of */
        uint64_t next_session_id;
        struct log_gate hostile; /* of the lines about what strangers send */
        uint64_t *input_bytes;   /* of all sessions of this worker, against [server] input-max */

        struct tier *l2, *l3; /* NULL when not configured */

        void (*post)(
                struct env *to,
                struct task *task); /* makes the task ready on another worker; from any thread */
        void (*offload)(struct env *env, struct job *job);
        void (*shut_down)(struct env *env); /* what SIGTERM does */
};

/* Runs what is ready until nothing is. */
void env_advance(struct env *env);
/* The turn's times: sets mono, wall and the estimate. */
void env_clock(struct env *env, uint64_t mono_us, uint64_t wall_us);

#endif
