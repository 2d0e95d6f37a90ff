/* base/list.h: an intrusive, doubly linked, circular list. A node that is on no list points to
 * itself. */
#ifndef PN_BASE_LIST_H
#define PN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"

struct list {
        struct list *next, *prev;
};

static inline void
list_init(struct list *l)
{
        l->next = l->prev = l;
}
static inline bool
list_empty(const struct list *l)
{
        return l->next == l;
}
static inline void
list_insert(struct list *at, struct list *node)
{
        node->prev = at;
        node->next = at->next;
        at->next->prev = node;
        at->next = node;
}
static inline void
list_push_front(struct list *l, struct list *node)
{
        list_insert(l, node);
}
static inline void
list_push(struct list *l, struct list *node)
{
        list_insert(l->prev, node);
}
/* Safe for a node that is on no list. */
static inline void
list_remove(struct list *node)
{
        node->prev->next = node->next;
        node->next->prev = node->prev;
        list_init(node);
}
/* The first node, taken off; NULL when there is none. */
static inline struct list *
list_pop(struct list *l)
{
        struct list *node = l->next;

        if (node == l)
                return NULL;
        list_remove(node);
        return node;
}
/* Moves all of `from` behind what l holds. */
static inline void
list_splice(struct list *l, struct list *from)
{
        if (list_empty(from))
                return;
        from->next->prev = l->prev;
        l->prev->next = from->next;
        from->prev->next = l;
        l->prev = from->prev;
        list_init(from);
}

#define list_each(node, l) for (struct list *node = (l)->next; node != (l); node = node->next)
/* The body may remove `node` from the list. */
#define list_each_safe(node, l)                                                     \
        for (struct list *node = (l)->next, *node##_next = node->next; node != (l); \
             node = node##_next, node##_next = node->next)

#endif
