#include "tests/arena/arena_test.h"

static struct pld_span *settled; /* the last span whose records were settled */

static void settle(struct pld_span *span)
{
        settled = span;
        pld_span_mark(span, 9);
}

static struct pld_span *make(void)
{
        arena_test_start(1);
        struct pld_span_wish wish = { .kind = PLD_KIND_COLLECTED, .class = pld_class_of(128) };
        struct pld_span *span = pld_span_new(&wish);
        pld_store_relaxed(&span->collected.sweep_epoch, pld_load_relaxed(&pld_sweep_epoch));
        pld_store_relaxed(&span->collected.dirty, false);
        return span;
}

static void allocate(struct pld_span *span, size_t i)
{
        pld_or_relaxed(&pld_span_allocated(span)[i / 64], UINT64_C(1) << (i % 64));
}

static bool is_allocated(struct pld_span *span, size_t i)
{
        return pld_load_relaxed(&pld_span_allocated(span)[i / 64]) >> (i % 64) & 1;
}

Test(sweep, marked_objects_stay_and_the_others_go)
{
        struct pld_span *span = make();
        allocate(span, 3);
        allocate(span, 65);
        allocate(span, 200);
        pld_span_mark(span, 65);
        pld_sweep_flip();
        cr_expect_not(pld_span_is_swept(span));
        pld_span_sweep(span);
        cr_expect(pld_span_is_swept(span));
        cr_expect_not(is_allocated(span, 3));
        cr_expect(is_allocated(span, 65));
        cr_expect_not(is_allocated(span, 200));
        cr_expect_not(pld_span_is_marked(span, 65), "marks are clear for the next cycle");
        cr_expect_eq(pld_load_relaxed(&pld_swept_bytes), 2 * 128);
        cr_expect(pld_load_relaxed(&span->collected.dirty));
}

static struct pld_span *sweep_what_the_pen_has_marked(bool keeps_marks)
{
        struct pld_span *span = make();
        for (size_t i = 64; i < 68; i++)
                allocate(span, i);
        pld_store_relaxed(&pld_span_marks(span)[1].pen, 2);
        pld_span_mark(span, 66);
        pld_store_relaxed(&pld_sweep_keeps_marks, keeps_marks);
        pld_sweep_flip();
        pld_span_sweep(span);
        cr_expect_eq(pld_load_relaxed(&pld_span_allocated(span)[1]), 6);
        cr_expect_eq(pld_load_relaxed(&pld_span_marks(span)[1].pen), 0);
        return span;
}

Test(sweep, what_was_marked_with_the_pen_stays)
{
        struct pld_span *span = sweep_what_the_pen_has_marked(false);
        cr_expect_eq(pld_marks_read(&pld_span_marks(span)[1]), 0);
}

Test(sweep, what_was_marked_with_the_pen_is_old_where_marks_are_kept)
{
        struct pld_span *span = sweep_what_the_pen_has_marked(true);
        cr_expect_eq(pld_load_relaxed(&pld_span_marks(span)[1].all), 6);
}

Test(sweep, a_span_is_swept_once_an_epoch)
{
        struct pld_span *span = make();
        allocate(span, 1);
        pld_span_sweep(span);
        cr_expect(is_allocated(span, 1), "it was swept already");
        pld_sweep_flip();
        pld_span_mark(span, 1);
        pld_span_sweep(span);
        pld_span_sweep(span);
        cr_expect(is_allocated(span, 1), "its mark was taken by the first one");
}

Test(sweep, without_dead_objects_the_free_cells_stay_as_clean_as_they_were)
{
        struct pld_span *span = make();
        allocate(span, 1);
        pld_span_mark(span, 1);
        pld_sweep_flip();
        pld_span_sweep(span);
        cr_expect_not(pld_load_relaxed(&span->collected.dirty));
        cr_expect_eq(pld_load_relaxed(&pld_swept_bytes), 0);
}

Test(sweep, records_are_settled_first_and_may_keep_an_object)
{
        struct pld_span *span = make();
        pld_sweep_start(settle);
        allocate(span, 9);
        allocate(span, 10);
        pld_store_relaxed(&span->collected.records, span);
        pld_sweep_flip();
        pld_span_sweep(span);
        cr_expect_eq(settled, span);
        cr_expect(is_allocated(span, 9));
        cr_expect_not(is_allocated(span, 10));
}
