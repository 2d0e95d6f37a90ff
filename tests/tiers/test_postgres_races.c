/* test_postgres_races: several connections at the same keys at the same time. */
#include <string.h>

#include "postgres_harness.h"

enum { RACERS = 3, ROUNDS = 150, RACE_KEYS = 8 };

/* Several connections add one to the same counters by compare-and-set, in batches: no addition is
 * lost. */
static void
test_race_of_expectations(struct bench *b)
{
        struct tier *tier[RACERS] = {b->tier, bench_tier(b, NULL), bench_tier(b, NULL)};
        struct ask ask[RACERS][RACE_KEYS];
        uint64_t seen[RACERS][RACE_KEYS] = {0};
        unsigned stored[RACE_KEYS] = {0};
        struct entry e[RACE_KEYS];
        char key[RACE_KEYS][40];

        for (int k = 0; k < RACE_KEYS; k++) {
                snprintf(key[k], sizeof key[k], "race:%d", k);
                entry_make(b, &e[k], key[k], 10, 1, 0);
        }
        sql("CREATE TABLE race_log (version bigint, was bigint); CREATE FUNCTION race_log() RETURNS"
            " trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO race_log VALUES (NEW.version,"
            " CASE TG_OP WHEN 'UPDATE' THEN OLD.version END); RETURN NULL; END $$;"
            " CREATE TRIGGER race_log AFTER INSERT OR UPDATE ON pannier.entry FOR EACH ROW"
            " EXECUTE FUNCTION race_log()");
        for (int r = 0; r < RACERS; r++)
                must(bench_up(b, tier[r], true, 5 * SECOND));
        for (int round = 0; round < ROUNDS; round++) {
                for (int r = 0; r < RACERS; r++)
                        for (int k = 0; k < RACE_KEYS; k++) {
                                write_new(b, &ask[r][k], key[k], &e[k]);
                                ask[r][k].call.expect = seen[r][k];
                                ask_start(b, tier[r], &ask[r][k], 20 * SECOND);
                        }
                for (int r = 0; r < RACERS; r++)
                        for (int k = 0; k < RACE_KEYS; k++) {
                                struct tier_call *c = &ask[r][k].call;

                                check_is(ask_wait(b, &ask[r][k]), TIER_ANSWERED);
                                stored[k] += c->outcome == WRITE_STORED;
                                check(c->outcome == WRITE_STORED || c->outcome == WRITE_CONFLICT);
                                check(c->found_version > seen[r][k] ||
                                      c->outcome == WRITE_CONFLICT);
                                seen[r][k] = c->found_version;
                        }
        }
        for (int k = 0; k < RACE_KEYS; k++)
                check(stored[k] >= ROUNDS);
        {
                unsigned all = 0;

                for (int k = 0; k < RACE_KEYS; k++)
                        all += stored[k];
                check_is(sql_number("SELECT count(*) FROM race_log"), all);
        }
        check_is(sql_number("SELECT count(*) FROM race_log WHERE version <= was"), 0);
        sql("DROP FUNCTION race_log() CASCADE; DROP TABLE race_log");
        for (int r = 1; r < RACERS; r++)
                postgres_tier_destroy(tier[r]);
        for (int k = 0; k < RACE_KEYS; k++)
                entry_release(&e[k]);
}

/* Stamped and new writes of the same new keys from several connections at once: all are answered
 * with what is true, and the newest stands. Each round's keys are new, so insertions meet. */
static void
test_race_of_insertions(struct bench *b)
{
        struct tier *tier[RACERS] = {b->tier, bench_tier(b, NULL), bench_tier(b, NULL)};
        struct ask ask[RACERS][RACE_KEYS];
        struct entry e[RACE_KEYS];
        char key[RACE_KEYS][40];

        for (int r = 0; r < RACERS; r++)
                must(bench_up(b, tier[r], true, 5 * SECOND));
        for (int round = 0; round < ROUNDS; round++) {
                uint64_t newest[RACE_KEYS] = {0};

                for (int k = 0; k < RACE_KEYS; k++) {
                        snprintf(key[k], sizeof key[k], "insert:%d:%d", round, k);
                        entry_make(b, &e[k], key[k], 10, 1, 0);
                }
                for (int r = 0; r < RACERS; r++)
                        for (int k = 0; k < RACE_KEYS; k++) {
                                if (r == 2 && round % 2 == 0)
                                        write_new(b, &ask[r][k], key[k], &e[k]);
                                else
                                        write_stamped(b, &ask[r][k], key[k], &e[k],
                                                      (uint64_t)(100 + (r + k) % RACERS));
                                ask_start(b, tier[r], &ask[r][k], 20 * SECOND);
                        }
                for (int r = 0; r < RACERS; r++)
                        for (int k = 0; k < RACE_KEYS; k++) {
                                struct tier_call *c = &ask[r][k].call;

                                check_is(ask_wait(b, &ask[r][k]), TIER_ANSWERED);
                                if (c->outcome == WRITE_LOST)
                                        check(c->found_version > c->version);
                                if (c->found_version > newest[k])
                                        newest[k] = c->found_version;
                        }
                for (int k = 0; k < RACE_KEYS; k++) {
                        stands(b, key[k], &e[k], newest[k]);
                        entry_release(&e[k]);
                }
        }
        for (int r = 1; r < RACERS; r++)
                postgres_tier_destroy(tier[r]);
}

static const struct test_case cases[] = {
        {"race_of_expectations", test_race_of_expectations, false},
        {"race_of_insertions", test_race_of_insertions, false},
        {0},
};

int
main(int argc, char **argv)
{
        return cases_run(cases, argc > 1 ? argv[1] : NULL);
}
