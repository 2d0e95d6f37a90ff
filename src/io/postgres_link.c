/* postgres_link: one connection: opened, watched, flushed, lost, opened again with growing
 * pauses. Nothing here waits: names are looked up by a helper, PQconnectPoll() and the rest are
 * driven by the loop's one-shot watches, every stage has its time. The watch is on a duplicate of
 * libpq's descriptor: libpq closes its own whenever it finds the connection broken, and the loop
 * must not hear of that afterwards. Owns: PGconn, the duplicate, statements sent. All work is
 * done by the link's task. A server that is silent keeps its connection (a frozen one comes
 * back); one that owes results for PG_SILENCE_US is given up. Known cost: the password's hashing
 * at login (SCRAM) is done by libpq on this thread, some milliseconds. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/postgres_inner.h"

static void link_advance(struct task *task, struct env *env);

static void
watch_ready(struct watch *w, unsigned events)
{
        struct pg_link *link = container_of(w, struct pg_link, watch);

        link->events |= events;
        link->watching = 0;
        task_ready(&link->pg->env->ready, &link->task);
}

static void
unwatch(struct pg_link *link)
{
        if (link->watching != 0)
                watch_disarm(&link->watch);
        link->watching = 0;
}

static void
watch_for(struct pg_link *link, unsigned events)
{
        if (link->watching == events)
                return;
        unwatch(link);
        watch_arm(link->pg->loop, &link->watch, link->fd, events);
        link->watching = events;
}

static void
fd_close(struct pg_link *link)
{
        unwatch(link);
        if (link->fd >= 0)
                close(link->fd);
        link->fd = -1;
}

static bool
fd_open(struct pg_link *link)
{
        fd_close(link);
        link->fd = fcntl(PQsocket(link->conn), F_DUPFD_CLOEXEC, 0);
        return link->fd >= 0;
}

static void
timer_in(struct pg_link *link, uint64_t us)
{
        struct env *env = link->pg->env;

        timer_set(&env->timers, &link->timer, &link->task, env->mono_us + us);
}

void
pg_link_init(struct pg_link *link, struct postgres *pg, bool large)
{
        memset(link, 0, sizeof *link);
        link->pg = pg;
        link->large = large;
        link->fd = -1;
        link->watch.ready = watch_ready;
        list_init(&link->sent);
        task_init(&link->task, link_advance);
}

void
pg_link_message(const struct pg_link *link, char out[static PG_TROUBLE_BYTES])
{
        const char *text = PQerrorMessage(link->conn);
        size_t n = 0;

        for (; *text != '\0' && n < PG_TROUBLE_BYTES - 1; text++) {
                if (*text == '\n' || *text == '\t')
                        out[n] = ' ';
                else
                        out[n] = *text;
                n += n == 0 || out[n] != ' ' || out[n - 1] != ' ';
        }
        while (n > 0 && out[n - 1] == ' ')
                n--;
        out[n] = '\0';
        if (n == 0)
                snprintf(out, PG_TROUBLE_BYTES, "the connection broke");
}

void
pg_link_break(struct pg_link *link, const char *why)
{
        link->broken = why;
        task_ready(&link->pg->env->ready, &link->task);
}

static uint64_t
backoff(struct pg_link *link)
{
        uint64_t us = PG_BACKOFF_MIN_US;

        for (unsigned i = 0; i < link->failures && us < PG_BACKOFF_MAX_US; i++)
                us *= 2;
        if (us > PG_BACKOFF_MAX_US)
                us = PG_BACKOFF_MAX_US;
        if (link->schema_trouble)
                us = PG_BACKOFF_SCHEMA_US;
        /* Not all workers of all servers at once. */
        return us / 2 + prng_below(&link->pg->env->prng, us / 2);
}

/* One line when it goes down, none while it stays so for the same reason; one worker speaks for
 * all. */
static void
say_down(struct postgres *pg, const char *why)
{
        bool news = strcmp(pg->trouble, why) != 0;
        uint64_t held;

        snprintf(pg->trouble, sizeof pg->trouble, "%s", why);
        if (!pg->told_down)
                pg->gate.next_us = 0;
        if ((news || !pg->told_down) && log_every(&pg->gate, pg->env->mono_us, 60000000, &held) &&
            pg->env->index == 0)
                log_warn("l3: down: %s", pg->trouble);
        pg->told_down = true;
}

static void
conn_close(struct pg_link *link)
{
        fd_close(link);
        PQclear(link->last);
        link->last = NULL;
        PQfinish(link->conn);
        link->conn = NULL;
        link->broken = NULL;
        link->unflushed = false;
        link->events = 0;
        memset(link->prepared_us, 0, sizeof link->prepared_us);
}

void
pg_link_drop(struct pg_link *link, const char *why)
{
        struct postgres *pg = link->pg;
        bool was_up = link->state == LINK_UP;
        char text[PG_TROUBLE_BYTES]; /* `why` may be libpq's, which goes with the connection */
        struct list *node;
        uint64_t held;

        snprintf(text, sizeof text, "%s", why);
        conn_close(link);
        link->state = LINK_WAITING;
        timer_in(link, backoff(link));
        link->failures++;
        if (!link->large) {
                pg->tier.up = false;
                metric_set(pg->env->metrics, M_l3_up, 0);
                say_down(pg, text);
        } else if (pg->tier.up && log_every(&pg->large_gate, pg->env->mono_us, 10000000, &held)) {
                log_warn("l3: the connection for large values: %s", text);
        }
        while ((node = list_pop(&link->sent)) != NULL) {
                struct pg_statement *st = container_of(node, struct pg_statement, link);

                link->in_flight--;
                link->flight_bytes -= st->bytes;
                st->end(st, PG_END_LOST);
        }
        if (link->large) {
                pg_large_link_down(pg);
        } else {
                pg_gather_soon(pg); /* which answers what waits */
                if (was_up)
                        pg_chores_down(pg);
        }
}

void
pg_link_deinit(struct pg_link *link)
{
        struct env *env = link->pg->env;

        conn_close(link);
        timer_cancel(&env->timers, &link->timer);
        list_remove(&link->task.ready);
        if (link->state == LINK_RESOLVING)
                link->resolve->link = NULL; /* frees itself */
        else
                pg_resolve_free(link->resolve);
        link->resolve = NULL;
        link->state = LINK_IDLE;
}

/* ---- connecting ---- */

static void
fail(struct pg_link *link)
{
        char text[PG_TROUBLE_BYTES];

        pg_link_message(link, text);
        pg_link_drop(link, text);
}

static void
connected(struct pg_link *link)
{
        PQsetnonblocking(link->conn, 1);
        link->heard_us = link->pg->env->mono_us;
        link->state = LINK_SETUP;
        pg_setup_start(link);
}

static void
poll_connect(struct pg_link *link)
{
        PostgresPollingStatusType next;

        fd_close(link); /* libpq may go on to the next address, with another descriptor */
        next = PQconnectPoll(link->conn);
        if (next == PGRES_POLLING_FAILED) {
                fail(link);
                return;
        }
        if (!fd_open(link)) {
                pg_link_drop(link, "no descriptor left");
                return;
        }
        if (next == PGRES_POLLING_OK)
                connected(link);
        else
                watch_for(link, next == PGRES_POLLING_READING ? POLLIN : POLLOUT);
}

static void
no_notice(void *own, const PGresult *r)
{
        (void)own;
        (void)r;
}

static void
connect_start(struct pg_link *link)
{
        struct postgres *pg = link->pg;

        if (pg->config.hosts > 0 && link->resolve->count == 0) {
                char why[PG_TROUBLE_BYTES];

                snprintf(why, sizeof why, "%s", link->resolve->why);
                pg_link_drop(link, why);
                return;
        }
        link->conn = pg_config_connect(&pg->config, link->resolve, link->first);
        if (link->conn == NULL || PQstatus(link->conn) == CONNECTION_BAD) {
                fail(link);
                return;
        }
        PQsetNoticeReceiver(link->conn, no_notice, NULL);
        link->state = LINK_CONNECTING;
        timer_in(link, pg->config.connect_timeout_us);
        if (!fd_open(link)) {
                pg_link_drop(link, "no descriptor left");
                return;
        }
        watch_for(link, POLLOUT);
}

void
pg_link_resolved(struct pg_link *link)
{
        if (link->state == LINK_RESOLVING)
                connect_start(link);
}

void
pg_link_open(struct pg_link *link)
{
        must(link->state == LINK_IDLE);
        timer_cancel(&link->pg->env->timers, &link->timer);
        pg_resolve_free(link->resolve);
        link->resolve = NULL;
        link->state = LINK_RESOLVING;
        link->migrated = link->schema_trouble = false;
        if (pg_resolve_start(link))
                connect_start(link);
}

void
pg_link_ready(struct pg_link *link)
{
        struct postgres *pg = link->pg;
        uint64_t prepare = option_number(pg->env->options, O_l3_prepare);

        if (!PQenterPipelineMode(link->conn)) {
                fail(link);
                return;
        }
        link->state = LINK_UP;
        link->failures = 0;
        link->prepare = prepare == PREPARE_ON || (prepare == PREPARE_AUTO && !link->pooled);
        link->heard_us = pg->env->mono_us;
        metric_add(pg->env->metrics, M_l3_connects, 1);
        pg->connects++;
        timer_in(link, PG_LINK_LOOK_US);
        watch_for(link, POLLIN);
        if (link->large) {
                pg_large_link_up(pg);
                return;
        }
        pg->tier.up = true;
        pg->tier.heard_us = pg->up_since_us = pg->env->mono_us;
        pg->trouble[0] = '\0';
        pg->told_down = false;
        metric_set(pg->env->metrics, M_l3_up, 1);
        if (pg->env->index == 0)
                log_info("l3: up: %s", pg->what);
        pg_chores_up(pg);
}

/* ---- being connected ---- */

void
pg_link_flush(struct pg_link *link)
{
        int left;

        if (link->conn == NULL || link->broken != NULL)
                return;
        left = PQflush(link->conn);
        if (left < 0) {
                pg_link_break(link, "sending failed");
                return;
        }
        link->unflushed = left > 0;
        watch_for(link, link->unflushed ? POLLIN | POLLOUT : POLLIN);
}

/* Reads what is there. A TLS record may leave a rest inside of the library, which the descriptor
 * does not tell of. */
static bool
consume(struct pg_link *link)
{
        int rounds = PQsslInUse(link->conn) ? 3 : 1;

        for (int i = 0; i < rounds; i++)
                if (!PQconsumeInput(link->conn))
                        return false;
        return true;
}

static void
timed(struct pg_link *link)
{
        struct postgres *pg = link->pg;
        uint64_t now = pg->env->mono_us;
        struct pg_statement *oldest;
        uint64_t since;

        if (list_empty(&link->sent)) {
                if (link->large && now - link->heard_us > PG_LARGE_IDLE_US &&
                    list_empty(&pg->large_active)) {
                        conn_close(link);
                        link->state = LINK_IDLE;
                        return;
                }
        } else {
                oldest = container_of(link->sent.next, struct pg_statement, link);
                since = oldest->sent_us > link->heard_us ? oldest->sent_us : link->heard_us;
                if (now - since > PG_SILENCE_US) {
                        pg_link_drop(link, "no answer for a long time");
                        return;
                }
        }
        timer_in(link, PG_LINK_LOOK_US);
}

static void
up_advance(struct pg_link *link, unsigned events)
{
        bool alive = true;

        if (events != 0 && link->broken == NULL) {
                alive = consume(link);
                pg_results_take(link); /* what came before the end, too */
        }
        if (link->broken != NULL || !alive) {
                char text[PG_TROUBLE_BYTES];

                pg_link_message(link, text);
                pg_link_drop(link,
                             alive && PQstatus(link->conn) == CONNECTION_OK ? link->broken : text);
                return;
        }
        pg_link_flush(link);
}

static void
link_advance(struct task *task, struct env *env)
{
        struct pg_link *link = container_of(task, struct pg_link, task);
        bool time_over = link->timer.fired;
        unsigned events = link->events;

        (void)env;
        link->timer.fired = false;
        link->events = 0;
        switch (link->state) {
        case LINK_IDLE:
        case LINK_RESOLVING:
                break;
        case LINK_WAITING:
                if (!time_over)
                        break;
                link->state = LINK_IDLE;
                if (!link->large || !list_empty(&link->pg->large_waiting))
                        pg_link_open(link);
                break;
        case LINK_CONNECTING:
                if (time_over) {
                        /* libpq would stay with this address for ever: the next attempt begins
                         * behind it */
                        link->first++;
                        pg_link_drop(link, "no connection in time");
                } else if (events != 0) {
                        poll_connect(link);
                }
                break;
        case LINK_SETUP:
                if (time_over)
                        pg_link_drop(link, "no answer about the schema in time");
                else if (events != 0)
                        pg_setup_advance(link);
                break;
        case LINK_UP:
                if (time_over)
                        timed(link);
                if (link->state == LINK_UP)
                        up_advance(link, events);
                break;
        }
}
