#include "tests/arena/page_heap_test.h"

/* P9; two pages in the pool of node 0. */
static void start_gigantic(unsigned nnodes)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.pages = "1G,2M,thp,base";
        arena_test_machine(nnodes);
        pld_fake_set_gigantic(arena_test_id(0), 2);
        cr_assert_eq(pld_arena_start(&settings), 0);
}

static uint64_t left_1g(enum pld_reason why)
{
        return pld_backing_fallbacks(PLD_BACKING_1G, why);
}

Test(gigantic, a_reserve_takes_1g_pages_as_far_as_the_pool_goes)
{
        start_gigantic(1);
        size_t nbytes = 3 * PLD_GIB + 6 * PLD_MIB;
        cr_expect_eq(pld_page_heap_grow(0, nbytes, true), nbytes);
        cr_expect_eq(pld_fake_gigantic(arena_test_id(0)), 0);
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_1G), 2 * PLD_GIB);
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_THP), PLD_GIB + 6 * PLD_MIB);
        cr_expect_eq(left_1g(PLD_REASON_POOL_EMPTY), 1, "each GiB is one step down");
        cr_expect_eq(pld_page_heap_huge_bytes(), nbytes);
        cr_expect_eq(pld_page_heap_idle_bytes(), nbytes);
        pld_page_heap_verify();
}

Test(gigantic, what_grows_otherwise_takes_no_1g_page)
{
        start_gigantic(1);
        cr_expect_eq(pld_page_heap_grow(0, PLD_GIB, false), PLD_GIB);
        struct pld_run run = take(0, PLD_GIB >> PLD_PAGE_SHIFT, PLD_PAGE_BYTES);
        cr_expect_eq(pld_fake_gigantic(arena_test_id(0)), 2);
        pld_page_heap_free(run);
}

Test(gigantic, huge_pages_of_a_1g_page_are_used_first_and_never_given_back)
{
        start_gigantic(1);
        cr_assert_eq(pld_page_heap_grow(0, PLD_GIB, true), PLD_GIB);
        cr_assert_eq(pld_page_heap_grow(0, PLD_HUGE_BYTES, false), PLD_HUGE_BYTES);
        struct pld_run first = take(0, 1, PLD_PAGE_BYTES);
        cr_expect_eq(pld_page_heap_release(UINT64_MAX), PLD_HUGE_BYTES, "the other one is idle");
        pld_page_heap_free(first);
        struct pld_run runs[3] = { take(0, 1, PLD_PAGE_BYTES),
                                   take(0, 2 * PLD_HUGE_PAGES, PLD_HUGE_BYTES),
                                   take(0, 512 * PLD_HUGE_PAGES, PLD_PAGE_BYTES) };
        cr_expect_eq(pld_fake_node_of((void *)runs[0].at), arena_test_id(0));
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_THP), 3 * PLD_HUGE_BYTES, "what was missing");
        for (int i = 0; i < 3; i++) {
                cr_expect(runs[i].zeroed == (i > 0) && !runs[i].lazy);
                pld_page_heap_free(runs[i]);
        }
        pld_page_heap_verify();
        pld_page_heap_release(UINT64_MAX);
        pld_page_heap_shed(UINT64_MAX, true);
        cr_expect_eq(pld_page_heap_backed_bytes(), PLD_GIB);
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_1G), PLD_GIB);
        cr_expect_null(pld_fake_disaster());
        struct pld_run again = take(0, 1, PLD_PAGE_BYTES);
        cr_expect_eq(pld_page_heap_backed_bytes(), PLD_GIB, "it is used again");
        pld_page_heap_free(again);
        pld_page_heap_verify();
}

Test(gigantic, a_1g_page_goes_where_there_is_room_for_it)
{
        start_gigantic(1);
        struct pld_run run = take(0, 1, PLD_PAGE_BYTES);
        cr_assert_eq(pld_page_heap_grow(0, PLD_GIB, true), PLD_GIB);
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_1G), PLD_GIB);
        cr_expect_eq(left_1g(PLD_REASON_NO_PLACE), 0);
        pld_page_heap_verify();
        pld_page_heap_free(run);
}

Test(gigantic, a_range_without_a_place_for_a_1g_page_is_counted)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.pages = "1G,thp";
        settings.reserve = PLD_GIB / 2; /* too little, too */
        arena_test_machine(1);
        pld_fake_set_gigantic(arena_test_id(0), 2);
        pld_fake_set_reserve_limit(PLD_GIB);
        cr_assert_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_arena_prefault_wait(), 0);
        cr_expect_eq(left_1g(PLD_REASON_NO_PLACE), 0, "nobody wanted one");
        cr_assert_lt((size_t)1 << pld_range.slice_shift, PLD_GIB);
        pld_page_heap_grow(0, PLD_GIB, true);
        cr_expect_eq(left_1g(PLD_REASON_NO_PLACE), 1);
        cr_expect_eq(pld_fake_gigantic(arena_test_id(0)), 2);
}

Test(gigantic, the_stripe_takes_no_1g_page)
{
        arena_test_machine(2);
        pld_fake_set_policy(PLD_POLICY_INTERLEAVE, "1,3");
        pld_fake_set_gigantic(arena_test_id(0), 2);
        struct pld_arena_settings settings = arena_test_settings();
        settings.pages = "1G,thp";
        settings.reserve = 2 * PLD_GIB;
        cr_assert_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_arena_prefault_wait(), 0);
        cr_expect_eq(left_1g(PLD_REASON_NO_PLACE), 2);
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_THP), PLD_GIB);
        cr_expect_eq(pld_backing_bytes(1, PLD_BACKING_THP), PLD_GIB);
}

Test(gigantic, a_limit_holds_for_1g_pages)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.pages = "1G,thp";
        settings.limit = PLD_GIB + PLD_GIB / 2;
        arena_test_machine(1);
        pld_fake_set_gigantic(arena_test_id(0), 2);
        cr_assert_eq(pld_arena_start(&settings), 0);
        cr_expect_eq(pld_page_heap_grow(0, 2 * PLD_GIB, true), PLD_GIB + PLD_GIB / 2);
        cr_expect_eq(pld_fake_gigantic(arena_test_id(0)), 1);
        pld_page_heap_verify();
}
