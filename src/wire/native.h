/* wire/native.h: the native protocol, version 1 (proto/native.md): bytes <-> frames, items and
 * fields, for both sides. The server reads requests and writes replies with it; the C client and
 * the command line do the reverse. Pure: nothing here waits or knows a connection.
 *
 *   frame: u32 body length, u8 op, u8 flags, u16 status, u64 id, body          (little-endian)
 *   body:  one item, or nothing; of CHUNK and CREDIT: see below
 *   item:  u32 key length, u32 value length, u16 fields length, u16 status, fields, key, value
 *   field: u8 type, u8 flags, u16 length, bytes; a number is 1 to 8 bytes
 *   batch: the value of the body's item is: u32 count, then so many items
 *
 * A value that is not in its place (longer than NATIVE_CHUNK_MAX, or without room in a batch's
 * frame) has the field LENGTH instead, and its bytes follow in CHUNK frames of the same id, by
 * credit; either way round. Everything read here borrows the bytes it was read from. */
#ifndef PN_WIRE_NATIVE_H
#define PN_WIRE_NATIVE_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/chain.h"
#include "base/err.h"
#include "base/must.h"

enum {
        NATIVE_VERSION = 1,
        NATIVE_PREFACE_BYTES = 4,
        NATIVE_HEADER_BYTES = 16,
        NATIVE_ITEM_BYTES = 12,
        NATIVE_FIELD_BYTES = 4,
        NATIVE_CHUNK_BYTES = 16,       /* before a CHUNK's data */
        NATIVE_BODY_MAX = 1048576,     /* of any frame, either way */
        NATIVE_FIELDS_MAX = 65535,     /* of one item */
        NATIVE_CHUNK_MAX = 262144,     /* longest value in its place; longest data of a CHUNK */
        NATIVE_CREDIT_FIRST = 1048576, /* bytes of chunks an id may have before any CREDIT */
        NATIVE_BATCH_MAX = 4096,       /* items of a batch */
        NATIVE_BATCH_ERROR_MAX = 128,  /* an error's text inside a batch is cut there */
};

extern const uint8_t native_preface[NATIVE_PREFACE_BYTES]; /* FB 50 4E 01 */

enum native_op {
        NATIVE_OP_NONE = 0,  /* an error about a CHUNK or CREDIT: its body is an item */
        NATIVE_OP_HELLO = 1, /* first frame of a connection, both ways */
        NATIVE_OP_PING = 2,  /* the value comes back */
        NATIVE_OP_BYE = 3,   /* answered last; then the server closes */
        NATIVE_OP_INFO = 4,  /* key: a section, or empty; value of the reply: text */
        NATIVE_OP_STATS = 5, /* reserved: the same as JSON */
        NATIVE_OP_TIERS = 6, /* value of the reply: text, the lines of INFO's "# Tiers" */
        NATIVE_OP_FLUSH = 7, /* fields TIERS, NAMESPACE; reply: COUNT */
        NATIVE_OP_GET = 16,
        NATIVE_OP_SET = 17,
        NATIVE_OP_DEL = 18,
        NATIVE_OP_EXPIRE = 19, /* field TTL; absent: never */
        NATIVE_OP_MGET = 20,   /* batches: the fields of the body's item are for all of them */
        NATIVE_OP_MSET = 21,
        NATIVE_OP_MDEL = 22,
        NATIVE_OP_CHUNK = 32,  /* u32 index in the batch (else 0), u32 0, u64 offset, data */
        NATIVE_OP_CREDIT = 33, /* u32: so many more bytes of that id's chunks may come */
        NATIVE_OP_CANCEL = 34, /* empty body: no more chunks of that id, either way */
        NATIVE_OP_FILL = 48,   /* from here on: reserved for leases, invalidation, messages */
        NATIVE_OP_FAIL = 49,
        NATIVE_OP_INVALIDATE = 50,
        NATIVE_OP_EXPLAIN = 51,
        NATIVE_OP_PUSH = 52,
};

enum native_flag {
        NATIVE_REPLY = 1, /* from the server, about the request of that id */
        NATIVE_MORE = 2,  /* not the last frame of that id from this side */
};

/* Of a reply's frame and of an item in a batch. From 16 on: err_status(), with the field ERROR. */
enum native_status {
        NATIVE_OK = 0,
        NATIVE_HIT = 1,
        NATIVE_STALE = 2,
        NATIVE_MISS = 3, /* GET: nothing there; DEL, EXPIRE: nothing was there */
        NATIVE_LEASE = 4,
        NATIVE_BUSY = 5,
        NATIVE_NEGATIVE = 6,
        NATIVE_SHED = 7,
        NATIVE_NOT_MET = 8, /* SET: the CONDITION did not hold; nothing was written */
        NATIVE_WAITING = 9, /* reserved: a notice, with MORE: another caller computes */
        NATIVE_CANCELLED = 10,
        NATIVE_ERROR_FIRST = 16,
};

/* FIELD(name, type, kind, critical): types are below 64. Critical: the writers here mark it so. */
#define NATIVE_FIELDS(FIELD)                                                                     \
        FIELD(TTL, 1, NUMBER, 0)         /* us until soft expiry */                              \
        FIELD(GRACE, 2, NUMBER, 0)       /* us from soft to hard expiry */                       \
        FIELD(DEADLINE, 3, NUMBER, 0)    /* us for cache I/O */                                  \
        FIELD(WAIT, 4, NUMBER, 0)        /* us for another caller's compute */                   \
        FIELD(LEASE, 5, NUMBER, 0)       /* us the compute may take: a lease is asked for */     \
        FIELD(PRIORITY, 6, NUMBER, 0)    /* enum native_priority */                              \
        FIELD(COST, 7, NUMBER, 0)        /* micro-dollars */                                     \
        FIELD(COMPUTE, 8, NUMBER, 0)     /* us it took to compute */                             \
        FIELD(CONFIDENCE, 9, NUMBER, 0)  /* 0 .. 65535 for 0 .. 1 */                             \
        FIELD(TAG, 10, TEXT, 0)          /* may come LIMIT_TAGS times */                         \
        FIELD(CODEC, 11, NUMBER, 0)      /* 0 .. 255, opaque */                                  \
        FIELD(CONDITION, 12, NUMBER, 1)  /* enum native_condition */                             \
        FIELD(TOKEN, 13, TEXT, 1)        /* of a lease */                                        \
        FIELD(LENGTH, 14, NUMBER, 1)     /* the value is not here: so many bytes follow */       \
        FIELD(RAW_LENGTH, 15, NUMBER, 1) /* replies: the value is one LZ4 block of so many */    \
        FIELD(NAMESPACE, 16, TEXT, 1)    /* FLUSH: of this one only */                           \
        FIELD(TIERS, 17, NUMBER, 1)      /* bits 1 L1, 2 L2, 4 L3: to flush */                   \
        FIELD(TIER, 24, NUMBER, 0)       /* 1 .. 3: who had it */                                \
        FIELD(AGE, 25, NUMBER, 0)        /* us since it was written */                           \
        FIELD(SOFT, 26, NUMBER, 0)       /* us until stale; absent: never */                     \
        FIELD(HARD, 27, NUMBER, 0)       /* us until gone; absent: never */                      \
        FIELD(VERSION, 28, NUMBER, 0)    /* of the entry */                                      \
        FIELD(RETRY, 29, NUMBER, 0)      /* us to wait before asking again */                    \
        FIELD(ERROR, 30, TEXT, 0)        /* the sentence */                                      \
        FIELD(COUNT, 31, NUMBER, 0)      /* how many */                                          \
        FIELD(REACHED, 32, NUMBER, 0)    /* bits as TIERS: who holds what was written */         \
        FIELD(PROTOCOL, 40, NUMBER, 0)   /* HELLO: the highest version; its reply: the agreed */ \
        FIELD(FEATURES, 41, NUMBER, 0)   /* enum native_feature: offered; agreed */              \
        FIELD(NAME, 42, TEXT, 0)         /* the client's, the server's name and version */       \
        FIELD(VALUE_MAX, 43, NUMBER, 0)  /* the server's limits, in its HELLO */                 \
        FIELD(KEY_MAX, 44, NUMBER, 0)                                                            \
        FIELD(BODY_MAX, 45, NUMBER, 0)                                                           \
        FIELD(CHUNK_MAX, 46, NUMBER, 0)                                                          \
        FIELD(CREDIT_FIRST, 47, NUMBER, 0)                                                       \
        FIELD(BATCH_MAX, 48, NUMBER, 0)                                                          \
        FIELD(UPLOADS_MAX, 49, NUMBER, 0)                                                        \
        FIELD(UPLOAD_IDLE, 50, NUMBER, 0) /* us */                                               \
        FIELD(USER, 51, TEXT, 1)          /* reserved for authentication */                      \
        FIELD(PASSWORD, 52, TEXT, 1)

enum native_field {
#define FIELD(name, type, kind, critical) NATIVE_F_##name = (type),
        NATIVE_FIELDS(FIELD)
#undef FIELD
                NATIVE_FIELD_COUNT = 64,
};
#define NATIVE_BIT(name) (UINT64_C(1) << NATIVE_F_##name)

/* Without the field: NORMAL. */
enum native_priority { NATIVE_LOW, NATIVE_NORMAL, NATIVE_HIGH, NATIVE_CRITICAL };
enum native_condition { NATIVE_NX = 1, NATIVE_XX = 2, NATIVE_KEEPTTL = 4 };
enum native_feature { NATIVE_LZ4 = 1 }; /* replies may hold LZ4 blocks (RAW_LENGTH) */

/* ---- reading ---- */

struct native_fault {     /* why bytes are refused */
        const char *what; /* a static sentence, without the peer's bytes */
        size_t at;        /* offset in what was read */
};

struct native_frame {
        uint64_t id;
        struct bytes body;
        uint16_t status;
        uint8_t op;    /* any number: whether it is known is the reader's business */
        uint8_t flags; /* enum native_flag; no other bits */
};

enum native_side { NATIVE_SERVER, NATIVE_CLIENT }; /* who reads */
enum native_read {
        NATIVE_COMPLETE, /* *frame is filled, *n bytes were used */
        NATIVE_NEED,     /* at least *n more bytes are needed */
        NATIVE_BAD, /* *fault says why; *frame holds the header: answer with ERR_PROTOCOL, close */
};
enum native_read native_decode(struct bytes in, enum native_side side, struct native_frame *frame,
                               size_t *n, struct native_fault *fault);

struct native_item {
        struct bytes fields, key, value;
        uint16_t status;
};
/* Reads one item off the front of *in and moves *in behind it. ERR_PROTOCOL: it does not fit. */
must_use enum err
native_item_read(struct bytes *in, struct native_item *out, struct native_fault *fault);
/* The body's one item, nothing behind it. An empty body is an empty item. */
must_use enum err
native_body_read(struct bytes body, struct native_item *out, struct native_fault *fault);
/* Opens a batch, the value of the body's item: *count items stand in *items, to be read with
 * native_item_read(); the reader checks that nothing is left. ERR_BAD_ARGUMENT: too many. */
must_use enum err native_batch_read(struct bytes value, uint32_t *count, struct bytes *items,
                                    struct native_fault *fault);

union native_value { /* by the field's kind */
        uint64_t number;
        struct bytes text;
};
struct native_fields {
        uint64_t seen; /* NATIVE_BIT()s; only these values are set */
        struct bytes block;
        unsigned tags; /* how many TAG there are: native_tag() */
        union native_value value[NATIVE_FIELD_COUNT];
};
/* Fields outside `honoured` (NATIVE_BIT()s), known or not, are skipped, or, if critical, refused
 * with ERR_BAD_ARGUMENT. ERR_PROTOCOL: malformed, or one that came twice, or a number not of 1 to 8
 * bytes. */
must_use enum err native_fields_read(struct bytes block, uint64_t honoured,
                                     struct native_fields *out, struct native_fault *fault);
static inline uint64_t
native_number(const struct native_fields *f, enum native_field type, uint64_t absent)
{
        return (f->seen >> type & 1) != 0 ? f->value[type].number : absent;
}
static inline struct bytes
native_text(const struct native_fields *f, enum native_field type)
{
        return (f->seen >> type & 1) != 0 ? f->value[type].text : (struct bytes){NULL, 0};
}
/* The tags one after the other, f->tags times; *at is 0 at first and remembers the place. */
struct bytes native_tag(const struct native_fields *f, size_t *at);

struct native_chunk {
        uint64_t offset;
        struct bytes
                data; /* 1 .. NATIVE_CHUNK_MAX bytes; none where a status ends the value early */
        uint32_t index;
};
must_use enum err native_chunk_read(const struct native_frame *frame, struct native_chunk *out,
                                    struct native_fault *fault);
must_use enum err
native_credit_read(struct bytes body, uint32_t *bytes, struct native_fault *fault);

/* ---- writing ---- */

struct native_block { /* fields being put together in the caller's room */
        uint8_t *at;
        size_t len, cap;
        bool full; /* something did not fit and is missing: look, where a user chose what was put */
};
static inline struct native_block
native_block_of(void *room, size_t cap)
{
        cap = cap < NATIVE_FIELDS_MAX ? cap : NATIVE_FIELDS_MAX;
        return (struct native_block){(uint8_t *)room, 0, cap, false};
}
void native_put_number(struct native_block *b, enum native_field type, uint64_t number);
void native_put_text(struct native_block *b, enum native_field type, struct bytes text);

struct native_head {
        uint64_t id;
        uint16_t status;
        uint8_t op;
        uint8_t flags;
};
/* The caller judged keys, values and counts: what is written keeps the limits. `fields` may be
 * NULL. A value with a `blob` (else NULL) lies in it and is pinned where that pays. */
void native_write(struct chain *out, struct native_head head, const struct native_block *fields,
                  struct bytes key, struct blob *blob, struct bytes value);
/* Bytes that one item takes. */
static inline size_t
native_item_size(size_t fields, size_t key, size_t value)
{
        return NATIVE_ITEM_BYTES + fields + key + value;
}
/* One item of a batch in the making. */
void native_item_write(struct chain *items, uint16_t status, const struct native_block *fields,
                       struct bytes key, struct blob *blob, struct bytes value);
/* The frame around `items`, which is empty afterwards. */
void native_batch_write(struct chain *out, struct native_head head,
                        const struct native_block *fields, uint32_t count, struct chain *items);
/* A frame that refuses: `text` in the field ERROR. */
void native_error_write(struct chain *out, struct native_head head, struct bytes text);
/* head.op is ignored by these two. */
void native_chunk_write(struct chain *out, struct native_head head, uint32_t index, uint64_t offset,
                        struct blob *blob, struct bytes data);
void native_credit_write(struct chain *out, struct native_head head, uint32_t bytes);

/* "GET"; "?" for an unknown one. */
const char *native_op_name(unsigned op);

#endif
