/* wire/native.c: the native protocol's bytes (proto/native.md): frames, items, fields. Pure; owns
 * nothing: what is read borrows the caller's bytes, what is written goes to the caller's chain.
 * Every length that is read is a stranger's number, judged against what is really there before it
 * is used. Limits: native.h. Not here: what an operation means, which statuses answer it, credit,
 * uploads. */
#include "wire/native.h"

#include "base/limits.h"

const uint8_t native_preface[NATIVE_PREFACE_BYTES] = {0xFB, 0x50, 0x4E, 0x01};

enum kind { UNKNOWN, NUMBER, TEXT };

static const uint8_t kinds[NATIVE_FIELD_COUNT] = {
#define FIELD(name, type, kind, critical) [type] = (kind),
        NATIVE_FIELDS(FIELD)
#undef FIELD
};

enum { FIELD_CRITICAL = 1 };

static enum err
fault_at(struct native_fault *fault, enum err e, size_t at, const char *what)
{
        *fault = (struct native_fault){what, at};
        return e;
}

/* What is wrong with a header that is there in full; NULL: nothing. */
static const char *
judge_header(const struct native_frame *f, uint32_t body_len, enum native_side side, size_t *at)
{
        if (body_len > NATIVE_BODY_MAX) {
                *at = 0;
                return "the body is longer than 1048576 bytes";
        }
        if ((f->flags & ~(unsigned)(NATIVE_REPLY | NATIVE_MORE)) != 0) {
                *at = 5;
                return "an unknown flag is set";
        }
        if (side == NATIVE_SERVER && (f->flags & NATIVE_REPLY) != 0) {
                *at = 5;
                return "a request has the flag of a reply";
        }
        if (side == NATIVE_SERVER && f->status != 0) {
                *at = 6;
                return "a request has a status";
        }
        return NULL;
}

enum native_read
native_decode(struct bytes in, enum native_side side, struct native_frame *frame, size_t *n,
              struct native_fault *fault)
{
        struct native_frame f = {0};
        uint32_t body_len;

        if (in.len < NATIVE_HEADER_BYTES) {
                *n = NATIVE_HEADER_BYTES - in.len;
                return NATIVE_NEED;
        }
        body_len = get_u32(in.at);
        f.op = in.at[4];
        f.flags = in.at[5];
        f.status = get_u16(in.at + 6);
        f.id = get_u64(in.at + 8);
        fault->what = judge_header(&f, body_len, side, &fault->at);
        if (fault->what != NULL) {
                *frame = f;
                return NATIVE_BAD;
        }
        if (in.len - NATIVE_HEADER_BYTES < body_len) {
                *n = NATIVE_HEADER_BYTES + body_len - in.len;
                return NATIVE_NEED;
        }
        f.body = bytes_of(in.at + NATIVE_HEADER_BYTES, body_len);
        *n = NATIVE_HEADER_BYTES + body_len;
        *frame = f;
        return NATIVE_COMPLETE;
}

enum err
native_item_read(struct bytes *in, struct native_item *out, struct native_fault *fault)
{
        const uint8_t *at = in->at;
        uint64_t key_len, value_len, fields_len;

        if (in->len < NATIVE_ITEM_BYTES)
                return fault_at(fault, ERR_PROTOCOL, in->len, "an item's head is cut short");
        key_len = get_u32(at);
        value_len = get_u32(at + 4);
        fields_len = get_u16(at + 8);
        /* 64-bit sums of 32-bit lengths: they cannot wrap. */
        if (fields_len + key_len + value_len > in->len - NATIVE_ITEM_BYTES)
                return fault_at(fault, ERR_PROTOCOL, 0,
                                "an item's lengths pass the end of the body");
        *out = (struct native_item){
                .fields = bytes_of(at + NATIVE_ITEM_BYTES, fields_len),
                .key = bytes_of(at + NATIVE_ITEM_BYTES + fields_len, key_len),
                .value = bytes_of(at + NATIVE_ITEM_BYTES + fields_len + key_len, value_len),
                .status = get_u16(at + 10),
        };
        *in = bytes_from(*in, native_item_size(fields_len, key_len, value_len));
        return OK;
}

enum err
native_body_read(struct bytes body, struct native_item *out, struct native_fault *fault)
{
        struct bytes rest = body;
        struct native_item item;
        enum err e;

        if (body.len == 0) {
                *out = (struct native_item){.fields = body, .key = body, .value = body};
                return OK;
        }
        e = native_item_read(&rest, &item, fault);
        if (e != OK)
                return e;
        if (rest.len != 0)
                return fault_at(fault, ERR_PROTOCOL, body.len - rest.len, "bytes follow the item");
        *out = item;
        return OK;
}

enum err
native_batch_read(struct bytes value, uint32_t *count, struct bytes *items,
                  struct native_fault *fault)
{
        uint32_t n;

        if (value.len < 4)
                return fault_at(fault, ERR_PROTOCOL, value.len, "a batch's count is cut short");
        n = get_u32(value.at);
        if (n > NATIVE_BATCH_MAX)
                return fault_at(fault, ERR_BAD_ARGUMENT, 0, "a batch holds more than 4096 items");
        if ((uint64_t)n * NATIVE_ITEM_BYTES > value.len - 4)
                return fault_at(fault, ERR_PROTOCOL, 0, "a batch counts more items than fit in it");
        *count = n;
        *items = bytes_from(value, 4);
        return OK;
}

static uint64_t
number_of(struct bytes b)
{
        uint64_t v = 0;

        for (size_t i = b.len; i-- > 0;)
                v = v << 8 | b.at[i];
        return v;
}

/* One field that is honoured and known. */
static enum err
field_keep(struct native_fields *f, unsigned type, struct bytes value, size_t at,
           struct native_fault *fault)
{
        bool again = (f->seen >> type & 1) != 0;

        if (kinds[type] == NUMBER && (value.len == 0 || value.len > 8))
                return fault_at(fault, ERR_PROTOCOL, at, "a number is not of 1 to 8 bytes");
        if (type == NATIVE_F_TAG)
                f->tags++;
        else if (again)
                return fault_at(fault, ERR_PROTOCOL, at, "a field comes twice");
        if (kinds[type] == NUMBER)
                f->value[type].number = number_of(value);
        else
                f->value[type].text = value;
        f->seen |= UINT64_C(1) << type;
        return OK;
}

enum err
native_fields_read(struct bytes block, uint64_t honoured, struct native_fields *out,
                   struct native_fault *fault)
{
        size_t at = 0;

        out->seen = 0;
        out->tags = 0;
        out->block = block;
        while (at < block.len) {
                const uint8_t *head = block.at + at;
                unsigned type;
                size_t len;
                enum err e;

                if (block.len - at < NATIVE_FIELD_BYTES)
                        return fault_at(fault, ERR_PROTOCOL, at, "a field's head is cut short");
                type = head[0];
                len = get_u16(head + 2);
                if (len > block.len - at - NATIVE_FIELD_BYTES)
                        return fault_at(fault, ERR_PROTOCOL, at,
                                        "a field passes the end of the fields");
                if (type < NATIVE_FIELD_COUNT && kinds[type] != UNKNOWN &&
                    (honoured >> type & 1) != 0) {
                        e = field_keep(out, type, bytes_of(head + NATIVE_FIELD_BYTES, len), at,
                                       fault);
                        if (e != OK)
                                return e;
                } else if ((head[1] & FIELD_CRITICAL) != 0) {
                        return fault_at(fault, ERR_BAD_ARGUMENT, at,
                                        "a critical field is not known for this operation");
                }
                at += NATIVE_FIELD_BYTES + len;
        }
        return OK;
}

struct bytes
native_tag(const struct native_fields *f, size_t *at)
{
        /* The block was judged by native_fields_read(): the walk cannot leave it. */
        while (*at < f->block.len) {
                const uint8_t *head = f->block.at + *at;
                size_t len = get_u16(head + 2);

                *at += NATIVE_FIELD_BYTES + len;
                if (head[0] == NATIVE_F_TAG)
                        return bytes_of(head + NATIVE_FIELD_BYTES, len);
        }
        return (struct bytes){NULL, 0};
}

enum err
native_chunk_read(const struct native_frame *frame, struct native_chunk *out,
                  struct native_fault *fault)
{
        struct bytes body = frame->body;

        if (body.len < NATIVE_CHUNK_BYTES)
                return fault_at(fault, ERR_PROTOCOL, body.len, "a chunk's head is cut short");
        if (get_u32(body.at + 4) != 0)
                return fault_at(fault, ERR_PROTOCOL, 4, "a chunk's reserved bytes are not zero");
        if (body.len - NATIVE_CHUNK_BYTES > NATIVE_CHUNK_MAX)
                return fault_at(fault, ERR_PROTOCOL, NATIVE_CHUNK_BYTES,
                                "a chunk holds more than 262144 bytes");
        if (body.len == NATIVE_CHUNK_BYTES && frame->status == NATIVE_OK)
                return fault_at(fault, ERR_PROTOCOL, NATIVE_CHUNK_BYTES, "a chunk is empty");
        *out = (struct native_chunk){
                .index = get_u32(body.at),
                .offset = get_u64(body.at + 8),
                .data = bytes_from(body, NATIVE_CHUNK_BYTES),
        };
        return OK;
}

enum err
native_credit_read(struct bytes body, uint32_t *bytes, struct native_fault *fault)
{
        if (body.len != 4)
                return fault_at(fault, ERR_PROTOCOL, 0, "a credit is not of 4 bytes");
        *bytes = get_u32(body.at);
        return OK;
}

static const uint8_t critical[NATIVE_FIELD_COUNT] = {
#define FIELD(name, type, kind, critical) [type] = (critical),
        NATIVE_FIELDS(FIELD)
#undef FIELD
};

/* Room for a field of len bytes with its head written; NULL and `full` when there is none. */
static uint8_t *
field_begin(struct native_block *b, enum native_field type, size_t len)
{
        uint8_t *head = b->at + b->len;

        if (b->cap - b->len < NATIVE_FIELD_BYTES || len > b->cap - b->len - NATIVE_FIELD_BYTES) {
                b->full = true;
                return NULL;
        }
        head[0] = (uint8_t)type;
        head[1] = critical[type];
        put_u16(head + 2, (uint16_t)len);
        b->len += NATIVE_FIELD_BYTES + len;
        return head + NATIVE_FIELD_BYTES;
}

void
native_put_number(struct native_block *b, enum native_field type, uint64_t number)
{
        size_t len = number <= UINT8_MAX    ? 1
                     : number <= UINT16_MAX ? 2
                     : number <= UINT32_MAX ? 4
                                            : 8;
        uint8_t *at = field_begin(b, type, len);

        if (at == NULL)
                return;
        for (size_t i = 0; i < len; i++, number >>= 8)
                at[i] = (uint8_t)number;
}

void
native_put_text(struct native_block *b, enum native_field type, struct bytes text)
{
        uint8_t *at = field_begin(b, type, text.len);

        if (at != NULL && text.len > 0)
                memcpy(at, text.at, text.len);
}

static uint8_t *
put_header(uint8_t *at, struct native_head head, size_t body_len)
{
        must(body_len <= NATIVE_BODY_MAX);
        put_u32(at, (uint32_t)body_len);
        at[4] = head.op;
        at[5] = head.flags;
        put_u16(at + 6, head.status);
        put_u64(at + 8, head.id);
        return at + NATIVE_HEADER_BYTES;
}

static uint8_t *
put_item(uint8_t *at, uint16_t status, const struct native_block *fields, size_t key_len,
         size_t value_len)
{
        size_t fields_len = fields != NULL ? fields->len : 0;

        put_u32(at, (uint32_t)key_len);
        put_u32(at + 4, (uint32_t)value_len);
        put_u16(at + 8, (uint16_t)fields_len);
        put_u16(at + 10, status);
        at += NATIVE_ITEM_BYTES;
        if (fields_len > 0)
                memcpy(at, fields->at, fields_len);
        return at + fields_len;
}

static void
append_value(struct chain *out, struct blob *blob, struct bytes value)
{
        if (blob != NULL)
                chain_append_blob(out, blob, value);
        else if (value.len > 0)
                chain_append(out, value);
}

static size_t
block_len(const struct native_block *fields)
{
        return fields != NULL ? fields->len : 0;
}

void
native_write(struct chain *out, struct native_head head, const struct native_block *fields,
             struct bytes key, struct blob *blob, struct bytes value)
{
        size_t front = NATIVE_HEADER_BYTES + native_item_size(block_len(fields), key.len, 0);
        bool empty = block_len(fields) + key.len + value.len == 0;
        uint8_t *at = chain_reserve(out, front);

        if (empty) { /* an empty item is an empty body */
                put_header(at, head, 0);
                chain_commit(out, NATIVE_HEADER_BYTES);
                return;
        }
        at = put_header(at, head, front - NATIVE_HEADER_BYTES + value.len);
        at = put_item(at, 0, fields, key.len, value.len);
        if (key.len > 0)
                memcpy(at, key.at, key.len);
        chain_commit(out, front);
        append_value(out, blob, value);
}

void
native_item_write(struct chain *items, uint16_t status, const struct native_block *fields,
                  struct bytes key, struct blob *blob, struct bytes value)
{
        size_t front = native_item_size(block_len(fields), key.len, 0);
        uint8_t *at = put_item(chain_reserve(items, front), status, fields, key.len, value.len);

        if (key.len > 0)
                memcpy(at, key.at, key.len);
        chain_commit(items, front);
        append_value(items, blob, value);
}

void
native_batch_write(struct chain *out, struct native_head head, const struct native_block *fields,
                   uint32_t count, struct chain *items)
{
        size_t value_len = 4 + items->bytes;
        size_t body_len = native_item_size(block_len(fields), 0, value_len);
        size_t front = NATIVE_HEADER_BYTES + native_item_size(block_len(fields), 0, 4);
        uint8_t *at = put_header(chain_reserve(out, front), head, body_len);

        at = put_item(at, 0, fields, 0, value_len);
        put_u32(at, count);
        chain_commit(out, front);
        chain_splice(out, items);
}

void
native_error_write(struct chain *out, struct native_head head, struct bytes text)
{
        uint8_t room[1024];
        struct native_block fields = native_block_of(room, sizeof room);

        if (text.len > sizeof room - NATIVE_FIELD_BYTES)
                text.len = sizeof room - NATIVE_FIELD_BYTES;
        native_put_text(&fields, NATIVE_F_ERROR, text);
        native_write(out, head, &fields, (struct bytes){NULL, 0}, NULL, (struct bytes){NULL, 0});
}

void
native_chunk_write(struct chain *out, struct native_head head, uint32_t index, uint64_t offset,
                   struct blob *blob, struct bytes data)
{
        size_t front = NATIVE_HEADER_BYTES + NATIVE_CHUNK_BYTES;
        uint8_t *at = chain_reserve(out, front);

        head.op = NATIVE_OP_CHUNK;
        at = put_header(at, head, NATIVE_CHUNK_BYTES + data.len);
        put_u32(at, index);
        put_u32(at + 4, 0);
        put_u64(at + 8, offset);
        chain_commit(out, front);
        append_value(out, blob, data);
}

void
native_credit_write(struct chain *out, struct native_head head, uint32_t bytes)
{
        size_t len = NATIVE_HEADER_BYTES + 4;
        uint8_t *at = chain_reserve(out, len);

        head.op = NATIVE_OP_CREDIT;
        put_u32(put_header(at, head, 4), bytes);
        chain_commit(out, len);
}

const char *
native_op_name(unsigned op)
{
        switch (op) {
        case NATIVE_OP_HELLO:
                return "HELLO";
        case NATIVE_OP_PING:
                return "PING";
        case NATIVE_OP_BYE:
                return "BYE";
        case NATIVE_OP_INFO:
                return "INFO";
        case NATIVE_OP_STATS:
                return "STATS";
        case NATIVE_OP_TIERS:
                return "TIERS";
        case NATIVE_OP_FLUSH:
                return "FLUSH";
        case NATIVE_OP_GET:
                return "GET";
        case NATIVE_OP_SET:
                return "SET";
        case NATIVE_OP_DEL:
                return "DEL";
        case NATIVE_OP_EXPIRE:
                return "EXPIRE";
        case NATIVE_OP_MGET:
                return "MGET";
        case NATIVE_OP_MSET:
                return "MSET";
        case NATIVE_OP_MDEL:
                return "MDEL";
        case NATIVE_OP_CHUNK:
                return "CHUNK";
        case NATIVE_OP_CREDIT:
                return "CREDIT";
        case NATIVE_OP_CANCEL:
                return "CANCEL";
        default:
                return "?";
        }
}
