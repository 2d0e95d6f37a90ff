/* clients/c/reply: frames from the server, taken apart into replies. Every number in them is a
 * stranger's. What breaks the protocol ends the connection; what is merely of no use here (a value
 * too long, an unknown field that must be understood) fails the one request. Owns nothing: replies
 * belong to their requests. Not here: chunks and values (value.c). */
#include <stdio.h>
#include <stdlib.h>

#include "inner.h"

void
reply_init(pn_reply *r, uint64_t id)
{
        *r = (pn_reply){.id = id,
                        .data = "",
                        .error = "",
                        .age_us = PN_NEVER,
                        .soft_us = PN_NEVER,
                        .hard_us = PN_NEVER,
                        .token = ""};
}

void
pn_reply_free(pn_reply *r)
{
        for (size_t i = 0; i < r->item_count; i++)
                pn_reply_free(&r->items[i]);
        free(r->items);
        free(r->owned[0]);
        free(r->owned[1]);
        reply_init(r, 0);
}

void
reply_says(pn_reply *r, pn_status status, const char *text, size_t len)
{
        char *copy = malloc(len + 1);

        r->status = status;
        free(r->owned[1]);
        r->owned[1] = copy;
        r->error = copy != NULL ? copy : pn_strerror(status);
        if (copy == NULL)
                return;
        if (len > 0)
                memcpy(copy, text, len);
        copy[len] = '\0';
}

static pn_status
status_of(unsigned status)
{
        switch (status) {
        case NATIVE_OK:
        case NATIVE_HIT:
        case NATIVE_STALE:
        case NATIVE_MISS:
        case NATIVE_LEASE:
        case NATIVE_BUSY:
        case NATIVE_NEGATIVE:
        case NATIVE_SHED:
        case NATIVE_NOT_MET:
        case NATIVE_CANCELLED:
                return (pn_status)status;
        case 30:
                return PN_TIER_DOWN;
        case 36:
                return PN_TIMEOUT;
        default:
                return status < NATIVE_ERROR_FIRST ? PN_MISS : PN_ERROR;
        }
}

static void
put_status(pn_reply *r, unsigned status, struct bytes text)
{
        r->status = status_of(status);
        r->code = status >= NATIVE_ERROR_FIRST ? status : 0;
        if (text.len > 0)
                reply_says(r, r->status, (const char *)text.at, text.len);
        else if (pn_failed(r->status))
                r->error = pn_strerror(r->status);
}

static void
put_fields(pn_reply *r, const struct native_fields *f)
{
        uint64_t confidence = native_number(f, NATIVE_F_CONFIDENCE, 0);

        r->age_us = native_number(f, NATIVE_F_AGE, PN_NEVER);
        r->soft_us = native_number(f, NATIVE_F_SOFT, PN_NEVER);
        r->hard_us = native_number(f, NATIVE_F_HARD, PN_NEVER);
        r->version = native_number(f, NATIVE_F_VERSION, 0);
        r->cost = native_number(f, NATIVE_F_COST, 0);
        r->compute_us = native_number(f, NATIVE_F_COMPUTE, 0);
        r->retry_us = native_number(f, NATIVE_F_RETRY, 0);
        r->confidence = (float)(confidence < 65535 ? confidence : 65535) / 65535;
        r->tier = (uint8_t)(native_number(f, NATIVE_F_TIER, 0) & 3);
        r->codec = (uint8_t)native_number(f, NATIVE_F_CODEC, 0);
        r->reached = (uint8_t)(native_number(f, NATIVE_F_REACHED, 0) & 7);
}

static const char too_long[] = "the value is longer than value_max";

static bool
broken(pn_client *c, const char *what)
{
        link_fail(c, "%s broke the protocol: %s", c->shown, what);
        return false;
}

/* ---- HELLO ---- */

static uint64_t
limit(const struct native_fields *f, enum native_field type, uint64_t usual)
{
        uint64_t n = native_number(f, type, usual);

        return n < usual ? n : usual;
}

static bool
take_limits(pn_client *c, const struct native_fields *f)
{
        enum { BODY_MIN = 131072, CHUNK_MIN = 1024, AROUND_VALUE = 98304 };
        struct limits *l = &c->limits;

        l->key_max = limit(f, NATIVE_F_KEY_MAX, 65536);
        l->body_max = limit(f, NATIVE_F_BODY_MAX, NATIVE_BODY_MAX);
        l->chunk_max = limit(f, NATIVE_F_CHUNK_MAX, NATIVE_CHUNK_MAX);
        l->credit_first = limit(f, NATIVE_F_CREDIT_FIRST, NATIVE_CREDIT_FIRST);
        l->batch_max = limit(f, NATIVE_F_BATCH_MAX, NATIVE_BATCH_MAX);
        l->uploads_max = native_number(f, NATIVE_F_UPLOADS_MAX, l->uploads_max);
        if (l->key_max == 0 || l->body_max < BODY_MIN || l->chunk_max < CHUNK_MIN ||
            l->batch_max == 0 || l->uploads_max == 0)
                return broken(c, "the limits in its HELLO are too small to be of use");
        /* So that an item with the longest key, many tags and such a value fits into any body. */
        if (l->chunk_max > l->body_max - AROUND_VALUE)
                l->chunk_max = l->body_max - AROUND_VALUE;
        return true;
}

/* A stranger's text as a string: printable, and as much as there is room for. */
static void
show(struct bytes text, char *out, size_t max)
{
        size_t len = text.len < max ? text.len : max - 1;

        for (size_t i = 0; i < len; i++)
                out[i] = text.at[i] >= ' ' && text.at[i] < 0x7F ? (char)text.at[i] : '?';
        out[len] = '\0';
}

static bool
take_hello(pn_client *c, const struct native_frame *f)
{
        struct native_fields fields;
        struct native_fault fault;
        struct native_item item;
        struct bytes text;
        char why[200];

        if (f->op != NATIVE_OP_HELLO || f->id != c->hello_id)
                return broken(c, "it answered something else before HELLO");
        if (native_body_read(f->body, &item, &fault) != OK ||
            native_fields_read(item.fields, UINT64_MAX, &fields, &fault) != OK)
                return broken(c, fault.what);
        if (f->status != NATIVE_OK) {
                show(native_text(&fields, NATIVE_F_ERROR), why, sizeof why);
                link_fail(c, "%s refused the connection: %s", c->shown, why);
                return false;
        }
        if (native_number(&fields, NATIVE_F_PROTOCOL, 0) != NATIVE_VERSION)
                return broken(c, "it chose a version of it that nobody offered");
        c->features = native_number(&fields, NATIVE_F_FEATURES, 0);
        text = native_text(&fields, NATIVE_F_NAME);
        show(text, c->server_name, sizeof c->server_name);
        if (!take_limits(c, &fields))
                return false;
        c->state = LINK_READY;
        return true;
}

/* ---- replies ---- */

static void
fail(pn_reply *r, pn_status status, const char *why)
{
        reply_says(r, status, why, strlen(why));
}

static void
put_token(pn_reply *r, struct bytes token)
{
        if (token.len == 0 || pn_failed(r->status))
                return;
        reply_says(r, r->status, (const char *)token.at, token.len);
        if (r->owned[1] != NULL) {
                r->token = r->owned[1];
                r->token_len = token.len;
        }
        r->error = "";
}

/* Takes the value, or notes in *large that it is to come. */
static void
take_value(const pn_client *c, pn_reply *r, const struct native_item *item,
           const struct native_fields *f, struct large *large)
{
        uint64_t raw = native_number(f, NATIVE_F_RAW_LENGTH, 0);
        pn_status status = PN_OK;

        *large = (struct large){.length = native_number(f, NATIVE_F_LENGTH, 0), .raw = raw};
        if (item->value.len > c->opts.value_max || raw > c->opts.value_max)
                fail(r, PN_ERROR, too_long);
        else if (large->length == 0)
                status = reply_value(r, item->value, raw);
        if (status != PN_OK)
                fail(r, status,
                     status == PN_ERROR ? "the value is packed wrongly" : pn_strerror(status));
}

/* The fields that this client understands; the critical ones among the others fail the request. */
static uint64_t
understood(const pn_client *c)
{
        bool lz4 = (c->opts.flags & PN_LZ4) != 0 && (c->features & NATIVE_LZ4) != 0;

        return lz4 ? UINT64_MAX : UINT64_MAX & ~NATIVE_BIT(RAW_LENGTH);
}

enum item_read { ITEM_FINE, ITEM_ODD, ITEM_BROKEN };

/* One item into one reply; ITEM_ODD: it is of no use, and whether a value follows is not known;
 * ITEM_BROKEN: it breaks the protocol (*what). */
static enum item_read
read_item(const pn_client *c, const struct native_item *item, unsigned status, pn_reply *r,
          struct large *large, const char **what)
{
        struct native_fields fields;
        struct native_fault fault;
        enum err e = native_fields_read(item->fields, understood(c), &fields, &fault);

        *what = fault.what;
        if (e == ERR_PROTOCOL)
                return ITEM_BROKEN;
        if (e != OK) {
                fail(r, PN_ERROR, "the reply has a field that this client does not know but must");
                return ITEM_ODD;
        }
        put_status(r, status, native_text(&fields, NATIVE_F_ERROR));
        put_fields(r, &fields);
        take_value(c, r, item, &fields, large);
        put_token(r, native_text(&fields, NATIVE_F_TOKEN));
        *what = "an announced value is empty, or there is another beside it";
        if ((fields.seen & NATIVE_BIT(LENGTH)) != 0 && (large->length == 0 || item->value.len > 0))
                return ITEM_BROKEN;
        return ITEM_FINE;
}

/* What is to come is not taken: the reply is over, as far as the caller is concerned. */
static bool
refuse_rest(pn_client *c, struct request *rq, pn_status status, const char *why)
{
        rq->in_chunks = true;
        request_abandon(c, rq, status, why);
        return true;
}

/* The head is complete: either that was all, or chunks follow. `odd`: an item was. */
static bool
head_done(pn_client *c, struct request *rq, bool more, bool odd)
{
        uint64_t total_max = rq->batch ? 4 * c->opts.value_max : c->opts.value_max;

        if (!more && rq->large_count > 0)
                return broken(c, "a value was announced, and the reply ends without it");
        if (!more) {
                request_finish(c, rq);
                return true;
        }
        if (odd)
                return refuse_rest(c, rq, PN_ERROR,
                                   "the reply has a field that this client does not know but must");
        if (rq->large_count == 0)
                return broken(c, "more was to follow than anything that was announced");
        for (uint32_t i = 0; i < rq->large_count; i++) {
                if (rq->large[i].length > c->opts.value_max || rq->large[i].raw > c->opts.value_max)
                        return refuse_rest(c, rq, PN_ERROR, too_long);
                rq->wanted += rq->large[i].length;
                if (rq->wanted > total_max)
                        return refuse_rest(c, rq, PN_ERROR,
                                           "the batch is longer than 4 times value_max");
        }
        if (rq->answer != NULL && !rq->batch && pn_failed(rq->answer->reply.status))
                return broken(c, "an error has a value");
        rq->in_chunks = true;
        rq->allowed = c->limits.credit_first;
        rq->deadline_us += large_us(c, rq->wanted);
        if (rq->allowed < rq->wanted && rq->allowed < CREDIT_STEP) {
                native_credit_write(&c->out, (struct native_head){.id = rq->id}, CREDIT_STEP);
                rq->allowed += CREDIT_STEP;
        }
        return true;
}

static bool
no_memory(pn_client *c, struct request *rq, bool more)
{
        if (more)
                return refuse_rest(c, rq, PN_NO_MEMORY, pn_strerror(PN_NO_MEMORY));
        request_abandon(c, rq, PN_NO_MEMORY, pn_strerror(PN_NO_MEMORY));
        request_finish(c, rq);
        return true;
}

static bool
take_items(pn_client *c, struct request *rq, struct bytes items, bool more)
{
        pn_reply *r = &rq->answer->reply;
        bool odd = false;

        for (uint32_t i = 0; i < rq->count; i++) {
                struct large *large = &rq->large[rq->large_count];
                struct native_fault fault;
                struct native_item item;
                const char *what;
                enum item_read read;

                if (native_item_read(&items, &item, &fault) != OK)
                        return broken(c, fault.what);
                read = read_item(c, &item, item.status, &r->items[i], large, &what);
                if (read == ITEM_BROKEN)
                        return broken(c, what);
                odd = odd || read == ITEM_ODD;
                large->index = i;
                rq->large_count += large->length > 0;
        }
        if (items.len > 0)
                return broken(c, "bytes follow the last item of a batch");
        return head_done(c, rq, more, odd);
}

static bool
take_batch(pn_client *c, struct request *rq, struct bytes value, bool more)
{
        pn_reply *r = &rq->answer->reply;
        struct native_fault fault;
        struct bytes items;
        uint32_t count;

        if (native_batch_read(value, &count, &items, &fault) != OK)
                return broken(c, fault.what);
        if (count != rq->count)
                return broken(c, "a batch has not as many items as were asked for");
        r->items = calloc(count, sizeof *r->items);
        rq->large = calloc(count + 1, sizeof *rq->large);
        if (r->items == NULL || rq->large == NULL)
                return no_memory(c, rq, more);
        for (uint32_t i = 0; i < count; i++)
                reply_init(&r->items[i], rq->id);
        r->item_count = count;
        r->status = PN_OK;
        return take_items(c, rq, items, more);
}

static bool
take_head(pn_client *c, struct request *rq, const struct native_frame *f)
{
        bool more = (f->flags & NATIVE_MORE) != 0;
        struct native_fault fault;
        struct native_item item;
        enum item_read read;
        const char *what;

        if (native_body_read(f->body, &item, &fault) != OK)
                return broken(c, fault.what);
        if (rq->batch && f->status == NATIVE_OK)
                return take_batch(c, rq, item.value, more);
        rq->batch = false; /* an error of the batch as a whole is like any other */
        rq->large = calloc(1, sizeof *rq->large);
        if (rq->large == NULL)
                return no_memory(c, rq, more);
        read = read_item(c, &item, f->status, &rq->answer->reply, rq->large, &what);
        if (read == ITEM_BROKEN)
                return broken(c, what);
        rq->large_count = rq->large->length > 0;
        return head_done(c, rq, more, read == ITEM_ODD);
}

/* A frame of a request that nobody waits for. */
static void
take_late(pn_client *c, struct request *rq, const struct native_frame *f)
{
        if ((f->flags & NATIVE_MORE) == 0) {
                request_finish(c, rq);
                return;
        }
        if (f->op != NATIVE_OP_CHUNK && f->op != NATIVE_OP_CREDIT && f->status != NATIVE_WAITING)
                cancel_write(c, rq->id); /* the rest of a large value need not come */
}

static bool
take_credit(pn_client *c, struct request *rq, const struct native_frame *f)
{
        struct native_fault fault;
        uint32_t bytes;

        if (native_credit_read(f->body, &bytes, &fault) != OK)
                return broken(c, fault.what);
        if ((f->flags & NATIVE_MORE) == 0)
                return broken(c, "a credit ends a request");
        upload_credit(rq, bytes);
        return true;
}

bool
reply_take(pn_client *c, const struct native_frame *f)
{
        struct request *rq;

        if ((f->flags & NATIVE_REPLY) == 0) /* a message of a later version */
                return true;
        if (c->state == LINK_GREETING)
                return take_hello(c, f);
        rq = request_find(c, f->id);
        if (rq == NULL)
                return true;
        if (f->op != NATIVE_OP_CHUNK && f->op != NATIVE_OP_CREDIT && f->op != rq->op)
                return broken(c, "a reply is not to what was asked");
        if (f->op == NATIVE_OP_CREDIT)
                return take_credit(c, rq, f);
        if (rq->answer == NULL) {
                take_late(c, rq, f);
                return true;
        }
        if (f->op == NATIVE_OP_CHUNK)
                return reply_chunk(c, rq, f);
        if (rq->in_chunks)
                return broken(c, "a reply has two heads");
        if (f->status == NATIVE_WAITING && (f->flags & NATIVE_MORE) != 0)
                return true;
        return take_head(c, rq, f);
}
