/* loop_uring_ring: making and proving the ring of loop_uring.c, and entering the kernel. The proof
 * is the real thing, as kernels with backports and sandboxes promise more than they hold: the real
 * flags, the real buffer ring, and one multishot receive on a socket pair that must bring a byte,
 * stay armed, and end with the peer. Owns: ring, buffer ring, receive buffers (mapped, not from the
 * heap: they are touched as they are used). Not here: what completions mean. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "io/loop_uring.h"

/* Newer than the headers of liburing 2.3. */
#define FEAT_NO_IOWAIT  (1U << 17)
#define ENTER_NO_IOWAIT (1U << 7)

enum {
        WHY_BYTES = 256,
        RING_ENTRIES = 1024,
        CQ_FACTOR = 8,
        RECV_BUFFERS = 512,
        RECV_BUFFER_BYTES = 8192,
        KERNEL_MAJOR = 6,
        KERNEL_MINOR = 1,
        PROBE_WAIT_S = 2,
};

static size_t
buffer_ring_bytes(const struct uring_loop *l)
{
        return l->buffer_count * sizeof(struct io_uring_buf);
}

static bool
kernel_is_new_enough(char release[static 65])
{
        struct utsname u;
        int major = 0, minor = 0;

        if (uname(&u) < 0)
                return false;
        snprintf(release, 65, "%s", u.release);
        if (sscanf(u.release, "%d.%d", &major, &minor) != 2)
                return false;
        return major > KERNEL_MAJOR || (major == KERNEL_MAJOR && minor >= KERNEL_MINOR);
}

static void *
map_pages(size_t bytes)
{
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return p == MAP_FAILED ? NULL : p;
}

static bool
buffers_init(struct uring_loop *l, char *why)
{
        struct io_uring_buf_reg reg = {.ring_entries = l->buffer_count, .bgid = RECV_GROUP};
        int rc;

        l->buffers = map_pages(buffer_ring_bytes(l));
        l->memory = map_pages((size_t)l->buffer_count * l->buffer_bytes);
        if (l->buffers == NULL || l->memory == NULL) {
                snprintf(why, WHY_BYTES, "no memory for receive buffers");
                return false;
        }
        reg.ring_addr = (uint64_t)(uintptr_t)l->buffers;
        rc = io_uring_register_buf_ring(&l->ring, &reg, 0);
        if (rc < 0) {
                snprintf(why, WHY_BYTES, "io_uring_register_buf_ring: %s", strerror(-rc));
                return false;
        }
        io_uring_buf_ring_init(l->buffers);
        for (unsigned i = 0; i < l->buffer_count; i++)
                io_uring_buf_ring_add(l->buffers, l->memory + (size_t)i * l->buffer_bytes,
                                      l->buffer_bytes, (unsigned short)i,
                                      io_uring_buf_ring_mask(l->buffer_count), (int)i);
        io_uring_buf_ring_advance(l->buffers, (int)l->buffer_count);
        return true;
}

/* One completion of the probe: its result, its flags; the buffer goes back. -ETIME when none
 * comes. */
static int
probe_next(struct uring_loop *l, unsigned *flags)
{
        struct __kernel_timespec ts = {.tv_sec = PROBE_WAIT_S};
        struct io_uring_cqe *cqe;
        int rc;

        do
                rc = io_uring_submit_and_wait_timeout(&l->ring, &cqe, 1, &ts, NULL);
        while (rc == -EINTR);
        if (rc < 0)
                return rc;
        if (io_uring_peek_cqe(&l->ring, &cqe) != 0)
                return -ETIME;
        rc = cqe->res;
        *flags = cqe->flags;
        if (cqe->flags & IORING_CQE_F_BUFFER) {
                unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

                io_uring_buf_ring_add(l->buffers, l->memory + (size_t)id * l->buffer_bytes,
                                      l->buffer_bytes, (unsigned short)id,
                                      io_uring_buf_ring_mask(l->buffer_count), 0);
                io_uring_buf_ring_advance(l->buffers, 1);
        }
        io_uring_cqe_seen(&l->ring, cqe);
        return rc;
}

static bool
probe(struct uring_loop *l, char *why)
{
        struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);
        const unsigned both = IORING_CQE_F_BUFFER | IORING_CQE_F_MORE;
        unsigned flags = 0;
        int pair[2], got;
        bool works = false;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
                snprintf(why, WHY_BYTES, "socketpair: %s", strerror(errno));
                return false;
        }
        io_uring_prep_recv_multishot(sqe, pair[0], NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = RECV_GROUP;
        if (write(pair[1], "?", 1) == 1) {
                got = probe_next(l, &flags);
                works = got == 1 && (flags & both) == both;
        }
        close(pair[1]);
        if (works) {
                got = probe_next(l, &flags);
                works = got == 0 && !(flags & IORING_CQE_F_MORE);
        }
        close(pair[0]);
        if (!works)
                snprintf(why, WHY_BYTES,
                         "io_uring is there, but a multishot receive does not work");
        return works;
}

must_use enum err
uring_ring_init(struct uring_loop *l, struct loop_config config, char why[static 256])
{
        unsigned entries = config.ring_entries ? config.ring_entries : RING_ENTRIES;
        struct io_uring_params params = {
                .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                         IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                         IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
                .cq_entries = config.ring_entries ? entries * 2 : entries * CQ_FACTOR,
        };
        char release[65] = "";
        int rc;

        l->buffer_count = config.recv_buffers ? config.recv_buffers : RECV_BUFFERS;
        l->buffer_bytes = config.recv_buffer_bytes ? config.recv_buffer_bytes : RECV_BUFFER_BYTES;
        if (!kernel_is_new_enough(release)) {
                snprintf(why, WHY_BYTES, "io_uring needs Linux %d.%d, this is %s", KERNEL_MAJOR,
                         KERNEL_MINOR, release);
                return ERR_SYSTEM;
        }
        rc = io_uring_queue_init_params(entries, &l->ring, &params);
        if (rc < 0) {
                snprintf(why, WHY_BYTES, "io_uring_setup: %s%s", strerror(-rc),
                         rc == -EPERM || rc == -ENOSYS
                                 ? " (blocked here, as container runtimes do by default)"
                         : rc == -ENOMEM ? " (try a higher limit of locked memory)"
                                         : "");
                return ERR_SYSTEM;
        }
        l->registered =
                io_uring_register_ring_fd(&l->ring) == 1; /* a little faster; works without */
        if (!buffers_init(l, why) || !probe(l, why)) {
                uring_ring_deinit(l);
                return ERR_SYSTEM;
        }
        snprintf(why, WHY_BYTES, "Linux %s allows it", release);
        return OK;
}

void
uring_ring_deinit(struct uring_loop *l)
{
        /* The ring first: until it is gone the kernel may write to the buffers. */
        io_uring_queue_exit(&l->ring);
        if (l->buffers != NULL)
                munmap(l->buffers, buffer_ring_bytes(l));
        if (l->memory != NULL)
                munmap(l->memory, (size_t)l->buffer_count * l->buffer_bytes);
}

void
uring_submit(struct uring_loop *l)
{
        unsigned flags = __atomic_load_n(l->ring.sq.kflags, __ATOMIC_RELAXED);
        int rc;

        if (io_uring_sq_ready(&l->ring) == 0 &&
            !(flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
                return;
        rc = io_uring_submit_and_get_events(&l->ring);
        /* -EBUSY: completions overflowed; -EAGAIN: memory is short just now. Reap, then again: what
         * is queued stays queued. */
        must(rc >= 0 || rc == -EBUSY || rc == -EAGAIN || rc == -EINTR || rc == -EBADR);
}

void
uring_sleep(struct uring_loop *l, uint64_t timeout_us)
{
        struct __kernel_timespec ts = {.tv_sec = (long long)(timeout_us / 1000000),
                                       .tv_nsec = (long long)(timeout_us % 1000000) * 1000};
        struct io_uring_getevents_arg arg = {
                .ts = timeout_us == UINT64_MAX ? 0 : (uint64_t)(uintptr_t)&ts,
        };
        unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
        int rc;

        if (l->registered)
                flags |= IORING_ENTER_REGISTERED_RING;
        /* Else an idle server looks like one that waits for a disk all the time. */
        if (l->ring.features & FEAT_NO_IOWAIT)
                flags |= ENTER_NO_IOWAIT;
        rc = io_uring_enter2((unsigned)l->ring.enter_ring_fd, 0, 1, flags, (void *)&arg,
                             sizeof arg);
        must(rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN ||
             rc == -EBADR);
}
