/* The vectors of proto/vectors/native.jsonl, for the tests of the native protocol: read, and taken
 * apart. NATIVE_VECTORS is their path. */
#ifndef PN_TESTS_UNIT_NATIVE_VECTORS_H
#define PN_TESTS_UNIT_NATIVE_VECTORS_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/mem.h"
#include "wire/native.h"

static inline json_t *
vectors(size_t *count)
{
        json_t *all = json_array();
        char *line = NULL;
        size_t room = 0;
        FILE *file = fopen(NATIVE_VECTORS, "r");

        cr_assert_not_null(file);
        while (getline(&line, &room, file) > 0) {
                json_t *one = json_loads(line, 0, NULL);

                cr_assert_not_null(one, "%s", line);
                json_array_append_new(all, one);
        }
        free(line);
        fclose(file);
        *count = json_array_size(all);
        cr_assert_gt(*count, 90);
        return all;
}

static inline const char *
text_of(const json_t *v, const char *member)
{
        const char *text = json_string_value(json_object_get(v, member));

        return text != NULL ? text : "";
}

/* The bytes of a hex string, in a block of exactly that size: ASan sees every step too far. */
static inline struct bytes
unhex(const char *hex)
{
        size_t len = strlen(hex) / 2;
        uint8_t *at = mem_alloc(len == 0 ? 1 : len);

        for (size_t i = 0; i < len; i++) {
                const char digits[] = {hex[2 * i], hex[2 * i + 1], '\0'};

                at[i] = (uint8_t)strtoul(digits, NULL, 16);
        }
        return bytes_of(at, len);
}

static inline void
drop(struct bytes b)
{
        mem_free((void *)(uintptr_t)b.at);
}

static inline bool
same_as_hex(struct bytes b, const char *hex)
{
        struct bytes want = unhex(hex);
        bool same = bytes_equal(b, want);

        drop(want);
        return same;
}

static inline enum native_field
field_named(const char *name, bool *number)
{
        enum { TEXT, NUMBER };
#define FIELD(field, type, kind, critical)  \
        if (strcmp(name, #field) == 0) {    \
                *number = (kind) == NUMBER; \
                return NATIVE_F_##field;    \
        }
        NATIVE_FIELDS(FIELD)
#undef FIELD
        cr_assert_fail("no field %s", name);
        return 0;
}

#endif
