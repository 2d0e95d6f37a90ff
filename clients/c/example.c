/* clients/c/example: a cached computation, first one key at a time, then many at once.
 *
 *     cc example.c $(pkg-config --cflags --libs pannier) && ./a.out 127.0.0.1:7171 */
#include <pannier/client.h>
#include <stdio.h>
#include <string.h>

/* What is dear to compute. */
static int
price(const char *product)
{
        return (int)strlen(product) * 100;
}

/* The price from the cache, or computed and then cached. Without a server it is computed. */
static int
cached_price(pn_client *c, const char *product)
{
        static const char *const tags[] = {"prices"};
        const pn_meta meta = {.ttl_ms = 60000, .compute_us = 40000, .tags = tags, .tag_count = 1};
        char key[64];
        pn_reply reply;
        pn_status status;
        int value = 0;

        snprintf(key, sizeof key, "shop:price:%s", product);
        status = pn_get(c, key, strlen(key), &reply);
        if ((status == PN_HIT || status == PN_STALE) && reply.len == sizeof value) {
                memcpy(&value, reply.data, sizeof value);
                printf("%s: %d, from tier %u, %.1f s old\n", product, value, (unsigned)reply.tier,
                       (double)reply.age_us / 1e6);
        } else {
                value = price(product);
                printf("%s: %d, computed (%s)\n", product, value,
                       reply.error[0] != '\0' ? reply.error : pn_strerror(status));
                pn_set(c, key, strlen(key), &value, sizeof value, &meta, NULL);
        }
        pn_reply_free(&reply);
        return value;
}

/* Many requests on their way at once; the replies come in any order, told apart by their ids. */
static void
pipelined(pn_client *c)
{
        static const char *const keys[] = {"shop:price:bicycle", "shop:price:bell"};
        uint64_t ids[2];
        pn_reply reply;

        for (int i = 0; i < 2; i++) {
                if (pn_append_get(c, keys[i], strlen(keys[i]), &ids[i]) != PN_OK)
                        return;
        }
        pn_flush(c);
        while (pn_pending(c) > 0) {
                pn_wait(c, 0, &reply);
                printf("%s: %s\n", keys[reply.id == ids[0] ? 0 : 1], pn_strerror(reply.status));
                pn_reply_free(&reply);
        }
}

int
main(int argc, char **argv)
{
        pn_opts opts = PN_OPTS_INIT;
        pn_client *c;

        opts.deadline_us = 20000;
        opts.name = "example";
        if (pn_connect(&c, argc > 1 ? argv[1] : "127.0.0.1:7171", &opts) != PN_OK && c != NULL)
                fprintf(stderr, "going on without a cache: %s\n", pn_error(c));
        if (c == NULL)
                return 1;
        cached_price(c, "bicycle");
        cached_price(c, "bicycle");
        cached_price(c, "bell");
        pipelined(c);
        pn_close(c);
        return 0;
}
