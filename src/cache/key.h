/* cache/key.h: a key and what is derived from it. */
#ifndef PN_CACHE_KEY_H
#define PN_CACHE_KEY_H

#include "base/bytes.h"

struct key {               /* a borrowed view */
        struct bytes text; /* 1 .. LIMIT_KEY_BYTES bytes of any value */
        uint64_t hash;     /* XXH3-64 with the process' seed: L1, tables, home worker */
};

/* The seed is drawn once at start, so that a stranger cannot choose keys that collide. */
struct key key_of(struct bytes text, uint64_t seed);
/* The text before the first ':', empty if there is none. */
struct bytes key_namespace(struct bytes text);

enum { KEY_L2_NAME_MAX = 200 };
/* How the key stands inside the braces of its Redis names: itself, or, over 200 bytes or with '}'
 * in it, '#' and the 32 lower-case hex digits of its XXH3-128. A key that itself begins with '#'
 * stands hashed too, so that no two keys share a name. Returns its length. */
size_t key_l2_name(struct bytes text, uint8_t out[static KEY_L2_NAME_MAX]);

#endif
