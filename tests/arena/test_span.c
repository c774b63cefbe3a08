#include "tests/arena/arena_test.h"

#include <errno.h>
#include <polder/arena.h>

static struct pld_span *make(enum pld_kind kind, size_t nbytes)
{
        struct pld_span_wish wish = { .kind = kind, .class = pld_class_of(nbytes) };
        struct pld_span *span = pld_span_new(&wish);
        cr_assert_not_null(span);
        return span;
}

Test(span, every_address_of_a_published_span_leads_to_it)
{
        arena_test_start(1);
        struct pld_span *span = make(PLD_KIND_COLLECTED, 100);
        uintptr_t end = span->start + (span->npages << PLD_PAGE_SHIFT);
        cr_expect_null(pld_span_of(span->start));
        pld_span_publish(span);
        cr_expect_eq(pld_span_of(span->start), span);
        cr_expect_eq(pld_span_of(end - 1), span);
        cr_expect_null(pld_span_of(span->start - 1));
        cr_expect_null(pld_span_of(end));
        cr_expect_eq(pld_place_kind(pld_place_of(span->start + 77)), PLD_KIND_COLLECTED);
        pld_span_release(span);
        cr_expect_null(pld_span_of(end - 1));
        cr_expect_eq(pld_spans_live(), 0);
}

Test(span, words_outside_the_range_lead_nowhere)
{
        arena_test_start(1);
        cr_expect_null(pld_span_of(0));
        cr_expect_null(pld_span_of(UINTPTR_MAX));
        cr_expect_null(pld_span_of(pld_range.base - 1));
        cr_expect_null(pld_span_of(pld_range.base + pld_range.nbytes));
}

Test(span, an_index_is_that_of_the_object_an_address_is_inside)
{
        arena_test_start(1);
        struct pld_span *span = make(PLD_KIND_MANUAL, 144);
        for (size_t i = 0; i < span->count; i++) {
                uintptr_t at = pld_span_object(span, i);
                cr_assert_eq(pld_span_index(span, at), i);
                cr_assert_eq(pld_span_index(span, at + 143), i);
        }
}

Test(span, a_released_descriptor_is_used_again_with_clear_bitmaps)
{
        arena_test_start(1);
        struct pld_span *span = make(PLD_KIND_COLLECTED, 64);
        for (size_t i = 0; i < (size_t)PLD_SPAN_BITMAPS * span->nwords; i++)
                pld_store_relaxed(&span->bits[i], ~UINT64_C(0));
        pld_span_release(span);
        struct pld_span *again = make(PLD_KIND_COLLECTED, 64);
        cr_expect_eq(again, span);
        for (size_t i = 0; i < (size_t)PLD_SPAN_BITMAPS * again->nwords; i++)
                cr_expect_eq(pld_load_relaxed(&again->bits[i]), 0);
}

Test(span, bitmaps_have_room_for_every_object)
{
        arena_test_start(1);
        for (unsigned class = 0; class < PLD_NCLASSES_SMALL; class++) {
                struct pld_span *span = make(PLD_KIND_COLLECTED, pld_classes[class].nbytes);
                cr_assert(span->nwords * 64u >= span->count);
                struct pld_span *next = make(PLD_KIND_MANUAL, pld_classes[class].nbytes);
                if (next->count > 64)
                        cr_assert(next->nwords * 64u * PLD_SPAN_BITMAPS >= next->count);
                else
                        cr_assert_eq(next->nwords, 0);
        }
}

Test(span, only_the_first_mark_says_true)
{
        arena_test_start(1);
        struct pld_span *span = make(PLD_KIND_COLLECTED, 32);
        cr_expect(pld_span_mark(span, 70));
        cr_expect_not(pld_span_mark(span, 70));
        cr_expect(pld_span_is_marked(span, 70));
        cr_expect_not(pld_span_is_marked(span, 71));
        cr_expect_not(pld_span_is_marked(span, 6));
}

Test(span, what_is_marked_with_the_pen_is_marked)
{
        arena_test_start(1);
        struct pld_span *span = make(PLD_KIND_COLLECTED, 32);
        struct pld_marks *marks = &pld_span_marks(span)[1];
        pld_store_relaxed(&marks->pen, UINT64_C(1) << 6);
        cr_expect(pld_span_is_marked(span, 70));
        cr_expect_not(pld_span_mark(span, 70));
        cr_expect(pld_span_mark(span, 71), "beside it anyone may");
        cr_expect_eq(pld_marks_read(marks), UINT64_C(3) << 6);
        cr_expect_eq(pld_load_relaxed(&marks->all), UINT64_C(1) << 7);
        pld_marks_set(marks, UINT64_C(1) << 9);
        cr_expect_not(pld_span_is_marked(span, 70));
        cr_expect_not(pld_span_is_marked(span, 71));
        cr_expect(pld_span_is_marked(span, 73));
}

Test(span, a_reserved_cell_is_no_object_until_the_run_has_passed_it)
{
        arena_test_start(1);
        struct pld_span *span = make(PLD_KIND_COLLECTED, 64);
        pld_store_relaxed(&pld_span_allocated(span)[0], 0xff);
        cr_expect(pld_span_has_object(span, 5));
        cr_expect_not(pld_span_has_object(span, 8), "it is not allocated");
        cr_expect_not(pld_span_has_object(span, span->count), "it is no cell");
        pld_store_relaxed(&span->collected.run_next, pld_span_object(span, 4));
        pld_store_relaxed(&span->collected.run_end, pld_span_object(span, 6));
        cr_expect(pld_span_has_object(span, 3));
        cr_expect_not(pld_span_has_object(span, 4));
        cr_expect_not(pld_span_has_object(span, 5));
        cr_expect(pld_span_has_object(span, 6));
}

Test(span, the_limit_on_spans_refuses_and_recovers)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.max_spans = 2;
        arena_test_start_as(1, &settings);
        struct pld_span *a = make(PLD_KIND_COLLECTED, 64);
        make(PLD_KIND_COLLECTED, 64);
        struct pld_span_wish wish = { .kind = PLD_KIND_COLLECTED };
        cr_expect_null(pld_span_new(&wish));
        pld_span_release(a);
        cr_expect_not_null(pld_span_new(&wish));
}

Test(span, without_pages_nothing_is_kept)
{
        arena_test_start(1);
        struct pld_span_wish wish = { .kind = PLD_KIND_COLLECTED,
                                      .class = PLD_CLASS_LARGE,
                                      .nbytes = PTRDIFF_MAX };
        cr_expect_null(pld_span_new(&wish));
        cr_expect_eq(pld_spans_live(), 0);
}

Test(span, a_full_node_sends_a_span_to_the_nearest_other_unless_strict)
{
        arena_test_machine(3);
        pld_fake_set_distance(arena_test_id(1), arena_test_id(2), 12);
        struct pld_arena_settings settings = arena_test_settings();
        cr_assert_eq(pld_arena_start(&settings), 0);
        pld_fake_set_free(arena_test_id(1), 0);
        struct pld_span_wish wish = { .kind = PLD_KIND_MANUAL, .class = 5, .slice = 1 };
        struct pld_span *span = pld_span_new(&wish);
        cr_assert_not_null(span);
        cr_expect_eq(span->slice, 2);
        wish.strict = true;
        cr_expect_null(pld_span_new(&wish));
}

/* ---- Nodes that are slow, or gone */

static void start_with_a_slow_node(void)
{
        struct pld_arena_settings settings = arena_test_settings();
        arena_test_machine(2);
        pld_fake_add_node(arena_test_id(2), 0, 8 * PLD_GIB);
        pld_fake_set_distance(arena_test_id(0), arena_test_id(2), 11); /* nearer than the other */
        pld_fake_install();
        cr_assert_eq(pld_arena_start(&settings), 0);
}

static int node_of_large(size_t nbytes)
{
        return polder_node_of(polder_malloc(nbytes));
}

Test(span, the_slower_tier_is_taken_when_the_others_are_full_or_when_asked_for)
{
        start_with_a_slow_node();
        cr_expect_eq(node_of_large(30 << 20), arena_test_id(0));
        pld_fake_set_free(arena_test_id(0), 0);
        cr_expect_eq(node_of_large(30 << 20), arena_test_id(1));
        pld_fake_set_free(arena_test_id(1), 0);
        cr_expect_eq(node_of_large(30 << 20), arena_test_id(2));
        cr_expect_eq(pld_backing_fallbacks(PLD_BACKING_THP, PLD_REASON_NODE_LOW) > 0, true);
        pld_fake_set_free(arena_test_id(0), 8 * PLD_GIB);
        cr_expect_eq(node_of_large(30 << 20), arena_test_id(0));
        cr_expect_eq(polder_node_of(polder_malloc_onnode(1000, arena_test_id(2))), arena_test_id(2));
        cr_expect_null(pld_fake_disaster());
}

Test(span, a_node_that_was_unplugged_is_counted_and_no_longer_asked)
{
        enum { CPU_OF_1 = 2 };
        arena_test_start(2);
        pld_fake_run_on(CPU_OF_1);
        void *large = polder_malloc(30 << 20), *small = polder_malloc(100);
        cr_assert_eq(polder_node_of(large), arena_test_id(1));
        pld_fake_unplug(arena_test_id(1));
        cr_expect_eq(node_of_large(30 << 20), arena_test_id(0));
        cr_expect_gt(pld_backing_fallbacks(PLD_BACKING_THP, PLD_REASON_NODE_FORBIDDEN) +
                             pld_backing_fallbacks(PLD_BACKING_BASE, PLD_REASON_NODE_FORBIDDEN), 0);
        cr_expect_eq(pld_machine_here(), 0, "its CPUs go to the next one");
        polder_free(large);
        polder_free(small);
        polder_release();
        for (int i = 0; i < 10000; i++)
                cr_assert_eq(node_of_large(100), arena_test_id(0));
        errno = 0;
        cr_expect_null(polder_malloc_onnode(30 << 20, arena_test_id(1)));
        cr_expect_eq(errno, ENOMEM);
        cr_expect_null(pld_fake_disaster());
        pld_page_heap_verify();
}
