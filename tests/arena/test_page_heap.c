#include "tests/arena/page_heap_test.h"

#include "base/clock.h"
#include "base/random.h"

#include <errno.h>
#include <string.h>

Test(page_heap, small_runs_share_one_huge_page)
{
        arena_test_start(1);
        struct pld_run a = take(0, 3, PLD_PAGE_BYTES), b = take(0, 5, PLD_PAGE_BYTES);
        cr_expect_eq(a.at >> PLD_HUGE_SHIFT, b.at >> PLD_HUGE_SHIFT);
        cr_expect_eq(pld_page_heap_backed_bytes(), PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_used_bytes(), 8 * PLD_PAGE_BYTES);
        pld_page_heap_free(a);
        pld_page_heap_free(b);
        cr_expect_eq(pld_page_heap_idle_bytes(), PLD_HUGE_BYTES);
        pld_page_heap_verify();
}

Test(page_heap, freed_neighbours_join)
{
        arena_test_start(1);
        struct pld_run runs[4];
        for (int i = 0; i < 4; i++)
                runs[i] = take(0, 64, PLD_PAGE_BYTES);
        pld_page_heap_free(runs[1]);
        pld_page_heap_free(runs[2]);
        struct pld_run both = take(0, 128, PLD_PAGE_BYTES);
        cr_expect_eq(both.at, runs[1].at);
        cr_expect_eq(pld_page_heap_backed_bytes(), PLD_HUGE_BYTES);
}

Test(page_heap, a_long_run_leaves_the_rest_of_its_last_huge_page_to_others)
{
        arena_test_start(1);
        struct pld_run row = take(0, 2 * PLD_HUGE_PAGES + 10, PLD_PAGE_BYTES);
        cr_expect_eq(row.at % PLD_HUGE_BYTES, 0);
        struct pld_run small = take(0, 1, PLD_PAGE_BYTES);
        cr_expect_eq(small.at, row.at + (row.npages << PLD_PAGE_SHIFT));
        pld_page_heap_free(row);
        pld_page_heap_free(small);
        cr_expect_eq(pld_page_heap_idle_bytes(), 3 * PLD_HUGE_BYTES);
        pld_page_heap_verify();
}

Test(page_heap, a_run_of_some_huge_pages_begins_where_another_ends)
{
        enum { LONG = PLD_HUGE_PAGES + PLD_HUGE_PAGES / 2 };
        arena_test_start(1);
        struct pld_run a = take(0, LONG, PLD_PAGE_BYTES), b = take(0, LONG, PLD_PAGE_BYTES);
        cr_expect_eq(b.at, a.at + (LONG << PLD_PAGE_SHIFT));
        cr_expect_eq(pld_page_heap_backed_bytes(), 3 * PLD_HUGE_BYTES);
        cr_expect(b.zeroed);
        memset((void *)b.at, 1, LONG << PLD_PAGE_SHIFT);
        pld_page_heap_verify();
        pld_page_heap_free(a);
        pld_page_heap_free(b);
        cr_expect_eq(pld_page_heap_idle_bytes(), 3 * PLD_HUGE_BYTES);
        pld_page_heap_verify();
}

Test(page_heap, a_run_fits_between_two_others)
{
        enum { LONG = PLD_HUGE_PAGES + 100 };
        arena_test_start(1);
        struct pld_run runs[3];
        for (int i = 0; i < 3; i++)
                runs[i] = take(0, LONG, PLD_PAGE_BYTES);
        size_t backed = pld_page_heap_backed_bytes();
        memset((void *)runs[1].at, 1, LONG << PLD_PAGE_SHIFT);
        pld_page_heap_free(runs[1]);
        struct pld_run again = take(0, LONG, PLD_PAGE_BYTES);
        cr_expect_eq(again.at, runs[1].at);
        cr_expect_not(again.zeroed);
        cr_expect_eq(pld_page_heap_backed_bytes(), backed);
        pld_page_heap_free(again);
        again = take(0, PLD_HUGE_PAGES - 1, PLD_PAGE_BYTES);
        cr_expect_eq(pld_page_heap_backed_bytes(), backed, "shorter ones, too");
        pld_page_heap_free(again);
        pld_page_heap_free(runs[0]);
        pld_page_heap_free(runs[2]);
        cr_expect_eq(pld_page_heap_used_bytes(), 0);
        pld_page_heap_verify();
}

Test(page_heap, a_run_that_cannot_be_backed_gives_its_ends_back)
{
        enum { LONG = PLD_HUGE_PAGES + 100 };
        struct pld_run run;
        arena_test_start(1);
        struct pld_run a = take(0, LONG, PLD_PAGE_BYTES);
        pld_page_heap_set_limit(3 * PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_alloc(0, 3 * PLD_HUGE_PAGES, PLD_PAGE_BYTES, false, &run), -ENOMEM);
        cr_expect_eq(pld_page_heap_used_bytes(), LONG << PLD_PAGE_SHIFT);
        pld_page_heap_verify();
        struct pld_run b = take(0, LONG, PLD_PAGE_BYTES);
        pld_page_heap_free(a);
        pld_page_heap_free(b);
        pld_page_heap_verify();
}

Test(page_heap, runs_of_all_lengths_never_overlap)
{
        enum { N = 64 };
        struct pld_run runs[N] = { 0 };
        struct pld_random random = { 5 };
        arena_test_start(1);
        for (unsigned round = 0; round < 4000; round++) {
                struct pld_run *run = &runs[pld_random_below(&random, N)];
                if (run->npages) {
                        cr_assert_eq(*(size_t *)run->at, run->npages);
                        cr_assert_eq(((size_t *)(run->at + (run->npages << PLD_PAGE_SHIFT)))[-1], run->npages);
                        pld_page_heap_free(*run);
                        run->npages = 0;
                        continue;
                }
                *run = take(0, 1 + pld_random_below(&random, 5 * PLD_HUGE_PAGES), PLD_PAGE_BYTES);
                *(size_t *)run->at = run->npages;
                ((size_t *)(run->at + (run->npages << PLD_PAGE_SHIFT)))[-1] = run->npages;
                if (round % 64 == 0)
                        pld_page_heap_verify();
        }
        for (int i = 0; i < N; i++)
                if (runs[i].npages)
                        pld_page_heap_free(runs[i]);
        cr_expect_eq(pld_page_heap_used_bytes(), 0);
        pld_page_heap_verify();
}

Test(page_heap, alignment_may_exceed_a_huge_page)
{
        arena_test_start(1);
        take(0, 1, PLD_PAGE_BYTES);
        take(0, 3, 4 * PLD_HUGE_BYTES);
        take(0, 3, 64 * PLD_KIB);
        pld_page_heap_verify();
}

Test(page_heap, memory_is_zeroed_only_where_it_says_so)
{
        arena_test_start(1);
        struct pld_run run = take(0, 4, PLD_PAGE_BYTES);
        cr_expect(run.zeroed);
        memset((void *)run.at, 1, 4 * PLD_PAGE_BYTES);
        pld_page_heap_free(run);
        cr_expect_not(take(0, 4, PLD_PAGE_BYTES).zeroed);
}

Test(page_heap, released_memory_comes_back_zeroed)
{
        arena_test_start(1);
        struct pld_run run = take(0, 4, PLD_PAGE_BYTES);
        memset((void *)run.at, 1, 4 * PLD_PAGE_BYTES);
        pld_page_heap_free(run);
        cr_expect_eq(pld_page_heap_release(UINT64_MAX), PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_backed_bytes(), 0);
        run = take(0, 4, PLD_PAGE_BYTES);
        cr_expect(run.zeroed);
        for (size_t i = 0; i < 4 * PLD_PAGE_BYTES; i++)
                cr_assert_eq(((char *)run.at)[i], 0);
}

Test(page_heap, release_spares_what_is_idle_since_later)
{
        arena_test_start(1);
        pld_page_heap_free(take(0, 1, PLD_PAGE_BYTES));
        cr_expect_eq(pld_page_heap_release(1), 0);
        cr_expect_eq(pld_page_heap_idle_bytes(), PLD_HUGE_BYTES);
}

Test(page_heap, a_run_grows_into_free_pages_behind_it_only)
{
        arena_test_start(1);
        struct pld_run a = take(0, 4, PLD_PAGE_BYTES), b = take(0, 4, PLD_PAGE_BYTES);
        cr_expect_not(pld_page_heap_extend_try(&a, 1), "b is there");
        pld_page_heap_free(b);
        cr_expect(pld_page_heap_extend_try(&a, 6));
        cr_expect_eq(a.npages, 10);
        cr_expect_not(pld_page_heap_extend_try(&a, PLD_HUGE_PAGES), "over the end");
        pld_page_heap_free(a);
        cr_expect_eq(pld_page_heap_used_bytes(), 0);
        pld_page_heap_verify();
}

Test(page_heap, the_limit_is_a_wall_and_idle_memory_is_given_for_it)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.limit = 2 * PLD_HUGE_BYTES;
        arena_test_start_as(2, &settings);
        struct pld_run a = take(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES), run;
        take(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES);
        cr_expect_eq(pld_page_heap_alloc(0, 1, PLD_PAGE_BYTES, false, &run), -ENOMEM);
        pld_page_heap_free(a);
        take(1, 1, PLD_PAGE_BYTES);
        cr_expect_eq(pld_page_heap_backed_bytes(), 2 * PLD_HUGE_BYTES);
        pld_page_heap_verify();
}

Test(page_heap, a_node_without_memory_is_an_error_and_leaves_nothing_behind)
{
        struct pld_run run;
        arena_test_start(2);
        pld_fake_set_free(arena_test_id(0), 0);
        cr_expect_eq(pld_page_heap_alloc(0, 3 * PLD_HUGE_PAGES, PLD_PAGE_BYTES, false, &run), -ENOMEM);
        cr_expect_eq(pld_page_heap_backed_bytes(), 0);
        pld_page_heap_verify();
        pld_fake_set_free(arena_test_id(0), PLD_GIB * 4);
        take(0, 3 * PLD_HUGE_PAGES, PLD_PAGE_BYTES);
        pld_page_heap_verify();
}

Test(page_heap, more_than_a_slice_is_refused)
{
        struct pld_run run;
        arena_test_start(1);
        cr_expect_eq(pld_page_heap_alloc(0, SIZE_MAX >> PLD_PAGE_SHIFT, PLD_PAGE_BYTES, false, &run),
                     -ENOMEM);
        cr_expect_eq(pld_page_heap_alloc(0, 1, (size_t)1 << 62, false, &run), -ENOMEM);
}

Test(page_heap, every_slice_is_backed_by_its_node)
{
        arena_test_start(3);
        for (unsigned i = 0; i < 3; i++) {
                struct pld_run run = take(i, 1, PLD_PAGE_BYTES);
                cr_expect_eq(pld_page_heap_node_of(run.at), (int)i);
                cr_expect_eq(pld_fake_node_of((void *)run.at), arena_test_id(i));
        }
        cr_expect_eq(pld_page_heap_node_of(1), -ENOENT);
}

Test(page_heap, the_reserve_is_not_given_back)
{
        arena_test_start(1);
        cr_expect_eq(pld_page_heap_grow(0, 3 * PLD_HUGE_BYTES, true), 3 * PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_release(UINT64_MAX), 0);
        struct pld_run run = take(0, 4 * PLD_HUGE_PAGES, PLD_PAGE_BYTES);
        pld_page_heap_free(run);
        pld_page_heap_release(UINT64_MAX);
        cr_expect_eq(pld_page_heap_backed_bytes(), 3 * PLD_HUGE_BYTES);
        pld_page_heap_verify();
}

Test(page_heap, memory_grown_without_keeping_is_given_back_like_any_other)
{
        arena_test_start(1);
        cr_expect_eq(pld_page_heap_grow(0, 2 * PLD_HUGE_BYTES, false), 2 * PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_idle_bytes(), 2 * PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_release(UINT64_MAX), 2 * PLD_HUGE_BYTES);
}

Test(page_heap, random_runs_never_overlap_and_all_come_back)
{
        enum { N = 300, STEPS = 20000 };
        static struct pld_run runs[N];
        uint64_t seed = pld_now_ns();
        struct pld_random random = pld_random_seeded(seed);
        cr_log_info("seed %llu", (unsigned long long)seed);
        arena_test_start(2);
        for (unsigned step = 0; step < STEPS; step++) {
                struct pld_run *run = &runs[pld_random_below(&random, N)];
                if (run->npages) {
                        uintptr_t *first = (uintptr_t *)run->at;
                        uintptr_t *last = first + (run->npages << PLD_PAGE_SHIFT) / 8 - 1;
                        cr_assert(*first == run->at && *last == run->at, "seed %llu",
                                  (unsigned long long)seed);
                        *first = *last = 0;
                        pld_page_heap_free(*run);
                        run->npages = 0;
                } else {
                        size_t npages = 1 + pld_random_below(&random, step % 50 ? 20 : 700);
                        *run = take(pld_random_below(&random, 2), npages,
                                    PLD_PAGE_BYTES << pld_random_below(&random, 5));
                        uintptr_t *first = (uintptr_t *)run->at;
                        *first = first[(npages << PLD_PAGE_SHIFT) / 8 - 1] = run->at;
                }
                if (step % 1000 == 0)
                        pld_page_heap_release(step % 2000 ? pld_now_ns() : UINT64_MAX);
                if (step % 100 == 0)
                        pld_page_heap_shed(UINT64_MAX, step % 200);
        }
        for (unsigned i = 0; i < N; i++)
                if (runs[i].npages)
                        pld_page_heap_free(runs[i]);
        pld_page_heap_verify();
        cr_expect_eq(pld_page_heap_used_bytes(), 0);
        pld_page_heap_release(UINT64_MAX);
        cr_expect_eq(pld_page_heap_backed_bytes(), 0);
        cr_expect_null(pld_fake_disaster());
}

Test(page_heap, descriptors_that_cannot_be_written_are_no_memory)
{
        struct pld_run run;
        arena_test_start(1);
        pld_fake_forbid(PLD_FAKE_OPEN_SPARSE, ENOMEM); /* P8 */
        cr_expect_eq(pld_page_heap_alloc(0, 1, PLD_PAGE_BYTES, false, &run), -ENOMEM);
        pld_fake_fail(PLD_FAKE_OPEN_SPARSE, 0, 0, 0);
        pld_fake_fail(PLD_FAKE_OPEN_SPARSE, 1, 1, ENOMEM); /* the page map's */
        cr_expect_eq(pld_page_heap_alloc(0, 1, PLD_PAGE_BYTES, false, &run), -ENOMEM);
        cr_expect_eq(pld_page_heap_backed_bytes(), 0);
        pld_page_heap_verify();
        run = take(0, 1, PLD_PAGE_BYTES);
        pld_page_heap_free(run);
        pld_page_heap_verify();
}

/* ---- Laziness */

Test(page_heap, only_what_must_not_fault_is_populated)
{
        arena_test_start(1);
        struct pld_run lazy = take(0, 3, PLD_PAGE_BYTES);
        cr_expect(lazy.lazy && lazy.zeroed);
        cr_expect_eq(pld_fake_calls(PLD_FAKE_POPULATE), 0);
        take_populated(2);
        cr_expect_eq(pld_fake_calls(PLD_FAKE_POPULATE), 1, "in the same huge page");
        cr_expect_eq(pld_page_heap_backed_bytes(), PLD_HUGE_BYTES);
        take(0, 3 * PLD_HUGE_PAGES, PLD_PAGE_BYTES);
        cr_expect_eq(pld_fake_calls(PLD_FAKE_POPULATE), 1);
        struct pld_run row = take_populated(2 * PLD_HUGE_PAGES);
        unsigned ncalls = pld_fake_calls(PLD_FAKE_POPULATE);
        cr_expect_gt(ncalls, 1);
        pld_page_heap_free(row);
        take_populated(2 * PLD_HUGE_PAGES);
        cr_expect_eq(pld_fake_calls(PLD_FAKE_POPULATE), ncalls, "once is enough");
        pld_page_heap_verify();
}

Test(page_heap, a_run_that_cannot_be_populated_is_no_run)
{
        struct pld_run run;
        arena_test_start(1);
        take(0, 3, PLD_PAGE_BYTES);
        pld_fake_forbid(PLD_FAKE_POPULATE, ENOMEM);
        cr_expect_eq(pld_page_heap_alloc(0, 2, PLD_PAGE_BYTES, true, &run), -ENOMEM);
        cr_expect_eq(pld_page_heap_used_bytes(), 3 * PLD_PAGE_BYTES);
        pld_page_heap_verify();
}

Test(page_heap, with_a_reserve_all_is_populated)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = PLD_HUGE_BYTES;
        arena_test_start_as(1, &settings);
        cr_assert_eq(pld_arena_prefault_wait(), 0);
        cr_expect_not(take(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES).lazy);
        cr_expect_not(take(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES).lazy, "beyond it too");
}
