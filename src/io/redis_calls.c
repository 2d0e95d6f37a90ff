/* redis_calls: the calls that are one question and one answer, and what all calls have in common:
 * their time-out, their refusal, their end. Owns: the ops. Borrows: the callers' tier_calls, until
 * they are answered or cancelled. An op whose call is gone lives on until its slots have swallowed
 * the answers. Limits: LIMIT_L2_INFLIGHT questions and LIMIT_L2_UNSENT_BYTES on the main
 * connection; beyond them a call is answered TIER_DOWN at once. Not here: large values
 * (redis_large.c), many keys (redis_sweep.c). */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "io/redis_command.h"
#include "io/redis_state.h"

_Static_assert(WRITE_STORED == 0 && WRITE_LOST == 1 && WRITE_CONFLICT == 2 && WRITE_LATE == 3,
               "what SCRIPT_WRITE answers");

enum { NAME_BYTES = 64 + sizeof ":v:{}" + KEY_L2_NAME_MAX };

static const uint64_t lua_exact_max = (uint64_t)1 << 53;
static const uint64_t refusal_log_us = 10000000;

/* ---- the life of an op ---- */

void
redis_op_settle(struct redis_op *op)
{
        struct redis_tier *t = op->tier;
        bool running = op->running;

        if (op->call != NULL || op->slots > 0)
                return;
        if (!list_empty(&op->waiting)) {
                list_remove(&op->waiting);
                t->large_waiting_count--;
        }
        list_remove(&op->task.ready);
        if (op->deinit != NULL)
                op->deinit(op);
        mem_free(op);
        if (running) {
                t->large_running--;
                redis_large_next(t);
        }
}

void
redis_op_answer(struct redis_op *op, enum tier_result result)
{
        struct env *env = op->tier->env;
        struct tier_call *call = op->call;

        op->call = NULL;
        timer_cancel(&env->timers, &call->timer);
        call->slot = NULL;
        call->result = result;
        task_ready(&env->ready, call->owner);
}

static void
op_advance(struct task *task, struct env *env)
{
        struct redis_op *op = container_of(task, struct redis_op, task);

        if (op->call == NULL || !op->call->timer.fired)
                return;
        metric_add(env->metrics, M_l2_timeouts, 1);
        op->timed_out = true;
        redis_op_answer(op, TIER_TIMED_OUT);
        redis_op_settle(op);
}

void
redis_op_extend(struct redis_op *op, uint64_t bytes)
{
        enum { BYTES_A_SECOND = 8 << 20 };
        struct tier_call *call = op->call;

        timer_set(&op->tier->env->timers, &call->timer, &op->task,
                  call->deadline_us + bytes * 1000000 / BYTES_A_SECOND);
}

void
redis_op_refused(struct redis_op *op, const char *word)
{
        struct env *env = op->tier->env;
        uint64_t held;

        metric_add(env->metrics, M_l2_errors, 1);
        if (log_every(&op->tier->error_gate, env->mono_us, refusal_log_us, &held))
                log_warn("l2: %s answers %s to a call (%" PRIu64 " more since the last such line)",
                         op->tier->address_text, word, held);
}

static void script_again(struct redis_op *op, struct redis_link *l);

static void
op_error(struct redis_op *op, struct redis_link *l, const struct redis_answer *a)
{
        char word[24];

        redis_error_word(a, word);
        if (strcmp(word, "NOSCRIPT") == 0 && op->script != SCRIPT_COUNT && !op->again) {
                op->again = true;
                script_again(op, l);
                return;
        }
        redis_op_refused(op, word);
        redis_op_answer(op, TIER_FAILED);
        /* Once a master, now a replica: the name may lead to the new master. */
        if (strcmp(word, "READONLY") == 0)
                redis_link_break(l, "it has become a replica, which takes no writes");
}

static void
op_take(struct redis_link *l, struct redis_slot *slot, struct redis_answer *a)
{
        struct redis_op *op = slot->op;

        op->slots--;
        if (op->call == NULL) {
                if (a != NULL && op->timed_out)
                        metric_add(op->tier->env->metrics, M_l2_late, 1);
        } else if (a == NULL) {
                redis_op_answer(op, TIER_DOWN);
        } else if (a->kind == ANSWER_ERROR) {
                op_error(op, l, a);
        } else {
                op->step(op, a);
        }
        redis_op_settle(op);
}

struct redis_slot *
redis_op_ask(struct redis_op *op, struct redis_link *l)
{
        struct redis_slot *slot = redis_link_ask(l, op_take);

        slot->op = op;
        op->slots++;
        return slot;
}

/* An answer of a form that the command does not have. */
static void
op_strange(struct redis_op *op)
{
        redis_op_refused(op, "nonsense");
        redis_op_answer(op, TIER_FAILED);
}

/* ---- names ---- */

struct name {
        size_t len;
        uint8_t at[NAME_BYTES];
};

static void
name_part(struct chain *out, const struct redis_tier *t, char kind, struct bytes key)
{
        struct name n = {.len = strlen(t->config.prefix)};
        const uint8_t open[4] = {':', (uint8_t)kind, ':', '{'};

        memcpy(n.at, t->config.prefix, n.len);
        memcpy(n.at + n.len, open, sizeof open);
        n.len += sizeof open;
        n.len += key_l2_name(key, n.at + n.len);
        n.at[n.len++] = '}';
        command_part(out, bytes_of(n.at, n.len));
}

static void
floors_name_part(struct chain *out, const struct redis_tier *t)
{
        char name[NAME_BYTES];
        int n = snprintf(name, sizeof name, "%s:t:{inv}", t->config.prefix);

        command_part(out, bytes_of(name, (size_t)n));
}

static void
script_begin(struct redis_op *op, struct redis_link *l, unsigned keys, unsigned arguments)
{
        command_begin(&l->out, 3 + keys + arguments);
        command_text(&l->out, op->again ? "EVAL" : "EVALSHA");
        command_text(&l->out, op->again ? redis_scripts[op->script] : op->tier->sha[op->script]);
        command_number(&l->out, keys);
}

/* ---- GET ---- */

/* Whole, the beginning of a large one, or absent. */
static void
get_step(struct redis_op *op, struct redis_answer *a)
{
        struct blob *blob = a->blob;
        uint64_t total;

        if (a->kind != ANSWER_STRING || blob == NULL) {
                op_strange(op);
                return;
        }
        if (a->text.len > 0)
                a->blob = NULL;
        total = a->text.len < REDIS_FIRST_BYTES ? 0 : redis_value_length(op->tier, a->text);
        if (total > REDIS_FIRST_BYTES) {
                redis_fetch_begin(op, blob, total);
                return;
        }
        op->call->found = a->text.len > 0 ? blob : NULL;
        redis_op_answer(op, TIER_ANSWERED);
}

static void
get_start(struct redis_op *op)
{
        struct redis_link *l = op->tier->main;

        op->step = get_step;
        command_begin(&l->out, 4);
        command_text(&l->out, "GETRANGE");
        name_part(&l->out, op->tier, 'v', op->call->key.text);
        command_number(&l->out, 0);
        command_number(&l->out, REDIS_FIRST_BYTES - 1);
        redis_op_ask(op, l);
}

void
redis_piece_ask(struct redis_op *op, struct redis_link *l, uint64_t from, uint64_t len,
                struct answer_target target)
{
        command_begin(&l->out, 4);
        command_text(&l->out, "GETRANGE");
        name_part(&l->out, op->tier, 'v', op->call->key.text);
        command_number(&l->out, from);
        command_number(&l->out, from + len - 1);
        redis_op_ask(op, l)->target = target;
}

/* ---- WRITE ---- */

static void
write_step(struct redis_op *op, struct redis_answer *a)
{
        struct tier_call *call = op->call;
        uint64_t outcome, version, existed;

        if (!answer_item_number(a, 0, &outcome) || !answer_item_number(a, 1, &version) ||
            !answer_item_number(a, 2, &existed) || outcome > WRITE_LATE) {
                op_strange(op);
                return;
        }
        call->outcome = (enum write_outcome)outcome;
        call->found_version = version;
        call->existed = existed != 0;
        if (outcome == WRITE_LATE && version > op->tier->late_us)
                op->tier->late_us = version; /* the tier's task comes before the caller's */
        redis_op_answer(op, TIER_ANSWERED);
}

static void
write_send(struct redis_op *op, struct redis_link *l)
{
        static const char *const kinds[] = {
                [WRITE_NEW] = "n", [WRITE_STAMPED] = "s", [WRITE_PROMOTED] = "p"};
        const struct tier_call *call = op->call;
        struct chain *out = &l->out;
        uint64_t keep_us = call->keep_until_us;
        uint8_t replid[8];

        /* 0 is Lua's "for ever"; what is past means: as short as can be. */
        if (keep_us >= lua_exact_max)
                keep_us = 0;
        else if (keep_us == 0)
                keep_us = 1;
        put_u64(replid, op->tier->tier.replid);
        script_begin(op, l, 2, 9);
        name_part(out, op->tier, 'v', call->key.text);
        name_part(out, op->tier, 'l', call->key.text);
        command_text(out, kinds[call->kind]);
        command_number(out, call->version);
        if (call->kind != WRITE_NEW || call->expect == EXPECT_ANY)
                command_text(out, "-1");
        else
                command_number(out, call->expect);
        command_number(out, call->known_us + 1);
        command_number(out, call->estimate_us > LIMIT_CLOCK_SLACK_US
                                    ? call->estimate_us - LIMIT_CLOCK_SLACK_US
                                    : 0);
        command_number(out, call->until_us);
        command_number(out, keep_us);
        command_part(out, bytes_of(replid, call->replid_strict && op->tier->tier.replid != 0
                                                   ? sizeof replid
                                                   : 0));
        command_blob(out, call->entry->blob,
                     bytes_from(blob_bytes(call->entry->blob), ENVELOPE_PREFIX));
        redis_op_ask(op, l);
}

static void
write_start(struct redis_op *op)
{
        op->script = SCRIPT_WRITE;
        op->step = write_step;
        if (op->call->entry->payload_len <= LIMIT_CHUNK_BYTES) {
                write_send(op, op->tier->main);
                return;
        }
        redis_op_extend(op, op->call->entry->payload_len);
        redis_large_submit(op);
}

/* ---- TAKE, RAISE ---- */

static void
number_step(struct redis_op *op, struct redis_answer *a)
{
        if (a->kind != ANSWER_INTEGER || a->integer < 0) {
                op_strange(op);
                return;
        }
        if (op->call->verb == TIER_RAISE)
                op->call->found_version = (uint64_t)a->integer;
        redis_op_answer(op, TIER_ANSWERED);
}

static void
take_send(struct redis_op *op, struct redis_link *l)
{
        uint8_t origin[8];

        op->script = SCRIPT_TAKE;
        op->step = number_step;
        put_u64(origin, op->call->origin);
        script_begin(op, l, 1, 2);
        name_part(&l->out, op->tier, 'v', op->call->key.text);
        command_number(&l->out, op->call->version);
        command_part(&l->out, bytes_of(origin, sizeof origin));
        redis_op_ask(op, l);
}

static void
raise_send(struct redis_op *op, struct redis_link *l)
{
        struct bytes name = op->call->name_space;
        struct buf field = {0};

        op->script = SCRIPT_RAISE;
        op->step = number_step;
        must(name.at != NULL); /* there is no floor of everything */
        buf_append(&field, bytes_str("n:"));
        buf_append(&field, name);
        script_begin(op, l, 1, 2);
        floors_name_part(&l->out, op->tier);
        command_part(&l->out, buf_bytes(&field));
        command_number(&l->out, op->call->version);
        redis_op_ask(op, l);
        buf_free(&field);
}

/* An operator's SCRIPT FLUSH: the text goes along once, which loads it again. */
static void
script_again(struct redis_op *op, struct redis_link *l)
{
        switch (op->call->verb) {
        case TIER_WRITE:
                write_send(op, l);
                break;
        case TIER_TAKE:
                take_send(op, l);
                break;
        case TIER_RAISE:
                raise_send(op, l);
                break;
        case TIER_GET:
        case TIER_FLUSH:
        case TIER_FLOORS:
                must(false);
        }
}

/* ---- the tier's operations ---- */

void
redis_op_begin_large(struct redis_op *op)
{
        if (op->call->verb == TIER_WRITE)
                write_send(op, op->tier->large);
        else
                redis_fetch_start(op);
}

static bool
admits(const struct redis_tier *t)
{
        return t->tier.up && t->main->slot_count < LIMIT_L2_INFLIGHT &&
               t->main->out.bytes < LIMIT_L2_UNSENT_BYTES;
}

void
redis_start(struct tier *tier, struct tier_call *call)
{
        struct redis_tier *t = container_of(tier, struct redis_tier, tier);
        struct redis_op *op;

        if (!admits(t)) {
                call->result = TIER_DOWN;
                task_ready(&t->env->ready, call->owner);
                return;
        }
        op = mem_zalloc(sizeof *op);
        task_init(&op->task, op_advance);
        list_init(&op->waiting);
        op->tier = t;
        op->call = call;
        op->script = SCRIPT_COUNT;
        call->slot = op;
        timer_set(&t->env->timers, &call->timer, &op->task, call->deadline_us);
        redis_watch(t);
        switch (call->verb) {
        case TIER_GET:
                get_start(op);
                break;
        case TIER_WRITE:
                write_start(op);
                break;
        case TIER_TAKE:
                take_send(op, t->main);
                break;
        case TIER_FLUSH:
                redis_flush_start(op);
                break;
        case TIER_FLOORS:
                redis_floors_start(op);
                break;
        case TIER_RAISE:
                raise_send(op, t->main);
                break;
        }
        redis_op_settle(op);
}

void
redis_cancel(struct tier *tier, struct tier_call *call)
{
        struct redis_op *op = call->slot;

        (void)tier;
        op->call = NULL;
        call->slot = NULL;
        timer_cancel(&op->tier->env->timers, &call->timer);
        redis_op_settle(op);
}
