/* clients/c/value: values on their way into replies: copied, unpacked, put together from chunks. A
 * block is owned by the request until it is whole, by the reply from then on. Memory for a value is
 * taken when its first chunk comes, so that what a batch announces costs nothing. Limits:
 * opts.value_max, judged before. */
#include <limits.h>
#include <lz4.h>
#include <stdlib.h>

#include "inner.h"

uint8_t *
value_room(uint64_t len)
{
        return len < SIZE_MAX ? malloc((size_t)len + 1) : NULL;
}

static void
keep(pn_reply *r, uint8_t *block, size_t len)
{
        block[len] = '\0';
        free(r->owned[0]);
        r->owned[0] = block;
        r->data = block;
        r->len = len;
}

static pn_status
unpack(pn_reply *r, struct bytes packed, uint64_t raw)
{
        uint8_t *room;
        int n;

        if (raw > INT_MAX || packed.len > INT_MAX)
                return PN_ERROR;
        room = value_room(raw);
        if (room == NULL)
                return PN_NO_MEMORY;
        n = LZ4_decompress_safe((const char *)packed.at, (char *)room, (int)packed.len, (int)raw);
        if (n < 0 || (uint64_t)n != raw) {
                free(room);
                return PN_ERROR;
        }
        keep(r, room, (size_t)raw);
        return PN_OK;
}

pn_status
reply_value(pn_reply *r, struct bytes value, uint64_t raw)
{
        uint8_t *room;

        if (raw > 0)
                return unpack(r, value, raw);
        if (value.len == 0)
                return PN_OK;
        room = value_room(value.len);
        if (room == NULL)
                return PN_NO_MEMORY;
        memcpy(room, value.at, value.len);
        keep(r, room, value.len);
        return PN_OK;
}

pn_status
reply_block(pn_reply *r, uint8_t *block, size_t len, uint64_t raw)
{
        pn_status status = PN_OK;

        if (raw == 0) {
                keep(r, block, len);
                return status;
        }
        status = unpack(r, bytes_of(block, len), raw);
        free(block);
        return status;
}

static bool
broken(pn_client *c, const char *what)
{
        link_fail(c, "%s broke the protocol: %s", c->shown, what);
        return false;
}

static pn_reply *
reply_of(struct request *rq)
{
        pn_reply *r = &rq->answer->reply;

        return rq->batch ? &r->items[rq->large[rq->large_at].index] : r;
}

/* The server cannot go on: what is not whole fails, what is stays. */
static bool
ended_early(pn_client *c, struct request *rq, unsigned status)
{
        static const char why[] = "the server ended the value early";
        pn_status ours = status == NATIVE_CANCELLED ? PN_CANCELLED
                         : status == NATIVE_SHED    ? PN_SHED
                         : status == 36             ? PN_TIMEOUT
                                                    : PN_ERROR;

        for (; rq->large_at < rq->large_count; rq->large_at++) {
                pn_reply *r = reply_of(rq);

                r->code = status >= NATIVE_ERROR_FIRST ? status : 0;
                reply_says(r, ours, why, sizeof why - 1);
        }
        request_finish(c, rq);
        return true;
}

/* The last byte of a value came. */
static void
value_whole(struct request *rq)
{
        const struct large *large = &rq->large[rq->large_at];
        pn_reply *r = reply_of(rq);
        uint8_t *block = rq->room;
        pn_status status;

        rq->room = NULL;
        if (pn_failed(r->status)) { /* it was refused before: its bytes only had to pass */
                free(block);
        } else {
                status = reply_block(r, block, (size_t)large->length, large->raw);
                if (status != PN_OK)
                        reply_says(r, status, pn_strerror(status), strlen(pn_strerror(status)));
        }
        rq->large_at++;
        rq->got = 0;
}

static void
renew_credit(pn_client *c, struct request *rq)
{
        uint64_t missing = rq->wanted > rq->allowed ? rq->wanted - rq->allowed : 0;
        uint64_t bytes = rq->used < missing ? rq->used : missing;

        if (bytes == 0 || (rq->used < CREDIT_STEP && bytes < missing))
                return;
        native_credit_write(&c->out, (struct native_head){.id = rq->id}, (uint32_t)bytes);
        rq->allowed += bytes;
        rq->used = 0;
}

bool
reply_chunk(pn_client *c, struct request *rq, const struct native_frame *f)
{
        bool more = (f->flags & NATIVE_MORE) != 0;
        const struct large *large;
        struct native_chunk chunk;
        struct native_fault fault;

        if (!rq->in_chunks)
                return broken(c, "a chunk of a value that was not announced");
        if (native_chunk_read(f, &chunk, &fault) != OK)
                return broken(c, fault.what);
        if (f->status != NATIVE_OK)
                return more || chunk.data.len > 0 ? broken(c, "a chunk with a status goes on")
                                                  : ended_early(c, rq, f->status);
        large = &rq->large[rq->large_at]; /* there is one: else the request would be over */
        if (chunk.index != large->index || chunk.offset != rq->got ||
            chunk.data.len > large->length - rq->got)
                return broken(c, "a chunk is out of its order");
        if (rq->room == NULL)
                rq->room = value_room(large->length);
        if (rq->room == NULL) {
                request_abandon(c, rq, PN_NO_MEMORY, pn_strerror(PN_NO_MEMORY));
                if (!more)
                        request_finish(c, rq);
                return true;
        }
        memcpy(rq->room + rq->got, chunk.data.at, chunk.data.len);
        rq->got += chunk.data.len;
        rq->used += chunk.data.len;
        if (rq->got == large->length)
                value_whole(rq);
        if (more != (rq->large_at < rq->large_count))
                return broken(c, "a value's chunks end too early or too late");
        if (!more)
                request_finish(c, rq);
        else
                renew_credit(c, rq);
        return true;
}
