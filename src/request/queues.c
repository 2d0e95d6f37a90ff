/* request/queues.c: see queues.h.
 * Owns: its items, a copy of each key, a reference of each entry. Each item is a small state
 * machine of its own: waiting, then busy with one tier call after the other. Items of one key are
 * never busy together. A tier that fails an item gets it again later; what loses is gone from every
 * tier above.
 * Limits: queue-max, LIMIT_QUEUE_ITEMS, half of tombstone-ttl. Not here: stamping (op_write.c). */
#include "request/queues.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "request/floors.h"
#include "request/newest.h"

enum { QUEUE_L2, QUEUE_L3, QUEUE_COUNT };
enum item_stage { ITEM_WAITS, ITEM_L3_FIRST, ITEM_SENT };

#define RETRY_US UINT64_C(200000)

struct queue_item {
        struct table_node node;
        struct list order; /* in queue.waiting or queue.busy */
        struct queue *queue;
        enum item_stage stage;
        bool take;    /* take out `version`, rather than write `entry` */
        bool dropped; /* overflowed while busy: freed when its call comes back */
        uint64_t version, origin;
        uint64_t since_us; /* monotonic: of the oldest write that it stands for */
        struct entry entry;
        struct delivery *delivery; /* while busy */
        struct key key;
        uint8_t key_text[];
};

/* What a busy item needs besides: few are busy, many wait. */
struct delivery {
        struct task task;
        struct queue_item *item;
        struct tier_call call;
        struct entry for_l2; /* what L2 gets in place of the entry, made when needed */
};

struct queue {
        unsigned which;
        unsigned busy_max;
        struct table items;
        struct list waiting, busy;
        unsigned busy_count;
        uint64_t bytes;
        struct task task;
        struct timer timer;
};

struct queues {
        struct env *env;
        struct queue queue[QUEUE_COUNT];
};

static struct tier *
queue_tier(const struct queue *q, const struct env *env)
{
        return q->which == QUEUE_L2 ? env->l2 : env->l3;
}

static uint64_t
item_bytes(const struct queue_item *it)
{
        return sizeof *it + it->key.text.len + (it->entry.blob != NULL ? it->entry.blob->len : 0);
}

static void
queues_measure(struct env *env)
{
        const struct queue *q = env->queues->queue;

        metric_set(env->metrics, M_queue_l2, q[QUEUE_L2].items.count);
        metric_set(env->metrics, M_queue_l3, q[QUEUE_L3].items.count);
        metric_set(env->metrics, M_queue_bytes, q[QUEUE_L2].bytes + q[QUEUE_L3].bytes);
}

static struct queue_item *
item_of(struct list *node)
{
        return container_of(node, struct queue_item, order);
}

/* An item of the key that `want` accepts; NULL if there is none. */
static struct queue_item *
queue_find(const struct queue *q, struct key key, bool (*want)(const struct queue_item *))
{
        table_each_match (node, &q->items, key.hash) {
                struct queue_item *it = container_of(node, struct queue_item, node);

                if (want(it) && bytes_equal(it->key.text, key.text))
                        return it;
        }
        return NULL;
}

static bool
item_is_write(const struct queue_item *it)
{
        return !it->take && !it->dropped;
}
static bool
item_is_idle_write(const struct queue_item *it)
{
        return !it->take && it->stage == ITEM_WAITS;
}
/* Also one that was dropped: until its call comes back, it may still be executed. */
static bool
item_is_busy(const struct queue_item *it)
{
        return it->stage != ITEM_WAITS;
}

static void
delivery_end(struct queue_item *it)
{
        struct delivery *d = it->delivery;

        if (d == NULL)
                return;
        it->queue->busy_count--;
        it->delivery = NULL;
        list_remove(&d->task.ready);
        entry_release(&d->for_l2);
        mem_free(d);
}

static void
item_free(struct queue_item *it, struct env *env)
{
        struct queue *q = it->queue;

        delivery_end(it);
        q->bytes -= item_bytes(it);
        table_remove(&q->items, &it->node);
        list_remove(&it->order);
        entry_release(&it->entry);
        mem_free(it);
        queues_measure(env);
}

static void
item_drop(struct queue_item *it, struct env *env)
{
        if (it->stage == ITEM_WAITS)
                item_free(it, env);
        else
                it->dropped = true;
}

/* ---- overflow ---- */

/* The namespace of `it` can no longer be kept in order: everything of it counts as invalid, here
 * and in the tiers. */
static void
queue_overflow(struct queue *q, struct env *env, struct queue_item *it, const char *why)
{
        struct bytes name = key_namespace(it->key.text);
        uint8_t *copy = mem_alloc(name.len + 1);
        uint64_t version = env->now_us > env->seen ? env->now_us : env->seen + 1;

        memcpy(copy, name.at, name.len);
        name = bytes_of(copy, name.len);
        metric_add(env->metrics, M_queue_overflows, 1);
        log_warn("writes that wait for %s are %s: a namespace is invalidated and they are dropped",
                 q->which == QUEUE_L2 ? "l2" : "l3", why);
        floors_spread(env, name, version);
        for (unsigned i = 0; i < 2; i++) {
                struct list *l = i == 0 ? &q->waiting : &q->busy;

                list_each_safe (node, l) {
                        if (bytes_equal(key_namespace(item_of(node)->key.text), name))
                                item_drop(item_of(node), env);
                }
        }
        mem_free(copy);
        if (env->l2 != NULL && env->l2->up)
                floors_sync(env, env->l2);
        if (env->l3 != NULL && env->l3->up)
                floors_sync(env, env->l3);
}

static uint64_t
queue_bytes_max(const struct env *env)
{
        return option_number(env->options, O_queue_max) / (env->count * QUEUE_COUNT);
}

static void
queue_bound(struct queue *q, struct env *env)
{
        uint64_t max = queue_bytes_max(env);

        while (!list_empty(&q->waiting) && (q->bytes > max || q->items.count > LIMIT_QUEUE_ITEMS))
                queue_overflow(q, env, item_of(q->waiting.next), "too many");
        while (!list_empty(&q->waiting)) {
                struct queue_item *it = item_of(q->waiting.next);
                uint64_t age_max = policy_number(newest_policy(env, it->key), P_tombstone_ttl) / 2;

                if (env->mono_us - it->since_us <= age_max)
                        break;
                queue_overflow(q, env, it, "too old");
        }
}

/* ---- draining ---- */

static void delivery_advance(struct task *task, struct env *env);

static void
item_call(struct queue_item *it, struct env *env, struct tier *tier, const struct entry *e,
          enum keeper keeper, enum option_id timeout)
{
        it->delivery->call = (struct tier_call){
                .verb = it->take ? TIER_TAKE : TIER_WRITE,
                .key = it->key,
                .entry = it->take ? NULL : e,
                .kind = WRITE_STAMPED,
                .version = it->version,
                .origin = it->origin,
                .expect = EXPECT_ANY,
                .deadline_us = env->mono_us + option_number(env->options, timeout),
                .owner = &it->delivery->task,
        };
        if (!it->take) {
                it->delivery->call.keep_until_us =
                        newest_keep_until(env, it->key, &it->entry.meta, keeper);
                it->delivery->call.deadline_us += tier_extra_us(e->blob->len);
        }
        tier_start(tier, &it->delivery->call);
}

/* The tier did not take it: again, a little later. */
static void
item_retry(struct queue_item *it, struct env *env)
{
        struct queue *q = it->queue;

        it->stage = ITEM_WAITS;
        delivery_end(it);
        list_remove(&it->order);
        list_push_front(&q->waiting, &it->order);
        if (timer_idle(&q->timer))
                timer_set(&env->timers, &q->timer, &q->task, env->mono_us + RETRY_US);
}

/* Mode through: it was written under another replication id, and would count as absent. */
static bool
item_is_foreign(const struct queue_item *it, const struct env *env)
{
        return !it->take && newest_mode(newest_policy(env, it->key)) == MODE_THROUGH &&
               it->entry.meta.replid != env->l2->replid;
}

/* What L2 gets in place of the entry: the mark, where that is too large for L2; and what says that
 * it is of this Redis. */
static bool
item_remakes(const struct queue_item *it, const struct env *env, struct meta *m)
{
        bool mark = !it->take && mode_uses_l3(env, newest_mode(newest_policy(env, it->key))) &&
                    it->entry.payload_len > option_number(env->options, O_l2_value_max);

        *m = it->entry.meta;
        m->replid = env->l2->replid;
        if (mark)
                m->flags |= ENTRY_IN_L3;
        return mark || item_is_foreign(it, env);
}

static void
item_send_l2(struct queue_item *it, struct env *env)
{
        const struct entry *e = &it->entry;
        struct meta m;

        if (item_remakes(it, env, &m)) {
                if (it->delivery->for_l2.blob == NULL &&
                    envelope_reseal(it->key.text, e, &m, &it->delivery->for_l2) != OK) {
                        item_retry(it, env); /* memory is short */
                        return;
                }
                e = &it->delivery->for_l2;
        }
        it->stage = ITEM_SENT;
        item_call(it, env, env->l2, e, KEEPER_L2, O_l2_timeout);
}

static void
item_begin(struct queue_item *it, struct env *env)
{
        struct queue *q = it->queue;

        list_remove(&it->order);
        list_push(&q->busy, &it->order);
        q->busy_count++;
        it->delivery = mem_zalloc(sizeof *it->delivery);
        it->delivery->item = it;
        task_init(&it->delivery->task, delivery_advance);
        it->stage = ITEM_SENT;
        if (q->which == QUEUE_L3) {
                item_call(it, env, env->l3, &it->entry, KEEPER_L3, O_l3_timeout);
        } else if (!it->take && mode_uses_l3(env, newest_mode(newest_policy(env, it->key)))) {
                /* What waited for L2 goes to L3 first, and is dropped if it loses there. */
                it->stage = ITEM_L3_FIRST;
                item_call(it, env, env->l3, &it->entry, KEEPER_L3, O_l3_timeout);
        } else {
                item_send_l2(it, env);
        }
}

static void
queue_drain(struct queue *q, struct env *env)
{
        queue_bound(q, env);
        if (!queue_tier(q, env)->up)
                return; /* it kicks us when it comes up */
        list_each_safe (node, &q->waiting) {
                if (q->busy_count >= q->busy_max)
                        return; /* the next that comes back goes on */
                if (queue_find(q, item_of(node)->key, item_is_busy) == NULL)
                        item_begin(item_of(node), env);
        }
}

static void
queue_advance(struct task *task, struct env *env)
{
        struct queue *q = container_of(task, struct queue, task);

        queue_drain(q, env);
        if (!list_empty(&q->waiting) && q->busy_count == 0)
                timer_set(&env->timers, &q->timer, &q->task, env->mono_us + RETRY_US);
}

/* Something newer is there already: no copy of this write may stay anywhere above. */
static void
item_lost(struct queue_item *it, struct env *env)
{
        struct queue_item *other;

        metric_add(env->metrics, M_writes_lost, 1);
        l1_remove_exact(env->l1, it->key, it->version, it->origin);
        newest_note(env, it->key, it->delivery->call.found_version);
        if (it->queue->which != QUEUE_L3)
                return;
        other = queue_find(&env->queues->queue[QUEUE_L2], it->key, item_is_write);
        if (other != NULL && other->version == it->version)
                item_drop(other, env);
        if (mode_uses_l2(env, newest_mode(newest_policy(env, it->key))))
                queues_push_take(env, it->key, it->version, it->origin);
}

/* L3 has it: no need to send it there again. */
static void
item_forget_l3(struct queue_item *it, struct env *env)
{
        struct queue_item *other =
                queue_find(&env->queues->queue[QUEUE_L3], it->key, item_is_idle_write);

        if (other != NULL && other->version == it->version)
                item_drop(other, env);
}

static void
delivery_advance(struct task *task, struct env *env)
{
        struct queue_item *it = container_of(task, struct delivery, task)->item;
        struct queue *q = it->queue;
        bool answered = it->delivery->call.result == TIER_ANSWERED;
        bool lost = answered && !it->take && it->delivery->call.outcome == WRITE_LOST;

        if (it->stage == ITEM_L3_FIRST && !it->dropped && !lost) {
                if (answered)
                        item_forget_l3(it, env);
                if (answered || !item_is_foreign(it, env)) {
                        item_send_l2(it, env);
                        return;
                } /* this Redis has lost what is newer, L3 has not: it is to be heard first */
        }
        if (!answered && !it->dropped) {
                item_retry(it, env);
                return;
        }
        if (lost && !it->dropped)
                item_lost(it, env);
        else if (!it->take && q->which == QUEUE_L2)
                newest_note(env, it->key, it->version);
        item_free(it, env);
        task_ready(&env->ready, &q->task);
}

static void
queue_init(struct queue *q, unsigned which, unsigned busy_max)
{
        q->which = which;
        q->busy_max = busy_max;
        table_init(&q->items, 16);
        list_init(&q->waiting);
        list_init(&q->busy);
        task_init(&q->task, queue_advance);
}

struct queues *
queues_create(struct env *env)
{
        struct queues *qs = mem_zalloc(sizeof *qs);

        qs->env = env;
        queue_init(&qs->queue[QUEUE_L2], QUEUE_L2, 128);
        queue_init(&qs->queue[QUEUE_L3], QUEUE_L3, LIMIT_L3_BATCH);
        return qs;
}

void
queues_destroy(struct queues *qs)
{
        for (unsigned i = 0; i < QUEUE_COUNT; i++) {
                struct queue *q = &qs->queue[i];

                list_splice(&q->waiting, &q->busy);
                list_each_safe (node, &q->waiting) {
                        struct queue_item *it = item_of(node);
                        struct tier *tier =
                                it->stage == ITEM_L3_FIRST ? qs->env->l3 : queue_tier(q, qs->env);

                        if (it->stage != ITEM_WAITS)
                                tier_cancel(tier, &it->delivery->call);
                        item_free(it, qs->env);
                }
                timer_cancel(&qs->env->timers, &q->timer);
                list_remove(&q->task.ready);
                table_deinit(&q->items);
        }
        mem_free(qs);
}

static void
queue_wake(struct queue *q, struct env *env)
{
        uint64_t flush_us = option_number(env->options, O_l3_flush);

        if (q->which == QUEUE_L2 || q->items.count - q->busy_count >= LIMIT_L3_BATCH) {
                task_ready(&env->ready, &q->task);
        } else if (timer_idle(&q->timer)) {
                /* Up to l3-flush: writes of one key become one, rows one statement. */
                timer_set(&env->timers, &q->timer, &q->task, env->mono_us + flush_us);
        }
}

static void
queue_push(struct queue *q, struct env *env, struct key key, const struct entry *e,
           uint64_t version, uint64_t origin)
{
        struct queue_item *it = e != NULL ? queue_find(q, key, item_is_idle_write) : NULL;

        if (it != NULL) { /* the newer write takes the older one's place, and keeps its age */
                if (version < it->version)
                        return;
                q->bytes -= item_bytes(it);
                entry_release(&it->entry);
        } else {
                it = mem_zalloc(sizeof *it + key.text.len);
                memcpy(it->key_text, key.text.at, key.text.len);
                it->key = (struct key){bytes_of(it->key_text, key.text.len), key.hash};
                it->queue = q;
                it->take = e == NULL;
                it->since_us = env->mono_us;
                table_insert(&q->items, &it->node, key.hash);
                list_push(&q->waiting, &it->order);
        }
        it->version = version;
        it->origin = origin;
        if (e != NULL) {
                it->entry = *e;
                blob_ref(e->blob);
        }
        q->bytes += item_bytes(it);
        queue_bound(q, env);
        queues_measure(env);
        queue_wake(q, env);
}

void
queues_push_l2(struct env *env, struct key key, const struct entry *e)
{
        queue_push(&env->queues->queue[QUEUE_L2], env, key, e, e->meta.version, e->meta.origin);
}

void
queues_push_l3(struct env *env, struct key key, const struct entry *e)
{
        queue_push(&env->queues->queue[QUEUE_L3], env, key, e, e->meta.version, e->meta.origin);
}

void
queues_push_take(struct env *env, struct key key, uint64_t version, uint64_t origin)
{
        queue_push(&env->queues->queue[QUEUE_L2], env, key, NULL, version, origin);
}

bool
queues_unsent(struct env *env, struct key key, struct entry *out)
{
        const struct queue_item *newest = NULL;

        for (unsigned i = 0; i < QUEUE_COUNT; i++) {
                const struct queue *q = &env->queues->queue[i];

                table_each_match (node, &q->items, key.hash) {
                        const struct queue_item *it = container_of(node, struct queue_item, node);

                        if (!it->take && !it->dropped && bytes_equal(it->key.text, key.text) &&
                            (newest == NULL || it->version > newest->version))
                                newest = it;
                }
        }
        if (newest == NULL)
                return false;
        *out = newest->entry;
        out->meta.version = newest->version;
        blob_ref(out->blob);
        return true;
}

bool
queues_holds_l2(const struct env *env, struct key key)
{
        return queue_find(&env->queues->queue[QUEUE_L2], key, item_is_write) != NULL;
}

void
queues_supersede_l3(struct env *env, struct key key, uint64_t version)
{
        struct table_node *next = table_first(&env->queues->queue[QUEUE_L3].items, key.hash);

        while (next != NULL) {
                struct queue_item *it = container_of(next, struct queue_item, node);

                next = table_next(next);
                if (bytes_equal(it->key.text, key.text) && it->version < version)
                        item_drop(it, env);
        }
}

void
queues_forget(struct env *env, struct bytes name_space, uint64_t version)
{
        for (unsigned i = 0; i < QUEUE_COUNT; i++) {
                struct queue *q = &env->queues->queue[i];

                for (unsigned part = 0; part < 2; part++) {
                        list_each_safe (node, part == 0 ? &q->waiting : &q->busy) {
                                struct queue_item *it = item_of(node);

                                if (it->version <= version &&
                                    (name_space.at == NULL ||
                                     bytes_equal(key_namespace(it->key.text), name_space)))
                                        item_drop(it, env);
                        }
                }
        }
}

bool
queues_drained(struct env *env)
{
        bool empty = true;

        for (unsigned i = 0; i < QUEUE_COUNT; i++) {
                struct queue *q = &env->queues->queue[i];

                if (q->items.count == 0)
                        continue;
                empty = false;
                if (q->busy_count == 0)
                        task_ready(&env->ready, &q->task);
        }
        return empty;
}

bool
queues_l3_crowded(const struct env *env)
{
        const struct queue *q = &env->queues->queue[QUEUE_L3];

        return env->l3->up && (q->bytes > queue_bytes_max(env) / 4 * 3 ||
                               q->items.count > LIMIT_QUEUE_ITEMS / 4 * 3);
}

void
queues_kick(struct env *env)
{
        for (unsigned i = 0; i < QUEUE_COUNT; i++) {
                if (env->queues->queue[i].items.count > 0)
                        task_ready(&env->ready, &env->queues->queue[i].task);
        }
}
