/* postgres_sql: the statements. @ stands for the quoted schema: names are qualified, for a pooler
 * loses search_path. Every statement is a transaction of its own, so any of them may go to
 * another server connection of the pooler.
 *
 * PUT is for writes that bring their version: ON CONFLICT compares, and rows are taken in the
 * order of their ids, so that two such statements never wait for each other in a circle. `old` is
 * what stood there when the statement began: a row that neither was put nor has an `old` that
 * explains it was raced, and is asked again.
 * NEW gives the version itself, so it locks what stands there first; what was not there is only
 * inserted, never replaced: the one that was quicker is seen by the repetition. The clock is read
 * after the locks.
 * Rows are deleted by their places: a join with a table that was not analyzed yet may read all of
 * it. */
#include "io/postgres_inner.h"

#define NOW_US "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

/* What is gone is gone by the shared clock, of which the caller brings an estimate, and by this
 * one: a server whose clock is wrong neither misses nor deletes what others still see. */
#define STATEMENT_US "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"

#define COLUMNS "id, key, namespace, version, origin, expires_at, tombstone, value, part, size"

const struct pg_query_row pg_queries[PG_QUERY_COUNT] = {
        [PG_GET] = {"SELECT id, key, version, size, part, value FROM @.entry"
                    " WHERE id = ANY($1)"
                    " AND expires_at > least($2, " STATEMENT_US ")",
                    true,
                    {PG_BYTEAS, PG_INT8}},
        [PG_PUT] = {"WITH given AS MATERIALIZED ("
                    " SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
                    " WITH ORDINALITY AS g(" COLUMNS ", n)),"
                    " old AS MATERIALIZED ("
                    " SELECT e.id, e.version, e.origin,"
                    " NOT e.tombstone AND e.expires_at > " NOW_US " AS lived"
                    " FROM @.entry e WHERE e.id = ANY($1)),"
                    " put AS ("
                    " INSERT INTO @.entry AS e (" COLUMNS ")"
                    " SELECT " COLUMNS " FROM given ORDER BY id"
                    " ON CONFLICT (id) DO UPDATE SET key = excluded.key,"
                    " namespace = excluded.namespace, version = excluded.version,"
                    " origin = excluded.origin, expires_at = excluded.expires_at,"
                    " tombstone = excluded.tombstone, value = excluded.value,"
                    " part = excluded.part, size = excluded.size"
                    " WHERE e.version < excluded.version RETURNING e.id)"
                    " SELECT g.n, p.id IS NOT NULL, o.version, o.origin = g.origin,"
                    " coalesce(o.lived, false)"
                    " FROM given g LEFT JOIN put p ON p.id = g.id LEFT JOIN old o ON o.id = g.id",
                    true,
                    {PG_BYTEAS, PG_BYTEAS, PG_BYTEAS, PG_INT8S, PG_INT8S, PG_INT8S, PG_BOOLS,
                     PG_BYTEAS, PG_INT8S, PG_INT8S}},
        [PG_NEW] = {"WITH given AS MATERIALIZED ("
                    " SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
                    " WITH ORDINALITY AS g(" COLUMNS ", until, expect, n)),"
                    " old AS MATERIALIZED ("
                    " SELECT e.id, e.version, e.tombstone, e.expires_at FROM @.entry e"
                    " WHERE e.id = ANY($1) ORDER BY e.id FOR UPDATE),"
                    " tick AS MATERIALIZED ("
                    " SELECT " NOW_US " AS us FROM (SELECT count(*) FROM old) AS locked),"
                    " seen AS MATERIALIZED ("
                    " SELECT g.*, t.us, o.version AS was,"
                    " coalesce(NOT o.tombstone AND o.expires_at > t.us, false) AS lived,"
                    " greatest(t.us, g.version, o.version + 1) AS stamp"
                    " FROM given g CROSS JOIN tick t LEFT JOIN old o ON o.id = g.id),"
                    " due AS MATERIALIZED ("
                    " SELECT *, CASE WHEN until > 0 AND us > until THEN 3"
                    " WHEN expect = -1 OR (expect = 0 AND NOT lived)"
                    " OR (expect <> 0 AND lived AND was = expect) THEN 0"
                    " ELSE 2 END AS outcome FROM seen),"
                    " changed AS ("
                    " UPDATE @.entry e SET key = d.key, namespace = d.namespace, version = d.stamp,"
                    " origin = d.origin, expires_at = d.expires_at, tombstone = d.tombstone,"
                    " value = d.value, part = d.part, size = d.size"
                    " FROM due d WHERE e.id = d.id AND d.was IS NOT NULL AND d.outcome = 0"
                    " RETURNING e.id),"
                    " added AS ("
                    " INSERT INTO @.entry (" COLUMNS ")"
                    " SELECT id, key, namespace, stamp, origin, expires_at, tombstone, value,"
                    " part, size"
                    " FROM due WHERE was IS NULL AND outcome = 0 ORDER BY id"
                    " ON CONFLICT (id) DO NOTHING RETURNING id)"
                    " SELECT d.n, d.outcome, c.id IS NOT NULL OR a.id IS NOT NULL, d.stamp,"
                    " CASE WHEN d.lived THEN d.was ELSE 0 END, d.lived, d.us FROM due d"
                    " LEFT JOIN changed c ON c.id = d.id LEFT JOIN added a ON a.id = d.id",
                    true,
                    {PG_BYTEAS, PG_BYTEAS, PG_BYTEAS, PG_INT8S, PG_INT8S, PG_INT8S, PG_BOOLS,
                     PG_BYTEAS, PG_INT8S, PG_INT8S, PG_INT8S, PG_INT8S}},
        [PG_TAKE] = {"WITH gone AS (DELETE FROM @.entry"
                     " WHERE id = $1 AND key = $2 AND version = $3 AND origin = $4 RETURNING 1)"
                     " SELECT count(*) FROM gone",
                     false,
                     {PG_BYTEA, PG_BYTEA, PG_INT8, PG_INT8}},
        [PG_FLOORS] = {"SELECT namespace, version FROM @.floor", false, {0}},
        [PG_RAISE] = {"INSERT INTO @.floor AS f (id, namespace, version) VALUES ($1, $2, $3)"
                      " ON CONFLICT (id) DO UPDATE SET version = excluded.version"
                      " WHERE f.version < excluded.version",
                      false,
                      {PG_BYTEA, PG_BYTEA, PG_INT8}},
        [PG_FLUSH_ALL] =
                {"WITH page AS MATERIALIZED ("
                 " SELECT id, ctid AS place FROM @.entry WHERE id > $1"
                 " ORDER BY id LIMIT $3),"
                 " gone AS (DELETE FROM @.entry WHERE ctid = ANY (ARRAY(SELECT place FROM page))"
                 " AND NOT tombstone AND version <= $2 RETURNING 1)"
                 " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM page),"
                 " (SELECT id FROM page ORDER BY id DESC LIMIT 1)",
                 false,
                 {PG_BYTEA, PG_INT8, PG_INT8}},
        [PG_FLUSH_SPACE] =
                {"WITH page AS MATERIALIZED ("
                 " SELECT ctid AS place FROM @.entry WHERE namespace = $1 AND NOT tombstone"
                 " AND version <= $2 LIMIT $3 FOR UPDATE SKIP LOCKED),"
                 " gone AS (DELETE FROM @.entry WHERE ctid = ANY (ARRAY(SELECT place FROM page))"
                 " RETURNING 1)"
                 " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM page),"
                 " NULL::bytea",
                 false,
                 {PG_BYTEA, PG_INT8, PG_INT8}},
        [PG_SWEEP] =
                {"WITH mine AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($1) AS ok),"
                 " page AS MATERIALIZED ("
                 " SELECT ctid AS place FROM @.entry WHERE (SELECT ok FROM mine)"
                 " AND expires_at < least($3, " STATEMENT_US ")"
                 " ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),"
                 " gone AS (DELETE FROM @.entry WHERE ctid = ANY (ARRAY(SELECT place FROM page))"
                 " RETURNING 1)"
                 " SELECT (SELECT count(*) FROM gone)",
                 false,
                 {PG_INT8, PG_INT8, PG_INT8}},
        [PG_SWEEP_CHUNKS] =
                {"WITH mine AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($1) AS ok),"
                 " due AS MATERIALIZED ("
                 " SELECT part FROM @.garbage WHERE (SELECT ok FROM mine)"
                 " AND due_at <= " NOW_US " ORDER BY due_at LIMIT 16 FOR UPDATE SKIP LOCKED),"
                 " page AS MATERIALIZED ("
                 " SELECT c.part, c.n FROM @.chunk c JOIN due d ON d.part = c.part"
                 " LIMIT $2),"
                 " gone AS (DELETE FROM @.chunk c USING page p"
                 " WHERE c.part = p.part AND c.n = p.n RETURNING 1),"
                 " done AS (DELETE FROM @.garbage g USING due d WHERE g.part = d.part"
                 " AND NOT EXISTS (SELECT FROM @.chunk c WHERE c.part = d.part) RETURNING 1)"
                 " SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM done)",
                 false,
                 {PG_INT8, PG_INT8}},
        [PG_CLOCK] = {"SELECT " NOW_US, false, {0}},
        [PG_PART] = {"WITH old AS MATERIALIZED (SELECT version, origin,"
                     " NOT tombstone AND expires_at > " NOW_US " AS lived"
                     " FROM @.entry WHERE id = $1),"
                     " made AS (INSERT INTO @.garbage (part, due_at)"
                     " SELECT nextval((~ || '.part')::regclass), " NOW_US " + 600000000"
                     " WHERE NOT EXISTS (SELECT FROM old WHERE version >= $2) RETURNING part)"
                     " SELECT (SELECT part FROM made), (SELECT version FROM old),"
                     " (SELECT origin FROM old) = $3, (SELECT lived FROM old)",
                     false,
                     {PG_BYTEA, PG_INT8, PG_INT8}},
        /* Nobody can see it before the entry names it, and that commit makes what was written
         * before it durable. */
        [PG_CHUNK_PUT] = {"INSERT INTO @.chunk (part, n, data)"
                          " SELECT $1, $2, $3 FROM set_config('synchronous_commit', 'off', true)",
                          false,
                          {PG_INT8, PG_INT4, PG_BYTEA}},
        [PG_CHUNK_GET] = {"SELECT data FROM @.chunk WHERE part = $1 AND n = $2",
                          false,
                          {PG_INT8, PG_INT4}},
};

/* Text results, and no parameters: the simple protocol, which knows no prepared statements. */
const char pg_look_text[] =
        "SELECT current_setting('server_version'), current_setting('server_version_num'), " NOW_US
        ", pg_backend_pid(),"
        " (SELECT string_agg(t, ' ') FROM unnest(ARRAY['schema_version', 'entry', 'chunk', 'part',"
        " 'garbage', 'floor']) AS t WHERE to_regclass(~ || '.' || t) IS NULL)";
const char pg_version_text[] = "SELECT max(version) FROM @.schema_version";
