#include "tests/arena/arena_test.h"

#include "arena/ahead.h"
#include "arena/page_heap.h"
#include "numa/machine.h"

#include <unistd.h>

enum { HUGE_PAGE = 2 << 20, NTHREADS = 24 };

/* A heap of so many huge pages, of which none is idle. */
static void start_dry(size_t nhuge)
{
        struct pld_run run;
        arena_test_start(1);
        pld_page_heap_grow(0, nhuge * HUGE_PAGE, false);
        while (pld_page_heap_idle_bytes() > 0)
                cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES, true, &run), 0);
}

/* It is a matter of time; of how much, nobody knows. */
static bool comes_to(size_t nidle)
{
        for (int i = 0; i < 20000 && pld_page_heap_idle_bytes() < nidle * HUGE_PAGE; i++)
                usleep(1000);
        usleep(50000); /* to see that it is no more */
        return pld_page_heap_idle_bytes() == nidle * HUGE_PAGE;
}

Test(ahead, a_heap_that_was_dry_has_one_ready, .timeout = 60)
{
        start_dry(16);
        cr_expect_eq(pld_ahead_grown(), 0, "nobody has waited yet");
        pld_ahead_was_dry(0);
        cr_expect(comes_to(1));
        struct pld_run run;
        cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES, true, &run), 0);
        cr_expect(comes_to(1), "and another one when that is taken");
        cr_expect_eq(pld_ahead_grown(), 2 * HUGE_PAGE);
}

Test(ahead, what_is_ready_doubles_up_to_a_share_of_the_heap, .timeout = 120)
{
        start_dry(130);
        pld_ahead_was_dry(0);
        cr_expect(comes_to(1));
        pld_ahead_was_dry(0);
        cr_expect(comes_to(2));
        pld_ahead_was_dry(0);
        cr_expect(comes_to(2), "1 and a 128th of 132, not 4");
}

Test(ahead, who_takes_what_need_not_be_fetched_wakes_nobody, .timeout = 60)
{
        struct pld_run run;
        start_dry(16);
        for (int i = 0; i < 3; i++)
                pld_ahead_was_dry(0); /* four would be wanted, were the heap larger */
        cr_expect(comes_to(1));
        pld_page_heap_grow(0, 2 * HUGE_PAGE, false);
        uint32_t rung = pld_ahead_rung(0);
        while (pld_page_heap_idle_bytes() > HUGE_PAGE)
                cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES, true, &run), 0);
        cr_expect_eq(pld_ahead_rung(0), rung);
        cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES, PLD_PAGE_BYTES, true, &run), 0);
        cr_expect_eq(pld_ahead_rung(0), rung + 1);
}

Test(ahead, a_small_heap_has_nothing_ready, .timeout = 60)
{
        start_dry(4);
        pld_ahead_was_dry(0);
        cr_expect(comes_to(0));
        cr_expect_eq(pld_ahead_grown(), 0);
}

Test(ahead, a_limit_is_left_to_those_who_allocate, .timeout = 60)
{
        start_dry(16);
        size_t backed = pld_page_heap_backed_bytes();
        pld_ahead_set_limit(backed + HUGE_PAGE - 1);
        pld_ahead_was_dry(0);
        cr_expect(comes_to(0), "the soft one");
        pld_ahead_set_limit(0);
        pld_page_heap_set_limit(backed + HUGE_PAGE);
        pld_ahead_was_dry(0);
        cr_expect(comes_to(0), "the hard one");
        pld_page_heap_set_limit(0);
        pld_ahead_was_dry(0);
        cr_expect(comes_to(1));
}

Test(ahead, what_has_decayed_is_not_fetched_again, .timeout = 60)
{
        start_dry(16);
        pld_ahead_was_dry(0);
        cr_expect(comes_to(1));
        pld_page_heap_release(UINT64_MAX);
        cr_expect(comes_to(0));
}

static void take_long(void)
{
        usleep(50000);
}

static void *make_room(void *unused)
{
        pld_ahead_make_room(0);
        return unused;
}

static void make_room_at_once(void)
{
        pthread_t threads[NTHREADS];
        for (unsigned i = 0; i < NTHREADS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, make_room, NULL), 0);
        for (unsigned i = 0; i < NTHREADS; i++)
                pthread_join(threads[i], NULL);
}

Test(ahead, of_many_that_find_nothing_at_once_few_fetch, .timeout = 60)
{
        start_dry(4);
        pld_fake_before_populate(take_long);
        make_room_at_once();
        size_t nidle = pld_page_heap_idle_bytes() / HUGE_PAGE;
        cr_expect_gt(nidle, 0);
        cr_expect_leq(nidle, pld_machine.ncpus, "%zu", nidle);
        cr_expect_lt(pld_machine.ncpus, NTHREADS / 2);
}

Test(ahead, nobody_waits_for_what_cannot_be_had, .timeout = 60)
{
        start_dry(4);
        pld_page_heap_set_limit(pld_page_heap_backed_bytes());
        make_room_at_once();
        cr_expect_eq(pld_page_heap_idle_bytes(), 0);
}
