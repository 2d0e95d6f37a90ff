/* io/postgres_tier.h: L3: PostgreSQL 13 or newer (proto/l3.md says what stands there). One tier a
 * worker, used by that worker's thread alone: a connection for what is small, and one for values
 * above LIMIT_CHUNK_BYTES, opened on first need. */
#ifndef PN_IO_POSTGRES_TIER_H
#define PN_IO_POSTGRES_TIER_H

#include "base/buf.h"
#include "io/loop.h"
#include "request/env.h"

/* Judges [l3] url and schema without connecting. On failure *why is a sentence that holds nothing
 * of the URL (it may hold a password). */
must_use bool postgres_tier_check(const struct options *options, char why[static 256]);
/* Begins to connect; that need not succeed, ever. NULL: postgres_tier_check() would have said
 * why. The caller sets env->l3; floors_sync() and queues_kick() follow each time the tier comes
 * up. */
struct tier *postgres_tier_create(struct env *env, struct loop *loop, char why[static 256]);
/* Calls that wait are answered TIER_DOWN (their owners stand on the ready list). */
void postgres_tier_destroy(struct tier *tier);
/* The statements that make our tables in `schema`, as one transaction for psql. */
void postgres_schema_print(const char *schema, struct buf *out);

#endif
