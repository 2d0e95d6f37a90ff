/* cache/entry.h: an entry: what is known of a value, and the envelope it is stored in
 * (proto/envelope.md). Every copy in L1, L2 and L3 is the same sealed bytes; `blob` holds them. */
#ifndef PN_CACHE_ENTRY_H
#define PN_CACHE_ENTRY_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/err.h"
#include "cache/key.h"

enum entry_flag {
        ENTRY_TOMBSTONE = 1, /* a DEL: no payload; a floor for older copies */
        ENTRY_IN_L3 = 2,     /* only a mark: the value of this version stands in L3 */
        ENTRY_LZ4 = 4,       /* the payload is one LZ4 block of raw_len bytes */
        ENTRY_NEGATIVE = 8,  /* the payload is the text of a refusal */
};

struct meta {             /* times are microseconds of the shared clock since the Unix epoch */
        uint64_t version; /* 0: not given yet. Not sealed: it stands before the envelope */
        uint64_t origin;  /* id of the pannierd that wrote it */
        uint64_t replid;  /* hash of the Redis' replication id it was written under; 0 unknown */
        uint64_t soft_us; /* fresh until; UINT64_MAX never */
        uint64_t hard_us; /* gone after; UINT64_MAX never */
        uint64_t cost;    /* micro-dollars */
        uint32_t compute_us;
        uint32_t raw_len;    /* of the value, uncompressed */
        uint16_t confidence; /* 0 .. 65535 for 0 .. 1 */
        uint8_t codec;       /* opaque to the server */
        uint8_t flags;       /* enum entry_flag */
        uint16_t tag_count;
};

struct entry { /* embedded by its holder, who owns one reference of `blob` */
        struct meta meta;
        struct blob *blob; /* ENVELOPE_PREFIX bytes for the version, then the sealed bytes */
        uint32_t payload_at, payload_len; /* stored payload inside the blob */
        uint32_t tags_at, tags_len;       /* tag block inside the blob */
};

static inline struct bytes
entry_payload(const struct entry *e)
{
        return (struct bytes){e->blob->at + e->payload_at, e->payload_len};
}
static inline void
entry_release(struct entry *e)
{
        blob_unref(e->blob);
        e->blob = NULL;
}
static inline bool
entry_is_value(const struct meta *m)
{
        return (m->flags & (ENTRY_TOMBSTONE | ENTRY_IN_L3)) == 0;
}

enum { ENVELOPE_PREFIX = 8 };

/* Where things stand in an envelope, behind the prefix (proto/envelope.md; little-endian). What
 * L2's scripts read without opening it is read at these offsets. */
enum envelope_at {
        ENVELOPE_AT_MAGIC = 0,
        ENVELOPE_AT_FORMAT = 4,
        ENVELOPE_AT_FLAGS = 5,
        ENVELOPE_AT_CODEC = 6,
        ENVELOPE_AT_ZERO = 7,
        ENVELOPE_AT_RAW_LEN = 8,
        ENVELOPE_AT_COMPUTE = 12,
        ENVELOPE_AT_NAMESPACE = 16,
        ENVELOPE_AT_ORIGIN = 24,
        ENVELOPE_AT_REPLID = 32,
        ENVELOPE_AT_SOFT = 40,
        ENVELOPE_AT_HARD = 48,
        ENVELOPE_AT_COST = 56,
        ENVELOPE_AT_CONFIDENCE = 64,
        ENVELOPE_AT_TAG_COUNT = 66,
        ENVELOPE_AT_TAGS_LEN = 68,
        ENVELOPE_AT_PAYLOAD_LEN = 72,
        ENVELOPE_AT_ZERO2 = 76,
        ENVELOPE_AT_MAC = 80,
        ENVELOPE_AT_CHECKSUM = 96,
        ENVELOPE_HEADER = 104, /* tags, then the payload, follow */
        ENVELOPE_FORMAT = 1,
};

/* The value as it will be stored: LZ4 where it is longer than compress_min and that saves at least
 * an eighth (then *lz4), else the value itself. Returns a new blob with the payload, or NULL when
 * memory is short. */
must_use struct blob *payload_pack(struct bytes value, uint64_t compress_min, bool *lz4);

/* Seals key, meta, tags (array of names, tag_count of them) and stored payload into out (one
 * reference of out->blob is the caller's). The 8 bytes before the envelope hold meta->version (0
 * while it has none). ERR_BUSY_MEMORY when memory is short, ERR_BAD_ARGUMENT for more than
 * LIMIT_TAGS tags or one that is empty or longer than LIMIT_TAG_BYTES. What cannot be is put
 * right: soft beyond hard, the length of a tombstone, LZ4 of nothing. */
must_use enum err envelope_seal(struct bytes key, const struct meta *meta, const struct bytes *tags,
                                struct bytes payload, struct entry *out);
/* A copy of e for the same key with another meta (version, replid, soft, hard, flags): same tags;
 * the payload too unless the new flags say tombstone or mark. */
must_use enum err envelope_reseal(struct bytes key, const struct entry *e, const struct meta *meta,
                                  struct entry *out);
/* Judges `blob` (ENVELOPE_PREFIX bytes of version, then an envelope) and fills out; takes over the
 * caller's reference on success, leaves it on failure. ERR_CORRUPT: another key's, damaged, or not
 * an envelope; ERR_NEWER_FORMAT. raw_len is judged against value_max. */
must_use enum err
envelope_open(struct bytes key, struct blob *blob, uint64_t value_max, struct entry *out);
/* Writes the version into the prefix; only for the blob's sole owner. */
void envelope_set_version(struct entry *e, uint64_t version);
/* Tag number i (0 .. tag_count-1): its 64-bit hash (tag_hash() of the key's namespace) and its
 * name. */
struct bytes entry_tag(const struct entry *e, unsigned i, uint64_t *hash);
/* What a tag is known by in every process: XXH3-64 with a fixed seed of "namespace:name". */
uint64_t tag_hash(struct bytes name_space, struct bytes name);
/* What a namespace is known by where keys' names are hashed: XXH3-64 of its text. */
uint64_t namespace_hash(struct bytes name_space);
/* The raw value of e: a reference of e's blob and the part of it, or a new blob (LZ4 undone).
 * *part lies inside the returned blob. NULL when memory is short or the block is damaged. */
must_use struct blob *entry_raw(const struct entry *e, struct bytes *part);
/* True when the raw value has to be made (LZ4), not just pointed at. */
static inline bool
entry_is_packed(const struct entry *e)
{
        return (e->meta.flags & ENTRY_LZ4) != 0;
}

#endif
