/* server/memory_limit.h: how much memory the container allows. */
#ifndef PN_SERVER_MEMORY_LIMIT_H
#define PN_SERVER_MEMORY_LIMIT_H

#include <stdint.h>

/* The lowest limit of our cgroup and those above it, v2 or v1; UINT64_MAX: none. */
uint64_t memory_limit(void);
/* 70 % of it: what L1 may take at most without a warning. */
uint64_t memory_limit_share(uint64_t limit);

#endif
