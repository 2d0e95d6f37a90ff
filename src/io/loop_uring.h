/* io/loop_uring.h: what the two files of the io_uring loop share: the ring, and entering the
 * kernel. */
#ifndef PN_IO_LOOP_URING_H
#define PN_IO_LOOP_URING_H

#include <liburing.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/loop_kind.h"
#include "io/loop_slots.h"

enum { RECV_GROUP = 1 };

struct send_vector;

struct uring_loop {
        struct loop loop;
        struct io_uring ring;
        struct io_uring_buf_ring *buffers;
        uint8_t *memory; /* of the receive buffers */
        unsigned buffer_count, buffer_bytes;
        int buffers_back; /* given back, not yet shown to the kernel */
        bool registered;  /* the ring's descriptor is */
        bool told;        /* an owner was called in this turn, or bytes were kept */
        struct slots slots;
        struct list dirty;  /* slots that want something */
        struct list hungry; /* the same, starved of receive buffers: served first */
        struct send_vector *free_vectors;
};

/* Makes the ring with the flags that are used, and proves that it works. */
must_use enum err
uring_ring_init(struct uring_loop *l, struct loop_config config, char why[static 256]);
void uring_ring_deinit(struct uring_loop *l);
/* Hands over what is queued and fetches what is done, without waiting; no system call when there is
 * neither. */
void uring_submit(struct uring_loop *l);
/* Waits for a completion. Nothing may be queued. */
void uring_sleep(struct uring_loop *l, uint64_t timeout_us);

#endif
