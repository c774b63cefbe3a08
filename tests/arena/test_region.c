#include "tests/arena/arena_test.h"

#include "arena/region.h"

#include <polder/arena.h>

#include <errno.h>
#include <string.h>

Test(region, memory_is_aligned_and_stays_as_it_was_written)
{
        static unsigned char *blocks[2000];
        arena_test_start(1);
        struct polder_region *region = polder_region_create();
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++) {
                blocks[i] = polder_region_alloc(region, i);
                cr_assert_not_null(blocks[i]);
                cr_assert_eq((uintptr_t)blocks[i] % 16, 0);
                memset(blocks[i], (int)(i % 251), i);
        }
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++)
                for (unsigned k = 0; k < i; k++)
                        cr_assert_eq(blocks[i][k], i % 251);
        polder_region_destroy(region);
        cr_expect_eq(pld_region_bytes(), 0);
        arena_test_nothing_left();
}

Test(region, a_large_request_does_not_waste_the_chunk)
{
        arena_test_start(1);
        struct polder_region *region = polder_region_create();
        char *a = polder_region_alloc(region, 32);
        char *large = polder_region_alloc(region, 5 * PLD_MIB);
        char *b = polder_region_alloc(region, 32);
        cr_expect_eq(b, a + 32);
        memset(large, 1, 5 * PLD_MIB);
        polder_region_destroy(region);
        arena_test_nothing_left();
}

Test(region, a_reset_takes_all_back_and_keeps_some_memory)
{
        arena_test_start(1);
        struct polder_region *region = polder_region_create();
        for (unsigned round = 0; round < 5; round++) {
                for (unsigned i = 0; i < 1000; i++)
                        memset(polder_region_alloc(region, 3000), 1, 3000);
                polder_region_reset(region);
                cr_expect_leq(pld_region_bytes(), 2 * PLD_MIB);
                cr_expect_gt(pld_region_bytes(), 0);
        }
        size_t spans = pld_spans_live();
        for (unsigned i = 0; i < 5; i++)
                polder_region_alloc(region, 1000);
        cr_expect_eq(pld_spans_live(), spans, "what was kept is enough");
        polder_region_destroy(region);
        polder_region_destroy(NULL);
        arena_test_nothing_left();
}

Test(region, what_no_memory_could_hold_is_refused_and_the_region_lives_on)
{
        arena_test_start(1);
        struct polder_region *region = polder_region_create();
        errno = 0;
        cr_expect_null(polder_region_alloc(region, SIZE_MAX));
        cr_expect_eq(errno, ENOMEM);
        cr_expect_null(polder_region_alloc(region, SIZE_MAX - 15));
        cr_expect_null(polder_region_alloc(region, PTRDIFF_MAX));
        cr_expect_not_null(polder_region_alloc(region, 1));
        cr_expect_null(polder_region_alloc(region, PTRDIFF_MAX));
        polder_region_destroy(region);
        arena_test_nothing_left();
}

Test(region, a_free_of_its_memory_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        polder_free(polder_region_alloc(polder_region_create(), 100));
}

Test(scratch, memory_after_the_mark_goes_and_memory_before_it_stays)
{
        arena_test_start(1);
        polder_scratch_mark outer = polder_scratch_begin();
        char *kept = polder_scratch_alloc(100);
        memset(kept, 7, 100);
        polder_scratch_mark inner = polder_scratch_begin();
        char *gone = polder_scratch_alloc(100);
        polder_scratch_end(inner);
        cr_expect_eq(polder_scratch_alloc(100), gone);
        for (unsigned i = 0; i < 100; i++)
                cr_assert_eq(kept[i], 7);
        polder_scratch_end(outer);
        cr_expect_eq(polder_scratch_alloc(16), kept);
        arena_test_nothing_left();
}

Test(scratch, marks_nest_over_chunks_and_large_requests)
{
        enum { DEPTH = 40 };
        polder_scratch_mark marks[DEPTH];
        char *at[DEPTH];
        arena_test_start(1);
        for (unsigned round = 0; round < 3; round++) {
                for (unsigned i = 0; i < DEPTH; i++) {
                        marks[i] = polder_scratch_begin();
                        size_t nbytes = i % 10 == 9 ? 3 * PLD_MIB : 20000;
                        at[i] = polder_scratch_alloc(nbytes);
                        memset(at[i], (int)i + 1, nbytes);
                }
                for (unsigned i = DEPTH; i-- > 0;) {
                        for (unsigned k = 0; k <= i; k++)
                                cr_assert(at[k][0] == (char)(k + 1) && at[k][19999] == (char)(k + 1));
                        polder_scratch_end(marks[i]);
                }
        }
        arena_test_nothing_left();
}

static void *leave_scratch_behind(void *unused)
{
        for (unsigned i = 0; i < 100; i++)
                memset(polder_scratch_alloc(10000), 1, 10000);
        return unused;
}

Test(scratch, the_stack_goes_with_the_thread)
{
        arena_test_start(1);
        arena_test_thread(leave_scratch_behind, NULL);
        cr_expect_eq(pld_region_bytes(), 0);
        arena_test_nothing_left();
}

Test(scratch, a_thread_over_the_limit_on_caches_has_one_too)
{
        arena_test_start_one_cache();
        arena_test_thread(leave_scratch_behind, NULL);
        cr_expect_eq(pld_region_bytes(), 0);
        arena_test_nothing_left();
}
