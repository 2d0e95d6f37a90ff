/* clients/c/check: the library against a real server: every call, values of all sizes, LZ4, many
 * requests at once, an own loop, a restart-free reconnect. Ends with "all is well", or says what is
 * not and exits with 1.
 *
 *     pannier-client-check 127.0.0.1:7171 */
#include <pannier/client.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define check(x)                                                                   \
        do {                                                                       \
                if (!(x)) {                                                        \
                        printf("%s:%d: this fails: %s\n", __FILE__, __LINE__, #x); \
                        exit(1);                                                   \
                }                                                                  \
        } while (0)

enum { MIB = 1 << 20, MANY = 3000 };

static pn_client *
connected(const char *address, uint32_t flags)
{
        pn_opts opts = PN_OPTS_INIT;
        pn_client *c;
        pn_status status;

        opts.deadline_us = 30000000;
        opts.tier_deadline_us = PN_NEVER;
        opts.flags = flags;
        opts.inflight_max = 4096;
        status = pn_connect(&c, address, &opts);
        if (status != PN_OK)
                printf("%s\n", c != NULL ? pn_error(c) : pn_strerror(status));
        check(status == PN_OK);
        return c;
}

/* Bytes that tell key and place; those of even seeds compress. */
static unsigned char *
value_of(size_t len, unsigned seed)
{
        unsigned char *at = malloc(len + 1);
        uint32_t x = seed * 2654435761U + 1;

        check(at != NULL);
        for (size_t i = 0; i < len; i++) {
                x = x * 1664525U + 1013904223U;
                at[i] = (unsigned char)(seed % 2 == 0 ? i / 64 + seed : x >> 24);
        }
        return at;
}

static int
holds(const pn_reply *r, size_t len, unsigned seed)
{
        unsigned char *want = value_of(len, seed);
        int same = r->status == PN_HIT && r->len == len && memcmp(r->data, want, len) == 0 &&
                   ((const char *)r->data)[len] == '\0';

        free(want);
        return same;
}

static void
one_key(pn_client *c)
{
        static const char *const tags[] = {"one", "two"};
        const pn_meta meta = {.ttl_ms = 60000,
                              .grace_ms = 30000,
                              .cost = 2100,
                              .compute_us = 41000,
                              .confidence = 0.5F,
                              .codec = 7,
                              .tags = tags,
                              .tag_count = 2};
        const pn_meta nx = {.flags = PN_NX}, xx = {.flags = PN_XX};
        uint64_t version;
        pn_reply r;

        check(pn_ping(c) == PN_OK);
        check(pn_set(c, "check:k", 7, "value", 5, &meta, &r) == PN_OK);
        check(r.version > 0 && (r.reached & 1) != 0);
        version = r.version;
        pn_reply_free(&r);
        check(pn_get(c, "check:k", 7, &r) == PN_HIT);
        check(r.len == 5 && memcmp(r.data, "value", 6) == 0 && r.tier == 1);
        check(r.version == version && r.cost == 2100 && r.compute_us == 41000 && r.codec == 7);
        check(r.confidence > 0.499F && r.confidence < 0.501F);
        check(r.soft_us > 0 && r.soft_us <= 60000000 && r.hard_us > r.soft_us);
        check(r.age_us < 60000000);
        pn_reply_free(&r);
        check(pn_set(c, "check:k", 7, "other", 5, &nx, NULL) == PN_NOT_MET);
        check(pn_set(c, "check:none", 10, "other", 5, &xx, NULL) == PN_NOT_MET);
        check(pn_expire(c, "check:k", 7, 1000000, NULL) == PN_OK);
        check(pn_expire(c, "check:none", 10, 1000, NULL) == PN_MISS);
        check(pn_del(c, "check:k", 7, NULL) == PN_OK);
        check(pn_del(c, "check:k", 7, NULL) == PN_MISS);
        check(pn_get(c, "check:k", 7, &r) == PN_MISS);
        pn_reply_free(&r);
        check(pn_info(c, "server", &r) == PN_OK && strstr(r.data, "server_name:pannier") != NULL);
        pn_reply_free(&r);
        check(pn_info(c, "nonsense", &r) == PN_ERROR && r.code == 35 && r.error[0] != '\0');
        pn_reply_free(&r);
}

static void
sizes(pn_client *c, const char *what)
{
        static const size_t lengths[] = {0,      1,       1024,    1025,    262144,
                                         262145, MIB - 1, MIB + 1, 8 * MIB, 20 * MIB};

        for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
                for (unsigned seed = 2 * i; seed < 2 * i + 2; seed++) {
                        unsigned char *value = value_of(lengths[i], seed);
                        pn_reply r;

                        check(pn_set(c, "check:size", 10, value, lengths[i], NULL, &r) == PN_OK);
                        pn_reply_free(&r);
                        pn_get(c, "check:size", 10, &r);
                        if (!holds(&r, lengths[i], seed))
                                printf("%s, %zu bytes: %s\n", what, lengths[i], r.error);
                        check(holds(&r, lengths[i], seed));
                        pn_reply_free(&r);
                        free(value);
                }
        }
}

static void
many_keys(pn_client *c)
{
        pn_entry *entries = calloc(MANY, sizeof *entries);
        pn_bytes *keys = calloc(MANY, sizeof *keys);
        pn_reply *replies = calloc(MANY, sizeof *replies);
        char(*names)[24] = calloc(MANY, 24);
        unsigned char *values[4];

        check(entries != NULL && keys != NULL && replies != NULL && names != NULL);
        for (unsigned i = 0; i < 4; i++)
                values[i] = value_of(300000, i);
        for (size_t i = 0; i < MANY; i++) {
                /* A few too long for a batch, some that fill frames. */
                size_t len = i % 500 == 3 ? 300000 : i % 100 == 5 ? 50000 : i % 200;

                snprintf(names[i], 24, "check:many:%zu", i);
                keys[i] = (pn_bytes){names[i], strlen(names[i])};
                entries[i] = (pn_entry){keys[i], {values[i % 4], len}, NULL};
        }
        check(pn_mset(c, entries, MANY, replies) == PN_OK);
        for (size_t i = 0; i < MANY; i++) {
                check(replies[i].status == PN_OK);
                pn_reply_free(&replies[i]);
        }
        check(pn_mget(c, keys, MANY, replies) == PN_OK);
        for (size_t i = 0; i < MANY; i++) {
                check(holds(&replies[i], entries[i].value.len, (unsigned)i % 4));
                pn_reply_free(&replies[i]);
        }
        check(pn_mdel(c, keys, MANY, replies) == PN_OK);
        for (size_t i = 0; i < MANY; i++) {
                check(replies[i].status == PN_OK);
                pn_reply_free(&replies[i]);
        }
        for (unsigned i = 0; i < 4; i++)
                free(values[i]);
        free(entries);
        free(keys);
        free(replies);
        free(names);
}

/* One turn of a caller's loop. */
static void
turn(pn_client *c)
{
        struct pollfd p = {.fd = pn_fd(c)};
        uint64_t us = pn_timeout_us(c);

        p.events = (short)((pn_want(c) & PN_READ ? POLLIN : 0) |
                           (pn_want(c) & PN_WRITE ? POLLOUT : 0));
        poll(&p, 1, us > 1000000 ? 1000 : (int)(us / 1000) + 1);
        pn_on_io(c, (p.revents & (POLLIN | POLLHUP | POLLERR) ? PN_READ : 0U) |
                            (p.revents & POLLOUT ? PN_WRITE : 0U));
}

/* Large uploads, more than the server takes at a time, and small requests that pass them. */
static void
own_loop(pn_client *c)
{
        enum { LARGE = 6, SMALL = 200 };
        uint64_t large[LARGE], id;
        unsigned char *value = value_of(3 * MIB, 1);
        unsigned done = 0, small = 0;
        char key[32];
        pn_reply r;

        for (int i = 0; i < LARGE; i++) {
                snprintf(key, sizeof key, "check:large:%d", i);
                check(pn_append_set(c, key, strlen(key), value, 3 * MIB, NULL, &large[i]) == PN_OK);
        }
        for (int i = 0; i < SMALL; i++)
                check(pn_append_set(c, "check:small", 11, "v", 1, NULL, &id) == PN_OK);
        while (pn_pending(c) > 0) {
                turn(c);
                while (pn_next(c, &r) != PN_AGAIN) {
                        int is_large = 0;

                        check(r.status == PN_OK);
                        for (int i = 0; i < LARGE; i++)
                                is_large |= r.id == large[i];
                        small += !is_large;
                        done += is_large != 0;
                        pn_reply_free(&r);
                }
        }
        check(done == LARGE && small == SMALL);
        for (int i = 0; i < LARGE; i++) {
                snprintf(key, sizeof key, "check:large:%d", i);
                check(pn_append_get(c, key, strlen(key), NULL) == PN_OK);
        }
        for (done = 0; pn_pending(c) > 0; done++) {
                check(pn_wait(c, 0, &r) == PN_HIT);
                check(holds(&r, 3 * MIB, 1));
                pn_reply_free(&r);
        }
        check(done == LARGE);
        free(value);
}

/* Cancelled and late requests leave the connection in step. */
static void
impatience(pn_client *c)
{
        unsigned char *value = value_of(8 * MIB, 3);
        uint64_t id;
        pn_reply r;

        check(pn_set(c, "check:size", 10, value, 8 * MIB, NULL, NULL) == PN_OK);
        for (int i = 0; i < 20; i++) {
                check(pn_append_get(c, "check:size", 10, &id) == PN_OK);
                check(pn_append_set(c, "check:gone", 10, value, 2 * MIB, NULL, NULL) == PN_OK);
                pn_flush(c);
                if (i % 2 == 0)
                        turn(c);
                pn_cancel(c, id);
                check(pn_wait(c, 0, &r) == PN_OK);
                pn_reply_free(&r);
        }
        for (uint64_t us = 1; us < 20000; us *= 2) {
                pn_status status;

                pn_set_deadline(c, us);
                status = pn_get(c, "check:gone", 10, &r);
                check(status == PN_TIMEOUT || holds(&r, 2 * MIB, 3));
                pn_reply_free(&r);
        }
        pn_set_deadline(c, 30000000);
        check(pn_get(c, "check:size", 10, &r) == PN_HIT && holds(&r, 8 * MIB, 3));
        pn_reply_free(&r);
        free(value);
}

/* The connection is cut under the library: what reads is asked again, all of it in one call. */
static void
cut(pn_client *c)
{
        pn_reply r;

        check(pn_set(c, "check:k", 7, "v", 1, NULL, NULL) == PN_OK);
        for (int i = 0; i < 10; i++) {
                shutdown(pn_fd(c), i % 2 == 0 ? SHUT_RDWR : SHUT_WR);
                check(pn_get(c, "check:k", 7, &r) == PN_HIT);
                pn_reply_free(&r);
        }
        check(pn_del(c, "check:k", 7, NULL) == PN_OK);
}

int
main(int argc, char **argv)
{
        const char *address = argc > 1 ? argv[1] : "127.0.0.1:7171";
        pn_client *c = connected(address, 0);

        one_key(c);
        sizes(c, "raw");
        many_keys(c);
        own_loop(c);
        impatience(c);
        cut(c);
        pn_close(c);
        c = connected(address, PN_LZ4);
        sizes(c, "packed");
        many_keys(c);
        own_loop(c);
        pn_close(c);
        printf("all is well\n");
        return 0;
}
