/* io/postgres_inner.h: what the postgres_*.c files share; nobody else includes it.
 *
 *   postgres_config.c     the connection string, and what libpq is given
 *   postgres_resolve.c    host names -> addresses, on a helper thread
 *   postgres_link.c       one connection: opened, watched, lost, opened again
 *   postgres_setup.c      what is done on a fresh connection: the schema looked at, made, judged
 *   postgres_statement.c  parameters, sending a statement, taking its results
 *   postgres_sql.c        the statements' texts
 *   postgres_schema.c     the tables
 *   postgres_tier.c       calls come, wait, time out, are answered
 *   postgres_rows.c       calls of one turn -> one statement, its rows -> answers
 *   postgres_large.c      values above LIMIT_CHUNK_BYTES
 *   postgres_chores.c     sweeping, flushing, the clock, floors */
#ifndef PN_IO_POSTGRES_INNER_H
#define PN_IO_POSTGRES_INNER_H

#include <libpq-fe.h>

#include "base/buf.h"
#include "base/log.h"
#include "io/loop.h"
#include "io/postgres_tier.h"
#include "request/env.h"

enum {
        PG_SCHEMA_VERSION = 1,
        PG_TRIES_MAX = 5,             /* of one call: raced, deadlocked, refused by a pooler */
        PG_WAITING_MAX = 32768,       /* calls that wait or are under way; beyond it TIER_DOWN */
        PG_PARAMS_MAX = 12,           /* of one statement */
        PG_STATEMENT_BYTES = 1 << 20, /* values of one statement, but for the first */
        PG_FLIGHT_BYTES = 8 << 20,    /* of statements without a result on one connection */
        PG_LARGE_MAX = 4,             /* large values under way at once */
        PG_LARGE_FLIGHT = 3,          /* chunks of one large value under way at once */
        PG_STEP_ROWS = 1000,          /* rows of one step of a flush */
        PG_CHUNK_ROWS = 64,           /* chunks of one step of a sweep: 16 MiB */
        PG_NAMESPACE_MAX = 200,       /* longer ones stand hashed: an index row has its limits */
        PG_ADDRESSES_MAX = 32,        /* of all hosts of a connection string */
        PG_TROUBLE_BYTES = 256,
        PG_CONNECT_US = 5000000,     /* per attempt, unless connect_timeout says otherwise */
        PG_MIGRATE_US = 120000000,   /* the tables of another version may be long ones */
        PG_LINK_LOOK_US = 10000000,  /* how often a connection that works is looked at */
        PG_SILENCE_US = 300000000,   /* without a result that is due: the connection is given up */
        PG_LARGE_IDLE_US = 60000000, /* the second connection is closed */
        PG_BACKOFF_MIN_US = 50000,
        PG_BACKOFF_MAX_US = 1000000,
        PG_BACKOFF_SCHEMA_US = 5000000, /* nothing changes there by itself */
        PG_REPREPARE_US = 15000000,     /* a plan made for an empty table must not live long */
};

struct postgres;
struct pg_link;
struct pg_statement;
struct pg_slot;
struct pg_large;

/* ---- configuration ---- */

struct pg_config {
        unsigned hosts; /* 0: libpq gets what the user wrote (a default, a service, addresses) */
        char **host, **port; /* each "" where it is the default */
        unsigned count; /* of key and value, which end with NULL: all but host, hostaddr and port */
        char **key, **value;
        char *schema;         /* quoted identifier */
        char *schema_literal; /* the same as a literal, for to_regclass() */
        char *schema_plain;
        uint64_t connect_timeout_us;
        bool wants_primary; /* target_session_attrs: a server that became read-only is left */
};

must_use bool
pg_config_read(struct pg_config *c, const struct options *options, char why[static 256]);
void pg_config_free(struct pg_config *c);
/* Only the schema's three forms. */
void pg_config_schema(struct pg_config *c, const char *schema);
char *pg_text(const char *text);                  /* a copy; mem_free() */
char *pg_text_part(const char *text, size_t len); /* likewise */
/* Replaces @ by the quoted schema and ~ by it as a literal. */
char *pg_text_fill(const char *text, const struct pg_config *c);

struct pg_address {              /* one entry of libpq's host list */
        const char *host, *port; /* the config's */
        char address[64];        /* "" for a socket */
};

struct pg_resolve { /* on a helper thread between offload() and its task */
        struct job job;
        struct task task;
        struct pg_link *link; /* NULL: nobody waits any more */
        struct pg_config own; /* hosts and ports: the tier may go meanwhile */
        unsigned count;
        struct pg_address at[PG_ADDRESSES_MAX];
        char why[128];
};

/* Without a name to look up the answer is there on return (true); else link's pg_link_resolved()
 * follows. */
bool pg_resolve_start(struct pg_link *link);
void pg_resolve_free(struct pg_resolve *r);
/* Starts libpq's connecting; NULL when memory is short. `first` is where the list of addresses
 * begins. */
PGconn *pg_config_connect(const struct pg_config *c, const struct pg_resolve *r, unsigned first);

/* ---- statements ---- */

enum pg_query {
        PG_GET,
        PG_PUT,
        PG_NEW,
        PG_TAKE,
        PG_FLOORS,
        PG_RAISE,
        PG_FLUSH_ALL,
        PG_FLUSH_SPACE,
        PG_SWEEP,
        PG_SWEEP_CHUNKS,
        PG_CLOCK,
        PG_PART,
        PG_CHUNK_PUT,
        PG_CHUNK_GET,
        PG_QUERY_COUNT
};

struct pg_query_row {
        const char *text;
        bool prepare; /* worth it: asked often */
        Oid types[PG_PARAMS_MAX];
};
extern const struct pg_query_row pg_queries[PG_QUERY_COUNT];
extern const char pg_schema_text[];
extern const char pg_look_text[];
extern const char pg_version_text[];

enum pg_oid {
        PG_BOOL = 16,
        PG_BYTEA = 17,
        PG_INT8 = 20,
        PG_INT4 = 23,
        PG_BOOLS = 1000,
        PG_BYTEAS = 1001,
        PG_INT8S = 1016
};

struct pg_params { /* binary parameters of one statement */
        struct buf bytes;
        int count;
        size_t open; /* the array being filled */
        size_t outside_bytes;
        struct {
                const uint8_t *outside; /* borrowed until the statement is sent; NULL: in bytes */
                size_t from;
                int len;
        } at[PG_PARAMS_MAX];
};

void params_reset(struct pg_params *p);
void params_bytes(struct pg_params *p, struct bytes b); /* borrows */
void params_i64(struct pg_params *p, int64_t v);
void params_i32(struct pg_params *p, int32_t v);
void params_array(struct pg_params *p, Oid element, unsigned count);
void params_array_bytes(struct pg_params *p, struct bytes b);
void params_array_i64(struct pg_params *p, int64_t v);
void params_array_bool(struct pg_params *p, bool v);
void params_array_null(struct pg_params *p);
void params_array_end(struct pg_params *p);

/* Fields of a result; false when they are not what they should be. */
must_use bool field_i64(const PGresult *r, int row, int column, int64_t *out);
must_use bool field_i32(const PGresult *r, int row, int column, int32_t *out);
must_use bool field_bool(const PGresult *r, int row, int column, bool *out);
must_use bool
field_bytes(const PGresult *r, int row, int column, struct bytes *out); /* false for NULL */

enum pg_end {
        PG_END_OK,
        PG_END_RETRY, /* refused in a way that the next attempt may not be */
        PG_END_ERROR,
        PG_END_LOST, /* the connection broke */
};

struct pg_statement {
        struct list link; /* of its connection, in the order sent */
        struct pg_link *on;
        enum pg_query query;
        unsigned before; /* results to come before its own: of DEALLOCATE, Parse */
        bool rows_over;  /* only the sync is to come */
        bool prepared;
        size_t bytes;
        uint64_t sent_us;
        char sqlstate[6];
        /* For each row; then once `end`, which takes the statement: pg_statement_free(). */
        void (*row)(struct pg_statement *st, const PGresult *r, int row);
        void (*end)(struct pg_statement *st, enum pg_end end);
        void *whose;    /* a large value, a flush; NULL: it gave up waiting */
        int64_t number; /* its owner's */
        unsigned late;  /* slots that were timed out meanwhile */
        unsigned count;
        struct pg_slot **slots; /* NULL where nobody waits any more */
        uint8_t (*ids)[16];     /* GET: in the order of the slots, sorted */
        struct buf gathered;    /* FLOORS */
};

struct pg_statement *pg_statement_new(enum pg_query query, unsigned slots);
void pg_statement_free(struct pg_statement *st);
/* Sends it with the parameters (which may be reset afterwards) and a sync of its own. It is the
 * connection's until its `end`, which never comes in line. */
void pg_statement_send(struct pg_link *link, struct pg_statement *st, const struct pg_params *p);
/* Takes what has come. */
void pg_results_take(struct pg_link *link);
/* Room for one more statement? */
bool pg_link_has_room(const struct pg_link *link);

/* ---- connections ---- */

enum pg_link_state {
        LINK_IDLE,
        LINK_RESOLVING,
        LINK_CONNECTING,
        LINK_SETUP,
        LINK_UP,
        LINK_WAITING
};
enum pg_setup { SETUP_LOOK, SETUP_VERSION, SETUP_MIGRATE };

struct pg_link {
        struct postgres *pg;
        bool large;
        enum pg_link_state state;
        enum pg_setup setup;
        bool migrated;  /* on this connection */
        PGresult *last; /* setup: of the results so far */
        PGconn *conn;
        int fd; /* a duplicate of libpq's, which closes its own when it likes */
        struct watch watch;
        unsigned watching, events;
        const char *broken; /* why it is to be dropped; NULL: it is not */
        bool unflushed;
        struct task task;
        struct timer timer; /* the state's: how long it may last */
        struct pg_resolve *resolve;
        unsigned first; /* address to begin with */
        unsigned failures;
        bool schema_trouble;
        uint64_t sent_us; /* setup: the query */

        struct list sent; /* statements */
        unsigned in_flight;
        size_t flight_bytes;
        uint64_t heard_us;
        bool pooled;                          /* a pooler stands between: one statement at a time */
        bool prepare;                         /* worth trying on this connection */
        uint64_t prepared_us[PG_QUERY_COUNT]; /* 0: not prepared */
};

void pg_link_init(struct pg_link *link, struct postgres *pg, bool large);
void pg_link_deinit(struct pg_link *link);
void pg_link_open(struct pg_link *link); /* IDLE only */
void pg_link_resolved(struct pg_link *link);
/* Sends what libpq holds back, and waits for what is due. */
void pg_link_flush(struct pg_link *link);
/* To be dropped by its task, not in line. */
void pg_link_break(struct pg_link *link, const char *why);
void pg_link_drop(struct pg_link *link, const char *why);
/* libpq's message in one line. */
void pg_link_message(const struct pg_link *link, char out[static PG_TROUBLE_BYTES]);

/* Setup: begins; then for each event. */
void pg_setup_start(struct pg_link *link);
void pg_setup_advance(struct pg_link *link);
void pg_link_ready(struct pg_link *link); /* from setup: statements may be sent */

/* ---- calls ---- */

struct pg_slot { /* one call under way; pooled */
        struct task expire;
        struct timer timer;
        struct list link; /* one of the tier's lists, while it waits for a statement */
        struct postgres *pg;
        struct tier_call *call;
        struct pg_statement *st; /* it is asked in */
        unsigned at;
        struct pg_large *large;
        struct pg_flush *flush;
        uint64_t order;
        int64_t part; /* WRITE: chunks of the value; 0 it is in line */
        unsigned tries;
        uint8_t id[16];
};

struct pg_flush {
        struct list link;
        struct postgres *pg;
        struct pg_slot *slot; /* NULL: nobody waits; it still goes on to its end */
        bool everything, begun, due;
        struct bytes space; /* in `stored` */
        uint8_t stored[PG_NAMESPACE_MAX + 24];
        int64_t bound; /* newest version that goes */
        uint8_t last[16];
        uint64_t count;
        unsigned tries;
};

struct postgres {
        struct tier tier;
        struct env *env;
        struct loop *loop;
        struct pg_config config;
        char *sql[PG_QUERY_COUNT];
        char name[PG_QUERY_COUNT][24];
        struct pg_link small, large;
        struct pg_params params;

        struct list gets, puts, news, others; /* slots that wait for a statement */
        struct task gather;
        struct list spare; /* slots */
        unsigned slots;    /* in use */
        uint64_t order;

        struct list large_waiting, large_active; /* pg_large */
        unsigned large_count;
        struct task large_task;

        struct list flushes;
        struct task chores;
        struct timer sweep_timer, clock_timer;
        bool sweeping, sweep_due, chunks_next, clock_due;
        unsigned turn; /* which kind of statement is next, where there is room for one */

        char what[48], trouble[PG_TROUBLE_BYTES];
        uint64_t connects, up_since_us, rtt_us;
        bool told_down;
        struct log_gate gate, error_gate, large_gate;
};

void pg_answer(struct pg_slot *slot, enum tier_result result);  /* the slot is free afterwards */
void pg_slot_detach(struct pg_slot *slot);                      /* from its statement or list */
void pg_slot_deadline(struct pg_slot *slot, uint64_t extra_us); /* beside the call's own */
void pg_slot_again(struct pg_slot *slot); /* waits for a statement once more, or fails */
void pg_gather_soon(struct postgres *pg);
/* What a namespace stands as. */
struct bytes pg_space(struct bytes name, uint8_t room[static PG_NAMESPACE_MAX + 24]);

bool pg_send_gets(struct postgres *pg); /* false: none waits */
bool pg_send_puts(struct postgres *pg);
bool pg_send_news(struct postgres *pg);
bool pg_send_others(struct postgres *pg);
bool pg_send_chores(struct postgres *pg);
/* One write on that connection: the end of a large one. */
void pg_send_write(struct pg_link *link, struct pg_slot *slot);

void pg_large_read(struct pg_slot *slot, int64_t part, uint32_t size, uint64_t version);
void pg_large_write(struct pg_slot *slot);
void pg_large_abandon(struct pg_slot *slot);
void pg_large_raced(struct pg_slot *slot); /* its last statement is to be repeated */
void pg_large_link_up(struct postgres *pg);
void pg_large_link_down(struct postgres *pg);
void pg_large_advance(struct task *task, struct env *env);

void pg_chores_up(struct postgres *pg);
void pg_chores_down(struct postgres *pg);
void pg_chores_advance(struct task *task, struct env *env);
void pg_clock_learn(struct postgres *pg, int64_t tier_us, uint64_t asked_us);
void pg_flush_start(struct pg_slot *slot);

#endif
