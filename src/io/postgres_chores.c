/* postgres_chores: what a worker does besides answering calls: sweeping expired rows and chunks
 * that nobody names, flushing, learning the clock where PostgreSQL is the shared tier. Everything
 * in bounded steps on the small connection, between the calls. Of all workers of all servers one
 * sweeps at a time (an advisory lock tried, never waited for), and each begins at a moment of its
 * own. A flush takes what is not newer than its beginning and no tombstones: those guard against
 * older copies, and expire. It goes on to its end when its caller no longer waits, so that a
 * short deadline does not leave it half done. */
#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/postgres_inner.h"
#include "request/floors.h"
#include "request/queues.h"

static void
timer_in(struct postgres *pg, struct timer *t, uint64_t us)
{
        timer_set(&pg->env->timers, t, &pg->chores, pg->env->mono_us + us);
}

/* Between 0.8 and 1.2 of it. */
static uint64_t
about(struct postgres *pg, uint64_t us)
{
        return us - us / 5 + prng_below(&pg->env->prng, us * 2 / 5 + 1);
}

/* ---- the clock ---- */

void
pg_clock_learn(struct postgres *pg, int64_t tier_us, uint64_t asked_us)
{
        struct env *env = pg->env;

        if (env->l2 == NULL && tier_us > 0) /* else the clock that counts is L2's */
                shared_clock_learn(&env->clock, (uint64_t)tier_us, asked_us, env->mono_us,
                                   env->wall_us);
}

static void
clock_row(struct pg_statement *st, const PGresult *r, int row)
{
        int64_t us;

        if (field_i64(r, row, 0, &us))
                pg_clock_learn(st->on->pg, us, st->sent_us);
}

static void
clock_end(struct pg_statement *st, enum pg_end end)
{
        (void)end;
        pg_statement_free(st);
}

static void
clock_ask(struct postgres *pg)
{
        struct pg_statement *st = pg_statement_new(PG_CLOCK, 0);

        pg->clock_due = false;
        st->row = clock_row;
        st->end = clock_end;
        params_reset(&pg->params);
        pg_statement_send(&pg->small, st, &pg->params);
}

/* ---- sweeping ---- */

static int64_t
sweep_lock(const struct postgres *pg)
{
        return (int64_t)hash64(bytes_str(pg->config.schema_plain), 0x50616e6e73776570);
}

static void
sweep_row(struct pg_statement *st, const PGresult *r, int row)
{
        if (!field_i64(r, row, 0, &st->number) || st->number < 0)
                st->number = 0;
}

static void
sweep_end(struct pg_statement *st, enum pg_end end)
{
        struct postgres *pg = st->on->pg;
        int64_t rows = end == PG_END_OK ? st->number : 0;
        bool chunks = st->query == PG_SWEEP_CHUNKS;
        bool full = chunks ? rows > 0
                           : rows >= (int64_t)option_number(pg->env->options, O_l3_sweep_rows);

        pg_statement_free(st);
        pg->sweeping = false;
        if (!chunks)
                metric_add(pg->env->metrics, M_l3_swept, (uint64_t)rows);
        if (end == PG_END_LOST)
                return;
        if (!full)
                pg->chunks_next = !chunks;
        pg->sweep_due = full || !chunks;
}

static void
sweep_step(struct postgres *pg)
{
        enum pg_query query = pg->chunks_next ? PG_SWEEP_CHUNKS : PG_SWEEP;
        struct pg_statement *st = pg_statement_new(query, 0);

        pg->sweeping = true;
        pg->sweep_due = false;
        st->row = sweep_row;
        st->end = sweep_end;
        params_reset(&pg->params);
        params_i64(&pg->params, sweep_lock(pg));
        params_i64(&pg->params, query == PG_SWEEP
                                        ? (int64_t)option_number(pg->env->options, O_l3_sweep_rows)
                                        : PG_CHUNK_ROWS);
        if (query == PG_SWEEP)
                params_i64(&pg->params, (int64_t)pg->env->now_us);
        pg_statement_send(&pg->small, st, &pg->params);
}

/* ---- flushing ---- */

static void
flush_over(struct pg_flush *f, enum tier_result result)
{
        struct pg_slot *slot = f->slot;

        list_remove(&f->link);
        if (slot != NULL) {
                slot->call->count = f->count;
                slot->flush = NULL;
                pg_answer(slot, result);
        }
        mem_free(f);
}

static void
flush_row(struct pg_statement *st, const PGresult *r, int row)
{
        struct pg_flush *f = st->whose;
        struct bytes last;
        int64_t gone;

        if (!field_i64(r, row, 0, &gone) || !field_i64(r, row, 1, &st->number))
                st->number = 0;
        else
                f->count += (uint64_t)gone;
        if (field_bytes(r, row, 2, &last) && last.len == sizeof f->last)
                memcpy(f->last, last.at, sizeof f->last);
}

static void
flush_end(struct pg_statement *st, enum pg_end end)
{
        struct pg_flush *f = st->whose;
        bool more = st->number >= PG_STEP_ROWS || end == PG_END_RETRY;

        pg_statement_free(st);
        if (end == PG_END_RETRY && ++f->tries >= PG_TRIES_MAX)
                end = PG_END_ERROR;
        if (end == PG_END_LOST || end == PG_END_ERROR)
                flush_over(f, end == PG_END_LOST ? TIER_DOWN : TIER_FAILED);
        else if (more)
                f->due = true;
        else
                flush_over(f, TIER_ANSWERED);
}

static void
flush_step(struct pg_flush *f)
{
        struct pg_params *p = &f->pg->params;
        struct pg_statement *st =
                pg_statement_new(f->everything ? PG_FLUSH_ALL : PG_FLUSH_SPACE, 0);

        st->whose = f;
        st->row = flush_row;
        st->end = flush_end;
        params_reset(p);
        params_bytes(p,
                     f->everything ? bytes_of(f->last, f->begun ? sizeof f->last : 0) : f->space);
        params_i64(p, f->bound);
        params_i64(p, PG_STEP_ROWS);
        f->begun = true;
        f->due = false;
        pg_statement_send(&f->pg->small, st, p);
}

void
pg_flush_start(struct pg_slot *slot)
{
        struct postgres *pg = slot->pg;
        struct bytes name = slot->call->name_space;
        struct pg_flush *f = mem_zalloc(sizeof *f);

        f->pg = pg;
        f->slot = slot;
        slot->flush = f;
        f->everything = name.at == NULL;
        if (!f->everything) {
                struct bytes space = pg_space(name, f->stored);

                if (space.len > 0 && space.at != f->stored)
                        memcpy(f->stored, space.at, space.len);
                f->space = bytes_of(f->stored, space.len);
        }
        f->bound = (int64_t)(pg->env->now_us + LIMIT_CLOCK_SLACK_US);
        f->due = true;
        list_push(&pg->flushes, &f->link);
        pg_gather_soon(pg);
}

/* ---- turns ---- */

bool
pg_send_chores(struct postgres *pg)
{
        list_each (node, &pg->flushes) {
                struct pg_flush *f = container_of(node, struct pg_flush, link);

                if (f->due) {
                        flush_step(f);
                        return true;
                }
        }
        if (pg->clock_due)
                clock_ask(pg);
        else if (pg->sweep_due)
                sweep_step(pg);
        else
                return false;
        return true;
}

void
pg_chores_advance(struct task *task, struct env *env)
{
        struct postgres *pg = container_of(task, struct postgres, chores);

        if (pg->sweep_timer.fired) {
                pg->sweep_timer.fired = false;
                timer_in(pg, &pg->sweep_timer, about(pg, option_number(env->options, O_l3_sweep)));
                pg->chunks_next = false;
                pg->sweep_due = !pg->sweeping;
        }
        if (pg->clock_timer.fired) {
                pg->clock_timer.fired = false;
                timer_in(pg, &pg->clock_timer, LIMIT_CLOCK_LEARN_US);
                pg->clock_due = env->l2 == NULL;
        }
        pg_gather_soon(pg);
}

void
pg_chores_up(struct postgres *pg)
{
        struct env *env = pg->env;
        uint64_t sweep = option_number(env->options, O_l3_sweep);

        timer_in(pg, &pg->sweep_timer, prng_below(&env->prng, sweep) + 1);
        timer_in(pg, &pg->clock_timer, LIMIT_CLOCK_LEARN_US);
        floors_sync(env, &pg->tier);
        queues_kick(env);
}

void
pg_chores_down(struct postgres *pg)
{
        struct timers *timers = &pg->env->timers;

        timer_cancel(timers, &pg->sweep_timer);
        timer_cancel(timers, &pg->clock_timer);
        pg->sweep_timer.fired = pg->clock_timer.fired = false;
        pg->sweeping = pg->sweep_due = pg->clock_due = false;
        while (!list_empty(&pg->flushes)) /* those between two steps */
                flush_over(container_of(pg->flushes.next, struct pg_flush, link), TIER_DOWN);
}
