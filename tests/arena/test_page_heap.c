#include "tests/arena/arena_test.h"

#include "base/clock.h"
#include "base/random.h"
#include "numa/os.h"

#include <errno.h>
#include <string.h>

static struct pld_run take(unsigned slice, size_t npages, size_t align)
{
        struct pld_run run;
        cr_assert_eq(pld_page_heap_alloc(slice, npages, align, false, &run), 0);
        cr_assert_eq(run.npages, npages);
        cr_assert_eq(run.at % align, 0);
        cr_assert_eq(pld_range_slice_of(run.at), slice);
        return run;
}

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

/* ---- Laziness */

static struct pld_run take_populated(size_t npages)
{
        struct pld_run run;
        cr_assert_eq(pld_page_heap_alloc(0, npages, PLD_PAGE_BYTES, true, &run), 0);
        cr_expect_not(run.lazy);
        return run;
}

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

/* So much, and the ground's books agree. */
static void expect_huge(size_t nbytes)
{
        size_t booked = 0;
        for (unsigned node = 0; node < pld_machine.nnodes; node++)
                booked += pld_backing_bytes(node, PLD_BACKING_THP);
        cr_expect_eq(pld_page_heap_huge_bytes(), nbytes, "%zu", pld_page_heap_huge_bytes());
        cr_expect_eq(booked, nbytes, "%zu", booked);
}

Test(page_heap, full_huge_pages_are_promoted_after_a_while)
{
        arena_test_start(1);
        struct pld_run full = take(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES);
        struct pld_run most = take(0, PLD_HUGE_PAGES - 1, PLD_PAGE_BYTES);
        memset((void *)full.at, 7, PLD_HUGE_BYTES);
        memset((void *)most.at, 7, (PLD_HUGE_PAGES - 1) << PLD_PAGE_SHIFT);
        cr_expect_eq(pld_page_heap_huge_bytes(), 0, "base pages at first");
        cr_expect(pld_page_heap_is_ripe());
        cr_expect_eq(pld_page_heap_promote(UINT64_MAX, true), 1);
        cr_expect_eq(pld_fake_calls(PLD_FAKE_COLLAPSE), 1);
        expect_huge(PLD_HUGE_BYTES);
        cr_expect_not(pld_page_heap_is_ripe(), "asked once");
        cr_expect_eq(pld_page_heap_promote(UINT64_MAX, true), 0);
        struct pld_run last = take(0, 1, PLD_PAGE_BYTES);
        memset((void *)last.at, 7, PLD_PAGE_BYTES);
        cr_expect_eq(pld_page_heap_promote(UINT64_MAX, false), 1);
        cr_expect_eq(pld_fake_calls(PLD_FAKE_COLLAPSE), 1, "the kernel will");
        expect_huge(PLD_HUGE_BYTES); /* but has not */
        pld_page_heap_free(last);
        take(0, 1, PLD_PAGE_BYTES);
        cr_expect_eq(pld_page_heap_promote(0, true), 0, "somebody was here a moment ago");
        cr_expect_eq(pld_page_heap_promote(UINT64_MAX, true), 1);
        take(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES);
        cr_expect(pld_page_heap_is_ripe());
        cr_expect_eq(pld_page_heap_promote(UINT64_MAX, true), 0, "untouched");
        expect_huge(2 * PLD_HUGE_BYTES);
        pld_page_heap_free(full);
        pld_page_heap_verify();
        expect_huge(2 * PLD_HUGE_BYTES); /* idle, and still huge */
        pld_page_heap_release(UINT64_MAX);
        expect_huge(PLD_HUGE_BYTES);
}

/* Full and promoted; where they are. */
static void promote_full(struct pld_run *first, struct pld_run *rest, size_t npages)
{
        *first = take(0, npages, PLD_PAGE_BYTES);
        *rest = take(0, PLD_HUGE_PAGES - npages, PLD_PAGE_BYTES);
        memset((void *)first->at, 7, PLD_HUGE_BYTES);
        cr_assert_eq(rest->at, first->at + (npages << PLD_PAGE_SHIFT));
        cr_assert_eq(pld_page_heap_promote(UINT64_MAX, true), 1);
        expect_huge(PLD_HUGE_BYTES);
}

Test(page_heap, what_sheds_after_it_was_promoted_is_not_huge_any_more)
{
        struct pld_run left, rest;
        arena_test_start(1);
        promote_full(&left, &rest, 8);
        pld_page_heap_free(rest);
        cr_assert_gt(pld_page_heap_shed(UINT64_MAX, true), 0);
        expect_huge(0);
        rest = take(0, PLD_HUGE_PAGES - 8, PLD_PAGE_BYTES);
        memset((void *)rest.at, 7, rest.npages << PLD_PAGE_SHIFT);
        cr_assert_eq(pld_page_heap_promote(UINT64_MAX, true), 1, "full again");
        expect_huge(PLD_HUGE_BYTES);
        pld_page_heap_free(left);
        pld_page_heap_free(rest);
        pld_page_heap_release(UINT64_MAX);
        expect_huge(0);
        cr_expect_eq(pld_page_heap_backed_bytes(), 0);
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_BASE), 0);
}

Test(page_heap, what_was_promoted_is_huge_on_the_node_that_it_moves_to)
{
        struct pld_run left, rest;
        arena_test_start(2);
        promote_full(&left, &rest, PLD_HUGE_PAGES - 1);
        pld_page_heap_free(rest);
        cr_assert_eq(pld_page_heap_migrate(left.at, rest.at, 1), 0);
        expect_huge(PLD_HUGE_BYTES);
        cr_expect_eq(pld_backing_bytes(1, PLD_BACKING_THP), PLD_HUGE_BYTES);
        pld_page_heap_free(left);
        expect_huge(0);
        cr_expect_eq(pld_backing_bytes(1, PLD_BACKING_BASE), 0);
}

Test(page_heap, what_the_kernel_would_not_collapse_is_not_huge)
{
        arena_test_start(1);
        struct pld_run full = take(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES);
        memset((void *)full.at, 7, PLD_HUGE_BYTES);
        pld_fake_forbid(PLD_FAKE_COLLAPSE, ENOMEM);
        cr_expect_eq(pld_page_heap_promote(UINT64_MAX, true), 1, "advised");
        expect_huge(0);
        pld_page_heap_free(full);
        pld_page_heap_release(UINT64_MAX);
        expect_huge(0);
}

static _Atomic bool freed_under_way;
static struct pld_run under_way;

/* In the place of the kernel: the huge page goes back, and comes again, while it collapses. */
static int collapse_too_late(void *at, size_t nbytes)
{
        (void)at, (void)nbytes;
        if (!pld_exchange_relaxed(&freed_under_way, true)) {
                pld_page_heap_free(under_way);
                pld_page_heap_release(UINT64_MAX);
        }
        return 0;
}

Test(page_heap, what_goes_back_while_it_is_promoted_is_not_counted)
{
        arena_test_start(1);
        struct pld_os os = *pld_os;
        os.collapse = collapse_too_late;
        pld_os = &os;
        under_way = take(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES);
        memset((void *)under_way.at, 7, PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_promote(UINT64_MAX, true), 1);
        cr_expect_eq(pld_page_heap_backed_bytes(), 0);
        expect_huge(0);
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_BASE), 0);
}

/* ---- Shedding */

enum { THIN = 16 }; /* huge pages of which one page each is taken */

static void make_thin(struct pld_run *left)
{
        struct pld_run rest[THIN];
        for (int i = 0; i < THIN; i++) {
                cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES - 1, PLD_PAGE_BYTES, true, &rest[i]),
                             0);
                left[i] = take(0, 1, PLD_PAGE_BYTES);
                memset((void *)rest[i].at, 0xff, (PLD_HUGE_PAGES - 1) * PLD_PAGE_BYTES);
                memset((void *)left[i].at, i + 1, PLD_PAGE_BYTES);
        }
        for (int i = 0; i < THIN; i++)
                pld_page_heap_free(rest[i]);
        cr_assert_eq(pld_page_heap_idle_bytes(), 0);
}

Test(page_heap, thin_huge_pages_shed_what_is_free)
{
        struct pld_run left[THIN];
        arena_test_start(1);
        make_thin(left);
        pld_page_heap_verify();
        size_t all = THIN * (PLD_HUGE_PAGES - 1) * PLD_PAGE_BYTES;
        cr_expect_gt(pld_page_heap_spare_bytes(), all / 2);
        cr_expect_eq(pld_page_heap_shed(0, false), 0, "they were given back a moment ago");
        cr_expect_gt(pld_page_heap_shed(UINT64_MAX, false), all / 2);
        cr_expect_eq(pld_page_heap_spare_bytes(), 0);
        cr_expect_eq(pld_page_heap_shed(UINT64_MAX, true), 0);
        cr_expect_eq(pld_page_heap_huge_bytes(), 0);
        pld_page_heap_verify();
        for (int i = 0; i < THIN; i++)
                for (size_t k = 0; k < PLD_PAGE_BYTES; k++)
                        cr_assert_eq(((unsigned char *)left[i].at)[k], i + 1);
        for (int i = 0; i < THIN; i++) {
                struct pld_run run = take(0, PLD_HUGE_PAGES - 1, PLD_PAGE_BYTES);
                cr_expect(run.zeroed && run.lazy);
                for (size_t k = 0; k < run.npages * PLD_PAGE_BYTES; k += 64)
                        cr_assert_eq(*(unsigned char *)(run.at + k), 0);
        }
        cr_expect_eq(pld_page_heap_backed_bytes(), THIN * PLD_HUGE_BYTES);
        pld_page_heap_verify();
}

Test(page_heap, what_is_reserved_or_of_a_pool_is_kept_whole)
{
        struct pld_run left[THIN];
        struct pld_arena_settings settings = arena_test_settings();
        settings.pages = "2M";
        arena_test_machine(1);
        pld_fake_set_pool(arena_test_id(0), 1000);
        cr_assert_eq(pld_arena_start(&settings), 0);
        make_thin(left);
        cr_expect_eq(pld_page_heap_spare_bytes(), 0);
        cr_expect_eq(pld_page_heap_shed(UINT64_MAX, true), 0);
}

Test(page_heap, a_reserve_is_kept_whole)
{
        struct pld_run left[THIN];
        arena_test_start(1);
        cr_expect_eq(pld_page_heap_grow(0, THIN * PLD_HUGE_BYTES, true), THIN * PLD_HUGE_BYTES);
        make_thin(left);
        cr_expect_eq(pld_page_heap_shed(UINT64_MAX, true), 0);
        cr_expect_eq(pld_page_heap_spare_bytes(), 0);
}

Test(page_heap, a_huge_page_that_cannot_be_broken_stays)
{
        struct pld_run left[THIN];
        arena_test_start(1);
        make_thin(left);
        size_t before = pld_page_heap_huge_bytes();
        pld_fake_forbid(PLD_FAKE_ADVISE, EINVAL);
        pld_page_heap_shed(UINT64_MAX, true);
        cr_expect_eq(before, THIN * PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_huge_bytes(), before);
        pld_page_heap_verify();
        for (int i = 0; i < THIN; i++)
                cr_assert_eq(*(unsigned char *)left[i].at, i + 1);
}

/* Several threads at once do the same while `at_work`. */
enum { SHEDDING_ROUNDS = 200, PIECES = 8 };
static _Atomic bool at_work, at_end;
static _Atomic size_t nasked;

static void *shed_along(void *unused)
{
        while (!pld_load_acquire(&at_end))
                if (pld_load_acquire(&at_work))
                        pld_page_heap_shed(UINT64_MAX, true);
        return unused;
}

static void *promote_along(void *unused)
{
        while (!pld_load_acquire(&at_end))
                if (pld_load_acquire(&at_work))
                        pld_add_relaxed(&nasked, pld_page_heap_promote(UINT64_MAX, true));
        return unused;
}

Test(page_heap, two_threads_that_shed_one_huge_page_count_it_once)
{
        pthread_t threads[2];
        struct pld_run runs[PIECES];
        arena_test_start(1);
        for (int i = 0; i < 2; i++)
                pthread_create(&threads[i], NULL, shed_along, NULL);
        pld_store_release(&at_work, true);
        for (int round = 0; round < SHEDDING_ROUNDS; round++) {
                for (int i = 0; i < PIECES; i++)
                        cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES / PIECES, PLD_PAGE_BYTES,
                                                         true, &runs[i]),
                                     0);
                for (int i = 0; i < PIECES; i++)
                        pld_page_heap_free(runs[i]);
                pld_page_heap_release(UINT64_MAX);
        }
        pld_store_release(&at_end, true);
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        cr_expect_leq(pld_page_heap_huge_bytes(), pld_page_heap_backed_bytes());
        cr_expect_eq(pld_page_heap_huge_bytes(), pld_backing_bytes(0, PLD_BACKING_THP));
        pld_page_heap_release(UINT64_MAX);
        cr_expect_eq(pld_page_heap_huge_bytes(), 0);
        pld_page_heap_verify();
}

Test(page_heap, pages_on_their_way_out_do_not_make_a_huge_page_full)
{
        pthread_t thread;
        arena_test_start(1);
        pthread_create(&thread, NULL, promote_along, NULL);
        for (int round = 0; round < SHEDDING_ROUNDS; round++) {
                struct pld_run stays = take(0, PLD_HUGE_PAGES / 2, PLD_PAGE_BYTES);
                struct pld_run goes = take(0, PLD_HUGE_PAGES / 2, PLD_PAGE_BYTES);
                memset((void *)stays.at, 1, PLD_HUGE_BYTES / 2);
                memset((void *)goes.at, 1, PLD_HUGE_BYTES / 2);
                pld_page_heap_free(goes);
                pld_store_release(&at_work, true);
                cr_expect_eq(pld_page_heap_shed(UINT64_MAX, true), PLD_HUGE_BYTES / 2);
                pld_store_release(&at_work, false);
                pld_page_heap_free(stays);
                pld_page_heap_release(UINT64_MAX);
        }
        pld_store_release(&at_end, true);
        pthread_join(thread, NULL);
        cr_expect_eq(pld_load_relaxed(&nasked), 0);
        pld_page_heap_verify();
}

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

Test(page_heap, a_reserve_takes_1g_pages_as_far_as_the_pool_goes)
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

Test(page_heap, what_grows_otherwise_takes_no_1g_page)
{
        start_gigantic(1);
        cr_expect_eq(pld_page_heap_grow(0, PLD_GIB, false), PLD_GIB);
        struct pld_run run = take(0, PLD_GIB >> PLD_PAGE_SHIFT, PLD_PAGE_BYTES);
        cr_expect_eq(pld_fake_gigantic(arena_test_id(0)), 2);
        pld_page_heap_free(run);
}

Test(page_heap, huge_pages_of_a_1g_page_are_used_first_and_never_given_back)
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

Test(page_heap, a_1g_page_goes_where_there_is_room_for_it)
{
        start_gigantic(1);
        struct pld_run run = take(0, 1, PLD_PAGE_BYTES);
        cr_assert_eq(pld_page_heap_grow(0, PLD_GIB, true), PLD_GIB);
        cr_expect_eq(pld_backing_bytes(0, PLD_BACKING_1G), PLD_GIB);
        cr_expect_eq(left_1g(PLD_REASON_NO_PLACE), 0);
        pld_page_heap_verify();
        pld_page_heap_free(run);
}

Test(page_heap, a_range_without_a_place_for_a_1g_page_is_counted)
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

Test(page_heap, the_stripe_takes_no_1g_page)
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

Test(page_heap, a_limit_holds_for_1g_pages)
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
