/* tests/sim/oracle.c: the judge of random runs, by versions and by the order of time:
 *   - a process never returns what is older than what it had acknowledged before the request came;
 *   - another process, where nothing is cut, not after L1's cap either;
 *   - a write is newer than what was acknowledged before it began;
 *   - a version has one value, its key's;
 *   - NX, XX, EXPIRE and DEL see what is there, wherever it was written, while nobody else writes;
 *   - where nothing is cut, what was written is found;
 *   - every request is answered within its deadline and some slack;
 *   - in the end all processes agree with the tiers, the tiers with each other, on nothing older
 *     than what was acknowledged, and nothing is left over. */
#include "tests/sim/oracle.h"

struct sim_world w;
struct ask asks[ASKS];
unsigned asked, failures, sizes;
bool tracing;
const char *const names[KEYS] = {"a:1", "a:2", "b:1"};

static enum profile profile;
static uint64_t newest[SIM_SERVERS_MAX][KEYS];     /* acknowledged by this process */
static uint64_t stamped[KEYS], acknowledged[KEYS]; /* by a shared tier; or estimated, too */

static void
fail(const struct ask *a, const char *what)
{
        fprintf(stderr,
                "seed %llu mode %s l2 %d l3 %d workers %u profile %d: "
                "ask %d kind %d key %s server %u state %d error %d: %s\n",
                (unsigned long long)w.config.seed, w.config.mode, w.config.l2, w.config.l3,
                w.config.workers, (int)profile, a != NULL ? (int)(a - asks) : -1,
                a != NULL ? (int)a->what : -1, a != NULL ? names[a->key] : "",
                a != NULL ? a->server : 0, a != NULL ? (int)a->answer.state : -1,
                a != NULL ? (int)a->answer.error : -1, what);
        failures++;
}

static bool
is_write(const struct ask *a)
{
        return a->what != ASK_GET;
}

static bool
is_acknowledged(const struct ask *a)
{
        return is_write(a) && a->answer.done && a->answer.state == OP_DONE &&
               a->answer.version != 0;
}

/* Nothing is cut or frozen: every call is answered in time. */
static bool
is_calm(void)
{
        return profile == PROFILE_NONE || profile == PROFILE_EVICT;
}

void
oracle_begin(enum profile p)
{
        profile = p;
        asked = 0;
        memset(newest, 0, sizeof newest);
        memset(stamped, 0, sizeof stamped);
        memset(acknowledged, 0, sizeof acknowledged);
}

struct ask *
oracle_ask(enum what what, unsigned server, unsigned key)
{
        struct ask *a;

        oracle_judge();
        a = &asks[asked++];
        *a = (struct ask){
                .what = what,
                .server = server,
                .process = server / w.config.workers,
                .key = key,
                .stamped = stamped[key],
        };
        a->floor = newest[a->process][key];
        for (unsigned i = 0; is_calm() && i + 1 < asked; i++) {
                const struct ask *b = &asks[i];

                if (b->key == key && is_acknowledged(b) && b->answer.version > a->bound &&
                    b->answer.ended_us + L1_TTL_US + 50 * MS < w.now_us)
                        a->bound = b->answer.version;
        }
        return a;
}

/* ---- what is there, as far as the asks before tell ---- */

enum there { THERE_UNKNOWN, THERE_LIVE, THERE_GONE };

/* The last write of the key before `a`, if it was acknowledged by a shared tier and nothing else
 * was written near it. */
static const struct ask *
last_write(const struct ask *a)
{
        const struct ask *last = NULL;
        /* How far one process' estimate may be from another's. */
        uint64_t apart_us = profile == PROFILE_CLOCK ? 2 * SECOND : 20 * MS;

        for (const struct ask *b = a - 1; b >= asks; b--) {
                if (b->key != a->key || !is_write(b))
                        continue;
                if (!b->answer.done || b->answer.ended_us >= a->answer.began_us)
                        return NULL;
                if (last == NULL) {
                        if (b->answer.state == OP_UNMET || b->answer.state == OP_MISS)
                                continue; /* changed nothing */
                        if (!is_acknowledged(b) || b->answer.estimated)
                                return NULL;
                        last = b;
                } else if (b->answer.ended_us + apart_us >= last->answer.began_us) {
                        return NULL;
                }
        }
        for (const struct ask *b = a + 1; b < asks + asked; b++) {
                if (b->key == a->key && is_write(b))
                        return NULL;
        }
        return last;
}

static enum there
what_is_there(const struct ask *a)
{
        const struct ask *last = last_write(a);

        if (last == NULL || last->hard_us == HARD_UNKNOWN)
                return THERE_UNKNOWN;
        if (a->answer.ended_us + 20 * MS < last->hard_us)
                return THERE_LIVE;
        return a->answer.began_us > last->hard_us + 20 * MS ? THERE_GONE : THERE_UNKNOWN;
}

static void
judge_there(const struct ask *a)
{
        enum there there = what_is_there(a);
        enum op_state state = a->answer.state;
        const struct ask *last = last_write(a);

        if (there == THERE_UNKNOWN || state == OP_ERROR)
                return;
        if (profile == PROFILE_CLOCK && last->hard_us != UINT64_MAX && last->hard_us != 0)
                return; /* whose clock? */
        switch (a->what) {
        case ASK_GET:
                if (is_calm() && there == THERE_LIVE && state == OP_MISS &&
                    last->process == a->process)
                        fail(a, "does not find what was written");
                return;
        case ASK_NX:
                if ((state == OP_DONE) != (there == THERE_GONE))
                        fail(a, "NX did not see what is there");
                return;
        case ASK_XX:
                if ((state == OP_DONE) != (there == THERE_LIVE))
                        fail(a, "XX did not see what is there");
                return;
        case ASK_EXPIRE:
                if ((state == OP_DONE) != (there == THERE_LIVE))
                        fail(a, "EXPIRE did not see what is there");
                return;
        case ASK_DEL:
                /* The reverse may be said: L3 holds the predecessor of what has just expired in
                 * L2. */
                if (is_calm() && there == THERE_LIVE && !a->answer.existed)
                        fail(a, "DEL did not say what was there");
                return;
        default:
                return;
        }
}

/* ---- one answer ---- */

/* The value tells whose it is: "KEY=NUMBER ". */
static void
judge_value(const struct ask *a)
{
        const struct sim_answer *r = &a->answer;
        size_t len = strlen(names[a->key]);
        const struct ask *from = NULL;
        unsigned number;

        if (strncmp(r->value, names[a->key], len) != 0 ||
            sscanf(r->value + len, "=%u ", &number) != 1 || number >= asked) {
                fail(a, "another key's value");
                return;
        }
        if (!is_acknowledged(&asks[number]))
                return; /* of a write that was refused: its version is not known */
        for (const struct ask *b = asks; b < asks + asked; b++) {
                if (b->key != a->key || !is_acknowledged(b) || b->answer.version != r->version)
                        continue;
                if (from != NULL)
                        return; /* two estimates met */
                from = b;
        }
        if (from == NULL || from->what == ASK_EXPIRE)
                return;
        if (from->what == ASK_DEL)
                fail(a, "a deleted value");
        else if (from != &asks[number])
                fail(a, "not the value of that version");
}

static void
judge_read(const struct ask *a)
{
        const struct sim_answer *r = &a->answer;

        if (r->state != OP_HIT && r->state != OP_STALE)
                return;
        if (r->version < a->floor)
                fail(a, "older than what this process had acknowledged");
        if (r->version < a->bound)
                fail(a, "older than L1's lifetime allows");
        judge_value(a);
}

static void
judge_write(const struct ask *a)
{
        const struct sim_answer *r = &a->answer;
        uint64_t *mine = &newest[a->process][a->key];

        if (!is_acknowledged(a))
                return;
        if (r->version <= a->floor)
                fail(a, "not newer than what this process had acknowledged");
        if (!r->estimated && r->version <= a->stamped)
                fail(a, "not newer than what was acknowledged before");
        if (r->version > *mine)
                *mine = r->version;
        if (r->version > acknowledged[a->key])
                acknowledged[a->key] = r->version;
        if (!r->estimated && r->version > stamped[a->key])
                stamped[a->key] = r->version;
}

static void
judge(struct ask *a)
{
        const struct sim_answer *r = &a->answer;

        a->judged = true;
        trace("%10.2f   ask %u -> state %d tier %d error %d version %llu value %.20s\n",
              (double)(r->ended_us - w.began_us) / 1000, (unsigned)(a - asks), r->state, r->tier,
              r->error, (unsigned long long)(r->version - w.began_us), r->value);
        if (r->ended_us - r->began_us > 50 * MS + 600 * MS + (sizes > 1 ? 3 * SECOND : 0))
                fail(a, "answered late");
        /* Many who read and write one key may keep each other busy for all of the deadline. */
        if (is_calm() && r->state == OP_ERROR && r->error != ERR_CONFLICT &&
            r->ended_us - r->began_us < 50 * MS)
                fail(a, "refused, though nothing is wrong");
        if (is_write(a))
                judge_write(a);
        else
                judge_read(a);
        judge_there(a);
}

void
oracle_judge(void)
{
        for (unsigned i = 0; i < asked; i++) {
                if (asks[i].answer.done && !asks[i].judged)
                        judge(&asks[i]);
        }
}

/* ---- the end ---- */

/* Nothing was cut, and no write was refused: one that depends on what is there and got no answer in
 * time is not sent again, though L2 may have it. */
static bool
is_clear(unsigned k)
{
        for (unsigned i = 0; i < asked; i++) {
                if (asks[i].key == k && is_write(&asks[i]) && asks[i].answer.state == OP_ERROR)
                        return false;
        }
        return is_calm();
}

static void
end_rows(unsigned k)
{
        const struct sim_row *l2 = sim_row(&w.l2, bytes_str(names[k]));
        const struct sim_row *l3 = sim_row(&w.l3, bytes_str(names[k]));

        if (w.config.l3 && acknowledged[k] != 0 && (l3 == NULL || l3->version < acknowledged[k]))
                fail(NULL, "L3 has not got what was acknowledged");
        if (!w.config.l3 && acknowledged[k] != 0 && (l2 == NULL || l2->version < acknowledged[k]))
                fail(NULL, "L2 has not got what was acknowledged");
        if (is_clear(k) && l2 != NULL && w.config.l3 &&
            (l3 == NULL || l2->version != l3->version || l2->tombstone != l3->tombstone))
                fail(NULL, "L2 and L3 do not agree");
}

/* What the lowest tier holds and is valid: 0 nothing. */
static uint64_t
end_version(unsigned k)
{
        struct sim_store *s = w.config.l3 ? &w.l3 : &w.l2;
        const struct sim_row *row = sim_row(s, bytes_str(names[k]));

        return row != NULL && !row->tombstone && row->hard_us > w.now_us + 10 * SECOND
                       ? row->version
                       : 0;
}

static void
end_reads(unsigned k)
{
        uint64_t seen = 0, there = end_version(k);

        for (unsigned i = 0; i < w.servers; i++) {
                struct sim_answer a;

                sim_get(&w.server[i], names[k], &a);
                sim_run(&w, SECOND);
                trace("%10.2f at last server %u key %s state %d tier %d version %llu value %.20s\n",
                      (double)(w.now_us - w.began_us) / 1000, i, names[k], a.state, a.tier,
                      (unsigned long long)(a.version - w.began_us), a.value);
                if (!a.done || a.state != OP_HIT) {
                        if (there != 0 && (seen != 0 || is_clear(k)))
                                fail(NULL, "in the end what is there is not found");
                        continue;
                }
                if (a.version < acknowledged[k])
                        fail(NULL, "in the end older than an acknowledged write");
                if (seen != 0 && seen != a.version)
                        fail(NULL, "in the end the servers do not agree");
                seen = a.version;
        }
}

static void
end_leftovers(void)
{
        sim_run(&w, 5 * SECOND);
        for (unsigned i = 0; i < w.servers; i++) {
                struct sim_server *s = &w.server[i];

                if (s->env.flights.count != 0 || s->env.writes.count != 0 ||
                    !list_empty(&s->session.requests) || landing_count(s->env.landing) != 0)
                        fail(NULL, "something is left over");
                if (metric_get(&s->metrics, M_queue_l2) + metric_get(&s->metrics, M_queue_l3) +
                    metric_get(&s->metrics, M_queue_bytes))
                        fail(NULL, "writes still wait");
        }
}

void
oracle_end(void)
{
        sim_run(&w, 4 * SECOND);    /* the last fault ends */
        w.config.delay_max_us = MS; /* no time-outs: what L2 says counts */
        sim_run(&w, 20 * SECOND);   /* faults are over, queues drain, L1's cap passes */
        oracle_judge();
        for (unsigned i = 0; i < asked; i++) {
                if (!asks[i].answer.done)
                        fail(&asks[i], "never answered");
        }
        for (unsigned k = 0; k < KEYS; k++) {
                end_rows(k);
                end_reads(k);
        }
        end_leftovers();
}
