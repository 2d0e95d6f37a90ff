/* admin: the pages of the admin port. Owns: the HTTP daemon (libmicrohttpd) with its thread and the
 * listening socket. Reads only what any thread may read: metrics, L1's sums, the state. Limits:
 * CONNECTIONS_MAX at a time, TIMEOUT_S idle. Not here: anything that changes something or tells of
 * keys: a probe or Prometheus may come from any address. */
#include "io/admin.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/clock_os.h"

enum { CONNECTIONS_MAX = 64, TIMEOUT_S = 10, WHY_BYTES = 256, LABEL_BYTES = 64 };

struct admin {
        struct MHD_Daemon *daemon;
        const struct admin_view *view;
};

/* ---- /metrics ---- */

static void
head(struct buf *out, const char *family, const char *kind, const char *help)
{
        const char *end = strcmp(kind, "counter") == 0 ? "_total" : "";

        buf_printf(out, "# HELP pannier_%s%s %s\n# TYPE pannier_%s%s %s\n", family, end, help,
                   family, end, kind);
}

static void
gauge(struct buf *out, const char *family, const char *help, uint64_t value)
{
        head(out, family, "gauge", help);
        buf_printf(out, "pannier_%s %" PRIu64 "\n", family, value);
}

static void
rows(const struct admin_view *view, struct buf *out)
{
        const char *family = "";

        for (int i = 0; i < METRIC_COUNT; i++) {
                const struct metric_row *row = &metric_rows[i];
                bool counter = row->kind == METRIC_COUNTER;
                char labels[LABEL_BYTES] = "";

                if (strcmp(family, row->family) != 0) {
                        family = row->family;
                        head(out, family, counter ? "counter" : "gauge", row->help);
                }
                if (row->labels[0] != '\0')
                        snprintf(labels, sizeof labels, "{%s}", row->labels);
                buf_printf(out, "pannier_%s%s%s %" PRIu64 "\n", family, counter ? "_total" : "",
                           labels, metric_sum(view->metrics, view->workers, (enum metric)i));
        }
}

static uint64_t
resident_bytes(void)
{
        uint64_t size, resident = 0;
        FILE *f = fopen("/proc/self/statm", "re");

        if (f == NULL)
                return 0;
        if (fscanf(f, "%" SCNu64 " %" SCNu64, &size, &resident) != 2)
                resident = 0;
        fclose(f);
        return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void
metrics_page(const struct admin_view *view, struct buf *out)
{
        struct l1_stats l1;

        rows(view, out);
        l1_stats(view->l1, &l1);
        gauge(out, "l1_entries", "Entries in L1", l1.entries);
        gauge(out, "l1_bytes", "Memory of L1: keys, values and what they need", l1.bytes);
        head(out, "l1_evicted", "counter", "Entries that left L1 to make room");
        buf_printf(out, "pannier_l1_evicted_total %" PRIu64 "\n", l1.evicted);
        head(out, "l1_expired", "counter", "Entries that left L1 because their time was over");
        buf_printf(out, "pannier_l1_expired_total %" PRIu64 "\n", l1.expired);
        gauge(out, "resident_memory_bytes", "Memory of the process as the kernel counts it",
              resident_bytes());
        gauge(out, "uptime_seconds", "Since the start",
              (clock_mono_us() - view->started_mono_us) / 1000000);
        head(out, "build_info", "gauge", "Version and I/O backend; always 1");
        buf_printf(out, "pannier_build_info{version=\"%s\",io=\"%s\"} 1\n", PANNIER_VERSION,
                   view->io_backend);
}

/* ---- /readyz ---- */

static bool
tier_fails(const struct admin_view *view, enum metric up)
{
        return metric_sum(view->metrics, view->workers, up) < view->workers;
}

static unsigned
ready_page(const struct admin_view *view, bool strict, struct buf *out)
{
        bool l2 = view->has_l2 && tier_fails(view, M_l2_up);
        bool l3 = view->has_l3 && tier_fails(view, M_l3_up);
        int state = atomic_load(&view->state);

        if (state != ADMIN_READY) {
                buf_printf(out, "%s\n", state == ADMIN_STARTING ? "starting" : "draining");
                return MHD_HTTP_SERVICE_UNAVAILABLE;
        }
        if (!l2 && !l3) {
                buf_printf(out, "ok\n");
                return MHD_HTTP_OK;
        }
        buf_printf(out, "degraded: %s%s%s\n", l2 ? "l2 down" : "", l2 && l3 ? ", " : "",
                   l3 ? "l3 down" : "");
        return strict ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK;
}

unsigned
admin_answer(const struct admin_view *view, const char *path, bool strict, struct buf *out)
{
        if (strcmp(path, "/metrics") == 0) {
                metrics_page(view, out);
                return MHD_HTTP_OK;
        }
        if (strcmp(path, "/healthz") == 0) {
                buf_printf(out, "ok\n");
                return MHD_HTTP_OK;
        }
        if (strcmp(path, "/readyz") == 0)
                return ready_page(view, strict, out);
        buf_printf(out, "There are /metrics, /healthz and /readyz here.\n");
        return MHD_HTTP_NOT_FOUND;
}

/* ---- HTTP ---- */

static enum MHD_Result
respond(struct MHD_Connection *c, unsigned status, struct buf *page, const char *allow)
{
        struct MHD_Response *r =
                MHD_create_response_from_buffer(page->len, page->at, MHD_RESPMEM_MUST_COPY);
        enum MHD_Result done;

        if (r == NULL)
                return MHD_NO;
        MHD_add_response_header(r, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
        MHD_add_response_header(r, "Cache-Control", "no-store");
        if (allow != NULL)
                MHD_add_response_header(r, "Allow", allow);
        done = MHD_queue_response(c, status, r);
        MHD_destroy_response(r);
        return done;
}

static enum MHD_Result
find_strict(void *found, enum MHD_ValueKind kind, const char *key, const char *value)
{
        (void)kind;
        (void)value;
        if (key != NULL && strcmp(key, "strict") == 0)
                *(bool *)found = true;
        return MHD_YES;
}

static enum MHD_Result
answer(void *closure, struct MHD_Connection *c, const char *url, const char *method,
       const char *version, const char *upload, size_t *upload_size, void **own)
{
        static const int begun = 1;
        const struct admin *a = closure;
        struct buf page = {0};
        const char *allow = NULL;
        enum MHD_Result done;
        unsigned status;

        (void)version;
        (void)upload;
        /* The first call only tells that a request begins. */
        if (*own == NULL) {
                *own = (void *)&begun;
                return MHD_YES;
        }
        if (*upload_size > 0) {
                *upload_size = 0;
                return MHD_YES;
        }
        if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
                status = MHD_HTTP_METHOD_NOT_ALLOWED;
                allow = "GET, HEAD";
                buf_printf(&page, "Only GET and HEAD are understood here.\n");
        } else {
                bool strict = false;

                MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, find_strict, &strict);
                status = admin_answer(a->view, url, strict, &page);
        }
        done = respond(c, status, &page, allow);
        buf_free(&page);
        return done;
}

must_use enum err
admin_start(struct listener *l, const struct admin_view *view, struct admin **out,
            char why[static 256])
{
        struct admin *a = mem_zalloc(sizeof *a);

        a->view = view;
        a->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL, 0, NULL, NULL,
                                     answer, a, MHD_OPTION_LISTEN_SOCKET, l->fd,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S,
                                     MHD_OPTION_END);
        if (a->daemon == NULL) {
                mem_free(a);
                snprintf(why, WHY_BYTES, "cannot serve HTTP on %s", l->name);
                return ERR_SYSTEM;
        }
        l->fd = -1; /* the daemon closes it */
        *out = a;
        return OK;
}

void
admin_stop(struct admin *a)
{
        if (a == NULL)
                return;
        MHD_stop_daemon(a->daemon);
        mem_free(a);
}
