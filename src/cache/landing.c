/* landing: the newest version of each key that was written or heard of lately. A mark stands for
 * the key's hash: two keys that share one (2^-64, and the seed is ours) only make each other ask
 * again. Owns: its marks. Limit: the number of marks it was created with; the idle mark that would
 * go first anyway makes room and leaves its version to `floor`. Marks in use are not dropped: they
 * are as many as calls under way, which others bound. Not here: tags, L1, who is handed what. */
#include "cache/landing.h"

#include "base/limits.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/table.h"

enum { SWEEP_STEPS = 8, SLOTS_START = 64 };

struct landmark {
        struct table_node node;
        struct list idle; /* in the order of until_us; on no list while in use */
        uint64_t version; /* 0: nothing heard */
        uint64_t heard_us;
        uint64_t until_us;
        /* The floor while a call about the key is under way: it may be what this key left there,
         * and must not end before the call does. It ends with the call, or overflow would feed
         * itself. */
        uint64_t inherited, inherited_heard_us;
        uint32_t users;
};

struct landing {
        struct table marks;
        struct list idle;
        unsigned limit;
        /* Of the marks that were dropped early: speaks for every key until floor_until_us. */
        uint64_t floor;
        uint64_t floor_heard_us; /* the earliest: the strictest answer */
        uint64_t floor_until_us;
};

static struct landmark *
mark_of(struct table_node *node)
{
        return container_of(node, struct landmark, node);
}

static struct landmark *
idle_first(struct landing *l)
{
        return list_empty(&l->idle) ? NULL : container_of(l->idle.next, struct landmark, idle);
}

struct landing *
landing_create(unsigned limit)
{
        struct landing *l = mem_zalloc(sizeof *l);

        l->limit = limit;
        table_init(&l->marks, SLOTS_START);
        list_init(&l->idle);
        return l;
}

void
landing_destroy(struct landing *l)
{
        if (l == NULL)
                return;
        for (size_t i = 0; i <= l->marks.mask; i++)
                for (struct table_node *node = l->marks.slots[i], *next; node; node = next) {
                        next = node->next;
                        mem_free(mark_of(node));
                }
        table_deinit(&l->marks);
        mem_free(l);
}

static struct landmark *
mark_find(const struct landing *l, struct key key)
{
        struct table_node *node = table_first(&l->marks, key.hash);

        return node != NULL ? mark_of(node) : NULL;
}

static void
mark_free(struct landing *l, struct landmark *mark)
{
        list_remove(&mark->idle);
        table_remove(&l->marks, &mark->node);
        mem_free(mark);
}

static void
floor_raise(struct landing *l, uint64_t version, uint64_t heard_us, uint64_t until_us)
{
        if (l->floor == 0 || heard_us < l->floor_heard_us)
                l->floor_heard_us = heard_us;
        if (version > l->floor)
                l->floor = version;
        if (until_us > l->floor_until_us)
                l->floor_until_us = until_us;
}

/* The floor speaks as long as the last mark it took over would have. */
static void
floor_end(struct landing *l, uint64_t mono_us)
{
        if (l->floor != 0 && mono_us >= l->floor_until_us)
                l->floor = l->floor_heard_us = l->floor_until_us = 0;
}

/* Makes room for one more mark; false when all are in use. */
static bool
room_make(struct landing *l)
{
        struct landmark *oldest;

        if (l->marks.count < l->limit)
                return true;
        oldest = idle_first(l);
        if (oldest == NULL)
                return false;
        floor_raise(l, oldest->version, oldest->heard_us, oldest->until_us);
        mark_free(l, oldest);
        return true;
}

static struct landmark *
mark_new(struct landing *l, struct key key)
{
        struct landmark *mark = mem_zalloc(sizeof *mark);

        list_init(&mark->idle);
        table_insert(&l->marks, &mark->node, key.hash);
        return mark;
}

static void
mark_rest(struct landing *l, struct landmark *mark, uint64_t mono_us)
{
        mark->until_us = mono_us + LIMIT_LANDING_KEEP_US;
        list_remove(&mark->idle);
        list_push(&l->idle, &mark->idle);
}

struct landmark *
landing_enter(struct landing *l, struct key key)
{
        struct landmark *mark = mark_find(l, key);

        if (mark == NULL) {
                (void)room_make(l);
                mark = mark_new(l, key);
        }
        list_remove(&mark->idle);
        mark->users++;
        if (l->floor > mark->inherited) {
                mark->inherited = l->floor;
                mark->inherited_heard_us = l->floor_heard_us;
        }
        return mark;
}

void
landing_leave(struct landing *l, struct landmark *mark, uint64_t mono_us)
{
        must(mark->users > 0);
        if (--mark->users > 0)
                return;
        mark->inherited = mark->inherited_heard_us = 0;
        if (mark->version == 0)
                mark_free(l, mark);
        else
                mark_rest(l, mark, mono_us);
}

void
landing_note(struct landing *l, struct key key, uint64_t version, uint64_t mono_us)
{
        struct landmark *mark = mark_find(l, key);

        floor_end(l, mono_us);
        if (mark == NULL) {
                if (!room_make(l)) {
                        floor_raise(l, version, mono_us, mono_us + LIMIT_LANDING_KEEP_US);
                        return;
                }
                mark = mark_new(l, key);
        }
        if (version > mark->version) {
                mark->version = version;
                mark->heard_us = mono_us;
        }
        if (mark->users == 0)
                mark_rest(l, mark, mono_us);
}

uint64_t
landing_newest(const struct landing *l, struct key key, uint64_t *heard_us)
{
        const struct landmark *mark = mark_find(l, key);
        uint64_t newest = l->floor, newest_heard_us = l->floor_heard_us;

        if (mark != NULL && mark->inherited > newest) {
                newest = mark->inherited;
                newest_heard_us = mark->inherited_heard_us;
        }
        if (mark != NULL && mark->version >= newest) {
                newest = mark->version;
                newest_heard_us = mark->heard_us;
        }
        if (heard_us != NULL)
                *heard_us = newest_heard_us;
        return newest;
}

void
landing_sweep(struct landing *l, uint64_t mono_us)
{
        floor_end(l, mono_us);
        for (int i = 0; i < SWEEP_STEPS; i++) {
                struct landmark *oldest = idle_first(l);

                if (oldest == NULL || oldest->until_us > mono_us)
                        return;
                mark_free(l, oldest);
        }
}

unsigned
landing_count(const struct landing *l)
{
        return (unsigned)l->marks.count;
}
