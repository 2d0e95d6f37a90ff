/* Keys: namespaces, names in Redis. */
#include <criterion/criterion.h>

#include "cache/key.h"

static struct bytes
name_of(struct bytes key, uint8_t out[static KEY_L2_NAME_MAX])
{
        return bytes_of(out, key_l2_name(key, out));
}

Test(key, namespace_is_what_stands_before_the_first_colon)
{
        cr_expect(bytes_equal(key_namespace(bytes_str("users:42")), bytes_str("users")));
        cr_expect(bytes_equal(key_namespace(bytes_str("a:b:c")), bytes_str("a")));
        cr_expect_eq(key_namespace(bytes_str(":x")).len, 0);
        cr_expect_eq(key_namespace(bytes_str("plain")).len, 0);
        cr_expect_eq(key_namespace(bytes_of(NULL, 0)).len, 0);
        cr_expect(bytes_equal(key_namespace(bytes_of("a\0b:c", 5)), bytes_of("a\0b", 3)));
}

Test(key, hash_depends_on_the_seed)
{
        cr_expect_eq(key_of(bytes_str("k"), 1).hash, key_of(bytes_str("k"), 1).hash);
        cr_expect_neq(key_of(bytes_str("k"), 1).hash, key_of(bytes_str("k"), 2).hash);
}

Test(key, stands_as_itself_in_redis_up_to_200_bytes)
{
        uint8_t out[KEY_L2_NAME_MAX], key[201];

        memset(key, 'x', sizeof key);
        cr_expect(bytes_equal(name_of(bytes_of(key, 200), out), bytes_of(key, 200)));
        cr_expect_eq(name_of(bytes_of(key, 201), out).len, 33);
        cr_expect_eq(out[0], '#');
        cr_expect(bytes_equal(name_of(bytes_str("a{b"), out), bytes_str("a{b")));
        cr_expect(bytes_equal(name_of(bytes_str("a#"), out), bytes_str("a#")));
}

/* XXH3-128 of "}" and "#", as xxhsum -H2 prints it. */
Test(key, stands_hashed_in_redis_where_it_would_break_the_name)
{
        uint8_t out[KEY_L2_NAME_MAX];

        cr_expect(bytes_equal(name_of(bytes_str("}"), out),
                              bytes_str("#5cff5287ccf79cfeb8c2a5400d473978")));
        cr_expect(bytes_equal(name_of(bytes_str("#"), out),
                              bytes_str("#3fa0d17948f5c24f6a81ae5441d08140")));
        cr_expect_eq(name_of(bytes_str("a}b"), out).len, 33);
        cr_expect_eq(name_of(bytes_str("#00112233445566778899aabbccddeeff"), out).len, 33);
        cr_expect_not(bytes_equal(name_of(bytes_str("#00112233445566778899aabbccddeeff"), out),
                                  bytes_str("#00112233445566778899aabbccddeeff")));
}
