/* postgres_resolve: host names -> addresses. getaddrinfo() may take seconds, so it runs on a
 * helper thread (env->offload), on copies of its own: the connection may give up, and the tier
 * may go, while the helper is still busy. What was abandoned frees itself when its task runs.
 * Addresses and sockets need no helper. Owns: the answer, until pg_resolve_free(). Limit:
 * PG_ADDRESSES_MAX addresses of all hosts, ADDRESSES_EACH of one. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "io/postgres_inner.h"

enum { ADDRESSES_EACH = 8 };

static bool
is_name(const char *host)
{
        struct in6_addr room;

        if (host[0] == '\0' || host[0] == '/' || host[0] == '@')
                return false;
        return inet_pton(AF_INET, host, &room) != 1 && inet_pton(AF_INET6, host, &room) != 1;
}

static bool
is_socket(const char *host)
{
        return host[0] == '\0' || host[0] == '/' || host[0] == '@';
}

static void
found(struct pg_resolve *r, unsigned i, const char *address)
{
        struct pg_address *a;

        if (r->count == PG_ADDRESSES_MAX)
                return;
        a = &r->at[r->count++];
        a->host = r->own.host[i];
        a->port = r->own.port[i];
        snprintf(a->address, sizeof a->address, "%s", address);
}

static void
look_up(struct pg_resolve *r, unsigned i)
{
        struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
        struct addrinfo *list = NULL;
        unsigned n = 0;
        int error = getaddrinfo(r->own.host[i], NULL, &hints, &list);

        if (error != 0) {
                snprintf(r->why, sizeof r->why, "host name of the server: %s", gai_strerror(error));
                return;
        }
        for (struct addrinfo *a = list; a != NULL && n < ADDRESSES_EACH; a = a->ai_next) {
                char text[64];

                if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0,
                                NI_NUMERICHOST) != 0)
                        continue;
                found(r, i, text);
                n++;
        }
        freeaddrinfo(list);
}

/* On a helper thread: touches nothing but r. */
static void
work(struct job *job)
{
        struct pg_resolve *r = container_of(job, struct pg_resolve, job);

        for (unsigned i = 0; i < r->own.hosts; i++) {
                if (is_name(r->own.host[i]))
                        look_up(r, i);
                else
                        found(r, i, is_socket(r->own.host[i]) ? "" : r->own.host[i]);
        }
}

static void
resolved(struct task *task, struct env *env)
{
        struct pg_resolve *r = container_of(task, struct pg_resolve, task);

        (void)env;
        if (r->link == NULL)
                pg_resolve_free(r);
        else
                pg_link_resolved(r->link);
}

bool
pg_resolve_start(struct pg_link *link)
{
        const struct pg_config *c = &link->pg->config;
        struct pg_resolve *r = mem_zalloc(sizeof *r);
        bool names = false;

        link->resolve = r;
        r->link = link;
        r->own.hosts = c->hosts;
        r->own.host = mem_zalloc((c->hosts + 1) * sizeof *r->own.host);
        r->own.port = mem_zalloc((c->hosts + 1) * sizeof *r->own.port);
        for (unsigned i = 0; i < c->hosts; i++) {
                r->own.host[i] = pg_text(c->host[i]);
                r->own.port[i] = pg_text(c->port[i]);
                names |= is_name(c->host[i]);
        }
        task_init(&r->task, resolved);
        list_init(&r->job.link);
        r->job.owner = &r->task;
        r->job.work = work;
        if (names)
                link->pg->env->offload(link->pg->env, &r->job);
        else
                work(&r->job);
        return !names;
}

void
pg_resolve_free(struct pg_resolve *r)
{
        if (r == NULL)
                return;
        pg_config_free(&r->own);
        mem_free(r);
}
