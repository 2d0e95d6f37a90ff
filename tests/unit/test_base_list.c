/* The intrusive list, and tasks that stand on it at most once. */
#include <criterion/criterion.h>

#include "base/list.h"
#include "base/task.h"

struct item {
        int n;
        struct list node;
};

static struct item items[5];

static void
setup(void)
{
        for (int i = 0; i < 5; i++) {
                items[i].n = i;
                list_init(&items[i].node);
        }
}

static int
n_of(const struct list *node)
{
        return container_of(node, struct item, node)->n;
}

/* The numbers on the list as decimal digits, read both ways so that a broken back link shows. */
static long
digits(const struct list *l)
{
        long forward = 0, backward = 0, place = 1;

        list_each (node, l)
                forward = forward * 10 + n_of(node);
        for (struct list *node = l->prev; node != l; node = node->prev, place *= 10)
                backward += n_of(node) * place;
        cr_expect_eq(forward, backward);
        return forward;
}

Test(list, keeps_order_at_both_ends, .init = setup)
{
        struct list l;

        list_init(&l);
        cr_expect(list_empty(&l));
        list_push(&l, &items[2].node);
        list_push(&l, &items[3].node);
        list_push_front(&l, &items[1].node);
        cr_expect_eq(digits(&l), 123);
        list_insert(&items[3].node, &items[4].node);
        cr_expect_eq(digits(&l), 1234);
}

Test(list, pop_until_nothing_is_left, .init = setup)
{
        struct list l;

        list_init(&l);
        cr_expect_null(list_pop(&l));
        list_push(&l, &items[1].node);
        list_push(&l, &items[2].node);
        cr_expect_eq(n_of(list_pop(&l)), 1);
        cr_expect_eq(n_of(list_pop(&l)), 2);
        cr_expect_null(list_pop(&l));
        cr_expect(list_empty(&items[1].node), "a popped node is on no list");
}

Test(list, removing_twice_is_safe, .init = setup)
{
        struct list l;

        list_init(&l);
        for (int i = 1; i < 4; i++)
                list_push(&l, &items[i].node);
        list_remove(&items[2].node);
        list_remove(&items[2].node);
        cr_expect_eq(digits(&l), 13);
        list_remove(&items[1].node);
        list_remove(&items[3].node);
        cr_expect(list_empty(&l));
}

Test(list, the_body_may_remove_its_node, .init = setup)
{
        struct list l;
        int seen = 0;

        list_init(&l);
        for (int i = 0; i < 5; i++)
                list_push(&l, &items[i].node);
        list_each_safe (node, &l) {
                seen++;
                if (n_of(node) % 2 == 0)
                        list_remove(node);
        }
        cr_expect_eq(seen, 5);
        cr_expect_eq(digits(&l), 13);
}

Test(list, splice_moves_everything, .init = setup)
{
        struct list a, b;

        list_init(&a);
        list_init(&b);
        list_splice(&a, &b);
        cr_expect(list_empty(&a) && list_empty(&b));
        list_push(&b, &items[3].node);
        list_push(&b, &items[4].node);
        list_splice(&a, &b);
        cr_expect_eq(digits(&a), 34);
        cr_expect(list_empty(&b));
        list_push(&b, &items[1].node);
        list_splice(&a, &b);
        cr_expect_eq(digits(&a), 341);
}

static void
do_nothing(struct task *task, struct env *env)
{
        (void)task;
        (void)env;
}

Test(task, stands_on_the_ready_list_once)
{
        struct list ready;
        struct task a, b;

        list_init(&ready);
        task_init(&a, do_nothing);
        task_init(&b, do_nothing);
        task_ready(&ready, &a);
        task_ready(&ready, &b);
        task_ready(&ready, &a);
        cr_expect_eq(list_pop(&ready), &a.ready);
        cr_expect_eq(list_pop(&ready), &b.ready);
        cr_expect_null(list_pop(&ready));
        task_ready(&ready, &a);
        cr_expect_eq(list_pop(&ready), &a.ready, "once it ran it may stand there again");
}
