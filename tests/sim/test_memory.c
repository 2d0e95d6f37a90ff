/* Memory runs out at the n-th allocation of a stranger's size, n = 1, 2, ... until none fails:
 * every op ends, nothing is lost but what was refused, nothing is left over. Linked with
 * --wrap=mem_try_alloc. */
#include "tests/sim/asking.h"

static unsigned countdown;

void *__real_mem_try_alloc(size_t size);
void *__wrap_mem_try_alloc(size_t size);

void *
__wrap_mem_try_alloc(size_t size)
{
        if (w.in_engine && countdown > 0 && --countdown == 0)
                return NULL;
        return __real_mem_try_alloc(size);
}

static void
expect_end(struct sim_answer a)
{
        cr_expect(a.state != OP_ERROR || a.error == ERR_BUSY_MEMORY || a.error == ERR_TIER_DOWN,
                  "error %d", a.error);
}

/* A little of everything that makes blobs. */
static void
everything(void)
{
        expect_end(set(0, "a:small", "v"));
        expect_end(set_long(0, "a:packed", 900));
        expect_end(set_long(0, "a:marked", 5000));
        expect_end(set_long(0, "a:large", 300 * 1024));
        expect_end(expire(0, "a:marked", w.now_us + 100 * SECOND));
        expect_end(set_more(1, "a:small", "w", (struct op_asked){.want_old = true}));
        sim_run(&w, 2 * SECOND);
        for (unsigned i = 0; i < 2; i++)
                empty_l1(i);
        sim_empty(&w.l2);
        expect_end(get(1, "a:packed"));
        expect_end(get(1, "a:marked"));
        expect_end(get(1, "a:large"));
        sim_cut(&w, &w.server[0].l2, 300 * MS);
        expect_end(set_long(0, "a:marked", 6000));
        expect_end(del(0, "a:small"));
        sim_run(&w, 3 * SECOND);
        floors_spread(env_of(0), bytes_str("b"), 1);
        sim_cut(&w, &w.server[0].l2, MS);
        sim_run(&w, SECOND);
}

static void
run_with(unsigned n, const char *mode)
{
        world(2, true, true, mode);
        option(O_l2_value_max, 1000);
        option(O_compress_min, 200);
        countdown = n;
        everything();
}

Test(memory, runs_out_at_every_place)
{
        static const char *const modes[] = {"behind", "through"};

        for (unsigned i = 0; i < 2; i++) {
                unsigned n = 0;

                do {
                        run_with(++n, modes[i]);
                        if (countdown > 0)
                                break;
                        cr_expect_eq(set(0, "a:after", "fine").state, OP_DONE);
                        expect_hit(get(0, "a:after"), OP_TIER_L1, "fine");
                        done();
                } while (n < 1000);
                cr_expect_gt(n, 10);
                cr_expect_lt(n, 1000);
                countdown = 0;
                done();
        }
}
