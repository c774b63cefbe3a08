#include "arena/huge.h"

#include <criterion/criterion.h>

/* Pages of memory that was just backed: free and zero. */
static struct pld_huge fresh(void)
{
        return (struct pld_huge){ .longest = PLD_HUGE_PAGES };
}

Test(huge, a_run_is_zero_until_its_pages_were_taken_once)
{
        struct pld_huge huge = fresh();
        cr_expect(pld_huge_take(&huge, 10, 5));
        pld_huge_give(&huge, 10, 5);
        cr_expect_not(pld_huge_take(&huge, 14, 2), "page 14 was used");
        cr_expect(pld_huge_take(&huge, 16, 1));
}

Test(huge, the_longest_run_follows_takes_and_gives)
{
        struct pld_huge huge = fresh();
        pld_huge_take(&huge, 100, 1);
        cr_expect_eq(huge.longest, PLD_HUGE_PAGES - 101);
        pld_huge_take(&huge, 0, 100);
        pld_huge_take(&huge, 101, PLD_HUGE_PAGES - 101);
        cr_expect_eq(huge.longest, 0);
        cr_expect_eq(huge.ntaken, PLD_HUGE_PAGES);
        pld_huge_give(&huge, 63, 2);
        cr_expect_eq(huge.longest, 2, "runs go over the words of the bitmap");
}

Test(huge, a_run_is_found_at_the_first_aligned_place)
{
        struct pld_huge huge = fresh();
        pld_huge_take(&huge, 0, 1);
        cr_expect_eq(pld_huge_find(&huge, 3, 1), 1);
        cr_expect_eq(pld_huge_find(&huge, 3, 8), 8);
        cr_expect_eq(pld_huge_find(&huge, 1, 128), 128);
        cr_expect_eq(pld_huge_find(&huge, PLD_HUGE_PAGES, 1), PLD_HUGE_PAGES);
        pld_huge_take(&huge, 128, 1);
        cr_expect_eq(pld_huge_find(&huge, 1, 128), PLD_HUGE_PAGES, "there is none");
}

Test(huge, the_filler_finds_the_fullest_that_fits)
{
        struct pld_filler filler;
        size_t page;
        struct pld_huge empty = fresh(), half = fresh(), nearly = fresh();
        pld_filler_init(&filler);
        pld_huge_take(&empty, 0, 1);
        pld_huge_take(&half, 0, 128);
        pld_huge_take(&nearly, 0, 250);
        pld_filler_insert(&filler, &empty);
        pld_filler_insert(&filler, &half);
        pld_filler_insert(&filler, &nearly);
        cr_expect_eq(pld_filler_find(&filler, 6, 1, &page), &nearly);
        cr_expect_eq(pld_filler_find(&filler, 7, 1, &page), &half);
        cr_expect_eq(pld_filler_find(&filler, 200, 1, &page), &empty);
        cr_expect_null(pld_filler_find(&filler, 256, 1, &page));
        pld_filler_remove(&filler, &half);
        cr_expect_eq(pld_filler_find(&filler, 7, 1, &page), &empty);
}

Test(huge, the_filler_passes_over_what_has_room_but_not_aligned)
{
        struct pld_filler filler;
        size_t page;
        struct pld_huge odd = fresh(), even = fresh();
        pld_filler_init(&filler);
        pld_huge_take(&odd, 0, 249);
        pld_huge_take(&odd, 255, 1); /* 6 free from 249 on */
        pld_huge_take(&even, 0, 240);
        pld_filler_insert(&filler, &odd);
        pld_filler_insert(&filler, &even);
        cr_expect_eq(pld_filler_find(&filler, 6, 1, &page), &odd);
        cr_expect_eq(page, 249);
        cr_expect_eq(pld_filler_find(&filler, 6, 8, &page), &even);
        cr_expect_eq(page, 240);
}
