/* libpannier against proto/vectors/native.jsonl: what it sends for a call is what the vectors say,
 * byte for byte but for the id; replies of the vectors, whole and one byte at a time, become the
 * replies they should; malformed ones end the connection. */
#include <jansson.h>

#include "test_client_fake.h"

/* The vector of this name; the caller's to drop. */
static json_t *
vector(const char *name)
{
        FILE *file = fopen(NATIVE_VECTORS, "r");
        json_t *found = NULL;
        char *line = NULL;
        size_t room = 0;

        cr_assert_not_null(file);
        while (found == NULL && getline(&line, &room, file) > 0) {
                found = json_loads(line, 0, NULL);
                cr_assert_not_null(found);
                if (strcmp(json_string_value(json_object_get(found, "name")), name) != 0) {
                        json_decref(found);
                        found = NULL;
                }
        }
        free(line);
        fclose(file);
        cr_assert_not_null(found, "no vector %s", name);
        return found;
}

static struct bytes
unhex(const char *hex)
{
        size_t len = strlen(hex) / 2;
        uint8_t *at = mem_alloc(len);

        for (size_t i = 0; i < len; i++) {
                const char digits[] = {hex[2 * i], hex[2 * i + 1], '\0'};

                at[i] = (uint8_t)strtoul(digits, NULL, 16);
        }
        return bytes_of(at, len);
}

/* A vector's bytes with another id. */
static struct bytes
bytes_of_vector(const json_t *v, uint64_t id)
{
        struct bytes b = unhex(json_string_value(json_object_get(v, "hex")));

        if (b.len >= NATIVE_HEADER_BYTES)
                put_u64((uint8_t *)b.at + 8, id);
        return b;
}

/* ---- what is sent ---- */

static void
expect_sent(struct fake *f, const char *name, uint64_t id)
{
        json_t *v = vector(name);
        struct bytes want = bytes_of_vector(v, id);

        fake_listen(f);
        cr_assert_eq(f->in.len, want.len, "%s: %zu bytes, not %zu", name, f->in.len, want.len);
        cr_assert_eq(memcmp(f->in.at, want.at, want.len), 0, "%s", name);
        buf_consume(&f->in, want.len);
        forget(want);
        json_decref(v);
}

Test(client_vectors, requests_are_the_vectors_bytes)
{
        pn_opts opts = PN_OPTS_INIT;
        struct fake f;
        uint64_t id;

        opts.inflight_max = 100;
        fake_begin(&f, opts);
        pn_append_ping(f.c, &id);
        expect_sent(&f, "ping", id);
        pn_append_info(f.c, NULL, &id);
        expect_sent(&f, "info", id);
        pn_append_info(f.c, "server", &id);
        expect_sent(&f, "info-of-a-section", id);
        pn_append_get(f.c, "a", 1, &id);
        expect_sent(&f, "get", id);
        pn_append_set(f.c, "a", 1, "xy", 2, NULL, &id);
        expect_sent(&f, "set", id);
        pn_append_set(f.c, "a", 1, NULL, 0, NULL, &id);
        expect_sent(&f, "set-of-an-empty-value", id);
        pn_append_del(f.c, "a", 1, &id);
        expect_sent(&f, "del", id);
        pn_append_expire(f.c, "a", 1, PN_NEVER, &id);
        expect_sent(&f, "expire-never", id);
        fake_end(&f);
}

/* The reader of the vectors' own members judges requests whose fields a client may order. */
static void
expect_item(const struct native_item *item, const json_t *want)
{
        struct bytes key = unhex(json_string_value(json_object_get(want, "key")));
        struct bytes value = unhex(json_string_value(json_object_get(want, "value")));
        struct native_fields fields;
        struct native_fault fault;
        size_t i, wanted = 0;
        json_t *pair;

        cr_assert(bytes_equal(item->key, key));
        cr_assert(bytes_equal(item->value, value));
        cr_assert_eq(native_fields_read(item->fields, UINT64_MAX, &fields, &fault), OK);
        json_array_foreach(json_object_get(want, "fields"), i, pair)
        {
                const char *name = json_string_value(json_array_get(pair, 0));
                const char *content = json_string_value(json_array_get(pair, 1));

                wanted++;
#define FIELD(field, type, kind, critical)                                                  \
        if (strcmp(name, #field) == 0 && (type) != NATIVE_F_TAG)                            \
                cr_assert_eq(native_number(&fields, (enum native_field)(type), UINT64_MAX), \
                             strtoull(content, NULL, 10), "%s", name);
                NATIVE_FIELDS(FIELD)
#undef FIELD
        }
        for (size_t at = 0; at < fields.block.len; wanted--)
                at += NATIVE_FIELD_BYTES + get_u16(fields.block.at + at + 2);
        cr_assert_eq(wanted, 0, "there are as many fields as wanted");
        forget(key);
        forget(value);
}

static uint64_t
field_of_item(const json_t *item, const char *name)
{
        json_t *pair;
        size_t i;

        json_array_foreach(json_object_get(item, "fields"), i, pair)
        {
                if (strcmp(json_string_value(json_array_get(pair, 0)), name) == 0)
                        return strtoull(json_string_value(json_array_get(pair, 1)), NULL, 10);
        }
        return 0;
}

static uint64_t
field_of(const json_t *v, const char *name)
{
        return field_of_item(json_object_get(v, "item"), name);
}

static bool
has_field(const json_t *item, const char *name)
{
        json_t *pair;
        size_t i;

        json_array_foreach(json_object_get(item, "fields"), i, pair)
        {
                if (strcmp(json_string_value(json_array_get(pair, 0)), name) == 0)
                        return true;
        }
        return false;
}

Test(client_vectors, a_set_with_everything)
{
        /* A tag is a C string here: the second of the vector's is not. */
        static const char *const tags[] = {"market-data", "eu", "market-data"};
        json_t *v = vector("set-with-everything");
        pn_opts opts = PN_OPTS_INIT;
        struct bytes key =
                unhex(json_string_value(json_object_get(json_object_get(v, "item"), "key")));
        struct bytes value =
                unhex(json_string_value(json_object_get(json_object_get(v, "item"), "value")));
        pn_meta meta = {.ttl_ms = field_of(v, "TTL") / 1000,
                        .grace_ms = PN_NEVER, /* it says 0 */
                        .cost = field_of(v, "COST"),
                        .compute_us = field_of(v, "COMPUTE"),
                        .confidence = (float)field_of(v, "CONFIDENCE") / 65535,
                        .codec = (uint8_t)field_of(v, "CODEC"),
                        .flags = (uint32_t)field_of(v, "CONDITION"),
                        .tags = tags};
        struct native_frame frame = {0};
        struct native_fault fault;
        struct native_item item;
        struct fake f;
        json_t *pair;
        size_t i, n;

        json_array_foreach(json_object_get(json_object_get(v, "item"), "fields"), i, pair)
                meta.tag_count += strcmp(json_string_value(json_array_get(pair, 0)), "TAG") == 0;
        cr_assert_eq(meta.tag_count, 3);
        cr_assert_eq(field_of(v, "GRACE"), 0);
        opts.tier_deadline_us = field_of(v, "DEADLINE");
        cr_assert_gt(meta.ttl_ms * meta.cost * meta.compute_us, 0);
        fake_begin(&f, opts);
        cr_assert_eq(pn_append_set(f.c, key.at, key.len, value.at, value.len, &meta, NULL), PN_OK);
        cr_assert(fake_peek(&f, &frame, &n));
        cr_assert_eq(native_body_read(frame.body, &item, &fault), OK);
        expect_item(&item, json_object_get(v, "item"));
        fake_end(&f);
        forget(key);
        forget(value);
        json_decref(v);
}

Test(client_vectors, batches)
{
        static const char *const names[] = {"mget", "mset", "mdel"};
        static const char *const tag = "t";

        for (int which = 0; which < 3; which++) {
                json_t *v = vector(names[which]), *wanted = json_object_get(v, "items"), *one;
                size_t count = json_array_size(wanted), i, n;
                pn_entry entries[8];
                pn_meta metas[8];
                pn_bytes keys[8];
                pn_opts opts = PN_OPTS_INIT;
                struct native_frame frame = {0};
                struct native_fault fault;
                struct native_item item;
                struct bytes items;
                uint32_t got;
                struct fake f;

                cr_assert_leq(count, 8);
                memset(metas, 0, sizeof metas);
                opts.tier_deadline_us = field_of(v, "DEADLINE");
                if (which == 1) /* our times are milliseconds, not 1 us */
                        json_array_set_new(
                                json_array_get(json_object_get(json_array_get(wanted, 0), "fields"),
                                               0),
                                1, json_string("1000"));
                json_array_foreach(wanted, i, one)
                {
                        struct bytes key = unhex(json_string_value(json_object_get(one, "key")));
                        struct bytes value =
                                unhex(json_string_value(json_object_get(one, "value")));

                        keys[i] = (pn_bytes){key.at, key.len};
                        metas[i].ttl_ms = field_of_item(one, "TTL") / 1000;
                        metas[i].tags = &tag;
                        metas[i].tag_count = has_field(one, "TAG");
                        entries[i] = (pn_entry){keys[i], {value.at, value.len}, &metas[i]};
                }
                fake_begin(&f, opts);
                if (which == 0)
                        cr_assert_eq(pn_append_mget(f.c, keys, count, NULL), PN_OK);
                else if (which == 1)
                        cr_assert_eq(pn_append_mset(f.c, entries, count, NULL), PN_OK);
                else
                        cr_assert_eq(pn_append_mdel(f.c, keys, count, NULL), PN_OK);
                cr_assert(fake_peek(&f, &frame, &n));
                cr_assert_eq(native_body_read(frame.body, &item, &fault), OK);
                cr_assert_eq(native_batch_read(item.value, &got, &items, &fault), OK);
                cr_assert_eq(got, count);
                for (i = 0; i < count; i++) {
                        cr_assert_eq(native_item_read(&items, &item, &fault), OK);
                        expect_item(&item, json_array_get(wanted, i));
                        forget(bytes_of(entries[i].key.data, 0));
                        forget(bytes_of(entries[i].value.data, 0));
                }
                fake_end(&f);
                json_decref(v);
        }
}

/* ---- what is read ---- */

static void
expect_same(const pn_reply *r, const json_t *v)
{
        static const uint64_t never = UINT64_MAX;
        const json_t *item = json_object_get(v, "item");
        struct bytes value = unhex(json_string_value(json_object_get(item, "value")));
        uint64_t soft = field_of(v, "SOFT"), hard = field_of(v, "HARD");
        unsigned status = (unsigned)json_integer_value(json_object_get(v, "status"));

        if (status < 16) {
                cr_expect_eq((unsigned)r->status, status);
        } else {
                cr_expect(pn_failed(r->status));
                cr_expect_eq(r->code, status);
                cr_expect_gt(strlen(r->error), 0);
        }
        cr_expect(r->len == value.len && memcmp(r->data, value.at, r->len) == 0);
        cr_expect_eq(r->tier, field_of(v, "TIER"));
        cr_expect_eq(r->age_us, field_of(v, "AGE") != 0 ? field_of(v, "AGE") : r->age_us);
        cr_expect(r->soft_us == soft || (soft == 0 && r->soft_us == never));
        cr_expect(r->hard_us == hard || (hard == 0 && r->hard_us == never));
        cr_expect_eq(r->version, field_of(v, "VERSION"));
        cr_expect_eq(r->cost, field_of(v, "COST"));
        cr_expect_eq(r->compute_us, field_of(v, "COMPUTE"));
        cr_expect_eq(r->codec, field_of(v, "CODEC"));
        cr_expect_eq(r->retry_us, field_of(v, "RETRY"));
        cr_expect_eq(r->reached, field_of(v, "REACHED"));
        cr_expect_float_eq(r->confidence * 65535, (float)field_of(v, "CONFIDENCE"), 0.51F);
        forget(value);
}

/* Asks what the vector answers. */
static uint64_t
ask_for(struct fake *f, unsigned op)
{
        uint64_t id = 0;

        switch (op) {
        case NATIVE_OP_GET:
                pn_append_get(f->c, "k", 1, &id);
                break;
        case NATIVE_OP_SET:
                pn_append_set(f->c, "k", 1, "v", 1, NULL, &id);
                break;
        case NATIVE_OP_DEL:
                pn_append_del(f->c, "k", 1, &id);
                break;
        case NATIVE_OP_INFO:
                pn_append_info(f->c, NULL, &id);
                break;
        case NATIVE_OP_PING:
                pn_append_ping(f->c, &id);
                break;
        default:
                cr_assert_fail("op %u", op);
        }
        cr_assert_eq(fake_expect(f, op), id);
        return id;
}

Test(client_vectors, replies_whole_and_one_byte_at_a_time)
{
        static const char *const names[] = {
                "hit",          "hit-of-an-empty-value",
                "hit-for-ever", "stale",
                "miss",         "shed",
                "negative",     "set-reply",
                "set-not-met",  "set-tier-down",
                "pong",         "del-of-nothing",
                "info-reply",
        };

        for (size_t i = 0; i < 2 * sizeof names / sizeof *names; i++) {
                json_t *v = vector(names[i / 2]);
                pn_opts opts = PN_OPTS_INIT;
                struct bytes bytes;
                struct fake f;
                uint64_t id;
                pn_reply r;

                fake_begin(&f, opts);
                f.step = i % 2;
                id = ask_for(&f, (unsigned)json_integer_value(json_object_get(v, "op")));
                bytes = bytes_of_vector(v, id);
                fake_send(&f, bytes_of(bytes.at, bytes.len - 1));
                expect_none(&f);
                fake_send(&f, bytes_from(bytes, bytes.len - 1));
                cr_assert_neq(pn_next(f.c, &r), PN_AGAIN, "%s", names[i / 2]);
                expect_same(&r, v);
                pn_reply_free(&r);
                forget(bytes);
                fake_end(&f);
                json_decref(v);
        }
}

/* The parts that requests and replies have in common, broken in every way the vectors know. */
Test(client_vectors, malformed_items_end_the_connection)
{
        FILE *file = fopen(NATIVE_VECTORS, "r");
        char *line = NULL;
        size_t room = 0;
        int tried = 0;

        cr_assert_not_null(file);
        while (getline(&line, &room, file) > 0) {
                json_t *v = json_loads(line, 0, NULL);
                const char *where = json_string_value(json_object_get(v, "malformed"));
                const char *name = json_string_value(json_object_get(v, "name"));
                pn_opts opts = PN_OPTS_INIT;
                const pn_bytes key = {"a", 1};
                struct bytes bytes;
                struct fake f;
                uint64_t id;
                pn_reply r;

                /* What only a server must refuse in a header does not concern a client. */
                if (where == NULL || strstr(name, "in-a-request") != NULL) {
                        json_decref(v);
                        continue;
                }
                fake_begin(&f, opts);
                if (strcmp(where, "batch") == 0) {
                        cr_assert_eq(pn_append_mget(f.c, &key, 1, &id), PN_OK);
                        fake_expect(&f, NATIVE_OP_MGET);
                } else {
                        id = ask_get(&f, "a");
                }
                bytes = bytes_of_vector(v, id);
                if (bytes.len > 5 && strcmp(where, "header") != 0) {
                        uint8_t *at = (uint8_t *)bytes.at;

                        at[5] |= NATIVE_REPLY;
                        if (strcmp(where, "chunk") != 0 && strcmp(where, "credit") != 0)
                                at[4] = strcmp(where, "batch") == 0 ? NATIVE_OP_MGET
                                                                    : NATIVE_OP_GET;
                }
                fake_send(&f, bytes);
                cr_assert_eq(pn_fd(f.c), -1, "%s", name);
                cr_assert_eq(pn_next(f.c, &r), PN_UNAVAILABLE);
                pn_reply_free(&r);
                tried++;
                forget(bytes);
                fake_end(&f);
                json_decref(v);
        }
        cr_assert_gt(tried, 15);
        free(line);
        fclose(file);
}
