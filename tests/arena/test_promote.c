#include "tests/arena/page_heap_test.h"

#include "numa/os.h"

#include <errno.h>
#include <string.h>

/* So much, and the ground's books agree. */
static void expect_huge(size_t nbytes)
{
        size_t booked = 0;
        for (unsigned node = 0; node < pld_machine.nnodes; node++)
                booked += pld_backing_bytes(node, PLD_BACKING_THP);
        cr_expect_eq(pld_page_heap_huge_bytes(), nbytes, "%zu", pld_page_heap_huge_bytes());
        cr_expect_eq(booked, nbytes, "%zu", booked);
}

Test(promote, full_huge_pages_are_promoted_after_a_while)
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

Test(promote, what_sheds_after_it_was_promoted_is_not_huge_any_more)
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

Test(promote, what_was_promoted_is_huge_on_the_node_that_it_moves_to)
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

Test(promote, what_the_kernel_would_not_collapse_is_not_huge)
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

Test(promote, what_goes_back_while_it_is_promoted_is_not_counted)
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
