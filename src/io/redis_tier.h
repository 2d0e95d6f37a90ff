/* io/redis_tier.h: L2: one Redis or Valkey (proto/l2.md says what stands there). One tier a
 * worker, used by that worker's thread alone.
 *
 * * Order: small calls are executed in the order in which they were started, large ones (a payload
 * above LIMIT_CHUNK_BYTES) on a connection of their own. So a small and a large write of one key
 * may overtake each other: the caller starts no second write of a key before the first is
 * answered. */
#ifndef PN_IO_REDIS_TIER_H
#define PN_IO_REDIS_TIER_H

#include "base/err.h"
#include "io/loop.h"
#include "request/env.h"

struct redis_url {             /* strings are the holder's: redis_url_free() */
        char *host;            /* name or address; NULL: path */
        char *path;            /* of a Unix socket; NULL: host */
        char *user, *password; /* NULL: none. Never shown */
        uint16_t port;
        unsigned db;
};

/* redis://[[user]:password@]host[:port][/db] or redis+unix:///path[?db=N]. On failure *why is a
 * sentence that holds nothing of the URL (it may hold a password). */
must_use enum err redis_url_parse(const char *text, struct redis_url *out, char why[static 256]);
void redis_url_free(struct redis_url *url);

struct redis_config {
        struct redis_url url;
        char *prefix; /* [l2] prefix */
};

/* From [l2] url and prefix. *why as above. */
must_use enum err
redis_config_read(const struct options *options, struct redis_config *out, char why[static 256]);
void redis_config_free(struct redis_config *config);

/* Takes the config over (also on failure) and begins to connect; it need not succeed, ever.
 * ERR_BAD_ARGUMENT: a config that redis_config_read() would have refused. */
struct tier *
redis_tier_create(struct redis_config config, struct loop *loop, struct env *env, enum err *error);
/* Calls that wait are answered TIER_DOWN. Its connections are closed by the loop's next turns,
 * which the caller still has to run before loop_destroy(). */
void redis_tier_destroy(struct tier *tier);

#endif
