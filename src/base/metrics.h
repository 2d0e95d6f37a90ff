/* base/metrics.h: counters and gauges. Rows: def/metrics.def. One dense struct a worker, written by
 * that worker alone with relaxed atomics, summed by whoever reads. */
#ifndef PN_BASE_METRICS_H
#define PN_BASE_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum metric {
#define METRIC(field, family, labels, kind, help) M_##field,
#include "def/metrics.def"
#undef METRIC
        METRIC_COUNT
};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric_row {
        const char *name;   /* hits_l1; rows of one Prometheus family differ in labels */
        const char *labels; /* tier="l1" or "" */
        const char *family; /* the Prometheus name: pannier_<family>, counters end in _total */
        const char *help;
        enum metric_kind kind;
};
extern const struct metric_row metric_rows[METRIC_COUNT];

struct metrics {
        _Atomic uint64_t value[METRIC_COUNT];
};

static inline void
metric_add(struct metrics *m, enum metric id, uint64_t n)
{
        atomic_store_explicit(&m->value[id],
                              atomic_load_explicit(&m->value[id], memory_order_relaxed) + n,
                              memory_order_relaxed);
}
static inline void
metric_sub(struct metrics *m, enum metric id, uint64_t n)
{
        metric_add(m, id, (uint64_t)0 - n);
}
static inline void
metric_set(struct metrics *m, enum metric id, uint64_t n)
{
        atomic_store_explicit(&m->value[id], n, memory_order_relaxed);
}
static inline uint64_t
metric_get(const struct metrics *m, enum metric id)
{
        return atomic_load_explicit(&m->value[id], memory_order_relaxed);
}
/* Over `count` workers. */
uint64_t metric_sum(struct metrics *const *all, size_t count, enum metric id);

#endif
