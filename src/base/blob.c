/* blob: counted, immutable blocks of bytes. Owns: each block, until its last reference goes. Limit:
 * UINT32_MAX bytes, and the memory there is: both say NULL. Not here: who may hold how many
 * bytes. */
#include "base/blob.h"

#include <stdatomic.h>

#include "base/mem.h"

struct blob *
blob_new(size_t len)
{
        struct blob *b;

        if (len > UINT32_MAX)
                return NULL;
        b = mem_try_alloc(sizeof *b + len);
        if (b == NULL)
                return NULL;
        atomic_init(&b->refs, 1);
        b->len = (uint32_t)len;
        return b;
}

struct blob *
blob_copy(struct bytes bytes)
{
        struct blob *b = blob_new(bytes.len);

        if (b != NULL && bytes.len > 0)
                memcpy(b->at, bytes.at, bytes.len);
        return b;
}

struct blob *
blob_ref(struct blob *b)
{
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
        return b;
}

void
blob_unref(struct blob *b)
{
        uint32_t before;

        if (b == NULL)
                return;
        /* Release: what this holder read is done. Acquire, for the last: so is what the others
         * read. */
        before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
        must(before > 0);
        if (before == 1)
                mem_free(b);
}

void
blob_shrink(struct blob *b, size_t len)
{
        must(len <= b->len);
        must(atomic_load_explicit(&b->refs, memory_order_relaxed) == 1);
        b->len = (uint32_t)len;
}
