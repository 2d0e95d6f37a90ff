/* clients/c/client: the handle: options, beginning, end, and what it tells about itself. Owns: the
 * struct; its parts belong to link.c and request.c. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "inner.h"

const char *
pn_strerror(pn_status status)
{
        switch (status) {
        case PN_OK:
                return "done";
        case PN_HIT:
                return "the value, fresh";
        case PN_STALE:
                return "the value, past its soft expiry";
        case PN_MISS:
                return "there is no value";
        case PN_LEASE:
                return "there is no value; this caller is to compute it";
        case PN_BUSY:
                return "there is no value; another caller computes it";
        case PN_NEGATIVE:
                return "computing the value failed lately";
        case PN_SHED:
                return "the server has too much to do";
        case PN_NOT_MET:
                return "the condition did not hold; nothing was written";
        case PN_CANCELLED:
                return "cancelled";
        case PN_ERROR:
                return "the server refused";
        case PN_TIER_DOWN:
                return "a tier that must acknowledge the write is down; it is queued";
        case PN_TIMEOUT:
                return "no answer within the deadline";
        case PN_UNAVAILABLE:
                return "the server cannot be reached";
        case PN_USAGE:
                return "an argument is wrong";
        case PN_NO_MEMORY:
                return "no memory";
        case PN_AGAIN:
                return "no reply is there yet";
        }
        return "unknown status";
}

static const uint64_t longest_us = UINT64_C(86400000000); /* a day */

static uint64_t
or_default(uint64_t given, uint64_t usual)
{
        return given != 0 ? given : usual;
}

/* A newer program's options, as far as this version knows them; what it does not know must be 0. */
static bool
read_opts(pn_client *c, const pn_opts *given)
{
        pn_opts o = PN_OPTS_INIT;

        if (given != NULL && given->size < sizeof o) {
                client_says(c, PN_USAGE, "options begin with PN_OPTS_INIT");
                return false;
        }
        for (size_t i = sizeof o; given != NULL && i < given->size; i++) {
                if (((const char *)given)[i] != 0) {
                        client_says(c, PN_USAGE,
                                    "an option is set that this library is too old for");
                        return false;
                }
        }
        if (given != NULL)
                memcpy(&o, given, sizeof o);
        c->opts = (pn_opts){
                .size = sizeof o,
                .deadline_us = or_default(o.deadline_us, 50000),
                .tier_deadline_us = o.tier_deadline_us,
                .large_us_per_mib = or_default(o.large_us_per_mib, 25000),
                .dead_us = or_default(o.dead_us, 3000000),
                .value_max = or_default(o.value_max, 67108864),
                .inflight_max = (uint32_t)or_default(o.inflight_max, 1024),
                .flags = o.flags,
        };
        snprintf(c->name, sizeof c->name, "%s", o.name != NULL ? o.name : "libpannier");
        if (c->opts.deadline_us > longest_us || c->opts.large_us_per_mib > longest_us ||
            c->opts.dead_us > longest_us)
                client_says(c, PN_USAGE, "times in the options are at most a day");
        else if (c->opts.value_max > UINT32_MAX)
                client_says(c, PN_USAGE, "value_max is at most 4 GiB");
        else if (c->opts.inflight_max > SLOTS_MAX)
                client_says(c, PN_USAGE, "inflight_max is from 1 to 4096");
        else if ((o.flags & ~(uint32_t)(PN_LZ4 | PN_LAZY)) != 0)
                client_says(c, PN_USAGE, "flags are PN_LZ4 and PN_LAZY");
        else
                return true;
        return false;
}

static pn_client *
client_new(void)
{
        pn_client *c = calloc(1, sizeof *c);

        if (c == NULL)
                return NULL;
        c->fd = -1;
        c->next_deadline_us = PN_NEVER;
        c->limits = limits_usual;
        list_init(&c->active);
        list_init(&c->uploads);
        list_init(&c->waiting);
        list_init(&c->done);
        return c;
}

pn_status
pn_connect(pn_client **out, const char *address, const pn_opts *opts)
{
        pn_client *c = client_new();

        *out = c;
        if (c == NULL)
                return PN_NO_MEMORY;
        if (!read_opts(c, opts) ||
            !address_parse(address, &c->address, c->shown, sizeof c->shown, c->why)) {
                c->address.kind = ADDRESS_BAD;
                return PN_USAGE;
        }
        return (c->opts.flags & PN_LAZY) != 0 ? PN_OK : client_ready(c, clock_us());
}

pn_status
pn_connect_fd(pn_client **out, int fd, const pn_opts *opts)
{
        pn_client *c = client_new();

        *out = c;
        if (c == NULL) {
                close(fd);
                return PN_NO_MEMORY;
        }
        snprintf(c->shown, sizeof c->shown, "the server");
        if (!read_opts(c, opts) || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
                if (c->why[0] == '\0')
                        client_says(c, PN_USAGE, "that is no open socket");
                c->address.kind = ADDRESS_BAD;
                close(fd);
                return PN_USAGE;
        }
        c->address.kind = ADDRESS_NONE;
        c->fd = fd;
        link_adopt(c);
        return (c->opts.flags & PN_LAZY) != 0 ? PN_OK : client_ready(c, clock_us());
}

void
pn_close(pn_client *c)
{
        struct answer *a;

        if (c == NULL)
                return;
        link_close(c);
        request_fail_all(c, "");
        while ((a = answer_take(c, 0)) != NULL)
                answer_free(a);
        free(c);
}

const char *
pn_error(const pn_client *c)
{
        return c->why;
}

const char *
pn_server_name(const pn_client *c)
{
        return c->server_name;
}

void
pn_set_deadline(pn_client *c, uint64_t deadline_us)
{
        uint64_t us = or_default(deadline_us, 50000);

        c->opts.deadline_us = us < longest_us ? us : longest_us;
}

size_t
pn_pending(const pn_client *c)
{
        return c->wanted_count + c->done_count;
}

/* ---- the caller's own loop ---- */

int
pn_fd(const pn_client *c)
{
        return c->fd;
}

unsigned
pn_want(const pn_client *c)
{
        if (c->state == LINK_CLOSED)
                return 0;
        if (c->state == LINK_CONNECTING)
                return PN_WRITE;
        return c->out.bytes > 0 || upload_wants(c) ? PN_READ | PN_WRITE : PN_READ;
}

uint64_t
pn_timeout_us(const pn_client *c)
{
        uint64_t now = clock_us();

        if (c->wanted_count == 0)
                return PN_NEVER;
        return c->next_deadline_us > now ? c->next_deadline_us - now : 0;
}

void
pn_on_io(pn_client *c, unsigned ready)
{
        if ((ready & PN_WRITE) != 0 || c->state == LINK_CONNECTING)
                link_write(c);
        if ((ready & PN_READ) != 0)
                link_read(c);
        if (c->out.bytes > 0 || upload_wants(c)) /* credit, chunks that got some */
                link_write(c);
        link_expire(c, clock_us());
}
