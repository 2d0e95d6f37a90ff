/* request/op_write.c: SET, DEL and EXPIRE of one key, as the namespace's write mode says
 * (ARCHITECTURE.md, "Write modes").
 *
 * What depends on what is there (NX, XX, GET, KEEPTTL, EXPIRE) reads it first and writes with "only
 * if it is still that version"; a conflict reads again. The lowest shared tier gives the version;
 * L1 and L3 take what it answers.
 * Owns: what it makes (op->made, op->in_l3).
 * Borrows: the lookup it follows.
 * Limit: WRITE_TURNS_MAX tries, and the deadline.
 * Not here: what waits for a tier that did not answer (queues.c). */
#include "base/limits.h"
#include "request/floors.h"
#include "request/lookup.h"
#include "request/newest.h"
#include "request/op.h"
#include "request/queues.h"

enum {
        WRITE_BEGIN,
        WRITE_LINE,
        WRITE_READ,
        WRITE_DECIDE,
        WRITE_MAKE,
        WRITE_MADE,
        WRITE_SEND,
        WRITE_HAVE_L2,
        WRITE_ASK_L3,
        WRITE_HAVE_L3,
        WRITE_UNSTAMPED,
};
enum { WRITE_TURNS_MAX = 8, WRITE_POLL_US = 2000, ESTIMATE_GAP_US = 1000 };

static bool
write_reads_first(const struct op *op)
{
        return op->kind == OP_EXPIRE || op->asked.condition != OP_ALWAYS || op->asked.want_old ||
               op->asked.lifetime == LIFE_KEEP;
}

static bool
write_is_conditional(const struct op *op)
{
        return op->expect != EXPECT_ANY;
}

static const struct policy *
write_policy(const struct op *op, const struct env *env)
{
        return newest_policy(env, op->key);
}

static enum write_mode
write_mode(const struct op *op, const struct env *env)
{
        return newest_mode(write_policy(op, env));
}

static void
write_begin(struct op *op, struct env *env)
{
        uint64_t within = op->asked.deadline_us;

        if (within == 0)
                within = policy_number(write_policy(op, env), P_deadline);
        op->started_us = env->mono_us;
        op->ends_us = env->mono_us + within + tier_extra_us(op->asked.value_part.len);
        op->mark = landing_enter(env->landing, op->key);
        op->stamp = env->now_us;
        op->expect = EXPECT_ANY;
        op->alone = write_reads_first(op);
        op_line_enter(op, env);
}

/* A DEL, or what comes to the same: a lifetime that is over already. */
static bool
write_deletes(const struct op *op)
{
        return (op->made.meta.flags & ENTRY_TOMBSTONE) != 0;
}

/* ---- what is there now ---- */

/* Not by what another Redis was told, in mode through: this one may hold the same version,
 * restored, though L3 has something newer. */
static bool
write_may_go_by(const struct op *op, const struct env *env, const struct l1_found *found)
{
        enum write_mode mode = write_mode(op, env);
        const struct meta *m = &found->entry.meta;

        if (mode == MODE_THROUGH && mode_uses_l2(env, mode) && m->replid != env->l2->replid)
                return false;
        return entry_is_value(m) && !(found->flags & L1_UNSURE) && newest_valid(env, op->key, m);
}

/* Looks for the value that the write depends on; false: it follows a lookup and will be woken. What
 * L1 has is good for what is then written only over that version. NX may end with it, so it asks
 * the shared tier. */
static bool
write_read(struct op *op, struct env *env)
{
        enum write_mode mode = write_mode(op, env);
        bool shared = mode_uses_l2(env, mode) || mode_uses_l3(env, mode);
        struct l1_found found;

        entry_release(&op->entry);
        op->complete = op->fresh = true;
        op->disputed = false;
        op->tier = OP_TIER_NONE;
        op->looked_us = env->mono_us;
        if (!(shared && op->asked.condition == OP_IF_ABSENT) &&
            l1_get(env->l1, op->key, env->now_us, &found)) {
                if (write_may_go_by(op, env, &found)) {
                        op->entry = found.entry;
                        return true;
                }
                entry_release(&found.entry);
        }
        if (!shared)
                return true;
        if (!lookup_join(op, env)) {
                op->complete = false;
                return true;
        }
        op->large = false; /* its time was not lengthened yet */
        timer_set(&env->timers, &op->timer, &op->task, op->ends_us);
        return false;
}

/* It depends on what is there, and that is not known well enough to end with it: true when it looks
 * again. */
static bool
write_looks_again(struct op *op, struct env *env)
{
        bool known = op->fresh && !op->disputed;

        if (op->tier == OP_TIER_L1) { /* L2 has lost it, or never had it: what does L3 say? */
                (void)l1_remove_exact(env->l1, op->key, op->entry.meta.version,
                                      op->entry.meta.origin);
                known = false;
        }
        if (known || ++op->turns >= WRITE_TURNS_MAX || env->mono_us >= op->ends_us)
                return false;
        op->stage = WRITE_READ;
        return true;
}

/* The lookup is over, or the time. True: go on at op->stage; false: it waits, or has ended. */
static bool
write_decide(struct op *op, struct env *env)
{
        bool there, ends;

        if (op->lookup != NULL) {
                if (op_waits_on(op, env))
                        return false;
                lookup_leave(op);
                op->complete = false;
        }
        if (!op->complete) {
                op_fail(op, env, ERR_TIER_DOWN, "a lower tier gave no answer; nothing was changed");
                return false;
        }
        if (op->entry.blob != NULL &&
            (!entry_is_value(&op->entry.meta) || !newest_valid(env, op->key, &op->entry.meta)))
                entry_release(&op->entry);
        there = op->entry.blob != NULL;
        ends = (op->kind == OP_EXPIRE && !there) ||
               (op->asked.condition == OP_IF_ABSENT && there) ||
               (op->asked.condition == OP_IF_PRESENT && !there);
        if ((ends || op->tier == OP_TIER_L1) && write_looks_again(op, env))
                return true;
        if (ends) {
                op_finish(op, env, op->kind == OP_EXPIRE ? OP_MISS : OP_UNMET);
                return false;
        }
        op->expect = there ? op->entry.meta.version : EXPECT_ABSENT;
        if (!there && op->fresh && !op->disputed) /* what the tier named counts as absent */
                op->expect = op->stands;
        op->stands = EXPECT_ABSENT;
        op->stage = WRITE_MAKE;
        return true;
}

/* ---- without a shared tier ---- */

/* True when what it depends on changed while it was made: read again. */
static bool
write_l1_only(struct op *op, struct env *env)
{
        uint64_t known = newest_known(env, op->key);
        struct meta m;

        op->existed = l1_peek(env->l1, op->key, env->now_us, &m, NULL) && entry_is_value(&m) &&
                      newest_valid(env, op->key, &m);
        if (write_is_conditional(op) && op->expect != (op->existed ? m.version : EXPECT_ABSENT)) {
                if (++op->turns < WRITE_TURNS_MAX) {
                        op->stage = WRITE_READ;
                        return true;
                }
                op_fail(op, env, ERR_CONFLICT, NULL);
                return false;
        }
        op->version = op->made.meta.version = op->stamp > known ? op->stamp : known + 1;
        if (write_deletes(op)) { /* nothing lower could bring it back */
                l1_remove_older(env->l1, op->key, UINT64_MAX);
        } else if (!newest_land(env, op->key, &op->made, true)) {
                op_fail(op, env, ERR_REFUSED, "value is larger than L1 can hold (see memory)");
                return false;
        }
        op->reached = FLUSH_L1;
        op_finish(op, env, OP_DONE);
        return false;
}

/* ---- the tier that gives the version ---- */

/* The version is known: L1 takes it, older copies go. */
static void
write_land(struct op *op, struct env *env, uint64_t version)
{
        op->version = op->made.meta.version = version;
        newest_note(env, op->key, version);
        if (newest_land(env, op->key, &op->made, true))
                op->reached |= FLUSH_L1;
}

/* No shared tier stamped it in time: an estimated version, kept here and queued. */
static void
write_unstamped(struct op *op, struct env *env, const char *tier)
{
        enum write_mode mode = write_mode(op, env);
        uint64_t known = newest_known(env, op->key);
        bool acknowledged = !write_deletes(op) && mode != MODE_THROUGH;

        if (write_is_conditional(op)) { /* never a local guess */
                op_fail(op, env, ERR_TIER_DOWN, tier);
                return;
        }
        /* Many give up in one turn, in any order: versions are still given in the order of the
         * line. */
        if (op->earlier != NULL && op->earlier->place != PLACE_STAMPED) {
                op->detail = tier;
                op->stage = WRITE_UNSTAMPED;
                op->waits = true;
                return;
        }
        op->estimated = true;
        /* Not the very next version: L2 may have given that to a write of ours whose answer was
         * late, and would take this one for the same. */
        known += 1 + prng_below(&env->prng, ESTIMATE_GAP_US);
        write_land(op, env, op->stamp > known ? op->stamp : known);
        if (mode_uses_l2(env, mode))
                queues_push_l2(env, op->key, &op->made);
        if (mode_uses_l3(env, mode))
                queues_push_l3(env, op->key, &op->made);
        if (write_deletes(op) &&
            policy_number(write_policy(op, env), P_delete_ack) == DELETE_ACK_LOCAL)
                acknowledged = true;
        if (acknowledged)
                op_finish(op, env, OP_DONE);
        else
                op_fail(op, env, ERR_TIER_DOWN, tier);
}

static void
write_call(struct op *op, struct env *env, const struct entry *e, enum write_kind kind)
{
        uint64_t left = op->ends_us > env->mono_us ? op->ends_us - env->mono_us : 0;

        op->call = (struct tier_call){
                .verb = TIER_WRITE,
                .key = op->key,
                .entry = e,
                .kind = kind,
                .version = op->made.meta.version,
                .expect = kind == WRITE_NEW ? op->expect : EXPECT_ANY,
                .known_us = op->known,
                .estimate_us = env->now_us,
                .until_us = env->now_us + left,
                .deadline_us = op->ends_us,
                .owner = &op->task,
        };
}

static bool
write_needs_mark(const struct op *op, const struct env *env)
{
        return mode_uses_l3(env, write_mode(op, env)) &&
               op->made.payload_len > option_number(env->options, O_l2_value_max);
}

/* L2 gets the value, or the mark "in L3" where it is too large. Memory may be too short for that:
 * the op has ended. */
static void
write_ask_l2(struct op *op, struct env *env)
{
        const struct entry *e = &op->made;

        if (write_needs_mark(op, env)) {
                struct meta m = e->meta;

                m.flags |= ENTRY_IN_L3;
                if (op->in_l3.blob == NULL &&
                    envelope_reseal(op->key.text, e, &m, &op->in_l3) != OK) {
                        op_fail(op, env, ERR_BUSY_MEMORY, NULL);
                        return;
                }
                e = &op->in_l3;
        }
        write_call(op, env, e, WRITE_NEW);
        op->call.keep_until_us = newest_keep_until(env, op->key, &e->meta, KEEPER_L2);
        tier_start(env->l2, &op->call);
        op_line_move(op, env, PLACE_SENT);
}

static void
write_ask_l3(struct op *op, struct env *env, enum write_kind kind)
{
        uint64_t least = env->mono_us + option_number(env->options, O_l3_timeout) +
                         tier_extra_us(op->made.blob->len);

        write_call(op, env, &op->made, kind);
        op->call.keep_until_us = newest_keep_until(env, op->key, &op->made.meta, KEEPER_L3);
        if (op->call.deadline_us < least) { /* a commit may take longer than cache I/O */
                op->call.until_us += least - op->call.deadline_us;
                op->call.deadline_us = least;
        }
        tier_start(env->l3, &op->call);
}

/* LATE or CONFLICT: true when it is tried again (op->stage is set), else the op has ended. */
static bool
write_again(struct op *op, struct env *env, const char *tier)
{
        if (op->call.outcome == WRITE_CONFLICT)
                op->stands = op->call.found_version;
        else /* the clock was learnt anew */
                env_clock(env, env->mono_us, env->wall_us);
        if (op->call.outcome == WRITE_CONFLICT && op->call.found_version != 0)
                newest_note(env, op->key, op->call.found_version);
        else if (op->call.outcome == WRITE_CONFLICT)
                l1_remove_older(env->l1, op->key, UINT64_MAX);
        if (++op->turns < WRITE_TURNS_MAX && env->mono_us < op->ends_us) {
                op->stage = op->call.outcome == WRITE_CONFLICT ? WRITE_READ : WRITE_SEND;
                return true;
        }
        if (op->call.outcome == WRITE_CONFLICT)
                op_fail(op, env, ERR_CONFLICT, NULL);
        else
                write_unstamped(op, env, tier);
        return false;
}

/* L2's word is enough; L3 gets it in its own time. */
static bool
write_goes_behind(const struct op *op, const struct env *env)
{
        return write_mode(op, env) == MODE_BEHIND && !write_deletes(op) && op->in_l3.blob == NULL;
}

/* What L2 said. True: go on at op->stage. */
static bool
write_have_l2(struct op *op, struct env *env)
{
        enum write_mode mode = write_mode(op, env);

        if (op->call.result != TIER_ANSWERED) {
                write_unstamped(op, env, "l2");
                return false;
        }
        if (op->call.outcome == WRITE_LATE || op->call.outcome == WRITE_CONFLICT)
                return write_again(op, env, "l2");
        op_line_move(op, env, PLACE_STAMPED);
        op->existed |= op->call.existed;
        if (op->call.outcome ==
            WRITE_LOST) { /* something newer came by another way: that is an order, too */
                metric_add(env->metrics, M_writes_lost, 1);
                newest_note(env, op->key, op->call.found_version);
                op_finish(op, env, OP_DONE);
                return false;
        }
        op->reached |= FLUSH_L2;
        write_land(op, env, op->call.found_version);
        if (!mode_uses_l3(env, mode)) {
                op_finish(op, env, OP_DONE);
                return false;
        }
        if (write_goes_behind(op, env) && !queues_l3_crowded(env)) {
                queues_push_l3(env, op->key, &op->made);
                op_finish(op, env, OP_DONE);
                return false;
        }
        op->stage = WRITE_ASK_L3;
        return true;
}

/* ---- L3, after L2 or alone ---- */

/* L3 alone gave (or refused) the version. */
static bool
write_have_l3_alone(struct op *op, struct env *env)
{
        if (op->call.result != TIER_ANSWERED) {
                write_unstamped(op, env, "l3");
                return false;
        }
        if (op->call.outcome == WRITE_LATE || op->call.outcome == WRITE_CONFLICT)
                return write_again(op, env, "l3");
        op_line_move(op, env, PLACE_STAMPED);
        op->existed |= op->call.existed;
        op->reached |= FLUSH_L3;
        write_land(op, env, op->call.found_version);
        queues_supersede_l3(env, op->key, op->version);
        op_finish(op, env, OP_DONE);
        return false;
}

static bool
write_have_l3(struct op *op, struct env *env)
{
        if (!mode_uses_l2(env, write_mode(op, env)))
                return write_have_l3_alone(op, env);
        if (op->call.result != TIER_ANSWERED) {
                queues_push_l3(env, op->key, &op->made);
                if (write_goes_behind(op, env) ||
                    (write_deletes(op) &&
                     policy_number(write_policy(op, env), P_delete_ack) == DELETE_ACK_LOCAL))
                        op_finish(op, env, OP_DONE);
                else
                        op_fail(op, env, ERR_TIER_DOWN, "l3");
                return false;
        }
        op->existed |= op->call.existed;
        if (op->call.outcome ==
            WRITE_LOST) { /* L2 had forgotten what L3 holds: write again, above it */
                newest_note(env, op->key, op->call.found_version);
                if (++op->turns < WRITE_TURNS_MAX && env->mono_us < op->ends_us) {
                        op->known = op->call.found_version;
                        if (write_is_conditional(op))
                                op->expect = op->version;
                        op->stage = WRITE_SEND;
                        return true;
                }
                queues_push_take(env, op->key, op->version, env->origin);
                op_fail(op, env, ERR_CONFLICT, NULL);
                return false;
        }
        op->reached |= FLUSH_L3;
        queues_supersede_l3(env, op->key, op->version);
        op_finish(op, env, OP_DONE);
        return false;
}

/* ---- the way of a write, in the order of time ---- */

static void
write_count(const struct op *op, struct env *env)
{
        metric_add(env->metrics, op->kind == OP_DEL ? M_deletes : M_sets, op->kind != OP_EXPIRE);
        if (op->kind == OP_SET) {
                metric_add(env->metrics, M_raw_bytes, op->made.meta.raw_len);
                metric_add(env->metrics, M_stored_bytes, op->made.payload_len);
        }
}

/* What waits in the queue goes before it. */
static void
write_send_l2(struct op *op, struct env *env)
{
        if (queues_holds_l2(env, op->key)) {
                if (env->mono_us >= op->ends_us)
                        write_unstamped(op, env, "l2");
                else
                        timer_set(&env->timers, &op->timer, &op->task,
                                  env->mono_us + WRITE_POLL_US);
                return;
        }
        op->stage = WRITE_HAVE_L2;
        write_ask_l2(op, env);
}

/* Sends it to the tier that gives the version. False: it waits or has ended; true: go on at
 * op->stage. */
static bool
write_send(struct op *op, struct env *env)
{
        enum write_mode mode = write_mode(op, env);
        uint64_t floor = floors_get(env->floors, op->key.text);

        op->large = op->made.blob->len > LIMIT_CHUNK_BYTES && !write_needs_mark(op, env);
        if (op_line_waits(op, env))
                return false;
        if (op->known < floor)
                op->known = floor;
        if (mode == MODE_THROUGH && mode_uses_l2(env, mode) &&
            op->made.meta.replid != env->l2->replid) {
                ++op->turns;
                op->stage = WRITE_MAKE; /* it would count as absent from the start */
                return true;
        }
        if (mode_uses_l2(env, mode)) {
                write_send_l2(op, env);
                return false;
        }
        if (mode_uses_l3(env, mode)) {
                /* What waits for L3 loses to it. */
                op->known = newest_known(env, op->key);
                op->stage = WRITE_HAVE_L3;
                write_ask_l3(op, env, WRITE_NEW);
                op_line_move(op, env, PLACE_SENT);
                return false;
        }
        return write_l1_only(op, env);
}

void
op_write_advance(struct op *op, struct env *env)
{
        for (;;) {
                switch (op->stage) {
                case WRITE_BEGIN:
                        write_begin(op, env);
                        op->stage = WRITE_LINE;
                        fallthrough;
                case WRITE_LINE:
                        if (op->alone && op_line_waits(op, env))
                                return;
                        op->stage = op->alone ? WRITE_READ : WRITE_MAKE;
                        break;
                case WRITE_READ:
                        op->stage = WRITE_DECIDE;
                        if (!write_read(op, env))
                                return;
                        fallthrough;
                case WRITE_DECIDE:
                        if (!write_decide(op, env))
                                return;
                        break;
                case WRITE_MAKE:
                        op->stage = WRITE_MADE;
                        if (!op_make(op, env))
                                return;
                        fallthrough;
                case WRITE_MADE:
                        if (op->error != OK) {
                                op_fail(op, env, op->error, NULL);
                                return;
                        }
                        if (op->turns == 0)
                                write_count(op, env);
                        op->stage = WRITE_SEND;
                        fallthrough;
                case WRITE_SEND:
                        if (!write_send(op, env))
                                return;
                        break;
                case WRITE_HAVE_L2:
                        if (op->call.result == TIER_PENDING || !write_have_l2(op, env))
                                return;
                        break;
                case WRITE_ASK_L3:
                        op->stage = WRITE_HAVE_L3;
                        write_ask_l3(op, env, WRITE_STAMPED);
                        return;
                case WRITE_HAVE_L3:
                        if (op->call.result == TIER_PENDING || !write_have_l3(op, env))
                                return;
                        break;
                case WRITE_UNSTAMPED: /* the one before it in line has its version, or has gone */
                        write_unstamped(op, env, op->detail);
                        return;
                }
        }
}
