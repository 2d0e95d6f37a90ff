/* tier_harness: see tier_harness.h. Owns one test's world at a time, not its tier. */
#include "tier_harness.h"

#include <string.h>

#include "io/clock_os.h"
#include "request/floors.h"
#include "request/queues.h"

/* ---- TAP ---- */

static const char *case_name, *case_way;
static unsigned case_count, case_failures, all_failures;

bool
check_that(bool fine, const char *what, const char *file, int line)
{
        if (!fine && case_failures++ < 10)
                printf("# %s:%d: not true: %s\n", file, line, what);
        return fine;
}

bool
check_equal(uint64_t a, uint64_t b, const char *what, const char *file, int line)
{
        if (a != b && case_failures++ < 10)
                printf("# %s:%d: not true: %s (%llu, %llu)\n", file, line, what,
                       (unsigned long long)a, (unsigned long long)b);
        return a == b;
}

void
case_begin(const char *name, const char *way)
{
        case_name = name;
        case_way = way;
        case_failures = 0;
        fprintf(stderr, "# %s [%s]\n", name, way);
}

void
case_end(void)
{
        printf("%sok %u - %s [%s]\n", case_failures ? "not " : "", ++case_count, case_name,
               case_way);
        fflush(stdout);
        all_failures += case_failures > 0;
}

void
case_skip(const char *name, const char *why)
{
        printf("ok %u - %s # skip %s\n", ++case_count, name, why);
}

void
cases_each(const struct test_case *cases, const char *only, struct bench *b, const char *way)
{
        for (const struct test_case *c = cases; c->name != NULL; c++) {
                if ((c->direct_only && b->pooled) ||
                    (only != NULL && strncmp(c->name, only, strlen(only)) != 0))
                        continue;
                case_begin(c->name, way);
                c->run(b);
                case_end();
        }
}

int
cases_end(void)
{
        printf("1..%u\n", case_count);
        return all_failures > 0;
}

bool
loop_works(enum io_choice io)
{
        struct loop_config config = {.choice = io, .connections_max = 4};
        struct metrics metrics = {0};
        struct loop *loop;
        char why[256];

        config.metrics = &metrics;
        if (loop_create(config, &loop, why) == OK) {
                loop_destroy(loop);
                return true;
        }
        case_skip("loop", why);
        return false;
}

/* ---- the world ---- */

static struct bench *running;

void
floors_sync(struct env *env, struct tier *tier)
{
        must(env == &running->env && tier->up);
        running->synced++;
}

void
queues_kick(struct env *env)
{
        must(env == &running->env);
        running->kicked++;
}

static void
offload_here(struct env *env, struct job *job)
{
        job->work(job);
        task_ready(&env->ready, job->owner);
}

void
bench_set(struct bench *b, enum option_id id, const char *text)
{
        char why[256];

        must(options_set(&b->options, id, bytes_str(text), why));
}

void
bench_init(struct bench *b, enum io_choice io)
{
        struct loop_config config = {.choice = io, .connections_max = 64, .metrics = &b->metrics};
        char why[256];

        *b = (struct bench){0};
        running = b;
        must(loop_create(config, &b->loop, why) == OK);
        options_init(&b->options);
        list_init(&b->env.ready);
        list_init(&b->env.flush);
        list_init(&b->env.resume);
        b->env.count = 1;
        b->env.options = &b->options;
        b->env.metrics = &b->metrics;
        b->env.origin = 0x1122334455667788;
        b->env.offload = offload_here;
        b->env.prng.state = 7;
        shared_clock_init(&b->env.clock, clock_mono_us(), clock_wall_us());
        env_clock(&b->env, clock_mono_us(), clock_wall_us());
}

void
bench_deinit(struct bench *b)
{
        for (int i = 0; i < 20; i++)
                bench_turn(b, 1000);
        loop_destroy(b->loop);
        timers_free(&b->env.timers);
        options_deinit(&b->options);
}

void
bench_turn(struct bench *b, uint64_t longest_us)
{
        uint64_t next_us = timers_next(&b->env.timers), now_us = clock_mono_us();

        if (!list_empty(&b->env.ready))
                longest_us = 0;
        if (next_us < now_us + longest_us)
                longest_us = next_us > now_us ? next_us - now_us : 0;
        loop_wait(b->loop, longest_us);
        env_clock(&b->env, clock_mono_us(), clock_wall_us());
        timers_fire(&b->env.timers, b->env.mono_us, &b->env.ready);
        env_advance(&b->env);
}

void
bench_run(struct bench *b, uint64_t us)
{
        uint64_t end_us = clock_mono_us() + us, now_us;

        while ((now_us = clock_mono_us()) < end_us)
                bench_turn(b, end_us - now_us);
}

bool
bench_until(struct bench *b, const bool *what, uint64_t us)
{
        uint64_t end_us = clock_mono_us() + us;

        while (!*what && clock_mono_us() < end_us)
                bench_turn(b, 10000);
        return *what;
}

bool
bench_up(struct bench *b, struct tier *tier, bool up, uint64_t us)
{
        uint64_t end_us = clock_mono_us() + us;

        while (tier->up != up && clock_mono_us() < end_us)
                bench_turn(b, 10000);
        return tier->up == up;
}

struct key
key_text(const char *text)
{
        return key_of(bytes_str(text), 1);
}

static void
ask_advance(struct task *task, struct env *env)
{
        struct ask *a = container_of(task, struct ask, task);

        must(!a->done && a->call.result != TIER_PENDING);
        a->done = true;
        a->took_us = env->mono_us - a->started_us;
}

void
ask_start(struct bench *b, struct tier *tier, struct ask *a, uint64_t deadline_us)
{
        env_clock(&b->env, clock_mono_us(), clock_wall_us());
        task_init(&a->task, ask_advance);
        a->done = false;
        a->started_us = b->env.mono_us;
        a->call.owner = &a->task;
        a->call.deadline_us = b->env.mono_us + deadline_us;
        if (b->extra && a->call.verb == TIER_WRITE)
                a->call.deadline_us += tier_extra_us(a->call.entry->blob->len);
        tier_start(tier, &a->call);
}

enum tier_result
ask_wait(struct bench *b, struct ask *a)
{
        must(bench_until(b, &a->done, 120 * SECOND));
        return a->call.result;
}

enum tier_result
ask_now(struct bench *b, struct ask *a)
{
        ask_start(b, b->tier, a, b->within_us);
        return ask_wait(b, a);
}

/* ---- entries ---- */

void
entry_make_until(struct bench *b, struct entry *e, const char *key, size_t len, unsigned seed,
                 uint8_t flags, uint64_t hard_us)
{
        struct prng prng = {.state = seed};
        struct meta m = {.origin = b->env.origin, .replid = b->tier->replid, .flags = flags};
        struct blob *value = blob_new(len);

        for (size_t i = 0; i < len; i++)
                value->at[i] = (uint8_t)(i % 8 == 0 ? prng_next(&prng) : value->at[i - 1] * 5u + 1);
        m.hard_us = m.soft_us = hard_us;
        m.raw_len = (uint32_t)len;
        must(envelope_seal(bytes_str(key), &m, NULL, blob_bytes(value), e) == OK);
        blob_unref(value);
}

void
entry_make(struct bench *b, struct entry *e, const char *key, size_t len, unsigned seed,
           uint8_t flags)
{
        entry_make_until(b, e, key, len, seed, flags, UINT64_MAX);
}

void
write_new(struct bench *b, struct ask *a, const char *key, const struct entry *e)
{
        *a = (struct ask){.call = {
                                  .verb = TIER_WRITE,
                                  .key = key_text(key),
                                  .entry = e,
                                  .kind = WRITE_NEW,
                                  .expect = EXPECT_ANY,
                                  .estimate_us = b->env.now_us,
                                  .keep_until_us = UINT64_MAX,
                          }};
}

void
write_given(struct bench *b, struct ask *a, const char *key, const struct entry *e,
            enum write_kind kind, uint64_t version)
{
        write_new(b, a, key, e);
        a->call.kind = kind;
        a->call.version = version;
        a->call.expect = 0;
}

void
write_stamped(struct bench *b, struct ask *a, const char *key, const struct entry *e,
              uint64_t version)
{
        write_given(b, a, key, e, WRITE_STAMPED, version);
}

void
get_key(struct bench *b, struct ask *a, const char *key)
{
        (void)b;
        *a = (struct ask){.call = {.verb = TIER_GET, .key = key_text(key)}};
}

bool
found_is(struct bench *b, struct ask *a, const char *key, const struct entry *e, uint64_t version)
{
        struct blob *found = a->call.found;
        struct entry opened;
        bool same;

        a->call.found = NULL;
        if (!check(found != NULL))
                return false;
        if (!check(envelope_open(bytes_str(key), found, option_number(&b->options, O_value_max),
                                 &opened) == OK)) {
                blob_unref(found);
                return false;
        }
        same = check_is(opened.meta.version, version) &&
               check(bytes_equal(entry_payload(&opened), entry_payload(e)));
        entry_release(&opened);
        return same;
}

bool
stands(struct bench *b, const char *key, const struct entry *e, uint64_t version)
{
        struct ask a;

        get_key(b, &a, key);
        return check_is(ask_now(b, &a), TIER_ANSWERED) && found_is(b, &a, key, e, version);
}

bool
absent(struct bench *b, const char *key)
{
        struct ask a;
        bool none;

        get_key(b, &a, key);
        none = check_is(ask_now(b, &a), TIER_ANSWERED) && check(a.call.found == NULL);
        blob_unref(a.call.found);
        return none;
}

uint64_t
store(struct bench *b, const char *key, const struct entry *e)
{
        struct ask a;

        write_new(b, &a, key, e);
        check_is(ask_now(b, &a), TIER_ANSWERED);
        check_is(a.call.outcome, WRITE_STORED);
        return a.call.found_version;
}
