/* base/table.h: an intrusive chained hash table; the caller compares, and owns the nodes. Doubles
 * as it fills. Hashes are the caller's, 64 bit and well mixed. */
#ifndef PN_BASE_TABLE_H
#define PN_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_node { /* embedded; belongs to table.c while inserted */
        struct table_node *next;
        uint64_t hash;
};

struct table {
        struct table_node **slots;
        size_t mask, count;
};

void table_init(struct table *t, size_t slots_min);
void table_deinit(struct table *t); /* the nodes are the caller's */
void table_insert(struct table *t, struct table_node *node, uint64_t hash);
void table_remove(struct table *t, struct table_node *node);
/* All nodes of that hash: table_first(), then table_next() until NULL. */
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next(const struct table_node *node);
/* Every node, in no order: start with *cursor = 0; NULL at the end. The table must not change
 * meanwhile, except that the node just returned may be removed. */
struct table_node *table_walk(const struct table *t, size_t *cursor, struct table_node *last);

#define table_each_match(node, t, h) \
        for (struct table_node *node = table_first((t), (h)); node; node = table_next(node))

#endif
