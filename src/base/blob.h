/* base/blob.h: an immutable, counted block of bytes: a value on its way between tiers, L1 and
 * replies. Written by whoever made it until it is shared; then read only. The count is atomic: L1
 * is reachable from any worker. */
#ifndef PN_BASE_BLOB_H
#define PN_BASE_BLOB_H

#include "base/bytes.h"
#include "base/must.h"

struct blob {
        _Atomic uint32_t refs;
        uint32_t len; /* at most 4 GiB - 1; the largest value is far below */
        uint8_t at[];
};

/* One reference, contents undefined; NULL when memory is short (the size may be a stranger's). */
must_use struct blob *blob_new(size_t len);
must_use struct blob *blob_copy(struct bytes b); /* likewise */
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is fine */
/* Keeps the first len bytes; only for the sole owner, before sharing. */
void blob_shrink(struct blob *b, size_t len);

static inline struct bytes
blob_bytes(const struct blob *b)
{
        return (struct bytes){b->at, b->len};
}

#endif
