/* clients/c/request: the table of requests. A request lives until its last frame came from the
 * server; its answer lives until the caller collects it. Whichever ends first does not end the
 * other: so a late reply finds its request, with nobody waiting, and is dropped. Owns: requests and
 * answers. Limits: opts.inflight_max with a caller, SLOTS_MAX in all. */
#include <stdlib.h>

#include "inner.h"

void
answer_free(struct answer *a)
{
        if (a != NULL)
                pn_reply_free(&a->reply);
        free(a);
}

static void
value_forget(struct request *rq)
{
        free(rq->large);
        free(rq->room);
        rq->large = NULL;
        rq->room = NULL;
}

static void
request_free(pn_client *c, struct request *rq)
{
        upload_end(c, rq);
        value_forget(rq);
        answer_free(rq->answer);
        c->slots[rq->id & (SLOTS_MAX - 1)] = NULL;
        c->active_count--;
        list_remove(&rq->link);
        free(rq);
}

struct request *
request_new(pn_client *c, uint8_t op, pn_status *status)
{
        uint64_t now = clock_us();
        struct request *rq;
        struct answer *a;
        uint32_t slot = c->slot_next;

        if (c->wanted_count + c->done_count >= c->opts.inflight_max ||
            c->active_count == SLOTS_MAX || c->out.bytes > OUT_MAX) {
                *status = client_says(c, PN_UNAVAILABLE, "too many requests are in flight");
                return NULL;
        }
        rq = calloc(1, sizeof *rq);
        a = calloc(1, sizeof *a);
        if (rq == NULL || a == NULL) {
                free(rq);
                free(a);
                *status = client_says(c, PN_NO_MEMORY, "no memory for a request");
                return NULL;
        }
        while (c->slots[slot] != NULL)
                slot = (slot + 1) & (SLOTS_MAX - 1);
        c->slots[slot] = rq;
        c->slot_next = (slot + 1) & (SLOTS_MAX - 1);
        rq->id = ++c->sequence << SLOT_BITS | slot;
        rq->op = op;
        rq->deadline_us = now + c->opts.deadline_us;
        rq->answer = a;
        list_init(&rq->upload_at);
        list_init(&a->link);
        reply_init(&a->reply, rq->id);
        if (c->active_count == 0)
                c->heard_us = now; /* until now the server owed nothing */
        list_push(&c->active, &rq->link);
        c->active_count++;
        c->wanted_count++;
        if (rq->deadline_us < c->next_deadline_us)
                c->next_deadline_us = rq->deadline_us;
        return rq;
}

struct request *
request_find(const pn_client *c, uint64_t id)
{
        struct request *rq = c->slots[id & (SLOTS_MAX - 1)];

        return rq != NULL && rq->id == id ? rq : NULL;
}

void
request_drop(pn_client *c, struct request *rq)
{
        c->wanted_count--;
        request_free(c, rq);
}

/* The answer goes to the caller's list. */
static void
answer_done(pn_client *c, struct request *rq)
{
        if (rq->answer == NULL)
                return;
        list_push(&c->done, &rq->answer->link);
        c->done_count++;
        c->wanted_count--;
        rq->answer = NULL;
}

void
request_finish(pn_client *c, struct request *rq)
{
        answer_done(c, rq);
        request_free(c, rq);
}

/* A failure in place of whatever part of an answer is there already. */
static void
answer_fail(struct answer *a, pn_status status, const char *why)
{
        uint64_t id = a->reply.id;

        pn_reply_free(&a->reply);
        reply_init(&a->reply, id);
        reply_says(&a->reply, status, why, strlen(why));
}

void
request_abandon(pn_client *c, struct request *rq, pn_status status, const char *why)
{
        bool unsent = rq->upload != NULL && rq->upload_head.at != NULL;
        bool partly = rq->upload != NULL || rq->in_chunks;

        if (rq->answer != NULL) {
                answer_fail(rq->answer, status, why);
                answer_done(c, rq);
        }
        if (unsent) {
                request_free(c, rq);
                return;
        }
        if (partly)
                cancel_write(c, rq->id);
        upload_end(c, rq);
        value_forget(rq);
}

void
request_fail_all(pn_client *c, const char *why)
{
        list_each_safe (node, &c->active) {
                struct request *rq = container_of(node, struct request, link);

                if (rq->answer != NULL)
                        answer_fail(rq->answer, PN_UNAVAILABLE, why);
                request_finish(c, rq);
        }
        c->next_deadline_us = PN_NEVER;
}

struct answer *
answer_take(pn_client *c, uint64_t id)
{
        list_each (node, &c->done) {
                struct answer *a = container_of(node, struct answer, link);

                if (id == 0 || a->reply.id == id) {
                        list_remove(node);
                        c->done_count--;
                        return a;
                }
        }
        return NULL;
}
