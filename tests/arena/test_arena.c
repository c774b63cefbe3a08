#include "tests/arena/arena_test.h"

#include "tests/status.h"

#include <polder/arena.h>

#include <criterion/redirect.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* While one node's share is being populated, another's arrives. */
static void wait_for_another(void)
{
        for (int i = 0; i < 10000; i++, usleep(1000))
                if (pld_fake_free_bytes(arena_test_id(0)) < 8 * PLD_GIB ||
                    pld_fake_free_bytes(arena_test_id(1)) < 8 * PLD_GIB)
                        return;
        cr_expect(false, "the shares come one after the other");
}

Test(arena, the_nodes_shares_of_the_reserve_are_populated_in_parallel)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = 8 * PLD_MIB;
        settings.prefault = true;
        arena_test_machine(2);
        pld_fake_before_populate(wait_for_another);
        cr_expect_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_page_heap_backed_bytes(), 8 * PLD_MIB);
}

Test(arena, the_reserve_is_divided_among_the_nodes_that_may_be_used)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = 12 * PLD_MIB;
        settings.prefault = true;
        arena_test_machine(4);
        pld_fake_add_node(9, 0, 8 * PLD_GIB); /* without CPUs: a slower tier */
        pld_fake_allow_nodes("1,3,7,9");
        cr_expect_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_fake_free_bytes(1), 8 * PLD_GIB - 4 * PLD_MIB);
        cr_expect_eq(pld_fake_free_bytes(3), 8 * PLD_GIB - 4 * PLD_MIB);
        cr_expect_eq(pld_fake_free_bytes(5), 8 * PLD_GIB, "not allowed");
        cr_expect_eq(pld_fake_free_bytes(7), 8 * PLD_GIB - 4 * PLD_MIB);
        cr_expect_eq(pld_fake_free_bytes(9), 8 * PLD_GIB, "only when the others are full");
}

Test(arena, a_locked_reserve_is_locked_and_so_is_what_comes_later)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = 8 * PLD_MIB;
        settings.prefault = settings.lock = true;
        arena_test_machine(1);
        cr_expect_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_backing_locked_bytes(0, PLD_BACKING_THP), 8 * PLD_MIB);
        void *p = polder_malloc(32 * PLD_MIB);
        cr_expect_eq(pld_backing_locked_bytes(0, PLD_BACKING_THP), pld_page_heap_backed_bytes());
        cr_expect_geq(pld_fake_locked_bytes(), 32 * PLD_MIB);
        polder_free(p);
        polder_release();
        cr_expect_eq(pld_backing_locked_bytes(0, PLD_BACKING_THP), 8 * PLD_MIB);
}

Test(arena, a_reserve_that_may_not_be_locked_works_unlocked, .init = cr_redirect_stderr)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = 8 * PLD_MIB;
        settings.prefault = settings.lock = true;
        arena_test_machine(1);
        pld_fake_forbid(PLD_FAKE_LOCK, EPERM);
        cr_expect_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_page_heap_backed_bytes(), 8 * PLD_MIB);
        cr_expect_eq(pld_backing_locked_bytes(0, PLD_BACKING_THP), 0);
        cr_expect_gt(pld_backing_fallbacks(PLD_BACKING_THP, PLD_REASON_LOCK_REFUSED), 0);
        cr_expect_not_null(polder_malloc(100));
}

/* On the machine of the day. What can be written becomes resident, what lies in wait in
 * tables for terabytes does not. */
static void lock_all(bool before)
{
        struct pld_arena_settings settings = arena_test_settings();
        if (before && mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
                cr_skip_test("mlockall() is refused here");
        size_t rss = status_bytes("VmRSS:");
        cr_assert_eq(pld_arena_start(&settings), 0);
        char *p = polder_malloc(100), *q = polder_malloc(8 * PLD_MIB);
        cr_assert(p && q);
        if (!before && mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
                cr_skip_test("mlockall() is refused here");
        void *r = polder_malloc(8 * PLD_MIB);
        memset(r, 1, 8 * PLD_MIB);
        size_t grown = status_bytes("VmRSS:") - rss;
        cr_expect_lt(grown, 64 * PLD_MIB, "%zu MiB, of %zu GiB reserved", grown / PLD_MIB,
                     pld_range.nbytes / PLD_GIB);
        cr_expect_eq(pld_backing_misplaced(), 0);
        cr_expect_eq(pld_backing_fallbacks(PLD_BACKING_THP, PLD_REASON_MISPLACED), 0);
        for (int i = 0; i < 1000; i++)
                polder_free(polder_malloc((size_t)i * 1000));
        polder_free(p);
        polder_free(q);
        polder_free(r);
        polder_release();
        munlockall();
}

Test(arena, what_all_is_locked_later_brings_only_what_is_used)
{
        lock_all(false);
}

Test(arena, what_all_was_locked_before_brings_only_what_is_used)
{
        lock_all(true);
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
