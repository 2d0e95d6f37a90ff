/* loop_slots: numbered places with generations. Owns: the slots' memory, until slots_deinit().
 * Limit: 2^32 places; a generation comes again after 2^24 uses of one place, far longer than any
 * completion can be under way. Not here: what a slot means. */
#include "io/loop_slots.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

enum { GENERATION_MASK = (1 << 24) - 1 };

static bool
slot_in_use(const struct slot *s)
{
        return s->next_free == s;
}

void
slots_init(struct slots *t, size_t size)
{
        *t = (struct slots){.size = size};
}

void
slots_deinit(struct slots *t)
{
        for (uint32_t i = 0; i < t->count; i++)
                mem_free(t->all[i]);
        mem_free(t->all);
        *t = (struct slots){0};
}

struct slot *
slots_take(struct slots *t)
{
        struct slot *s = t->free;

        if (s == NULL) {
                if (t->count == t->cap) {
                        t->cap = t->cap ? t->cap * 2 : 64;
                        t->all = mem_realloc(t->all, t->cap * sizeof *t->all);
                }
                s = mem_zalloc(t->size);
                s->index = t->count;
                t->all[t->count++] = s;
        } else {
                t->free = s->next_free;
                memset((char *)s + sizeof *s, 0, t->size - sizeof *s);
        }
        s->next_free = s; /* in use */
        t->used++;
        return s;
}

void
slots_give(struct slots *t, struct slot *s)
{
        must(slot_in_use(s));
        s->generation = (s->generation + 1) & GENERATION_MASK;
        s->next_free = t->free;
        t->free = s;
        t->used--;
}

uint64_t
slot_tag(const struct slot *s)
{
        return (uint64_t)s->generation << 32 | s->index;
}

struct slot *
slots_find(const struct slots *t, uint64_t tag)
{
        uint32_t index = (uint32_t)tag, generation = (uint32_t)(tag >> 32) & GENERATION_MASK;
        struct slot *s;

        if (index >= t->count)
                return NULL;
        s = t->all[index];
        return slot_in_use(s) && s->generation == generation ? s : NULL;
}

struct slot *
slots_walk(const struct slots *t, uint32_t *cursor)
{
        while (*cursor < t->count) {
                struct slot *s = t->all[(*cursor)++];

                if (slot_in_use(s))
                        return s;
        }
        return NULL;
}
