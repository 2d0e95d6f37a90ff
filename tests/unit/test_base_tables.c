/* The tables of src/def: rows that contradict each other are found here, not by a user. */
#include <criterion/criterion.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/options.h"

/* A native status is part of the protocol: two errors with one number could not be told apart. */
Test(errors, statuses_are_distinct_and_fit_a_byte)
{
        cr_expect_eq(err_status(OK), 0);
        for (int a = 1; a < ERR_COUNT; a++) {
                cr_expect(err_status((enum err)a) >= 16 && err_status((enum err)a) <= 255);
                for (int b = 1; b < a; b++)
                        cr_expect_neq(err_status((enum err)a), err_status((enum err)b), "%s",
                                      err_text((enum err)a));
        }
}

Test(errors, sentences_hold_at_most_one_detail)
{
        for (int e = 1; e < ERR_COUNT; e++) {
                const char *first = strchr(err_text((enum err)e), '%');

                cr_expect_str_not_empty(err_text((enum err)e));
                cr_expect_str_not_empty(err_prefix((enum err)e));
                if (first != NULL) {
                        cr_expect_eq(first[1], 's');
                        cr_expect_null(strchr(first + 1, '%'));
                }
        }
        cr_expect_str_eq(err_prefix(ERR_TIER_DOWN), "TIERDOWN");
}

Test(metrics, rows_of_a_family_agree_and_stand_together)
{
        for (int a = 0; a < METRIC_COUNT; a++) {
                bool apart = false;

                for (int b = a - 1; b >= 0; b--) {
                        const struct metric_row *x = &metric_rows[a], *y = &metric_rows[b];

                        cr_expect_str_neq(x->name, y->name);
                        if (strcmp(x->family, y->family) != 0) {
                                apart = true;
                                continue;
                        }
                        cr_expect_not(apart, "family %s is torn apart", x->family);
                        cr_expect_str_neq(x->labels, y->labels, "%s", x->name);
                        cr_expect_str_eq(x->help, y->help, "%s", x->name);
                        cr_expect_eq(x->kind, y->kind, "%s", x->name);
                }
        }
}

Test(metrics, add_subtract_set_and_sum_over_workers)
{
        static struct metrics a, b;
        struct metrics *all[] = {&a, &b};

        metric_add(&a, M_sets, 3);
        metric_add(&b, M_sets, 4);
        cr_expect_eq(metric_sum(all, 2, M_sets), 7);
        cr_expect_eq(metric_sum(all, 1, M_sets), 3);
        cr_expect_eq(metric_sum(all, 0, M_sets), 0);
        metric_sub(&b, M_sets, 1);
        cr_expect_eq(metric_get(&b, M_sets), 3);
        metric_set(&a, M_connections, 10);
        metric_set(&a, M_connections, 5);
        cr_expect_eq(metric_sum(all, 2, M_connections), 5);
        cr_expect_eq(metric_get(&a, M_hits_l1), 0, "neighbours are not touched");
}

Test(options, names_are_distinct)
{
        for (int a = 0; a < OPTION_COUNT_ALL; a++) {
                for (int b = 0; b < a; b++) {
                        char x[64], y[64];

                        cr_expect_str_neq(option_argv_name(&option_rows[a], x),
                                          option_argv_name(&option_rows[b], y));
                }
        }
}

Test(log, a_gate_opens_once_a_period_and_counts_what_it_held)
{
        struct log_gate gate = {0};
        uint64_t held = 99;

        cr_expect(log_every(&gate, 1000, 100, &held));
        cr_expect_eq(held, 0);
        cr_expect_not(log_every(&gate, 1050, 100, &held));
        cr_expect_not(log_every(&gate, 1099, 100, &held));
        cr_expect(log_every(&gate, 1100, 100, &held));
        cr_expect_eq(held, 2);
        cr_expect(log_every(&gate, 5000, 100, &held));
        cr_expect_eq(held, 0);
}
