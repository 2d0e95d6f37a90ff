/* clients/c/upload: large values on their way to the server: a SET that names the length, then
 * chunks as credit allows, between which other frames pass. Owns: a copy of each value until its
 * last chunk is on its way. Limits: as many uploads at a time as the server said; others wait their
 * turn. */
#include "inner.h"

bool
upload_begin(pn_client *c, struct request *rq, const struct native_block *fields, struct bytes key,
             struct bytes value)
{
        uint8_t room[16];
        struct native_block length = native_block_of(room, sizeof room);

        rq->upload = blob_copy(value);
        if (rq->upload == NULL)
                return false;
        native_put_number(&length, NATIVE_F_LENGTH, value.len);
        buf_append(&rq->upload_head, bytes_of(fields->at, fields->len));
        buf_append(&rq->upload_head, bytes_of(length.at, length.len));
        rq->upload_fields = rq->upload_head.len;
        buf_append(&rq->upload_head, key);
        list_push(&c->waiting, &rq->upload_at);
        return true;
}

void
upload_end(pn_client *c, struct request *rq)
{
        (void)c;
        list_remove(&rq->upload_at);
        blob_unref(rq->upload);
        rq->upload = NULL;
        buf_free(&rq->upload_head);
}

void
upload_credit(struct request *rq, uint32_t bytes)
{
        if (rq->upload != NULL) /* else it crossed the last chunk */
                rq->credit += bytes;
}

static bool
has_room(const pn_client *c)
{
        uint64_t open = 0;

        list_each (node, &c->uploads)
                open++;
        return open < c->limits.uploads_max;
}

static void
start(pn_client *c, struct request *rq)
{
        struct native_head head = {.id = rq->id, .op = NATIVE_OP_SET, .flags = NATIVE_MORE};
        struct buf *b = &rq->upload_head;
        struct native_block fields = {b->at, rq->upload_fields, rq->upload_fields, false};

        native_write(&c->out, head, &fields, bytes_from(buf_bytes(b), rq->upload_fields), NULL,
                     bytes_of(NULL, 0));
        buf_free(b);
        rq->credit = c->limits.credit_first;
        list_remove(&rq->upload_at);
        list_push(&c->uploads, &rq->upload_at);
}

/* The next upload that has credit: each has its turn. */
static struct request *
next_upload(const pn_client *c)
{
        list_each (node, &c->uploads) {
                struct request *rq = container_of(node, struct request, upload_at);

                if (rq->credit > 0)
                        return rq;
        }
        return NULL;
}

static void
send_chunk(pn_client *c, struct request *rq)
{
        struct native_head head = {.id = rq->id};
        struct bytes data = bytes_from(blob_bytes(rq->upload), rq->sent);

        if (data.len > c->limits.chunk_max)
                data.len = c->limits.chunk_max;
        if (data.len > rq->credit)
                data.len = rq->credit;
        if (rq->sent + data.len < rq->upload->len)
                head.flags = NATIVE_MORE;
        native_chunk_write(&c->out, head, 0, rq->sent, rq->upload, data);
        rq->sent += data.len;
        rq->credit -= data.len;
        if (rq->sent == rq->upload->len) {
                upload_end(c, rq);
                return;
        }
        list_remove(&rq->upload_at);
        list_push(&c->uploads, &rq->upload_at);
}

bool
upload_wants(const pn_client *c)
{
        return next_upload(c) != NULL || (!list_empty(&c->waiting) && has_room(c));
}

void
upload_pump(pn_client *c)
{
        while (c->out.bytes < OUT_CHUNKS) {
                struct request *rq;

                if (!list_empty(&c->waiting) && has_room(c)) {
                        start(c, container_of(c->waiting.next, struct request, upload_at));
                        continue;
                }
                rq = next_upload(c);
                if (rq == NULL)
                        return;
                send_chunk(c, rq);
        }
}
