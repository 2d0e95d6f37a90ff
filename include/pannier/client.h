/* pannier/client.h: the C client of Pannier.
 *
 *     pn_client *c;
 *     pn_reply r;
 *
 *     pn_connect(&c, "127.0.0.1:7171", NULL);
 *     switch (pn_get(c, "user:7", 6, &r)) {
 *     case PN_HIT:
 *     case PN_STALE:
 *             use(r.data, r.len);
 *             break;
 *     default:
 *             compute it, and pn_set() it
 *     }
 *     pn_reply_free(&r);
 *     pn_close(c);
 *
 * One handle is one connection that carries any number of requests at a time. The library keeps no
 * variables outside its handles and starts no threads. A handle is for one thread at a time, and
 * not for both sides of a fork(). No call raises a signal.
 *
 * Every call has a deadline (50 ms unless you say otherwise). A call that fails, or has no answer
 * in time, says so and leaves the handle usable: a late answer is dropped when it comes, a lost
 * connection is made again by the next call. For a caller that only wants a cache, everything but
 * PN_HIT and PN_STALE means: compute it yourself.
 *
 * Strings given to the library are copied or used up before the call returns. Times are in the unit
 * that a name ends in: _us microseconds, _ms milliseconds. C99 or newer, C++98 or newer.
 */
#ifndef PANNIER_CLIENT_H
#define PANNIER_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A time that does not come, or is not known. */
#define PN_NEVER (~(uint64_t)0)

typedef struct pn_client pn_client;

typedef enum pn_status {
        PN_OK = 0,       /* done */
        PN_HIT = 1,      /* the value, fresh */
        PN_STALE = 2,    /* the value, past its soft expiry, within its grace */
        PN_MISS = 3,     /* there is none; of a DEL or EXPIRE: there was none */
        PN_LEASE = 4,    /* there is none, and you are the one to compute it (token) */
        PN_BUSY = 5,     /* there is none, and another caller computes it (retry_us) */
        PN_NEGATIVE = 6, /* computing it failed lately; the value is the text that says why */
        PN_SHED = 7,     /* the server has too much to do: go on without a cache */
        PN_NOT_MET = 8,  /* NX or XX did not hold; nothing was written */
        PN_CANCELLED = 10,

        /* From here on: failures. `error` of the reply, or pn_error(), says more. */
        PN_ERROR = 16,       /* the server refused; `code` is its number (proto/native.md) */
        PN_TIER_DOWN = 17,   /* a tier that must acknowledge a write is down; it is queued */
        PN_TIMEOUT = 18,     /* no answer within the deadline; a write may have happened */
        PN_UNAVAILABLE = 19, /* no connection, it broke, or too many requests are in flight */
        PN_USAGE = 20,       /* an argument is wrong; nothing was sent */
        PN_NO_MEMORY = 21,   /* here, not in the server */
        PN_AGAIN = 22        /* pn_next(): no reply is there yet */
} pn_status;

/* Is it a failure, rather than an answer? */
#define pn_failed(status) ((status) >= PN_ERROR)

/* ---- options ---- */

/* `size` tells the library which version of this struct you were compiled with: begin with
 * PN_OPTS_INIT. A 0 anywhere else stands for the default. */
typedef struct pn_opts {
        size_t size;
        uint64_t deadline_us;      /* of each call; default 50,000 */
        uint64_t tier_deadline_us; /* how long the server may spend on slower tiers; default: nine
                                    * tenths of a call's deadline; PN_NEVER: as the key's namespace
                                    * says there */
        uint64_t large_us_per_mib; /* a value above 256 KiB makes its call's deadline so much longer
                                    * for each MiB; default 25,000 */
        uint64_t dead_us;          /* requests timed out and nothing was heard for so long: the
                                    * connection is given up; default 3,000,000 */
        uint64_t value_max;        /* longest value taken from the server, in bytes, unpacked; a
                                    * batch may have four times as much; default 67,108,864 */
        uint32_t inflight_max;     /* requests without a collected reply, 1 to 4,096; beyond it
                                    * PN_UNAVAILABLE at once; default 1,024 */
        uint32_t flags;            /* PN_LZ4, PN_LAZY */
        const char *name;          /* your program's name, at most 64 bytes; default "libpannier" */
} pn_opts;

#define PN_OPTS_INIT                                       \
        {                                                  \
                sizeof(pn_opts), 0, 0, 0, 0, 0, 0, 0, NULL \
        }

enum pn_opts_flag {
        PN_LZ4 = 1, /* the server may send values as it stores them; they are unpacked here: less
                     * to transfer, more work for this process */
        PN_LAZY = 2 /* pn_connect() does not connect; the first request does */
};

/* ---- replies ---- */

typedef struct pn_reply {
        pn_status status;
        uint32_t code;       /* the server's number of an error; 0: there is none */
        uint64_t id;         /* of the request, as pn_append_...() gave it */
        const void *data;    /* the value; a 0 byte follows it; never NULL */
        size_t len;          /* of the value, in bytes */
        const char *error;   /* a sentence; "" where there is nothing to say; never NULL */
        uint64_t age_us;     /* since the value was written; PN_NEVER: not known */
        uint64_t soft_us;    /* until it is stale; 0: it is; PN_NEVER: never */
        uint64_t hard_us;    /* until it is gone; PN_NEVER: never */
        uint64_t version;    /* of the entry: the greater one is the newer; 0: not known */
        uint64_t cost;       /* micro-dollars that computing it cost; 0: not known */
        uint64_t compute_us; /* that computing it took; 0: not known */
        uint64_t retry_us;   /* wait so long before you ask again; 0: nothing said */
        float confidence;    /* 0 to 1; 0: not known */
        uint8_t tier;        /* 1, 2, 3: who had the value; 0: not known */
        uint8_t codec;       /* as it was given with the value */
        uint8_t reached;   /* of a write: bits 1 L1, 2 L2, 4 L3: who held it when it was answered */
        const void *token; /* of a lease */
        size_t token_len;  /* in bytes; 0: there is none */
        struct pn_reply *items; /* of a batch: one for each key, in the order asked */
        size_t item_count;
        void *owned[2];       /* the library's; pn_reply_free() gives them back */
        uint64_t reserved[4]; /* 0 */
} pn_reply;

/* Gives back what a reply owns (value, sentence, items) and leaves it empty. The struct itself is
 * yours. Fine for an empty one, and twice. Every function that takes a `pn_reply *` to fill does
 * not look at what was in it, and fills it whatever happens: free it in every case. */
void pn_reply_free(pn_reply *r);

/* What a status means in general: a sentence of the library's, for any number. */
const char *pn_strerror(pn_status status);

/* ---- the connection ---- */

/* Makes a handle for the server at an address:
 *
 *     host:port    127.0.0.1:7171    [::1]:7171    host (port 7171)
 *     pannier://host:port            unix:/path    /path
 *
 * and connects, waiting at most for the deadline. `opts` may be NULL. *out is a handle of yours,
 * to be closed, whatever is returned, except for PN_NO_MEMORY, where it is NULL; so a service can
 * start before its server does.
 * PN_OK; PN_UNAVAILABLE, PN_TIMEOUT: not yet connected, the next call tries again; PN_USAGE: the
 * address or an option is wrong, pn_error() says what is right, and so will every call.
 * A host's name is looked up by getaddrinfo(), which knows no deadline, each time a connection is
 * made; numeric addresses and sockets in the file system do not need it. */
pn_status pn_connect(pn_client **out, const char *address, const pn_opts *opts);

/* The same over a connected stream socket, which belongs to the handle from now on, whatever is
 * returned. It is made non-blocking. When it ends, the handle ends: it cannot be made again. */
pn_status pn_connect_fd(pn_client **out, int fd, const pn_opts *opts);

/* Closes without waiting; what is in flight is forgotten. Replies that were handed out stay valid.
 * NULL is fine. */
void pn_close(pn_client *c);

/* The sentence of the latest failure of the connection or of an argument; "" if there was none.
 * Valid until the next call. */
const char *pn_error(const pn_client *c);

/* "pannier 0.1.0": what the server called itself; "" before the first connection. Valid until the
 * next call. */
const char *pn_server_name(const pn_client *c);

/* For the calls from now on, in microseconds; 0: the default. */
void pn_set_deadline(pn_client *c, uint64_t deadline_us);

/* ---- calls that wait ----
 *
 * Each returns the status, the same as reply->status. `reply` may be NULL where you want no more
 * than that, but for pn_get() and pn_info(). Keys have 1 to 65,536 bytes, values any number up to
 * what the server takes; both may hold any bytes. All of them may return PN_ERROR, PN_TIMEOUT,
 * PN_UNAVAILABLE, PN_USAGE and PN_NO_MEMORY, and reading ones PN_SHED. Reading calls are repeated
 * once, within their deadline, if the connection breaks. Values above 256 KiB travel in parts
 * between which small requests pass. */

/* PN_OK: a server is there and answers. */
pn_status pn_ping(pn_client *c);

/* PN_HIT, PN_STALE with the value; PN_MISS (with `error`, if a tier that might have it could not be
 * asked); PN_NEGATIVE; PN_LEASE, PN_BUSY. */
pn_status pn_get(pn_client *c, const void *key, size_t key_len, pn_reply *reply);

enum pn_set_flag {
        PN_NX = 1,     /* only if the key has no value */
        PN_XX = 2,     /* only if it has one */
        PN_KEEPTTL = 4 /* keep the life time of the value that is there */
};

/* What a value is stored with. All zero: as the key's namespace says. */
typedef struct pn_meta {
        uint64_t ttl_ms;         /* until it is stale; 0: the namespace's */
        uint64_t grace_ms;       /* from then on it may be served as stale; 0: the namespace's;
                                  * PN_NEVER: it may not */
        uint64_t cost;           /* micro-dollars that computing it cost */
        uint64_t compute_us;     /* that computing it took, at most 2^32-1 */
        const char *const *tags; /* tag_count strings of 1 to 256 bytes */
        size_t tag_count;        /* at most 64 */
        float confidence;        /* 0 to 1 */
        uint32_t flags;          /* enum pn_set_flag */
        uint8_t codec;           /* of yours: kept, and given back */
        uint64_t reserved[4];    /* 0 */
} pn_meta;

/* PN_OK with version and reached; PN_NOT_MET; PN_TIER_DOWN. `meta` may be NULL; `value` may be NULL
 * if value_len is 0. */
pn_status pn_set(pn_client *c, const void *key, size_t key_len, const void *value, size_t value_len,
                 const pn_meta *meta, pn_reply *reply);

/* PN_OK: there was a value; PN_MISS: there was none; PN_TIER_DOWN. Either way it is gone. */
pn_status pn_del(pn_client *c, const void *key, size_t key_len, pn_reply *reply);

/* PN_OK: the value now lives for ttl_ms from now (PN_NEVER: without end); PN_MISS: there is none.
 */
pn_status
pn_expire(pn_client *c, const void *key, size_t key_len, uint64_t ttl_ms, pn_reply *reply);

/* A run of bytes of the caller's. */
typedef struct pn_bytes {
        const void *data;
        size_t len;
} pn_bytes;

typedef struct pn_entry {
        pn_bytes key, value;
        const pn_meta *meta; /* may be NULL */
} pn_entry;

/* Many keys at a time, `count` of any size: as many round trips as the protocol's limits ask for,
 * all within one deadline. replies[0..count-1] are filled, one for each key in order, each to be
 * freed; pn_mset() and pn_mdel() take NULL as well. PN_OK: each reply holds its own status; else
 * what befell the first key that was not answered, and the rest have the same. */
pn_status pn_mget(pn_client *c, const pn_bytes *keys, size_t count, pn_reply *replies);
pn_status pn_mset(pn_client *c, const pn_entry *entries, size_t count, pn_reply *replies);
pn_status pn_mdel(pn_client *c, const pn_bytes *keys, size_t count, pn_reply *replies);

/* PN_OK: the value is text, lines `name:value` under headings `# Section`. `section`: "server",
 * "memory", "stats", "tiers", ...; NULL: all. */
pn_status pn_info(pn_client *c, const char *section, pn_reply *reply);

/* Finds a number in such a text: the line `name:123`, or in a line `name:state=up,hits=123` the
 * part called `part` (else NULL). 1 and *number, or 0: there is none. */
int pn_info_number(const pn_reply *info, const char *name, const char *part, uint64_t *number);

/* ---- calls that do not wait ----
 *
 * Append requests, flush, and collect the replies, which come in any order:
 *
 *     pn_append_get(c, "a", 1, &id1);
 *     pn_append_get(c, "b", 1, &id2);
 *     pn_flush(c);
 *     while (pn_pending(c) > 0) {
 *             pn_wait(c, 0, &r);
 *             ... r.id, r.status, r.data ...
 *             pn_reply_free(&r);
 *     }
 *
 * An append copies what it is given, value included, and tells the request's id, which is never 0.
 * PN_OK: exactly one reply will be there, at the latest at the deadline, to be collected by
 * pn_next() or pn_wait(). Anything else: nothing was asked. Deadlines count from the append.
 * Nothing waits for a server that is not there: without a connection, one attempt is begun, and
 * once it is late, appends say PN_UNAVAILABLE. A batch is one frame here: at most 4,096 keys, 1 MiB
 * in all, and no value above 256 KiB; else PN_USAGE. `section` and `meta` as above. */
pn_status pn_append_ping(pn_client *c, uint64_t *id);
pn_status pn_append_get(pn_client *c, const void *key, size_t key_len, uint64_t *id);
pn_status pn_append_set(pn_client *c, const void *key, size_t key_len, const void *value,
                        size_t value_len, const pn_meta *meta, uint64_t *id);
pn_status pn_append_del(pn_client *c, const void *key, size_t key_len, uint64_t *id);
pn_status
pn_append_expire(pn_client *c, const void *key, size_t key_len, uint64_t ttl_ms, uint64_t *id);
pn_status pn_append_mget(pn_client *c, const pn_bytes *keys, size_t count, uint64_t *id);
pn_status pn_append_mset(pn_client *c, const pn_entry *entries, size_t count, uint64_t *id);
pn_status pn_append_mdel(pn_client *c, const pn_bytes *keys, size_t count, uint64_t *id);
pn_status pn_append_info(pn_client *c, const char *section, uint64_t *id);

/* Sends as much as the socket takes now. PN_OK; PN_UNAVAILABLE: the connection failed, and the
 * requests have their replies. */
pn_status pn_flush(pn_client *c);

/* The next reply that is there, in the order in which they were done; its status. PN_AGAIN (an
 * empty reply with id 0): none is. Never waits, reads nothing. */
pn_status pn_next(pn_client *c, pn_reply *reply);

/* Waits, sending and receiving, for the reply with this id, or for the next one whatever it is (0).
 * Its status. PN_USAGE: no such request is pending. */
pn_status pn_wait(pn_client *c, uint64_t id, pn_reply *reply);

/* The reply is not wanted any more: none will come. Fine for an unknown id. */
void pn_cancel(pn_client *c, uint64_t id);

/* Requests whose replies were not collected. */
size_t pn_pending(const pn_client *c);

/* ---- your own event loop ----
 *
 * Watch pn_fd() for what pn_want() says (both may change with every call into the library), wake up
 * after pn_timeout_us() at the latest, call pn_on_io(), collect with pn_next(). */
enum pn_io { PN_READ = 1, PN_WRITE = 2 };

int pn_fd(const pn_client *c);               /* -1: not connected */
unsigned pn_want(const pn_client *c);        /* bits of enum pn_io */
uint64_t pn_timeout_us(const pn_client *c);  /* until the next deadline; PN_NEVER: there is none */
void pn_on_io(pn_client *c, unsigned ready); /* bits of enum pn_io; 0: time has passed. Level-
                                              * triggered: it may leave bytes for the next call */

#ifdef __cplusplus
}
#endif

#endif
