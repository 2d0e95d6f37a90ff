/* hash: XXH3, inlined from xxHash's header so that short keys cost no call. Owns nothing. */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t
hash64(struct bytes b, uint64_t seed)
{
        return XXH3_64bits_withSeed(b.at, b.len, seed);
}

void
hash128(struct bytes b, uint8_t out[16])
{
        XXH128_canonical_t canonical;

        XXH128_canonicalFromHash(&canonical, XXH3_128bits(b.at, b.len));
        memcpy(out, canonical.digest, sizeof canonical.digest);
}
