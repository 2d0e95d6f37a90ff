/* base/bytes.h: a borrowed run of bytes, and a few things one does with it. Never owns. */
#ifndef PN_BASE_BYTES_H
#define PN_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
        const uint8_t *at;
        size_t len;
};

static inline struct bytes
bytes_of(const void *at, size_t len)
{
        return (struct bytes){at, len};
}

static inline struct bytes
bytes_str(const char *text)
{
        return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline struct bytes
bytes_from(struct bytes b, size_t from)
{
        return from >= b.len ? (struct bytes){b.at + b.len, 0}
                             : (struct bytes){b.at + from, b.len - from};
}

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
        return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool bytes_equal_nocase(struct bytes a, const char *text);
/* A whole decimal integer, sign allowed, nothing around it; false when it is not one or does not
 * fit. */
bool bytes_to_i64(struct bytes b, int64_t *out);
bool bytes_to_u64(struct bytes b, uint64_t *out);
/* A finite decimal number. */
bool bytes_to_double(struct bytes b, double *out);

/* Little-endian integers at any address: the envelope and the native protocol are made of them. */
static inline uint16_t
get_u16(const uint8_t *p)
{
        return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t
get_u32(const uint8_t *p)
{
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t
get_u64(const uint8_t *p)
{
        return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}
static inline void
put_u16(uint8_t *p, uint16_t v)
{
        p[0] = (uint8_t)v;
        p[1] = (uint8_t)(v >> 8);
}
static inline void
put_u32(uint8_t *p, uint32_t v)
{
        put_u16(p, (uint16_t)v);
        put_u16(p + 2, (uint16_t)(v >> 16));
}
static inline void
put_u64(uint8_t *p, uint64_t v)
{
        put_u32(p, (uint32_t)v);
        put_u32(p + 4, (uint32_t)(v >> 32));
}

#endif
