#include "tests/arena/arena_test.h"

#include <string.h>

static struct pld_central *make(size_t nbytes)
{
        if (pld_page_heap_slices() == 0)
                arena_test_start(1);
        struct pld_central *central = pld_central_new(0, pld_class_of(nbytes), NULL);
        cr_assert_not_null(central);
        return central;
}

static struct pld_bump bump;

static char *alloc(struct pld_central *central, bool black)
{
        size_t reserved;
        void *object;
        if (pld_bump_try(&bump, central, &object))
                return object;
        object = pld_bump_more(&bump, central);
        return object ? object : pld_bump_refill(&bump, central, black, &reserved);
}

static bool is_object(const char *at)
{
        struct pld_span *span = pld_span_of((uintptr_t)at);
        return pld_span_has_object(span, pld_span_index(span, (uintptr_t)at));
}

static bool is_marked(const char *at)
{
        struct pld_span *span = pld_span_of((uintptr_t)at);
        return pld_span_is_marked(span, pld_span_index(span, (uintptr_t)at));
}

Test(bump, objects_follow_each_other)
{
        struct pld_central *central = make(64);
        char *a = alloc(central, false), *b = alloc(central, false);
        cr_expect_eq(b, a + 64);
        cr_expect(is_object(a));
        cr_expect(is_object(b));
        cr_expect_not(is_object(b + 64), "it is reserved, not born");
        cr_expect(pld_bump_reserves(&bump, (uintptr_t)b + 64));
}

Test(bump, a_whole_span_is_used_before_another_is_taken)
{
        struct pld_central *central = make(512);
        char *first = alloc(central, false);
        struct pld_span *span = pld_span_of((uintptr_t)first);
        for (size_t i = 1; i < span->count; i++)
                cr_assert_eq(alloc(central, false), first + 512 * i);
        cr_expect_neq(pld_span_of((uintptr_t)alloc(central, false)), span);
        cr_expect_eq(pld_spans_live(), 2);
}

Test(bump, an_object_larger_than_a_run_gets_a_run_of_its_own)
{
        struct pld_central *central = make(20000);
        char *a = alloc(central, false);
        cr_expect(is_object(a));
        cr_expect_neq(alloc(central, false), a);
}

Test(bump, free_cells_between_live_ones_are_found_and_zeroed)
{
        struct pld_central *central = make(64);
        char *first = alloc(central, false);
        struct pld_span *span = pld_span_of((uintptr_t)first);
        memset(first, 1, 64);
        for (size_t i = 1; i < span->count; i++)
                memset(alloc(central, false), 1, 64);
        for (size_t i = 0; i < span->count; i++)
                if (i != 7 && i != 8 && i != 300)
                        pld_span_mark(span, i);
        pld_bump_close(&bump);
        pld_sweep_flip();
        static const size_t holes[] = { 7, 8, 300 };
        for (unsigned i = 0; i < 3; i++) {
                char *object = alloc(central, false);
                cr_assert_eq(object, first + 64 * holes[i]);
                for (unsigned k = 0; k < 64; k++)
                        cr_assert_eq(object[k], 0);
        }
        cr_expect_neq(pld_span_of((uintptr_t)alloc(central, false)), span);
}

static bool is_zero(const char *at, size_t nbytes)
{
        for (size_t i = 0; i < nbytes; i++)
                if (at[i])
                        return false;
        return true;
}

/* All objects of a span, from its first, which is the thread's next one. */
static struct pld_span *allocate_all(struct pld_central *central)
{
        char *first = alloc(central, false);
        struct pld_span *span = pld_span_of((uintptr_t)first);
        cr_assert_eq((uintptr_t)first, span->start);
        for (size_t i = 1; i < span->count; i++)
                cr_assert_eq(alloc(central, false), first + i * span->nbytes);
        return span;
}

/* All die, but every `keep`-th; what they held stays where it was. */
static void let_die(struct pld_span *span, size_t keep)
{
        memset((void *)span->start, 0x5a, span->count * span->nbytes);
        for (size_t i = 0; keep && i < span->count; i += keep)
                pld_span_mark(span, i);
        pld_bump_close(&bump);
        pld_sweep_flip();
        pld_span_sweep(span);
        memset((void *)span->start, 0x5a, span->count * span->nbytes);
        pld_store_relaxed(&span->collected.dirty, true);
}

static void expect_zeroed(size_t nbytes, size_t keep, bool black)
{
        struct pld_central *central = make(nbytes);
        struct pld_span *span = allocate_all(central);
        let_die(span, keep);
        for (size_t i = 0; i < span->count; i++) {
                if (keep && i % keep == 0)
                        continue;
                char *object = alloc(central, black);
                cr_assert_eq((uintptr_t)object, pld_span_object(span, i));
                cr_assert(is_zero(object, span->nbytes), "cell %zu of %zu", i, span->nbytes);
                memset(object, 0xff, span->nbytes);
        }
        cr_expect_neq(pld_span_of((uintptr_t)alloc(central, black)), span);
}

Test(bump, each_object_of_a_dirty_span_is_zero)
{
        static const size_t sizes[] = { 8, 16, 48, 64, 512, 1536, 2048, 3072, 20480 };
        for (unsigned i = 0; i < PLD_COUNT_OF(sizes); i++)
                expect_zeroed(sizes[i], 0, false);
}

Test(bump, each_object_between_live_ones_is_zero)
{
        expect_zeroed(16, 5, false);
        expect_zeroed(64, 2, false);
        expect_zeroed(64, 200, false);
        expect_zeroed(512, 3, false);
}

Test(bump, each_object_of_a_black_run_is_zero)
{
        expect_zeroed(16, 0, true);
        expect_zeroed(64, 50, true);
}

Test(bump, what_is_left_of_a_run_is_zero_when_it_becomes_objects)
{
        struct pld_central *central = make(64);
        struct pld_span *span = allocate_all(central);
        let_die(span, 0);
        for (unsigned i = 0; i < 150; i++)
                alloc(central, false);
        pld_bump_empty(&bump);
        size_t n = 150;
        for (; n < span->count && pld_span_has_object(span, n); n++)
                cr_assert(is_zero((char *)pld_span_object(span, n), 64), "cell %zu", n);
        cr_expect_gt(n, 150, "something was left");
}

static size_t length_of_run(struct pld_central *central, bool black)
{
        size_t reserved = 0;
        void *object;
        while (pld_bump_try(&bump, central, &object) || pld_bump_more(&bump, central))
                ;
        cr_assert_not_null(pld_bump_refill(&bump, central, black, &reserved));
        return reserved;
}

/* As when a thread is back on a node that it had left. */
Test(bump, a_refill_before_the_end_of_a_run_goes_on_with_it)
{
        struct pld_central *central = make(64);
        size_t reserved = 4711;
        for (unsigned i = 0; i < 4; i++)
                length_of_run(central, false);
        struct pld_slot *slot = pld_bump_slot(&bump, central);
        uintptr_t next = pld_load_relaxed(&slot->span->collected.run_next);
        cr_assert_lt(next, pld_load_relaxed(&slot->span->collected.run_end));
        cr_expect_eq((uintptr_t)pld_bump_refill(&bump, central, false, &reserved), next);
        cr_expect_eq(reserved, 0);
}

Test(bump, runs_grow_with_use_and_a_flip_halves_them)
{
        struct pld_central *central = make(64);
        size_t first = length_of_run(central, false), last = first, next;
        while ((next = length_of_run(central, false)) > last)
                last = next;
        cr_expect_geq(last, 4 * first);
        cr_expect_leq(last, 16384);
        pld_bump_close(&bump);
        pld_sweep_flip();
        cr_expect_eq(length_of_run(central, false), last / 2);
}

Test(bump, black_runs_stay_short)
{
        struct pld_central *central = make(64);
        size_t first = length_of_run(central, true);
        for (unsigned i = 0; i < 20; i++)
                cr_assert_eq(length_of_run(central, true), first);
}

Test(bump, a_slot_that_was_lost_begins_with_a_short_run)
{
        struct pld_central *central = make(64), *rival = NULL;
        size_t first = length_of_run(central, false);
        for (unsigned i = 0; i < 8; i++)
                length_of_run(central, false);
        do
                rival = pld_central_new(0, pld_class_of(64), NULL);
        while (pld_bump_slot(&bump, rival) != pld_bump_slot(&bump, central));
        cr_expect_eq(length_of_run(rival, false), first);
}

Test(bump, a_black_run_is_born_marked)
{
        struct pld_central *central = make(64);
        char *white = alloc(central, false);
        cr_expect_not(is_marked(white));
        pld_bump_blacken(&bump);
        cr_expect_not(is_marked(white), "it was born before");
        cr_expect(is_marked(alloc(central, true)));
        for (unsigned i = 0; i < 500; i++)
                cr_assert(is_marked(alloc(central, true)));
}

Test(bump, closing_frees_what_is_left_of_a_run)
{
        struct pld_central *central = make(64);
        char *a = alloc(central, false);
        pld_bump_blacken(&bump);
        struct pld_span *span = pld_span_of((uintptr_t)a);
        pld_bump_close(&bump);
        cr_expect_eq(pld_load_relaxed(&pld_span_allocated(span)[0]), 1);
        cr_expect_eq(pld_marks_read(&pld_span_marks(span)[0]), 0);
        cr_expect_not(pld_bump_reserves(&bump, (uintptr_t)a + 64));
        cr_expect_eq(alloc(central, false), a + 64);
}

Test(bump, closing_leaves_no_mark_of_the_pens)
{
        struct pld_central *central = make(64);
        char *a = alloc(central, false);
        struct pld_span *span = pld_span_of((uintptr_t)a);
        pld_store_relaxed(&pld_span_marks(span)[0].pen, ~UINT64_C(0) >> 1);
        size_t ncells = 0;
        while (pld_span_index(span, (uintptr_t)a) + ncells < 63 &&
               pld_bump_reserves(&bump, (uintptr_t)a + 64 * (ncells + 1)))
                ncells++;
        cr_assert_gt(ncells, 2);
        pld_bump_close(&bump);
        uint64_t left = ~UINT64_C(0) >> 1;
        for (size_t i = 1; i <= ncells; i++)
                left &= ~(UINT64_C(1) << (pld_span_index(span, (uintptr_t)a) + i));
        cr_expect_eq(pld_marks_read(&pld_span_marks(span)[0]), left);
}

Test(bump, given_back_runs_become_objects_that_the_next_sweep_frees)
{
        struct pld_central *central = make(64);
        char *a = alloc(central, false);
        struct pld_span *span = pld_span_of((uintptr_t)a);
        pld_bump_empty(&bump);
        cr_expect(is_object(a + 64));
        cr_expect_not(pld_bump_try(&bump, central, &(void *){ NULL }));
        pld_span_mark(span, 0);
        pld_sweep_flip();
        pld_sweep_finish();
        cr_expect(is_object(a));
        cr_expect_not(is_object(a + 64));
}

Test(bump, a_slot_is_lost_to_another_layout_and_nothing_with_it)
{
        enum { N = 2 * PLD_BUMP_SLOTS };
        static struct pld_central *centrals[N];
        static char *objects[N];
        centrals[0] = make(64);
        for (unsigned i = 1; i < N; i++)
                centrals[i] = pld_central_new(0, pld_class_of(64), NULL);
        for (unsigned round = 0; round < 3; round++) {
                for (unsigned i = 0; i < N; i++) {
                        objects[i] = alloc(centrals[i], false);
                        cr_assert(is_object(objects[i]));
                        cr_assert_eq(pld_span_of((uintptr_t)objects[i])->collected.central,
                                     centrals[i]);
                }
        }
        cr_expect_eq(pld_spans_live(), N);
        pld_bump_empty(&bump);
        pld_sweep_flip();
        pld_sweep_finish();
        cr_expect_eq(pld_spans_live(), 0);
}

Test(bump, a_thread_without_a_cache_gets_single_objects)
{
        struct pld_central *central = make(64);
        char *a = pld_bump_direct(central, false), *b = pld_bump_direct(central, true);
        cr_expect(is_object(a));
        cr_expect(is_object(b));
        cr_expect_neq(a, b);
        cr_expect_not(is_marked(a));
        cr_expect(is_marked(b));
        cr_expect_eq(pld_spans_live(), 1);
}

/* B2: a reader that asks about live objects while runs open and close behind them. */
static _Atomic(char *) published;
static _Atomic bool stop;

static void *ask(void *unused)
{
        uintptr_t wrong = 0;
        (void)unused;
        while (!pld_load_relaxed(&stop)) {
                char *at = pld_load_acquire(&published);
                if (at && !is_object(at))
                        wrong++;
        }
        return (void *)wrong;
}

Test(bump, a_live_object_is_one_at_any_moment)
{
        struct pld_central *central = make(512);
        pthread_t thread;
        void *wrong;
        cr_assert_eq(pthread_create(&thread, NULL, ask, NULL), 0);
        for (unsigned i = 0; i < 300000; i++) {
                char *at = alloc(central, false);
                cr_assert_not_null(at);
                if (i % 3 == 0)
                        pld_store_release(&published, at);
        }
        pld_store_relaxed(&stop, true);
        pthread_join(thread, &wrong);
        cr_expect_null(wrong);
}

/* A cycle's flip waits for whoever is inside of Polder, so no question is asked across
 * two of them: such an answer does not count. */
static _Atomic unsigned nflips;

static void *ask_about_one_cell(void *arg)
{
        struct pld_span *span = arg;
        uintptr_t wrong = 0;
        while (!pld_load_relaxed(&stop)) {
                unsigned before = pld_load_acquire(&nflips);
                bool is_one = pld_span_has_object(span, 1);
                if (!is_one && pld_load_acquire(&nflips) == before)
                        wrong++;
        }
        return (void *)wrong;
}

Test(bump, a_live_object_between_two_runs_is_one_at_any_moment)
{
        struct pld_central *central = make(8192); /* few cells: the one is passed often */
        struct pld_span *span = pld_span_of((uintptr_t)alloc(central, false));
        for (size_t i = 1; i < span->count; i++)
                alloc(central, false);
        pthread_t thread;
        void *wrong;
        cr_assert_eq(pthread_create(&thread, NULL, ask_about_one_cell, span), 0);
        for (unsigned round = 0; round < 100000; round++) {
                for (size_t i = 1; i < span->count; i += 2)
                        pld_span_mark(span, i);
                pld_bump_close(&bump);
                pld_store_release(&nflips, round + 1);
                pld_sweep_flip();
                for (size_t i = 0; i < span->count; i += 2)
                        cr_assert_eq(pld_span_of((uintptr_t)alloc(central, false)), span);
        }
        pld_store_relaxed(&stop, true);
        pthread_join(thread, &wrong);
        cr_expect_null(wrong);
}
