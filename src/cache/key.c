/* key: what is derived from a key's bytes. Owns and borrows nothing beyond the call. Limit: names
 * in Redis of KEY_L2_NAME_MAX bytes. Not here: whether a key is legal (its reader judges that). */
#include "cache/key.h"

#include "base/hash.h"

struct key
key_of(struct bytes text, uint64_t seed)
{
        return (struct key){.text = text, .hash = hash64(text, seed)};
}

struct bytes
key_namespace(struct bytes text)
{
        const uint8_t *colon = text.len > 0 ? memchr(text.at, ':', text.len) : NULL;

        return (struct bytes){text.at, colon != NULL ? (size_t)(colon - text.at) : 0};
}

size_t
key_l2_name(struct bytes text, uint8_t out[static KEY_L2_NAME_MAX])
{
        static const char digits[] = "0123456789abcdef";
        uint8_t hash[16];

        if (text.len > 0 && text.len <= KEY_L2_NAME_MAX && text.at[0] != '#' &&
            memchr(text.at, '}', text.len) == NULL) {
                memcpy(out, text.at, text.len);
                return text.len;
        }
        hash128(text, hash);
        out[0] = '#';
        for (size_t i = 0; i < sizeof hash; i++) {
                out[1 + 2 * i] = (uint8_t)digits[hash[i] >> 4];
                out[2 + 2 * i] = (uint8_t)digits[hash[i] & 15];
        }
        return 1 + 2 * sizeof hash;
}
