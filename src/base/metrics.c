/* metrics: the rows of def/metrics.def, and sums over workers. Owns nothing; each worker owns its
 * struct. Not here: how INFO and /metrics look (server). */
#include "base/metrics.h"

const struct metric_row metric_rows[METRIC_COUNT] = {
#define METRIC(field, family, labels, kind, help) \
        [M_##field] = {#field, labels, #family, help, METRIC_##kind},
#include "def/metrics.def"
#undef METRIC
};

uint64_t
metric_sum(struct metrics *const *all, size_t count, enum metric id)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < count; i++)
                sum += metric_get(all[i], id);
        return sum;
}
