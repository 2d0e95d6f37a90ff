/* server/worker.h: a worker thread: a loop, its clients, its connections to the tiers, and the env
 * that requests use. The crew is what workers share. */
#ifndef PN_SERVER_WORKER_H
#define PN_SERVER_WORKER_H

#include "io/client.h"
#include "io/listener.h"
#include "io/mailbox.h"
#include "io/offload.h"
#include "server/config.h"
#include "server/gate.h"

/* They serve; all have stopped serving, and let go; nothing goes from one to another any more. */
enum worker_phase { PHASE_SERVE = 1, PHASE_END, PHASE_APART };

struct worker;

struct crew { /* made before the workers, outlives them; read-only but for what is atomic */
        _Atomic(struct config *) config; /* the one in use */
        struct facts facts;              /* complete when PHASE_SERVE opens */
        struct l1 *l1;
        struct offload *offload;
        struct listener *listeners; /* served by worker 0 */
        unsigned listener_count;
        struct worker *workers;
        unsigned count;
        struct env **envs;
        struct metrics **metrics;
        uint64_t origin, key_seed;
        struct gate gate;
        bool cancelled; /* set before PHASE_SERVE opens: a worker could not be set up */
};

struct gone_tier { /* worker.c's */
        struct tier tier;
        struct env *env;
};

struct worker {         /* fields belong to worker.c, but for those with a comment */
        struct env env; /* read by the crew */
        struct crew *crew;
        struct metrics metrics;
        struct mailbox mailbox;
        struct clients clients;
        struct loop *loop;
        pthread_t thread;
        struct timer sweep_timer;
        struct task sweep, drain, stop, adopt;
        struct gone_tier gone;
        unsigned waiting; /* connections that found no room yet */
        bool draining, stopping, failed;
        char why[256];         /* of the loop's choice, or of the failure */
        _Atomic bool adopting; /* `adopt` is under way */
        _Atomic bool drained;  /* while draining: nothing is left to do here */
};

/* Starts the thread, which sets itself up and waits for PHASE_SERVE. ERR_SYSTEM: *why. */
must_use enum err worker_start(struct worker *w, struct crew *crew, unsigned index);
void worker_join(struct worker *w);
/* After worker_join(), when nobody posts any more. */
void worker_deinit(struct worker *w);

/* From the main thread: orders. */
void worker_drain(struct worker *w);
void worker_stop(struct worker *w);  /* it then waits for PHASE_END */
void worker_adopt(struct worker *w); /* the crew's config has changed */

#endif
