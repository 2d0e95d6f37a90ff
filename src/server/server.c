/* server: starts the crew, waits for signals, ends the crew. Owns: the crew and what it shares, the
 * configs. The main thread only waits and gives orders; it serves nobody.
 *
 * Order of the start: sockets first, so that a taken port is told before anything else happens;
 * then the workers, which set up loops and tiers (no tier need be there); then, all being well,
 * they serve. The end: not ready, no new connections, what arrived is answered, what waits for a
 * tier goes out; after [server] drain-timeout the status is 1 and the log says how many writes had
 * to stay. */
#include "server/server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "io/admin.h"
#include "io/clock_os.h"
#include "server/memory_limit.h"
#include "server/worker.h"

enum {
        STATUS_OK = 0,
        STATUS_FAILED = 1,
        LISTENERS_MAX = 2,
        PARTITIONS_A_THREAD = 4,
        DESCRIPTORS_SPARE = 64,
        DESCRIPTORS_A_THREAD = 16,
        DRAIN_POLL_MS = 10,
        MEMORY_BESIDE = 64 << 20,
        WHY_BYTES = 256,
};

struct server {
        struct crew crew;
        struct listener listeners[LISTENERS_MAX], admin_listener;
        struct admin *admin;
        struct admin_view view;
        struct config *config;
        const struct config_input *input;
        char why[WHY_BYTES], io_backend[16], io_reason[WHY_BYTES];
        unsigned started; /* workers */
        int signals;
        uint64_t drain_until_us; /* 0: not draining */
};

/* ---- the process ---- */

static enum err
signals_setup(struct server *s)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        /* Before any thread: they inherit it. */
        must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
        must(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
        s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return s->signals >= 0 ? OK : ERR_SYSTEM;
}

/* Descriptors for as many connections as were asked for. */
static void
descriptors_raise(const struct options *o)
{
        uint64_t need = option_number(o, O_connections_max) + DESCRIPTORS_SPARE +
                        option_number(o, O_threads) * DESCRIPTORS_A_THREAD;
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
                return;
        if (limit.rlim_max < need) {
                /* Only root may; where we are not, the limit is what there is. */
                struct rlimit higher = {need, need};

                if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
                        return;
                log_warn("the limit of open files is %llu: connections-max %llu cannot be reached",
                         (unsigned long long)limit.rlim_max,
                         (unsigned long long)option_number(o, O_connections_max));
                need = limit.rlim_max;
        }
        limit.rlim_cur = need;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                log_warn("cannot raise the limit of open files: %s", strerror(errno));
}

/* All that may be in use before large requests are refused: each option's own bound, and what the
 * process takes beside them. */
static void
memory_bound(const struct options *o)
{
        mem_ceiling_set(option_number(o, O_memory) + option_number(o, O_input_max) +
                        option_number(o, O_output_max) + option_number(o, O_queue_max) +
                        MEMORY_BESIDE);
}

static void
memory_judge(const struct config *c)
{
        uint64_t memory = option_number(&c->options, O_memory);
        char text[32], limit[32];

        if (memory > memory_limit_share(c->memory_limit))
                log_warn("memory is %s, more than 70 %% of the container's %s: buffers and "
                         "connections come on top, and the kernel may end the process",
                         size_format(memory, text), size_format(c->memory_limit, limit));
}

/* ---- sockets ---- */

static bool
is_none(const char *address)
{
        return strcmp(address, "none") == 0;
}

static bool
sockets_open(struct server *s)
{
        const struct options *o = &s->config->options;
        const char *path = option_text(o, O_unix_socket);
        struct facts *f = &s->crew.facts;
        struct listener *l;

        s->admin_listener.fd = -1;
        if (!is_none(option_text(o, O_listen))) {
                l = &s->listeners[s->crew.listener_count];
                if (listener_open_tcp(l, option_text(o, O_listen), s->why) != OK)
                        return false;
                s->crew.listener_count++;
                f->listen = l->name;
                f->tcp_port = l->port;
        }
        if (path[0] != '\0') {
                l = &s->listeners[s->crew.listener_count];
                if (listener_open_unix(l, path, (unsigned)option_number(o, O_unix_socket_mode),
                                       s->why) != OK)
                        return false;
                s->crew.listener_count++;
                f->unix_socket = l->name;
        }
        if (!is_none(option_text(o, O_admin))) {
                if (listener_open_tcp(&s->admin_listener, option_text(o, O_admin), s->why) != OK)
                        return false;
                f->admin = s->admin_listener.name;
        }
        return true;
}

static void
sockets_close(struct server *s)
{
        for (unsigned i = 0; i < s->crew.listener_count; i++)
                listener_stop(&s->listeners[i]);
        listener_stop(&s->admin_listener);
}

/* ---- the crew ---- */

static unsigned
partitions_for(unsigned threads)
{
        unsigned n = 1;

        while (threads > 1 && n < threads * PARTITIONS_A_THREAD)
                n *= 2;
        return n;
}

static void
crew_make(struct server *s)
{
        struct crew *crew = &s->crew;
        const struct options *o = &s->config->options;
        struct facts *f = &crew->facts;

        atomic_store(&crew->config, s->config);
        crew->count = (unsigned)option_number(o, O_threads);
        crew->listeners = s->listeners;
        crew->workers = mem_zalloc(crew->count * sizeof *crew->workers);
        crew->envs = mem_zalloc(crew->count * sizeof *crew->envs);
        crew->metrics = mem_zalloc(crew->count * sizeof *crew->metrics);
        for (unsigned i = 0; i < crew->count; i++) {
                crew->envs[i] = &crew->workers[i].env;
                crew->metrics[i] = &crew->workers[i].metrics;
        }
        must(getrandom(&crew->origin, sizeof crew->origin, 0) == sizeof crew->origin);
        must(getrandom(&crew->key_seed, sizeof crew->key_seed, 0) == sizeof crew->key_seed);
        crew->l1 = l1_create((struct l1_config){.bytes_max = option_number(o, O_memory),
                                                .partitions = partitions_for(crew->count)});
        gate_init(&crew->gate);
        f->config_file = s->config->file;
        f->started_mono_us = clock_mono_us();
        f->started_wall_us = clock_wall_us();
        f->pid = (uint32_t)getpid();
        f->io_backend = s->io_backend;
        f->io_backend_reason = s->io_reason;
}

static void
crew_free(struct server *s)
{
        struct crew *crew = &s->crew;

        for (unsigned i = 0; i < s->started; i++)
                worker_join(&crew->workers[i]);
        /* Its last jobs still tell their workers. */
        if (crew->offload != NULL)
                offload_destroy(crew->offload);
        for (unsigned i = 0; i < s->started; i++)
                worker_deinit(&crew->workers[i]);
        gate_deinit(&crew->gate);
        l1_destroy(crew->l1);
        mem_free(crew->workers);
        mem_free(crew->envs);
        mem_free(crew->metrics);
}

/* All workers set up, or none serves. */
static bool
crew_start(struct server *s)
{
        struct crew *crew = &s->crew;

        if (offload_create(crew->count, &crew->offload) != OK) {
                snprintf(s->why, sizeof s->why, "cannot start a thread");
                crew->cancelled = true;
                return false;
        }
        while (s->started < crew->count) {
                if (worker_start(&crew->workers[s->started], crew, s->started) != OK) {
                        snprintf(s->why, sizeof s->why, "cannot start a thread");
                        crew->cancelled = true;
                        break;
                }
                s->started++;
        }
        gate_await(&crew->gate, s->started);
        for (unsigned i = 0; i < s->started; i++) {
                if (!crew->workers[i].failed || crew->cancelled)
                        continue;
                snprintf(s->why, sizeof s->why, "%s", crew->workers[i].why);
                crew->cancelled = true;
        }
        if (crew->cancelled)
                return false;
        snprintf(s->io_backend, sizeof s->io_backend, "%s", loop_name(crew->workers[0].loop));
        snprintf(s->io_reason, sizeof s->io_reason, "%s", crew->workers[0].why);
        return true;
}

static void
say_hello(const struct server *s)
{
        const struct facts *f = &s->crew.facts;
        const struct options *o = &s->config->options;
        char l2[1024], l3[1024], memory[32];

        config_show(O_l2_url, o->value[O_l2_url], l2);
        config_show(O_l3_url, o->value[O_l3_url], l3);
        log_info("pannierd %s, pid %u, io %s (%s), threads %u, memory %s; clients on %s%s%s, admin "
                 "on %s; l2 %s, l3 %s",
                 PANNIER_VERSION, f->pid, f->io_backend, f->io_backend_reason, s->crew.count,
                 size_format(option_number(o, O_memory), memory), f->listen ? f->listen : "",
                 f->listen && f->unix_socket ? " and " : "", f->unix_socket ? f->unix_socket : "",
                 f->admin ? f->admin : "none", l2[0] ? l2 : "none", l3[0] ? l3 : "none");
}

/* ---- what signals ask for ---- */

static void
reload(struct server *s)
{
        struct config_input input = *s->input;
        char why[CONFIG_WHY_BYTES];
        struct config *next;

        input.quiet = true;
        next = config_read(&input, why);
        if (next != NULL && !config_adopt(next, s->config, why)) {
                config_free(next);
                next = NULL;
        }
        if (next == NULL) {
                log_error("reload: %s; everything stays as it was", why);
                return;
        }
        s->config = next;
        memory_bound(&next->options);
        atomic_store(&s->crew.config, next);
        for (unsigned i = 0; i < s->crew.count; i++)
                worker_adopt(&s->crew.workers[i]);
        log_info("reload: done");
}

static void
drain_begin(struct server *s)
{
        uint64_t timeout_us = option_number(&s->config->options, O_drain_timeout);

        atomic_store(&s->view.state, ADMIN_DRAINING);
        log_info("told to end: no more connections, finishing what is in flight");
        s->drain_until_us = clock_mono_us() + timeout_us;
        for (unsigned i = 0; i < s->crew.count; i++)
                worker_drain(&s->crew.workers[i]);
}

static bool
drained(const struct server *s)
{
        for (unsigned i = 0; i < s->crew.count; i++) {
                if (!atomic_load(&s->crew.workers[i].drained))
                        return false;
        }
        return true;
}

/* True: end now. */
static bool
signal_take(struct server *s, unsigned number)
{
        if (number == SIGHUP) {
                if (s->drain_until_us == 0)
                        reload(s);
                return false;
        }
        if (s->drain_until_us != 0)
                return true;
        drain_begin(s);
        return false;
}

/* Until the end; the exit status. */
static int
wait_for_signals(struct server *s)
{
        struct pollfd p = {.fd = s->signals, .events = POLLIN};
        struct signalfd_siginfo info;

        for (;;) {
                bool now = false;

                poll(&p, 1, s->drain_until_us != 0 ? DRAIN_POLL_MS : -1);
                while (!now && read(s->signals, &info, sizeof info) == (ssize_t)sizeof info)
                        now = signal_take(s, info.ssi_signo);
                if (s->drain_until_us == 0)
                        continue;
                if (drained(s))
                        return STATUS_OK;
                if (now || clock_mono_us() >= s->drain_until_us)
                        return STATUS_FAILED;
        }
}

static void
say_goodbye(const struct server *s, int status)
{
        struct metrics *const *all = s->crew.metrics;
        unsigned long long writes = metric_sum(all, s->crew.count, M_queue_l2) +
                                    metric_sum(all, s->crew.count, M_queue_l3);
        unsigned long long clients = metric_sum(all, s->crew.count, M_connections);

        if (status == STATUS_OK)
                log_info("everything is answered and written; the end");
        else
                log_error("the end, before all was done: %llu writes still wait for a tier and are "
                          "lost, %llu clients are cut off",
                          writes, clients);
}

static bool
admin_begin(struct server *s)
{
        const struct options *o = &s->config->options;

        if (s->admin_listener.fd < 0)
                return true;
        s->view = (struct admin_view){
                .metrics = s->crew.metrics,
                .workers = s->crew.count,
                .l1 = s->crew.l1,
                .has_l2 = option_text(o, O_l2_url)[0] != '\0',
                .has_l3 = option_text(o, O_l3_url)[0] != '\0',
                .io_backend = s->io_backend,
                .started_mono_us = s->crew.facts.started_mono_us,
        };
        return admin_start(&s->admin_listener, &s->view, &s->admin, s->why) == OK;
}

static int
serve(struct server *s)
{
        int status;

        say_hello(s);
        gate_open(&s->crew.gate, PHASE_SERVE);
        atomic_store(&s->view.state, ADMIN_READY);
        status = wait_for_signals(s);
        say_goodbye(s, status);
        for (unsigned i = 0; i < s->crew.count; i++)
                worker_stop(&s->crew.workers[i]);
        gate_await(&s->crew.gate, s->crew.count);
        return status;
}

int
server_run(struct config *config, const struct config_input *input)
{
        struct server *s = mem_zalloc(sizeof *s);
        int status = STATUS_FAILED;

        s->config = config;
        s->input = input;
        log_setup((enum log_level)option_number(&config->options, O_log_level));
        if (signals_setup(s) != OK)
                snprintf(s->why, sizeof s->why, "signalfd: %s", strerror(errno));
        else if (sockets_open(s)) {
                memory_judge(config);
                memory_bound(&config->options);
                descriptors_raise(&config->options);
                crew_make(s);
                if (crew_start(s) && admin_begin(s))
                        status = serve(s);
                else /* nobody serves: they only end */
                        s->crew.cancelled = true;
                admin_stop(s->admin);
                gate_open(&s->crew.gate, PHASE_END);
                gate_await(&s->crew.gate, s->started);
                gate_open(&s->crew.gate, PHASE_APART);
                crew_free(s);
        }
        if (s->why[0] != '\0')
                log_error("%s", s->why);
        sockets_close(s);
        if (s->signals >= 0)
                close(s->signals);
        config_free(s->config);
        mem_free(s);
        return status;
}
