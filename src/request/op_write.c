/* request/op_write.c: SET, DEL and EXPIRE of one key, as the namespace's write mode says (design: "write modes").
 *
 * What depends on what is there (NX, XX, GET, KEEPTTL, EXPIRE) reads it first and writes with "only if it is still that version";
 * a conflict reads again. The lowest shared tier gives the version; L1 and L3 take what it answers.
 * Owns: what it makes (op->made, op->in_l3). Borrows: the lookup it follows.
 * Limit: WRITE_TURNS_MAX tries, and the deadline. Not here: what waits for a tier that did not answer (queues.c). */
#include "base/limits.h"
#include "request/floors.h"
#include "request/lookup.h"
#include "request/newest.h"
#include "request/op.h"
#include "request/queues.h"

enum {
        WRITE_BEGIN,
        WRITE_READ,
        WRITE_DECIDE,
        WRITE_MAKE,
        WRITE_MADE,
        WRITE_SEND,
        WRITE_HAVE_L2,
        WRITE_ASK_L3,
        WRITE_HAVE_L3,
};
enum { WRITE_TURNS_MAX = 8, WRITE_POLL_US = 2000 };

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
        uint64_t known = newest_known(env, op->key);

        if (within == 0)
                within = policy_number(write_policy(op, env), P_deadline);
        op->started_us = env->mono_us;
        op->ends_us = env->mono_us + within + tier_extra_us(op->asked.value_part.len);
        op->mark = landing_enter(env->landing, op->key);
        op->stamp = env->now_us > known ? env->now_us : known + 1;
        op->expect = EXPECT_ANY;
}

/* ---- what is there now ---- */

/* Looks for the value that the write depends on; false: it follows a lookup and will be woken. */
static bool
write_read(struct op *op, struct env *env)
{
        enum write_mode mode = write_mode(op, env);
        struct l1_found found;

        entry_release(&op->entry);
        op->complete = true;
        if (l1_get(env->l1, op->key, env->now_us, &found)) {
                if (entry_is_value(&found.entry.meta) && !(found.flags & L1_UNSURE) &&
                    newest_valid(env, op->key, &found.entry.meta)) {
                        op->entry = found.entry;
                        return true;
                }
                entry_release(&found.entry);
        }
        if (!mode_uses_l2(env, mode) && !mode_uses_l3(env, mode))
                return true;
        if (!lookup_join(op, env)) {
                op->complete = false;
                return true;
        }
        timer_set(&env->timers, &op->timer, &op->task, op->ends_us);
        return false;
}

/* The lookup is over, or the time: may the write go on? It has ended otherwise. */
static bool
write_decide(struct op *op, struct env *env)
{
        bool there;

        if (op->lookup != NULL) {
                if (env->mono_us < op->ends_us)
                        return false;
                lookup_leave(op);
                op->complete = false;
        }
        if (op->entry.blob != NULL &&
            (!entry_is_value(&op->entry.meta) || !newest_valid(env, op->key, &op->entry.meta)))
                entry_release(&op->entry);
        there = op->entry.blob != NULL;
        if (!there && !op->complete) {
                op_fail(op, env, ERR_TIER_DOWN, "a lower tier gave no answer; nothing was changed");
                return false;
        }
        if (op->kind == OP_EXPIRE && !there) {
                op_finish(op, env, OP_MISS);
                return false;
        }
        if ((op->asked.condition == OP_IF_ABSENT && there) ||
            (op->asked.condition == OP_IF_PRESENT && !there)) {
                op_finish(op, env, OP_UNMET);
                return false;
        }
        op->expect = there ? op->entry.meta.version : EXPECT_ABSENT;
        return true;
}

/* ---- what is written ---- */

/* Redis' EX: `hard` as named; stale before it only where the namespace has a grace, and then for at most half of the time. */
static void
write_lifetime_at(struct meta *m, const struct op *op, const struct env *env)
{
        uint64_t grace = policy_number(write_policy(op, env), P_grace);
        uint64_t left;

        if (op->asked.hard_us == 0) {
                m->soft_us = m->hard_us = UINT64_MAX;
                return;
        }
        left = op->asked.hard_us > env->now_us ? op->asked.hard_us - env->now_us : 0;
        m->hard_us = op->asked.hard_us;
        m->soft_us = m->hard_us - (grace < left / 2 ? grace : left / 2);
}

static void
write_lifetime(struct meta *m, struct op *op, struct env *env)
{
        switch (op->asked.lifetime) {
        case LIFE_AT:
                write_lifetime_at(m, op, env);
                return;
        case LIFE_KEEP:
                if (op->entry.blob != NULL) {
                        m->soft_us = op->entry.meta.soft_us;
                        m->hard_us = op->entry.meta.hard_us;
                        return;
                }
                break;
        case LIFE_DECIDE:
                break;
        }
        lifetime_decide(m, op->key, op->asked.life, write_policy(op, env), env->options,
                        env->now_us);
}

static void
write_tombstone(struct meta *m, const struct op *op, const struct env *env)
{
        m->flags = ENTRY_TOMBSTONE;
        m->soft_us = m->hard_us =
                env->now_us + policy_number(write_policy(op, env), P_tombstone_ttl);
        m->raw_len = 0;
        m->tag_count = 0;
}

/* The meta of what will be written, into op->made.meta. */
static void
write_meta(struct op *op, struct env *env)
{
        struct meta *m = &op->made.meta;

        if (op->kind == OP_EXPIRE) {
                *m = op->entry.meta;
        } else {
                *m = (struct meta){
                        .cost = op->asked.cost,
                        .compute_us = op->asked.compute_us,
                        .confidence = op->asked.confidence,
                        .codec = op->asked.codec,
                        .raw_len = (uint32_t)op->asked.value_part.len,
                        .tag_count = op->asked.tag_count,
                };
        }
        m->version = 0;
        m->origin = env->origin;
        m->replid = env->l2 != NULL ? env->l2->replid : 0;
        if (op->kind != OP_DEL)
                write_lifetime(m, op, env);
        if (op->kind == OP_DEL || m->hard_us <= env->now_us)
                write_tombstone(m, op, env);
        op->compress_min = UINT64_MAX;
        if (policy_number(write_policy(op, env), P_compress))
                op->compress_min = option_number(env->options, O_compress_min);
}

/* Packs and seals, for large values on the helper thread: touches nothing but the op. */
static void
make_work(struct job *job)
{
        struct op *op = container_of(job, struct op, job);
        struct meta m = op->made.meta;
        struct entry made;
        struct blob *packed = NULL;
        struct bytes payload = op->asked.value_part;
        bool lz4 = false;

        if (op->kind == OP_EXPIRE) {
                op->error = envelope_reseal(op->key.text, &op->entry, &m, &made);
        } else {
                if (m.flags & ENTRY_TOMBSTONE) {
                        payload = bytes_of("", 0);
                } else if (payload.len > op->compress_min) {
                        packed = payload_pack(payload, op->compress_min, &lz4);
                        if (packed == NULL) {
                                op->error = ERR_BUSY_MEMORY;
                                return;
                        }
                        if (lz4) {
                                m.flags |= ENTRY_LZ4;
                                payload = blob_bytes(packed);
                        }
                }
                op->error = envelope_seal(op->key.text, &m, op->asked.tags, payload, &made);
                blob_unref(packed);
        }
        if (op->error == OK)
                op->made = made;
}

/* True when it is made already; false: on the helper thread, the op will be woken. */
static bool
write_make(struct op *op, struct env *env)
{
        size_t size = op->kind == OP_EXPIRE ? op->entry.blob->len : op->asked.value_part.len;

        entry_release(&op->made);
        entry_release(&op->in_l3);
        write_meta(op, env);
        timer_cancel(&env->timers, &op->timer); /* nothing but the job wakes us now */
        op->job.owner = &op->task;
        op->job.work = make_work;
        if (size > LIMIT_CHUNK_BYTES) {
                env->offload(env, &op->job);
                return false;
        }
        make_work(&op->job);
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
                op->stage = WRITE_READ;
                return true;
        }
        op->version = op->made.meta.version = op->stamp > known ? op->stamp : known + 1;
        if (op->made.meta.flags & ENTRY_TOMBSTONE) { /* nothing lower could bring it back */
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
        bool acknowledged = op->kind != OP_DEL && mode != MODE_THROUGH;

        if (write_is_conditional(op)) { /* never a local guess */
                op_fail(op, env, ERR_TIER_DOWN, tier);
                return;
        }
        op->estimated = true;
        write_land(op, env, op->stamp > known ? op->stamp : known + 1);
        if (mode_uses_l2(env, mode))
                queues_push_l2(env, op->key, &op->made);
        if (mode_uses_l3(env, mode))
                queues_push_l3(env, op->key, &op->made);
        if (op->kind == OP_DEL &&
            policy_number(write_policy(op, env), P_delete_ack) == DELETE_ACK_LOCAL)
                acknowledged = true;
        if (acknowledged)
                op_finish(op, env, OP_DONE);
        else
                op_fail(op, env, ERR_TIER_DOWN, tier);
}

/* Two connections lead to L2. Writes of one key must not overtake each other, so one over the other connection waits. */
static bool
write_must_wait(const struct op *op, const struct env *env)
{
        if (queues_holds_l2(env, op->key))
                return true;
        table_each_match (node, &env->writes, op->key.hash) {
                const struct op *other = container_of(node, struct op, writing);

                if (other->large != op->large && bytes_equal(other->key.text, op->key.text))
                        return true;
        }
        return false;
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

/* L2 gets the value, or the mark "in L3" where it is too large. False: memory is short, the op has ended. */
static bool
write_ask_l2(struct op *op, struct env *env)
{
        const struct entry *e = &op->made;

        if (mode_uses_l3(env, write_mode(op, env)) &&
            e->blob->len > option_number(env->options, O_l2_value_max)) {
                struct meta m = e->meta;

                m.flags |= ENTRY_IN_L3;
                if (op->in_l3.blob == NULL &&
                    envelope_reseal(op->key.text, e, &m, &op->in_l3) != OK) {
                        op_fail(op, env, ERR_BUSY_MEMORY, NULL);
                        return false;
                }
                e = &op->in_l3;
        }
        op->large = e->blob->len > LIMIT_CHUNK_BYTES;
        write_call(op, env, e, WRITE_NEW);
        op->call.keep_until_us = newest_keep_until(env, op->key, &e->meta, KEEPER_L2);
        table_insert(&env->writes, &op->writing, op->key.hash);
        op->is_writing = true;
        tier_start(env->l2, &op->call);
        return true;
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

/* What L2 said. True: go on at op->stage. */
static bool
write_have_l2(struct op *op, struct env *env)
{
        enum write_mode mode = write_mode(op, env);

        table_remove(&env->writes, &op->writing);
        op->is_writing = false;
        if (op->call.result != TIER_ANSWERED) {
                write_unstamped(op, env, "l2");
                return false;
        }
        if (op->call.outcome == WRITE_LATE || op->call.outcome == WRITE_CONFLICT)
                return write_again(op, env, "l2");
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
        if (mode == MODE_BEHIND && op->kind != OP_DEL && op->in_l3.blob == NULL) {
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
        op->existed |= op->call.existed;
        op->reached |= FLUSH_L3;
        write_land(op, env, op->call.found_version);
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
                if (op->kind == OP_DEL &&
                    policy_number(write_policy(op, env), P_delete_ack) == DELETE_ACK_LOCAL)
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

/* Sends it to the tier that gives the version. False: it waits or has ended; true: go on at op->stage. */
static bool
write_send(struct op *op, struct env *env)
{
        enum write_mode mode = write_mode(op, env);
        uint64_t floor = floors_get(env->floors, op->key.text);

        if (op->known < floor)
                op->known = floor;
        if (mode_uses_l2(env, mode)) {
                op->large = op->made.blob->len > LIMIT_CHUNK_BYTES;
                if (write_must_wait(op, env)) {
                        if (env->mono_us >= op->ends_us)
                                write_unstamped(op, env, "l2");
                        else
                                timer_set(&env->timers, &op->timer, &op->task,
                                          env->mono_us + WRITE_POLL_US);
                        return false;
                }
                op->stage = WRITE_HAVE_L2;
                write_ask_l2(op, env);
                return false;
        }
        if (mode_uses_l3(env, mode)) {
                op->stage = WRITE_HAVE_L3;
                write_ask_l3(op, env, WRITE_NEW);
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
                        op->stage = write_reads_first(op) ? WRITE_READ : WRITE_MAKE;
                        break;
                case WRITE_READ:
                        op->stage = WRITE_DECIDE;
                        if (!write_read(op, env))
                                return;
                        fallthrough;
                case WRITE_DECIDE:
                        if (!write_decide(op, env))
                                return;
                        fallthrough;
                case WRITE_MAKE:
                        op->stage = WRITE_MADE;
                        if (!write_make(op, env))
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
                }
        }
}
