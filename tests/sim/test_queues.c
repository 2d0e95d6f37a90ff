/* What waits for a tier, and what depends on what is there (NX, XX, EXPIRE, KEEPTTL), rule by
 * rule. */
#include <stdio.h>

#include "tests/sim/asking.h"

/* ---- queues ---- */

/* Redis' clock is behind: without the wait the queued one, stamped before, would win over what
 * was written since. */
Test(queues, a_write_waits_for_the_queue_before_it)
{
        struct op_asked brief = {.deadline_us = 500};
        struct sim_answer a, b;

        world(2, true, true, "behind");
        set(0, "k", "old");
        w.l2.clock_offset_us = -5 * SECOND;
        sim_forget(&w.l2, bytes_str("k"));
        sim_cut(&w, &w.server[0].l2, 2 * MS);
        sim_set(&w.server[0], "k", "first", &brief, &a);
        sim_run(&w, 2500);
        cr_expect(a.done && a.estimated);
        sim_set(&w.server[0], "k", "second", NULL, &b);
        sim_run(&w, 3 * SECOND);
        cr_expect_gt(b.version, a.version);
        expect_hit(get(0, "k"), OP_TIER_L1, "second");
        expect_hit(get(1, "k"), OP_TIER_L2, "second");
        done();
}

Test(queues, with_l3_alone_what_was_queued_loses_to_what_came_since)
{
        struct op_asked brief = {.deadline_us = 500};
        struct sim_answer a, b;

        world(2, false, true, "behind");
        option(O_l3_timeout, 2500);
        set(0, "k", "old");
        w.l3.clock_offset_us = -5 * SECOND;
        sim_forget(&w.l3, bytes_str("k"));
        sim_freeze(&w, &w.l3, 4 * MS);
        sim_set(&w.server[0], "k", "first", &brief, &a);
        sim_run(&w, 5 * MS);
        cr_expect(a.done && a.estimated);
        sim_forget(&w.l3, bytes_str("k"));
        sim_set(&w.server[0], "k", "second", NULL, &b);
        sim_run(&w, 3 * SECOND);
        cr_expect_gt(b.version, a.version);
        expect_hit(get(0, "k"), OP_TIER_L1, "second");
        expect_hit(get(1, "k"), OP_TIER_L3, "second");
        done();
}

/* L3 had it, L2 not yet when it went away again; meanwhile L3 got something newer. */
Test(queues, what_waited_for_l2_meets_l3_first)
{
        struct sim_answer a;

        world(2, true, true, "behind");
        option(O_l2_value_max, 1000);
        sim_cut(&w, &w.server[0].l2, 300 * MS);
        sim_set(&w.server[0], "k", "first", NULL, &a);
        sim_run(&w, 302500); /* it is on its way to L2 */
        cr_expect(a.estimated && in_l3("k") != NULL && in_l2("k") == NULL);
        sim_cut(&w, &w.server[0].l2, SECOND);
        set_long(1, "k", 3000);
        sim_forget(&w.l2, bytes_str("k"));
        sim_run(&w, 1500 * MS);
        cr_expect_null(in_l2("k"), "dropped, for it has lost in L3");
        empty_l1(1);
        cr_expect_eq(get(1, "k").len, 3000);
        done();
}

Test(queues, a_large_write_that_waited_for_l2_leaves_a_mark_there)
{
        world(2, true, true, "behind");
        option(O_l2_value_max, 1000);
        sim_freeze(&w, &w.l2, 200 * MS);
        cr_expect_eq(set_long(0, "k", 3000).state, OP_DONE);
        sim_run(&w, 3 * SECOND);
        cr_expect_lt(in_l2("k")->blob->len, 1000);
        cr_expect_eq(get(1, "k").len, 3000);
        done();
}

Test(queues, what_loses_in_l3_is_taken_out_of_l2)
{
        static struct sim_store old;

        world(2, true, true, "behind");
        set(0, "k", "first");
        sim_copy(&old, &w.l2);
        del(1, "k"); /* in L3 at once; "first" comes there after it */
        sim_fail_over(&w, &old);
        sim_empty(&old);
        sim_run(&w, 4 * SECOND);
        cr_expect_null(in_l2("k"));
        cr_expect_eq(get(0, "k").state, OP_MISS);
        done();
}

/* Two processes estimated the same version: the one that comes second loses, and drops its own
 * copy. */
Test(queues, of_two_writes_of_one_version_one_is_forgotten)
{
        struct sim_answer a;

        world(2, true, false, "l2");
        sim_cut(&w, &w.server[0].l2, SECOND);
        a = set(0, "k", "mine");
        set(1, "k", "theirs");
        in_l2("k")->version = a.version;
        put_u64(in_l2("k")->blob->at, a.version);
        sim_run(&w, 3 * SECOND);
        expect_hit(get(0, "k"), OP_TIER_L2, "theirs");
        done();
}

Test(queues, what_lost_in_l2_leaves_l1)
{
        struct sim_answer a;

        world(2, true, false, "l2");
        sim_cut(&w, &w.server[0].l2, SECOND);
        a = set(0, "k", "mine");
        cr_expect(a.estimated);
        set(1, "k", "theirs");
        sim_run(&w, 3 * SECOND);
        expect_hit(get(0, "k"), OP_TIER_L2, "theirs");
        done();
}

/* What failed goes back to where its age puts it: behind a younger one it would never be found
 * too old. */
Test(queues, the_oldest_of_a_queue_is_the_one_that_grows_too_old)
{
        struct sim_answer a, b;

        world(1, true, false, "l2");
        sim_freeze(&w, &w.l2, 400 * SECOND);
        sim_set(&w.server[0], "a:1", "v", NULL, &a);
        sim_run(&w, 200 * SECOND);
        sim_set(&w.server[0], "b:1", "v", NULL, &b);
        sim_run(&w, 102 * SECOND);
        cr_expect_eq(metric(0, M_queue_overflows), 1);
        cr_expect_eq(metric(0, M_queue_l2), 1);
        sim_run(&w, 110 * SECOND);
        done();
}

Test(queues, a_full_queue_is_an_overflow)
{
        struct sim_answer a;

        world(1, true, false, "l2");
        option(O_queue_max, 20000);
        sim_freeze(&w, &w.l2, 4 * SECOND);
        for (unsigned i = 0; i < 30; i++) {
                char key[16];

                snprintf(key, sizeof key, "ns:%u", i);
                sim_set(&w.server[0], key, "a value of some length, so that it adds up", NULL, &a);
                sim_run(&w, 60 * MS);
        }
        cr_expect_geq(metric(0, M_queue_overflows), 1);
        cr_expect_leq(metric(0, M_queue_bytes), 20000);
        cr_expect_eq(get(0, "ns:0").state, OP_MISS);
        sim_run(&w, 8 * SECOND);
        cr_expect_eq(w.l2.floors_count, 1, "L2 is told, though it was frozen first");
        done();
}

/* Redis came back empty: an old write that still waits must not hide there what L3 has newer. */
Test(queues, through_what_waited_meets_l3_before_another_redis)
{
        struct sim_answer a;

        world(2, true, true, "through");
        sim_cut(&w, &w.server[0].l2, SECOND);
        sim_cut(&w, &w.server[0].l3, 2 * SECOND);
        sim_del(&w.server[0], "k", &a);
        sim_run(&w, 100 * MS);
        cr_expect_eq(a.error, ERR_TIER_DOWN);
        cr_expect_eq(set(1, "k", "newer").state, OP_DONE);
        sim_empty(&w.l2);
        w.l2.replid++;
        sim_cut(&w, &w.server[1].l2, MS);
        sim_run(&w, 1500 * MS); /* the queue has its L2 back, not its L3 */
        empty_l1(1);
        expect_hit(get(1, "k"), OP_TIER_L3, "newer");
        sim_run(&w, 2 * SECOND);
        expect_hit(get(0, "k"), OP_TIER_L2, "newer");
        done();
}

/* ---- what depends on what is there ---- */

Test(conditions, nx_asks_the_shared_tier_not_l1)
{
        world(2, true, true, "behind");
        set(0, "lock", "a");
        expect_hit(get(1, "lock"), OP_TIER_L2, "a");
        del(0, "lock");
        expect_hit(get(1, "lock"), OP_TIER_L1, "a"); /* for as long as L1 keeps it */
        cr_expect_eq(set_nx(1, "lock", "b").state, OP_DONE);
        cr_expect_eq(set_nx(0, "lock", "c").state, OP_UNMET);
        done();
}

Test(conditions, nx_without_l2_does_not_take_the_word_of_l3_or_of_the_queue)
{
        world(2, true, true, "behind");
        set(0, "k", "v");
        sim_run(&w, 3 * SECOND);
        sim_cut(&w, &w.server[1].l2, 300 * MS);
        cr_expect_eq(set_nx(1, "k", "w").error, ERR_TIER_DOWN);
        set(1, "k", "queued");
        cr_expect_eq(set_nx(1, "k", "w").error, ERR_TIER_DOWN);
        done();
}

/* L2 has lost the lock's successor, this process holds a copy of its predecessor. */
Test(conditions, nx_does_not_end_with_a_copy_that_l2_has_lost)
{
        world(2, true, true, "behind");
        set(0, "lock", "a");
        expect_hit(get(1, "lock"), OP_TIER_L2, "a");
        del(0, "lock");
        sim_forget(&w.l2, bytes_str("lock"));
        cr_expect_eq(set_nx(1, "lock", "b").state, OP_DONE);
        done();
}

Test(conditions, nx_takes_the_place_of_what_counts_as_absent)
{
        world(1, true, true, "behind");
        set(0, "ns:k", "v");
        floors_raise(env_of(0)->floors, bytes_str("ns"), w.now_us + SECOND);
        cr_expect_eq(set_nx(0, "ns:k", "w").state, OP_DONE, "invalidated");
        sim_destroy(&w);

        world(1, true, true, "through");
        set(0, "k", "v");
        sim_forget(&w.l3, bytes_str("k"));
        empty_l1(0);
        w.l2.replid++;
        sim_cut(&w, &w.server[0].l2, MS);
        sim_run(&w, 10 * MS);
        cr_expect_eq(set_nx(0, "k", "w").state, OP_DONE, "written under another replication id");
        expect_hit(get(0, "k"), OP_TIER_L1, "w");
        done();
}

/* A lookup that was under way when the answer was still another is not good enough for an end. */
Test(conditions, expire_and_nx_do_not_end_with_an_old_lookup)
{
        struct sim_answer g, s, e;

        world(2, true, true, "behind");
        sim_freeze(&w, &w.l3, 20 * MS);
        sim_get(&w.server[0], "k", &g);
        sim_run(&w, 5 * MS); /* L2 said absent */
        sim_set(&w.server[1], "k", "v", NULL, &s);
        sim_run(&w, 5 * MS);
        cr_expect_eq(s.state, OP_DONE);
        sim_expire(&w.server[0], "k", w.now_us + SECOND, &e);
        sim_run(&w, 100 * MS);
        cr_expect_eq(e.state, OP_DONE);
        done();
}

Test(conditions, conditions_and_lifetimes_do_what_they_say)
{
        struct op_asked xx = {.condition = OP_IF_PRESENT}, keep = {.lifetime = LIFE_KEEP},
                        swap = {.want_old = true};
        struct sim_answer a;

        world(2, true, true, "behind");
        cr_expect_eq(set_more(0, "k", "v", xx).state, OP_UNMET);
        set_until(0, "k", "v", w.now_us + 2 * SECOND);
        cr_expect_eq(set_more(1, "k", "w", xx).state, OP_DONE);
        set_until(0, "k", "v", w.now_us + 2 * SECOND);
        a = set_more(1, "k", "x", keep);
        cr_expect_eq(a.state, OP_DONE);
        a = set_more(0, "k", "y", swap);
        cr_expect_str_eq(a.value, "x", "the value before");
        expire(1, "k", w.now_us + SECOND);
        set_more(0, "k", "z", keep);
        sim_run(&w, 1500 * MS);
        cr_expect_eq(get(0, "k").state, OP_MISS, "z has the lifetime of y");
        set_until(0, "k", "v", w.now_us + SECOND);
        cr_expect_eq(expire(0, "k", 0).state, OP_DONE, "persist");
        sim_run(&w, 2 * SECOND);
        expect_hit(get(1, "k"), OP_TIER_L2, "v");
        done();
}

/* What it goes by has expired while the new value was packed. */
Test(conditions, what_depends_on_l1_is_compared_with_it_when_it_is_written)
{
        static char large[300 * 1024];
        struct op_asked keep = {.lifetime = LIFE_KEEP}, brief = {.lifetime = LIFE_AT};
        struct sim_answer a;

        world(1, false, false, "");
        brief.hard_us = w.now_us + 1;
        sim_set(&w.server[0], "k", "old", &brief, &a);
        sim_set_bytes(&w.server[0], "k", bytes_of(large, sizeof large), &keep, &a);
        sim_run(&w, 100 * MS);
        cr_expect_eq(a.state, OP_DONE);
        cr_expect_eq(get(0, "k").len, sizeof large);
        done();
}

/* Redis is restored as it was before a DEL, and L1 elsewhere still has what was deleted. */
Test(conditions, through_what_was_restored_is_not_there)
{
        static struct sim_store old;
        struct op_asked xx = {.condition = OP_IF_PRESENT};

        world(2, true, true, "through");
        set(0, "k", "v");
        expect_hit(get(1, "k"), OP_TIER_L2, "v");
        sim_copy(&old, &w.l2);
        del(0, "k");
        sim_fail_over(&w, &old);
        sim_empty(&old);
        sim_run(&w, 100 * MS);
        cr_expect_eq(set_more(1, "k", "w", xx).state, OP_UNMET);
        done();
}

/* L1 still has what L2 has lost: the next look goes past it. */
Test(conditions, what_l2_has_lost_is_looked_for_below)
{
        world(1, true, true, "behind");
        set(0, "k", "v");
        sim_run(&w, 3 * SECOND);
        sim_forget(&w.l2, bytes_str("k"));
        cr_expect_eq(expire(0, "k", w.now_us + 60 * SECOND).state, OP_DONE);
        sim_destroy(&w);

        world(1, true, false, "l2");
        set(0, "k", "v");
        sim_forget(&w.l2, bytes_str("k"));
        cr_expect_eq(expire(0, "k", w.now_us + 60 * SECOND).state, OP_MISS);
        done();
}
