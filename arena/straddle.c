/* straddle.c: runs that begin in one huge page and end in another.
 *
 * A block of 3 MiB in huge pages of its own leaves a third of them to smaller ones, of
 * which there may be none. So runs of up to a few huge pages begin where another ends: in
 * the free pages at the end of one, over whole ones, and into the free pages at the start of
 * the next. Larger ones begin with a huge page (row.c): they waste little. So does all that
 * is larger than a huge page where there are several nodes, for whoever has a huge page to
 * itself can be moved to another one (moved.c).
 *
 * The pages at both ends are taken under the lock in which they were found; the huge pages
 * between them are BUSY while they are backed (page_heap.c, P1 and P3). If the kernel
 * refuses, all of it goes back. */
#include "arena/page_heap_inside.h"

enum {
        SCAN_MOST = 1024 /* huge pages looked at with the lock held */
};

struct stretch {
        struct pld_huge *huge; /* the first one */
        size_t page;           /* in it */
        size_t nhuge;          /* it reaches into so many */
};

static size_t free_at_start(const struct pld_huge *huge)
{
        return pld_bits_find(huge->taken, 0, PLD_HUGE_PAGES, true);
}

static size_t free_at_end(const struct pld_huge *huge)
{
        size_t n = 0;
        for (size_t i = PLD_HUGE_PAGES / 64; i-- > 0; n += 64)
                if (huge->taken[i])
                        return n + 63 - pld_log2(huge->taken[i]);
        return n;
}

static bool is_whole(const struct pld_huge *huge, bool with_void)
{
        return huge->state == PLD_HUGE_IDLE || (with_void && huge->state == PLD_HUGE_VOID);
}

/* The first stretch of npages in those of [from, to). */
static bool find_between_locked(struct pld_page_heap *heap, size_t from, size_t to, size_t npages,
                                bool with_void, struct stretch *found)
{
        size_t nfree = 0; /* up to the end of the one before */
        for (size_t i = from; i < to; i++) {
                struct pld_huge *huge = &heap->huge[i];
                bool whole = is_whole(huge, with_void), some = pld_huge_is_filed(huge);
                size_t at_start = whole ? PLD_HUGE_PAGES : some ? free_at_start(huge) : 0;
                if (nfree == 0 || (!whole && nfree + at_start < npages)) { /* it begins here, if at all */
                        nfree = whole ? PLD_HUGE_PAGES : some ? free_at_end(huge) : 0;
                        *found = (struct stretch){ .huge = huge, .page = PLD_HUGE_PAGES - nfree };
                } else {
                        nfree += at_start;
                }
                if (nfree >= npages) {
                        found->nhuge = (size_t)(huge - found->huge) + 1;
                        return true;
                }
        }
        return false;
}

static bool find_locked(struct pld_page_heap *heap, size_t npages, bool with_void,
                        struct stretch *found)
{
        size_t from = heap->nhuge > SCAN_MOST && heap->seek < heap->nhuge ? heap->seek : 0;
        size_t to = heap->nhuge - from < SCAN_MOST ? heap->nhuge : from + SCAN_MOST;
        bool there = find_between_locked(heap, from, to, npages, with_void, found);
        heap->seek = there ? pld_huge_index(heap, found->huge) : to;
        return there;
}

/* Takes what is TAKEN already, claims the others, which are in a row. */
static size_t claim_locked(struct pld_page_heap *heap, const struct stretch *stretch,
                           struct pld_run *run, struct pld_huge **row)
{
        size_t page = stretch->page, left = run->npages, nrow = 0;
        for (size_t i = 0; i < stretch->nhuge; i++, page = 0) {
                struct pld_huge *huge = &stretch->huge[i];
                size_t here = left < PLD_HUGE_PAGES - page ? left : PLD_HUGE_PAGES - page;
                if (huge->state == PLD_HUGE_TAKEN) {
                        pld_page_heap_take_locked(heap, huge, page, here, run);
                } else {
                        if (nrow++ == 0)
                                *row = huge;
                        pld_huge_become_busy_locked(heap, huge);
                }
                left -= here;
        }
        return nrow;
}

/* Both ends of the run, around the row that could not be backed. */
static void give_ends(struct pld_run run, const struct pld_huge *row, size_t nrow)
{
        uintptr_t from = pld_huge_address(row), to = from + (nrow << PLD_HUGE_SHIFT);
        uintptr_t end = run.at + (run.npages << PLD_PAGE_SHIFT);
        if (run.at < from)
                pld_page_heap_free((struct pld_run){
                        .at = run.at, .npages = (from - run.at) >> PLD_PAGE_SHIFT });
        if (to < end)
                pld_page_heap_free(
                        (struct pld_run){ .at = to, .npages = (end - to) >> PLD_PAGE_SHIFT });
}

static void take_row_locked(struct pld_page_heap *heap, struct pld_huge *row, size_t nrow,
                            struct pld_run *run)
{
        uintptr_t end = run->at + (run->npages << PLD_PAGE_SHIFT);
        for (size_t i = 0; i < nrow; i++) {
                size_t left = (end - pld_huge_address(&row[i])) >> PLD_PAGE_SHIFT;
                pld_page_heap_take_locked(heap, &row[i], 0,
                                          left < PLD_HUGE_PAGES ? left : PLD_HUGE_PAGES, run);
        }
}

bool pld_page_heap_straddle(struct pld_page_heap *heap, size_t npages, bool lazily,
                            struct pld_run *out)
{
        struct stretch stretch;
        struct pld_huge *row = NULL;
        pld_lock(&heap->lock);
        bool found = find_locked(heap, npages, false, &stretch) ||
                     (npages > PLD_HUGE_PAGES && find_locked(heap, npages, true, &stretch));
        if (!found) {
                pld_unlock(&heap->lock);
                return false;
        }
        out->at = pld_huge_address(stretch.huge) + (stretch.page << PLD_PAGE_SHIFT);
        size_t nrow = claim_locked(heap, &stretch, out, &row);
        pld_unlock(&heap->lock);
        if (nrow == 0)
                return true;
        if (pld_page_heap_back_row(heap, row, nrow, lazily)) { /* P3 */
                give_ends(*out, row, nrow);
                *out = (struct pld_run){ .npages = npages, .zeroed = true };
                return false;
        }
        pld_lock(&heap->lock);
        take_row_locked(heap, row, nrow, out);
        pld_unlock(&heap->lock);
        return true;
}
