/* request/lookup.c: a flight (ARCHITECTURE.md, "Looking up"): L2, and beside its answer what is
 * still unsent; then L3; promotion on the way back. The deadline is the tiers', not the leader's:
 * who leaves takes nobody down.
 * Owns: struct lookup, its copy of the key, references of what it found.
 * Borrows: its followers.
 * Limit: LIMIT_FLIGHTS a worker.
 * Not here: L1's answer, who may have the result (op_get.c compares at the hand-over). */
#include "request/lookup.h"

#include "base/limits.h"
#include "base/mem.h"
#include "request/newest.h"
#include "request/queues.h"

enum lookup_stage {
        LOOKUP_ASK_L2,
        LOOKUP_HAVE_L2,
        LOOKUP_OPENED_L2,
        LOOKUP_ASK_L3,
        LOOKUP_HAVE_L3,
        LOOKUP_OPENED_L3,
        LOOKUP_PROMOTED,
};

struct lookup {
        struct task task;
        struct table_node node; /* in env->flights */
        struct list followers;  /* op.follows */
        struct landmark *mark;
        enum lookup_stage stage;
        enum write_mode mode;
        struct tier_call call;
        struct job job;      /* opens a large envelope */
        enum err opened;     /* what envelope_open() said */
        struct entry found;  /* opened, from the tier asked last */
        struct entry unsent; /* what waits for a tier; blob NULL if nothing does */
        struct entry in_l3;  /* the mark that L2 gets where the value is too large for it */
        uint64_t floor;      /* what L2 holds, valid or not: L3 must not be older */
        uint64_t want;       /* the version an "in L3" mark names */
        uint64_t began_us;   /* monotonic */
        bool asked_l2;       /* L2 answered */
        bool keep_l2;        /* L2 holds a newer format: it is not overwritten */
        enum op_tier tier;   /* that `found` comes from, once L3 was asked */
        bool disputed;       /* what was found was dropped for something newer */
        uint64_t value_max;
        struct key key;
        uint8_t key_text[];
};

static struct lookup *
lookup_of(struct task *task)
{
        return container_of(task, struct lookup, task);
}

static void lookup_advance(struct task *task, struct env *env);

static struct lookup *
lookup_find(struct env *env, struct key key)
{
        table_each_match (node, &env->flights, key.hash) {
                struct lookup *l = container_of(node, struct lookup, node);

                if (bytes_equal(l->key.text, key.text))
                        return l;
        }
        return NULL;
}

bool
lookup_join(struct op *op, struct env *env)
{
        struct lookup *l = lookup_find(env, op->key);

        if (l == NULL) {
                if (env->flights.count >= LIMIT_FLIGHTS)
                        return false;
                l = mem_zalloc(sizeof *l + op->key.text.len);
                memcpy(l->key_text, op->key.text.at, op->key.text.len);
                l->key = (struct key){bytes_of(l->key_text, op->key.text.len), op->key.hash};
                list_init(&l->followers);
                task_init(&l->task, lookup_advance);
                l->began_us = env->mono_us;
                l->mode = newest_mode(newest_policy(env, l->key));
                l->mark = landing_enter(env->landing, l->key);
                l->value_max = option_number(env->options, O_value_max);
                table_insert(&env->flights, &l->node, l->key.hash);
                task_ready(&env->ready, &l->task);
        } else {
                metric_add(env->metrics, M_followed, 1);
        }
        op->lookup = l;
        list_push(&l->followers, &op->follows);
        return true;
}

void
lookup_leave(struct op *op)
{
        list_remove(&op->follows);
        op->lookup = NULL;
}

uint64_t
lookup_large_bytes(const struct lookup *l)
{
        /* Once it is there: while it is opened, and promoted. */
        return l->found.blob != NULL ? l->found.blob->len : l->call.large_bytes;
}

/* Hands `e` (NULL: none) to every follower and ends. `complete`: every tier that could know was
 * heard. */
static void
lookup_end(struct lookup *l, struct env *env, const struct entry *e, enum op_tier tier,
           bool complete)
{
        struct list *node;

        while ((node = list_pop(&l->followers)) != NULL) {
                struct op *op = container_of(node, struct op, follows);

                op->lookup = NULL;
                op->complete = complete;
                op->fresh = l->began_us >= op->looked_us;
                op->disputed = l->disputed;
                op->tier = tier;
                entry_release(&op->entry);
                if (e != NULL) {
                        op->entry = *e;
                        blob_ref(e->blob);
                }
                task_ready(&env->ready, &op->task);
        }
        table_remove(&env->flights, &l->node);
        landing_leave(env->landing, l->mark, env->mono_us);
        entry_release(&l->found);
        entry_release(&l->unsent);
        entry_release(&l->in_l3);
        mem_free(l);
}

static void
lookup_ask(struct lookup *l, struct env *env, struct tier *tier, enum option_id timeout)
{
        l->call = (struct tier_call){
                .verb = TIER_GET,
                .key = l->key,
                .deadline_us = env->mono_us + option_number(env->options, timeout),
                .owner = &l->task,
        };
        tier_start(tier, &l->call);
}

static void
open_work(struct job *job)
{
        struct lookup *l = container_of(job, struct lookup, job);

        l->opened = envelope_open(l->key.text, l->call.found, l->value_max, &l->found);
}

/* Opens what the call found, on the helper thread where it is large; true when that is done
 * already. */
static bool
lookup_open(struct lookup *l, struct env *env)
{
        entry_release(&l->found);
        l->opened = OK;
        if (l->call.result != TIER_ANSWERED || l->call.found == NULL)
                return true;
        l->job.owner = &l->task;
        l->job.work = open_work;
        if (l->call.found->len > LIMIT_CHUNK_BYTES) {
                env->offload(env, &l->job);
                return false;
        }
        open_work(&l->job);
        return true;
}

/* What was opened, judged: NULL when there is nothing usable. */
static struct entry *
lookup_opened(struct lookup *l, struct env *env)
{
        if (l->call.result != TIER_ANSWERED || l->call.found == NULL)
                return NULL;
        if (l->opened == OK)
                return &l->found;
        if (l->opened == ERR_NEWER_FORMAT) { /* cannot be read, but its version counts */
                l->keep_l2 = true;
                l->floor = get_u64(l->call.found->at);
                metric_add(env->metrics, M_newer_format, 1);
        } else {
                metric_add(env->metrics, M_corrupt, 1);
        }
        blob_unref(l->call.found); /* not taken over by envelope_open() */
        return NULL;
}

/* An L1 copy that only L3 had vouched for meets L2's word. */
static void
lookup_compare_unsure(struct lookup *l, struct env *env, const struct entry *e)
{
        struct meta m;
        unsigned flags;

        if (!l1_peek(env->l1, l->key, env->now_us, &m, &flags) || !(flags & L1_UNSURE))
                return;
        if (e != NULL && e->meta.version == m.version && e->meta.origin == m.origin)
                l1_confirm(env->l1, l->key, m.version);
        else
                l1_remove_exact(env->l1, l->key, m.version, m.origin);
}

/* A valid value in L1 above `floor`, with a reference for the caller. */
static bool
lookup_l1_copy(struct lookup *l, struct env *env, uint64_t floor, struct l1_found *c)
{
        if (!l1_get(env->l1, l->key, env->now_us, c))
                return false;
        if (c->entry.meta.version > floor && entry_is_value(&c->entry.meta) &&
            !(c->flags & L1_UNSURE) && newest_valid(env, l->key, &c->entry.meta))
                return true;
        entry_release(&c->entry);
        return false;
}

/* The shared tier that gives the versions was heard; without any, nobody else writes. */
static bool
lookup_is_sure(const struct lookup *l, const struct env *env)
{
        if (mode_uses_l2(env, l->mode))
                return l->asked_l2;
        return !mode_uses_l3(env, l->mode) || l->call.result == TIER_ANSWERED;
}

/* The write that still waits for a tier is the answer. */
static void
lookup_end_unsent(struct lookup *l, struct env *env, bool complete)
{
        bool value = entry_is_value(&l->unsent.meta) && newest_valid(env, l->key, &l->unsent.meta);

        lookup_end(l, env, value ? &l->unsent : NULL, OP_TIER_QUEUE, complete);
}

/* A tier was asked (e: what it holds) that gives the versions: true when an unsent write counts for
 * more, and ended the lookup. The mark of that very write is no answer, for the value may still be
 * on its way to L3. */
static bool
lookup_judge_unsent(struct lookup *l, struct env *env, const struct tier *tier,
                    const struct entry *e)
{
        const struct meta *mine = &l->unsent.meta;

        if (l->unsent.blob == NULL)
                return false;
        if (l->call.result != TIER_ANSWERED) {
                if (env->mono_us - tier->heard_us <=
                    policy_number(newest_policy(env, l->key), P_partition_max))
                        lookup_end_unsent(l, env, lookup_is_sure(l, env));
                else
                        lookup_end(l, env, NULL, OP_TIER_NONE, false);
                return true;
        }
        if (mine->version < l->floor ||
            (e != NULL && e->meta.version >= mine->version &&
             !(e->meta.version == mine->version && e->meta.origin == mine->origin &&
               (e->meta.flags & ENTRY_IN_L3)))) {
                entry_release(&l->unsent);
                return false;
        }
        lookup_end_unsent(l, env, lookup_is_sure(l, env));
        return true;
}

/* L2 has spoken (or not): true when that ends the lookup. */
static bool
lookup_judge_l2(struct lookup *l, struct env *env)
{
        struct entry *e = lookup_opened(l, env);
        struct l1_found c;

        l->asked_l2 = l->call.result == TIER_ANSWERED;
        if (e != NULL && l->mode == MODE_THROUGH && e->meta.replid != env->l2->replid)
                e = NULL; /* written under another replication id: counts as absent */
        if (l->asked_l2)
                lookup_compare_unsure(l, env, e);
        /* What L2 has lost, or not got yet, may be in L3 in a newer version. */
        if (!(l->asked_l2 && e == NULL && mode_uses_l3(env, l->mode)) &&
            lookup_judge_unsent(l, env, env->l2, e))
                return true;
        if (!l->asked_l2)
                return false;
        if (e != NULL) {
                if (e->meta.version > env->seen)
                        env->seen = e->meta.version;
                if (e->meta.flags & ENTRY_TOMBSTONE) {
                        newest_note(env, l->key, e->meta.version);
                        lookup_end(l, env, NULL, OP_TIER_NONE, true);
                        return true;
                }
                l->floor = e->meta.version;
                if (e->meta.flags & ENTRY_IN_L3)
                        l->want = e->meta.version;
                else if (newest_valid(env, l->key, &e->meta)) {
                        if (lookup_l1_copy(l, env, e->meta.version, &c)) {
                                lookup_end(l, env, &c.entry, OP_TIER_L1, true);
                                entry_release(&c.entry);
                                return true;
                        }
                        newest_land(env, l->key, e, true);
                        lookup_end(l, env, e, OP_TIER_L2, true);
                        return true;
                }
        }
        if (l->want == 0 && lookup_l1_copy(l, env, l->floor, &c)) {
                lookup_end(l, env, &c.entry, OP_TIER_L1, true);
                entry_release(&c.entry);
                return true;
        }
        return false;
}

/* What L3 gave, if it may count. */
static struct entry *
lookup_judge_l3(struct lookup *l, struct env *env, struct entry *e)
{
        struct meta m;

        if (e == NULL || !entry_is_value(&e->meta) || !newest_valid(env, l->key, &e->meta))
                return NULL;
        if (e->meta.version < l->floor || (e->meta.version == l->floor && l->want != l->floor))
                return NULL;
        if ((l1_peek(env->l1, l->key, env->now_us, &m, NULL) && m.version > e->meta.version) ||
            e->meta.version < landing_newest(env->landing, l->key, NULL)) {
                l->disputed = true;
                return NULL;
        }
        return e;
}

/* What L2 gets: the value, or the mark where that is too large; NULL when memory is short. */
static const struct entry *
lookup_for_l2(struct lookup *l, const struct env *env)
{
        struct meta m = l->found.meta;

        if (l->found.payload_len <= option_number(env->options, O_l2_value_max))
                return &l->found;
        m.flags |= ENTRY_IN_L3;
        return envelope_reseal(l->key.text, &l->found, &m, &l->in_l3) == OK ? &l->in_l3 : NULL;
}

/* Upward to L2, if L2 was heard; false when it is not to be, or memory is short. */
static bool
lookup_promote(struct lookup *l, struct env *env)
{
        const struct entry *e;

        if (!l->asked_l2 || l->keep_l2)
                return false;
        if (l->mode == MODE_THROUGH && l->found.meta.replid != env->l2->replid) {
                struct meta m = l->found.meta;
                struct entry again;

                m.replid = env->l2->replid;
                if (envelope_reseal(l->key.text, &l->found, &m, &again) == OK) {
                        entry_release(&l->found);
                        l->found = again;
                }
        }
        e = lookup_for_l2(l, env);
        if (e == NULL)
                return false;
        l->call = (struct tier_call){
                .verb = TIER_WRITE,
                .key = l->key,
                .entry = e,
                .kind = WRITE_PROMOTED,
                .version = l->found.meta.version,
                .expect = EXPECT_ANY,
                .keep_until_us = newest_keep_until(env, l->key, &l->found.meta, KEEPER_L2),
                .replid_strict = l->mode == MODE_THROUGH,
                .deadline_us = env->mono_us + option_number(env->options, O_l2_timeout) +
                               tier_extra_us(e->blob->len),
                .owner = &l->task,
        };
        tier_start(env->l2, &l->call);
        return true;
}

static void
lookup_end_l3(struct lookup *l, struct env *env, bool sure)
{
        newest_land(env, l->key, &l->found, sure);
        lookup_end(l, env, &l->found, l->tier, lookup_is_sure(l, env));
}

/* L3 has spoken (or not): its value goes to L2 first, or the lookup ends. */
static void
lookup_have_l3(struct lookup *l, struct env *env)
{
        struct entry *e = lookup_opened(l, env);
        bool answered = l->call.result == TIER_ANSWERED;

        if (!mode_uses_l2(env, l->mode) && lookup_judge_unsent(l, env, env->l3, e))
                return;
        l->tier = OP_TIER_L3;
        if (mode_uses_l2(env, l->mode) && l->unsent.blob != NULL &&
            (e == NULL || e->meta.version < l->unsent.meta.version)) {
                if (!answered) { /* nor is it brought to L2: L3 may hold what is newer */
                        lookup_end_unsent(l, env, false);
                        return;
                }
                entry_release(&l->found);
                e = &l->found;
                l->found = l->unsent;
                l->unsent.blob = NULL;
                l->tier = OP_TIER_QUEUE;
        }
        if (lookup_judge_l3(l, env, e) == NULL) {
                lookup_end(l, env, NULL, OP_TIER_NONE, answered && lookup_is_sure(l, env));
                return;
        }
        if (!lookup_promote(l, env))
                lookup_end_l3(l, env, lookup_is_sure(l, env));
}

static void
lookup_advance(struct task *task, struct env *env)
{
        struct lookup *l = lookup_of(task);

        switch (l->stage) {
        case LOOKUP_ASK_L2:
                if (queues_unsent(env, l->key, &l->unsent) && !mode_uses_l2(env, l->mode) &&
                    !mode_uses_l3(env, l->mode)) {
                        lookup_end_unsent(l, env, lookup_is_sure(l, env));
                        return;
                }
                if (!mode_uses_l2(env, l->mode)) {
                        l->stage = LOOKUP_ASK_L3;
                        lookup_advance(task, env);
                        return;
                }
                l->stage = LOOKUP_HAVE_L2;
                lookup_ask(l, env, env->l2, O_l2_timeout);
                return;
        case LOOKUP_HAVE_L2:
                l->stage = LOOKUP_OPENED_L2;
                if (!lookup_open(l, env))
                        return;
                fallthrough;
        case LOOKUP_OPENED_L2:
                if (lookup_judge_l2(l, env))
                        return;
                if (!mode_uses_l3(env, l->mode)) {
                        lookup_end(l, env, NULL, OP_TIER_NONE, l->asked_l2);
                        return;
                }
                fallthrough;
        case LOOKUP_ASK_L3:
                l->stage = LOOKUP_HAVE_L3;
                lookup_ask(l, env, env->l3, O_l3_timeout);
                return;
        case LOOKUP_HAVE_L3:
                l->stage = LOOKUP_OPENED_L3;
                if (!lookup_open(l, env))
                        return;
                fallthrough;
        case LOOKUP_OPENED_L3:
                l->stage = LOOKUP_PROMOTED;
                lookup_have_l3(l, env);
                return;
        case LOOKUP_PROMOTED:
                if (l->call.result == TIER_ANSWERED && l->call.outcome != WRITE_STORED) {
                        metric_add(env->metrics, M_promotions_refused, 1);
                        l->disputed = true;
                        lookup_end(l, env, NULL, OP_TIER_NONE, true);
                        return;
                }
                metric_add(env->metrics, M_promotions, l->call.result == TIER_ANSWERED);
                lookup_end_l3(l, env, l->call.result == TIER_ANSWERED);
                return;
        }
}
