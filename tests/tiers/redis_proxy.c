/* redis_proxy: a thread between the tier and Redis that can lose a connection as a vanished host
 * does: no byte comes, no end either. Limit: PAIRS_MAX connections in its life. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "redis_harness.h"

enum { PAIRS_MAX = 64 };

static struct {
        int near, far;
        bool dead;
} pairs[PAIRS_MAX];
static unsigned pair_count;
static int listener;
static pthread_t thread;
static atomic_bool deaden, stop;

static void
pair_accept(void)
{
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server.port)};
        int near = accept(listener, NULL, NULL), far = socket(AF_INET, SOCK_STREAM, 0);

        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        must(near >= 0 && far >= 0 && pair_count < PAIRS_MAX);
        must(connect(far, (struct sockaddr *)&at, sizeof at) == 0);
        pairs[pair_count].near = near;
        pairs[pair_count].far = far;
        pairs[pair_count++].dead = false;
}

/* False: it has ended. */
static bool
pass(int from, int to)
{
        char bytes[65536];
        ssize_t n = read(from, bytes, sizeof bytes);

        for (ssize_t done = 0; done < n;) {
                ssize_t w = write(to, bytes + done, (size_t)(n - done));

                if (w <= 0)
                        return false;
                done += w;
        }
        return n > 0;
}

static void *
proxy_run(void *nothing)
{
        while (!stop) {
                struct pollfd fds[1 + 2 * PAIRS_MAX] = {{.fd = listener, .events = POLLIN}};

                if (atomic_exchange(&deaden, false)) {
                        for (unsigned i = 0; i < pair_count; i++)
                                pairs[i].dead = true;
                }
                for (unsigned i = 0; i < pair_count; i++) {
                        fds[1 + 2 * i] =
                                (struct pollfd){pairs[i].dead ? -1 : pairs[i].near, POLLIN, 0};
                        fds[2 + 2 * i] =
                                (struct pollfd){pairs[i].dead ? -1 : pairs[i].far, POLLIN, 0};
                }
                poll(fds, 1 + 2 * pair_count, 10);
                for (unsigned i = 0; i < pair_count; i++) {
                        bool fine = true;

                        if (fds[1 + 2 * i].revents != 0)
                                fine = pass(pairs[i].near, pairs[i].far);
                        if (fine && fds[2 + 2 * i].revents != 0)
                                fine = pass(pairs[i].far, pairs[i].near);
                        if (!fine) {
                                pairs[i].dead = true;
                                shutdown(pairs[i].near, SHUT_RDWR);
                                shutdown(pairs[i].far, SHUT_RDWR);
                        }
                }
                if (fds[0].revents != 0)
                        pair_accept();
        }
        return nothing;
}

unsigned
proxy_start(void)
{
        struct sockaddr_in at = {.sin_family = AF_INET};
        socklen_t len = sizeof at;

        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        listener = socket(AF_INET, SOCK_STREAM, 0);
        must(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 16) == 0);
        must(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
        stop = deaden = false;
        must(pthread_create(&thread, NULL, proxy_run, NULL) == 0);
        return ntohs(at.sin_port);
}

void
proxy_deaden(void)
{
        deaden = true;
        while (deaden)
                poll(NULL, 0, 1);
}

void
proxy_stop(void)
{
        stop = true;
        pthread_join(thread, NULL);
        for (unsigned i = 0; i < pair_count; i++) {
                close(pairs[i].near);
                close(pairs[i].far);
        }
        pair_count = 0;
        close(listener);
}
