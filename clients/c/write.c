/* clients/c/write: requests as frames, judged before a byte of them is made. Owns nothing: frames
 * go to the link's output. Limits: what the server said in its HELLO. Not here: values that need
 * chunks (upload.c), what comes back (reply.c). */
#include "base/limits.h"
#include "inner.h"

static struct bytes
nothing(void)
{
        return (struct bytes){NULL, 0};
}

uint64_t
large_us(const pn_client *c, uint64_t bytes)
{
        return bytes <= NATIVE_CHUNK_MAX
                       ? 0
                       : (uint64_t)((double)bytes / 1048576 * (double)c->opts.large_us_per_mib);
}

bool
key_is_fine(pn_client *c, size_t len)
{
        if (len > 0 && len <= c->limits.key_max)
                return true;
        if (len == 0)
                client_says(c, PN_USAGE, "a key is empty");
        else
                client_says(c, PN_USAGE, "a key is longer than %llu bytes",
                            (unsigned long long)c->limits.key_max);
        return false;
}

bool
meta_is_fine(pn_client *c, const pn_meta *meta)
{
        const char *wrong = NULL;

        if (meta == NULL)
                return true;
        if (meta->ttl_ms > PN_NEVER / 1000 ||
            (meta->grace_ms > PN_NEVER / 1000 && meta->grace_ms != PN_NEVER))
                wrong = "ttl_ms and grace_ms are at most 2^64 microseconds";
        else if (!(meta->confidence >= 0 && meta->confidence <= 1))
                wrong = "confidence is from 0 to 1";
        else if (meta->compute_us > UINT32_MAX)
                wrong = "compute_us is at most 2^32-1";
        else if ((meta->flags & ~(uint32_t)(PN_NX | PN_XX | PN_KEEPTTL)) != 0)
                wrong = "flags are PN_NX, PN_XX, PN_KEEPTTL";
        else if (meta->tag_count > LIMIT_TAGS)
                wrong = "there are at most 64 tags";
        for (size_t i = 0; wrong == NULL && i < meta->tag_count; i++) {
                size_t len = meta->tags[i] != NULL ? strlen(meta->tags[i]) : 0;

                if (len == 0 || len > LIMIT_TAG_BYTES)
                        wrong = "a tag has 1 to 256 bytes";
        }
        if (wrong != NULL)
                client_says(c, PN_USAGE, "%s", wrong);
        return wrong == NULL;
}

static void
put_unless_zero(struct native_block *b, enum native_field type, uint64_t number)
{
        if (number != 0)
                native_put_number(b, type, number);
}

static void
put_meta(struct native_block *b, const pn_meta *m)
{
        if (m == NULL)
                return;
        put_unless_zero(b, NATIVE_F_TTL, m->ttl_ms * 1000);
        if (m->grace_ms == PN_NEVER)
                native_put_number(b, NATIVE_F_GRACE, 0);
        else
                put_unless_zero(b, NATIVE_F_GRACE, m->grace_ms * 1000);
        put_unless_zero(b, NATIVE_F_COST, m->cost);
        put_unless_zero(b, NATIVE_F_COMPUTE, m->compute_us);
        put_unless_zero(b, NATIVE_F_CONFIDENCE, (uint64_t)(m->confidence * 65535 + 0.5F));
        put_unless_zero(b, NATIVE_F_CODEC, m->codec);
        put_unless_zero(b, NATIVE_F_CONDITION, m->flags);
        for (size_t i = 0; i < m->tag_count; i++)
                native_put_text(b, NATIVE_F_TAG, bytes_str(m->tags[i]));
}

/* The server gives up a little earlier than we do, so that its answer is still of use. */
static void
put_deadline(const pn_client *c, struct native_block *b, uint64_t extra_us)
{
        uint64_t us = c->opts.tier_deadline_us;

        if (us == PN_NEVER)
                return;
        if (us == 0)
                us = c->opts.deadline_us - c->opts.deadline_us / 10;
        us += extra_us - extra_us / 10;
        native_put_number(b, NATIVE_F_DEADLINE, us > 0 ? us : 1);
}

static struct native_head
head_of(const struct request *rq)
{
        return (struct native_head){.id = rq->id, .op = rq->op};
}

void
cancel_write(pn_client *c, uint64_t id)
{
        struct native_head head = {.id = id, .op = NATIVE_OP_CANCEL};

        native_write(&c->out, head, NULL, nothing(), NULL, nothing());
}

/* ---- one key ---- */

struct request *
append_simple(pn_client *c, uint8_t op, struct bytes key, pn_status *status)
{
        uint8_t room[16];
        struct native_block fields = native_block_of(room, sizeof room);
        bool has_key = op == NATIVE_OP_GET || op == NATIVE_OP_DEL;
        struct request *rq;

        if ((has_key && !key_is_fine(c, key.len)) || key.len > c->limits.key_max) {
                *status = PN_USAGE;
                return NULL;
        }
        rq = request_new(c, op, status);
        if (rq == NULL)
                return NULL;
        if (has_key)
                put_deadline(c, &fields, 0);
        native_write(&c->out, head_of(rq), &fields, key, NULL, nothing());
        *status = PN_OK;
        return rq;
}

struct request *
append_expire(pn_client *c, struct bytes key, uint64_t ttl_ms, pn_status *status)
{
        uint8_t room[32];
        struct native_block fields = native_block_of(room, sizeof room);
        struct request *rq;

        *status = PN_USAGE;
        if (!key_is_fine(c, key.len))
                return NULL;
        if (ttl_ms == 0 || (ttl_ms != PN_NEVER && ttl_ms > PN_NEVER / 1000)) {
                client_says(c, PN_USAGE, "ttl_ms is greater than 0, or PN_NEVER");
                return NULL;
        }
        rq = request_new(c, NATIVE_OP_EXPIRE, status);
        if (rq == NULL)
                return NULL;
        if (ttl_ms != PN_NEVER)
                native_put_number(&fields, NATIVE_F_TTL, ttl_ms * 1000);
        put_deadline(c, &fields, 0);
        native_write(&c->out, head_of(rq), &fields, key, NULL, nothing());
        *status = PN_OK;
        return rq;
}

struct request *
append_set(pn_client *c, struct bytes key, struct bytes value, const pn_meta *meta,
           pn_status *status)
{
        uint64_t extra_us = large_us(c, value.len);
        uint8_t room[META_ROOM];
        struct native_block fields = native_block_of(room, sizeof room);
        struct request *rq;

        *status = PN_USAGE;
        if (!key_is_fine(c, key.len) || !meta_is_fine(c, meta))
                return NULL;
        if (value.len > UINT32_MAX) {
                client_says(c, PN_USAGE, "a value is longer than 4 GiB");
                return NULL;
        }
        rq = request_new(c, NATIVE_OP_SET, status);
        if (rq == NULL)
                return NULL;
        rq->deadline_us += extra_us;
        put_meta(&fields, meta);
        put_deadline(c, &fields, extra_us);
        if (value.len <= c->limits.chunk_max) {
                native_write(&c->out, head_of(rq), &fields, key, NULL, value);
        } else if (!upload_begin(c, rq, &fields, key, value)) {
                request_drop(c, rq);
                *status = client_says(c, PN_NO_MEMORY, "no memory for the value");
                return NULL;
        }
        *status = PN_OK;
        return rq;
}

/* ---- batches ---- */

/* Is there room for one more item? The body's own head, its deadline and the count are in it, too.
 */
static bool
fits(const pn_client *c, const struct chain *items, size_t fields, size_t key, size_t value)
{
        enum { AROUND = NATIVE_ITEM_BYTES + 2 * (NATIVE_FIELD_BYTES + 8) + 4 };

        return AROUND + items->bytes + native_item_size(fields, key, value) <= c->limits.body_max;
}

static struct request *
batch_write(pn_client *c, uint8_t op, struct chain *items, size_t count, size_t least,
            pn_status *status)
{
        uint8_t room[16];
        struct native_block fields = native_block_of(room, sizeof room);
        struct request *rq = NULL;

        *status = PN_OK;
        if (count > 0 && count >= least)
                rq = request_new(c, op, status);

        if (rq == NULL) {
                chain_free(items);
                return NULL;
        }
        rq->batch = true;
        rq->count = (uint32_t)count;
        put_deadline(c, &fields, 0);
        native_batch_write(&c->out, head_of(rq), &fields, rq->count, items);
        chain_free(items);
        *status = PN_OK;
        return rq;
}

struct request *
append_keys(pn_client *c, uint8_t op, const pn_bytes *keys, size_t count, size_t least,
            size_t *taken, pn_status *status)
{
        struct chain items = {0};
        size_t n = 0;

        for (; n < count && n < c->limits.batch_max; n++) {
                if (!key_is_fine(c, keys[n].len)) {
                        chain_free(&items);
                        *status = PN_USAGE;
                        return NULL;
                }
                if (!fits(c, &items, 0, keys[n].len, 0))
                        break;
                native_item_write(&items, 0, NULL, bytes_of(keys[n].data, keys[n].len), NULL,
                                  nothing());
        }
        *taken = n;
        return batch_write(c, op, &items, n, least, status);
}

struct request *
append_entries(pn_client *c, const pn_entry *entries, size_t count, size_t least, size_t *taken,
               pn_status *status)
{
        struct chain items = {0};
        size_t n = 0;

        for (; n < count && n < c->limits.batch_max; n++) {
                const pn_entry *e = &entries[n];
                uint8_t room[META_ROOM];
                struct native_block fields = native_block_of(room, sizeof room);

                if (!key_is_fine(c, e->key.len) || !meta_is_fine(c, e->meta)) {
                        chain_free(&items);
                        *status = PN_USAGE;
                        return NULL;
                }
                put_meta(&fields, e->meta);
                if (e->value.len > c->limits.chunk_max ||
                    !fits(c, &items, fields.len, e->key.len, e->value.len))
                        break;
                native_item_write(&items, 0, &fields, bytes_of(e->key.data, e->key.len), NULL,
                                  bytes_of(e->value.data, e->value.len));
        }
        *taken = n;
        return batch_write(c, NATIVE_OP_MSET, &items, n, least, status);
}
