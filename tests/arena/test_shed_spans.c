#include "arena/blocks.h"
#include "arena/heap.h"
#include "arena/shed_spans.h"
#include "tests/arena/arena_test.h"

#include <polder/arena.h>
#include <polder/heap.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK = 16 << 10, N = 512, EACH = 64 /* one in so many survives */ };

static void *blocks[N];

static size_t resident_bytes(uintptr_t at, size_t nbytes)
{
        size_t there;
        cr_assert_eq(pld_os->resident((void *)at, nbytes, &there), 0);
        return there;
}


static void fill(size_t nbytes)
{
        for (int i = 0; i < N; i++)
                memset(blocks[i] = polder_malloc(nbytes), i + 1, nbytes);
}

static bool is_whole(int i, size_t nbytes)
{
        for (size_t k = 0; k < nbytes; k++)
                if (((unsigned char *)blocks[i])[k] != (unsigned char)(i + 1))
                        return false;
        return true;
}

/* Bytes in memory of what the blocks were in: it is in one huge page after the other. */
static size_t heap_resident(void)
{
        uintptr_t low = UINTPTR_MAX, high = 0;
        for (int i = 0; i < N; i++) {
                if ((uintptr_t)blocks[i] < low)
                        low = (uintptr_t)blocks[i];
                if ((uintptr_t)blocks[i] > high)
                        high = (uintptr_t)blocks[i];
        }
        low = pld_round_down(low, PLD_HUGE_BYTES);
        return resident_bytes(low, pld_round_up(high + 1, PLD_HUGE_BYTES) - low);
}

/* One block in EACH survives. */
static size_t free_most(void)
{
        size_t nleft = 0;
        for (int i = 0; i < N; i++) {
                if (i % EACH)
                        polder_free(blocks[i]);
                else
                        nleft++;
        }
        pld_manual_reclaim();
        return nleft;
}

static void end(void)
{
        for (int i = 0; i < N; i += EACH)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

static void start_populated(void)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.prefault = true;
        pld_bins_are_used = false;
        arena_test_machine(1);
        cr_assert_eq(pld_arena_start(&settings), 0);
}

static void expect_only_survivors(size_t nbytes)
{
        arena_test_start(1);
        fill(nbytes);
        size_t live = free_most() * nbytes;
        cr_expect_gt(heap_resident(), 4 * live);
        polder_release();
        /* A survivor may lie across the edge of one more base page than it fills, each side. */
        cr_expect_leq(heap_resident(), live + (live / nbytes) * (size_t)sysconf(_SC_PAGESIZE));
        for (int i = 0; i < N; i += EACH)
                cr_expect(is_whole(i, nbytes), "block %d of %zu bytes", i, nbytes);
        pld_manual_verify(pld_cache_mine);
        pld_page_heap_verify();
        end();
}

Test(shed_spans, what_survives_at_random_keeps_no_more_than_its_pages)
{
        expect_only_survivors(BLOCK);
}

Test(shed_spans, so_it_is_with_blocks_of_one_base_page)
{
        expect_only_survivors(4 << 10);
}

Test(shed_spans, so_it_is_with_blocks_that_cross_base_pages)
{
        expect_only_survivors(6 << 10);
}

Test(shed_spans, so_it_is_with_large_ones)
{
        expect_only_survivors(64 << 10);
}

Test(shed_spans, what_is_gone_is_not_asked_for_again)
{
        arena_test_start_bare(1);
        fill(BLOCK);
        free_most();
        cr_expect_gt(pld_spans_shed(false), 0);
        cr_expect_eq(pld_spans_shed(false), 0);
        void *again = polder_malloc(BLOCK);
        memset(again, 1, BLOCK);
        polder_free(again);
        cr_expect_gt(pld_spans_shed(false), 0, "it was touched");
        cr_expect_eq(pld_spans_shed(false), 0);
        end();
}

Test(shed_spans, what_was_freed_since_the_last_pass_stays)
{
        arena_test_start_bare(1);
        fill(BLOCK);
        free_most();
        cr_expect_eq(pld_spans_shed(true), 0);
        cr_expect(pld_load_relaxed(&pld_blocks_have_news));
        void *again = polder_malloc(BLOCK);
        memset(again, 1, BLOCK);
        polder_free(again);
        cr_expect_gt(pld_spans_shed(true), 0);
        cr_expect_eq(resident_bytes((uintptr_t)again, BLOCK), BLOCK);
        pld_spans_shed(true);
        cr_expect_eq(resident_bytes((uintptr_t)again, BLOCK), 0);
        cr_expect_not(pld_load_relaxed(&pld_blocks_have_news));
        end();
}

Test(shed_spans, blocks_in_memory_are_handed_out_before_those_that_are_not)
{
        void *eight[8];
        arena_test_start_bare(1);
        for (int i = 0; i < 8; i++)
                memset(eight[i] = polder_malloc(BLOCK), 1, BLOCK);
        cr_assert_eq(pld_span_of((uintptr_t)eight[0]), pld_span_of((uintptr_t)eight[7]));
        polder_free(eight[1]);
        polder_free(eight[2]);
        pld_spans_shed(false);
        polder_free(eight[5]);
        cr_expect_eq(polder_malloc(BLOCK), eight[5]);
        cr_expect_eq(polder_malloc(BLOCK), eight[1]);
        cr_expect_eq(polder_malloc(BLOCK), eight[2]);
        for (int i = 0; i < 8; i++)
                polder_free(eight[i]);
        arena_test_nothing_left();
}

Test(shed_spans, pages_that_went_are_known_to_fault_when_their_span_has_ended) /* F3 */
{
        struct pld_run run;
        size_t ngone = 0;
        start_populated();
        fill(BLOCK);
        free_most();
        cr_expect_gt(pld_spans_shed(false), 0);
        end();
        for (int i = 0; i < N; i++) {
                cr_assert_eq(pld_page_heap_alloc(0, 1, PLD_PAGE_BYTES, false, &run), 0);
                bool gone = resident_bytes(run.at, PLD_PAGE_BYTES) < PLD_PAGE_BYTES;
                cr_expect(run.lazy || !gone);
                ngone += gone;
        }
        cr_expect_gt(ngone, 0);
        pld_page_heap_verify();
}

Test(shed_spans, a_heaps_blocks_are_never_lent)
{
        arena_test_start(1);
        struct polder_heap *heap = polder_heap_create(-1);
        void *one = polder_heap_malloc(heap, BLOCK), *other = polder_heap_malloc(heap, BLOCK);
        memset(one, 1, BLOCK);
        memset(other, 1, BLOCK);
        polder_free(one);
        cr_expect_eq(pld_spans_shed(false), 0);
        polder_heap_destroy(heap);
        arena_test_nothing_left();
}

/* ---- Lent blocks (blocks.c, B3) */

static struct pld_span *one_with_a_block_out(void **block)
{
        void *other = polder_malloc(BLOCK);
        *block = polder_malloc(BLOCK);
        memset(other, 1, BLOCK);
        polder_free(other);
        return pld_span_of((uintptr_t)other);
}

Test(shed_spans, the_owner_goes_on_with_another_span_while_blocks_are_lent)
{
        void *out, *more[16];
        arena_test_start_bare(1);
        struct pld_span *span = one_with_a_block_out(&out);
        uint32_t lent = pld_blocks_lend(span, false);
        cr_assert_neq(lent, 0);
        for (int i = 0; i < 16; i++) {
                more[i] = polder_malloc(BLOCK);
                cr_expect_neq(pld_span_of((uintptr_t)more[i]), span);
        }
        pld_manual_verify(pld_cache_mine);
        polder_free(out);
        cr_expect_eq(pld_span_of((uintptr_t)out), span, "it stays, though no block is out");
        for (int i = 0; i < 16; i++)
                polder_free(more[i]);
        pld_blocks_return(span, lent);
        arena_test_nothing_left();
}

static void *lend_and_end(void *arg)
{
        void *out;
        struct pld_span *span = one_with_a_block_out(&out);
        *(uint32_t *)arg = pld_blocks_lend(span, false);
        polder_free(out);
        return span;
}

Test(shed_spans, an_abandoned_span_is_found_when_what_was_lent_came_back)
{
        uint32_t lent;
        arena_test_start_bare(1);
        struct pld_span *span = arena_test_thread(lend_and_end, &lent);
        cr_expect_eq(pld_spans_live(), 1);
        pld_manual_reclaim();
        cr_expect_eq(pld_spans_live(), 1, "some are lent");
        pld_blocks_return(span, lent);
        pld_manual_reclaim();
        cr_expect_eq(pld_spans_live(), 0);
        arena_test_nothing_left();
}

Test(shed_spans, a_double_free_of_a_block_that_lost_its_key_is_seen_by_its_span, .signal = SIGABRT)
{
        void *out;
        arena_test_start_bare(1);
        struct pld_span *span = one_with_a_block_out(&out);
        void *block = (void *)pld_span_object(span, 0);
        cr_assert_neq(pld_spans_shed(false), 0);
        polder_free(block);
}

/* ---- Huge pages */

Test(shed_spans, thin_huge_pages_are_broken_and_full_ones_are_not)
{
        start_populated();
        fill(BLOCK);
        size_t huge = pld_page_heap_huge_bytes();
        cr_assert_gt(huge, 2 * PLD_HUGE_BYTES);
        polder_free(blocks[1]);
        pld_spans_shed(true);
        cr_expect_eq(pld_spans_shed(true), 0);
        cr_expect_eq(pld_page_heap_huge_bytes(), huge);
        blocks[1] = polder_malloc(BLOCK);
        free_most();
        pld_spans_shed(true);
        cr_expect_gt(pld_spans_shed(true), 0);
        cr_expect_lt(pld_page_heap_huge_bytes(), huge);
        cr_expect_eq(pld_page_heap_huge_bytes(), pld_backing_bytes(0, PLD_BACKING_THP));
        pld_page_heap_verify();
        end();
}

Test(shed_spans, a_reserve_is_kept)
{
        arena_test_start_bare(1);
        pld_page_heap_grow(0, 8 * PLD_HUGE_BYTES, true);
        fill(BLOCK);
        free_most();
        cr_expect_not(pld_spans_are_worth_a_look());
        cr_expect_eq(pld_spans_shed(false), 0);
        end();
}
