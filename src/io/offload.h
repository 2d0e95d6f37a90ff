/* io/offload.h: the helper thread of the process: jobs that would hold a worker up (env.h: struct
 * job). */
#ifndef PN_IO_OFFLOAD_H
#define PN_IO_OFFLOAD_H

#include "base/err.h"
#include "request/env.h"

struct offload;

/* For workers 0 .. workers-1. ERR_SYSTEM: no thread. */
must_use enum err offload_create(unsigned workers, struct offload **out);
/* Runs what is queued, then ends the thread. */
void offload_destroy(struct offload *o);
/* On env's thread. When the work is done, job->owner is posted to env. */
void offload_run(struct offload *o, struct env *env, struct job *job);
/* None of env's jobs is under way: the owners of all have been posted. */
bool offload_idle(struct offload *o, const struct env *env);

#endif
