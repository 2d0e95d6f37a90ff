/* clients/c/inner.h: what the parts of libpannier share; none of it is seen from outside. The link
 * (link.c) is one connection with a table of requests (request.c); write.c makes frames, reply.c
 * takes them apart, call.c waits. Each handle is used by one thread at a time. */
#ifndef PN_CLIENTS_C_INNER_H
#define PN_CLIENTS_C_INNER_H

#include <netdb.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/chain.h"
#include "base/list.h"
#include "pannier/client.h"
#include "wire/native.h"

enum {
        SLOT_BITS = 12,
        SLOTS_MAX = 1 << SLOT_BITS, /* requests that the server may still answer */
        PORT_DEFAULT = 7171,
        OUT_MAX = 8 << 20,       /* unsent bytes; beyond it nothing is appended */
        OUT_CHUNKS = 256 << 10,  /* chunks are added while less than this is unsent */
        CREDIT_STEP = 512 << 10, /* a value's credit is renewed when so much was used up */
        SENTENCE_MAX = 320,
        NAME_MAX_BYTES = 64,
};

/* A reply that is made, or in the making; it waits for pn_next(). */
struct answer {
        struct list link; /* in pn_client.done */
        pn_reply reply;
};

/* A value that comes in chunks. */
struct large {
        uint64_t length; /* as it travels */
        uint64_t raw;    /* unpacked; 0: it is not packed */
        uint32_t index;  /* in the batch */
};

struct request {
        struct list link;      /* in pn_client.active */
        struct list upload_at; /* in pn_client.uploads or .waiting, while it has chunks to send */
        struct answer *answer; /* NULL: nobody waits for it any more; its frames are dropped */
        uint64_t id, deadline_us;
        uint32_t count; /* items of the batch */
        uint8_t op;
        bool batch, in_chunks;

        /* a value on its way to the server */
        struct blob *upload;
        struct buf upload_head; /* the SET's fields, then its key, until it is sent */
        size_t upload_fields;
        uint64_t sent, credit;

        /* values on their way here */
        struct large *large;
        uint32_t large_count, large_at;
        uint64_t got;             /* of the current one */
        uint8_t *room;            /* for it */
        uint64_t allowed, wanted; /* bytes: credit given so far, of all that are to come */
        uint64_t used;            /* taken in since the last credit */
};

enum link_state { LINK_CLOSED, LINK_CONNECTING, LINK_GREETING, LINK_READY };

/* What the server said in its HELLO, within our own bounds. */
struct limits {
        uint64_t key_max, body_max, chunk_max, credit_first, batch_max, uploads_max;
};

struct address {
        enum { ADDRESS_BAD, ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_NONE } kind;
        char host[256];
        char port[8];
        char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

struct pn_client {
        struct pn_opts opts; /* every default filled in */
        char name[NAME_MAX_BYTES + 1];
        struct address address;
        char shown[300]; /* the address in sentences */

        int fd; /* -1: none */
        enum link_state state;
        struct addrinfo *found, *next_found; /* while connecting by name */
        uint64_t hello_id, attempt_us;       /* when this attempt began */
        uint64_t heard_us;                   /* when the server was last heard, or began to owe */
        bool lost;                           /* the latest failure was that of a made connection */
        uint64_t features;                   /* agreed on */
        struct limits limits;
        struct chain out;
        struct buf in;

        struct request *slots[SLOTS_MAX];
        uint32_t slot_next;    /* where the search for a free one begins */
        uint64_t sequence;     /* the upper part of ids */
        struct list active;    /* requests that the server owes a last frame */
        struct list uploads;   /* of them: whose chunks are being sent, round robin */
        struct list waiting;   /* of them: large SETs that nothing was sent of */
        struct list done;      /* answers */
        unsigned active_count; /* with those that nobody waits for */
        unsigned wanted_count; /* without */
        unsigned done_count;
        uint64_t next_deadline_us; /* not later than the earliest of an active request */

        char server_name[128];
        char why[SENTENCE_MAX];
};

/* ---- address.c ---- */
/* False: `why` says what is wrong. */
bool address_parse(const char *text, struct address *out, char *shown, size_t shown_max,
                   char why[static SENTENCE_MAX]);

/* ---- dial.c ---- */
/* Begins a connection; false: it failed at once, and c->why says so. */
bool dial_begin(pn_client *c);
/* The socket is writable: 1 connected, 0 not yet, -1 failed (c->why). */
int dial_continue(pn_client *c);
void dial_end(pn_client *c); /* forgets addresses */

/* ---- link.c ---- */
extern const struct limits limits_usual; /* as long as the server has not told its own */
uint64_t clock_us(void);
/* Keeps the sentence for pn_error(); returns the status. */
pn_status client_says(pn_client *c, pn_status status, const char *format, ...) printf_like(3, 4);
/* Ends the connection; every request has its reply. */
void link_fail(pn_client *c, const char *format, ...) printf_like(2, 3);
void link_close(pn_client *c);
void link_adopt(pn_client *c); /* c->fd is connected */
/* A connection is there or on its way; else c->why. */
pn_status link_open(pn_client *c);
void link_read(pn_client *c);
void link_write(pn_client *c);
/* Ends what is over its deadline. */
void link_expire(pn_client *c, uint64_t now_us);

/* ---- request.c ---- */
/* A new request with an id and an answer; NULL and *status: there cannot be one. */
struct request *request_new(pn_client *c, uint8_t op, pn_status *status);
struct request *request_find(const pn_client *c, uint64_t id);
/* Takes back what was never sent. */
void request_drop(pn_client *c, struct request *rq);
/* The last frame came: the answer is done, the request is gone. */
void request_finish(pn_client *c, struct request *rq);
/* The answer is done, with this failure; the request stays until its last frame comes. */
void request_abandon(pn_client *c, struct request *rq, pn_status status, const char *why);
/* The connection is gone: all answers are done, all requests gone. */
void request_fail_all(pn_client *c, const char *why);
struct answer *answer_take(pn_client *c, uint64_t id); /* 0: the first; NULL: not there */
void answer_free(struct answer *a);
/* Moves the reply to the caller (NULL: nowhere) and frees the rest; the status. */
pn_status answer_give(struct answer *a, pn_reply *reply);

/* ---- call.c ---- */
/* Waits for a connection that is ready, no longer than the deadline of a call begun then. */
pn_status client_ready(pn_client *c, uint64_t begun_us);

/* ---- reply.c, value.c ---- */
/* One frame from the server. False: the link failed. */
bool reply_take(pn_client *c, const struct native_frame *f);
bool reply_chunk(pn_client *c, struct request *rq, const struct native_frame *f);
void reply_init(pn_reply *r, uint64_t id);
/* A sentence that the reply keeps; cut where there is no memory for it. */
void reply_says(pn_reply *r, pn_status status, const char *text, size_t len);
/* Takes a value into the reply: a copy, unpacked if `raw` is not 0. PN_OK, or why not. */
pn_status reply_value(pn_reply *r, struct bytes value, uint64_t raw);
/* The same of a block that is the reply's afterwards in every case; it has room for one byte more.
 */
pn_status reply_block(pn_reply *r, uint8_t *block, size_t len, uint64_t raw);
/* Room for a value of this size and a 0 behind it; NULL: no memory. */
uint8_t *value_room(uint64_t len);

/* ---- write.c, upload.c ---- */
/* How much longer a call may take for so many bytes above the ordinary. */
uint64_t large_us(const pn_client *c, uint64_t bytes);
bool key_is_fine(pn_client *c, size_t len);
/* These append one request; *status is PN_OK if they return it. */
struct request *append_simple(pn_client *c, uint8_t op, struct bytes key, pn_status *status);
struct request *append_set(pn_client *c, struct bytes key, struct bytes value, const pn_meta *meta,
                           pn_status *status);
struct request *append_expire(pn_client *c, struct bytes key, uint64_t ttl_ms, pn_status *status);
/* *taken: as many as fit into one frame. If these are fewer than `least`, or none (the first entry
 * needs a SET of its own), there is no request though the status is PN_OK. */
struct request *append_keys(pn_client *c, uint8_t op, const pn_bytes *keys, size_t count,
                            size_t least, size_t *taken, pn_status *status);
struct request *append_entries(pn_client *c, const pn_entry *entries, size_t count, size_t least,
                               size_t *taken, pn_status *status);
bool meta_is_fine(pn_client *c, const pn_meta *meta);
void cancel_write(pn_client *c, uint64_t id);
/* A SET whose value follows in chunks, once its turn comes. False: no memory. */
bool upload_begin(pn_client *c, struct request *rq, const struct native_block *fields,
                  struct bytes key, struct bytes value);
void upload_credit(struct request *rq, uint32_t bytes);
void upload_pump(pn_client *c); /* moves to c->out what may be sent */
void upload_end(pn_client *c, struct request *rq);
bool upload_wants(const pn_client *c); /* would upload_pump() move something? */
enum { META_ROOM = 17 << 10 };         /* bytes that the fields of one value can take */

#endif
