/* envelope: sealing and opening what L2 and L3 store (proto/envelope.md), and LZ4 of long values.
 * Owns: nothing; new blobs belong to the caller. Limits: LIMIT_TAGS, LIMIT_TAG_BYTES, the caller's
 * value_max; every number is judged before it is obeyed. Not here: the MAC (its room is sealed as
 * zeros and not looked at), expiry, who wins. */
/* Inlined, for a streaming state on the stack needs its size, and the library's may differ. */
#define XXH_INLINE_ALL
#include <lz4.h>
#include <stdatomic.h>
#include <xxhash.h>

#include "base/hash.h"
#include "base/limits.h"
#include "cache/entry.h"

static const uint8_t magic[4] = {'P', 'N', 'E', 'V'};

/* "Pannier1" read as a big-endian number: part of the format, never changes. */
static const uint64_t tag_seed = 0x50616e6e69657231;

enum {
        FLAGS_KNOWN = ENTRY_TOMBSTONE | ENTRY_IN_L3 | ENTRY_LZ4 | ENTRY_NEGATIVE,
        TAG_FIXED = 10,        /* of every tag: its hash and its length */
        LZ4_EXPANDS_MAX = 255, /* no LZ4 block says more than so many bytes with one */
};

uint64_t
namespace_hash(struct bytes name_space)
{
        return hash64(name_space, 0);
}

uint64_t
tag_hash(struct bytes name_space, struct bytes name)
{
        XXH3_state_t state;

        XXH3_INITSTATE(&state);
        XXH3_64bits_reset_withSeed(&state, tag_seed);
        XXH3_64bits_update(&state, name_space.at, name_space.len);
        XXH3_64bits_update(&state, ":", 1);
        XXH3_64bits_update(&state, name.at, name.len);
        return XXH3_64bits_digest(&state);
}

/* Over the key too, so that another key's value is damage; the checksum itself counts as zeros. */
static uint64_t
checksum(struct bytes key, struct bytes envelope)
{
        static const uint8_t zeros[8];
        struct bytes rest = bytes_from(envelope, ENVELOPE_HEADER);
        XXH3_state_t state;

        XXH3_INITSTATE(&state);
        XXH3_64bits_reset(&state);
        XXH3_64bits_update(&state, key.at, key.len);
        XXH3_64bits_update(&state, envelope.at, ENVELOPE_AT_CHECKSUM);
        XXH3_64bits_update(&state, zeros, sizeof zeros);
        XXH3_64bits_update(&state, rest.at, rest.len);
        return XXH3_64bits_digest(&state);
}

struct blob *
payload_pack(struct bytes value, uint64_t compress_min, bool *lz4)
{
        *lz4 = false;
        if (value.len > compress_min && value.len <= LZ4_MAX_INPUT_SIZE) {
                size_t room = value.len - (value.len + 7) / 8; /* else it saves too little */
                struct blob *packed = blob_new(room);
                int len;

                if (packed == NULL)
                        return NULL;
                len = LZ4_compress_default((const char *)value.at, (char *)packed->at,
                                           (int)value.len, (int)room);
                if (len > 0) {
                        blob_shrink(packed, (size_t)len);
                        *lz4 = true;
                        return packed;
                }
                blob_unref(packed);
        }
        return blob_copy(value);
}

/* What does not belong together is put right where a caller may leave it: a tombstone has no
 * length, what has no payload is not packed, nothing is fresh after it is gone. */
static struct meta
meta_normal(const struct meta *given, unsigned tag_count)
{
        struct meta m = *given;

        if (m.flags & ENTRY_TOMBSTONE) {
                m.flags = ENTRY_TOMBSTONE;
                m.raw_len = 0;
        }
        if (!entry_is_value(&m))
                m.flags &= (uint8_t)~ENTRY_LZ4;
        if (m.soft_us > m.hard_us)
                m.soft_us = m.hard_us;
        m.tag_count = (uint16_t)tag_count;
        return m;
}

static void
header_put(uint8_t *h, struct bytes key, const struct meta *m, uint32_t tags_len,
           uint32_t payload_len)
{
        memset(h, 0, ENVELOPE_HEADER);
        memcpy(h + ENVELOPE_AT_MAGIC, magic, sizeof magic);
        h[ENVELOPE_AT_FORMAT] = ENVELOPE_FORMAT;
        h[ENVELOPE_AT_FLAGS] = m->flags;
        h[ENVELOPE_AT_CODEC] = m->codec;
        put_u32(h + ENVELOPE_AT_RAW_LEN, m->raw_len);
        put_u32(h + ENVELOPE_AT_COMPUTE, m->compute_us);
        put_u64(h + ENVELOPE_AT_NAMESPACE, namespace_hash(key_namespace(key)));
        put_u64(h + ENVELOPE_AT_ORIGIN, m->origin);
        put_u64(h + ENVELOPE_AT_REPLID, m->replid);
        put_u64(h + ENVELOPE_AT_SOFT, m->soft_us);
        put_u64(h + ENVELOPE_AT_HARD, m->hard_us);
        put_u64(h + ENVELOPE_AT_COST, m->cost);
        put_u16(h + ENVELOPE_AT_CONFIDENCE, m->confidence);
        put_u16(h + ENVELOPE_AT_TAG_COUNT, m->tag_count);
        put_u32(h + ENVELOPE_AT_TAGS_LEN, tags_len);
        put_u32(h + ENVELOPE_AT_PAYLOAD_LEN, payload_len);
}

static void
header_get(const uint8_t *h, struct meta *m)
{
        *m = (struct meta){
                .origin = get_u64(h + ENVELOPE_AT_ORIGIN),
                .replid = get_u64(h + ENVELOPE_AT_REPLID),
                .soft_us = get_u64(h + ENVELOPE_AT_SOFT),
                .hard_us = get_u64(h + ENVELOPE_AT_HARD),
                .cost = get_u64(h + ENVELOPE_AT_COST),
                .compute_us = get_u32(h + ENVELOPE_AT_COMPUTE),
                .raw_len = get_u32(h + ENVELOPE_AT_RAW_LEN),
                .confidence = get_u16(h + ENVELOPE_AT_CONFIDENCE),
                .codec = h[ENVELOPE_AT_CODEC],
                .flags = h[ENVELOPE_AT_FLAGS],
                .tag_count = get_u16(h + ENVELOPE_AT_TAG_COUNT),
        };
}

/* All hashes, then all lengths, then all names: every number stands aligned. */
static void
tags_put(uint8_t *at, struct bytes name_space, const struct bytes *tags, unsigned count)
{
        uint8_t *name = at + (size_t)TAG_FIXED * count;

        for (unsigned i = 0; i < count; i++) {
                put_u64(at + 8 * (size_t)i, tag_hash(name_space, tags[i]));
                put_u16(at + 8 * (size_t)count + 2 * (size_t)i, (uint16_t)tags[i].len);
                memcpy(name, tags[i].at, tags[i].len);
                name += tags[i].len;
        }
}

/* A new blob with all but tags, payload and checksum; the caller adds them, in that order. */
static enum err
seal_begin(struct bytes key, const struct meta *meta, size_t tags_len, size_t payload_len,
           struct entry *out)
{
        size_t len = ENVELOPE_PREFIX + ENVELOPE_HEADER + tags_len + payload_len;
        struct blob *b = blob_new(len);

        if (b == NULL)
                return ERR_BUSY_MEMORY;
        put_u64(b->at, meta->version);
        header_put(b->at + ENVELOPE_PREFIX, key, meta, (uint32_t)tags_len, (uint32_t)payload_len);
        *out = (struct entry){
                .meta = *meta,
                .blob = b,
                .tags_at = ENVELOPE_PREFIX + ENVELOPE_HEADER,
                .tags_len = (uint32_t)tags_len,
                .payload_at = (uint32_t)(len - payload_len),
                .payload_len = (uint32_t)payload_len,
        };
        return OK;
}

static void
seal_end(struct bytes key, struct entry *e)
{
        uint8_t *h = e->blob->at + ENVELOPE_PREFIX;

        put_u64(h + ENVELOPE_AT_CHECKSUM,
                checksum(key, bytes_from(blob_bytes(e->blob), ENVELOPE_PREFIX)));
}

enum err
envelope_seal(struct bytes key, const struct meta *meta, const struct bytes *tags,
              struct bytes payload, struct entry *out)
{
        struct meta m = meta_normal(meta, meta->tag_count);
        size_t tags_len = (size_t)TAG_FIXED * m.tag_count;
        enum err err;

        if (m.tag_count > LIMIT_TAGS)
                return ERR_BAD_ARGUMENT;
        for (unsigned i = 0; i < m.tag_count; i++) {
                if (tags[i].len == 0 || tags[i].len > LIMIT_TAG_BYTES)
                        return ERR_BAD_ARGUMENT;
                tags_len += tags[i].len;
        }
        if (!entry_is_value(&m))
                payload.len = 0;
        else if (m.flags & ENTRY_LZ4)
                must(payload.len < m.raw_len);
        else
                must(payload.len == m.raw_len);
        err = seal_begin(key, &m, tags_len, payload.len, out);
        if (err != OK)
                return err;
        tags_put(out->blob->at + out->tags_at, key_namespace(key), tags, m.tag_count);
        if (payload.len > 0)
                memcpy(out->blob->at + out->payload_at, payload.at, payload.len);
        seal_end(key, out);
        return OK;
}

enum err
envelope_reseal(struct bytes key, const struct entry *e, const struct meta *meta, struct entry *out)
{
        struct meta m = meta_normal(meta, e->meta.tag_count);
        uint32_t payload_len = 0;
        enum err err;

        if (entry_is_value(&m)) {
                must(entry_is_value(&e->meta));
                m.raw_len = e->meta.raw_len;
                m.flags = (uint8_t)((m.flags & ~ENTRY_LZ4) | (e->meta.flags & ENTRY_LZ4));
                payload_len = e->payload_len;
        }
        err = seal_begin(key, &m, e->tags_len, payload_len, out);
        if (err != OK)
                return err;
        memcpy(out->blob->at + out->tags_at, e->blob->at + e->tags_at, e->tags_len);
        if (payload_len > 0)
                memcpy(out->blob->at + out->payload_at, e->blob->at + e->payload_at, payload_len);
        seal_end(key, out);
        return OK;
}

static bool
payload_judge(const struct meta *m, uint32_t payload_len, uint64_t value_max)
{
        if ((m->flags & ~FLAGS_KNOWN) != 0 || m->soft_us > m->hard_us || m->raw_len > value_max)
                return false;
        if (m->flags & ENTRY_TOMBSTONE)
                return m->flags == ENTRY_TOMBSTONE && m->raw_len == 0 && payload_len == 0;
        if (m->flags & ENTRY_IN_L3)
                return (m->flags & ENTRY_LZ4) == 0 && payload_len == 0;
        if (m->flags & ENTRY_LZ4)
                return payload_len < m->raw_len &&
                       m->raw_len <= (uint64_t)payload_len * LZ4_EXPANDS_MAX;
        return payload_len == m->raw_len;
}

static bool
tags_judge(struct bytes name_space, struct bytes block, unsigned count)
{
        size_t name = (size_t)TAG_FIXED * count;

        if (count > LIMIT_TAGS || block.len < name)
                return false;
        for (unsigned i = 0; i < count; i++) {
                size_t len = get_u16(block.at + 8 * (size_t)count + 2 * (size_t)i);

                if (len == 0 || len > LIMIT_TAG_BYTES || len > block.len - name)
                        return false;
                if (get_u64(block.at + 8 * (size_t)i) !=
                    tag_hash(name_space, bytes_of(block.at + name, len)))
                        return false;
                name += len;
        }
        return name == block.len;
}

enum err
envelope_open(struct bytes key, struct blob *blob, uint64_t value_max, struct entry *out)
{
        struct bytes envelope = bytes_from(blob_bytes(blob), ENVELOPE_PREFIX);
        const uint8_t *h = envelope.at;
        uint32_t tags_len, payload_len;
        struct bytes tags;
        struct meta m;

        if (envelope.len <= ENVELOPE_AT_FORMAT || memcmp(h, magic, sizeof magic) != 0)
                return ERR_CORRUPT;
        if (h[ENVELOPE_AT_FORMAT] > ENVELOPE_FORMAT)
                return ERR_NEWER_FORMAT;
        if (h[ENVELOPE_AT_FORMAT] != ENVELOPE_FORMAT || envelope.len < ENVELOPE_HEADER)
                return ERR_CORRUPT;
        tags_len = get_u32(h + ENVELOPE_AT_TAGS_LEN);
        payload_len = get_u32(h + ENVELOPE_AT_PAYLOAD_LEN);
        if ((uint64_t)ENVELOPE_HEADER + tags_len + payload_len != envelope.len)
                return ERR_CORRUPT;
        header_get(h, &m);
        m.version = get_u64(blob->at);
        if (h[ENVELOPE_AT_ZERO] != 0 || get_u32(h + ENVELOPE_AT_ZERO2) != 0 ||
            !payload_judge(&m, payload_len, value_max))
                return ERR_CORRUPT;
        if (get_u64(h + ENVELOPE_AT_CHECKSUM) != checksum(key, envelope))
                return ERR_CORRUPT;
        tags = (struct bytes){h + ENVELOPE_HEADER, tags_len};
        if (get_u64(h + ENVELOPE_AT_NAMESPACE) != namespace_hash(key_namespace(key)) ||
            !tags_judge(key_namespace(key), tags, m.tag_count))
                return ERR_CORRUPT;
        *out = (struct entry){
                .meta = m,
                .blob = blob,
                .tags_at = ENVELOPE_PREFIX + ENVELOPE_HEADER,
                .tags_len = tags_len,
                .payload_at = ENVELOPE_PREFIX + ENVELOPE_HEADER + tags_len,
                .payload_len = payload_len,
        };
        return OK;
}

void
envelope_set_version(struct entry *e, uint64_t version)
{
        must(atomic_load_explicit(&e->blob->refs, memory_order_relaxed) == 1);
        e->meta.version = version;
        put_u64(e->blob->at, version);
}

struct bytes
entry_tag(const struct entry *e, unsigned i, uint64_t *hash)
{
        const uint8_t *at = e->blob->at + e->tags_at;
        const uint8_t *lens = at + 8 * (size_t)e->meta.tag_count;
        const uint8_t *name = at + (size_t)TAG_FIXED * e->meta.tag_count;

        must(i < e->meta.tag_count);
        for (unsigned before = 0; before < i; before++)
                name += get_u16(lens + 2 * (size_t)before);
        *hash = get_u64(at + 8 * (size_t)i);
        return (struct bytes){name, get_u16(lens + 2 * (size_t)i)};
}

struct blob *
entry_raw(const struct entry *e, struct bytes *part)
{
        struct blob *raw;
        int len;

        if (!entry_is_packed(e)) {
                *part = entry_payload(e);
                return blob_ref(e->blob);
        }
        raw = blob_new(e->meta.raw_len);
        if (raw == NULL)
                return NULL;
        len = LZ4_decompress_safe((const char *)e->blob->at + e->payload_at, (char *)raw->at,
                                  (int)e->payload_len, (int)e->meta.raw_len);
        if (len < 0 || (uint32_t)len != e->meta.raw_len) {
                blob_unref(raw);
                return NULL;
        }
        *part = blob_bytes(raw);
        return raw;
}
