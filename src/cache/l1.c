/* l1: the first tier. Partitions by the high bits of the hash, each with a lock, a table, a list
 * in the order of use, and the time of its oldest use outside the lock: what goes first is the
 * oldest of all partitions, so one value may take the room of many without emptying its own
 * partition first. Owns: nodes (with their keys) and one reference of each entry's blob. Limits:
 * bytes_max, counted as the allocator counts (nodes, blobs in full though they may be shared,
 * table slots, this struct); room is made before an entry comes in, so it holds at every moment.
 * Not here: time, policy, tags. */
#include "cache/l1.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/table.h"

enum {
        SLOTS_START = 64,
        CLEAR_SLOTS = 256, /* per hold of a lock */
        ENTRY_SHARE = 2,   /* the largest entry is this part of the budget */
        PARTITIONS_MAX = 4096,
        SLOTS_SLACK = 4096, /* what an allocator may add to a table */
};

static const uint64_t used_never = UINT64_MAX;

struct node {
        struct table_node node;
        struct list lru; /* the least recently used first */
        struct entry entry;
        uint64_t until_us, landed_us, used_us;
        uint64_t bytes;
        uint32_t flags, key_len;
        uint8_t key[];
};

struct partition {
        pthread_mutex_t lock;
        struct table table;
        struct list lru;
        uint64_t tombstones, evicted, expired, raw_bytes, stored_bytes;
        size_t sweep_slot;
};

struct l1 {
        uint64_t bytes_max, entry_max;
        unsigned count,
                bits; /* of partitions; the highest `bits` of a hash are a partition's number */
        struct partition *partitions;
        _Atomic uint64_t *oldest_us; /* of each partition; used_never while it is empty */
        _Atomic uint64_t bytes;
        _Atomic unsigned sweep_at;
};

static void
bytes_give(struct l1 *l1, uint64_t n)
{
        atomic_fetch_sub_explicit(&l1->bytes, n, memory_order_relaxed);
}

static bool
bytes_take(struct l1 *l1, uint64_t n)
{
        uint64_t now = atomic_load_explicit(&l1->bytes, memory_order_relaxed);

        do {
                if (now > l1->bytes_max || n > l1->bytes_max - now)
                        return false;
        } while (!atomic_compare_exchange_weak_explicit(
                &l1->bytes, &now, now + n, memory_order_relaxed, memory_order_relaxed));
        return true;
}

struct l1 *
l1_create(struct l1_config config)
{
        struct l1 *l1 = mem_zalloc(sizeof *l1);
        pthread_mutexattr_t attr;
        uint64_t bytes;

        must(config.partitions > 0 && config.partitions <= PARTITIONS_MAX);
        must((config.partitions & (config.partitions - 1)) == 0);
        l1->bytes_max = config.bytes_max;
        l1->entry_max = config.bytes_max / ENTRY_SHARE;
        l1->count = config.partitions;
        l1->bits = (unsigned)__builtin_ctz(config.partitions);
        l1->partitions = mem_zalloc(l1->count * sizeof *l1->partitions);
        l1->oldest_us = mem_zalloc(l1->count * sizeof *l1->oldest_us);
        bytes = mem_size(l1) + mem_size(l1->partitions) + mem_size(l1->oldest_us);
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
        for (unsigned i = 0; i < l1->count; i++) {
                struct partition *p = &l1->partitions[i];

                must(pthread_mutex_init(&p->lock, &attr) == 0);
                table_init(&p->table, SLOTS_START);
                list_init(&p->lru);
                atomic_init(&l1->oldest_us[i], used_never);
                bytes += mem_size(p->table.slots);
        }
        pthread_mutexattr_destroy(&attr);
        atomic_init(&l1->bytes, bytes);
        return l1;
}

void
l1_destroy(struct l1 *l1)
{
        if (l1 == NULL)
                return;
        (void)l1_clear(l1, NULL);
        for (unsigned i = 0; i < l1->count; i++) {
                table_deinit(&l1->partitions[i].table);
                pthread_mutex_destroy(&l1->partitions[i].lock);
        }
        mem_free(l1->oldest_us);
        mem_free(l1->partitions);
        mem_free(l1);
}

static struct partition *
partition_lock(const struct l1 *l1, unsigned number)
{
        struct partition *p = &l1->partitions[number];

        must(pthread_mutex_lock(&p->lock) == 0);
        return p;
}

static void
partition_unlock(struct partition *p)
{
        must(pthread_mutex_unlock(&p->lock) == 0);
}

static unsigned
partition_number(const struct l1 *l1, struct key key)
{
        return (unsigned)(key.hash >> 1 >> (63 - l1->bits));
}

static struct node *
node_of(struct list *lru)
{
        return container_of(lru, struct node, lru);
}

static struct node *
node_find(const struct partition *p, struct key key)
{
        table_each_match (at, &p->table, key.hash) {
                struct node *n = container_of(at, struct node, node);

                if (bytes_equal(key.text, bytes_of(n->key, n->key_len)))
                        return n;
        }
        return NULL;
}

static bool
node_expired(const struct node *n, uint64_t now_us)
{
        return now_us >= n->until_us || now_us >= n->entry.meta.hard_us;
}

static struct node *
node_new(struct key key, const struct entry *e, uint64_t until_us, unsigned flags, uint64_t now_us)
{
        struct node *n = mem_alloc(sizeof *n + key.text.len);

        *n = (struct node){
                .entry = *e,
                .until_us = until_us,
                .landed_us = now_us,
                .used_us = now_us,
                .flags = flags,
                .key_len = (uint32_t)key.text.len,
        };
        memcpy(n->key, key.text.at, key.text.len);
        list_init(&n->lru);
        blob_ref(n->entry.blob);
        n->bytes = mem_size(n) + mem_size(n->entry.blob);
        return n;
}

static void
node_free(struct node *n)
{
        entry_release(&n->entry);
        mem_free(n);
}

/* Of nodes that were in a partition: freed outside its lock, and counted until they are. */
static uint64_t
nodes_free(struct l1 *l1, struct list *gone)
{
        struct list *at;
        uint64_t count = 0, bytes = 0;

        while ((at = list_pop(gone)) != NULL) {
                bytes += node_of(at)->bytes;
                count++;
                node_free(node_of(at));
        }
        bytes_give(l1, bytes);
        return count;
}

static void
oldest_tell(struct l1 *l1, unsigned number)
{
        const struct list *lru = &l1->partitions[number].lru;
        uint64_t oldest_us = list_empty(lru) ? used_never : node_of(lru->next)->used_us;

        atomic_store_explicit(&l1->oldest_us[number], oldest_us, memory_order_relaxed);
}

static void
node_link(struct l1 *l1, unsigned number, struct node *n, uint64_t hash)
{
        struct partition *p = &l1->partitions[number];

        table_insert(&p->table, &n->node, hash);
        list_push(&p->lru, &n->lru);
        if (p->lru.next == &n->lru)
                oldest_tell(l1, number);
        if (n->entry.meta.flags & ENTRY_TOMBSTONE)
                p->tombstones++;
        if (entry_is_value(&n->entry.meta)) {
                p->raw_bytes += n->entry.meta.raw_len;
                p->stored_bytes += n->entry.payload_len;
        }
}

/* Out of the partition and onto `gone`. */
static void
node_unlink(struct l1 *l1, unsigned number, struct node *n, struct list *gone)
{
        struct partition *p = &l1->partitions[number];
        bool was_oldest = p->lru.next == &n->lru;

        table_remove(&p->table, &n->node);
        list_remove(&n->lru);
        if (was_oldest)
                oldest_tell(l1, number);
        if (n->entry.meta.flags & ENTRY_TOMBSTONE)
                p->tombstones--;
        if (entry_is_value(&n->entry.meta)) {
                p->raw_bytes -= n->entry.meta.raw_len;
                p->stored_bytes -= n->entry.payload_len;
        }
        list_push(gone, &n->lru);
}

static void
node_use(struct l1 *l1, unsigned number, struct node *n, uint64_t now_us)
{
        struct partition *p = &l1->partitions[number];
        bool was_oldest = p->lru.next == &n->lru;

        n->used_us = now_us;
        list_remove(&n->lru);
        list_push(&p->lru, &n->lru);
        if (was_oldest)
                oldest_tell(l1, number);
}

bool
l1_get(struct l1 *l1, struct key key, uint64_t now_us, struct l1_found *out)
{
        unsigned number = partition_number(l1, key);
        struct partition *p = partition_lock(l1, number);
        struct node *n = node_find(p, key);
        bool found = false;
        struct list gone;

        list_init(&gone);
        if (n != NULL && node_expired(n, now_us)) {
                node_unlink(l1, number, n, &gone);
                p->expired++;
        } else if (n != NULL) {
                node_use(l1, number, n, now_us);
                *out = (struct l1_found){
                        .entry = n->entry,
                        .until_us = n->until_us,
                        .landed_us = n->landed_us,
                        .flags = n->flags,
                };
                blob_ref(out->entry.blob);
                found = true;
        }
        partition_unlock(p);
        (void)nodes_free(l1, &gone);
        return found;
}

bool
l1_peek(struct l1 *l1, struct key key, uint64_t now_us, struct meta *out, unsigned *flags)
{
        struct partition *p = partition_lock(l1, partition_number(l1, key));
        const struct node *n = node_find(p, key);
        bool found = n != NULL && !node_expired(n, now_us);

        if (found) {
                *out = n->entry.meta;
                if (flags != NULL)
                        *flags = n->flags;
        }
        partition_unlock(p);
        return found;
}

/* The least recently used of all partitions goes; where times are equal, this partition's. False
 * when there is nothing left. */
static bool
evict_one(struct l1 *l1, unsigned number)
{
        uint64_t best_us = atomic_load_explicit(&l1->oldest_us[number], memory_order_relaxed);
        struct partition *p;
        struct list gone;

        for (unsigned i = 0; i < l1->count; i++) {
                uint64_t us = atomic_load_explicit(&l1->oldest_us[i], memory_order_relaxed);

                if (us < best_us) {
                        best_us = us;
                        number = i;
                }
        }
        if (best_us == used_never)
                return false;
        list_init(&gone);
        p = partition_lock(l1, number);
        if (!list_empty(&p->lru)) { /* another thread may have been faster */
                node_unlink(l1, number, node_of(p->lru.next), &gone);
                p->evicted++;
        }
        partition_unlock(p);
        (void)nodes_free(l1, &gone);
        return true;
}

/* Links n if the budget has room for it, and for a table that doubles (old and new stand side by
 * side for a moment). */
static bool
node_admit(struct l1 *l1, unsigned number, struct node *n, uint64_t hash)
{
        struct table *t = &l1->partitions[number].table;
        const void *slots = t->slots;
        uint64_t before = mem_size(t->slots), growth = 0;

        if (t->count > t->mask)
                growth = 2 * (t->mask + 1) * sizeof *t->slots + SLOTS_SLACK;
        if (!bytes_take(l1, n->bytes + growth))
                return false;
        node_link(l1, number, n, hash);
        if (t->slots != slots)
                bytes_give(l1, growth + before - mem_size(t->slots));
        else
                bytes_give(l1, growth);
        return true;
}

enum verdict { VERDICT_TAKE, VERDICT_KEEP_NEWER, VERDICT_KEEP_SAME };

static enum verdict
put_judge(const struct node *old, struct node *n, uint64_t now_us)
{
        if (old == NULL || node_expired(old, now_us) ||
            old->entry.meta.version < n->entry.meta.version)
                return VERDICT_TAKE;
        if (old->entry.meta.version > n->entry.meta.version)
                return VERDICT_KEEP_NEWER;
        if (!(old->flags & L1_UNSURE)) {
                if (n->until_us <= old->until_us)
                        return VERDICT_KEEP_SAME;
                n->flags &= ~(unsigned)L1_UNSURE; /* this version was confirmed already */
        }
        return VERDICT_TAKE;
}

enum l1_put
l1_put(struct l1 *l1, struct key key, const struct entry *e, uint64_t until_us, unsigned flags,
       uint64_t now_us)
{
        unsigned number = partition_number(l1, key);
        struct list gone;
        struct node *n;

        if (e->blob->len > l1->entry_max) {
                (void)l1_remove_older(l1, key, e->meta.version);
                return L1_TOO_BIG;
        }
        list_init(&gone);
        n = node_new(key, e, until_us, flags, now_us < used_never ? now_us : used_never - 1);
        for (;;) {
                struct partition *p = partition_lock(l1, number);
                struct node *old = node_find(p, key);
                enum verdict verdict = put_judge(old, n, now_us);
                bool admitted = false;

                if (verdict == VERDICT_TAKE) {
                        if (old != NULL) {
                                if (node_expired(old, now_us))
                                        p->expired++;
                                node_unlink(l1, number, old, &gone);
                        }
                        admitted = list_empty(&gone) && node_admit(l1, number, n, key.hash);
                }
                partition_unlock(p);
                if (admitted)
                        return L1_STORED;
                if (verdict != VERDICT_TAKE) {
                        node_free(n);
                        return verdict == VERDICT_KEEP_SAME ? L1_STORED : L1_OLDER;
                }
                /* What was replaced is freed, and others' locks are taken, outside this one; then
                 * all is looked at again. The key is absent meanwhile, which a cache may be. */
                if (nodes_free(l1, &gone) == 0 && !evict_one(l1, number)) {
                        node_free(n);
                        return L1_TOO_BIG;
                }
        }
}

uint64_t
l1_entry_max(const struct l1 *l1)
{
        return l1->entry_max;
}

bool
l1_remove_older(struct l1 *l1, struct key key, uint64_t version)
{
        unsigned number = partition_number(l1, key);
        struct partition *p = partition_lock(l1, number);
        struct node *n = node_find(p, key);
        struct list gone;

        list_init(&gone);
        if (n != NULL && (version == UINT64_MAX || n->entry.meta.version < version))
                node_unlink(l1, number, n, &gone);
        partition_unlock(p);
        return nodes_free(l1, &gone) > 0;
}

bool
l1_remove_exact(struct l1 *l1, struct key key, uint64_t version, uint64_t origin)
{
        unsigned number = partition_number(l1, key);
        struct partition *p = partition_lock(l1, number);
        struct node *n = node_find(p, key);
        struct list gone;

        list_init(&gone);
        if (n != NULL && n->entry.meta.version == version && n->entry.meta.origin == origin)
                node_unlink(l1, number, n, &gone);
        partition_unlock(p);
        return nodes_free(l1, &gone) > 0;
}

void
l1_confirm(struct l1 *l1, struct key key, uint64_t version)
{
        struct partition *p = partition_lock(l1, partition_number(l1, key));
        struct node *n = node_find(p, key);

        if (n != NULL && n->entry.meta.version == version)
                n->flags &= ~(unsigned)L1_UNSURE;
        partition_unlock(p);
}

enum sweep { SWEEP_ALL, SWEEP_NAMESPACE, SWEEP_EXPIRED };

static bool
node_goes(const struct node *n, enum sweep what, const struct bytes *name_space, uint64_t now_us)
{
        switch (what) {
        case SWEEP_ALL:
                return true;
        case SWEEP_NAMESPACE:
                return bytes_equal(key_namespace(bytes_of(n->key, n->key_len)), *name_space);
        case SWEEP_EXPIRED:
                break;
        }
        return node_expired(n, now_us);
}

/* From slot *at, until `steps` slots and nodes were looked at or the table ends; *at is the next
 * one then, 0 at the end. A table that doubles meanwhile only makes some be seen twice: slot i of
 * the smaller one lives on in i and in a higher one. Returns how many steps are left. */
static unsigned
partition_sweep(struct l1 *l1, unsigned number, size_t *at, unsigned steps, enum sweep what,
                const struct bytes *name_space, uint64_t now_us, struct list *gone)
{
        struct table *t = &l1->partitions[number].table;

        for (; *at <= t->mask && steps > 0; ++*at) {
                struct table_node *next;

                steps--;
                for (struct table_node *node = t->slots[*at]; node != NULL; node = next) {
                        struct node *n = container_of(node, struct node, node);

                        next = node->next;
                        if (node_goes(n, what, name_space, now_us))
                                node_unlink(l1, number, n, gone);
                }
        }
        if (*at > t->mask)
                *at = 0;
        return steps;
}

uint64_t
l1_clear(struct l1 *l1, const struct bytes *name_space)
{
        enum sweep what =
                name_space != NULL && name_space->at != NULL ? SWEEP_NAMESPACE : SWEEP_ALL;
        uint64_t count = 0;

        for (unsigned i = 0; i < l1->count; i++) {
                size_t at = 0;

                do {
                        struct partition *p = partition_lock(l1, i);
                        struct list gone;

                        list_init(&gone);
                        (void)partition_sweep(l1, i, &at, CLEAR_SLOTS, what, name_space, 0, &gone);
                        partition_unlock(p);
                        count += nodes_free(l1, &gone);
                } while (at != 0);
        }
        return count;
}

uint64_t
l1_sweep(struct l1 *l1, uint64_t now_us, unsigned steps)
{
        uint64_t count = 0;

        for (unsigned turns = 0; turns < l1->count && steps > 0; turns++) {
                unsigned i = atomic_load_explicit(&l1->sweep_at, memory_order_relaxed) % l1->count;
                struct partition *p = partition_lock(l1, i);
                struct list gone;

                list_init(&gone);
                steps = partition_sweep(l1, i, &p->sweep_slot, steps, SWEEP_EXPIRED, NULL, now_us,
                                        &gone);
                if (p->sweep_slot == 0)
                        atomic_store_explicit(&l1->sweep_at, i + 1, memory_order_relaxed);
                list_each (at, &gone)
                        p->expired++;
                partition_unlock(p);
                count += nodes_free(l1, &gone);
        }
        return count;
}

void
l1_stats(const struct l1 *l1, struct l1_stats *out)
{
        *out = (struct l1_stats){.bytes = atomic_load_explicit(&l1->bytes, memory_order_relaxed)};
        for (unsigned i = 0; i < l1->count; i++) {
                struct partition *p = partition_lock(l1, i);

                out->entries += p->table.count;
                out->tombstones += p->tombstones;
                out->evicted += p->evicted;
                out->expired += p->expired;
                out->raw_bytes += p->raw_bytes;
                out->stored_bytes += p->stored_bytes;
                partition_unlock(p);
        }
}
