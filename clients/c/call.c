/* clients/c/call: the public calls that wait: a request, then poll() until its reply is there or
 * its deadline has passed. Owns nothing. Reading calls are asked once more when a made connection
 * breaks; writing ones are not: they may have happened. */
#include <poll.h>
#include <stdlib.h>

#include "inner.h"

/* Lets time or bytes pass, at most until then. */
static void
wait_io(pn_client *c, uint64_t until_us)
{
        unsigned want = pn_want(c);
        struct pollfd p = {
                .fd = c->fd,
                .events = (short)((want & PN_READ ? POLLIN : 0) | (want & PN_WRITE ? POLLOUT : 0))};
        uint64_t now = clock_us();
        uint64_t left = until_us > now ? until_us - now : 0;
        struct timespec t = {.tv_sec = (time_t)(left / 1000000),
                             .tv_nsec = (long)(left % 1000000) * 1000};
        unsigned ready = 0;

        if (ppoll(&p, 1, &t, NULL) > 0) {
                if ((p.revents & (POLLIN | POLLERR | POLLHUP | POLLNVAL)) != 0)
                        ready |= PN_READ;
                if ((p.revents & (POLLOUT | POLLERR | POLLHUP)) != 0)
                        ready |= PN_WRITE;
        }
        pn_on_io(c, ready);
}

pn_status
client_ready(pn_client *c, uint64_t begun_us)
{
        uint64_t until_us = begun_us + c->opts.deadline_us;
        pn_status status;

        if (c->state != LINK_READY || c->wanted_count == 0)
                pn_on_io(c, PN_READ | PN_WRITE);
        status = link_open(c);
        while (status == PN_OK && c->state != LINK_READY) {
                if (c->state == LINK_CLOSED)
                        return PN_UNAVAILABLE;
                if (clock_us() >= until_us)
                        return client_says(c, PN_TIMEOUT, "no answer from %s within the deadline",
                                           c->shown);
                wait_io(c, until_us);
        }
        return status;
}

static pn_status
collect(pn_client *c, uint64_t id, pn_reply *reply)
{
        for (;;) {
                struct answer *a = answer_take(c, id);
                struct request *rq = request_find(c, id);

                if (a != NULL)
                        return answer_give(a, reply);
                if (id == 0 ? c->wanted_count == 0 : rq == NULL || rq->answer == NULL)
                        return client_says(c, PN_USAGE, "no such request is pending");
                if (c->out.bytes > 0 || upload_wants(c))
                        link_write(c);
                if (c->state != LINK_CLOSED)
                        wait_io(c, c->next_deadline_us);
        }
}

pn_status
pn_wait(pn_client *c, uint64_t id, pn_reply *reply)
{
        pn_reply own;
        pn_reply *r = reply != NULL ? reply : &own;
        pn_status status;

        reply_init(r, id);
        status = collect(c, id, r);
        if (r->status != status) /* it is none of the server's */
                reply_says(r, status, c->why, strlen(c->why));
        if (reply == NULL)
                pn_reply_free(r);
        return status;
}

/* ---- one call ---- */

struct call {
        uint8_t op;
        struct bytes key, value;
        const pn_meta *meta;
        uint64_t ttl_ms;
        const pn_bytes *keys;
        const pn_entry *entries;
        size_t count, taken;
        uint64_t begun_us;
};

static struct request *
append_call(pn_client *c, struct call *call, pn_status *status)
{
        switch (call->op) {
        case NATIVE_OP_SET:
                return append_set(c, call->key, call->value, call->meta, status);
        case NATIVE_OP_EXPIRE:
                return append_expire(c, call->key, call->ttl_ms, status);
        case NATIVE_OP_MGET:
        case NATIVE_OP_MDEL:
                return append_keys(c, call->op, call->keys, call->count, 0, &call->taken, status);
        case NATIVE_OP_MSET:
                return append_entries(c, call->entries, call->count, 0, &call->taken, status);
        default:
                return append_simple(c, call->op, call->key, status);
        }
}

static bool
only_reads(uint8_t op)
{
        return op == NATIVE_OP_GET || op == NATIVE_OP_MGET || op == NATIVE_OP_PING ||
               op == NATIVE_OP_INFO;
}

/* The deadline counts from the call's beginning, not from when its request could be made. */
static void
move_deadline(pn_client *c, struct request *rq, uint64_t begun_us)
{
        uint64_t late_us = clock_us() - begun_us;

        rq->deadline_us -= late_us < rq->deadline_us ? late_us : rq->deadline_us;
        if (rq->deadline_us < c->next_deadline_us)
                c->next_deadline_us = rq->deadline_us;
}

/* Makes the call and waits; *reply is filled whatever happens. An MSET whose first entry needs a
 * SET of its own: PN_AGAIN. */
static pn_status
run(pn_client *c, struct call *call, pn_reply *reply)
{
        for (int again = only_reads(call->op);; again--) {
                pn_status status = client_ready(c, call->begun_us);
                struct request *rq = NULL;

                reply_init(reply, 0);
                if (status == PN_OK)
                        rq = append_call(c, call, &status);
                if (rq != NULL) {
                        move_deadline(c, rq, call->begun_us);
                        status = collect(c, rq->id, reply);
                        if (pn_failed(status))
                                client_says(c, status, "%s", reply->error);
                } else if (status == PN_OK) {
                        return PN_AGAIN;
                } else {
                        reply_says(reply, status, c->why, strlen(c->why));
                }
                if (status != PN_UNAVAILABLE || again <= 0 || !c->lost)
                        return status;
                pn_reply_free(reply);
        }
}

static pn_status
run_one(pn_client *c, struct call *call, pn_reply *reply)
{
        pn_reply own;
        pn_status status;

        call->begun_us = clock_us();
        status = run(c, call, reply != NULL ? reply : &own);
        if (reply == NULL)
                pn_reply_free(&own);
        return status;
}

pn_status
pn_ping(pn_client *c)
{
        return run_one(c, &(struct call){.op = NATIVE_OP_PING}, NULL);
}

pn_status
pn_get(pn_client *c, const void *key, size_t key_len, pn_reply *reply)
{
        return run_one(c, &(struct call){.op = NATIVE_OP_GET, .key = bytes_of(key, key_len)},
                       reply);
}

pn_status
pn_set(pn_client *c, const void *key, size_t key_len, const void *value, size_t value_len,
       const pn_meta *meta, pn_reply *reply)
{
        return run_one(c,
                       &(struct call){.op = NATIVE_OP_SET,
                                      .key = bytes_of(key, key_len),
                                      .value = bytes_of(value, value_len),
                                      .meta = meta},
                       reply);
}

pn_status
pn_del(pn_client *c, const void *key, size_t key_len, pn_reply *reply)
{
        return run_one(c, &(struct call){.op = NATIVE_OP_DEL, .key = bytes_of(key, key_len)},
                       reply);
}

pn_status
pn_expire(pn_client *c, const void *key, size_t key_len, uint64_t ttl_ms, pn_reply *reply)
{
        return run_one(c,
                       &(struct call){.op = NATIVE_OP_EXPIRE,
                                      .key = bytes_of(key, key_len),
                                      .ttl_ms = ttl_ms},
                       reply);
}

pn_status
pn_info(pn_client *c, const char *section, pn_reply *reply)
{
        struct bytes name = bytes_str(section != NULL ? section : "");

        return run_one(c, &(struct call){.op = NATIVE_OP_INFO, .key = name}, reply);
}

/* ---- many keys ---- */

static bool
all_fine(pn_client *c, const struct call *call)
{
        for (size_t i = 0; i < call->count; i++) {
                const pn_entry *e = call->entries != NULL ? &call->entries[i] : NULL;

                if (!key_is_fine(c, e != NULL ? e->key.len : call->keys[i].len) ||
                    (e != NULL && !meta_is_fine(c, e->meta)))
                        return false;
        }
        return true;
}

/* The first `taken` elements are answered by the items of the reply. */
static void
spread(pn_reply *replies, pn_reply *reply, size_t taken)
{
        for (size_t i = 0; i < taken && i < reply->item_count; i++) {
                if (replies != NULL)
                        replies[i] = reply->items[i];
                else
                        pn_reply_free(&reply->items[i]);
        }
        reply->item_count = 0;
        pn_reply_free(reply);
}

/* One frame's worth, or one value that is too long for a batch. *n: how many are answered. */
static pn_status
run_part(pn_client *c, struct call *call, pn_reply *replies, size_t *n)
{
        pn_reply reply;
        pn_status status = run(c, call, &reply);

        *n = 1;
        if (status == PN_AGAIN) {
                const pn_entry *e = call->entries;

                status = run(c,
                             &(struct call){.op = NATIVE_OP_SET,
                                            .key = bytes_of(e->key.data, e->key.len),
                                            .value = bytes_of(e->value.data, e->value.len),
                                            .meta = e->meta,
                                            .begun_us = call->begun_us},
                             &reply);
                if (status != PN_TIMEOUT && status != PN_UNAVAILABLE && status != PN_NO_MEMORY) {
                        if (replies != NULL)
                                *replies = reply;
                        else
                                pn_reply_free(&reply);
                        return PN_OK;
                }
        } else if (status == PN_OK) {
                *n = call->taken;
                spread(replies, &reply, call->taken);
                return PN_OK;
        }
        pn_reply_free(&reply);
        return status;
}

static pn_status
run_many(pn_client *c, struct call call, pn_reply *replies)
{
        pn_status status = PN_OK;
        size_t n;

        call.begun_us = clock_us();
        if (!all_fine(c, &call))
                status = PN_USAGE;
        while (status == PN_OK && call.count > 0) {
                status = run_part(c, &call, replies, &n);
                if (status != PN_OK)
                        break;
                call.count -= n;
                call.keys = call.keys != NULL ? call.keys + n : NULL;
                call.entries = call.entries != NULL ? call.entries + n : NULL;
                replies = replies != NULL ? replies + n : NULL;
        }
        for (size_t i = 0; replies != NULL && i < call.count; i++) {
                reply_init(&replies[i], 0);
                reply_says(&replies[i], status, c->why, strlen(c->why));
        }
        return status;
}

pn_status
pn_mget(pn_client *c, const pn_bytes *keys, size_t count, pn_reply *replies)
{
        return run_many(c, (struct call){.op = NATIVE_OP_MGET, .keys = keys, .count = count},
                        replies);
}

pn_status
pn_mdel(pn_client *c, const pn_bytes *keys, size_t count, pn_reply *replies)
{
        return run_many(c, (struct call){.op = NATIVE_OP_MDEL, .keys = keys, .count = count},
                        replies);
}

pn_status
pn_mset(pn_client *c, const pn_entry *entries, size_t count, pn_reply *replies)
{
        return run_many(c, (struct call){.op = NATIVE_OP_MSET, .entries = entries, .count = count},
                        replies);
}
