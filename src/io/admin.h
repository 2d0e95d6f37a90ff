/* io/admin.h: /metrics, /healthz and /readyz over HTTP, on a thread of its own. No keys, no
 * values. */
#ifndef PN_IO_ADMIN_H
#define PN_IO_ADMIN_H

#include "base/buf.h"
#include "base/metrics.h"
#include "cache/l1.h"
#include "io/listener.h"

enum admin_state { ADMIN_STARTING, ADMIN_READY, ADMIN_DRAINING };

struct admin_view { /* what it shows; the maker's, until admin_stop() */
        struct metrics *const *metrics;
        unsigned workers;
        const struct l1 *l1;
        _Atomic int state; /* enum admin_state */
        bool has_l2, has_l3;
        const char *io_backend;
        uint64_t started_mono_us;
};

struct admin;

/* On the socket of l, which it takes over. */
must_use enum err admin_start(struct listener *l, const struct admin_view *view, struct admin **out,
                              char why[static 256]);
void admin_stop(struct admin *a); /* NULL is fine */

/* For tests: what is answered to a path ("strict": with ?strict); the status. */
unsigned
admin_answer(const struct admin_view *view, const char *path, bool strict, struct buf *out);

#endif
