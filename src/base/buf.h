/* base/buf.h: a growing run of bytes that its holder owns. No limit of its own: whoever appends
 * what a stranger sent judges the size first. */
#ifndef PN_BASE_BUF_H
#define PN_BASE_BUF_H

#include "base/bytes.h"
#include "base/must.h"

struct buf { /* zero-initialised is empty; fields may be read by the owner */
        uint8_t *at;
        size_t len, cap;
};

void buf_free(struct buf *b);
/* Room for n more bytes at b->at + b->len; the caller adds what it wrote to b->len. Growth
 * doubles. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_append(struct buf *b, struct bytes bytes);
void buf_printf(struct buf *b, const char *format, ...) printf_like(2, 3);
/* Drops the first n bytes, moving the rest to the front. */
void buf_consume(struct buf *b, size_t n);

static inline struct bytes
buf_bytes(const struct buf *b)
{
        return (struct bytes){b->at, b->len};
}

#endif
