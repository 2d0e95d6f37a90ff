/* Looking up and landing, rule by rule: which tier's word counts, what may enter L1 and L2, what
 * is handed to whom. */
#include <stdio.h>

#include "tests/sim/asking.h"

/* L2 has lost what L3 has: as its users may evict it. */
static void
only_in_l3(const char *key)
{
        sim_run(&w, 3 * SECOND);
        cr_assert_not_null(in_l3(key));
        for (unsigned i = 0; i < w.servers; i++)
                empty_l1(i);
        sim_forget(&w.l2, bytes_str(key));
}

Test(lookups, a_tombstone_in_l2_ends_the_lookup)
{
        struct sim_answer a;

        world(1, true, true, "behind");
        set(0, "k", "v");
        del(0, "k");
        empty_l1(0);
        sim_freeze(&w, &w.l3, SECOND);
        a = get(0, "k");
        cr_expect_eq(a.state, OP_MISS);
        cr_expect_eq(a.error, OK);
        cr_expect_lt(a.ended_us - a.began_us, 5 * MS, "L3 is not asked");
        done();
}

/* It heard of it: what it holds itself must not be served as stale. */
Test(lookups, a_tombstone_in_l2_takes_the_stale_copy_along)
{
        struct op_asked graced = {
                .life = {.ttl_us = 100 * MS, .grace_us = 60 * SECOND, .grace_named = true}};
        struct meta m;

        world(2, true, true, "behind");
        set_more(0, "k", "v", graced);
        sim_run(&w, SECOND);
        del(1, "k");
        cr_expect_eq(get(0, "k").state, OP_MISS);
        cr_expect_not(
                l1_peek(env_of(0)->l1, key_of(bytes_str("k"), 7), env_of(0)->now_us, &m, NULL));
        done();
}

Test(lookups, a_tombstone_in_l1_is_no_answer)
{
        world(2, true, true, "behind");
        set(0, "k", "old");
        del(0, "k");
        set(1, "k", "new");
        expect_hit(get(0, "k"), OP_TIER_L2, "new");
        done();
}

Test(lookups, an_invalid_value_in_l2_is_a_floor)
{
        world(2, true, true, "behind");
        set(0, "k", "old");
        sim_run(&w, 3 * SECOND);
        set_until(0, "k", "brief", w.now_us + 200 * MS);
        sim_run(&w, 400 * MS); /* L3 has not got it yet */
        cr_expect_eq(get(1, "k").state, OP_MISS);
        cr_expect_eq(metric(1, M_promotions_refused), 0, "known without asking L2 again");
        done();
}

Test(lookups, a_format_of_the_future_is_a_floor_and_stays)
{
        struct sim_row *row;

        world(2, true, true, "behind");
        set(0, "k", "old");
        sim_run(&w, 3 * SECOND);
        set(0, "k", "new");
        row = in_l2("k");
        row->blob->at[ENVELOPE_PREFIX + ENVELOPE_AT_FORMAT]++;
        cr_expect_eq(get(1, "k").state, OP_MISS, "the predecessor in L3 does not come back");
        cr_expect_eq(metric(1, M_newer_format), 1);
        sim_run(&w, 3 * SECOND); /* L3 has got the new one */
        row->version = w.began_us + 1;
        put_u64(row->blob->at, row->version);
        expect_hit(get(1, "k"), OP_TIER_L3, "new");
        cr_expect_eq(row->version, w.began_us + 1, "and L2 keeps what it has");
        done();
}

Test(lookups, a_damaged_value_is_a_miss_that_l3_may_answer)
{
        world(2, true, true, "behind");
        set(0, "k", "v");
        sim_run(&w, 3 * SECOND);
        in_l2("k")->blob->at[ENVELOPE_PREFIX + ENVELOPE_HEADER]++;
        expect_hit(get(1, "k"), OP_TIER_L3, "v");
        cr_expect_eq(metric(1, M_corrupt), 1);
        done();
}

/* ---- unsent writes ---- */

Test(lookups, an_unsent_write_counts_where_l2_has_lost_it)
{
        world(1, true, true, "behind");
        set(0, "k", "v");
        empty_l1(0);
        sim_forget(&w.l2, bytes_str("k"));
        expect_hit(get(0, "k"), OP_TIER_QUEUE, "v");
        cr_expect_not_null(in_l2("k"), "and L2 has it again");
        done();
}

Test(lookups, an_unsent_write_does_not_hide_what_l3_has_newer)
{
        char big[3000];

        memset(big, 'x', sizeof big);
        big[sizeof big - 1] = '\0';
        world(2, true, true, "behind");
        option(O_l2_value_max, 1000);
        set(0, "k", "old"); /* for L3 in a second */
        set(1, "k", big);   /* in L3 now */
        sim_forget(&w.l2, bytes_str("k"));
        empty_l1(0);
        cr_expect_eq(get(0, "k").tier, OP_TIER_L3);
        done();
}

Test(lookups, an_unsent_write_is_not_promoted_while_l3_is_silent)
{
        world(1, true, true, "behind");
        set(0, "k", "v");
        empty_l1(0);
        sim_forget(&w.l2, bytes_str("k"));
        sim_cut(&w, &w.server[0].l3, 300 * MS);
        expect_hit(get(0, "k"), OP_TIER_QUEUE, "v");
        cr_expect_null(in_l2("k"));
        done();
}

Test(lookups, an_unsent_write_counts_for_partition_max)
{
        world(1, true, true, "behind");
        policy("partition-max", "2s");
        set(0, "k", "old");
        sim_freeze(&w, &w.l2, 10 * SECOND);
        sim_freeze(&w, &w.l3, 10 * SECOND);
        set(0, "k", "v");
        empty_l1(0);
        expect_hit(get(0, "k"), OP_TIER_QUEUE, "v");
        sim_run(&w, 3 * SECOND);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        cr_expect_neq(get(0, "k").error, OK);
        done();
}

Test(lookups, with_l3_alone_an_unsent_write_is_compared_too)
{
        world(2, false, true, "behind");
        sim_cut(&w, &w.server[0].l3, SECOND);
        cr_expect_eq(set(0, "k", "first").state, OP_DONE);
        set(1, "k", "second");
        empty_l1(0);
        expect_hit(get(0, "k"), OP_TIER_QUEUE, "first");
        sim_run(&w, 899 * MS); /* a moment before its queue is drained */
        w.server[0].l3.head.up = true;
        expect_hit(get(0, "k"), OP_TIER_L3, "second");
        done();
}

/* The mark is in L2, its value still on the way to L3. */
Test(lookups, the_mark_of_an_unsent_write_does_not_hide_it)
{
        world(1, true, true, "behind");
        option(O_l2_value_max, 1000);
        sim_freeze(&w, &w.l3, 2 * SECOND);
        cr_expect_eq(set_long(0, "k", 3000).error, ERR_TIER_DOWN);
        cr_expect_lt(in_l2("k")->blob->len, 1000);
        empty_l1(0);
        cr_expect_eq(get(0, "k").tier, OP_TIER_QUEUE);
        done();
}

/* ---- landing ---- */

/* Redis forgot a second of writes; who wrote them does not go back behind them at once. */
Test(lookups, what_was_just_written_is_not_followed_by_its_predecessor)
{
        static struct sim_store old;

        world(1, true, false, "l2");
        set(0, "k", "old");
        sim_copy(&old, &w.l2);
        set(0, "k", "new");
        sim_fail_over(&w, &old);
        sim_empty(&old);
        sim_run(&w, 100 * MS);
        empty_l1(0);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        cr_expect_eq(get(0, "k").state, OP_MISS, "nor did the first look leave it in L1");
        done();
}

Test(lookups, a_lookup_does_not_bring_up_what_was_overwritten_meanwhile)
{
        struct sim_answer g, s;

        world(1, true, true, "through");
        set(0, "k", "old");
        only_in_l3("k");
        sim_get(&w.server[0], "k", &g);
        sim_run(&w, 1500);
        sim_set(&w.server[0], "k", "new", NULL, &s);
        sim_run(&w, 2200); /* L2 has it, L3 has not; L3's word on the old one is on its way */
        cr_assert_not_null(in_l2("k"));
        sim_forget(&w.l2, bytes_str("k"));
        empty_l1(0);
        sim_run(&w, 5 * SECOND);
        cr_expect_eq(s.state, OP_DONE);
        empty_l1(0);
        cr_expect_str_eq(get(0, "k").value, "new");
        done();
}

Test(lookups, a_write_of_ours_answers_who_waits_for_l3)
{
        struct sim_answer g, s;

        world(1, true, true, "behind");
        set(0, "k", "old");
        only_in_l3("k");
        sim_freeze(&w, &w.l3, 30 * MS);
        sim_get(&w.server[0], "k", &g);
        sim_run(&w, 5 * MS);
        sim_set(&w.server[0], "k", "new", NULL, &s);
        sim_run(&w, 100 * MS);
        expect_hit(g, OP_TIER_L1, "new");
        sim_freeze(&w, &w.l3, 300 * MS);
        sim_get(&w.server[0], "cold", &g);
        sim_run(&w, 5 * MS);
        sim_set(&w.server[0], "cold", "warm", NULL, &s);
        sim_run(&w, 100 * MS); /* L3 says nothing in time */
        expect_hit(g, OP_TIER_L1, "warm");
        sim_run(&w, SECOND);
        sim_get(&w.server[0], "cool", &g);
        sim_run(&w, 1500);
        sim_set(&w.server[0], "cool", "warm", NULL, &s);
        sim_run(&w, 2300); /* L3 was asked */
        sim_cut(&w, &w.server[0].l3, 100 * MS);
        sim_run(&w, 10 * MS);
        expect_hit(g, OP_TIER_L1, "warm");
        done();
}

/* While a large value is opened on the helper thread, its key is deleted. */
Test(lookups, what_was_deleted_meanwhile_is_not_handed_out)
{
        struct sim_answer g, d;

        world(1, true, false, "l2");
        set_long(0, "k", 300 * 1024);
        empty_l1(0);
        sim_get(&w.server[0], "k", &g);
        sim_run(&w, 1);
        sim_del(&w.server[0], "k", &d);
        sim_run(&w, 2010);
        cr_assert(d.done && !g.done);
        sim_run(&w, 100 * MS);
        cr_expect_eq(g.state, OP_MISS);
        done();
}

/* ---- L3's word without L2's ---- */

Test(lookups, what_l3_said_alone_is_compared_at_the_next_use)
{
        world(2, true, true, "behind");
        set(0, "k", "old");
        sim_run(&w, 3 * SECOND);
        set(0, "k", "new"); /* L3 gets it in a second */
        sim_freeze(&w, &w.l2, 60 * MS);
        expect_hit(get(1, "k"), OP_TIER_L3, "old");
        expect_hit(get(1, "k"), OP_TIER_L2, "new");
        done();
}

Test(lookups, what_l3_said_alone_is_confirmed_by_l2)
{
        world(2, true, true, "behind");
        set(0, "k", "v");
        sim_run(&w, 3 * SECOND);
        sim_freeze(&w, &w.l2, 60 * MS);
        expect_hit(get(1, "k"), OP_TIER_L3, "v");
        expect_hit(get(1, "k"), OP_TIER_L2, "v");
        expect_hit(get(1, "k"), OP_TIER_L1, "v");
        done();
}

Test(lookups, what_l3_said_alone_goes_where_l2_says_otherwise)
{
        world(2, true, true, "behind");
        set(0, "k", "v");
        sim_run(&w, 3 * SECOND);
        sim_freeze(&w, &w.l2, 60 * MS);
        expect_hit(get(1, "k"), OP_TIER_L3, "v");
        sim_forget(&w.l2, bytes_str("k"));
        sim_forget(&w.l3, bytes_str("k"));
        cr_expect_eq(get(1, "k").state, OP_MISS);
        done();
}

/* ---- replication ids, marks, large values ---- */

Test(lookups, through_a_promotion_replaces_what_another_redis_was_told)
{
        struct sim_answer a;

        world(2, true, true, "through");
        set(0, "k", "old");
        sim_cut(&w, &w.server[0].l3, 60 * SECOND);
        sim_set(&w.server[0], "k", "new", NULL, &a);
        sim_run(&w, 400 * MS);
        cr_expect_eq(a.error, ERR_TIER_DOWN, "L2 has it, L3 has not");
        w.l2.replid++;
        for (unsigned i = 0; i < 2; i++)
                sim_cut(&w, &w.server[i].l2, MS);
        sim_run(&w, 100 * MS);
        expect_hit(get(1, "k"), OP_TIER_L3, "old");
        cr_expect_eq(metric(1, M_promotions), 1);
        done();
}

/* ... and is told of the new one, or the next would not believe it either. */
Test(lookups, through_a_promotion_is_written_under_the_replication_id_of_now)
{
        world(1, true, true, "through");
        set(0, "k", "v");
        sim_fail_over(&w, NULL);
        sim_run(&w, 100 * MS);
        empty_l1(0);
        expect_hit(get(0, "k"), OP_TIER_L3, "v");
        empty_l1(0);
        expect_hit(get(0, "k"), OP_TIER_L2, "v");
        done();
}

/* A mark that L2 has lost comes back with the value: what follows must find the version there. */
Test(lookups, a_lookup_of_a_value_too_large_for_l2_brings_its_mark)
{
        world(2, true, true, "behind");
        option(O_l2_value_max, 1000);
        set_long(0, "k", 3000);
        only_in_l3("k");
        cr_expect_eq(get(1, "k").tier, OP_TIER_L3);
        cr_assert_not_null(in_l2("k"));
        cr_expect_lt(in_l2("k")->blob->len, 1000);
        only_in_l3("k");
        cr_expect_eq(expire(0, "k", w.now_us + 60 * SECOND).state, OP_DONE);
        cr_expect_eq(get(1, "k").len, 3000);
        done();
}

Test(lookups, a_mark_wants_its_version_from_l3)
{
        world(2, true, true, "behind");
        option(O_l2_value_max, 1000);
        set(0, "k", "old");
        sim_run(&w, 3 * SECOND);
        sim_freeze(&w, &w.l3, 2 * SECOND);
        set_long(0, "k", 3000); /* refused by L3's silence: L2 has the mark */
        w.l3.frozen_until_us = 0;
        cr_expect_eq(get(1, "k").state, OP_MISS, "not the predecessor");
        done();
}

Test(lookups, a_large_promotion_has_the_time_of_its_bytes)
{
        struct sim_answer a;

        world(1, true, true, "behind");
        set_long(0, "k", 300 * 1024);
        only_in_l3("k");
        w.large_us = 100 * MS;
        sim_get(&w.server[0], "k", &a);
        sim_run(&w, 400 * MS);
        cr_expect_eq(a.state, OP_HIT);
        cr_expect_not_null(in_l2("k"));
        cr_expect_eq(get(0, "k").tier, OP_TIER_L1, "L2 has confirmed it");
        done();
}

Test(lookups, packed_values_come_back_whole_from_every_tier)
{
        size_t lens[] = {5000, 400 * 1024};

        world(2, true, true, "through");
        option(O_compress_min, 1000);
        for (unsigned i = 0; i < 2; i++) {
                const char *key = i == 0 ? "small" : "large";

                set_long(0, key, lens[i]);
                cr_expect_lt(in_l2(key)->blob->len, lens[i] / 2);
                cr_expect_eq(get(0, key).len, lens[i]);
                cr_expect_eq(get(1, key).len, lens[i]);
                only_in_l3(key);
                cr_expect_eq(get(1, key).len, lens[i]);
        }
        done();
}

/* ---- several workers ---- */

Test(lookups, workers_of_one_process_are_one)
{
        char key[8];

        sim_create(&w, (struct sim_config){.servers = 1,
                                           .workers = 2,
                                           .l2 = true,
                                           .l3 = true,
                                           .mode = "behind",
                                           .l1_ttl_us = 300 * SECOND,
                                           .delay_max_us = MS,
                                           .seed = 1});
        w.delays_off = 1;
        for (unsigned i = 0; i < 8; i++) { /* keys at home on either */
                snprintf(key, sizeof key, "k%u", i);
                set(i % 2, key, "v");
                expect_hit(get(1 - i % 2, key), OP_TIER_L1, "v");
                cr_expect(del(i % 2, key).existed);
                cr_expect_eq(get(1 - i % 2, key).state, OP_MISS);
        }
        floors_spread(env_of(0), bytes_str("ns"), 12345);
        sim_run(&w, 10 * MS);
        cr_expect_eq(floors_get(env_of(1)->floors, bytes_str("ns:x")), 12345);
        done();
}

Test(lookups, a_namespace_invalidated_while_l2_was_gone_is_invalid_everywhere)
{
        struct sim_answer a;

        world(2, true, false, "l2");
        set(1, "ns:k", "v");
        sim_cut(&w, &w.server[0].l2, 400 * SECOND);
        sim_set(&w.server[0], "ns:k", "w", NULL, &a);
        sim_run(&w, 401 * SECOND);
        cr_expect_eq(w.l2.floors_count, 1, "L2 was told");
        sim_cut(&w, &w.server[1].l2, MS); /* who connects is told */
        sim_run(&w, SECOND);
        cr_expect_eq(get(1, "ns:k").state, OP_MISS);
        cr_expect_eq(set(1, "ns:k", "again").state, OP_DONE);
        expect_hit(get(0, "ns:k"), OP_TIER_L2, "again");
        done();
}
