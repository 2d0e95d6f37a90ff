/* base/mem.h: the only place that calls malloc. Counts what is in use, so that the budget is
 * honest. Running out of address space is our end: every large or hostile size is judged before it
 * gets here. */
#ifndef PN_BASE_MEM_H
#define PN_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *p, size_t size);
void mem_free(void *p);
/* For sizes a stranger named: NULL instead of the end of the process, and where a block of more
 * than MEM_SMALL bytes would pass the ceiling. */
void *mem_try_alloc(size_t size);
enum { MEM_SMALL = 4096 };
/* How much may be in use before what can be refused is refused. Without it: all there is. From then
 * on the kernel gets large blocks back when they are freed. Once, before threads start. */
void mem_ceiling_set(uint64_t bytes);
/* True: whoever can wait for memory should. */
bool mem_is_short(void);
/* What a block really takes, the allocator's rounding and header included. */
size_t mem_size(void *p);
/* Bytes in use by all threads (as the allocator counts them: malloc_usable_size). */
uint64_t mem_in_use(void);

#endif
