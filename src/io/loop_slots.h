/* io/loop_slots.h: what the kernel is given instead of pointers: a number and a generation. A
 * completion for something that has gone, or whose place was taken by another since, finds
 * nothing. */
#ifndef PN_IO_LOOP_SLOTS_H
#define PN_IO_LOOP_SLOTS_H

#include <stddef.h>
#include <stdint.h>

enum { SLOT_TAG_BITS = 56 };

struct slot { /* the head of what a loop keeps for a stream or a watch */
        uint32_t index, generation;
        struct slot *next_free;
};

struct slots {
        struct slot **all;
        struct slot *free;
        uint32_t count, cap, used;
        size_t size;
};

void slots_init(struct slots *t, size_t size);
void slots_deinit(struct slots *t);
/* Zeroed behind the head. Memory is kept for the next one after slots_give(). */
struct slot *slots_take(struct slots *t);
void slots_give(struct slots *t, struct slot *s);
/* SLOT_TAG_BITS bits: 32 of index, 24 of generation. */
uint64_t slot_tag(const struct slot *s);
struct slot *slots_find(const struct slots *t, uint64_t tag);
/* In any order, those in use: start with *cursor = 0; NULL at the end. */
struct slot *slots_walk(const struct slots *t, uint32_t *cursor);

#endif
