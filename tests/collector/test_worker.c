#include "tests/collector/collector_test.h"

#include "collector/worker.h"

static void expect_workers(unsigned nnodes, unsigned ncpus, unsigned n)
{
        collected_start_on(nnodes, ncpus);
        cr_expect_eq(pld_workers_count(), 0, "made when first needed");
        collect_both_ways();
        cr_expect_eq(pld_workers_count(), n);
}

Test(worker, a_node_has_a_worker_for_each_four_cpus)
{
        expect_workers(1, 8, 2);
}

Test(worker, a_small_node_has_one_that_works_part_time)
{
        expect_workers(2, 2, 2);
}

Test(worker, the_setting_is_per_node)
{
        setenv("POLDER_WORKERS", "3", 1);
        expect_workers(2, 2, 6);
}

Test(worker, a_node_without_cpus_has_none)
{
        pld_fake_reset();
        pld_fake_add_node(0, 4, PLD_GIB);
        pld_fake_add_node(1, 0, PLD_GIB);
        pld_fake_install();
        collected_start();
        collect_both_ways();
        cr_expect_eq(pld_workers_count(), 1);
}

Test(worker, a_worker_that_cannot_be_made_is_done_without)
{
        pld_fake_reset();
        pld_fake_add_node(0, 16, PLD_GIB);
        pld_fake_install();
        pld_fake_fail(PLD_FAKE_THREAD_CREATE, 2, 100, EAGAIN); /* the collector and one worker */
        collected_start();
        collect_both_ways();
        cr_expect_leq(pld_workers_count(), 2);
        cr_expect_lt(pld_workers_count(), 4);
}

enum { LITTLE = 100, MUCH = 20000 };

static void *make_list(void *length)
{
        for (uintptr_t i = 0; i < (uintptr_t)length; i++) {
                struct node *object = polder_new(node_layout);
                cr_assert_not_null(object);
                polder_store(&object->next, polder_load(&roots[0]));
                polder_store(&roots[0], object);
        }
        return NULL;
}

static uint32_t woken_by_a_cycle(void)
{
        uint32_t before = pld_workers_woken();
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        return pld_workers_woken() - before;
}

Test(worker, workers_are_woken_for_what_is_worth_it_only)
{
        collected_start();
        on_a_thread(make_list, (void *)LITTLE);
        cr_expect_eq(woken_by_a_cycle(), 0);
        on_a_thread(make_list, (void *)MUCH);
        cr_expect_eq(woken_by_a_cycle(), 1);
        polder_store(&roots[0], NULL);
        cr_expect_eq(woken_by_a_cycle(), 0);
}

enum { NNODES = 4, PER_NODE = 2000 };

/* A list that goes from node to node. */
static void *make_spread_list(void *unused)
{
        (void)unused;
        for (uintptr_t i = 0; i < NNODES * PER_NODE; i++) {
                int node = (int)(2 * (i % NNODES));
                struct node *object = polder_new_onnode(node_layout, node);
                cr_assert_not_null(object);
                cr_assert_eq(polder_node_of(object), node);
                object->value = i;
                polder_store(&object->next, polder_load(&roots[0]));
                polder_store(&roots[0], object);
        }
        return NULL;
}

static size_t length(void)
{
        size_t n = 0;
        for (struct node *node = polder_load(&roots[0]); node; node = polder_load(&node->next), n++)
                cr_assert_eq(node->value, NNODES * PER_NODE - 1 - n);
        return n;
}

Test(worker, references_to_other_nodes_are_sent_there, .timeout = 60)
{
        collected_start_on(NNODES, 2);
        on_a_thread(make_spread_list, NULL);
        uint64_t before = pld_workers_sent();
        for (int i = 0; i < 5; i++)
                cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_expect_gt(pld_workers_sent(), before);
        cr_expect_eq(length(), NNODES * PER_NODE);
        cr_assert_eq(polder_collect(POLDER_STOP_THE_WORLD), 0);
        cr_expect_eq(length(), NNODES * PER_NODE);
        polder_store(&roots[0], NULL);
        uint64_t swept = stats_now().swept_bytes;
        collect_both_ways();
        collect_both_ways();
        cr_expect_geq(stats_now().swept_bytes - swept,
                      (NNODES * PER_NODE - 100) * sizeof(struct node));
}

static void *shuffle_nodes(void *arg)
{
        struct gang *gang = arg;
        uint64_t seed = 1 + pld_add_release(&gang->nready, 1);
        struct pld_random random = pld_random_seeded(seed);
        pld_fake_run_on((int)(seed % (2 * NNODES)));
        while (!pld_load_acquire(&gang->done)) {
                struct node **at = &roots[pld_random_below(&random, 16)];
                struct node *node =
                    polder_new_onnode(node_layout, (int)(2 * pld_random_below(&random, NNODES)));
                cr_assert_not_null(node);
                node->value = 5;
                polder_store(&node->next, polder_load(at));
                struct node *third = node;
                for (int i = 0; third && i < 20; i++, third = polder_load(&third->next))
                        cr_assert_eq(third->value, 5);
                if (third)
                        polder_store(&third->next, NULL);
                polder_store(&roots[pld_random_below(&random, 16)], node);
        }
        return NULL;
}

Test(worker, mutators_on_several_nodes_lose_nothing, .timeout = 120)
{
        collected_start_on(NNODES, 2);
        collect_beside(4, shuffle_nodes, 60);
}
