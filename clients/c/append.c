/* clients/c/append: the public calls that do not wait: requests by id, replies as they come. Owns
 * nothing. Not here: what a request looks like (write.c). */
#include <stdlib.h>

#include "inner.h"

/* An idle connection may have ended meanwhile: better known before something is asked. */
static pn_status
begin(pn_client *c)
{
        if (c->state == LINK_READY && c->wanted_count == 0)
                link_read(c);
        return link_open(c);
}

static pn_status
told(struct request *rq, pn_status status, uint64_t *id)
{
        if (status == PN_OK && id != NULL)
                *id = rq->id;
        return status;
}

static pn_status
append(pn_client *c, uint8_t op, const void *key, size_t key_len, uint64_t *id)
{
        pn_status status = begin(c);
        struct request *rq = NULL;

        if (status == PN_OK)
                rq = append_simple(c, op, bytes_of(key, key_len), &status);
        return told(rq, status, id);
}

pn_status
pn_append_ping(pn_client *c, uint64_t *id)
{
        return append(c, NATIVE_OP_PING, NULL, 0, id);
}

pn_status
pn_append_get(pn_client *c, const void *key, size_t key_len, uint64_t *id)
{
        return append(c, NATIVE_OP_GET, key, key_len, id);
}

pn_status
pn_append_del(pn_client *c, const void *key, size_t key_len, uint64_t *id)
{
        return append(c, NATIVE_OP_DEL, key, key_len, id);
}

pn_status
pn_append_info(pn_client *c, const char *section, uint64_t *id)
{
        return append(c, NATIVE_OP_INFO, section, section != NULL ? strlen(section) : 0, id);
}

pn_status
pn_append_set(pn_client *c, const void *key, size_t key_len, const void *value, size_t value_len,
              const pn_meta *meta, uint64_t *id)
{
        pn_status status = begin(c);
        struct request *rq = NULL;

        if (status == PN_OK)
                rq = append_set(c, bytes_of(key, key_len), bytes_of(value, value_len), meta,
                                &status);
        return told(rq, status, id);
}

pn_status
pn_append_expire(pn_client *c, const void *key, size_t key_len, uint64_t ttl_ms, uint64_t *id)
{
        pn_status status = begin(c);
        struct request *rq = NULL;

        if (status == PN_OK)
                rq = append_expire(c, bytes_of(key, key_len), ttl_ms, &status);
        return told(rq, status, id);
}

/* ---- batches: all of it in one frame, or nothing ---- */

static pn_status
told_batch(pn_client *c, struct request *rq, size_t taken, size_t count, pn_status status,
           uint64_t *id)
{
        if (status == PN_OK && taken == count)
                return told(rq, status, id);
        if (status != PN_OK)
                return status;
        return client_says(c, PN_USAGE,
                           "a batch has at most %llu keys, %llu bytes in all, and no value above "
                           "%llu bytes",
                           (unsigned long long)c->limits.batch_max,
                           (unsigned long long)c->limits.body_max,
                           (unsigned long long)c->limits.chunk_max);
}

static pn_status
append_batch(pn_client *c, uint8_t op, const pn_bytes *keys, const pn_entry *entries, size_t count,
             uint64_t *id)
{
        struct request *rq = NULL;
        pn_status status = begin(c);
        size_t taken = 0;

        if (status != PN_OK)
                return status;
        if (count == 0)
                return client_says(c, PN_USAGE, "a batch has at least one key");
        if (keys != NULL)
                rq = append_keys(c, op, keys, count, count, &taken, &status);
        else
                rq = append_entries(c, entries, count, count, &taken, &status);
        return told_batch(c, rq, taken, count, status, id);
}

pn_status
pn_append_mget(pn_client *c, const pn_bytes *keys, size_t count, uint64_t *id)
{
        return append_batch(c, NATIVE_OP_MGET, keys, NULL, count, id);
}

pn_status
pn_append_mdel(pn_client *c, const pn_bytes *keys, size_t count, uint64_t *id)
{
        return append_batch(c, NATIVE_OP_MDEL, keys, NULL, count, id);
}

pn_status
pn_append_mset(pn_client *c, const pn_entry *entries, size_t count, uint64_t *id)
{
        return append_batch(c, NATIVE_OP_MSET, NULL, entries, count, id);
}

/* ---- replies ---- */

pn_status
pn_flush(pn_client *c)
{
        link_write(c);
        return c->state == LINK_CLOSED ? PN_UNAVAILABLE : PN_OK;
}

pn_status
answer_give(struct answer *a, pn_reply *reply)
{
        pn_status status = a->reply.status;

        if (reply == NULL) {
                answer_free(a);
                return status;
        }
        *reply = a->reply;
        free(a);
        return status;
}

pn_status
pn_next(pn_client *c, pn_reply *reply)
{
        struct answer *a = answer_take(c, 0);

        if (a != NULL)
                return answer_give(a, reply);
        if (reply != NULL) {
                reply_init(reply, 0);
                reply->status = PN_AGAIN;
        }
        return PN_AGAIN;
}

void
pn_cancel(pn_client *c, uint64_t id)
{
        struct request *rq = request_find(c, id);

        if (rq != NULL && rq->answer != NULL)
                request_abandon(c, rq, PN_CANCELLED, "");
        answer_free(answer_take(c, id != 0 ? id : PN_NEVER));
}
