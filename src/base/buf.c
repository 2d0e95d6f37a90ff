/* buf: a growing run of bytes. Owns: its memory. Limit: none of its own; whoever appends what a
 * stranger sent judges the size first. Not here: sharing (blob.c), output to a socket (chain.c). */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

enum { BUF_FIRST = 64 };

void
buf_free(struct buf *b)
{
        mem_free(b->at);
        *b = (struct buf){0};
}

uint8_t *
buf_reserve(struct buf *b, size_t n)
{
        size_t need;

        must(!__builtin_add_overflow(b->len, n, &need));
        if (need > b->cap || b->at == NULL) {
                size_t cap = b->cap < BUF_FIRST ? BUF_FIRST : b->cap;

                while (cap < need)
                        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
                b->at = mem_realloc(b->at, cap);
                b->cap = cap;
        }
        return b->at + b->len;
}

void
buf_append(struct buf *b, struct bytes bytes)
{
        if (bytes.len == 0)
                return;
        memcpy(buf_reserve(b, bytes.len), bytes.at, bytes.len);
        b->len += bytes.len;
}

void
buf_printf(struct buf *b, const char *format, ...)
{
        va_list args;
        int n;

        buf_reserve(b, BUF_FIRST);
        va_start(args, format);
        n = vsnprintf((char *)b->at + b->len, b->cap - b->len, format, args);
        va_end(args);
        must(n >= 0);
        if ((size_t)n >= b->cap - b->len) {
                buf_reserve(b, (size_t)n + 1);
                va_start(args, format);
                n = vsnprintf((char *)b->at + b->len, b->cap - b->len, format, args);
                va_end(args);
        }
        b->len += (size_t)n;
}

void
buf_consume(struct buf *b, size_t n)
{
        must(n <= b->len);
        b->len -= n;
        if (n > 0 && b->len > 0)
                memmove(b->at, b->at + n, b->len);
}
