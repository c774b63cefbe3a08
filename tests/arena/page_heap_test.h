/* page_heap_test.h: runs, taken from the page heap of an arena_test_machine(). */
#ifndef TESTS_PAGE_HEAP_TEST_H
#define TESTS_PAGE_HEAP_TEST_H

#include "tests/arena/arena_test.h"

static inline struct pld_run take(unsigned slice, size_t npages, size_t align)
{
        struct pld_run run;
        cr_assert_eq(pld_page_heap_alloc(slice, npages, align, false, &run), 0);
        cr_assert_eq(run.npages, npages);
        cr_assert_eq(run.at % align, 0);
        cr_assert_eq(pld_range_slice_of(run.at), slice);
        return run;
}

static inline struct pld_run take_populated(size_t npages)
{
        struct pld_run run;
        cr_assert_eq(pld_page_heap_alloc(0, npages, PLD_PAGE_BYTES, true, &run), 0);
        cr_expect_not(run.lazy);
        return run;
}

#endif
