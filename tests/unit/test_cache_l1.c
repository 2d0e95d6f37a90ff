/* L1: the rules of versions and expiry, exact LRU against a plain list, and the budget. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/prng.h"
#include "cache/l1.h"

static const uint64_t never = UINT64_MAX;

static struct key
key(unsigned n)
{
        static char text[8][24];
        static unsigned next;
        char *at = text[next++ % 8];

        snprintf(at, sizeof text[0], n % 2 ? "odd:%u" : "even:%u", n);
        return key_of(bytes_str(at), 1);
}

static struct entry
entry_of(struct key k, uint64_t version, uint64_t hard_us, uint32_t len, uint8_t flags)
{
        static const uint8_t zeros[1 << 20];
        struct meta m = {.version = version,
                         .origin = 4,
                         .soft_us = hard_us,
                         .hard_us = hard_us,
                         .raw_len = len,
                         .flags = flags};
        struct entry e;

        cr_assert_eq(envelope_seal(k.text, &m, &k.text, bytes_of(zeros, len), &e), OK);
        return e;
}

static enum l1_put
put_flags(struct l1 *l1, unsigned n, uint64_t version, uint64_t until_us, unsigned flags)
{
        struct entry e = entry_of(key(n), version, never, 10, 0);
        enum l1_put answer = l1_put(l1, key(n), &e, until_us, flags, 50);

        entry_release(&e);
        return answer;
}

static enum l1_put
put(struct l1 *l1, unsigned n, uint64_t version)
{
        return put_flags(l1, n, version, never, 0);
}

/* The version there, 0 if there is nothing; counts as a use. */
static uint64_t
got(struct l1 *l1, unsigned n, uint64_t now_us)
{
        struct l1_found found;

        if (!l1_get(l1, key(n), now_us, &found))
                return 0;
        entry_release(&found.entry);
        return found.entry.meta.version;
}

static struct l1_stats
stats(const struct l1 *l1)
{
        struct l1_stats s;

        l1_stats(l1, &s);
        return s;
}

static struct l1 *
create(uint64_t bytes_max, unsigned partitions)
{
        return l1_create((struct l1_config){.bytes_max = bytes_max, .partitions = partitions});
}

Test(l1, gives_back_what_was_put)
{
        struct l1 *l1 = create(1 << 20, 4);
        struct entry e = entry_of(key(1), 9, 1000, 300, 0);
        struct l1_found found;
        struct meta m;
        unsigned flags = 77;

        cr_expect_not(l1_get(l1, key(1), 0, &found));
        cr_expect_not(l1_peek(l1, key(1), 0, &m, &flags));
        cr_assert_eq(l1_put(l1, key(1), &e, 800, L1_UNSURE, 123), L1_STORED);
        cr_assert(l1_get(l1, key(1), 200, &found));
        cr_expect_eq(found.entry.blob, e.blob);
        cr_expect_eq(found.entry.payload_len, 300);
        cr_expect_eq(found.until_us, 800);
        cr_expect_eq(found.landed_us, 123);
        cr_expect_eq(found.flags, L1_UNSURE);
        entry_release(&found.entry);
        cr_expect(l1_peek(l1, key(1), 0, &m, &flags));
        cr_expect_eq(m.version, 9);
        cr_expect_eq(flags, L1_UNSURE);
        cr_expect(l1_peek(l1, key(1), 0, &m, NULL));
        cr_expect_not(l1_get(l1, key(2), 200, &found));
        entry_release(&e);
        l1_destroy(l1);
}

Test(l1, tells_keys_of_one_hash_apart)
{
        struct l1 *l1 = create(1 << 20, 2);
        struct key a = {bytes_str("a"), 42}, b = {bytes_str("b"), 42};
        struct entry e = entry_of(a, 1, never, 1, 0);
        struct l1_found found;

        cr_assert_eq(l1_put(l1, a, &e, never, 0, 0), L1_STORED);
        cr_expect_not(l1_get(l1, b, 0, &found));
        cr_assert_eq(l1_put(l1, b, &e, never, 0, 0), L1_STORED);
        cr_expect(l1_remove_older(l1, a, never));
        cr_assert(l1_get(l1, b, 0, &found));
        entry_release(&found.entry);
        entry_release(&e);
        l1_destroy(l1);
}

Test(l1, keeps_the_newest)
{
        struct l1 *l1 = create(1 << 20, 4);

        cr_expect_eq(put(l1, 1, 10), L1_STORED);
        cr_expect_eq(put(l1, 1, 9), L1_OLDER);
        cr_expect_eq(got(l1, 1, 0), 10);
        cr_expect_eq(put(l1, 1, 11), L1_STORED);
        cr_expect_eq(got(l1, 1, 0), 11);
        cr_expect_eq(stats(l1).entries, 1);
        l1_destroy(l1);
}

Test(l1, keeps_what_is_as_new_unless_unsure_or_kept_longer_now)
{
        struct l1 *l1 = create(1 << 20, 1);
        struct l1_found found;
        struct meta m;
        unsigned flags;

        cr_expect_eq(put_flags(l1, 1, 10, 100, 0), L1_STORED);
        cr_expect_eq(put_flags(l1, 1, 10, 100, L1_UNSURE), L1_STORED);
        cr_assert(l1_peek(l1, key(1), 0, &m, &flags));
        cr_expect_eq(flags, 0, "the same, as long, already sure");
        cr_expect_eq(put_flags(l1, 1, 10, 101, L1_UNSURE), L1_STORED);
        cr_assert(l1_get(l1, key(1), 60, &found));
        cr_expect_eq(found.until_us, 101);
        cr_expect_eq(found.flags, 0, "what was confirmed stays so");
        entry_release(&found.entry);
        cr_expect_eq(put_flags(l1, 2, 10, 100, L1_UNSURE), L1_STORED);
        cr_expect_eq(put_flags(l1, 2, 10, 90, 0), L1_STORED);
        cr_assert(l1_get(l1, key(2), 60, &found));
        cr_expect_eq(found.until_us, 90);
        cr_expect_eq(found.flags, 0);
        entry_release(&found.entry);
        l1_destroy(l1);
}

Test(l1, confirms_that_version_alone)
{
        struct l1 *l1 = create(1 << 20, 1);
        struct meta m;
        unsigned flags;

        cr_assert_eq(put_flags(l1, 1, 10, never, L1_UNSURE), L1_STORED);
        l1_confirm(l1, key(1), 9);
        l1_confirm(l1, key(2), 10);
        cr_assert(l1_peek(l1, key(1), 0, &m, &flags));
        cr_expect_eq(flags, L1_UNSURE);
        l1_confirm(l1, key(1), 10);
        cr_assert(l1_peek(l1, key(1), 0, &m, &flags));
        cr_expect_eq(flags, 0);
        l1_destroy(l1);
}

Test(l1, ends_with_its_own_cap_or_the_hard_expiry)
{
        struct l1 *l1 = create(1 << 20, 1);
        struct entry e = entry_of(key(1), 9, 1000, 10, 0);
        struct meta m;
        unsigned flags;

        cr_assert_eq(l1_put(l1, key(1), &e, 800, 0, 0), L1_STORED);
        cr_expect(l1_peek(l1, key(1), 799, &m, &flags));
        cr_expect_not(l1_peek(l1, key(1), 800, &m, &flags));
        cr_expect_eq(got(l1, 1, 799), 9);
        cr_expect_eq(got(l1, 1, 800), 0);
        cr_expect_eq(stats(l1).entries, 0);
        cr_expect_eq(stats(l1).expired, 1);
        cr_assert_eq(l1_put(l1, key(1), &e, never, 0, 0), L1_STORED);
        cr_expect_eq(got(l1, 1, 999), 9);
        cr_expect_eq(got(l1, 1, 1000), 0);
        entry_release(&e);
        l1_destroy(l1);
}

/* What has expired is absent, for a put too. */
Test(l1, takes_an_older_version_where_the_newer_has_expired)
{
        struct l1 *l1 = create(1 << 20, 1);

        cr_assert_eq(put_flags(l1, 1, 10, 50, 0), L1_STORED);
        cr_expect_eq(put_flags(l1, 1, 9, never, 0), L1_STORED);
        cr_expect_eq(got(l1, 1, 60), 9);
        cr_expect_eq(stats(l1).expired, 1);
        l1_destroy(l1);
}

Test(l1, removes_what_is_older_or_exactly_that)
{
        struct l1 *l1 = create(1 << 20, 2);

        cr_assert_eq(put(l1, 1, 10), L1_STORED);
        cr_expect_not(l1_remove_older(l1, key(1), 10));
        cr_expect_not(l1_remove_exact(l1, key(1), 9, 4));
        cr_expect_not(l1_remove_exact(l1, key(1), 10, 5));
        cr_expect_not(l1_remove_exact(l1, key(2), 10, 4));
        cr_expect_eq(got(l1, 1, 0), 10);
        cr_expect(l1_remove_exact(l1, key(1), 10, 4));
        cr_expect_eq(got(l1, 1, 0), 0);
        cr_assert_eq(put(l1, 1, 10), L1_STORED);
        cr_expect(l1_remove_older(l1, key(1), 11));
        cr_assert_eq(put(l1, 1, never), L1_STORED);
        cr_expect(l1_remove_older(l1, key(1), never));
        cr_expect_not(l1_remove_older(l1, key(1), never));
        cr_expect_eq(stats(l1).entries, 0);
        l1_destroy(l1);
}

Test(l1, counts_what_it_holds)
{
        struct l1 *l1 = create(1 << 20, 4);
        uint64_t empty = stats(l1).bytes, used = mem_in_use();
        struct entry value = entry_of(key(1), 1, never, 100, 0);
        struct entry tombstone = entry_of(key(2), 2, never, 0, ENTRY_TOMBSTONE);
        struct l1_stats s;

        cr_assert_eq(l1_put(l1, key(1), &value, never, 0, 0), L1_STORED);
        cr_assert_eq(l1_put(l1, key(2), &tombstone, never, 0, 0), L1_STORED);
        entry_release(&value);
        entry_release(&tombstone);
        s = stats(l1);
        cr_expect_eq(s.entries, 2);
        cr_expect_eq(s.tombstones, 1);
        cr_expect_eq(s.raw_bytes, 100);
        cr_expect_eq(s.stored_bytes, 100);
        /* Two blocks each: as the allocator counts, and its own word before each. */
        cr_expect_eq(s.bytes - empty, mem_in_use() - used + 4 * sizeof(size_t));
        cr_expect(l1_remove_older(l1, key(2), never));
        cr_expect(l1_remove_older(l1, key(1), never));
        s = stats(l1);
        cr_expect_eq(s.entries + s.tombstones + s.raw_bytes + s.stored_bytes, 0);
        cr_expect_eq(s.bytes, empty);
        cr_expect_eq(mem_in_use(), used);
        l1_destroy(l1);
}

Test(l1, clears_a_namespace_or_all)
{
        struct l1 *l1 = create(4 << 20, 4);
        struct bytes odd = bytes_str("odd"), none = {NULL, 0};
        uint64_t empty = stats(l1).bytes;

        for (unsigned i = 0; i < 2000; i++)
                cr_assert_eq(put(l1, i, 1), L1_STORED);
        cr_expect_eq(l1_clear(l1, &odd), 1000);
        cr_expect_eq(got(l1, 1, 0), 0);
        cr_expect_eq(got(l1, 2, 0), 1);
        cr_expect_eq(l1_clear(l1, &odd), 0);
        cr_expect_eq(l1_clear(l1, &none), 1000);
        cr_expect_eq(stats(l1).entries, 0);
        cr_expect_geq(stats(l1).bytes, empty);
        cr_expect_leq(stats(l1).bytes, empty + 2 * 4 * 1024 * sizeof(void *), "the table stays");
        l1_destroy(l1);
}

Test(l1, sweeps_expired_entries_in_bounded_steps)
{
        struct l1 *l1 = create(4 << 20, 4);
        unsigned calls = 0;
        uint64_t went = 0;

        for (unsigned i = 0; i < 1000; i++)
                cr_assert_eq(put_flags(l1, i, 1, i % 2 ? 100 : never, 0), L1_STORED);
        cr_expect_eq(l1_sweep(l1, 99, 1 << 20), 0);
        while (went < 500 && calls++ < 1000) {
                uint64_t now_went = l1_sweep(l1, 100, 16);

                cr_expect_lt(now_went, 100);
                went += now_went;
        }
        cr_expect_eq(went, 500);
        cr_expect_gt(calls, 30);
        cr_expect_eq(l1_sweep(l1, 100, 1 << 20), 0);
        cr_expect_eq(l1_sweep(l1, 100, 0), 0);
        cr_expect_eq(stats(l1).entries, 500);
        cr_expect_eq(stats(l1).expired, 500);
        l1_destroy(l1);
}

/* The oracle: keys in the order of use, and what each takes. */
struct reference {
        unsigned order[4096];
        uint64_t bytes[4096], used, max;
        size_t count;
};

static bool
reference_take(struct reference *r, unsigned n)
{
        for (size_t i = 0; i < r->count; i++)
                if (r->order[i] == n) {
                        memmove(&r->order[i], &r->order[i + 1],
                                (r->count - i - 1) * sizeof r->order[0]);
                        r->count--;
                        return true;
                }
        return false;
}

/* `evicted` of the oldest went for it, and `used` bytes are used now: so the new one takes what
 * the others do not, and one less would not have been enough. */
static void
reference_put(struct reference *r, unsigned n, uint64_t evicted, uint64_t used)
{
        uint64_t before_last = 0;

        if (reference_take(r, n))
                r->used -= r->bytes[n];
        while (evicted-- > 0) {
                unsigned oldest = r->order[0];

                before_last = r->used;
                r->used -= r->bytes[oldest];
                reference_take(r, oldest);
        }
        r->bytes[n] = used - r->used;
        if (before_last > 0)
                cr_assert_gt(before_last + r->bytes[n], r->max, "evicted without need");
        r->used = used;
        r->order[r->count++] = n;
}

static void
expect_same(struct l1 *l1, const struct reference *r, unsigned keys)
{
        struct meta m;
        unsigned flags;

        cr_assert_eq(stats(l1).entries, r->count);
        for (unsigned n = 0; n < keys; n++) {
                bool there = false;

                for (size_t i = 0; i < r->count; i++)
                        there |= r->order[i] == n;
                cr_assert_eq(l1_peek(l1, key(n), 0, &m, &flags), there, "key %u", n);
        }
}

Test(l1, evicts_exactly_the_least_recently_used)
{
        /* Fewer keys than slots: the table does not grow. */
        enum { KEYS = 60, SIZE_MAX_BYTES = 2000 };
        struct l1 *l1 = create(40000, 1);
        struct reference r = {.max = 40000, .used = stats(l1).bytes};
        struct prng prng = {5};

        for (int turn = 1; turn < 20000; turn++) {
                unsigned n = (unsigned)prng_below(&prng, KEYS);

                if (prng_below(&prng, 2)) {
                        uint32_t len = (uint32_t)prng_below(&prng, SIZE_MAX_BYTES);
                        struct entry e = entry_of(key(n), (uint64_t)turn, never, len, 0);
                        uint64_t evicted = stats(l1).evicted;

                        cr_assert_eq(l1_put(l1, key(n), &e, never, 0, 7), L1_STORED);
                        entry_release(&e);
                        reference_put(&r, n, stats(l1).evicted - evicted, stats(l1).bytes);
                } else if (got(l1, n, 7)) {
                        cr_assert(reference_take(&r, n), "key %u should be gone", n);
                        r.order[r.count++] = n;
                }
                if (turn % 50 == 0)
                        expect_same(l1, &r, KEYS);
        }
        cr_expect_gt(stats(l1).evicted, 1000);
        l1_destroy(l1);
}

/* With several partitions the order is that of the times of use. */
Test(l1, evicts_the_oldest_of_all_partitions)
{
        struct l1 *l1 = create(100000, 8);
        uint64_t now_us = 1;
        unsigned first = 0, n;

        for (n = 0; stats(l1).evicted == 0; n++, now_us++) {
                struct entry e = entry_of(key(n), 1, never, 1000, 0);

                cr_assert_eq(l1_put(l1, key(n), &e, never, 0, now_us), L1_STORED);
                entry_release(&e);
        }
        for (; n < 300; n++, now_us++) {
                struct entry e = entry_of(key(n), 1, never, 1000, 0);
                uint64_t evicted = stats(l1).evicted;

                cr_assert_eq(l1_put(l1, key(n), &e, never, 0, now_us), L1_STORED);
                entry_release(&e);
                for (first = n; first > 0; first--) {
                        struct meta m;
                        unsigned flags;

                        if (!l1_peek(l1, key(first - 1), 0, &m, &flags))
                                break;
                }
                cr_expect_eq(first, stats(l1).evicted, "all older than %u went, none newer", first);
                cr_expect_geq(stats(l1).evicted, evicted);
        }
        l1_destroy(l1);
}

Test(l1, holds_its_budget_under_any_sizes)
{
        enum { BUDGET = 8 << 20 };
        struct l1 *l1 = create(BUDGET, 16);
        struct prng prng = {6};

        for (int turn = 1; turn < 6000; turn++) {
                unsigned n = (unsigned)prng_below(&prng, 3000);
                uint32_t len = (uint32_t)prng_below(&prng, (1u << prng_below(&prng, 21)) + 1);
                struct entry e = entry_of(key(n), (uint64_t)turn, never, len, 0);

                cr_assert_eq(l1_put(l1, key(n), &e, never, 0, (uint64_t)turn), L1_STORED);
                entry_release(&e);
                cr_assert_leq(stats(l1).bytes, BUDGET, "turn %d", turn);
                cr_assert_leq(mem_in_use(), BUDGET);
                (void)got(l1, (unsigned)prng_below(&prng, 3000), (uint64_t)turn);
        }
        cr_expect_gt(stats(l1).evicted, 1000);
        cr_expect_gt(stats(l1).bytes, BUDGET / 2);
        (void)l1_clear(l1, NULL);
        cr_expect_lt(stats(l1).bytes, BUDGET / 20);
        l1_destroy(l1);
        cr_expect_eq(mem_in_use(), 0);
}

/* Small entries make the table double again and again, inside the budget. */
Test(l1, counts_the_table_that_doubles)
{
        enum { BUDGET = 2 << 20 };
        struct l1 *l1 = create(BUDGET, 1);
        uint64_t entries = 0;

        for (unsigned n = 0; n < 20000; n++) {
                cr_assert_eq(put(l1, n, 1), L1_STORED);
                cr_assert_leq(stats(l1).bytes, BUDGET);
                cr_assert_leq(mem_in_use(), BUDGET);
        }
        entries = stats(l1).entries;
        cr_expect_gt(entries, 4096);
        cr_expect_eq(l1_clear(l1, NULL), entries);
        l1_destroy(l1);
        cr_expect_eq(mem_in_use(), 0);
}

/* Whatever the budget: a table doubles where there is room for it, else its entries wait. */
Test(l1, doubles_its_table_within_the_budget)
{
        unsigned doubled = 0, waited = 0;

        for (uint64_t budget = 60000; budget < 140000; budget += 250) {
                struct l1 *l1 = create(budget, 1);

                for (unsigned n = 0; n < 400; n++) {
                        cr_assert_eq(put(l1, n, 1), L1_STORED);
                        cr_assert_leq(stats(l1).bytes, budget, "budget %zu", (size_t)budget);
                }
                doubled += stats(l1).entries > 256;
                waited += stats(l1).entries == 256;
                l1_destroy(l1);
        }
        cr_expect_gt(doubled, 20);
        cr_expect_gt(waited, 2);
}

Test(l1, takes_one_value_of_half_the_budget_and_no_more)
{
        struct l1 *l1 = create(1 << 20, 16);
        uint32_t most = (uint32_t)l1_entry_max(l1) - ENVELOPE_PREFIX - ENVELOPE_HEADER;
        struct entry e;

        for (unsigned n = 0; n < 100; n++)
                cr_assert_eq(put(l1, n, 1), L1_STORED);
        e = entry_of(key(1), 5, never, most, 0);
        cr_expect_eq(e.blob->len, l1_entry_max(l1));
        cr_expect_eq(l1_put(l1, key(1), &e, never, 0, 60), L1_STORED);
        entry_release(&e);
        cr_expect_eq(got(l1, 1, 60), 5);
        cr_expect_eq(got(l1, 99, 60), 1, "the others had room");
        e = entry_of(key(1), 6, never, most + 1, 0);
        cr_expect_eq(l1_put(l1, key(1), &e, never, 0, 60), L1_TOO_BIG);
        entry_release(&e);
        cr_expect_eq(got(l1, 1, 60), 0, "what is older went all the same");
        l1_destroy(l1);
}

Test(l1, says_too_big_where_not_even_one_fits)
{
        struct l1 *l1 = create(1, 1);

        cr_expect_eq(put(l1, 1, 1), L1_TOO_BIG);
        cr_expect_eq(stats(l1).entries, 0);
        l1_destroy(l1);
}
