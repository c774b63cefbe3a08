#include "tests/arena/arena_test.h"

#include <polder/arena.h>

#include <criterion/redirect.h>
#include <errno.h>
#include <stdlib.h>

Test(arena, it_starts_once)
{
        struct pld_arena_settings settings = arena_test_settings();
        cr_expect_not(pld_arena_is_started());
        arena_test_machine(1);
        cr_expect_eq(pld_arena_start(&settings), 0);
        cr_expect(pld_arena_is_started());
        cr_expect_eq(pld_arena_start(&settings), -EALREADY);
        cr_expect_eq(pld_arena_start(NULL), -EALREADY);
}

Test(arena, a_bad_option_is_an_error_and_a_good_one_may_follow)
{
        struct pld_arena_settings settings = arena_test_settings();
        cr_redirect_stderr();
        arena_test_machine(1);
        settings.nodes = "17";
        cr_expect_eq(pld_arena_start(&settings), -EINVAL);
        settings.nodes = NULL;
        settings.pages = "3M";
        cr_expect_eq(pld_arena_start(&settings), -EINVAL);
        cr_expect_not(pld_arena_is_started());
        settings.pages = "thp,base";
        cr_expect_eq(pld_arena_start(&settings), 0);
}

Test(arena, a_bad_variable_is_a_complaint_and_the_default)
{
        cr_redirect_stderr();
        arena_test_machine(1);
        setenv("POLDER_PAGES", "3M", 1);
        setenv("POLDER_NODES", "17", 1);
        cr_expect_eq(pld_arena_start(NULL), 0);
        cr_expect_not_null(polder_malloc(10));
}

Test(arena, the_reserve_is_backed_on_every_node)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = 8 * PLD_MIB;
        arena_test_machine(2);
        cr_expect_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_arena_prefault_wait(), 0);
        cr_expect_eq(pld_page_heap_backed_bytes(), 8 * PLD_MIB);
        cr_expect_eq(pld_fake_free_bytes(arena_test_id(0)), 8 * PLD_GIB - 4 * PLD_MIB);
        cr_expect_eq(pld_fake_free_bytes(arena_test_id(1)), 8 * PLD_GIB - 4 * PLD_MIB);
        cr_expect_eq(polder_release(), 0, "a reserve stays");
}

Test(arena, with_prefault_the_reserve_is_there_when_start_returns)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = 8 * PLD_MIB;
        settings.prefault = true;
        arena_test_machine(1);
        cr_expect_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_page_heap_backed_bytes(), 8 * PLD_MIB);
        cr_expect_eq(pld_page_heap_idle_bytes(), 8 * PLD_MIB);
        polder_malloc(100);
        cr_expect_eq(pld_page_heap_backed_bytes(), 8 * PLD_MIB, "it is used first");
}

Test(arena, a_reserve_that_falls_short_is_an_error_of_the_wait)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = 8 * PLD_GIB;
        arena_test_machine(1);
        pld_fake_set_free(arena_test_id(0), 1 * PLD_GIB);
        cr_expect_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_arena_prefault_wait(), -ENOMEM);
        cr_expect_not_null(polder_malloc(100));
}

Test(arena, without_a_reserve_there_is_nothing_to_wait_for)
{
        cr_expect_eq(pld_arena_prefault_wait(), 0);
        arena_test_start(1);
        cr_expect_eq(pld_arena_prefault_wait(), 0);
}

Test(arena, interleaved_memory_is_striped_over_the_nodes)
{
        arena_test_machine(2);
        pld_fake_set_policy(PLD_POLICY_INTERLEAVE, "1,3");
        struct pld_arena_settings settings = arena_test_settings();
        cr_expect_eq(pld_arena_start(&settings), 0);
        char *p = polder_malloc(4 * PLD_HUGE_BYTES);
        for (unsigned i = 0; i < 3; i++)
                cr_expect_neq(polder_node_of(p + i * PLD_HUGE_BYTES),
                              polder_node_of(p + (i + 1) * PLD_HUGE_BYTES));
        void *q = polder_malloc(64);
        cr_expect_eq(pld_range_slice_of((uintptr_t)q), pld_machine.nnodes);
        polder_free(p);
        polder_free(q);
        arena_test_nothing_left();
}

static void *start_it(void *unused)
{
        (void)unused;
        int error = pld_arena_start(NULL);
        void *p = polder_malloc(64);
        polder_free(p);
        return (void *)(intptr_t)(p ? error : 1);
}

Test(arena, of_many_threads_that_start_it_one_does)
{
        enum { N = 8 };
        pthread_t threads[N];
        unsigned nstarted = 0;
        arena_test_machine(1);
        for (unsigned i = 0; i < N; i++)
                pthread_create(&threads[i], NULL, start_it, NULL);
        for (unsigned i = 0; i < N; i++) {
                void *error;
                pthread_join(threads[i], &error);
                nstarted += error == NULL;
                cr_expect(error == NULL || (intptr_t)error == -EALREADY);
        }
        cr_expect_eq(nstarted, 1);
}
