/* request/cmd_pannier.c: the PN commands: what Redis has no words for. Owns nothing that outlives
 * the call: tags are the request's.
 * Limits: LIMIT_TAGS, LIMIT_TAG_BYTES. Not here yet: leases (LEASE and WAIT are refused),
 * priorities. */
#include <stdio.h>

#include "base/mem.h"
#include "request/cmd_flush.h"
#include "request/command.h"

enum { MILLI_US = 1000 };

/* ---- PN.GET ---- */

struct got { /* what a PN.GET tells; NULL and -1: does not apply */
        const char *state, *tier;
        bool value;
        int64_t age_ms, soft_ms, hard_ms;
        char error[256];
};

static int64_t
left_ms(uint64_t until_us, uint64_t now_us)
{
        if (until_us == UINT64_MAX)
                return -1;
        return until_us > now_us ? (int64_t)((until_us - now_us) / MILLI_US) : 0;
}

static const char *
tier_name(enum op_tier tier)
{
        switch (tier) {
        case OP_TIER_L1:
                return "l1";
        case OP_TIER_L2:
                return "l2";
        case OP_TIER_L3:
                return "l3";
        case OP_TIER_NONE:
        case OP_TIER_QUEUE: /* in memory, on its way to all of them */
                break;
        }
        return NULL;
}

static void
got_times(struct got *g, const struct meta *m, uint64_t now_us)
{
        g->age_ms = now_us > m->version ? (int64_t)((now_us - m->version) / MILLI_US) : 0;
        g->soft_ms = left_ms(m->soft_us, now_us);
        g->hard_ms = left_ms(m->hard_us, now_us);
}

/* The text of a NEGATIVE entry is its value. */
static void
got_negative(struct got *g, const struct entry *e)
{
        struct bytes part;
        struct blob *raw = entry_raw(e, &part);

        if (raw == NULL)
                return;
        snprintf(g->error, sizeof g->error, "%.*s", part.len < 255 ? (int)part.len : 255,
                 (const char *)part.at);
        blob_unref(raw);
}

/* The sentence of the op's error, with its detail in the place of "%s". */
static void
got_error(struct got *g, const struct op *op)
{
        const char *text = err_text(op->error), *hole = strstr(text, "%s");
        int before = hole != NULL ? (int)(hole - text) : (int)strlen(text);

        snprintf(g->error, sizeof g->error, "%.*s%s%s", before, text,
                 hole != NULL && op->detail != NULL ? op->detail : "",
                 hole != NULL ? hole + 2 : "");
}

static void
got_fill(struct got *g, const struct op *op, uint64_t now_us)
{
        *g = (struct got){.age_ms = -1, .soft_ms = -1, .hard_ms = -1};
        g->tier = tier_name(op->tier);
        if (op->state == OP_HIT || op->state == OP_STALE) {
                g->state = op->state == OP_HIT ? "hit" : "stale";
                g->value = true;
                got_times(g, &op->entry.meta, now_us);
        } else if (op->state == OP_NEGATIVE) {
                g->state = "negative";
                got_times(g, &op->entry.meta, now_us);
                got_negative(g, &op->entry);
        } else {
                g->state = "miss";
                g->tier = NULL;
                if (op->error != OK) /* it might be there: a tier did not say */
                        got_error(g, op);
        }
}

static void
pair_ms(struct chain *out, const char *name, int64_t ms)
{
        if (ms < 0)
                return;
        resp_bulk_text(out, name);
        resp_integer(out, ms);
}

static void
reply_pn_get(struct chain *out, const struct op *op, uint64_t now_us, enum resp_version v)
{
        struct got g;

        if (op->state == OP_ERROR) {
                reply_error(out, op->error, op->detail);
                return;
        }
        got_fill(&g, op, now_us);
        resp_map(out,
                 1u + g.value + (g.tier != NULL) + (g.age_ms >= 0) + (g.soft_ms >= 0) +
                         (g.hard_ms >= 0) + (g.error[0] != '\0'),
                 v);
        resp_bulk_text(out, "state");
        resp_bulk_text(out, g.state);
        if (g.value) {
                resp_bulk_text(out, "value");
                reply_value(out, op);
        }
        if (g.tier != NULL) {
                resp_bulk_text(out, "tier");
                resp_bulk_text(out, g.tier);
        }
        pair_ms(out, "age-ms", g.age_ms);
        pair_ms(out, "soft-ms", g.soft_ms);
        pair_ms(out, "hard-ms", g.hard_ms);
        if (g.error[0] != '\0') {
                resp_bulk_text(out, "error");
                resp_bulk_text(out, g.error);
        }
}

static void
finish_pn_get(struct request *rq)
{
        reply_pn_get(&rq->reply, &rq->ops[0], rq->env->now_us, session_version(rq->session));
}

/* A number of at least `least` behind word i, times `unit`. False: refused. */
static bool
number_behind(struct call *c, unsigned i, int64_t least, uint64_t unit, uint64_t *out)
{
        uint64_t us;
        int64_t n;

        if (i + 1 >= c->argc) {
                call_error(c, ERR_SYNTAX, NULL);
                return false;
        }
        if (!resp_number(call_arg(c, i + 1), &n) || n < least ||
            __builtin_mul_overflow((uint64_t)n, unit, &us) || us > INT64_MAX) {
                call_refuse(c, "%.*s is not an integer or out of range", CALL_SHOW(c, i));
                return false;
        }
        *out = us;
        return true;
}

static bool
pn_get_words(struct call *c, struct op_asked *asked)
{
        for (unsigned i = 2; i < c->argc; i += 2) {
                if (call_is(c, i, "lease") || call_is(c, i, "wait") || call_is(c, i, "prio")) {
                        call_refuse(c, "%.*s is not available yet", CALL_SHOW(c, i));
                        return false;
                }
                if (!call_is(c, i, "deadline")) {
                        call_error(c, ERR_SYNTAX, NULL);
                        return false;
                }
                if (!number_behind(c, i, 1, MILLI_US, &asked->deadline_us))
                        return false;
        }
        return true;
}

void
cmd_pn_get(struct call *c)
{
        struct op op = {0};
        struct request *rq;

        op_init(&op, NULL, OP_GET, key_of(call_arg(c, 1), c->env->key_seed), c->env);
        op.asked.stale_fine = op.asked.want_raw = true;
        if (!pn_get_words(c, &op.asked))
                return;
        if (op_get_at_once(&op, c->env)) {
                reply_pn_get(call_out(c), &op, c->env->now_us, call_version(c));
                op_deinit(&op);
                return;
        }
        rq = call_request_keys(c, OP_GET, finish_pn_get);
        rq->ops[0].asked = op.asked;
        request_start(rq);
}

/* ---- PN.SET ---- */

/* Where argument i is TAG: judges what follows, which is tags to the end (TAG before each is fine,
 * too). */
static bool
tags_judge(struct call *c, unsigned i, unsigned *count)
{
        for (; i < c->argc; i++) {
                size_t len = call_arg(c, i).len;

                if (call_is(c, i, "tag")) {
                        if (i + 1 == c->argc) {
                                call_error(c, ERR_SYNTAX, NULL);
                                return false;
                        }
                        continue;
                }
                if (len == 0 || len > LIMIT_TAG_BYTES) {
                        call_refuse(c, "a tag has 1 to %d bytes", LIMIT_TAG_BYTES);
                        return false;
                }
                if (++*count > LIMIT_TAGS) {
                        call_refuse(c, "more than %d tags", LIMIT_TAGS);
                        return false;
                }
        }
        return true;
}

static bool
confidence_behind(struct call *c, unsigned i, uint16_t *out)
{
        double d;

        if (i + 1 >= c->argc) {
                call_error(c, ERR_SYNTAX, NULL);
                return false;
        }
        if (!bytes_to_double(call_arg(c, i + 1), &d)) {
                call_error(c, ERR_NOT_FLOAT, NULL);
                return false;
        }
        if (d < 0 || d > 1) {
                call_refuse(c, "CONF is from 0 to 1");
                return false;
        }
        *out = (uint16_t)(d * UINT16_MAX + 0.5);
        return true;
}

static bool
compute_behind(struct call *c, unsigned i, uint32_t *out)
{
        uint64_t us;

        if (!number_behind(c, i, 0, 1, &us))
                return false;
        *out = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX; /* over an hour is an hour */
        return true;
}

/* One option, its value behind it. */
static bool
pn_set_word(struct call *c, unsigned i, struct op_asked *asked)
{
        if (call_is(c, i, "ttl"))
                return number_behind(c, i, 1, MILLI_US, &asked->life.ttl_us);
        if (call_is(c, i, "grace")) {
                asked->life.grace_named = true;
                return number_behind(c, i, 0, MILLI_US, &asked->life.grace_us);
        }
        if (call_is(c, i, "cost"))
                return number_behind(c, i, 0, 1, &asked->cost);
        if (call_is(c, i, "compute"))
                return compute_behind(c, i, &asked->compute_us);
        if (call_is(c, i, "conf"))
                return confidence_behind(c, i, &asked->confidence);
        call_error(c, ERR_SYNTAX, NULL);
        return false;
}

static void
finish_pn_set(struct request *rq)
{
        if (!reply_failure(rq))
                resp_simple(&rq->reply, "OK");
}

/* The request keeps the tags that stand from argument i on. */
static void
tags_keep(struct call *c, struct request *rq, unsigned i, unsigned count)
{
        struct bytes *tags = mem_alloc(count * sizeof *tags);
        unsigned n = 0;

        for (; i < c->argc; i++) {
                if (!call_is(c, i, "tag"))
                        tags[n++] = request_copy(rq, call_arg(c, i));
        }
        rq->extra = tags;
        rq->ops[0].asked.tags = tags;
        rq->ops[0].asked.tag_count = (uint16_t)n;
}

void
cmd_pn_set(struct call *c)
{
        struct op_asked asked = {0};
        struct request *rq;
        unsigned i = 3, tags = 0;

        for (; i < c->argc && !call_is(c, i, "tag"); i += 2) {
                if (!pn_set_word(c, i, &asked))
                        return;
        }
        if (!tags_judge(c, i, &tags) || !call_value(c, 2, &asked.value))
                return;
        asked.value_part = blob_bytes(asked.value);
        rq = call_request_keys(c, OP_SET, finish_pn_set);
        rq->ops[0].asked = asked;
        if (tags > 0)
                tags_keep(c, rq, i, tags);
        request_start(rq);
}

/* ---- PN.FLUSH ---- */

static void
finish_pn_flush(struct request *rq)
{
        uint64_t count = 0;

        if (reply_failure(rq))
                return;
        for (unsigned i = 0; i < rq->ops_count; i++)
                count += rq->ops[i].count;
        resp_integer(&rq->reply, (int64_t)count);
}

/* The tiers that argument 1 names; 0: refused. */
static unsigned
flush_tiers(struct call *c)
{
        const struct env *env = c->env;
        unsigned there =
                FLUSH_L1 | (env->l2 != NULL ? FLUSH_L2 : 0u) | (env->l3 != NULL ? FLUSH_L3 : 0u);
        unsigned asked = call_is(c, 1, "l1")   ? FLUSH_L1
                         : call_is(c, 1, "l2") ? FLUSH_L2
                         : call_is(c, 1, "l3") ? FLUSH_L3
                                               : 0u;

        if (call_is(c, 1, "all"))
                return FLUSH_ALL;
        if (asked == 0)
                call_refuse(c, "what is flushed is one of L1, L2, L3 and ALL");
        else if ((asked & there) == 0)
                call_refuse(c, "%.*s is not configured", CALL_SHOW(c, 1));
        return asked & there;
}

void
cmd_pn_flush(struct call *c)
{
        struct bytes name_space;
        unsigned tiers;

        if (c->argc != 2 && (c->argc != 4 || !call_is(c, 2, "namespace"))) {
                call_error(c, ERR_SYNTAX, NULL);
                return;
        }
        tiers = flush_tiers(c);
        if (tiers == 0)
                return;
        if (c->argc == 4) {
                name_space = call_arg(c, 3);
                if (name_space.len > LIMIT_KEY_BYTES || memchr(name_space.at, ':', name_space.len))
                        call_refuse(c, "a namespace is what stands before the first ':' of a key");
                else
                        flush_start(c, tiers, &name_space, finish_pn_flush);
                return;
        }
        flush_start(c, tiers, NULL, finish_pn_flush);
}

/* ---- PN.TIERS, PN.HELP ---- */

static void
pair_text(struct chain *out, const char *name, const char *text)
{
        resp_bulk_text(out, name);
        resp_bulk_text(out, text);
}

static void
pair_number(struct chain *out, const char *name, uint64_t n)
{
        resp_bulk_text(out, name);
        resp_integer(out, n < INT64_MAX ? (int64_t)n : INT64_MAX);
}

static void
reply_l1(struct chain *out, const struct env *env, enum resp_version v)
{
        struct l1_stats stats;

        l1_stats(env->l1, &stats);
        resp_bulk_text(out, "l1");
        resp_map(out, 4, v);
        pair_text(out, "state", "up");
        pair_number(out, "entries", stats.entries - stats.tombstones);
        pair_number(out, "bytes", stats.bytes);
        pair_number(out, "bytes-max", option_number(env->options, O_memory));
}

/* As this worker sees it: each has its own connections. */
static void
reply_tier(struct chain *out, const char *name, struct tier *tier, uint64_t now_us,
           enum resp_version v)
{
        struct tier_state state = {.what = "", .trouble = ""};

        tier->ops->describe(tier, &state);
        resp_bulk_text(out, name);
        resp_map(out, 7, v);
        pair_text(out, "state", state.up ? "up" : "down");
        pair_text(out, "what", state.what);
        pair_text(out, "trouble", state.trouble);
        pair_number(out, "in-flight", state.in_flight);
        pair_number(out, "connects", state.connects);
        pair_number(out, "up-ms",
                    state.up && now_us > state.up_since_us ? (now_us - state.up_since_us) / MILLI_US
                                                           : 0);
        pair_number(out, "rtt-us", state.last_rtt_us);
}

void
cmd_pn_tiers(struct call *c)
{
        const struct env *env = c->env;
        struct chain *out = call_out(c);
        enum resp_version v = call_version(c);

        resp_map(out, 1u + (env->l2 != NULL) + (env->l3 != NULL), v);
        reply_l1(out, env, v);
        if (env->l2 != NULL)
                reply_tier(out, "l2", env->l2, env->mono_us, v);
        if (env->l3 != NULL)
                reply_tier(out, "l3", env->l3, env->mono_us, v);
}

void
cmd_pn_help(struct call *c)
{
        struct chain *out = call_out(c);
        size_t count = 0;

        for (size_t i = 0; i < COMMAND_COUNT; i++)
                count += (command_rows[i].flags & CMD_PANNIER) != 0;
        resp_array(out, count);
        for (size_t i = 0; i < COMMAND_COUNT; i++) {
                char line[512];

                if ((command_rows[i].flags & CMD_PANNIER) == 0)
                        continue;
                snprintf(line, sizeof line, "%s: %s", command_rows[i].syntax,
                         command_rows[i].summary);
                resp_simple(out, line);
        }
}
