/* offload: one thread that runs jobs, one lane a worker, taking from the lanes in turn, so that one
 * busy worker does not hold up the others' jobs. Owns: the thread, the lanes. Borrows: the jobs,
 * until their owner is posted. Limit: none of its own; a job belongs to an op, and those are
 * counted. */
#include "io/offload.h"

#include <pthread.h>

#include "base/mem.h"

struct lane {
        struct list jobs;
        struct env *env;
        unsigned open; /* jobs queued or at work */
};

struct offload {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool ending;
        unsigned count, next;
        struct lane lanes[];
};

/* The next job in turn and its lane; NULL: there is none. Under the lock. */
static struct job *
take(struct offload *o, struct lane **from)
{
        for (unsigned i = 0; i < o->count; i++) {
                struct lane *lane = &o->lanes[(o->next + i) % o->count];
                struct list *node = list_pop(&lane->jobs);

                if (node == NULL)
                        continue;
                o->next = (o->next + i + 1) % o->count;
                *from = lane;
                return container_of(node, struct job, link);
        }
        return NULL;
}

static void *
helper(void *argument)
{
        struct offload *o = argument;
        struct lane *lane;
        struct env *env;
        struct job *job;

        pthread_mutex_lock(&o->lock);
        while ((job = take(o, &lane)) != NULL || !o->ending) {
                if (job == NULL) {
                        pthread_cond_wait(&o->wake, &o->lock);
                        continue;
                }
                env = lane->env;
                pthread_mutex_unlock(&o->lock);
                job->work(job);
                env->post(env, job->owner);
                pthread_mutex_lock(&o->lock);
                lane->open--;
        }
        pthread_mutex_unlock(&o->lock);
        return NULL;
}

must_use enum err
offload_create(unsigned workers, struct offload **out)
{
        struct offload *o = mem_zalloc(sizeof *o + workers * sizeof *o->lanes);

        o->count = workers;
        for (unsigned i = 0; i < workers; i++)
                list_init(&o->lanes[i].jobs);
        must(pthread_mutex_init(&o->lock, NULL) == 0);
        must(pthread_cond_init(&o->wake, NULL) == 0);
        if (pthread_create(&o->thread, NULL, helper, o) != 0) {
                mem_free(o);
                return ERR_SYSTEM;
        }
        *out = o;
        return OK;
}

void
offload_destroy(struct offload *o)
{
        pthread_mutex_lock(&o->lock);
        o->ending = true;
        pthread_cond_signal(&o->wake);
        pthread_mutex_unlock(&o->lock);
        pthread_join(o->thread, NULL);
        pthread_mutex_destroy(&o->lock);
        pthread_cond_destroy(&o->wake);
        mem_free(o);
}

void
offload_run(struct offload *o, struct env *env, struct job *job)
{
        struct lane *lane = &o->lanes[env->index];

        pthread_mutex_lock(&o->lock);
        lane->env = env;
        list_init(&job->link);
        list_push(&lane->jobs, &job->link);
        lane->open++;
        pthread_cond_signal(&o->wake);
        pthread_mutex_unlock(&o->lock);
}

bool
offload_idle(struct offload *o, const struct env *env)
{
        bool idle;

        pthread_mutex_lock(&o->lock);
        idle = o->lanes[env->index].open == 0;
        pthread_mutex_unlock(&o->lock);
        return idle;
}
