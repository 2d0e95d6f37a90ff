/* What is stored compressed, and what that costs. */
#include <criterion/criterion.h>
#include <lz4.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/prng.h"
#include "cache/entry.h"

static const struct bytes no_tags[1];

static void
fill_random(uint8_t *at, size_t len, uint64_t seed)
{
        struct prng prng = {seed};

        for (size_t i = 0; i < len; i++)
                at[i] = (uint8_t)prng_next(&prng);
}

static size_t
packed_len(struct bytes value, uint64_t compress_min, bool *lz4)
{
        struct blob *packed = payload_pack(value, compress_min, lz4);
        size_t len;

        cr_assert_not_null(packed);
        len = packed->len;
        if (!*lz4)
                cr_expect(bytes_equal(blob_bytes(packed), value));
        blob_unref(packed);
        return len;
}

Test(pack, begins_just_above_compress_min)
{
        static const uint8_t zeros[1025];
        bool lz4;

        cr_expect_eq(packed_len(bytes_of(zeros, 1024), 1024, &lz4), 1024);
        cr_expect_not(lz4);
        cr_expect_lt(packed_len(bytes_of(zeros, 1025), 1024, &lz4), 100);
        cr_expect(lz4);
        cr_expect_eq(packed_len(bytes_of(zeros, 0), 0, &lz4), 0);
        cr_expect_not(lz4);
}

/* From all zeros to all random: kept exactly where the whole block is small enough. */
Test(pack, keeps_what_saves_an_eighth)
{
        enum { LEN = 4001, ROOM = LEN - (LEN + 7) / 8 };
        static uint8_t value[LEN];
        static char block[2 * LEN];
        unsigned kept = 0, left = 0;

        for (size_t random = 0; random <= LEN; random += random < ROOM - 100 ? 7 : 1) {
                int whole;
                size_t len;
                bool lz4;

                memset(value, 0, LEN);
                fill_random(value, random, random);
                whole = LZ4_compress_default((char *)value, block, LEN, sizeof block);
                len = packed_len(bytes_of(value, LEN), 100, &lz4);
                cr_expect_eq(lz4, whole <= ROOM, "%zu random bytes make %d", random, whole);
                if (lz4)
                        cr_expect_leq(8 * len, 7 * LEN);
                lz4 ? kept++ : left++;
        }
        cr_expect_gt(kept, 100);
        cr_expect_gt(left, 50);
}

Test(pack, halves_json)
{
        enum { LEN = 100 * 1024 };
        struct prng prng = {3};
        char *json = mem_alloc(LEN);
        size_t at = 0;
        bool lz4;

        while (at < LEN - 100)
                at += (size_t)snprintf(
                        json + at, LEN - at,
                        "{\"id\":%u,\"name\":\"item %u\",\"score\":0.%u,\"tags\":[]},",
                        (unsigned)prng_below(&prng, 1000000), (unsigned)prng_below(&prng, 1000),
                        (unsigned)prng_below(&prng, 10000));
        memset(json + at, ' ', LEN - at);
        cr_expect_leq(packed_len(bytes_of(json, LEN), 1024, &lz4), LEN / 2);
        cr_expect(lz4);
        mem_free(json);
}

Test(pack, lets_random_bytes_grow_by_the_envelope_alone)
{
        enum { LEN = 300000 };
        uint8_t *value = mem_alloc(LEN);
        struct meta m = {.raw_len = LEN, .hard_us = 1};
        struct blob *packed, *raw;
        struct bytes part;
        struct entry e;
        bool lz4;

        fill_random(value, LEN, 9);
        packed = payload_pack(bytes_of(value, LEN), 1024, &lz4);
        cr_assert_not(lz4);
        cr_assert_eq(envelope_seal(bytes_str("k"), &m, no_tags, blob_bytes(packed), &e), OK);
        cr_expect_eq(e.blob->len, LEN + 8 + 104);
        raw = entry_raw(&e, &part);
        cr_expect_eq(raw, e.blob, "not copied");
        cr_expect(bytes_equal(part, bytes_of(value, LEN)));
        blob_unref(raw);
        entry_release(&e);
        blob_unref(packed);
        mem_free(value);
}
