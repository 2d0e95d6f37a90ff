/* postgres_setup: what is done on a fresh connection before it is used: is this a server we know,
 * do our tables stand, of which version are they; make or upgrade them where that is allowed. In
 * the simple protocol, before pipeline mode. The migration is one transaction under an advisory
 * lock, so of many servers that start together one does it and the others find it done. Tables of
 * a newer version than ours are left alone, and not used: what they mean is not known here. */
#include <stdio.h>

#include "base/mem.h"
#include "io/postgres_inner.h"

enum { SERVER_VERSION_MIN = 130000, MISSING_BYTES = 128 };

static void
ask(struct pg_link *link, enum pg_setup setup, const char *text)
{
        struct env *env = link->pg->env;
        char *filled = pg_text_fill(text, &link->pg->config);
        int sent = PQsendQuery(link->conn, filled);

        mem_free(filled);
        if (!sent) {
                char why[PG_TROUBLE_BYTES];

                pg_link_message(link, why);
                pg_link_drop(link, why);
                return;
        }
        link->setup = setup;
        link->sent_us = env->mono_us;
        timer_set(&env->timers, &link->timer, &link->task,
                  env->mono_us + (setup == SETUP_MIGRATE ? PG_MIGRATE_US : PG_CONNECT_US));
        pg_link_flush(link);
}

void
pg_setup_start(struct pg_link *link)
{
        ask(link, SETUP_LOOK, pg_look_text);
}

static void
refuse(struct pg_link *link, const char *why)
{
        link->schema_trouble = true;
        pg_link_drop(link, why);
}

static void
migrate(struct pg_link *link, const char *missing)
{
        struct postgres *pg = link->pg;
        char why[PG_TROUBLE_BYTES];

        if (option_number(pg->env->options, O_l3_migrate) == MIGRATE_CHECK) {
                snprintf(why, sizeof why,
                         "schema %s lacks: %.*s (l3-migrate is check; `pannierd --print-schema`"
                         " tells what to run)",
                         pg->config.schema_plain, MISSING_BYTES, missing);
                refuse(link, why);
        } else if (link->migrated) {
                snprintf(why, sizeof why, "schema %s still lacks: %.*s", pg->config.schema_plain,
                         MISSING_BYTES, missing);
                refuse(link, why);
        } else {
                link->migrated = true;
                ask(link, SETUP_MIGRATE, pg_schema_text);
        }
}

static void
looked(struct pg_link *link, const PGresult *r)
{
        struct postgres *pg = link->pg;
        uint64_t clock, version, pid;

        if (PQntuples(r) != 1 || PQnfields(r) != 5 ||
            !bytes_to_u64(bytes_str(PQgetvalue(r, 0, 3)), &pid) ||
            !bytes_to_u64(bytes_str(PQgetvalue(r, 0, 1)), &version) ||
            !bytes_to_u64(bytes_str(PQgetvalue(r, 0, 2)), &clock)) {
                refuse(link, "this is no PostgreSQL that we know");
                return;
        }
        snprintf(pg->what, sizeof pg->what, "postgresql %.*s",
                 (int)strcspn(PQgetvalue(r, 0, 0), " "), PQgetvalue(r, 0, 0));
        if (version < SERVER_VERSION_MIN) {
                refuse(link, "PostgreSQL 13 or newer is needed");
                return;
        }
        /* A pooler has its own idea of who we are. */
        link->pooled = pid != (uint64_t)PQbackendPID(link->conn);
        if (link->large) {
                pg_link_ready(link);
                return;
        }
        pg_clock_learn(pg, (int64_t)clock, link->sent_us);
        if (PQgetisnull(r, 0, 4))
                ask(link, SETUP_VERSION, pg_version_text);
        else
                migrate(link, PQgetvalue(r, 0, 4));
}

static void
judged(struct pg_link *link, const PGresult *r)
{
        char why[PG_TROUBLE_BYTES];
        uint64_t version;

        if (PQntuples(r) != 1 || !bytes_to_u64(bytes_str(PQgetvalue(r, 0, 0)), &version)) {
                migrate(link, "its version");
                return;
        }
        if (version > PG_SCHEMA_VERSION) {
                snprintf(why, sizeof why,
                         "schema %s is of version %llu; this pannierd knows up to %d: use a newer"
                         " one",
                         link->pg->config.schema_plain, (unsigned long long)version,
                         PG_SCHEMA_VERSION);
                refuse(link, why);
                return;
        }
        if (version < PG_SCHEMA_VERSION)
                migrate(link, "what is new in this version");
        else
                pg_link_ready(link);
}

/* Everything of one query has come: `r` is its last result. */
static void
answered(struct pg_link *link, const PGresult *r)
{
        ExecStatusType status = PQresultStatus(r);

        if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
                const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
                char why[PG_TROUBLE_BYTES];

                snprintf(why, sizeof why, "schema %s: %s", link->pg->config.schema_plain,
                         text != NULL ? text : "the connection broke");
                refuse(link, why);
                return;
        }
        switch (link->setup) {
        case SETUP_LOOK:
                looked(link, r);
                break;
        case SETUP_MIGRATE:
                ask(link, SETUP_LOOK, pg_look_text);
                break;
        case SETUP_VERSION:
                judged(link, r);
                break;
        }
}

void
pg_setup_advance(struct pg_link *link)
{
        if (!PQconsumeInput(link->conn)) {
                char why[PG_TROUBLE_BYTES];

                pg_link_message(link, why);
                pg_link_drop(link, why);
                return;
        }
        while (!PQisBusy(link->conn)) {
                PGresult *r = PQgetResult(link->conn);

                if (r == NULL) {
                        r = link->last;
                        link->last = NULL;
                        answered(link, r);
                        PQclear(r);
                        return;
                }
                PQclear(link->last);
                link->last = r;
        }
        pg_link_flush(link);
}
