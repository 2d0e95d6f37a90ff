/* listener: binding, and accepting connections for a worker. Owns: the socket, and the file of a
 * Unix socket while it is still the one that was made here. Limits: ACCEPTS_MAX connections a turn;
 * when descriptors run out it rests for PAUSE_US, as accepting would only fail again. Accepting is
 * a watch and accept4(), not a multishot accept: connections are rare here. Not here: how many
 * connections there may be, and what they say (server, client.c). */
#include "io/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define PAUSE_US    UINT64_C(100000)
#define COMPLAIN_US UINT64_C(10000000)

/* The kernel makes less of the backlog where net.core.somaxconn says so. */
enum { ACCEPTS_MAX = 256, BACKLOG = 65535, WHY_BYTES = 256, HOST_BYTES = 128, PORT_BYTES = 8 };

printf_like(2, 3) static enum err refuse(char *why, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(why, WHY_BYTES, format, args);
        va_end(args);
        return ERR_SYSTEM;
}

static bool
port_ok(const char *port)
{
        uint64_t n;

        return bytes_to_u64(bytes_str(port), &n) && n <= UINT16_MAX;
}

bool
address_split(const char *address, char host[static 128], char port[static 8], char why[static 256])
{
        const char *colon = strrchr(address, ':');
        const char *from = address, *to = colon;

        if (colon != NULL && address[0] == '[' && colon > address && colon[-1] == ']') {
                from++;
                to--;
        } else if (colon != NULL && memchr(address, ':', (size_t)(colon - address)) != NULL) {
                colon = NULL; /* an IPv6 address without brackets */
        }
        if (colon == NULL || to == from || to - from >= HOST_BYTES ||
            strlen(colon + 1) >= PORT_BYTES || !port_ok(colon + 1)) {
                snprintf(why, WHY_BYTES, "must be HOST:PORT or [IPV6]:PORT");
                return false;
        }
        memcpy(host, from, (size_t)(to - from));
        host[to - from] = '\0';
        memcpy(port, colon + 1, strlen(colon + 1) + 1);
        return true;
}

/* The address as it was bound: a name became a number, port 0 a real one. */
static void
name_tcp(struct listener *l)
{
        struct sockaddr_storage at;
        socklen_t len = sizeof at;
        char host[HOST_BYTES], port[PORT_BYTES];

        must(getsockname(l->fd, (struct sockaddr *)&at, &len) == 0);
        if (getnameinfo((struct sockaddr *)&at, len, host, sizeof host, port, sizeof port,
                        NI_NUMERICHOST | NI_NUMERICSERV) != 0)
                return;
        snprintf(l->name, sizeof l->name, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
        l->port = (uint16_t)strtoul(port, NULL, 10);
}

must_use enum err
listener_open_tcp(struct listener *l, const char *address, char why[static 256])
{
        struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                 .ai_socktype = SOCK_STREAM};
        struct addrinfo *found;
        char host[HOST_BYTES], port[PORT_BYTES], end[WHY_BYTES];
        int rc, one = 1;

        *l = (struct listener){.fd = -1};
        if (!address_split(address, host, port, end))
                return refuse(why, "cannot listen on '%s': %.100s", address, end);
        rc = getaddrinfo(host, port, &hints, &found);
        if (rc != 0)
                return refuse(why, "cannot listen on %s: %s", address, gai_strerror(rc));
        l->fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (l->fd >= 0)
                setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (l->fd < 0 || bind(l->fd, found->ai_addr, found->ai_addrlen) < 0 ||
            listen(l->fd, BACKLOG) < 0) {
                refuse(why, "cannot listen on %s: %s", address, strerror(errno));
                freeaddrinfo(found);
                if (l->fd >= 0)
                        close(l->fd);
                l->fd = -1;
                return ERR_SYSTEM;
        }
        freeaddrinfo(found);
        snprintf(l->name, sizeof l->name, "%.100s", address);
        name_tcp(l);
        return OK;
}

/* A socket file is left behind by whoever was killed. It goes if nobody answers on it. */
static enum err
remove_stale(const struct sockaddr_un *at, char *why)
{
        struct stat st;
        int fd, rc;

        if (lstat(at->sun_path, &st) < 0)
                return errno == ENOENT ? OK
                                       : refuse(why, "cannot listen on %s: %s", at->sun_path,
                                                strerror(errno));
        if (!S_ISSOCK(st.st_mode))
                return refuse(why, "cannot listen on %s: it is there and no socket", at->sun_path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return refuse(why, "socket: %s", strerror(errno));
        rc = connect(fd, (const struct sockaddr *)at, sizeof *at) == 0 ? 0 : errno;
        close(fd);
        if (rc != ECONNREFUSED && rc != ENOENT)
                return refuse(why, "cannot listen on %s: %s", at->sun_path,
                              rc == 0 || rc == EAGAIN ? "another server answers there"
                                                      : strerror(rc));
        if (unlink(at->sun_path) < 0 && errno != ENOENT)
                return refuse(why, "cannot remove %s, which nobody answers on: %s", at->sun_path,
                              strerror(errno));
        return OK;
}

must_use enum err
listener_open_unix(struct listener *l, const char *path, unsigned mode, char why[static 256])
{
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        struct stat st;
        mode_t mask;
        int rc;

        *l = (struct listener){.fd = -1, .is_unix = true};
        if (strlen(path) >= sizeof at.sun_path)
                return refuse(why,
                              "cannot listen on %.100s...: a socket's path has at most %zu bytes",
                              path, sizeof at.sun_path - 1);
        memcpy(at.sun_path, path, strlen(path));
        if (remove_stale(&at, why) != OK)
                return ERR_SYSTEM;
        l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (l->fd < 0)
                return refuse(why, "socket: %s", strerror(errno));
        /* Nobody else may connect before the mode is set. Threads do not run yet. */
        mask = umask(0177);
        rc = bind(l->fd, (struct sockaddr *)&at, sizeof at);
        umask(mask);
        if (rc < 0 || chmod(path, (mode_t)mode) < 0 || stat(path, &st) < 0 ||
            listen(l->fd, BACKLOG) < 0) {
                refuse(why, "cannot listen on %s: %s", path, strerror(errno));
                close(l->fd);
                l->fd = -1;
                return ERR_SYSTEM;
        }
        l->device = st.st_dev;
        l->inode = st.st_ino;
        snprintf(l->name, sizeof l->name, "%s", path);
        return OK;
}

static void
peer_name(const struct listener *l, const struct sockaddr_storage *from, char out[PEER_NAME_MAX])
{
        char host[INET6_ADDRSTRLEN] = "?";

        if (from->ss_family == AF_INET) {
                const struct sockaddr_in *in = (const struct sockaddr_in *)from;

                inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
                snprintf(out, PEER_NAME_MAX, "%s:%u", host, ntohs(in->sin_port));
        } else if (from->ss_family == AF_INET6) {
                const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;

                inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
                snprintf(out, PEER_NAME_MAX, "[%s]:%u", host, ntohs(in6->sin6_port));
        } else {
                snprintf(out, PEER_NAME_MAX, "%.60s:0", l->name);
        }
}

static void
out_of_descriptors(struct listener *l, int error)
{
        uint64_t held;

        if (log_every(&l->complaint, l->env->mono_us, COMPLAIN_US, &held))
                log_warn("no more connections on %s for now: %s (%llu such since the last line)",
                         l->name, strerror(error), (unsigned long long)held);
        timer_set(&l->env->timers, &l->timer, &l->task, l->env->mono_us + PAUSE_US);
}

static void
listener_ready(struct watch *w, unsigned events)
{
        struct listener *l = container_of(w, struct listener, watch);

        (void)events;
        for (int i = 0; i < ACCEPTS_MAX; i++) {
                struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
                socklen_t len = sizeof from;
                char peer[PEER_NAME_MAX];
                int one = 1;
                int fd = accept4(l->fd, (struct sockaddr *)&from, &len,
                                 SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd < 0 &&
                    (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
                        out_of_descriptors(l, errno);
                        return;
                }
                if (fd < 0 && errno != ECONNABORTED && errno != EINTR)
                        break;
                if (fd < 0)
                        continue;
                if (!l->is_unix)
                        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                peer_name(l, &from, peer);
                l->accepted(l, fd, peer);
        }
        watch_arm(l->loop, w, l->fd, POLLIN);
}

static void
listener_again(struct task *task, struct env *env)
{
        struct listener *l = container_of(task, struct listener, task);

        (void)env;
        watch_arm(l->loop, &l->watch, l->fd, POLLIN);
}

void
listener_start(struct listener *l, struct loop *loop, struct env *env,
               void (*accepted)(struct listener *l, int fd, const char *peer), void *holder)
{
        l->loop = loop;
        l->env = env;
        l->accepted = accepted;
        l->holder = holder;
        l->watch.ready = listener_ready;
        task_init(&l->task, listener_again);
        watch_arm(loop, &l->watch, l->fd, POLLIN);
}

void
listener_stop(struct listener *l)
{
        struct stat st;

        if (l->fd <= 0)
                return;
        if (l->env != NULL) {
                watch_disarm(&l->watch);
                timer_cancel(&l->env->timers, &l->timer);
                list_remove(&l->task.ready);
        }
        close(l->fd);
        l->fd = -1;
        /* Another server may have taken the place meanwhile: its file stays. */
        if (l->is_unix && stat(l->name, &st) == 0 && st.st_dev == l->device &&
            st.st_ino == l->inode)
                unlink(l->name);
}
