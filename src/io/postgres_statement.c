/* postgres_statement: binary parameters, sending a statement, taking its results. libpq is in
 * pipeline mode; each statement has a sync of its own, so that a failing one takes no other down.
 * Owns: statements from sending to their `end`. Prepared statements are called after a hash of
 * their text: what a pooler's server connection remembers under a name of ours, from whomever, is
 * that very statement. A pooler that hands us another server connection does not know the name
 * (or knows it already): the connection then does without, and the calls are asked again.
 * Plans are made anew every PG_REPREPARE_US: one from when the table was empty would read all of
 * it later. Limits: LIMIT_L3_INFLIGHT, PG_FLIGHT_BYTES. Not here: what the rows mean. */
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "io/postgres_inner.h"

/* ---- parameters: big-endian, as the server's binary format is ---- */

static void
put_be32(struct buf *b, uint32_t v)
{
        uint8_t at[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

        buf_append(b, bytes_of(at, sizeof at));
}

static void
put_be64(struct buf *b, uint64_t v)
{
        put_be32(b, (uint32_t)(v >> 32));
        put_be32(b, (uint32_t)v);
}

void
params_reset(struct pg_params *p)
{
        p->bytes.len = 0;
        if (p->bytes.cap > 2 * PG_STATEMENT_BYTES)
                buf_free(&p->bytes);
        p->count = 0;
        p->outside_bytes = 0;
}

static void
params_open(struct pg_params *p)
{
        must(p->count < PG_PARAMS_MAX);
        p->at[p->count].outside = NULL;
        p->at[p->count].from = p->bytes.len;
}

static void
params_close(struct pg_params *p)
{
        p->at[p->count].len = (int)(p->bytes.len - p->at[p->count].from);
        p->count++;
}

void
params_bytes(struct pg_params *p, struct bytes b)
{
        static const uint8_t nothing[1];

        params_open(p);
        p->at[p->count].outside = b.at != NULL ? b.at : nothing;
        p->at[p->count].len = (int)b.len;
        p->outside_bytes += b.len;
        p->count++;
}

void
params_i64(struct pg_params *p, int64_t v)
{
        params_open(p);
        put_be64(&p->bytes, (uint64_t)v);
        params_close(p);
}

void
params_i32(struct pg_params *p, int32_t v)
{
        params_open(p);
        put_be32(&p->bytes, (uint32_t)v);
        params_close(p);
}

void
params_array(struct pg_params *p, Oid element, unsigned count)
{
        params_open(p);
        put_be32(&p->bytes, 1); /* dimensions */
        put_be32(&p->bytes, 1); /* there may be NULLs */
        put_be32(&p->bytes, element);
        put_be32(&p->bytes, count);
        put_be32(&p->bytes, 1); /* lower bound */
}

void
params_array_bytes(struct pg_params *p, struct bytes b)
{
        put_be32(&p->bytes, (uint32_t)b.len);
        buf_append(&p->bytes, b);
}

void
params_array_i64(struct pg_params *p, int64_t v)
{
        put_be32(&p->bytes, 8);
        put_be64(&p->bytes, (uint64_t)v);
}

void
params_array_bool(struct pg_params *p, bool v)
{
        uint8_t byte = v;

        params_array_bytes(p, bytes_of(&byte, 1));
}

void
params_array_null(struct pg_params *p)
{
        put_be32(&p->bytes, UINT32_MAX);
}

void
params_array_end(struct pg_params *p)
{
        params_close(p);
}

/* ---- fields ---- */

must_use bool
field_bytes(const PGresult *r, int row, int column, struct bytes *out)
{
        if (column >= PQnfields(r) || row >= PQntuples(r) || PQgetisnull(r, row, column))
                return false;
        *out = bytes_of(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
        return true;
}

must_use bool
field_i64(const PGresult *r, int row, int column, int64_t *out)
{
        struct bytes b;
        uint64_t v = 0;

        if (!field_bytes(r, row, column, &b) || b.len != 8)
                return false;
        for (unsigned i = 0; i < 8; i++)
                v = v << 8 | b.at[i];
        *out = (int64_t)v;
        return true;
}

must_use bool
field_i32(const PGresult *r, int row, int column, int32_t *out)
{
        struct bytes b;

        if (!field_bytes(r, row, column, &b) || b.len != 4)
                return false;
        *out = (int32_t)((uint32_t)b.at[0] << 24 | (uint32_t)b.at[1] << 16 |
                         (uint32_t)b.at[2] << 8 | b.at[3]);
        return true;
}

must_use bool
field_bool(const PGresult *r, int row, int column, bool *out)
{
        struct bytes b;

        if (!field_bytes(r, row, column, &b) || b.len != 1)
                return false;
        *out = b.at[0] != 0;
        return true;
}

/* ---- sending ---- */

struct pg_statement *
pg_statement_new(enum pg_query query, unsigned slots)
{
        size_t room = slots * (sizeof(struct pg_slot *) + 16); /* slots, ids */
        struct pg_statement *st = mem_zalloc(sizeof *st + room);

        list_init(&st->link);
        st->query = query;
        st->slots = (struct pg_slot **)(void *)(st + 1);
        st->ids = (uint8_t(*)[16])(void *)(st->slots + slots);
        return st;
}

void
pg_statement_free(struct pg_statement *st)
{
        buf_free(&st->gathered);
        mem_free(st);
}

bool
pg_link_has_room(const struct pg_link *link)
{
        /* PgBouncer (1.18) hands the server connection to somebody else as soon as one statement is
         * answered, even in the middle of the next one's bytes. */
        unsigned most = link->pooled ? 1 : LIMIT_L3_INFLIGHT;

        return link->state == LINK_UP && link->broken == NULL && link->in_flight < most &&
               (link->in_flight == 0 || link->flight_bytes < PG_FLIGHT_BYTES);
}

/* Parse, where the statement is to be prepared and is not yet, or has been for too long. */
static bool
prepare(struct pg_link *link, struct pg_statement *st, int count)
{
        struct postgres *pg = link->pg;
        uint64_t now = pg->env->mono_us;
        const char *name = pg->name[st->query];

        st->prepared = true;
        if (link->prepared_us[st->query] + PG_REPREPARE_US > now &&
            link->prepared_us[st->query] > 0)
                return true;
        if (link->prepared_us[st->query] > 0) {
                char drop[40];

                snprintf(drop, sizeof drop, "DEALLOCATE %s", name);
                if (!PQsendQueryParams(link->conn, drop, 0, NULL, NULL, NULL, NULL, 0))
                        return false;
                st->before++;
        }
        link->prepared_us[st->query] = now > 0 ? now : 1;
        st->before++;
        return PQsendPrepare(link->conn, name, pg->sql[st->query], count,
                             pg_queries[st->query].types);
}

static bool
send_query(struct pg_link *link, struct pg_statement *st, const struct pg_params *p)
{
        struct postgres *pg = link->pg;
        const char *values[PG_PARAMS_MAX];
        int lens[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];

        for (int i = 0; i < p->count; i++) {
                values[i] = (const char *)(p->at[i].outside != NULL ? p->at[i].outside
                                                                    : p->bytes.at + p->at[i].from);
                lens[i] = p->at[i].len;
                formats[i] = 1;
        }
        if (link->prepare && pg_queries[st->query].prepare) {
                if (!prepare(link, st, p->count))
                        return false;
                return PQsendQueryPrepared(link->conn, pg->name[st->query], p->count, values, lens,
                                           formats, 1);
        }
        return PQsendQueryParams(link->conn, pg->sql[st->query], p->count,
                                 pg_queries[st->query].types, values, lens, formats, 1);
}

void
pg_statement_send(struct pg_link *link, struct pg_statement *st, const struct pg_params *p)
{
        st->on = link;
        st->sent_us = link->pg->env->mono_us;
        st->bytes = p->bytes.len + p->outside_bytes;
        list_push(&link->sent, &st->link);
        link->in_flight++;
        link->flight_bytes += st->bytes;
        if (!send_query(link, st, p) || !PQpipelineSync(link->conn)) {
                pg_link_break(link, "sending failed");
                return;
        }
        /* Rows of values one by one as they come, not all of a statement's together. */
        if (st->query == PG_GET && st->before == 0 && link->sent.next == &st->link)
                PQsetSingleRowMode(link->conn);
}

/* ---- results ---- */

static bool
is_any(const char *state, const char *const *states)
{
        for (; *states != NULL; states++)
                if (strcmp(state, *states) == 0)
                        return true;
        return false;
}

static void
refused(struct pg_statement *st, const PGresult *r)
{
        /* No such prepared statement; there is one of that name; its result changed; a pooler's
         * own refusal of Parse */
        static const char *const pooled[] = {"26000", "42P05", "0A000", "08P01", NULL};
        static const char *const schema[] = {"42P01", "3F000", "42703", NULL};
        static const char *const read_only[] = {"25006", NULL};
        const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
        const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
        struct pg_link *link = st->on;
        struct postgres *pg = link->pg;
        uint64_t held;

        if (st->sqlstate[0] != '\0')
                return;
        snprintf(st->sqlstate, sizeof st->sqlstate, "%s", state != NULL ? state : "?");
        link->prepared_us[st->query] = 0;
        if (st->prepared && is_any(st->sqlstate, pooled) &&
            option_number(pg->env->options, O_l3_prepare) == PREPARE_AUTO) {
                if (link->prepare)
                        log_info(
                                "l3: prepared statements are refused (a pooler): going on without");
                link->prepare = false;
                return;
        }
        if (log_every(&pg->error_gate, pg->env->mono_us, 10000000, &held))
                log_warn("l3: a statement failed: %s (%s)%s", text != NULL ? text : "no text",
                         st->sqlstate, held > 0 ? ", and others before" : "");
        if (is_any(st->sqlstate, schema) ||
            (pg->config.wants_primary && is_any(st->sqlstate, read_only)))
                pg_link_break(link, "the schema or the server is another one now");
}

static enum pg_end
end_of(const struct pg_statement *st)
{
        static const char *const again[] = {"40P01", "40001", NULL};

        if (st->sqlstate[0] == '\0')
                return PG_END_OK;
        if (is_any(st->sqlstate, again) || (st->prepared && !st->on->prepare))
                return PG_END_RETRY;
        return PG_END_ERROR;
}

static void
finished(struct pg_link *link, struct pg_statement *st)
{
        struct postgres *pg = link->pg;

        list_remove(&st->link);
        link->in_flight--;
        link->flight_bytes -= st->bytes;
        if (!link->large)
                pg->rtt_us = pg->env->mono_us - st->sent_us;
        if (st->late > 0)
                metric_add(pg->env->metrics, M_l3_late, st->late);
        st->end(st, end_of(st));
        if (!list_empty(&link->sent)) {
                struct pg_statement *next =
                        container_of(link->sent.next, struct pg_statement, link);

                if (next->query == PG_GET && next->before == 0)
                        PQsetSingleRowMode(link->conn);
        }
        if (link->large)
                task_ready(&pg->env->ready, &pg->large_task);
        else
                pg_gather_soon(pg);
}

/* One result of the oldest statement; NULL stands between those of one command and those of the
 * next. */
static void
take(struct pg_link *link, struct pg_statement *st, const PGresult *r)
{
        switch (r != NULL ? PQresultStatus(r) : PGRES_EMPTY_QUERY) {
        case PGRES_PIPELINE_SYNC:
                finished(link, st);
                return;
        case PGRES_SINGLE_TUPLE:
        case PGRES_TUPLES_OK:
                for (int row = 0; st->before == 0 && row < PQntuples(r); row++)
                        st->row(st, r, row);
                return;
        case PGRES_FATAL_ERROR:
                refused(st, r);
                return;
        default:
                break;
        }
        if (r != NULL)
                return; /* COMMAND_OK, PIPELINE_ABORTED after an error */
        if (st->before == 0) {
                st->rows_over = true;
                return;
        }
        if (--st->before == 0 && st->query == PG_GET)
                PQsetSingleRowMode(link->conn);
}

void
pg_results_take(struct pg_link *link)
{
        while (link->broken == NULL && !list_empty(&link->sent) && !PQisBusy(link->conn)) {
                struct pg_statement *st = container_of(link->sent.next, struct pg_statement, link);
                PGresult *r = PQgetResult(link->conn);

                if (PQstatus(link->conn) == CONNECTION_BAD)
                        pg_link_break(link, "the connection broke");
                else if (r == NULL && st->rows_over)
                        pg_link_break(link, "a result without an end");
                else
                        take(link, st, r);
                PQclear(r);
                link->heard_us = link->pg->env->mono_us;
                if (!link->large)
                        link->pg->tier.heard_us = link->heard_us;
        }
}
