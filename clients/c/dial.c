/* clients/c/dial: makes a connection without waiting: one address of the server after the other.
 * Owns: the list of addresses while it lasts. Only the look-up of a name may block, as
 * getaddrinfo() does. Not here: what is said on the connection (link.c). */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inner.h"

void
dial_end(pn_client *c)
{
        if (c->found != NULL)
                freeaddrinfo(c->found);
        c->found = c->next_found = NULL;
}

static void
dial_close(pn_client *c)
{
        if (c->fd >= 0)
                close(c->fd);
        c->fd = -1;
}

static void
blame(pn_client *c, int error)
{
        const char *what = error == ECONNREFUSED || error == ENOENT ? "no server listens at"
                                                                    : "cannot connect to";

        client_says(c, PN_UNAVAILABLE, "%s %s: %s", what, c->shown, strerror(error));
}

/* True: connected, or being connected; false: errno. */
static bool
dial_one(pn_client *c, int family, const struct sockaddr *to, socklen_t len)
{
        int one = 1, error;

        c->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->fd < 0)
                return false;
        if (family != AF_UNIX)
                setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(c->fd, to, len) == 0 || errno == EINPROGRESS || errno == EINTR)
                return true;
        error = errno;
        dial_close(c);
        errno = error;
        return false;
}

/* The next address that does not fail at once. */
static bool
dial_next(pn_client *c, int error)
{
        while (c->next_found != NULL) {
                struct addrinfo *a = c->next_found;

                c->next_found = a->ai_next;
                if (dial_one(c, a->ai_family, a->ai_addr, a->ai_addrlen))
                        return true;
                error = errno;
        }
        dial_end(c);
        blame(c, error);
        return false;
}

static bool
dial_path(pn_client *c)
{
        struct sockaddr_un to = {.sun_family = AF_UNIX};

        memcpy(to.sun_path, c->address.path, sizeof to.sun_path);
        if (dial_one(c, AF_UNIX, (const struct sockaddr *)&to, sizeof to))
                return true;
        blame(c, errno);
        return false;
}

bool
dial_begin(pn_client *c)
{
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
        int e;

        if (c->address.kind == ADDRESS_NONE) {
                client_says(c, PN_UNAVAILABLE, "the socket that was given has ended");
                return false;
        }
        if (c->address.kind == ADDRESS_UNIX)
                return dial_path(c);
        e = getaddrinfo(c->address.host, c->address.port, &hints, &c->found);
        if (e == EAI_NONAME) {
                hints.ai_flags = AI_NUMERICSERV;
                e = getaddrinfo(c->address.host, c->address.port, &hints, &c->found);
        }
        if (e != 0) {
                c->found = NULL;
                client_says(c, PN_UNAVAILABLE, "cannot find the host %s: %s", c->address.host,
                            gai_strerror(e));
                return false;
        }
        c->next_found = c->found;
        return dial_next(c, 0);
}

int
dial_continue(pn_client *c)
{
        int error = 0;
        socklen_t len = sizeof error;
        struct sockaddr_storage peer;
        socklen_t peer_len = sizeof peer;

        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
                error = errno;
        if (error == 0) {
                /* No error and no peer: it is still under way. */
                if (getpeername(c->fd, (struct sockaddr *)&peer, &peer_len) != 0)
                        return 0;
                dial_end(c);
                return 1;
        }
        dial_close(c);
        return dial_next(c, error) ? 0 : -1;
}
