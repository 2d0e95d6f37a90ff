/* The rules of reading and writing through, one by one, over simulated tiers (design: "the newest
 * wins", landing, looking up, queues, write modes). */
#include "tests/sim/asking.h"

Test(engine, without_tiers_l1_is_all)
{
        world(1, false, false, "");
        cr_expect_eq(get(0, "k").state, OP_MISS);
        cr_expect_eq(set(0, "k", "v").state, OP_DONE);
        expect_hit(get(0, "k"), OP_TIER_L1, "v");
        cr_expect(del(0, "k").existed);
        cr_expect_not(del(0, "k").existed);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        done();
}

Test(engine, a_value_is_found_in_each_tier_and_promoted)
{
        world(1, true, true, "behind");
        cr_expect_eq(set(0, "k", "v").state, OP_DONE);
        expect_hit(get(0, "k"), OP_TIER_L1, "v");
        empty_l1(0);
        expect_hit(get(0, "k"), OP_TIER_L2, "v");
        expect_hit(get(0, "k"), OP_TIER_L1, "v");
        sim_run(&w, 3 * SECOND);
        cr_assert_not_null(sim_row(&w.l3, bytes_str("k")), "written behind");
        empty_l1(0);
        sim_forget(&w.l2, bytes_str("k"));
        expect_hit(get(0, "k"), OP_TIER_L3, "v");
        cr_expect_not_null(sim_row(&w.l2, bytes_str("k")), "promoted to L2");
        expect_hit(get(0, "k"), OP_TIER_L1, "v");
        done();
}

Test(engine, through_is_acknowledged_by_l3)
{
        world(1, true, true, "through");
        struct sim_answer a = set(0, "k", "v");

        cr_expect_eq(a.state, OP_DONE);
        cr_expect_eq(sim_row(&w.l3, bytes_str("k"))->version, a.version);
        sim_freeze(&w, &w.l3, 2 * SECOND);
        sim_set(&w.server[0], "k", "v2", NULL, &a);
        sim_run(&w, SECOND);
        cr_expect_eq(a.state, OP_ERROR);
        cr_expect_eq(a.error, ERR_TIER_DOWN);
        sim_run(&w, 4 * SECOND);
        cr_expect_eq(sim_row(&w.l3, bytes_str("k"))->version,
                     sim_row(&w.l2, bytes_str("k"))->version, "what L2 took is sent to L3 again");
        done();
}

Test(engine, many_who_ask_share_one_lookup)
{
        struct sim_answer a[100];

        world(1, true, true, "");
        for (unsigned i = 0; i < 100; i++)
                sim_get(&w.server[0], "cold", &a[i]);
        sim_run(&w, 100 * MS);
        for (unsigned i = 0; i < 100; i++)
                cr_expect_eq(a[i].state, OP_MISS);
        cr_expect_eq(metric(0, M_followed), 99);
        cr_expect_eq(metric(0, M_misses), 100);
        done();
}

Test(engine, a_del_is_a_tombstone_in_every_tier)
{
        world(2, true, true, "behind");
        set(0, "k", "v");
        expect_hit(get(1, "k"), OP_TIER_L2, "v");
        sim_run(&w, 3 * SECOND);
        cr_expect_eq(del(0, "k").state, OP_DONE);
        cr_expect(sim_row(&w.l2, bytes_str("k"))->tombstone);
        cr_expect(sim_row(&w.l3, bytes_str("k"))->tombstone);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        empty_l1(1);
        cr_expect_eq(get(1, "k").state, OP_MISS);
        sim_forget(&w.l2, bytes_str("k"));
        cr_expect_eq(get(1, "k").state, OP_MISS, "the tombstone in L3 ends the lookup");
        done();
}

Test(engine, a_lookup_under_way_does_not_bring_back_what_was_deleted)
{
        struct sim_answer g, d;

        world(1, true, true, "behind");
        set(0, "k", "v");
        sim_run(&w, 3 * SECOND);
        empty_l1(0);
        sim_forget(&w.l2, bytes_str("k"));
        sim_get(&w.server[0], "k", &g);
        sim_run(&w, 3500); /* L2 said "absent", L3's answer is on its way */
        sim_del(&w.server[0], "k", &d);
        sim_run(&w, 500 * MS);
        cr_expect_eq(d.state, OP_DONE);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        cr_expect(sim_row(&w.l2, bytes_str("k"))->tombstone, "no promotion over the tombstone");
        done();
}

Test(engine, a_refused_promotion_is_not_served)
{
        struct sim_answer g, s;

        world(2, true, true, "behind");
        set(0, "k", "old");
        sim_run(&w, 3 * SECOND);
        empty_l1(0);
        sim_forget(&w.l2, bytes_str("k"));
        sim_get(&w.server[0], "k", &g);
        sim_run(&w, 2500); /* L2 said "absent" */
        sim_set(&w.server[1], "k", "new", NULL, &s);
        sim_run(&w, 100 * MS);
        cr_expect_eq(s.state, OP_DONE);
        expect_hit(g, OP_TIER_L2, "new"); /* it looked again */
        cr_expect_eq(metric(0, M_promotions_refused), 1);
        done();
}

Test(engine, an_expired_value_in_l2_is_a_floor_for_l3)
{
        struct sim_answer a;
        struct op_asked brief = {.lifetime = LIFE_AT};

        world(2, true, true, "behind");
        set(0, "k", "old");
        sim_run(&w, 3 * SECOND);
        sim_freeze(&w, &w.l3, 3 * SECOND); /* the write behind is late */
        brief.hard_us = w.now_us + 300 * MS;
        sim_set(&w.server[0], "k", "brief", &brief, &a);
        sim_run(&w, 500 * MS);
        cr_expect_eq(a.state, OP_DONE);
        w.l3.frozen_until_us = 0;
        cr_expect_eq(get(1, "k").state, OP_MISS, "its predecessor in L3 does not come back");
        cr_expect_eq(get(0, "k").state, OP_MISS);
        done();
}

Test(engine, a_frozen_l2_costs_a_set_its_deadline_and_no_more)
{
        struct sim_answer a;

        world(2, true, true, "behind");
        set(0, "k", "old");
        sim_freeze(&w, &w.l2, 5 * SECOND);
        sim_set(&w.server[0], "k", "new", NULL, &a);
        sim_run(&w, 51 * MS);
        cr_assert(a.done);
        cr_expect_eq(a.state, OP_DONE);
        expect_hit(get(0, "k"), OP_TIER_L1, "new");
        empty_l1(0);
        expect_hit(get(0, "k"), OP_TIER_QUEUE, "new");
        sim_run(&w, 8 * SECOND);
        empty_l1(1);
        expect_hit(get(1, "k"), OP_TIER_L2, "new");
        done();
}

Test(engine, a_frozen_l2_refuses_a_del_and_queues_it)
{
        struct sim_answer a;

        world(2, true, true, "behind");
        set(0, "k", "v");
        sim_freeze(&w, &w.l2, 2 * SECOND);
        sim_del(&w.server[0], "k", &a);
        sim_run(&w, 51 * MS);
        cr_assert(a.done);
        cr_expect_eq(a.error, ERR_TIER_DOWN);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        sim_run(&w, 4 * SECOND);
        cr_expect(sim_row(&w.l2, bytes_str("k"))->tombstone);
        cr_expect(sim_row(&w.l3, bytes_str("k"))->tombstone);
        done();
}

Test(engine, what_depends_on_what_is_there_is_never_guessed)
{
        struct op_asked nx = {.condition = OP_IF_ABSENT};
        struct sim_answer a;

        world(1, true, true, "behind");
        sim_freeze(&w, &w.l2, SECOND);
        sim_set(&w.server[0], "k", "v", &nx, &a);
        sim_run(&w, 400 * MS);
        cr_assert(a.done);
        cr_expect_eq(a.error, ERR_TIER_DOWN);
        done();
}

Test(engine, nx_has_one_winner_among_servers)
{
        struct op_asked nx = {.condition = OP_IF_ABSENT};
        struct sim_answer a[30];
        unsigned won = 0;

        world(3, true, true, "behind");
        for (unsigned i = 0; i < 30; i++)
                sim_set(&w.server[i % 3], "lock", i % 2 ? "a" : "b", &nx, &a[i]);
        sim_run(&w, SECOND);
        for (unsigned i = 0; i < 30; i++) {
                cr_expect(a[i].state == OP_DONE || a[i].state == OP_UNMET, "state %d error %d",
                          a[i].state, a[i].error);
                won += a[i].state == OP_DONE;
        }
        cr_expect_eq(won, 1);
        done();
}

Test(engine, expire_reaches_all_tiers)
{
        struct sim_answer a;

        world(2, true, true, "behind");
        sim_expire(&w.server[0], "k", w.now_us + SECOND, &a);
        sim_run(&w, 100 * MS);
        cr_expect_eq(a.state, OP_MISS);
        set(0, "k", "v");
        sim_expire(&w.server[1], "k", w.now_us + SECOND, &a);
        sim_run(&w, 100 * MS);
        cr_expect_eq(a.state, OP_DONE);
        expect_hit(get(1, "k"), OP_TIER_L1, "v");
        sim_run(&w, 2 * SECOND);
        empty_l1(0);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        cr_expect_eq(get(1, "k").state, OP_MISS);
        sim_forget(&w.l2, bytes_str("k"));
        cr_expect_eq(get(1, "k").state, OP_MISS, "L3 has the new expiry, too");
        done();
}

Test(engine, a_late_queue_loses_to_what_is_newer)
{
        struct sim_answer a;

        world(2, true, true, "behind");
        sim_cut(&w, &w.server[0].l2, 3 * SECOND);
        sim_set(&w.server[0], "k", "first", NULL, &a);
        sim_run(&w, 100 * MS);
        cr_expect_eq(a.state, OP_DONE);
        set(1, "k", "second");
        sim_run(&w, 6 * SECOND);
        expect_hit(get(0, "k"), OP_TIER_L2, "second");
        empty_l1(1);
        expect_hit(get(1, "k"), OP_TIER_L2, "second");
        sim_forget(&w.l2, bytes_str("k"));
        empty_l1(1);
        expect_hit(get(1, "k"), OP_TIER_L3, "second");
        done();
}

Test(engine, a_queue_too_old_invalidates_its_namespace)
{
        struct sim_answer a;

        world(1, true, false, "l2");
        set(0, "ns:other", "x");
        sim_cut(&w, &w.server[0].l2, 400 * SECOND);
        sim_set(&w.server[0], "ns:k", "v", NULL, &a);
        sim_run(&w, 350 * SECOND); /* half of tombstone-ttl is 300 s */
        cr_expect_eq(metric(0, M_queue_overflows), 1);
        cr_expect_eq(metric(0, M_queue_l2), 0);
        sim_run(&w, 60 * SECOND);
        cr_expect_eq(get(0, "ns:k").state, OP_MISS);
        cr_expect_eq(get(0, "ns:other").state, OP_MISS, "older than the invalidation");
        set(0, "ns:k", "again");
        expect_hit(get(0, "ns:k"), OP_TIER_L1, "again");
        done();
}

Test(engine, too_large_for_l2_stands_in_l3_under_a_mark)
{
        char big[60000];
        struct sim_answer a;

        world(2, true, true, "behind");
        for (unsigned i = 0; i < 2; i++)
                w.server[i].options.value[O_l2_value_max].number = 1000;
        memset(big, 'x', sizeof big - 1);
        big[sizeof big - 1] = '\0';
        a = set(0, "k", big);
        cr_expect_eq(a.state, OP_DONE);
        cr_expect_eq(sim_row(&w.l3, bytes_str("k"))->version, a.version,
                     "before it is acknowledged");
        cr_expect_lt(sim_row(&w.l2, bytes_str("k"))->blob->len, 1000);
        a = get(1, "k");
        cr_expect_eq(a.state, OP_HIT);
        cr_expect_eq(a.tier, OP_TIER_L3);
        set(0, "k", "small");
        empty_l1(1);
        expect_hit(get(1, "k"), OP_TIER_L2, "small");
        done();
}

Test(engine, through_does_not_trust_another_replication_id)
{
        world(1, true, true, "through");
        set(0, "k", "v");
        w.server[0].l2.head.replid = 78; /* a failover */
        empty_l1(0);
        expect_hit(get(0, "k"), OP_TIER_L3, "v");
        done();
}

Test(engine, with_both_tiers_gone_every_answer_comes_in_time)
{
        struct sim_answer a[20];

        world(1, true, true, "behind");
        set(0, "hot", "v");
        sim_freeze(&w, &w.l2, 20 * SECOND);
        sim_freeze(&w, &w.l3, 20 * SECOND);
        for (unsigned i = 0; i < 20; i++)
                sim_get(&w.server[0], i % 2 ? "hot" : "cold", &a[i]);
        sim_run(&w, 51 * MS);
        for (unsigned i = 0; i < 20; i++) {
                cr_assert(a[i].done);
                cr_expect_eq(a[i].state, i % 2 ? OP_HIT : OP_MISS);
                cr_expect(i % 2 || a[i].error != OK, "a miss that is not known to be one says so");
        }
        done();
}
