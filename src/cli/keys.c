/* cli/keys: get, mget, set, del. Values are printed as they are; only on a terminal does a line end
 * follow, and what a terminal would obey is shown. Owns: what it reads as a value. Limit: 1 GiB of
 * it; the server judges the rest. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

static bool
is_value(pn_status status)
{
        return status == PN_HIT || status == PN_STALE;
}

static int
exit_of(bool done, pn_status status)
{
        return done ? EXIT_DONE : status == PN_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

static const char *
error_of(const pn_reply *r)
{
        return r->error[0] != '\0' ? r->error : pn_strerror(r->status);
}

/* -v: where the value was, and for how long it is of use. */
static void
describe(const pn_reply *r)
{
        char age[32], soft[32], hard[32];

        fprintf(stderr, "%s", status_name(r->status));
        if (r->tier != 0)
                fprintf(stderr, " in L%d", r->tier);
        if (r->age_us != PN_NEVER)
                fprintf(stderr, ", %s old", show_time(r->age_us, age));
        if (r->status == PN_HIT)
                fprintf(stderr, ", fresh %s", show_time(r->soft_us, soft));
        fprintf(stderr, ", kept %s, version %" PRIu64 "\n", show_time(r->hard_us, hard),
                r->version);
}

static void
print_value(const pn_reply *r)
{
        show_bytes(bytes_of(r->data, r->len));
        if (isatty(STDOUT_FILENO) && (r->len == 0 || ((const char *)r->data)[r->len - 1] != '\n'))
                putchar('\n');
}

int
cmd_get(pn_client *c, const struct arguments *a)
{
        struct bytes key = bytes_str(a->words[1]);
        pn_reply r;
        pn_status status = pn_get(c, key.at, key.len, &r);

        if (a->json)
                json_print(json_of_reply(key, &r));
        else if (is_value(status))
                print_value(&r);
        else if (status == PN_MISS && r.error[0] == '\0')
                show_error("no such key");
        else if (status == PN_MISS)
                show_error("no value, but a tier could not be asked: %s", r.error);
        else if (status == PN_NEGATIVE)
                show_error("computing it failed lately: %.*s", (int)(r.len < 500 ? r.len : 500),
                           (const char *)r.data);
        else
                show_error("%s", error_of(&r));
        if (a->verbose && !a->json && is_value(status)) {
                fflush(stdout);
                describe(&r);
        }
        pn_reply_free(&r);
        return exit_of(is_value(status), status);
}

/* ---- mget ---- */

static void
print_line(struct bytes key, const pn_reply *r, bool verbose)
{
        show_bytes(key);
        putchar('\t');
        if (is_value(r->status))
                show_bytes(bytes_of(r->data, r->len));
        else
                printf("(%s)", r->status == PN_MISS ? "no such key" : status_name(r->status));
        putchar('\n');
        if (verbose && is_value(r->status)) {
                fflush(stdout);
                describe(r);
        }
}

static void
print_many(const struct arguments *a, const pn_bytes *keys, const pn_reply *replies, size_t count)
{
        json_t *all = a->json ? json_array() : NULL;

        for (size_t i = 0; i < count; i++) {
                struct bytes key = bytes_of(keys[i].data, keys[i].len);

                if (all != NULL)
                        json_array_append_new(all, json_of_reply(key, &replies[i]));
                else
                        print_line(key, &replies[i], a->verbose);
        }
        if (all != NULL)
                json_print(all);
}

static pn_bytes *
keys_of(const struct arguments *a, size_t *count)
{
        pn_bytes *keys = mem_alloc((size_t)a->count * sizeof *keys);

        *count = (size_t)a->count - 1;
        for (size_t i = 0; i < *count; i++)
                keys[i] = (pn_bytes){a->words[i + 1], strlen(a->words[i + 1])};
        return keys;
}

int
cmd_mget(pn_client *c, const struct arguments *a)
{
        size_t count, found = 0, failed = 0;
        pn_bytes *keys = keys_of(a, &count);
        pn_reply *replies = mem_alloc(count * sizeof *replies);
        pn_status status = pn_mget(c, keys, count, replies);

        if (status == PN_OK)
                print_many(a, keys, replies, count);
        else
                show_failure(a, status, pn_error(c));
        for (size_t i = 0; i < count; i++) {
                found += is_value(replies[i].status);
                failed += pn_failed(replies[i].status);
                pn_reply_free(&replies[i]);
        }
        mem_free(replies);
        mem_free(keys);
        return exit_of(found > 0 && failed == 0, status);
}

/* ---- set ---- */

/* False after a sentence. */
static bool
read_file(const char *name, struct buf *out)
{
        enum { STEP = 1 << 16, MOST = 1 << 30 };
        bool standard = strcmp(name, "-") == 0;
        FILE *file = standard ? stdin : fopen(name, "rb");
        size_t n = 0;
        bool fine;

        if (file == NULL) {
                show_error("cannot open %s: %s", name, strerror(errno));
                return false;
        }
        while (out->len <= MOST && (n = fread(buf_reserve(out, STEP), 1, STEP, file)) > 0)
                out->len += n;
        fine = ferror(file) == 0 && out->len <= MOST;
        if (ferror(file) != 0)
                show_error("cannot read %s: %s", name, strerror(errno));
        else if (!fine)
                show_error("%s holds more than 1 GiB", name);
        if (!standard)
                fclose(file);
        return fine;
}

static void
tell_set(const pn_reply *r, bool verbose)
{
        printf("OK\n");
        if (!verbose)
                return;
        fflush(stdout);
        fprintf(stderr, "held by%s%s%s, version %" PRIu64 "\n", r->reached & 1 ? " L1" : "",
                r->reached & 2 ? " L2" : "", r->reached & 4 ? " L3" : "", r->version);
}

int
cmd_set(pn_client *c, const struct arguments *a)
{
        struct bytes key = bytes_str(a->words[1]);
        const char *file = a->file != NULL ? a->file : strcmp(a->words[2], "-") == 0 ? "-" : NULL;
        struct bytes value = file == NULL ? bytes_str(a->words[2]) : bytes_of(NULL, 0);
        struct buf content = {0};
        pn_status status;
        pn_reply r;

        if (file != NULL) {
                if (!read_file(file, &content)) {
                        buf_free(&content);
                        return EXIT_FAILED;
                }
                value = buf_bytes(&content);
        }
        status = pn_set(c, key.at, key.len, value.at, value.len, &a->meta, &r);
        buf_free(&content);
        if (a->json)
                json_print(json_of_reply(key, &r));
        else if (status == PN_OK)
                tell_set(&r, a->verbose);
        else if (status == PN_NOT_MET)
                show_error("not stored: the key %s",
                           (a->meta.flags & PN_NX) != 0 ? "has a value" : "has no value");
        else
                show_error("%s", error_of(&r));
        pn_reply_free(&r);
        return exit_of(status == PN_OK, status);
}

/* ---- del ---- */

int
cmd_del(pn_client *c, const struct arguments *a)
{
        size_t count, deleted = 0, failed = 0;
        pn_bytes *keys = keys_of(a, &count);
        pn_reply *replies = mem_alloc(count * sizeof *replies);
        pn_status status = pn_mdel(c, keys, count, replies);

        for (size_t i = 0; i < count; i++) {
                deleted += replies[i].status == PN_OK;
                failed += pn_failed(replies[i].status);
        }
        if (status != PN_OK)
                show_failure(a, status, pn_error(c));
        else if (a->json)
                print_many(a, keys, replies, count);
        else if (deleted > 0)
                printf("deleted %zu\n", deleted);
        else if (failed == 0)
                show_error("%s", count > 1 ? "no such keys" : "no such key");
        for (size_t i = 0; i < count; i++) {
                if (status == PN_OK && !a->json && pn_failed(replies[i].status))
                        show_error("%s: %s", a->words[i + 1], error_of(&replies[i]));
                pn_reply_free(&replies[i]);
        }
        mem_free(replies);
        mem_free(keys);
        return exit_of(deleted > 0 && failed == 0, status);
}
