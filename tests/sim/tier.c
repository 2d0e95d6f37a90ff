/* tests/sim/tier.c: a simulated lower tier: the rules of request/tier.h over a small table, with
 * delays, in the order of a connection. Not here: what a real Redis or PostgreSQL does beyond the
 * contract (tests/tiers/ holds those to the same rules). */
#include "tests/sim/world.h"

#include <stdio.h>

#include "base/mem.h"

struct sim_call { /* one command on its way there and back */
        struct sim_tier *tier;
        struct tier_call *call; /* NULL once timed out, cancelled, or its connection broke */
        struct tier_call asked; /* as it was sent */
        struct blob *sealed;
        uint8_t key[64];
        size_t key_len;
        struct meta meta;
        unsigned line; /* 1: the connection of large values */
        uint64_t generation;
        struct tier_call answer;
        struct task timeout;
};

struct sim_row *
sim_row(struct sim_store *s, struct bytes key)
{
        for (unsigned i = 0; i < SIM_KEYS_MAX; i++) {
                if (s->rows[i].used &&
                    bytes_equal(bytes_of(s->rows[i].key, s->rows[i].key_len), key))
                        return &s->rows[i];
        }
        return NULL;
}

void
sim_forget(struct sim_store *s, struct bytes key)
{
        struct sim_row *row = sim_row(s, key);

        if (row == NULL)
                return;
        blob_unref(row->blob);
        *row = (struct sim_row){0};
}

static struct sim_row *
row_make(struct sim_store *s, struct bytes key)
{
        struct sim_row *row = sim_row(s, key);

        for (unsigned i = 0; row == NULL && i < SIM_KEYS_MAX; i++) {
                if (!s->rows[i].used)
                        row = &s->rows[i];
        }
        must(row != NULL && key.len <= sizeof row->key);
        row->used = true;
        memcpy(row->key, key.at, key.len);
        row->key_len = key.len;
        return row;
}

void
sim_empty(struct sim_store *s)
{
        for (unsigned i = 0; i < SIM_KEYS_MAX; i++) {
                blob_unref(s->rows[i].blob);
                s->rows[i] = (struct sim_row){0};
        }
        s->floors_count = 0;
}

void
sim_copy(struct sim_store *to, const struct sim_store *from)
{
        sim_empty(to);
        for (unsigned i = 0; i < SIM_KEYS_MAX; i++) {
                to->rows[i] = from->rows[i];
                if (to->rows[i].blob != NULL)
                        blob_ref(to->rows[i].blob);
        }
        memcpy(to->floors, from->floors, sizeof to->floors);
        to->floors_count = from->floors_count;
}

static uint64_t
above(uint64_t version, uint64_t floor)
{
        return version > floor ? version : floor + 1;
}

static void
execute_write(struct sim_call *sc, struct sim_store *s, uint64_t now)
{
        const struct tier_call *q = &sc->asked;
        struct tier_call *a = &sc->answer;
        struct bytes key = bytes_of(sc->key, sc->key_len);
        struct sim_row *row = sim_row(s, key);
        uint64_t time = now + (uint64_t)s->clock_offset_us;
        uint64_t version = q->version;
        bool live;

        if (row != NULL && row->keep_us <= time) {
                sim_forget(s, key);
                row = NULL;
        }
        live = row != NULL && !row->tombstone && row->hard_us > time;
        a->existed = live;
        if (q->kind == WRITE_NEW) {
                if (q->until_us != 0 && time > q->until_us && !s->broken.no_late) {
                        a->outcome = WRITE_LATE;
                        a->found_version = time;
                        return;
                }
                if (q->expect != EXPECT_ANY && q->expect != (live ? row->version : EXPECT_ABSENT)) {
                        a->outcome = WRITE_CONFLICT;
                        a->found_version = live ? row->version : 0;
                        return;
                }
                if (time + LIMIT_CLOCK_SLACK_US < q->estimate_us && !s->broken.no_estimate)
                        time = q->estimate_us - LIMIT_CLOCK_SLACK_US;
                version = above(time, q->known_us);
                if (row != NULL && !s->broken.no_above_stored)
                        version = above(version, row->version);
        } else if (row != NULL && row->version >= version &&
                   !(q->kind == WRITE_PROMOTED && s->broken.no_compare) &&
                   !(q->kind == WRITE_PROMOTED && q->replid_strict && row->replid != s->replid)) {
                bool same = row->version == version && row->origin == sc->meta.origin;

                a->outcome = same ? WRITE_STORED : WRITE_LOST;
                a->found_version = row->version;
                return;
        }
        row = row_make(s, key);
        blob_unref(row->blob);
        row->blob = blob_copy(blob_bytes(sc->sealed));
        put_u64(row->blob->at, version);
        row->version = version;
        row->origin = sc->meta.origin;
        row->replid = sc->meta.replid;
        row->hard_us = sc->meta.hard_us;
        row->keep_us = q->keep_until_us;
        row->tombstone = (sc->meta.flags & ENTRY_TOMBSTONE) != 0;
        a->outcome = WRITE_STORED;
        a->found_version = version;
}

/* As redis_scripts.c and postgres_sql.c do it: the floors of namespaces, one after the other. */
static void
execute_floors(struct sim_call *sc, const struct sim_store *s)
{
        uint8_t all[SIM_FLOORS_MAX * (2 + 64 + 8)], *at = all;

        for (size_t i = 0; i < s->floors_count; i++) {
                put_u16(at, (uint16_t)s->floors[i].len);
                memcpy(at + 2, s->floors[i].name, s->floors[i].len);
                put_u64(at + 2 + s->floors[i].len, s->floors[i].version);
                at += 2 + s->floors[i].len + 8;
        }
        sc->answer.found = blob_copy(bytes_of(all, (size_t)(at - all)));
}

static void
execute_raise(struct sim_call *sc, struct sim_store *s)
{
        size_t i = 0;

        while (i < s->floors_count && !bytes_equal(bytes_of(s->floors[i].name, s->floors[i].len),
                                                   bytes_of(sc->key, sc->key_len)))
                i++;
        if (i == s->floors_count) {
                must(i < SIM_FLOORS_MAX);
                s->floors_count++;
                s->floors[i].len = sc->key_len;
                s->floors[i].version = 0;
                memcpy(s->floors[i].name, sc->key, sc->key_len);
        }
        if (s->floors[i].version < sc->asked.version)
                s->floors[i].version = sc->asked.version;
}

static void
execute_flush(struct sim_call *sc, struct sim_store *s)
{
        for (unsigned i = 0; i < SIM_KEYS_MAX; i++) {
                if (!s->rows[i].used)
                        continue;
                sc->answer.count++;
                sim_forget(s, bytes_of(s->rows[i].key, s->rows[i].key_len));
        }
}

static void
execute_verb(struct sim_call *sc, struct sim_store *s, struct bytes key, struct sim_row *row,
             uint64_t now)
{
        switch (sc->asked.verb) {
        case TIER_GET:
                if (row != NULL && row->keep_us > now + (uint64_t)s->clock_offset_us)
                        sc->answer.found = blob_copy(blob_bytes(row->blob));
                return;
        case TIER_WRITE:
                execute_write(sc, s, now);
                return;
        case TIER_TAKE:
                if (row != NULL && row->version == sc->asked.version &&
                    row->origin == sc->asked.origin)
                        sim_forget(s, key);
                return;
        case TIER_FLUSH:
                execute_flush(sc, s);
                return;
        case TIER_FLOORS:
                execute_floors(sc, s);
                return;
        case TIER_RAISE:
                execute_raise(sc, s);
                return;
        }
}

static void
execute(struct sim_call *sc, uint64_t now)
{
        struct sim_store *s = sc->tier->store;
        struct bytes key = bytes_of(sc->key, sc->key_len);
        struct sim_row *row = sim_row(s, key);

        sc->answer.result = TIER_ANSWERED;
        s->asked[sc->asked.verb]++;
        execute_verb(sc, s, key, row, now);
        if (sc->tier->world->trace)
                fprintf(stderr,
                        "             %s verb %d kind %d key %.*s version %llu from %llu -> "
                        "outcome %d version %llu found %d\n",
                        s == &sc->tier->world->l2 ? "l2" : "l3", sc->asked.verb, sc->asked.kind,
                        (int)key.len, (const char *)key.at,
                        (unsigned long long)(sc->asked.version - sc->tier->world->began_us),
                        (unsigned long long)sc->meta.origin, sc->answer.outcome,
                        (unsigned long long)(sc->answer.found_version - sc->tier->world->began_us),
                        sc->answer.found != NULL);
}

/* ---- the way there and back ---- */

static void
call_free(struct sim_call *sc)
{
        blob_unref(sc->sealed);
        mem_free(sc);
}

static void
call_end(struct sim_call *sc, enum tier_result result)
{
        struct tier_call *c = sc->call;

        timer_cancel(&sc->tier->env->timers, &c->timer);
        c->slot = NULL;
        c->result = result;
        task_ready(&sc->tier->env->ready, c->owner);
        sc->call = NULL;
}

/* The tier named its time, some of which has passed since. */
static void
sim_learn(struct sim_tier *t, uint64_t tier_us, uint64_t mono_us)
{
        shared_clock_learn(&t->env->clock, tier_us, mono_us, mono_us, mono_us);
}

static void
call_back(struct sim_world *w, void *with)
{
        struct sim_call *sc = with;
        struct tier_call *c = sc->call;

        if (c == NULL || sc->generation != sc->tier->generation) {
                if (c != NULL)
                        call_end(sc, TIER_DOWN);
                sc->tier->late++;
                blob_unref(sc->answer.found);
        } else {
                sc->tier->head.heard_us = w->now_us;
                if (sc->asked.verb == TIER_WRITE && sc->answer.outcome == WRITE_LATE)
                        sim_learn(sc->tier, sc->answer.found_version, w->now_us);
                c->found = sc->answer.found;
                c->outcome = sc->answer.outcome;
                c->found_version = sc->answer.found_version;
                c->existed = sc->answer.existed;
                c->count = sc->answer.count;
                call_end(sc, TIER_ANSWERED);
        }
        call_free(sc);
}

static uint64_t
delay(struct sim_world *w)
{
        return w->delays_off ? w->config.delay_max_us
                             : 50 + prng_below(&w->prng, w->config.delay_max_us);
}

static void
call_arrives(struct sim_world *w, void *with)
{
        struct sim_call *sc = with;
        struct sim_tier *t = sc->tier;
        uint64_t at, *back;

        if (t->store->frozen_until_us > w->now_us) {
                sim_after(w, t->store->frozen_until_us - w->now_us, call_arrives, sc);
                return;
        }
        /* What was sent on a connection that broke arrives half of the time. */
        if (sc->generation == t->generation || prng_below(&w->prng, 2) == 0)
                execute(sc, w->now_us);
        back = &t->back_us[sc->line];
        at = w->now_us + delay(w);
        *back = at > *back ? at : *back + 1;
        sim_after(w, *back - w->now_us, call_back, sc);
}

static void
timeout_advance(struct task *task, struct env *env)
{
        struct sim_call *sc = container_of(task, struct sim_call, timeout);

        (void)env;
        if (sc->call != NULL)
                call_end(sc, TIER_TIMED_OUT);
}

static void
down_advance(struct sim_world *w, void *with)
{
        struct sim_call *sc = with;

        (void)w;
        if (sc->call != NULL)
                call_end(sc, TIER_DOWN);
        call_free(sc);
}

static void
sim_start(struct tier *tier, struct tier_call *call)
{
        struct sim_tier *t = container_of(tier, struct sim_tier, head);
        struct sim_call *sc = mem_zalloc(sizeof *sc);
        struct bytes key = call->verb == TIER_RAISE ? call->name_space : call->key.text;
        uint64_t at, *out;

        sc->tier = t;
        sc->call = call;
        sc->asked = *call;
        sc->generation = t->generation;
        call->slot = sc;
        must(key.len <= sizeof sc->key);
        if (key.len > 0)
                memcpy(sc->key, key.at, key.len);
        sc->key_len = key.len;
        if (call->entry != NULL) {
                sc->sealed = blob_ref(call->entry->blob);
                sc->meta = call->entry->meta;
                sc->line = sc->sealed->len > LIMIT_CHUNK_BYTES;
        }
        if (!t->head.up) {
                sim_after(t->world, 10, down_advance, sc);
                return;
        }
        task_init(&sc->timeout, timeout_advance);
        timer_set(&t->env->timers, &call->timer, &sc->timeout, call->deadline_us);
        at = t->world->now_us + delay(t->world) + (sc->line > 0 ? t->world->large_us : 0);
        out = &t->out_us[sc->line];
        *out = at > *out ? at : *out + 1;
        sim_after(t->world, *out - t->world->now_us, call_arrives, sc);
}

static void
sim_cancel(struct tier *tier, struct tier_call *call)
{
        struct sim_tier *t = container_of(tier, struct sim_tier, head);
        struct sim_call *sc = call->slot;

        timer_cancel(&t->env->timers, &call->timer);
        sc->call = NULL;
}

static void
sim_describe(struct tier *tier, struct tier_state *out)
{
        *out = (struct tier_state){.up = tier->up, .what = "simulated", .trouble = ""};
}

static const struct tier_ops sim_ops = {sim_start, sim_cancel, sim_describe};

void
sim_tier_init(struct sim_tier *t, struct sim_world *w, struct env *env, struct sim_store *store);

void
sim_tier_init(struct sim_tier *t, struct sim_world *w, struct env *env, struct sim_store *store)
{
        t->head.ops = &sim_ops;
        t->head.up = true;
        t->head.replid = store->replid;
        t->head.heard_us = w->now_us;
        t->world = w;
        t->env = env;
        t->store = store;
}

static void
tier_up(struct sim_world *w, void *with)
{
        struct sim_tier *t = with;

        if (t->down_until_us > w->now_us)
                return;
        if (t->env->l2 != &t->head && t->env->l3 != &t->head)
                return; /* not configured */
        t->head.up = true;
        t->head.replid = t->store->replid;
        env_clock(t->env, w->now_us, w->now_us); /* a turn begins */
        floors_sync(t->env, &t->head);
        queues_kick(t->env);
}

void
sim_cut(struct sim_world *w, struct sim_tier *t, uint64_t for_us)
{
        t->head.up = false;
        t->generation++;
        t->down_until_us = w->now_us + for_us;
        sim_after(w, for_us, tier_up, t);
}

void
sim_freeze(struct sim_world *w, struct sim_store *s, uint64_t for_us)
{
        /* Never shorter: what waits already keeps its place. */
        if (s->frozen_until_us < w->now_us + for_us)
                s->frozen_until_us = w->now_us + for_us;
}

void
sim_fail_over(struct sim_world *w, struct sim_store *old)
{
        if (old != NULL)
                sim_copy(&w->l2, old);
        else
                sim_empty(&w->l2);
        w->l2.replid++;
        for (unsigned i = 0; i < w->servers; i++)
                sim_cut(w, &w->server[i].l2, 1 + prng_below(&w->prng, 20000));
}
