/* gate: a barrier whose opening is somebody else's decision. Owns: its lock. */
#include "server/gate.h"

#include "base/must.h"

void
gate_init(struct gate *g)
{
        *g = (struct gate){0};
        must(pthread_mutex_init(&g->lock, NULL) == 0);
        must(pthread_cond_init(&g->changed, NULL) == 0);
}

void
gate_deinit(struct gate *g)
{
        pthread_mutex_destroy(&g->lock);
        pthread_cond_destroy(&g->changed);
}

void
gate_pass(struct gate *g, unsigned phase)
{
        pthread_mutex_lock(&g->lock);
        g->arrived++;
        pthread_cond_broadcast(&g->changed);
        while (g->phase < phase)
                pthread_cond_wait(&g->changed, &g->lock);
        pthread_mutex_unlock(&g->lock);
}

void
gate_await(struct gate *g, unsigned count)
{
        pthread_mutex_lock(&g->lock);
        while (g->arrived < count)
                pthread_cond_wait(&g->changed, &g->lock);
        pthread_mutex_unlock(&g->lock);
}

void
gate_open(struct gate *g, unsigned phase)
{
        pthread_mutex_lock(&g->lock);
        g->arrived = 0;
        g->phase = phase;
        pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->lock);
}
