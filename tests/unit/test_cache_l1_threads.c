/* Two threads on one L1, for the thread sanitizer and for the counts: a plain program, for
 * Criterion and that sanitizer do not go together. Exit status 0 is passed. */
#include <pthread.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/prng.h"
#include "cache/l1.h"

enum { THREADS = 2, TURNS = 40000, KEYS = 500, BUDGET = 300000, SIZE_MAX_BYTES = 3000 };

struct worker {
        pthread_t thread;
        struct l1 *l1;
        struct prng prng;
        uint64_t hits;
};

static struct key
key_number(unsigned n, char text[static 16])
{
        snprintf(text, 16, "ns%u:%u", n % 3, n);
        return key_of(bytes_str(text), 1);
}

static void
put_random(struct worker *w, struct key key, uint64_t now_us)
{
        static const uint8_t zeros[SIZE_MAX_BYTES];
        struct meta m = {.version = prng_below(&w->prng, 1000) + 1, .hard_us = UINT64_MAX};
        /* Some expire, some stay until they are evicted, however the threads are interleaved. */
        uint64_t until_us = prng_below(&w->prng, 2) ? now_us + 20 : UINT64_MAX;
        struct entry e;

        m.raw_len = (uint32_t)prng_below(&w->prng, SIZE_MAX_BYTES);
        must(envelope_seal(key.text, &m, NULL, bytes_of(zeros, m.raw_len), &e) == OK);
        must(l1_put(w->l1, key, &e, until_us, L1_UNSURE, now_us) != L1_TOO_BIG);
        entry_release(&e);
}

static void
get(struct worker *w, struct key key, uint64_t now_us)
{
        struct l1_found found;

        if (!l1_get(w->l1, key, now_us, &found))
                return;
        must(bytes_equal(bytes_from(blob_bytes(found.entry.blob), found.entry.payload_at),
                         entry_payload(&found.entry)));
        w->hits++;
        entry_release(&found.entry);
}

static void *
work(void *argument)
{
        struct worker *w = argument;
        struct bytes name_space = bytes_str("ns1");
        struct l1_stats stats;
        struct meta m;
        unsigned flags;
        char text[16];

        for (uint64_t now_us = 1; now_us < TURNS; now_us++) {
                struct key key = key_number((unsigned)prng_below(&w->prng, KEYS), text);

                switch (prng_below(&w->prng, 12)) {
                case 0:
                        l1_confirm(w->l1, key, 5);
                        (void)l1_remove_exact(w->l1, key, prng_below(&w->prng, 1000), 0);
                        break;
                case 1:
                        (void)l1_remove_older(w->l1, key, prng_below(&w->prng, 1000));
                        break;
                case 2:
                        (void)l1_sweep(w->l1, now_us, 20);
                        break;
                case 3:
                        (void)l1_peek(w->l1, key, now_us, &m, &flags);
                        if (now_us % 1000 == 0)
                                (void)l1_clear(w->l1, &name_space);
                        l1_stats(w->l1, &stats);
                        must(stats.bytes <= BUDGET);
                        break;
                case 4:
                case 5:
                case 6:
                case 7:
                        put_random(w, key, now_us);
                        break;
                default:
                        get(w, key, now_us);
                }
        }
        return NULL;
}

int
main(void)
{
        struct l1 *l1 = l1_create((struct l1_config){.bytes_max = BUDGET, .partitions = 4});
        struct worker workers[THREADS];
        struct l1_stats stats;

        for (unsigned i = 0; i < THREADS; i++) {
                workers[i] = (struct worker){.l1 = l1, .prng = {i}};
                must(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
                must(pthread_join(workers[i].thread, NULL) == 0);
                must(workers[i].hits > 0);
        }
        l1_stats(l1, &stats);
        must(stats.evicted > 0 && stats.expired > 0);
        (void)l1_clear(l1, NULL);
        l1_stats(l1, &stats);
        must(stats.entries == 0 && stats.raw_bytes == 0 && stats.stored_bytes == 0);
        l1_destroy(l1);
        must(mem_in_use() == 0);
        return 0;
}
