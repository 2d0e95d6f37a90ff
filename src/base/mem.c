/* mem: the allocator behind everything, and the count of what is in use. Owns: the one counter, and
 * the ceiling. Limit: the address space; mem_alloc() ends the process there, mem_try_alloc() says
 * NULL, at the ceiling already: values that wait, are unpacked or unsent have no budget each of
 * their own, but all together stop there. Not here: pools, budgets (their owners keep them). */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/must.h"

/* One counter for the process: the budget is the process's, and threads free what others
 * allocated. */
static _Atomic uint64_t in_use;
static _Atomic uint64_t ceiling = UINT64_MAX;

static void *
counted(void *p)
{
        if (p != NULL)
                atomic_fetch_add_explicit(&in_use, malloc_usable_size(p), memory_order_relaxed);
        return p;
}

void *
mem_try_alloc(size_t size)
{
        /* Threads may pass it together, by a block each. */
        if (size > MEM_SMALL) {
                uint64_t most = atomic_load_explicit(&ceiling, memory_order_relaxed);

                if (size > most || mem_in_use() > most - size)
                        return NULL;
        }
        return counted(malloc(size ? size : 1));
}

void *
mem_alloc(size_t size)
{
        void *p = counted(malloc(size ? size : 1));

        must(p != NULL);
        return p;
}

void *
mem_zalloc(size_t size)
{
        void *p = counted(calloc(1, size ? size : 1));

        must(p != NULL);
        return p;
}

void *
mem_realloc(void *p, size_t size)
{
        size_t before = p ? malloc_usable_size(p) : 0;

        p = realloc(p, size ? size : 1);
        must(p != NULL);
        atomic_fetch_sub_explicit(&in_use, before, memory_order_relaxed);
        return counted(p);
}

void
mem_free(void *p)
{
        if (p == NULL)
                return;
        atomic_fetch_sub_explicit(&in_use, malloc_usable_size(p), memory_order_relaxed);
        free(p);
}

size_t
mem_size(void *p)
{
        return malloc_usable_size(p) + sizeof(size_t);
}

uint64_t
mem_in_use(void)
{
        return atomic_load_explicit(&in_use, memory_order_relaxed);
}

/* glibc otherwise raises its threshold to the largest block ever freed (up to 32 MiB), and what is
 * freed below it stays in the heap. */
#define MAPPED_BYTES (256 * 1024)

void
mem_ceiling_set(uint64_t bytes)
{
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
        atomic_store_explicit(&ceiling, bytes, memory_order_relaxed);
}

bool
mem_is_short(void)
{
        return mem_in_use() > atomic_load_explicit(&ceiling, memory_order_relaxed);
}
