/* table: a chained hash table of nodes that others own. Owns: the slots. Doubles when there are
 * more nodes than slots, never shrinks. Limit: 2^40 slots. Not here: comparing keys, freeing
 * nodes. */
#include "base/table.h"

#include "base/mem.h"
#include "base/must.h"

enum { SLOTS_MIN = 8, WALK_SLOT_BITS = 40 };

void
table_init(struct table *t, size_t slots_min)
{
        size_t slots = SLOTS_MIN;

        must(slots_min <= (size_t)1 << WALK_SLOT_BITS);
        while (slots < slots_min)
                slots *= 2;
        *t = (struct table){.slots = mem_zalloc(slots * sizeof *t->slots), .mask = slots - 1};
}

void
table_deinit(struct table *t)
{
        mem_free(t->slots);
        *t = (struct table){0};
}

static void
table_grow(struct table *t)
{
        struct table bigger;

        table_init(&bigger, (t->mask + 1) * 2);
        for (size_t i = 0; i <= t->mask; i++) {
                struct table_node *node = t->slots[i];

                while (node != NULL) {
                        struct table_node *next = node->next;
                        struct table_node **slot = &bigger.slots[node->hash & bigger.mask];

                        node->next = *slot;
                        *slot = node;
                        node = next;
                }
        }
        bigger.count = t->count;
        mem_free(t->slots);
        *t = bigger;
}

void
table_insert(struct table *t, struct table_node *node, uint64_t hash)
{
        struct table_node **slot;

        if (t->count > t->mask)
                table_grow(t);
        slot = &t->slots[hash & t->mask];
        node->hash = hash;
        node->next = *slot;
        *slot = node;
        t->count++;
}

void
table_remove(struct table *t, struct table_node *node)
{
        struct table_node **link = &t->slots[node->hash & t->mask];

        while (*link != node) {
                must(*link != NULL);
                link = &(*link)->next;
        }
        *link = node->next;
        node->next = NULL;
        t->count--;
}

static struct table_node *
match_from(struct table_node *node, uint64_t hash)
{
        while (node != NULL && node->hash != hash)
                node = node->next;
        return node;
}

struct table_node *
table_first(const struct table *t, uint64_t hash)
{
        return match_from(t->slots[hash & t->mask], hash);
}

struct table_node *
table_next(const struct table_node *node)
{
        return match_from(node->next, node->hash);
}

/* The cursor is a slot and a place in its chain: the place where `last` stood, and where the one
 * behind it stands if `last` was removed. `last` is only compared, for it may be freed by now. */
struct table_node *
table_walk(const struct table *t, size_t *cursor, struct table_node *last)
{
        size_t slot = *cursor & (((size_t)1 << WALK_SLOT_BITS) - 1);
        size_t place = *cursor >> WALK_SLOT_BITS;

        for (; slot <= t->mask; slot++, place = 0) {
                struct table_node *node = t->slots[slot];

                for (size_t i = 0; i < place && node != NULL; i++)
                        node = node->next;
                if (node != NULL && node == last) {
                        node = node->next;
                        place++;
                }
                if (node != NULL) {
                        *cursor = place << WALK_SLOT_BITS | slot;
                        return node;
                }
        }
        *cursor = slot;
        return NULL;
}
