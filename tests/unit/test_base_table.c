/* The hash table: growth, equal hashes, removal, and walking while the walked nodes are removed. */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "base/must.h"
#include "base/table.h"

enum { MANY = 1000 };

struct item {
        struct table_node node;
        unsigned n;
        bool seen;
};

static struct item items[MANY];
static struct table table;

static void
setup(void)
{
        table_init(&table, 0);
        for (unsigned i = 0; i < MANY; i++)
                items[i].n = i;
}

static void
teardown(void)
{
        table_deinit(&table);
}

static struct item *
find(uint64_t hash, unsigned n)
{
        table_each_match (node, &table, hash) {
                struct item *item = container_of(node, struct item, node);

                if (item->n == n)
                        return item;
        }
        return NULL;
}

TestSuite(table, .init = setup, .fini = teardown);

Test(table, has_the_room_it_was_asked_for)
{
        struct table t;

        table_init(&t, 9);
        cr_expect_eq(t.mask + 1, 16);
        table_deinit(&t);
        table_init(&t, 16);
        cr_expect_eq(t.mask + 1, 16);
        table_deinit(&t);
        table_init(&t, 0);
        cr_expect_null(table_first(&t, 0));
        table_deinit(&t);
}

Test(table, keeps_everything_when_it_grows)
{
        for (unsigned i = 0; i < MANY; i++) {
                table_insert(&table, &items[i].node, i * 0x9e3779b97f4a7c15u);
                cr_assert_leq(table.count, table.mask + 1);
        }
        cr_expect_eq(table.count, MANY);
        cr_expect_eq(table.mask + 1, 1024);
        for (unsigned i = 0; i < MANY; i++)
                cr_assert_eq(find(i * 0x9e3779b97f4a7c15u, i), &items[i]);
        cr_expect_null(find(MANY * 0x9e3779b97f4a7c15u, MANY));
}

Test(table, equal_hashes_are_all_found)
{
        unsigned found = 0;

        for (unsigned i = 0; i < 20; i++)
                table_insert(&table, &items[i].node, 77);
        table_insert(&table, &items[20].node, 77 + ((uint64_t)1 << 40)); /* the same slot */
        table_each_match (node, &table, 77)
                found++;
        cr_expect_eq(found, 20);
        table_remove(&table, &items[10].node);
        cr_expect_null(find(77, 10));
        cr_expect_eq(find(77, 11), &items[11]);
        cr_expect_eq(table.count, 20);
}

static unsigned
walk(bool remove_even)
{
        struct table_node *node = NULL;
        size_t cursor = 0;
        unsigned count = 0;

        while ((node = table_walk(&table, &cursor, node)) != NULL) {
                struct item *item = container_of(node, struct item, node);

                cr_assert_not(item->seen, "%u came twice", item->n);
                item->seen = true;
                count++;
                if (remove_even && item->n % 2 == 0)
                        table_remove(&table, node);
        }
        cr_expect_null(table_walk(&table, &cursor, NULL), "the end stays the end");
        return count;
}

Test(table, walk_of_nothing)
{
        cr_expect_eq(walk(false), 0);
}

Test(table, walk_sees_each_once)
{
        for (unsigned i = 0; i < MANY; i++)
                table_insert(&table, &items[i].node, i * 0x9e3779b97f4a7c15u);
        cr_expect_eq(walk(false), MANY);
}

/* Chains of eight in every other slot, so that removal happens at each place of a chain. */
Test(table, walk_sees_each_once_while_some_are_removed)
{
        for (unsigned i = 0; i < 800; i++)
                table_insert(&table, &items[i].node, (uint64_t)(i / 8) * 2);
        cr_expect_eq(walk(true), 800);
        cr_expect_eq(table.count, 400);
        for (unsigned i = 0; i < 800; i++) {
                cr_expect_eq(find((uint64_t)(i / 8) * 2, i), i % 2 ? &items[i] : NULL);
                items[i].seen = false;
        }
        cr_expect_eq(walk(true), 400);
}

/* The usual end of a table: each node is freed as it is handed out. */
Test(table, walk_may_free_what_it_got)
{
        struct table_node *node = NULL;
        size_t cursor = 0;
        uint64_t before = mem_in_use();

        for (unsigned i = 0; i < 100; i++) {
                struct item *item = mem_zalloc(sizeof *item);

                table_insert(&table, &item->node, i % 10);
        }
        while ((node = table_walk(&table, &cursor, node)) != NULL) {
                table_remove(&table, node);
                mem_free(container_of(node, struct item, node));
        }
        cr_expect_eq(table.count, 0);
        table_deinit(&table);
        table_init(&table, 0);
        cr_expect_eq(mem_in_use(), before);
}
