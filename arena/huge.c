#include "arena/huge.h"

#include "base/check.h"

#include <string.h>

void pld_filler_init(struct pld_filler *filler)
{
        for (size_t i = 0; i <= PLD_HUGE_PAGES; i++)
                pld_list_init(&filler->by_longest[i]);
        memset(filler->nonempty, 0, sizeof filler->nonempty);
}

void pld_filler_insert(struct pld_filler *filler, struct pld_huge *huge)
{
        pld_list_push(&filler->by_longest[huge->longest], &huge->link);
        pld_bit_set(filler->nonempty, huge->longest);
}

void pld_filler_remove(struct pld_filler *filler, struct pld_huge *huge)
{
        pld_list_remove(&huge->link);
        if (pld_list_is_empty(&filler->by_longest[huge->longest]))
                pld_bit_clear(filler->nonempty, huge->longest);
}

struct pld_huge *pld_filler_find(struct pld_filler *filler, size_t npages, size_t align_pages,
                                 size_t *page)
{
        size_t longest = npages;
        for (;;) {
                longest = pld_bits_find(filler->nonempty, longest, PLD_HUGE_PAGES + 1, true);
                if (longest > PLD_HUGE_PAGES)
                        return NULL;
                pld_list_each(item, &filler->by_longest[longest]) {
                        struct pld_huge *huge = pld_container_of(item, struct pld_huge, link);
                        *page = pld_huge_find(huge, npages, align_pages);
                        if (*page < PLD_HUGE_PAGES)
                                return huge;
                }
                longest++;
        }
}

size_t pld_huge_find(const struct pld_huge *huge, size_t npages, size_t align_pages)
{
        size_t page = 0;
        for (;;) {
                page = pld_bits_find_run(huge->taken, page, PLD_HUGE_PAGES, npages);
                if (page == PLD_HUGE_PAGES || page % align_pages == 0)
                        return page;
                page = pld_round_up(page, align_pages);
                if (page + npages > PLD_HUGE_PAGES)
                        return PLD_HUGE_PAGES;
        }
}

bool pld_huge_take(struct pld_huge *huge, size_t page, size_t npages)
{
        PLD_ASSERT(pld_bits_find(huge->taken, page, page + npages, true) == page + npages);
        bool zeroed = pld_bits_find(huge->dirty, page, page + npages, true) == page + npages;
        pld_bits_fill(huge->taken, page, page + npages, true);
        pld_bits_fill(huge->dirty, page, page + npages, true);
        huge->ntaken = (uint16_t)(huge->ntaken + npages);
        huge->longest = (uint16_t)pld_bits_longest_run(huge->taken, PLD_HUGE_PAGES);
        return zeroed;
}

void pld_huge_give(struct pld_huge *huge, size_t page, size_t npages)
{
        PLD_ASSERT(pld_bits_find(huge->taken, page, page + npages, false) == page + npages);
        pld_bits_fill(huge->taken, page, page + npages, false);
        huge->ntaken = (uint16_t)(huge->ntaken - npages);
        size_t run = pld_bits_run_around(huge->taken, page, PLD_HUGE_PAGES); /* no other grew */
        if (run > huge->longest)
                huge->longest = (uint16_t)run;
}

bool pld_huge_is_lazy(const struct pld_huge *huge, size_t page, size_t npages)
{
        return pld_bits_find(huge->lazy, page, page + npages, true) < page + npages;
}

size_t pld_huge_loose(const struct pld_huge *huge, uint64_t out[PLD_HUGE_PAGES / 64])
{
        size_t n = 0;
        for (size_t i = 0; i < PLD_HUGE_PAGES / 64; i++) {
                uint64_t absent = huge->lazy[i] & ~huge->dirty[i]; /* never handed out since */
                out[i] = ~huge->taken[i] & ~absent;
                n += pld_popcount(out[i]);
        }
        return n;
}
