/* Writing, rule by rule: the order of a key's writes, versions, what is acknowledged by whom. */
#include <stdio.h>

#include "tests/sim/asking.h"

/* ---- the order of one key's writes ---- */

/* Sent one after the other without waiting: the later one stays, though the earlier one is
 * packed elsewhere first. */
static void
large_then_small(bool l2, bool l3, const char *mode)
{
        static char large[300 * 1024];
        struct sim_answer a, b;

        world(1, l2, l3, mode);
        sim_set_bytes(&w.server[0], "k", bytes_of(large, sizeof large), NULL, &a);
        sim_set(&w.server[0], "k", "small", NULL, &b);
        sim_run(&w, 5 * SECOND);
        cr_expect_eq(a.state, OP_DONE);
        cr_expect_eq(b.state, OP_DONE);
        cr_expect_gt(b.version, a.version);
        cr_expect_lt(b.ended_us - b.began_us, 50 * MS);
        cr_expect_str_eq(get(0, "k").value, "small");
        if (l2)
                cr_expect_eq(in_l2("k")->version, b.version);
        if (l3)
                cr_expect_eq(in_l3("k")->version, b.version);
        done();
}

Test(writes, a_small_write_does_not_overtake_a_large_one_in_l1)
{
        large_then_small(false, false, "");
}
Test(writes, a_small_write_does_not_overtake_a_large_one_in_l2)
{
        large_then_small(true, false, "l2");
}
Test(writes, a_small_write_does_not_overtake_a_large_one_behind)
{
        large_then_small(true, true, "behind");
}
Test(writes, a_small_write_does_not_overtake_a_large_one_in_l3_alone)
{
        large_then_small(false, true, "through");
}

/* On its own connection the large one takes longer. */
Test(writes, a_small_write_waits_for_a_large_one_on_the_other_connection)
{
        static char large[300 * 1024];
        struct sim_answer a, b;

        world(1, true, false, "l2");
        w.large_us = 80 * MS; /* longer than the small one alone would wait */
        sim_set_bytes(&w.server[0], "k", bytes_of(large, sizeof large), NULL, &a);
        sim_run(&w, 10 * MS);
        sim_set(&w.server[0], "k", "small", NULL, &b);
        sim_run(&w, 400 * MS);
        cr_expect_gt(b.version, a.version);
        cr_expect_not(b.estimated);
        expect_hit(get(0, "k"), OP_TIER_L1, "small");
        done();
}

/* Small ones follow each other without waiting for answers. */
Test(writes, writes_of_a_key_are_pipelined)
{
        struct sim_answer a[50];

        world(1, true, false, "l2");
        for (unsigned i = 0; i < 50; i++)
                sim_set(&w.server[0], "k", "v", NULL, &a[i]);
        sim_run(&w, 3 * MS);
        for (unsigned i = 0; i < 50; i++)
                cr_expect(a[i].done && a[i].state == OP_DONE);
        cr_expect_eq(a[49].version, in_l2("k")->version);
        done();
}

Test(writes, expire_does_not_slip_behind_the_set_that_follows)
{
        struct sim_answer e, s;

        world(1, true, true, "behind");
        set(0, "k", "old");
        empty_l1(0);
        sim_expire(&w.server[0], "k", w.now_us + 500 * MS, &e);
        sim_set(&w.server[0], "k", "new", NULL, &s);
        sim_run(&w, SECOND);
        cr_expect_eq(e.state, OP_DONE);
        cr_expect_gt(s.version, e.version);
        expect_hit(get(0, "k"), OP_TIER_L1, "new");
        done();
}

/* Another process changed the key: EXPIRE has to look again, and finds what was written before
 * it, not behind it. */
Test(writes, expire_looks_again_before_the_set_that_follows)
{
        struct sim_answer e, s;

        world(2, true, true, "behind");
        set(0, "k", "old");
        set(1, "k", "other");
        sim_expire(&w.server[0], "k", w.now_us + 500 * MS, &e);
        sim_set(&w.server[0], "k", "new", NULL, &s);
        sim_run(&w, SECOND);
        cr_expect_eq(e.state, OP_DONE);
        cr_expect_gt(s.version, e.version);
        expect_hit(get(0, "k"), OP_TIER_L1, "new");
        done();
}

Test(writes, expire_waits_for_the_answer_to_the_set_before_it)
{
        struct sim_answer e, s;
        uint64_t before;

        world(1, true, true, "behind");
        set(0, "k", "old");
        before = w.l2.asked[TIER_WRITE];
        sim_set(&w.server[0], "k", "new", NULL, &s);
        sim_expire(&w.server[0], "k", w.now_us + 500 * MS, &e);
        sim_run(&w, 100 * MS);
        cr_expect_eq(e.state, OP_DONE);
        cr_expect_eq(w.l2.asked[TIER_WRITE] - before, 2, "no try over the old one");
        done();
}

/* The later one waits for L3 less long than the large one before it, and is queued first. */
Test(writes, what_is_queued_late_does_not_replace_what_is_newer)
{
        static char large[300 * 1024];
        struct sim_answer a, b;

        for (unsigned seed = 1; seed <= 10;
             seed++) { /* L3 does some of what it was asked before it broke */
                world(1, true, true, "through");
                w.prng.state = seed;
                option(O_l3_flush, 5 * SECOND);
                sim_freeze(&w, &w.l3, 3 * SECOND);
                sim_set_bytes(&w.server[0], "k", bytes_of(large, sizeof large), NULL, &a);
                sim_set(&w.server[0], "k", "small", NULL, &b);
                sim_run(&w, 2 * SECOND);
                cr_expect(a.ended_us > b.ended_us && b.version > a.version);
                sim_cut(&w, &w.server[0].l3, 2 * SECOND);
                sim_run(&w, 8 * SECOND);
                cr_expect_eq(in_l3("k")->version, b.version);
                sim_destroy(&w);
        }
}

/* What L3 was to get in a second is overtaken by a DEL that L3 got at once. */
Test(writes, what_l3_was_told_since_is_no_longer_unsent)
{
        struct sim_answer a;

        for (unsigned l2 = 0; l2 < 2; l2++) {
                world(1, l2 == 1, true, "behind");
                option(O_l3_flush, 20 * SECOND);
                if (l2 == 0)
                        sim_freeze(&w, &w.l3, 320 * MS);
                sim_set(&w.server[0], "k", "v", NULL, &a);
                sim_run(&w, 350 * MS);
                cr_expect_eq(a.state, OP_DONE);
                cr_expect_eq(metric(0, M_queue_l3), 1);
                cr_expect_eq(del(0, "k").state, OP_DONE);
                cr_expect_eq(metric(0, M_queue_l3), 0);
                for (unsigned i = 0; i < 40; i++)
                        sim_run(&w, 100 * MS);
                empty_l1(0);
                sim_cut(&w, &w.server[0].l2, SECOND);
                cr_expect_eq(get(0, "k").state, OP_MISS);
                done();
        }
}

Test(writes, expire_sees_the_set_before_it)
{
        static char large[300 * 1024];
        struct sim_answer e, s;

        world(1, true, true, "behind");
        sim_set_bytes(&w.server[0], "k", bytes_of(large, sizeof large), NULL, &s);
        sim_expire(&w.server[0], "k", w.now_us + 500 * MS, &e);
        sim_run(&w, SECOND);
        cr_expect_eq(e.state, OP_DONE);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        done();
}

/* ---- versions ---- */

/* Its estimate is ahead, and so are the versions that it brings about. */
static void
from_the_future(unsigned server)
{
        env_of(server)->clock.offset_us += 5 * SECOND;
        sim_run(&w, MS);
}

Test(writes, an_estimated_version_is_above_all_that_is_known)
{
        struct sim_answer a, b;

        world(2, true, false, "l2");
        from_the_future(1);
        a = set(1, "k", "old");
        expect_hit(get(0, "k"), OP_TIER_L2, "old");
        sim_freeze(&w, &w.l2, 100 * MS);
        sim_set(&w.server[0], "k", "new", NULL, &b);
        sim_run(&w, 60 * MS);
        cr_expect_eq(b.state, OP_DONE);
        cr_expect_gt(b.version, a.version);
        expect_hit(get(0, "k"), OP_TIER_L1, "new");
        sim_run(&w, SECOND);
        empty_l1(1);
        expect_hit(get(1, "k"), OP_TIER_L2, "new");
        done();
}

/* L2 may have given the next version to a write of ours whose answer was late: it would be taken
 * for the same. */
Test(writes, an_estimated_version_is_not_the_very_next)
{
        struct sim_answer a[6];
        bool next = true;

        world(2, true, false, "l2");
        from_the_future(1);
        set(1, "k", "old");
        expect_hit(get(0, "k"), OP_TIER_L2, "old");
        sim_freeze(&w, &w.l2, 4 * SECOND);
        for (unsigned i = 0; i < 6; i++) {
                sim_set(&w.server[0], "k", "new", NULL, &a[i]);
                sim_run(&w, 60 * MS);
                cr_assert(a[i].done && a[i].estimated);
                next = next && (i == 0 || a[i].version == a[i - 1].version + 1);
        }
        cr_expect_not(next);
        done();
}

/* ... also above a tombstone that nobody but L1 remembers. */
Test(writes, an_estimated_version_is_above_the_tombstone_in_l1)
{
        struct sim_answer a, b;

        world(2, true, false, "l2");
        from_the_future(1);
        set(1, "k", "old");
        a = del(0, "k");
        for (unsigned i = 0; i < 35; i++)
                sim_run(&w, 100 * MS);
        cr_assert_eq(landing_count(env_of(0)->landing), 0);
        sim_freeze(&w, &w.l2, 100 * MS);
        sim_set(&w.server[0], "k", "new", NULL, &b);
        sim_run(&w, 60 * MS);
        cr_expect_gt(b.version, a.version);
        sim_run(&w, SECOND);
        expect_hit(get(0, "k"), OP_TIER_L1, "new");
        done();
}

/* Redis came back empty and its clock is behind what L3 holds. */
Test(writes, what_l3_holds_newer_is_written_over)
{
        struct sim_answer a, b;

        world(2, true, true, "through");
        from_the_future(1);
        a = set(1, "k", "old");
        sim_fail_over(&w, NULL);
        sim_run(&w, 100 * MS);
        b = set(0, "k", "new");
        cr_expect_eq(b.state, OP_DONE);
        cr_expect_gt(b.version, a.version);
        cr_expect_eq(in_l2("k")->version, b.version);
        cr_expect_eq(in_l3("k")->version, b.version);
        done();
}

Test(writes, a_version_is_above_the_stored_one_and_the_estimate)
{
        struct sim_answer a, b;

        world(2, true, false, "l2");
        a = set(0, "k", "old");
        w.l2.clock_offset_us = -5 * SECOND;
        b = set(0, "k", "new");
        cr_expect_gt(b.version, a.version);
        sim_forget(&w.l2, bytes_str("k"));
        a = set(0, "k", "newer");
        cr_expect_gt(a.version, b.version, "though L2 has neither the value nor the time");
        done();
}

Test(writes, a_write_is_above_what_invalidated_its_namespace)
{
        static const char *const modes[] = {"l1", "l2", "behind", "through"};

        for (unsigned i = 0; i < 5; i++) {
                bool l2 = i<4, l3 = i> 1;

                world(1, l2, l3, i < 4 ? modes[i] : "behind");
                floors_raise(env_of(0)->floors, bytes_str("ns"), w.now_us + SECOND);
                cr_expect_eq(set(0, "ns:k", "v").state, OP_DONE);
                expect_hit(get(0, "ns:k"), OP_TIER_L1, "v");
                cr_expect_eq(set_nx(0, "ns:k", "w").state, OP_UNMET);
                sim_destroy(&w);
        }
}

/* Its caller was answered long ago: L2 does not do it, and what is queued has its own time. */
Test(writes, a_write_that_waited_too_long_does_not_jump_the_line)
{
        struct sim_answer a, b;

        world(2, true, false, "l2");
        sim_freeze(&w, &w.l2, 100 * MS);
        sim_set(&w.server[0], "k", "first", NULL, &a);
        sim_run(&w, 10 * MS);
        sim_set(&w.server[1], "k", "second", NULL, &b);
        sim_run(&w, 2 * SECOND);
        cr_expect(a.estimated && b.estimated);
        for (unsigned i = 0; i < 2; i++)
                cr_expect_str_eq(get(i, "k").value, "second");
        done();
}

Test(writes, a_clock_that_is_behind_is_learnt_anew)
{
        struct sim_answer a;

        world(1, true, true, "behind");
        env_of(0)->clock.offset_us -= SECOND;
        env_of(0)->clock.floor_us = 0;
        sim_run(&w, MS);
        sim_set(&w.server[0], "k", "v", NULL, &a);
        sim_run(&w, 10 * MS);
        cr_assert(a.done);
        cr_expect_eq(a.state, OP_DONE);
        cr_expect_not(a.estimated);
        cr_expect_eq(in_l2("k")->version, a.version);
        cr_expect_eq(w.l2.asked[TIER_WRITE], 2);
        done();
}

/* ---- who acknowledges ---- */

Test(writes, mode_l1_beside_tiers_is_nobody_elses)
{
        world(1, true, true, "l1");
        cr_expect_eq(set(0, "k", "v").state, OP_DONE);
        expect_hit(get(0, "k"), OP_TIER_L1, "v");
        cr_expect_eq(set_nx(0, "k", "w").state, OP_UNMET);
        cr_expect_eq(expire(0, "k", w.now_us + SECOND).state, OP_DONE);
        cr_expect(del(0, "k").existed);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        cr_expect_eq(set_nx(0, "k", "w").state, OP_DONE);
        cr_expect_eq(w.l2.asked[TIER_GET] + w.l2.asked[TIER_WRITE], 0);
        cr_expect_eq(w.l3.asked[TIER_GET] + w.l3.asked[TIER_WRITE], 0);
        done();
}

Test(writes, mode_l2_beside_l3_does_not_touch_l3)
{
        struct sim_answer a;

        world(2, true, true, "l2");
        option(O_l2_value_max, 1000);
        sim_freeze(&w, &w.l2, 200 * MS);
        a = set_long(0, "k", 5000); /* acknowledged, queued */
        cr_expect_eq(a.state, OP_DONE);
        sim_run(&w, SECOND);
        cr_expect_gt(in_l2("k")->blob->len, 5000, "no mark for a value that L3 has not got");
        cr_expect_eq(get(1, "k").len, 5000);
        cr_expect_null(in_l3("k"));
        done();
}

Test(writes, through_with_l2_gone_is_refused_and_reaches_both)
{
        struct sim_answer a;

        world(2, true, true, "through");
        sim_cut(&w, &w.server[0].l2, 2 * SECOND);
        a = set(0, "k", "v");
        cr_expect_eq(a.error, ERR_TIER_DOWN);
        sim_run(&w, 4 * SECOND);
        cr_expect_not_null(in_l3("k"));
        expect_hit(get(1, "k"), OP_TIER_L2, "v");
        done();
}

Test(writes, delete_ack_local_acknowledges_what_waits)
{
        struct sim_answer a;

        for (unsigned i = 0; i < 2; i++) {
                world(1, true, true, "behind");
                set(0, "k", "v");
                policy("delete-ack", "local");
                sim_freeze(&w, i == 0 ? &w.l2 : &w.l3, SECOND);
                sim_del(&w.server[0], "k", &a);
                sim_run(&w, 400 * MS);
                cr_expect_eq(a.state, OP_DONE);
                sim_run(&w, 4 * SECOND);
                cr_expect(in_l2("k")->tombstone && in_l3("k")->tombstone);
                sim_destroy(&w);
        }
}

/* A lifetime that is over is a DEL: also in L3, before it is acknowledged. */
Test(writes, expire_into_the_past_is_a_del)
{
        struct op_asked past = {.lifetime = LIFE_AT, .hard_us = 1};
        struct sim_answer a;

        world(1, true, true, "behind");
        set(0, "k", "v");
        sim_run(&w, 3 * SECOND);
        cr_expect_eq(expire(0, "k", 1).state, OP_DONE);
        cr_expect(in_l2("k")->tombstone);
        cr_expect(in_l3("k")->tombstone);
        cr_expect_eq(get(0, "k").state, OP_MISS);
        set(0, "k", "v");
        sim_freeze(&w, &w.l3, SECOND);
        sim_set(&w.server[0], "k", "gone", &past, &a);
        sim_run(&w, 100 * MS);
        cr_expect_not(a.done, "it waits for L3");
        sim_run(&w, 400 * MS);
        cr_expect_eq(a.error, ERR_TIER_DOWN);
        done();
}

Test(writes, del_behind_is_acknowledged_by_l3_too)
{
        struct sim_answer a;

        world(1, true, true, "behind");
        set(0, "k", "v");
        sim_freeze(&w, &w.l3, 2 * SECOND);
        sim_del(&w.server[0], "k", &a);
        sim_run(&w, 400 * MS);
        cr_expect_eq(a.error, ERR_TIER_DOWN);
        sim_run(&w, 4 * SECOND);
        cr_expect(in_l3("k")->tombstone);
        done();
}

/* ---- failovers ---- */

/* Sealed before, executed after: it must not count as absent in the new Redis. */
Test(writes, through_what_waits_is_written_under_the_replication_id_of_its_day)
{
        static char large[300 * 1024];
        struct sim_answer a;

        world(2, true, true, "through");
        sim_cut(&w, &w.server[0].l2, SECOND);
        sim_set(&w.server[0], "k", "v", NULL, &a);
        sim_run(&w, 500 * MS);
        w.l2.replid++;
        sim_run(&w, 3 * SECOND);
        cr_assert_not_null(in_l2("k"));
        cr_expect_eq(in_l2("k")->replid, w.l2.replid);
        sim_set_bytes(&w.server[0], "j", bytes_of(large, sizeof large), NULL, &a);
        w.l2.replid++; /* while it is sealed on the helper thread */
        w.server[0].l2.head.replid = w.l2.replid;
        sim_run(&w, 100 * MS);
        cr_expect_eq(a.state, OP_DONE);
        cr_expect_eq(in_l2("j")->replid, w.l2.replid);
        done();
}

/* ---- large values ---- */

Test(writes, expire_of_a_large_value_has_the_time_of_its_bytes)
{
        struct sim_answer a;

        world(2, true, true, "behind");
        set_long(0, "k", 300 * 1024);
        w.large_us = 100 * MS;
        sim_expire(&w.server[1], "k", w.now_us + 60 * SECOND, &a);
        sim_run(&w, 400 * MS);
        cr_assert(a.done);
        cr_expect_eq(a.state, OP_DONE);
        done();
}

Test(writes, too_large_for_l1_is_served_from_below)
{
        world(1, true, true, "behind");
        l1_destroy(env_of(0)->l1);
        env_of(0)->l1 = l1_create((struct l1_config){.bytes_max = 65536, .partitions = 1});
        set(0, "k", "small");
        set_long(0, "k", 60000);
        cr_expect_eq(get(0, "k").tier, OP_TIER_L2);
        cr_expect_eq(get(0, "k").len, 60000);
        cr_expect_eq(expire(0, "k", w.now_us + SECOND).state, OP_DONE);
        done();
}
