/* The envelope: the vectors of proto/envelope.md, damage of every byte and length, resealing, and
 * what is compressed. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <lz4.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/prng.h"
#include "cache/entry.h"

enum { VALUE_MAX = 1 << 26 };

static const struct bytes no_tags[1];

static struct blob *
unhex(const json_t *object, const char *field)
{
        const char *text = json_string_value(json_object_get(object, field));
        struct blob *b;

        cr_assert_not_null(text, "no %s", field);
        b = blob_new(strlen(text) / 2);
        cr_assert_not_null(b);
        for (size_t i = 0; i < b->len; i++) {
                char pair[3] = {text[2 * i], text[2 * i + 1], 0};

                b->at[i] = (uint8_t)strtoul(pair, NULL, 16);
        }
        return b;
}

static uint64_t
wide(const json_t *object, const char *field)
{
        const json_t *value = json_object_get(object, field);

        cr_assert_not_null(value, "no %s", field);
        return json_is_string(value) ? strtoull(json_string_value(value), NULL, 10)
                                     : (uint64_t)json_integer_value(value);
}

static void
check_meta(const json_t *v, const struct meta *m, const char *name)
{
        cr_expect_eq(m->version, wide(v, "version"), "%s: version", name);
        cr_expect_eq(m->origin, wide(v, "origin"), "%s: origin", name);
        cr_expect_eq(m->replid, wide(v, "replid"), "%s: replid", name);
        cr_expect_eq(m->soft_us, wide(v, "soft"), "%s: soft", name);
        cr_expect_eq(m->hard_us, wide(v, "hard"), "%s: hard", name);
        cr_expect_eq(m->cost, wide(v, "cost"), "%s: cost", name);
        cr_expect_eq(m->compute_us, wide(v, "compute"), "%s: compute", name);
        cr_expect_eq(m->raw_len, wide(v, "raw_len"), "%s: raw length", name);
        cr_expect_eq(m->confidence, wide(v, "confidence"), "%s: confidence", name);
        cr_expect_eq(m->codec, wide(v, "codec"), "%s: codec", name);
        cr_expect_eq(m->flags, wide(v, "flags"), "%s: flags", name);
        cr_expect_eq(m->tag_count, json_array_size(json_object_get(v, "tags")), "%s: tags", name);
}

static void
check_value(const json_t *v, const struct entry *e, const char *name)
{
        struct blob *payload = unhex(v, "payload");
        struct bytes part;
        struct blob *raw = entry_raw(e, &part);

        cr_expect(bytes_equal(entry_payload(e), blob_bytes(payload)), "%s: payload", name);
        if (json_is_null(json_object_get(v, "value"))) {
                cr_expect_null(raw, "%s: a damaged block was decoded", name);
        } else {
                struct blob *value = unhex(v, "value");

                cr_assert_not_null(raw, "%s: not decoded", name);
                cr_expect(bytes_equal(part, blob_bytes(value)), "%s: value", name);
                blob_unref(value);
        }
        blob_unref(raw);
        blob_unref(payload);
}

/* Reads the tags into names (borrowed from e), checks them, and seals all of it again. */
static void
check_tags_and_seal(const json_t *v, const struct entry *e, struct bytes key, const char *name)
{
        struct bytes tags[LIMIT_TAGS];
        struct entry again;

        for (unsigned i = 0; i < e->meta.tag_count; i++) {
                const json_t *tag = json_array_get(json_object_get(v, "tags"), i);
                const char *want = json_string_value(json_array_get(tag, 0));
                const char *hash_text = json_string_value(json_array_get(tag, 1));
                uint64_t hash;

                tags[i] = entry_tag(e, i, &hash);
                cr_assert_eq(tags[i].len * 2, strlen(want), "%s: tag %u", name, i);
                for (size_t at = 0; at < tags[i].len; at++) {
                        char pair[3] = {want[2 * at], want[2 * at + 1], 0};

                        cr_expect_eq(tags[i].at[at], strtoul(pair, NULL, 16));
                }
                cr_expect_eq(hash, strtoull(hash_text, NULL, 10), "%s: hash %u", name, i);
        }
        if (!json_is_true(json_object_get(v, "seal")))
                return;
        cr_assert_eq(envelope_seal(key, &e->meta, tags, entry_payload(e), &again), OK, "%s", name);
        cr_expect(bytes_equal(blob_bytes(again.blob), blob_bytes(e->blob)), "%s: sealed again",
                  name);
        cr_expect_eq(again.payload_at, e->payload_at);
        cr_expect_eq(again.tags_len, e->tags_len);
        entry_release(&again);
}

static void
check_vector(const json_t *v)
{
        const char *name = json_string_value(json_object_get(v, "name"));
        const char *result = json_string_value(json_object_get(v, "result"));
        struct blob *key = unhex(v, "key"), *stored = unhex(v, "stored");
        struct entry e;
        enum err err = envelope_open(blob_bytes(key), stored, wide(v, "value_max"), &e);

        if (strcmp(result, "ok") == 0) {
                cr_assert_eq(err, OK, "%s: refused", name);
                check_meta(v, &e.meta, name);
                check_value(v, &e, name);
                check_tags_and_seal(v, &e, blob_bytes(key), name);
                cr_expect_eq(get_u64(stored->at + ENVELOPE_PREFIX + ENVELOPE_AT_NAMESPACE),
                             wide(v, "namespace"), "%s: namespace", name);
                entry_release(&e);
        } else {
                cr_expect_eq(err, strcmp(result, "newer") == 0 ? ERR_NEWER_FORMAT : ERR_CORRUPT,
                             "%s: %d", name, err);
                cr_expect_eq(atomic_load(&stored->refs), 1);
                if (err != OK)
                        blob_unref(stored);
        }
        blob_unref(key);
}

Test(envelope, agrees_with_the_vectors)
{
        FILE *file = fopen(ENVELOPE_VECTORS, "r");
        size_t count = 0, valid = 0;
        json_error_t error;
        json_t *v;

        cr_assert_not_null(file, "cannot open %s", ENVELOPE_VECTORS);
        while ((v = json_loadf(file, JSON_DISABLE_EOF_CHECK, &error)) != NULL) {
                check_vector(v);
                count++;
                valid += strcmp(json_string_value(json_object_get(v, "result")), "ok") == 0;
                json_decref(v);
        }
        cr_expect(feof(file));
        fclose(file);
        cr_expect_geq(valid, 30);
        cr_expect_geq(count - valid, 50);
}

static struct entry
sealed(const char *key, const struct meta *meta, struct bytes payload)
{
        const struct bytes tags[] = {bytes_str("first"), bytes_str("second tag")};
        struct entry e;

        cr_assert_eq(envelope_seal(bytes_str(key), meta, tags, payload, &e), OK);
        return e;
}

static const struct meta plain = {
        .version = 77, .origin = 5, .soft_us = 100, .hard_us = 200, .raw_len = 11, .tag_count = 2};

Test(envelope, notices_each_changed_bit)
{
        struct entry e = sealed("ns:key", &plain, bytes_str("some values")), got;

        for (size_t bit = 0; bit < 8u * e.blob->len; bit++) {
                struct blob *b = blob_copy(blob_bytes(e.blob));
                enum err err;

                b->at[bit / 8] ^= (uint8_t)(1u << bit % 8);
                err = envelope_open(bytes_str("ns:key"), b, VALUE_MAX, &got);
                if (bit < 8 * ENVELOPE_PREFIX)
                        cr_expect_eq(err, OK, "the version is not sealed: bit %zu", bit);
                else
                        cr_expect(err == ERR_CORRUPT || err == ERR_NEWER_FORMAT, "bit %zu", bit);
                blob_unref(b);
        }
        entry_release(&e);
}

Test(envelope, notices_each_missing_or_added_byte)
{
        struct entry e = sealed("ns:key", &plain, bytes_str("some values")), got;

        for (size_t len = 0; len <= e.blob->len + 3u; len++) {
                struct blob *b = blob_new(len);

                memset(b->at, 0, len);
                memcpy(b->at, e.blob->at, len < e.blob->len ? len : e.blob->len);
                cr_expect_eq(envelope_open(bytes_str("ns:key"), b, VALUE_MAX, &got),
                             len == e.blob->len ? OK : ERR_CORRUPT, "length %zu", len);
                blob_unref(b);
        }
        entry_release(&e);
}

static void
checksum_fit(struct bytes key, struct blob *b)
{
        size_t len = b->len - ENVELOPE_PREFIX;
        struct blob *all = blob_new(key.len + len);

        put_u64(b->at + ENVELOPE_PREFIX + ENVELOPE_AT_CHECKSUM, 0);
        memcpy(all->at, key.at, key.len);
        memcpy(all->at + key.len, b->at + ENVELOPE_PREFIX, len);
        put_u64(b->at + ENVELOPE_PREFIX + ENVELOPE_AT_CHECKSUM, hash64(blob_bytes(all), 0));
        blob_unref(all);
}

/* Whatever numbers stand there, even with a checksum that a stranger made to fit. */
Test(envelope, survives_random_headers_with_a_right_checksum)
{
        struct prng prng = {20};
        struct bytes key = bytes_str("ns:key");
        struct entry e = sealed("ns:key", &plain, bytes_str("some values")), got;
        unsigned opened = 0;

        for (int turn = 0; turn < 20000; turn++) {
                struct blob *b = blob_copy(blob_bytes(e.blob));
                uint8_t *h = b->at + ENVELOPE_PREFIX;

                for (uint64_t n = prng_below(&prng, 3) + 1; n > 0; n--) {
                        size_t at = prng_below(&prng, b->len - ENVELOPE_PREFIX);

                        if (at >= ENVELOPE_HEADER || at < ENVELOPE_AT_MAC)
                                h[at] = (uint8_t)prng_next(&prng);
                }
                checksum_fit(key, b);
                if (envelope_open(key, b, VALUE_MAX, &got) == OK) {
                        struct bytes part;
                        uint64_t hash;

                        opened++;
                        for (unsigned i = 0; i < got.meta.tag_count; i++)
                                (void)entry_tag(&got, i, &hash);
                        blob_unref(entry_raw(&got, &part));
                }
                blob_unref(b);
        }
        cr_expect_gt(opened, 100, "the checksum here is wrong: %u", opened);
        entry_release(&e);
}

Test(envelope, judges_the_value_by_the_readers_limit)
{
        struct entry e = sealed("k", &plain, bytes_str("some values")), got;

        cr_expect_eq(envelope_open(bytes_str("k"), e.blob, 10, &got), ERR_CORRUPT);
        cr_expect_eq(envelope_open(bytes_str("k"), e.blob, 11, &got), OK);
        entry_release(&e);
}

Test(envelope, refuses_tags_beyond_the_limits)
{
        static const uint8_t text[LIMIT_TAG_BYTES + 1] = "x";
        struct bytes tags[LIMIT_TAGS + 1];
        struct meta m = {.hard_us = 1, .tag_count = LIMIT_TAGS + 1};
        struct entry e;

        for (unsigned i = 0; i < LIMIT_TAGS + 1; i++)
                tags[i] = bytes_of(text, LIMIT_TAG_BYTES);
        cr_expect_eq(envelope_seal(bytes_str("k"), &m, tags, bytes_str(""), &e), ERR_BAD_ARGUMENT);
        m.tag_count = LIMIT_TAGS;
        cr_assert_eq(envelope_seal(bytes_str("k"), &m, tags, bytes_str(""), &e), OK);
        entry_release(&e);
        tags[63].len = LIMIT_TAG_BYTES + 1;
        cr_expect_eq(envelope_seal(bytes_str("k"), &m, tags, bytes_str(""), &e), ERR_BAD_ARGUMENT);
        tags[63].len = 0;
        cr_expect_eq(envelope_seal(bytes_str("k"), &m, tags, bytes_str(""), &e), ERR_BAD_ARGUMENT);
}

Test(envelope, puts_right_what_cannot_be)
{
        struct meta m = {.flags = ENTRY_TOMBSTONE | ENTRY_LZ4 | ENTRY_NEGATIVE,
                         .raw_len = 9,
                         .soft_us = 8,
                         .hard_us = 7};
        struct entry e;

        cr_assert_eq(envelope_seal(bytes_str("k"), &m, no_tags, bytes_str("left over"), &e), OK);
        cr_expect_eq(e.meta.flags, ENTRY_TOMBSTONE);
        cr_expect_eq(e.meta.raw_len, 0);
        cr_expect_eq(e.meta.soft_us, 7);
        cr_expect_eq(e.payload_len, 0);
        cr_expect_eq(envelope_open(bytes_str("k"), e.blob, VALUE_MAX, &e), OK);
        entry_release(&e);
}

Test(envelope, gives_the_version_its_place)
{
        struct entry e = sealed("k", &plain, bytes_str("some values"));

        cr_expect_eq(get_u64(e.blob->at), 77);
        envelope_set_version(&e, 78);
        cr_expect_eq(e.meta.version, 78);
        cr_expect_eq(get_u64(e.blob->at), 78);
        cr_expect_eq(envelope_open(bytes_str("k"), e.blob, VALUE_MAX, &e), OK);
        cr_expect_eq(e.meta.version, 78);
        entry_release(&e);
}

static struct entry
resealed(const struct entry *e, const struct meta *m)
{
        struct entry made, opened;

        cr_assert_eq(envelope_reseal(bytes_str("k"), e, m, &made), OK);
        cr_assert_eq(envelope_open(bytes_str("k"), blob_ref(made.blob), VALUE_MAX, &opened), OK);
        cr_expect_eq(memcmp(&made.meta, &opened.meta, sizeof made.meta), 0);
        entry_release(&opened);
        return made;
}

Test(envelope, reseals_with_another_meta)
{
        struct entry e = sealed("k", &plain, bytes_str("some values")), again;
        struct meta m = e.meta;
        uint64_t hash;

        m.version = 90;
        m.replid = 91;
        m.soft_us = m.hard_us = 92;
        m.raw_len = 4; /* the payload's, whatever the caller left here */
        again = resealed(&e, &m);
        cr_expect_eq(again.meta.version, 90);
        cr_expect_eq(again.meta.replid, 91);
        cr_expect_eq(again.meta.hard_us, 92);
        cr_expect_eq(again.meta.raw_len, 11);
        cr_expect(bytes_equal(entry_payload(&again), bytes_str("some values")));
        cr_expect(bytes_equal(entry_tag(&again, 1, &hash), bytes_str("second tag")));
        entry_release(&again);

        m.flags = ENTRY_TOMBSTONE;
        again = resealed(&e, &m);
        cr_expect_eq(again.payload_len, 0);
        cr_expect(bytes_equal(entry_tag(&again, 0, &hash), bytes_str("first")));
        entry_release(&again);

        m.flags = ENTRY_IN_L3;
        m.raw_len = 11;
        again = resealed(&e, &m);
        cr_expect_eq(again.payload_len, 0);
        cr_expect_eq(again.meta.raw_len, 11);
        entry_release(&again);
        entry_release(&e);
}

Test(envelope, reseals_what_is_packed)
{
        static uint8_t zeros[10000];
        struct bytes value = bytes_of(zeros, sizeof zeros), part;
        bool lz4;
        struct blob *packed = payload_pack(value, 100, &lz4), *raw;
        struct meta m = {.flags = ENTRY_LZ4, .raw_len = sizeof zeros, .hard_us = 10};
        struct entry e, again;

        cr_assert(lz4);
        cr_assert_eq(envelope_seal(bytes_str("k"), &m, no_tags, blob_bytes(packed), &e), OK);
        m.flags = 0; /* a caller that copies only what it means to change */
        again = resealed(&e, &m);
        cr_expect(entry_is_packed(&again));
        raw = entry_raw(&again, &part);
        cr_assert_not_null(raw);
        cr_expect(bytes_equal(part, value));
        blob_unref(raw);
        entry_release(&again);
        m.flags = ENTRY_IN_L3;
        again = resealed(&e, &m);
        cr_expect_not(entry_is_packed(&again));
        entry_release(&again);
        entry_release(&e);
        blob_unref(packed);
}
