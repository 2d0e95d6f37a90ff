/* postgres_schema: our tables (proto/l3.md explains them). Run as one transaction under a lock of
 * its own, by whoever comes first; everything in it may be run again and changes nothing then. A
 * later version appends steps of that kind and raises PG_SCHEMA_VERSION. Not here: who runs it
 * (postgres_setup.c). */
#include "base/mem.h"
#include "io/postgres_inner.h"

/* Autovacuum: rows live for hours and are deleted in steps, so the room they leave is to be found
 * again soon: after 2 % of the table rather than 20 %. */
#define VACUUM                                                                      \
        "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500," \
        " autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 500"
#define VACUUM_TOAST \
        "toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 500"

const char pg_schema_text[] =
        "SELECT pg_advisory_xact_lock(hashtextextended('pannier schema ' || ~, 0));\n"
        "DO $pannier$ BEGIN\n"
        "  IF to_regnamespace(~) IS NULL THEN CREATE SCHEMA @; END IF;\n"
        "END $pannier$;\n"
        "CREATE TABLE IF NOT EXISTS @.schema_version (\n"
        "  one boolean PRIMARY KEY DEFAULT true CHECK (one),\n"
        "  version integer NOT NULL);\n"
        "CREATE TABLE IF NOT EXISTS @.entry (\n"
        "  version bigint NOT NULL,\n"
        "  origin bigint NOT NULL,\n"
        "  expires_at bigint NOT NULL,\n"
        "  part bigint,\n"
        "  size bigint NOT NULL,\n"
        "  tombstone boolean NOT NULL,\n"
        "  id bytea PRIMARY KEY,\n"
        "  namespace bytea NOT NULL,\n"
        "  key bytea NOT NULL,\n"
        "  value bytea)\n"
        "  WITH (" VACUUM ", " VACUUM_TOAST ");\n"
        "ALTER TABLE @.entry ALTER COLUMN value SET STORAGE EXTERNAL;\n"
        "CREATE INDEX IF NOT EXISTS entry_expires_at ON @.entry (expires_at);\n"
        "CREATE INDEX IF NOT EXISTS entry_namespace ON @.entry (namespace);\n"
        "CREATE TABLE IF NOT EXISTS @.chunk (\n"
        "  part bigint NOT NULL,\n"
        "  n integer NOT NULL,\n"
        "  data bytea NOT NULL,\n"
        "  PRIMARY KEY (part, n))\n"
        "  WITH (" VACUUM ", " VACUUM_TOAST ");\n"
        "ALTER TABLE @.chunk ALTER COLUMN data SET STORAGE EXTERNAL;\n"
        "CREATE SEQUENCE IF NOT EXISTS @.part;\n"
        "CREATE TABLE IF NOT EXISTS @.garbage (\n"
        "  part bigint PRIMARY KEY,\n"
        "  due_at bigint NOT NULL)\n"
        "  WITH (" VACUUM ");\n"
        "CREATE TABLE IF NOT EXISTS @.floor (\n"
        "  id bytea PRIMARY KEY,\n"
        "  namespace bytea NOT NULL,\n"
        "  version bigint NOT NULL);\n"
        "CREATE OR REPLACE FUNCTION @.entry_parts() RETURNS trigger LANGUAGE plpgsql AS $pannier$\n"
        "DECLARE\n"
        "  now_us bigint := extract(epoch FROM clock_timestamp()) * 1000000;\n"
        "BEGIN\n"
        "  IF TG_OP <> 'INSERT' THEN\n"
        "    IF OLD.part IS NOT NULL THEN\n"
        "      INSERT INTO @.garbage (part, due_at) VALUES (OLD.part, now_us + 10000000)\n"
        "        ON CONFLICT (part) DO NOTHING;\n"
        "    END IF;\n"
        "  END IF;\n"
        "  IF TG_OP <> 'DELETE' THEN\n"
        "    IF NEW.part IS NOT NULL THEN\n"
        "      DELETE FROM @.garbage WHERE part = NEW.part AND due_at > now_us;\n"
        "      IF NOT FOUND THEN\n"
        "        RAISE EXCEPTION 'the chunks of this value are gone';\n"
        "      END IF;\n"
        "    END IF;\n"
        "  END IF;\n"
        "  RETURN NULL;\n"
        "END $pannier$;\n"
        "DROP TRIGGER IF EXISTS entry_part_added ON @.entry;\n"
        "CREATE TRIGGER entry_part_added AFTER INSERT ON @.entry FOR EACH ROW\n"
        "  WHEN (NEW.part IS NOT NULL) EXECUTE FUNCTION @.entry_parts();\n"
        "DROP TRIGGER IF EXISTS entry_part_changed ON @.entry;\n"
        "CREATE TRIGGER entry_part_changed AFTER UPDATE ON @.entry FOR EACH ROW\n"
        "  WHEN (OLD.part IS DISTINCT FROM NEW.part) EXECUTE FUNCTION @.entry_parts();\n"
        "DROP TRIGGER IF EXISTS entry_part_deleted ON @.entry;\n"
        "CREATE TRIGGER entry_part_deleted AFTER DELETE ON @.entry FOR EACH ROW\n"
        "  WHEN (OLD.part IS NOT NULL) EXECUTE FUNCTION @.entry_parts();\n"
        "INSERT INTO @.schema_version (version) VALUES (1) ON CONFLICT DO NOTHING;\n";

void
postgres_schema_print(const char *schema, struct buf *out)
{
        struct pg_config c = {0};
        char *text;

        pg_config_schema(&c, schema);
        text = pg_text_fill(pg_schema_text, &c);
        buf_printf(out, "BEGIN;\n%sCOMMIT;\n", text);
        mem_free(text);
        pg_config_free(&c);
}
