/* request/cmd_key.c: the commands about keys: DEL, the family of EXPIRE and TTL, DBSIZE and
 * FLUSHALL. TTL tells the hard expiry, also of a stale entry. Owns nothing that outlives the call.
 * Not here: NX, XX, GT and LT of EXPIRE; other databases than 0. */
#include "request/cmd_flush.h"
#include "request/command.h"

enum { SECOND_US = 1000000, MILLI_US = 1000 };

static void
finish_del(struct request *rq)
{
        unsigned existed = 0;

        if (reply_failure(rq))
                return;
        for (unsigned i = 0; i < rq->ops_count; i++)
                existed += rq->ops[i].existed;
        resp_integer(&rq->reply, existed);
}

/* DEL and UNLINK. */
void
cmd_del(struct call *c)
{
        request_start(call_request_keys(c, OP_DEL, finish_del));
}

/* ---- how long ---- */

static void
reply_ttl(struct chain *out, const struct op *op, uint64_t now_us, uint64_t unit)
{
        uint64_t hard_us = op->entry.meta.hard_us, left;

        if (op->state == OP_ERROR) {
                reply_error(out, op->error, op->detail);
        } else if (!op_has_value(op)) {
                resp_integer(out, -2);
        } else if (hard_us == UINT64_MAX) {
                resp_integer(out, -1);
        } else {
                left = hard_us > now_us ? hard_us - now_us : 0;
                resp_integer(out, (int64_t)((left + unit / 2) / unit));
        }
}

static void
finish_ttl(struct request *rq)
{
        reply_ttl(&rq->reply, &rq->ops[0], rq->env->now_us, rq->argument[0]);
}

/* TTL and PTTL. */
void
cmd_ttl(struct call *c)
{
        struct request *rq = call_request_keys(c, OP_GET, finish_ttl);

        rq->argument[0] = c->row == &command_rows[COMMAND_TTL] ? SECOND_US : MILLI_US;
        rq->ops[0].asked.stale_fine = true;
        request_start(rq);
}

static void
finish_expire(struct request *rq)
{
        if (!reply_failure(rq))
                resp_integer(&rq->reply, rq->ops[0].state == OP_DONE);
}

/* A time that has passed, however long ago, makes a tombstone; 0 would mean never. */
static bool
moment_read(struct call *c, uint64_t unit, bool absolute, uint64_t *hard_us)
{
        int64_t n, us;

        if (!resp_number(call_arg(c, 2), &n)) {
                call_error(c, ERR_NOT_INTEGER, NULL);
                return false;
        }
        if (__builtin_mul_overflow(n, (int64_t)unit, &us) ||
            __builtin_add_overflow(us, absolute ? 0 : (int64_t)c->env->now_us, &us)) {
                call_error(c, ERR_BAD_EXPIRE, c->row->name);
                return false;
        }
        *hard_us = us > 0 ? (uint64_t)us : 1;
        return true;
}

static void
start_expire(struct call *c, uint64_t unit, bool absolute)
{
        struct request *rq;
        uint64_t hard_us;

        if (c->argc > 3) {
                call_refuse(c, "Unsupported option %.*s", CALL_SHOW(c, 3));
                return;
        }
        if (!moment_read(c, unit, absolute, &hard_us))
                return;
        rq = call_request_keys(c, OP_EXPIRE, finish_expire);
        rq->ops[0].asked.lifetime = LIFE_AT;
        rq->ops[0].asked.hard_us = hard_us;
        request_start(rq);
}

void
cmd_expire(struct call *c)
{
        start_expire(c, SECOND_US, false);
}

void
cmd_pexpire(struct call *c)
{
        start_expire(c, MILLI_US, false);
}

void
cmd_expireat(struct call *c)
{
        start_expire(c, SECOND_US, true);
}

void
cmd_pexpireat(struct call *c)
{
        start_expire(c, MILLI_US, true);
}

/* 1 only where there was an expiry to take away: op->entry is what was there before. */
static void
finish_persist(struct request *rq)
{
        const struct op *op = &rq->ops[0];

        if (!reply_failure(rq))
                resp_integer(&rq->reply,
                             op->state == OP_DONE && op->entry.meta.hard_us != UINT64_MAX);
}

void
cmd_persist(struct call *c)
{
        struct request *rq = call_request_keys(c, OP_EXPIRE, finish_persist);

        rq->ops[0].asked.lifetime = LIFE_AT;
        request_start(rq);
}

/* ---- all keys ---- */

void
cmd_dbsize(struct call *c)
{
        struct l1_stats stats;

        l1_stats(c->env->l1, &stats);
        resp_integer(call_out(c), (int64_t)(stats.entries - stats.tombstones));
}

void
flush_start(struct call *c, unsigned tiers, const struct bytes *name_space,
            void (*finish)(struct request *))
{
        struct request *rq = call_request(c, c->env->count, finish);
        struct key key = {.text = bytes_of("", 0)};

        if (name_space != NULL)
                key.text = request_copy(rq, *name_space);
        for (unsigned i = 0; i < rq->ops_count; i++) {
                key.hash = i; /* the worker where the op is at home */
                op_init(&rq->ops[i], rq, OP_FLUSH, key, c->env);
                rq->ops[i].asked.flush_tiers = tiers;
                rq->ops[i].asked.flush_everything = name_space == NULL;
        }
        request_start(rq);
}

static void
finish_flushall(struct request *rq)
{
        if (!reply_failure(rq))
                resp_simple(&rq->reply, "OK");
}

/* FLUSHALL and FLUSHDB. */
void
cmd_flushall(struct call *c)
{
        const struct env *env = c->env;

        if (c->argc > 2 || (c->argc == 2 && !call_is(c, 1, "async") && !call_is(c, 1, "sync"))) {
                call_error(c, ERR_SYNTAX, NULL);
                return;
        }
        if ((env->l2 != NULL || env->l3 != NULL) && !option_number(env->options, O_flushall)) {
                call_error(c, ERR_REFUSED,
                           "it would empty L2 and L3 for everybody; use PN.FLUSH, or set "
                           "flushall = yes");
                return;
        }
        flush_start(c, FLUSH_ALL, NULL, finish_flushall);
}
