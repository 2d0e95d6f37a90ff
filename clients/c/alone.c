/* clients/c/alone: what libpannier puts in the place of base/mem.c and base/must.c, so that inside
 * another program it keeps no variables of its own: no count of bytes, no log. Owns nothing. A few
 * KiB of frame that cannot be had end the process, as a bug does; values, whose size others choose,
 * are asked for with mem_try_alloc() or malloc(), and refused. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"

void
must_fail(const char *what, const char *file, int line)
{
        fprintf(stderr, "libpannier: %s:%d: this must hold: %s\n", file, line, what);
        abort();
}

void *
mem_try_alloc(size_t size)
{
        return malloc(size != 0 ? size : 1);
}

static void *
certain(void *p)
{
        must(p != NULL);
        return p;
}

void *
mem_alloc(size_t size)
{
        return certain(mem_try_alloc(size));
}

void *
mem_zalloc(size_t size)
{
        return certain(calloc(1, size != 0 ? size : 1));
}

void *
mem_realloc(void *p, size_t size)
{
        return certain(realloc(p, size != 0 ? size : 1));
}

void
mem_free(void *p)
{
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
        return 0;
}
