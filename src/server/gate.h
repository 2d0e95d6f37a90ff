/* server/gate.h: where the workers wait for each other: each arrives and waits until the gate is
 * opened for its phase, by the main thread, which can wait until all have arrived. */
#ifndef PN_SERVER_GATE_H
#define PN_SERVER_GATE_H

#include <pthread.h>

struct gate { /* fields belong to gate.c */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned arrived, phase;
};

void gate_init(struct gate *g);
void gate_deinit(struct gate *g);
/* Returns when gate_open(g, phase) was called. */
void gate_pass(struct gate *g, unsigned phase);
/* Until so many have arrived since the last gate_open(). */
void gate_await(struct gate *g, unsigned count);
void gate_open(struct gate *g, unsigned phase);

#endif
