/* What a pin promises; how pins are kept is in test_roots.c. */
#include "tests/collector/collector_test.h"

#include "collector/finalizer.h"

static _Atomic unsigned ncalls;

static void on_finalize(void *object, void *arg)
{
        (void)arg;
        cr_assert_eq(((struct node *)object)->value, 5);
        pld_add_release(&ncalls, 1);
}

/* A chain whose head is pinned, and remembered nowhere else but in disguise. */
static void *make_pinned(void *unused)
{
        (void)unused;
        struct node *node = node_new(node_new(NULL, 6), 5);
        watch(0, node);
        watch(1, node->next);
        cr_assert_eq(polder_finalizer_set(node, on_finalize, NULL), 0);
        cr_assert_eq(polder_pin(node), 0);
        return (void *)~(uintptr_t)node;
}

static void *unpin_hidden(void *hidden)
{
        struct node *node = (struct node *)~(uintptr_t)hidden;
        cr_assert_eq(node->value, 5);
        cr_assert_eq(node->next->value, 6);
        cr_assert_eq(polder_unpin(node), 0);
        return NULL;
}

Test(pin, it_keeps_the_object_where_it_is_with_all_it_refers_to, .timeout = 60)
{
        collected_start();
        void *hidden = on_a_thread(make_pinned, NULL);
        for (int i = 0; i < 4; i++) {
                collect_both_ways();
                cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        }
        cr_expect(is_alive(0) && is_alive(1));
        cr_expect_eq(ncalls, 0, "what is pinned is not finalized");
        on_a_thread(unpin_hidden, hidden);
        collect_both_ways();
        while (pld_load_acquire(&ncalls) == 0)
                sched_yield();
        while (pld_finalizers_called() == 0)
                sched_yield();
        collect_both_ways();
        cr_expect_not(is_alive(0) || is_alive(1));
}

static void *migrate_hidden(void *hidden)
{
        struct node *node = (struct node *)~(uintptr_t)hidden;
        int node_id = polder_node_of(node);
        polder_migrate(node, sizeof *node, node_id); /* whatever it answers */
        return NULL;
}

Test(pin, its_page_may_be_asked_to_move_and_its_address_stays, .timeout = 60)
{
        collected_start();
        void *hidden = on_a_thread(make_pinned, NULL);
        on_a_thread(migrate_hidden, hidden);
        collect_both_ways();
        cr_expect(is_alive(0));
        on_a_thread(unpin_hidden, hidden);
}

static void *pin_and_end(void *hidden)
{
        struct node *node = (struct node *)~(uintptr_t)hidden;
        cr_assert_eq(polder_pin(node), 0);
        polder_thread_detach();
        return NULL;
}

Test(pin, it_belongs_to_no_thread, .timeout = 60)
{
        collected_start();
        void *hidden = on_a_thread(make_pinned, NULL);
        on_a_thread(pin_and_end, hidden);
        on_a_thread(unpin_hidden, hidden);
        collect_both_ways();
        cr_expect(is_alive(0), "the other thread's is left");
        on_a_thread(unpin_hidden, hidden);
}

Test(pin, what_is_not_collected_cannot_be_pinned)
{
        collected_start();
        struct polder_region *region = polder_region_create();
        void *from_region = polder_region_alloc(region, 100);
        cr_expect_eq(polder_pin(from_region), -EINVAL);
        cr_expect_eq(polder_unpin(from_region), -ENOENT);
        polder_scratch_mark mark = polder_scratch_begin();
        cr_expect_eq(polder_pin(polder_scratch_alloc(100)), -EINVAL);
        polder_scratch_end(mark);
        polder_region_destroy(region);
}

static void *make_uncollectable(void *unused)
{
        (void)unused;
        struct node **block = polder_new_uncollectable(64);
        struct node *node = node_new(NULL, 7);
        polder_store(&block[3], node);
        watch(0, node);
        cr_assert_eq(polder_unpin(block), -ENOENT, "polder_free() alone ends it");
        cr_assert_eq(polder_pin(block), 0);
        cr_assert_eq(polder_unpin(block), 0);
        cr_assert_eq(polder_unpin(block), -ENOENT);
        return (void *)~(uintptr_t)block;
}

static void *free_hidden(void *hidden)
{
        polder_free((void *)~(uintptr_t)hidden);
        return NULL;
}

Test(pin, uncollectable_memory_is_freed_not_unpinned, .timeout = 60)
{
        collected_start();
        void *hidden = make_and_collect(make_uncollectable);
        cr_expect(is_alive(0));
        on_a_thread(free_hidden, hidden);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

static void be_child(void)
{
        collect_both_ways();
        cr_assert(is_alive(0));
        _exit(0);
}

Test(pin, it_holds_in_the_child_of_a_fork, .timeout = 60)
{
        char said[256];
        collected_start();
        void *hidden = on_a_thread(make_pinned, NULL);
        int status = in_a_child(be_child, said, sizeof said);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x %s", status, said);
        on_a_thread(unpin_hidden, hidden);
}
