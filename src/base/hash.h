/* base/hash.h: XXH3 of bytes (xxHash). */
#ifndef PN_BASE_HASH_H
#define PN_BASE_HASH_H

#include "base/bytes.h"

uint64_t hash64(struct bytes b, uint64_t seed);
/* XXH3-128, seed 0, in the canonical (big-endian) byte order. */
void hash128(struct bytes b, uint8_t out[16]);

#endif
