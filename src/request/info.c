/* request/info.c: INFO: what Redis' tools parse, under their names, and what is Pannier's own.
 * Reads counters of all workers; tiers are told as this worker sees them. Owns nothing.
 * Not here: numbers that would need a system call; they are left out. */
#include "request/info.h"

#include <inttypes.h>

#include "base/mem.h"
#include "base/units.h"

static uint64_t
sum(const struct env *env, enum metric id)
{
        return metric_sum(env->all_metrics, env->count, id);
}

static void
line_number(struct buf *out, const char *name, uint64_t n)
{
        buf_printf(out, "%s:%" PRIu64 "\r\n", name, n);
}

static void
line_text(struct buf *out, const char *name, const char *text)
{
        buf_printf(out, "%s:%s\r\n", name, text != NULL ? text : "");
}

static void
line_metric(struct buf *out, const struct env *env, const char *name, enum metric id)
{
        line_number(out, name, sum(env, id));
}

/* 1.50M, as Redis writes sizes for people. */
static void
line_human(struct buf *out, const char *name, uint64_t bytes)
{
        static const char units[] = "BKMGT";
        double n = (double)bytes;
        size_t unit = 0;

        for (; n >= 1024 && unit + 2 < sizeof units; unit++)
                n /= 1024;
        if (unit == 0)
                buf_printf(out, "%s:%" PRIu64 "B\r\n", name, bytes);
        else
                buf_printf(out, "%s:%.2f%c\r\n", name, n, units[unit]);
}

static void
info_server(struct env *env, struct buf *out)
{
        const struct facts *f = env->facts;
        uint64_t up_us = env->mono_us > f->started_mono_us ? env->mono_us - f->started_mono_us : 0;

        line_text(out, "redis_version", REDIS_VERSION);
        line_text(out, "server_name", "pannier");
        line_text(out, "pannier_version", PANNIER_VERSION);
        line_text(out, "redis_mode", "standalone");
        line_text(out, "os", "Linux");
        line_number(out, "arch_bits", 8 * sizeof(void *));
        line_number(out, "process_id", f->pid);
        line_number(out, "tcp_port", f->tcp_port);
        line_number(out, "server_time_usec", env->wall_us);
        line_number(out, "uptime_in_seconds", up_us / 1000000);
        line_number(out, "uptime_in_days", up_us / 1000000 / 86400);
        line_text(out, "io_backend", f->io_backend);
        line_text(out, "io_backend_reason", f->io_backend_reason);
        line_number(out, "worker_threads", env->count);
        line_text(out, "listen", f->listen);
        line_text(out, "unix_socket", f->unix_socket);
        line_text(out, "admin", f->admin);
        line_text(out, "config_file", f->config_file);
}

static void
info_clients(struct env *env, struct buf *out)
{
        line_metric(out, env, "connected_clients", M_connections);
        line_number(out, "maxclients", option_number(env->options, O_connections_max));
}

static void
info_memory(struct env *env, struct buf *out)
{
        struct l1_stats l1;
        uint64_t max = option_number(env->options, O_memory);

        l1_stats(env->l1, &l1);
        line_number(out, "used_memory", mem_in_use());
        line_human(out, "used_memory_human", mem_in_use());
        line_number(out, "used_memory_dataset", l1.bytes);
        line_number(out, "maxmemory", max);
        line_human(out, "maxmemory_human", max);
        line_text(out, "maxmemory_policy", "allkeys-lru");
}

static void
info_persistence(struct env *env, struct buf *out)
{
        (void)env;
        line_number(out, "loading", 0);
}

static void
info_stats(struct env *env, struct buf *out)
{
        struct l1_stats l1;

        l1_stats(env->l1, &l1);
        line_metric(out, env, "total_connections_received", M_connections_made);
        line_metric(out, env, "rejected_connections", M_connections_refused);
        line_metric(out, env, "total_commands_processed", M_commands);
        line_metric(out, env, "total_net_input_bytes", M_bytes_in);
        line_metric(out, env, "total_net_output_bytes", M_bytes_out);
        line_number(out, "keyspace_hits",
                    sum(env, M_hits_l1) + sum(env, M_hits_l2) + sum(env, M_hits_l3) +
                            sum(env, M_hits_unsent));
        line_number(out, "keyspace_misses", sum(env, M_misses) + sum(env, M_failed_lookups));
        line_number(out, "expired_keys", l1.expired);
        line_number(out, "evicted_keys", l1.evicted);
}

/* All of def/metrics.def. */
static void
info_metrics(struct env *env, struct buf *out)
{
        for (int id = 0; id < METRIC_COUNT; id++)
                line_metric(out, env, metric_rows[id].name, (enum metric)id);
}

static void
info_replication(struct env *env, struct buf *out)
{
        (void)env;
        line_text(out, "role", "master");
        line_number(out, "connected_slaves", 0);
}

/* name:key=value,... ; `trouble` stands last, for it may hold commas. */
static void
line_tier(struct buf *out, const struct env *env, const char *name, struct tier *tier,
          enum metric hits, enum metric errors, enum metric timeouts)
{
        struct tier_state s = {.what = "", .trouble = ""};

        if (tier == NULL) {
                buf_printf(out, "%s:state=off\r\n", name);
                return;
        }
        tier->ops->describe(tier, &s);
        buf_printf(out,
                   "%s:state=%s,hits=%" PRIu64 ",errors=%" PRIu64 ",timeouts=%" PRIu64
                   ",in_flight=%" PRIu64 ",connects=%" PRIu64 ",rtt_us=%" PRIu64
                   ",what=%s,trouble=%s\r\n",
                   name, s.up ? "up" : "down", sum(env, hits), sum(env, errors), sum(env, timeouts),
                   s.in_flight, s.connects, s.last_rtt_us, s.what, s.trouble);
}

static void
info_tiers(struct env *env, struct buf *out)
{
        struct l1_stats l1;

        l1_stats(env->l1, &l1);
        buf_printf(out,
                   "l1:state=up,hits=%" PRIu64 ",entries=%" PRIu64 ",bytes=%" PRIu64
                   ",bytes_max=%" PRIu64 ",evicted=%" PRIu64 ",expired=%" PRIu64 "\r\n",
                   sum(env, M_hits_l1), l1.entries - l1.tombstones, l1.bytes,
                   option_number(env->options, O_memory), l1.evicted, l1.expired);
        line_tier(out, env, "l2", env->l2, M_hits_l2, M_l2_errors, M_l2_timeouts);
        line_tier(out, env, "l3", env->l3, M_hits_l3, M_l3_errors, M_l3_timeouts);
}

/* A line for each configured namespace: every row of its policy. */
static void
info_namespaces(struct env *env, struct buf *out)
{
        const char *name;

        for (size_t i = 0; (name = policies_name(env->policies, i)) != NULL; i++) {
                const struct policy *p = policies_find(env->policies, bytes_str(name));

                buf_printf(out, "%s:", name);
                for (int id = 0; id < POLICY_COUNT_ALL; id++) {
                        char value[256];

                        buf_printf(out, "%s%s=%s", id > 0 ? "," : "", policy_rows[id].name,
                                   option_format(&policy_rows[id], p->value[id], value));
                }
                buf_printf(out, "\r\n");
        }
}

static void
info_savings(struct env *env, struct buf *out)
{
        struct l1_stats l1;

        l1_stats(env->l1, &l1);
        line_metric(out, env, "hits_l1", M_hits_l1);
        line_metric(out, env, "hits_l2", M_hits_l2);
        line_metric(out, env, "hits_l3", M_hits_l3);
        line_metric(out, env, "misses", M_misses);
        line_metric(out, env, "written_raw_bytes", M_raw_bytes);
        line_metric(out, env, "written_stored_bytes", M_stored_bytes);
        line_number(out, "l1_raw_bytes", l1.raw_bytes);
        line_number(out, "l1_stored_bytes", l1.stored_bytes);
}

/* How many entries have an expiry, and how far it is, is not counted: 0 as Redis says when it does
 * not know. */
static void
info_keyspace(struct env *env, struct buf *out)
{
        struct l1_stats l1;

        l1_stats(env->l1, &l1);
        if (l1.entries > l1.tombstones)
                buf_printf(out, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0\r\n",
                           l1.entries - l1.tombstones);
}

static const struct info_section {
        const char *name;
        void (*write)(struct env *env, struct buf *out);
} info_sections[] = {
        {"Server", info_server},     {"Clients", info_clients},
        {"Memory", info_memory},     {"Persistence", info_persistence},
        {"Stats", info_stats},       {"Replication", info_replication},
        {"Tiers", info_tiers},       {"Namespaces", info_namespaces},
        {"Savings", info_savings},   {"Metrics", info_metrics},
        {"Keyspace", info_keyspace},
};

static bool
section_wanted(const char *name, const struct bytes *asked, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                if (bytes_equal_nocase(asked[i], name) || bytes_equal_nocase(asked[i], "all") ||
                    bytes_equal_nocase(asked[i], "everything") ||
                    bytes_equal_nocase(asked[i], "default"))
                        return true;
        }
        return count == 0;
}

void
info_write(struct env *env, const struct bytes *sections, size_t count, struct buf *out)
{
        bool first = true;

        for (size_t i = 0; i < sizeof info_sections / sizeof *info_sections; i++) {
                if (!section_wanted(info_sections[i].name, sections, count))
                        continue;
                buf_printf(out, "%s# %s\r\n", first ? "" : "\r\n", info_sections[i].name);
                info_sections[i].write(env, out);
                first = false;
        }
}
