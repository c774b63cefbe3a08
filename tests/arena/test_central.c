#include "tests/arena/arena_test.h"

static struct pld_central *make(size_t nbytes)
{
        arena_test_start(1);
        struct pld_central *central = pld_central_new(0, pld_class_of(nbytes), NULL);
        cr_assert_not_null(central);
        return central;
}

static void allocate_all(struct pld_span *span)
{
        for (size_t i = 0; i < span->count; i++)
                pld_or_relaxed(&pld_span_allocated(span)[i / 64], UINT64_C(1) << (i % 64));
}

static void count_one(struct pld_span *span, void *arg)
{
        (void)span;
        ++*(unsigned *)arg;
}

static unsigned count_spans(void)
{
        unsigned n = 0;
        pld_collected_each(count_one, &n);
        return n;
}

Test(central, a_span_that_was_put_back_with_free_cells_is_taken_again)
{
        struct pld_central *central = make(64);
        struct pld_span *span = pld_central_take(central);
        cr_expect(span->collected.owned);
        cr_expect_neq(pld_central_take(central), span, "an owned span is nobody else's");
        pld_central_put(central, span);
        cr_expect_not(span->collected.owned);
        cr_expect_eq(pld_central_take(central), span);
        cr_expect_eq(count_spans(), 2);
}

Test(central, a_full_span_is_not_taken_until_a_sweep_frees_something)
{
        struct pld_central *central = make(64);
        struct pld_span *span = pld_central_take(central);
        allocate_all(span);
        pld_central_put(central, span);
        cr_expect_neq(pld_central_take(central), span);
        pld_span_mark(span, 0);
        pld_sweep_flip();
        cr_expect_eq(pld_central_take(central), span);
        cr_expect_eq(pld_load_relaxed(&pld_span_allocated(span)[0]), 1);
}

Test(central, an_empty_span_goes_back_to_the_page_heap_when_swept)
{
        struct pld_central *central = make(64);
        struct pld_span *span = pld_central_take(central);
        allocate_all(span);
        pld_central_put(central, span);
        pld_sweep_flip();
        while (pld_sweep_some(1))
                ;
        cr_expect_eq(pld_spans_live(), 0);
        cr_expect_eq(count_spans(), 0);
        cr_expect_eq(pld_page_heap_used_bytes(), 0);
}

Test(central, an_owned_span_is_swept_but_stays_its_owners)
{
        struct pld_central *central = make(64);
        struct pld_span *span = pld_central_take(central);
        allocate_all(span);
        pld_sweep_flip();
        pld_sweep_finish();
        cr_expect(pld_span_is_swept(span));
        cr_expect_eq(pld_spans_live(), 1, "though it is empty");
        cr_expect_neq(pld_central_take(central), span);
        pld_central_put(central, span);
        cr_expect_eq(pld_central_take(central), span);
}

Test(central, an_unswept_span_that_was_put_back_is_found_and_swept)
{
        struct pld_central *central = make(64);
        struct pld_span *span = pld_central_take(central);
        allocate_all(span);
        pld_span_mark(span, 5);
        pld_sweep_flip();
        pld_central_put(central, span);
        cr_expect_not(pld_span_is_swept(span));
        cr_expect_eq(pld_central_take(central), span);
        cr_expect(pld_span_is_swept(span));
}

Test(central, a_large_object_is_allocated_and_black_if_asked)
{
        arena_test_start(1);
        struct pld_central *central = pld_central_new(0, PLD_CLASS_LARGE, NULL);
        struct pld_span *white = pld_central_new_large(central, 100000, false);
        struct pld_span *black = pld_central_new_large(central, 100000, false);
        cr_expect_null(pld_span_of(white->start), "no one may find it yet");
        pld_central_add_large(central, white, false);
        pld_central_add_large(central, black, true);
        cr_expect(pld_span_has_object(white, 0));
        cr_expect_not(pld_span_is_marked(white, 0));
        cr_expect(pld_span_is_marked(black, 0));
        pld_sweep_flip();
        pld_sweep_finish();
        cr_expect_null(pld_span_of(white->start));
        cr_expect_eq(pld_spans_live(), 1);
}

static _Atomic bool stop;

static void *sweep_always(void *unused)
{
        while (!pld_load_relaxed(&stop))
                pld_sweep_some(2);
        return unused;
}

Test(central, sweepers_and_takers_share_the_spans)
{
        enum { N = 64, ROUNDS = 200 };
        struct pld_central *central = make(1024);
        struct pld_span *spans[N];
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, sweep_always, NULL), 0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                for (unsigned i = 0; i < N; i++) {
                        spans[i] = pld_central_take(central);
                        pld_span_sweep(spans[i]);
                        size_t free_cell = 0;
                        while (pld_load_relaxed(&pld_span_allocated(spans[i])[free_cell / 64]) >>
                                       (free_cell % 64) & 1)
                                free_cell++;
                        cr_assert(free_cell < spans[i]->count);
                        pld_or_release(&pld_span_allocated(spans[i])[free_cell / 64],
                                       UINT64_C(1) << (free_cell % 64));
                        if (i % 3)
                                pld_span_mark(spans[i], free_cell);
                }
                for (unsigned i = 0; i < N; i++)
                        pld_central_put(central, spans[i]);
                pld_sweep_finish(); /* all is swept before a flip, as in a cycle */
                pld_sweep_flip();
        }
        pld_store_relaxed(&stop, true);
        pthread_join(thread, NULL);
        pld_sweep_finish();
        pld_sweep_flip();
        pld_sweep_finish();
        cr_expect_eq(count_spans(), pld_spans_live());
        cr_expect_eq(pld_spans_live(), 0, "nothing was marked in the last round");
        pld_page_heap_verify();
}
