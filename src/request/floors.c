/* request/floors.c: see floors.h. Owns the names; one table a worker, so no locks: news for the
 * others is posted.
 * Limit: the number of namespaces ever invalidated as a whole; each takes its name and 48 bytes.
 * Not here: who decides to invalidate (queues.c, op_flush.c). */
#include "request/floors.h"

#include "base/hash.h"
#include "base/mem.h"
#include "cache/key.h"

#define SYNC_US UINT64_C(1000000) /* of one call */

struct floor {
        struct table_node node;
        uint64_t version;
        size_t len;
        uint8_t name[];
};

struct floors {
        struct table table;
        uint64_t everything;
        struct list syncs; /* under way */
};

struct floors *
floors_create(void)
{
        struct floors *f = mem_zalloc(sizeof *f);

        table_init(&f->table, 16);
        list_init(&f->syncs);
        return f;
}

void
floors_destroy(struct floors *f)
{
        size_t cursor = 0;
        struct table_node *node = NULL;

        while ((node = table_walk(&f->table, &cursor, node)) != NULL) {
                table_remove(&f->table, node);
                mem_free(container_of(node, struct floor, node));
        }
        table_deinit(&f->table);
        mem_free(f);
}

static struct floor *
floors_find(const struct floors *f, struct bytes name, uint64_t hash)
{
        table_each_match (node, &f->table, hash) {
                struct floor *floor = container_of(node, struct floor, node);

                if (bytes_equal(bytes_of(floor->name, floor->len), name))
                        return floor;
        }
        return NULL;
}

uint64_t
floors_get(const struct floors *f, struct bytes key_text)
{
        struct bytes name;
        struct floor *floor;

        if (f->table.count == 0) /* nearly always: no hashing on the way of a hit */
                return f->everything;
        name = key_namespace(key_text);
        floor = floors_find(f, name, hash64(name, 0));
        return floor != NULL && floor->version > f->everything ? floor->version : f->everything;
}

bool
floors_raise(struct floors *f, struct bytes name_space, uint64_t version)
{
        struct floor *floor;
        uint64_t hash;

        if (name_space.at == NULL) {
                if (version <= f->everything)
                        return false;
                f->everything = version;
                return true;
        }
        hash = hash64(name_space, 0);
        floor = floors_find(f, name_space, hash);
        if (floor == NULL) {
                floor = mem_zalloc(sizeof *floor + name_space.len);
                floor->len = name_space.len;
                if (name_space.len > 0)
                        memcpy(floor->name, name_space.at, name_space.len);
                table_insert(&f->table, &floor->node, hash);
        }
        if (version <= floor->version)
                return false;
        floor->version = version;
        return true;
}

/* ---- news for the other workers ---- */

struct floor_news {
        struct task task;
        bool everything;
        uint64_t version;
        size_t len;
        uint8_t name[];
};

static void
news_advance(struct task *task, struct env *env)
{
        struct floor_news *news = container_of(task, struct floor_news, task);
        struct bytes name = bytes_of(news->everything ? NULL : news->name, news->len);

        floors_raise(env->floors, name, news->version);
        mem_free(news);
}

void
floors_spread(struct env *env, struct bytes name_space, uint64_t version)
{
        if (version > env->seen)
                env->seen = version;
        if (!floors_raise(env->floors, name_space, version))
                return;
        for (unsigned i = 0; i < env->count; i++) {
                struct floor_news *news;

                if (i == env->index)
                        continue;
                news = mem_zalloc(sizeof *news + name_space.len);
                task_init(&news->task, news_advance);
                news->everything = name_space.at == NULL;
                news->version = version;
                news->len = name_space.len;
                if (name_space.len > 0)
                        memcpy(news->name, name_space.at, name_space.len);
                env->post(env->workers[i], &news->task);
        }
}

/* ---- with a tier ---- */

/* One exchange with a tier that came up: load its floors, then raise there what we know better.
 * One a tier at a time, again and again while it is slow; when it is gone it will come up again. */
struct floor_sync {
        struct task task;
        struct list link; /* in floors.syncs */
        bool l3;          /* which tier */
        bool loaded;
        struct tier_call call;
        bool again;          /* there is news since it began */
        struct bytes raises; /* the names still to be sent, in `names` */
        struct blob *names;  /* u16 length, name, u64 version; as TIER_FLOORS answers */
};

static bool
record_next(struct bytes *rest, struct bytes *name, uint64_t *version)
{
        size_t len;

        if (rest->len < 2)
                return false;
        len = get_u16(rest->at);
        if (rest->len < 2 + len + 8)
                return false;
        *name = bytes_of(rest->at + 2, len);
        *version = get_u64(rest->at + 2 + len);
        *rest = bytes_from(*rest, 2 + len + 8);
        return true;
}

/* All floors we know, in the tier's own form. */
static struct blob *
floors_record(const struct floors *f)
{
        size_t size = 0, cursor = 0;
        struct table_node *node = NULL;
        struct blob *blob;
        uint8_t *at;

        while ((node = table_walk(&f->table, &cursor, node)) != NULL)
                size += 2 + container_of(node, struct floor, node)->len + 8;
        blob = blob_new(size);
        if (blob == NULL)
                return NULL;
        at = blob->at;
        cursor = 0;
        node = NULL;
        while ((node = table_walk(&f->table, &cursor, node)) != NULL) {
                struct floor *floor = container_of(node, struct floor, node);

                put_u16(at, (uint16_t)floor->len);
                memcpy(at + 2, floor->name, floor->len);
                put_u64(at + 2 + floor->len, floor->version);
                at += 2 + floor->len + 8;
        }
        return blob;
}

static struct tier *
sync_tier(const struct floor_sync *sync, const struct env *env)
{
        return sync->l3 ? env->l3 : env->l2;
}

static void
sync_begin(struct floor_sync *sync, struct env *env)
{
        blob_unref(sync->names);
        sync->names = NULL;
        sync->loaded = sync->again = false;
        sync->call = (struct tier_call){
                .verb = TIER_FLOORS,
                .deadline_us = env->mono_us + SYNC_US,
                .owner = &sync->task,
        };
        tier_start(sync_tier(sync, env), &sync->call);
}

static void
sync_end(struct floor_sync *sync)
{
        list_remove(&sync->link);
        blob_unref(sync->names);
        mem_free(sync);
}

/* What the tier holds is known here too; what is known here is listed. False: memory is short. */
static bool
sync_load(struct floor_sync *sync, struct env *env)
{
        struct bytes name;
        uint64_t version;

        if (sync->call.found != NULL) {
                struct bytes rest = blob_bytes(sync->call.found);

                while (record_next(&rest, &name, &version))
                        floors_spread(env, name, version);
                blob_unref(sync->call.found);
        }
        sync->loaded = true;
        sync->names = floors_record(env->floors);
        if (sync->names == NULL)
                return false;
        sync->raises = blob_bytes(sync->names);
        return true;
}

static void
sync_advance(struct task *task, struct env *env)
{
        struct floor_sync *sync = container_of(task, struct floor_sync, task);
        struct bytes name;
        uint64_t version;
        bool fine = sync->call.result == TIER_ANSWERED;
        bool late = sync->call.result == TIER_TIMED_OUT && sync_tier(sync, env)->up;

        if (fine && !sync->loaded)
                fine = sync_load(sync, env);
        if (fine && record_next(&sync->raises, &name, &version)) {
                sync->call.verb = TIER_RAISE;
                sync->call.name_space = name;
                sync->call.version = version;
                sync->call.deadline_us = env->mono_us + SYNC_US;
                tier_start(sync_tier(sync, env), &sync->call);
                return;
        }
        if (late || (fine && sync->again))
                sync_begin(sync, env);
        else
                sync_end(sync);
}

void
floors_sync(struct env *env, struct tier *tier)
{
        struct floor_sync *sync;

        list_each (node, &env->floors->syncs) {
                sync = container_of(node, struct floor_sync, link);
                if (sync->l3 == (tier == env->l3)) {
                        sync->again = true;
                        return;
                }
        }
        sync = mem_zalloc(sizeof *sync);
        task_init(&sync->task, sync_advance);
        sync->l3 = tier == env->l3;
        list_push(&env->floors->syncs, &sync->link);
        sync_begin(sync, env);
}
