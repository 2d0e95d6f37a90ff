/* postgres_tier: calls come, wait for the end of the turn, time out, are answered. Owns: slots
 * (one a call under way, pooled), the two connections and everything below. Borrows: env, loop,
 * calls and what they point to until they are answered or cancelled. A call that ran out of time
 * leaves its statement, which stays: its result is dropped when it comes, and counted. Limit:
 * PG_WAITING_MAX calls; beyond it TIER_DOWN. Not here: a breaker, retries after a lost
 * connection. */
#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/postgres_inner.h"

static struct postgres *
postgres_of(struct tier *tier)
{
        return container_of(tier, struct postgres, tier);
}

/* ---- slots ---- */

static void slot_expired(struct task *task, struct env *env);

static struct pg_slot *
slot_new(struct postgres *pg, struct tier_call *call)
{
        struct list *node = list_pop(&pg->spare);
        struct pg_slot *slot =
                node != NULL ? container_of(node, struct pg_slot, link) : mem_alloc(sizeof *slot);

        memset(slot, 0, sizeof *slot);
        list_init(&slot->link);
        task_init(&slot->expire, slot_expired);
        slot->pg = pg;
        slot->call = call;
        slot->order = pg->order++;
        call->slot = slot;
        pg->slots++;
        return slot;
}

static void
slot_free(struct pg_slot *slot)
{
        struct postgres *pg = slot->pg;

        timer_cancel(&pg->env->timers, &slot->timer);
        list_remove(&slot->expire.ready);
        pg_slot_detach(slot);
        slot->call->slot = NULL;
        slot->call = NULL;
        pg->slots--;
        list_push(&pg->spare, &slot->link);
}

void
pg_slot_detach(struct pg_slot *slot)
{
        list_remove(&slot->link);
        if (slot->st != NULL)
                slot->st->slots[slot->at] = NULL;
        slot->st = NULL;
}

void
pg_answer(struct pg_slot *slot, enum tier_result result)
{
        struct tier_call *call = slot->call;
        struct postgres *pg = slot->pg;

        if (slot->large != NULL)
                pg_large_abandon(slot);
        if (slot->flush != NULL)
                slot->flush->slot = NULL;
        slot_free(slot);
        if (result == TIER_FAILED)
                metric_add(pg->env->metrics, M_l3_errors, 1);
        call->result = result;
        task_ready(&pg->env->ready, call->owner);
}

static void
slot_expired(struct task *task, struct env *env)
{
        struct pg_slot *slot = container_of(task, struct pg_slot, expire);

        metric_add(env->metrics, M_l3_timeouts, 1);
        if (slot->st != NULL)
                slot->st->late++;
        pg_answer(slot, TIER_TIMED_OUT);
}

void
pg_slot_deadline(struct pg_slot *slot, uint64_t extra_us)
{
        timer_set(&slot->pg->env->timers, &slot->timer, &slot->expire,
                  slot->call->deadline_us + extra_us);
}

struct bytes
pg_space(struct bytes name, uint8_t room[static PG_NAMESPACE_MAX + 24])
{
        if (name.len <= PG_NAMESPACE_MAX)
                return name.len > 0 ? name : bytes_of("", 0);
        room[0] = ':'; /* no namespace has one */
        hash128(name, room + 1);
        return bytes_of(room, 17);
}

/* ---- the turn ---- */

void
pg_gather_soon(struct postgres *pg)
{
        task_ready(&pg->env->ready, &pg->gather);
}

static void
down_all(struct list *slots)
{
        while (!list_empty(slots))
                pg_answer(container_of(slots->next, struct pg_slot, link), TIER_DOWN);
}

/* After those tasks that were ready with it: what a turn brought makes one statement of each
 * kind. */
static void
gather(struct task *task, struct env *env)
{
        static bool (*const send[])(struct postgres *) = {pg_send_gets, pg_send_puts, pg_send_news,
                                                          pg_send_others, pg_send_chores};
        enum { KINDS = sizeof send / sizeof send[0] };
        struct postgres *pg = container_of(task, struct postgres, gather);
        unsigned idle = 0;

        (void)env;
        if (!pg->tier.up) {
                down_all(&pg->gets);
                down_all(&pg->puts);
                down_all(&pg->news);
                down_all(&pg->others);
                return;
        }
        while (idle < KINDS && pg_link_has_room(&pg->small))
                idle = send[pg->turn++ % KINDS](pg) ? 0 : idle + 1;
        pg_link_flush(&pg->small);
}

static void
wait_in_line(struct pg_slot *slot)
{
        struct postgres *pg = slot->pg;
        struct list *line = &pg->others;

        if (slot->call->verb == TIER_GET)
                line = &pg->gets;
        else if (slot->call->verb == TIER_WRITE)
                line = slot->call->kind == WRITE_NEW ? &pg->news : &pg->puts;
        list_push(line, &slot->link);
        pg_gather_soon(pg);
}

void
pg_slot_again(struct pg_slot *slot)
{
        pg_slot_detach(slot);
        if (++slot->tries >= PG_TRIES_MAX)
                pg_answer(slot, TIER_FAILED);
        else if (slot->large != NULL)
                pg_large_raced(slot);
        else
                wait_in_line(slot);
}

static void
refuse(struct postgres *pg, struct tier_call *call)
{
        call->slot = NULL;
        call->result = TIER_DOWN;
        task_ready(&pg->env->ready, call->owner);
}

static void
start(struct tier *tier, struct tier_call *call)
{
        struct postgres *pg = postgres_of(tier);
        struct pg_slot *slot;

        if (!tier->up || pg->slots >= PG_WAITING_MAX) {
                refuse(pg, call);
                return;
        }
        slot = slot_new(pg, call);
        pg_slot_deadline(slot, 0);
        if (call->verb == TIER_GET || call->verb == TIER_WRITE || call->verb == TIER_TAKE)
                hash128(call->key.text, slot->id);
        if (call->verb == TIER_WRITE &&
            call->entry->blob->len - ENVELOPE_PREFIX > LIMIT_CHUNK_BYTES)
                pg_large_write(slot);
        else if (call->verb == TIER_FLUSH)
                pg_flush_start(slot);
        else
                wait_in_line(slot);
}

static void
cancel(struct tier *tier, struct tier_call *call)
{
        struct pg_slot *slot = call->slot;

        (void)tier;
        must(slot != NULL && slot->call == call);
        if (slot->large != NULL)
                pg_large_abandon(slot);
        if (slot->flush != NULL)
                slot->flush->slot = NULL;
        slot_free(slot);
}

static void
describe(struct tier *tier, struct tier_state *out)
{
        struct postgres *pg = postgres_of(tier);

        out->up = tier->up;
        out->what = pg->what;
        out->trouble = pg->trouble;
        out->in_flight = pg->slots;
        out->connects = pg->connects;
        out->up_since_us = tier->up ? pg->up_since_us : 0;
        out->last_rtt_us = pg->rtt_us;
}

static const struct tier_ops operations = {start, cancel, describe};

/* ---- life ---- */

static void
texts_fill(struct postgres *pg)
{
        for (unsigned q = 0; q < PG_QUERY_COUNT; q++) {
                pg->sql[q] = pg_text_fill(pg_queries[q].text, &pg->config);
                snprintf(pg->name[q], sizeof pg->name[q], "pn_%016llx",
                         (unsigned long long)hash64(bytes_str(pg->sql[q]), 0));
        }
}

struct tier *
postgres_tier_create(struct env *env, struct loop *loop, char why[static 256])
{
        struct postgres *pg = mem_zalloc(sizeof *pg);
        struct list *lists[] = {&pg->gets,  &pg->puts,          &pg->news,         &pg->others,
                                &pg->spare, &pg->large_waiting, &pg->large_active, &pg->flushes};

        if (!pg_config_read(&pg->config, env->options, why)) {
                mem_free(pg);
                return NULL;
        }
        pg->tier.ops = &operations;
        pg->env = env;
        pg->loop = loop;
        for (unsigned i = 0; i < sizeof lists / sizeof lists[0]; i++)
                list_init(lists[i]);
        task_init(&pg->gather, gather);
        task_init(&pg->large_task, pg_large_advance);
        task_init(&pg->chores, pg_chores_advance);
        texts_fill(pg);
        snprintf(pg->trouble, sizeof pg->trouble, "not connected yet");
        pg_link_init(&pg->small, pg, false);
        pg_link_init(&pg->large, pg, true);
        pg_link_open(&pg->small);
        return &pg->tier;
}

void
postgres_tier_destroy(struct tier *tier)
{
        struct postgres *pg;
        struct list *node;

        if (tier == NULL)
                return;
        pg = postgres_of(tier);
        pg->told_down = true; /* nothing to say about it */
        if (pg->small.state != LINK_RESOLVING)
                pg_link_drop(&pg->small, pg->trouble);
        if (pg->large.state == LINK_UP)
                pg_link_drop(&pg->large, pg->trouble);
        pg->tier.up = false;
        gather(&pg->gather, pg->env);
        pg_large_link_down(pg);
        pg_link_deinit(&pg->small);
        pg_link_deinit(&pg->large);
        pg_chores_down(pg);
        list_remove(&pg->gather.ready);
        list_remove(&pg->large_task.ready);
        list_remove(&pg->chores.ready);
        while ((node = list_pop(&pg->spare)) != NULL)
                mem_free(container_of(node, struct pg_slot, link));
        for (unsigned q = 0; q < PG_QUERY_COUNT; q++)
                mem_free(pg->sql[q]);
        buf_free(&pg->params.bytes);
        pg_config_free(&pg->config);
        mem_free(pg);
}
