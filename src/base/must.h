/* base/must.h: what holds unless we have a bug. On in release builds too. */
#ifndef PN_BASE_MUST_H
#define PN_BASE_MUST_H

#include <stddef.h>

#define must_use               __attribute__((warn_unused_result))
#define fallthrough            __attribute__((fallthrough))
#define printf_like(at, first) __attribute__((format(printf, at, first)))

#define must(x)                                            \
        do {                                               \
                if (__builtin_expect(!(x), 0))             \
                        must_fail(#x, __FILE__, __LINE__); \
        } while (0)

_Noreturn void must_fail(const char *what, const char *file, int line);

#define container_of(pointer, type, member) \
        ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
