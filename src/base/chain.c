/* chain: output that waits to be sent. Owns: its segments and one reference of each pinned blob. A
 * segment is a buffer that is filled at its end, or a part of a blob. Committed bytes never move,
 * so iovecs may lie with the kernel while more is appended. A drained chain keeps one ordinary
 * buffer, so that a busy connection does not allocate for each reply; chain_free() gives it back.
 * Limit: none of its own (the connection watches `bytes`). */
#include "base/chain.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"

struct chain_segment {
        struct chain_segment *next;
        struct blob *blob; /* NULL: a buffer */
        const uint8_t *at; /* the first byte still to send */
        size_t len;        /* how many from there */
        size_t room;       /* of a buffer: free bytes behind them */
        size_t cap;        /* of a buffer: its whole size */
        uint8_t buffer[];
};

enum { SEGMENT_BYTES = 16384, SEGMENT_ROOM = SEGMENT_BYTES - sizeof(struct chain_segment) };

static void
segment_free(struct chain_segment *s)
{
        blob_unref(s->blob);
        mem_free(s);
}

static struct chain_segment *
segment_push(struct chain *c, size_t cap)
{
        struct chain_segment *s = mem_alloc(sizeof *s + cap);

        *s = (struct chain_segment){.at = s->buffer, .room = cap, .cap = cap};
        if (c->tail != NULL)
                c->tail->next = s;
        else
                c->head = s;
        c->tail = s;
        return s;
}

/* The whole buffer is free again. */
static void
segment_rewind(struct chain_segment *s)
{
        s->at = s->buffer;
        s->len = 0;
        s->room = s->cap;
}

static uint8_t *
segment_end(struct chain_segment *s)
{
        return s->buffer + (s->cap - s->room);
}

void
chain_free(struct chain *c)
{
        while (c->head != NULL) {
                struct chain_segment *next = c->head->next;

                segment_free(c->head);
                c->head = next;
        }
        *c = (struct chain){0};
}

uint8_t *
chain_reserve(struct chain *c, size_t n)
{
        struct chain_segment *s = c->tail;

        if (s == NULL || s->blob != NULL || s->room < n)
                s = segment_push(c, n > SEGMENT_ROOM ? n : SEGMENT_ROOM);
        return segment_end(s);
}

void
chain_commit(struct chain *c, size_t n)
{
        if (n == 0)
                return;
        must(c->tail != NULL && c->tail->blob == NULL && n <= c->tail->room);
        c->tail->len += n;
        c->tail->room -= n;
        c->bytes += n;
}

void
chain_append(struct chain *c, struct bytes b)
{
        struct chain_segment *s = c->tail;

        if (s != NULL && s->blob == NULL && s->room > 0 && b.len > s->room) {
                size_t first = s->room;

                memcpy(segment_end(s), b.at, first);
                chain_commit(c, first);
                b = bytes_from(b, first);
        }
        if (b.len == 0)
                return;
        memcpy(chain_reserve(c, b.len), b.at, b.len);
        chain_commit(c, b.len);
}

void
chain_printf(struct chain *c, const char *format, ...)
{
        enum { FIRST_TRY = 256 };
        uint8_t *at = chain_reserve(c, FIRST_TRY);
        size_t room = c->tail->room;
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf((char *)at, room, format, args);
        va_end(args);
        must(n >= 0);
        if ((size_t)n >= room) {
                at = chain_reserve(c, (size_t)n + 1);
                va_start(args, format);
                n = vsnprintf((char *)at, (size_t)n + 1, format, args);
                va_end(args);
        }
        chain_commit(c, (size_t)n);
}

void
chain_append_blob(struct chain *c, struct blob *blob, struct bytes part)
{
        struct chain_segment *s;

        must(part.at >= blob->at && part.len <= blob->len &&
             (size_t)(part.at - blob->at) <= blob->len - part.len);
        if (part.len < LIMIT_PIN_MIN) {
                chain_append(c, part);
                return;
        }
        s = segment_push(c, 0);
        s->blob = blob_ref(blob);
        s->at = part.at;
        s->len = part.len;
        c->bytes += part.len;
}

void
chain_splice(struct chain *c, struct chain *from)
{
        struct chain_segment *only = from->head;

        if (from->bytes == 0)
                return;
        /* One small buffer is copied: c's own tail has room, and `from` keeps its buffer for the
         * next. */
        if (only == from->tail && only->blob == NULL && only->len < LIMIT_PIN_MIN) {
                chain_append(c, bytes_of(only->at, only->len));
                chain_sent(from, only->len);
                return;
        }
        if (c->tail != NULL)
                c->tail->next = from->head;
        else
                c->head = from->head;
        c->tail = from->tail;
        c->bytes += from->bytes;
        *from = (struct chain){0};
}

int
chain_iovecs(const struct chain *c, struct iovec *iov, int max)
{
        int n = 0;

        for (const struct chain_segment *s = c->head; s != NULL && n < max; s = s->next) {
                if (s->len > 0)
                        iov[n++] = (struct iovec){.iov_base = (void *)s->at, .iov_len = s->len};
        }
        return n;
}

void
chain_sent(struct chain *c, size_t n)
{
        must(n <= c->bytes);
        c->bytes -= n;
        while (c->head != NULL) {
                struct chain_segment *s = c->head;
                size_t part = n < s->len ? n : s->len;

                s->at += part;
                s->len -= part;
                n -= part;
                if (s->len > 0)
                        return;
                if (s == c->tail && s->blob == NULL && s->cap == SEGMENT_ROOM) {
                        segment_rewind(s);
                        return;
                }
                c->head = s->next;
                if (c->head == NULL)
                        c->tail = NULL;
                segment_free(s);
        }
}
