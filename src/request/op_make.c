/* request/op_make.c: what a write writes: its lifetime, its meta, and the sealed envelope; a large
 * value is packed and sealed on the helper thread.
 * Owns: op->made, until the op ends.
 * Borrows: the value asked for, and what was found (EXPIRE).
 * Limit: value-max, which the command has judged.
 * Not here: the version, which a tier gives (op_write.c). */
#include "base/limits.h"
#include "request/newest.h"
#include "request/op.h"

static const struct policy *
make_policy(const struct op *op, const struct env *env)
{
        return newest_policy(env, op->key);
}

/* Redis' EX: `hard` as named; stale before it only where the namespace has a grace, and then for at
 * most half of the time. */
static void
make_lifetime_at(struct meta *m, const struct op *op, const struct env *env)
{
        uint64_t grace = policy_number(make_policy(op, env), P_grace);
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
make_lifetime(struct meta *m, struct op *op, struct env *env)
{
        switch (op->asked.lifetime) {
        case LIFE_AT:
                make_lifetime_at(m, op, env);
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
        lifetime_decide(m, op->key, op->asked.life, make_policy(op, env), env->options,
                        env->now_us);
}

static void
make_tombstone(struct meta *m, const struct op *op, const struct env *env)
{
        m->flags = ENTRY_TOMBSTONE;
        m->soft_us = m->hard_us =
                env->now_us + policy_number(make_policy(op, env), P_tombstone_ttl);
        m->raw_len = 0;
        m->tag_count = 0;
}

/* The meta of what will be written, into op->made.meta. */
static void
make_meta(struct op *op, struct env *env)
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
                make_lifetime(m, op, env);
        if (op->kind == OP_DEL || m->hard_us <= env->now_us)
                make_tombstone(m, op, env);
        op->compress_min = UINT64_MAX;
        if (policy_number(make_policy(op, env), P_compress))
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

bool
op_make(struct op *op, struct env *env)
{
        size_t size = op->kind == OP_EXPIRE ? op->entry.blob->len : op->asked.value_part.len;
        uint64_t least_us = env->mono_us + tier_extra_us(size);

        if (op->ends_us < least_us) /* a large value that was found, not brought */
                op->ends_us = least_us;
        entry_release(&op->made);
        entry_release(&op->in_l3);
        make_meta(op, env);
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
