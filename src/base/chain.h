/* base/chain.h: output that waits to be sent: small things copied, large values held by reference.
 * A chain is a list of segments; the io layer turns its front into iovecs and tells what was sent.
 * Owns: its segments' buffers and one reference for every pinned blob. */
#ifndef PN_BASE_CHAIN_H
#define PN_BASE_CHAIN_H

#include <sys/uio.h>

#include "base/blob.h"
#include "base/bytes.h"
#include "base/must.h"

struct chain_segment;

struct chain { /* zero-initialised is empty; fields belong to chain.c, `bytes` may be read */
        struct chain_segment *head, *tail;
        size_t bytes; /* still to send */
};

void chain_free(struct chain *c);
/* Room for n bytes at the end; chain_commit() says how many were written (<= n). */
uint8_t *chain_reserve(struct chain *c, size_t n);
void chain_commit(struct chain *c, size_t n);
void chain_append(struct chain *c, struct bytes b);
void chain_printf(struct chain *c, const char *format, ...) printf_like(2, 3);
/* Appends `part`, which lies inside blob; values below 4 KiB (LIMIT_PIN_MIN) are copied, others
 * pinned. */
void chain_append_blob(struct chain *c, struct blob *blob, struct bytes part);
/* Moves everything of `from` behind c; from is empty afterwards. */
void chain_splice(struct chain *c, struct chain *from);
/* The front as at most `max` iovecs; returns how many. They stay valid until chain_sent():
 * appending never moves bytes that were committed. */
int chain_iovecs(const struct chain *c, struct iovec *iov, int max);
void chain_sent(struct chain *c, size_t n);

#endif
