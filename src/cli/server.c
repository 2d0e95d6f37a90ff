/* cli/server: ping, info, stats. Numbers come from the server's INFO. Owns nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/cli.h"

static uint64_t
now_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int
cmd_ping(pn_client *c, const struct arguments *a)
{
        uint64_t begun = now_us(), took;
        pn_status status = pn_ping(c);
        char text[32];
        json_t *j;

        took = now_us() - begun;
        if (status != PN_OK)
                return show_failure(a, status, pn_error(c));
        if (!a->json) {
                printf("%s at %s answered in %s\n", pn_server_name(c), a->server,
                       show_time(took, text));
                return EXIT_DONE;
        }
        j = json_object();
        json_object_set_new(j, "status", json_string("ok"));
        json_object_set_new(j, "server", json_string(pn_server_name(c)));
        json_object_set_new(j, "time_us", json_integer((json_int_t)took));
        json_print(j);
        return EXIT_DONE;
}

/* INFO of a section or all; false after what befell it was told. */
static bool
ask_info(pn_client *c, const struct arguments *a, const char *section, pn_reply *r)
{
        pn_status status = pn_info(c, section, r);

        if (status == PN_OK)
                return true;
        show_failure(a, status, r->error[0] != '\0' ? r->error : pn_strerror(status));
        pn_reply_free(r);
        return false;
}

int
cmd_info(pn_client *c, const struct arguments *a)
{
        pn_reply r;

        if (!ask_info(c, a, a->count > 1 ? a->words[1] : NULL, &r))
                return EXIT_FAILED;
        if (a->json) {
                json_print(json_of_info(bytes_of(r.data, r.len)));
        } else {
                const char *text = r.data;

                for (size_t i = 0; i < r.len; i++) {
                        if (text[i] != '\r')
                                putchar(text[i]);
                }
        }
        pn_reply_free(&r);
        return EXIT_DONE;
}

/* ---- stats ---- */

static uint64_t
number(const pn_reply *info, const char *name, const char *part)
{
        uint64_t n;

        return pn_info_number(info, name, part, &n) ? n : 0;
}

/* `state` of a tier's line; "off" if there is none. */
static const char *
state_of(const json_t *info, const char *tier)
{
        const json_t *line = json_object_get(json_object_get(info, "tiers"), tier);
        const char *state = json_string_value(json_object_get(line, "state"));

        return state != NULL ? state : "off";
}

static void
print_share(uint64_t part, uint64_t all)
{
        if (all > 0)
                printf("%7.1f %%", 100 * (double)part / (double)all);
        else
                printf("%9s", "");
}

static void
print_tier(const pn_reply *r, const json_t *info, const char *tier, const char *name,
           uint64_t lookups)
{
        const char *state = state_of(info, tier);
        char text[32];

        printf("%-8s%-7s", name, state);
        if (strcmp(state, "off") == 0) {
                printf("\n");
                return;
        }
        printf("%14" PRIu64, number(r, tier, "hits"));
        print_share(number(r, tier, "hits"), lookups);
        if (strcmp(tier, "l1") == 0)
                printf("   %" PRIu64 " entries, %s", number(r, tier, "entries"),
                       show_size(number(r, tier, "bytes"), text));
        else
                printf("   %" PRIu64 " errors, %" PRIu64 " late, %s away",
                       number(r, tier, "errors"), number(r, tier, "timeouts"),
                       show_time(number(r, tier, "rtt_us"), text));
        printf("\n");
}

static void
print_stats(pn_client *c, const pn_reply *r, const json_t *info)
{
        uint64_t misses = number(r, "misses", NULL);
        uint64_t lookups = misses + number(r, "hits_l1", NULL) + number(r, "hits_l2", NULL) +
                           number(r, "hits_l3", NULL) + number(r, "hits_queue", NULL);
        char up[32], used[32], most[32];

        printf("%s, up %s, %" PRIu64 " clients, %" PRIu64 " commands\n\n", pn_server_name(c),
               show_time(number(r, "uptime_in_seconds", NULL) * 1000000, up),
               number(r, "connected_clients", NULL), number(r, "total_commands_processed", NULL));
        printf("%-8s%-7s%14s%9s\n", "tier", "state", "hits", "share");
        print_tier(r, info, "l1", "L1", lookups);
        print_tier(r, info, "l2", "L2", lookups);
        print_tier(r, info, "l3", "L3", lookups);
        printf("%-15s%14" PRIu64, "misses", misses);
        print_share(misses, lookups);
        printf("\n\nmemory  %s of %s; %" PRIu64 " evicted, %" PRIu64 " expired\n",
               show_size(number(r, "used_memory", NULL), used),
               show_size(number(r, "maxmemory", NULL), most), number(r, "evicted_keys", NULL),
               number(r, "expired_keys", NULL));
        printf("queues  %" PRIu64 " writes wait for L2, %" PRIu64 " for L3\n",
               number(r, "queue_l2", NULL), number(r, "queue_l3", NULL));
}

static void
put(json_t *object, const char *name, uint64_t n)
{
        json_object_set_new(object, name, json_integer((json_int_t)n));
}

static json_t *
json_of_stats(const pn_reply *r, const json_t *info)
{
        json_t *j = json_object();
        uint64_t misses = number(r, "misses", NULL), hits = 0;
        static const char *const found[] = {"hits_l1", "hits_l2", "hits_l3", "hits_queue"};

        for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
                put(j, found[i], number(r, found[i], NULL));
                hits += number(r, found[i], NULL);
        }
        put(j, "misses", misses);
        json_object_set_new(j, "hit_ratio",
                            hits + misses > 0 ? json_real((double)hits / (double)(hits + misses))
                                              : json_null());
        json_object_set(j, "tiers", json_object_get(info, "tiers"));
        put(j, "memory_bytes", number(r, "used_memory", NULL));
        put(j, "memory_max_bytes", number(r, "maxmemory", NULL));
        put(j, "evicted", number(r, "evicted_keys", NULL));
        put(j, "expired", number(r, "expired_keys", NULL));
        put(j, "clients", number(r, "connected_clients", NULL));
        put(j, "commands", number(r, "total_commands_processed", NULL));
        put(j, "queue_l2", number(r, "queue_l2", NULL));
        put(j, "queue_l3", number(r, "queue_l3", NULL));
        put(j, "uptime_s", number(r, "uptime_in_seconds", NULL));
        return j;
}

int
cmd_stats(pn_client *c, const struct arguments *a)
{
        json_t *info;
        pn_reply r;

        if (!ask_info(c, a, NULL, &r))
                return EXIT_FAILED;
        info = json_of_info(bytes_of(r.data, r.len));
        if (a->json)
                json_print(json_of_stats(&r, info));
        else
                print_stats(c, &r, info);
        json_decref(info);
        pn_reply_free(&r);
        return EXIT_DONE;
}
