/* shed.c: memory that goes back to the kernel.
 *
 * What is idle for long goes whole: BUSY while it does, the oldest first (page_heap.c, P2
 * and P3), unless it is reserved. Of TAKEN huge pages with much room the free pages go:
 * they are borrowed, that is taken, until the kernel has them, and are lazy and zero when
 * they come back (P5, P6). Those with half of their pages free are the first. A slack of free
 * pages stays so that huge pages are not broken for little; of those that are base pages
 * in truth nothing is broken, and all of them go. */
#include "arena/page_heap_inside.h"

#include "arena/extent.h"

enum {
        RELEASE_BATCH = 64,
        BROKEN_MOST = 16384 /* each may cost two mappings more, and there is a limit */
};

/* The oldest idle huge pages, made BUSY; how many. */
static size_t collect_idle_locked(struct pld_page_heap *heap, uint64_t before_ns,
                                  struct pld_huge *out[RELEASE_BATCH])
{
        size_t n = 0;
        while (n < RELEASE_BATCH && !pld_list_is_empty(&heap->idle) &&
               pld_load_relaxed(&heap->nbacked) > heap->nreserved) {
                struct pld_huge *huge = pld_container_of(heap->idle.prev, struct pld_huge, link);
                if (huge->given_ns > before_ns)
                        break;
                pld_huge_become_busy_locked(heap, huge);
                pld_sub_relaxed(&heap->nbacked, 1);
                out[n++] = huge;
        }
        return n;
}

static size_t release_from(struct pld_page_heap *heap, uint64_t before_ns)
{
        struct pld_huge *batch[RELEASE_BATCH];
        size_t total = 0, n;
        do {
                pld_lock(&heap->lock);
                n = collect_idle_locked(heap, before_ns, batch);
                pld_unlock(&heap->lock);
                for (size_t i = 0; i < n; i++)
                        pld_huge_unback(batch[i]); /* P3 */
                pld_lock(&heap->lock);
                for (size_t i = 0; i < n; i++)
                        pld_huge_become_void_locked(heap, batch[i]);
                pld_unlock(&heap->lock);
                total += n;
        } while (n == RELEASE_BATCH);
        return total << PLD_HUGE_SHIFT;
}

size_t pld_page_heap_release(uint64_t before_ns)
{
        size_t nbytes = 0;
        for (unsigned i = 0; i < pld_page_heaps.nslices; i++)
                nbytes += release_from(pld_page_heaps.of[i], before_ns);
        return nbytes;
}

/* ---- Shedding -------------------------------------------------------------- */

/* Pages of a TAKEN huge page, on their way to the kernel: taken (P3). */
struct shed {
        struct pld_huge *huge;
        uint64_t pages[PLD_HUGE_PAGES / 64];
        size_t npages;
};

static void borrow_locked(struct pld_page_heap *heap, struct pld_huge *huge, struct shed *out)
{
        out->huge = huge;
        huge->growing = false; /* P11 */
        huge->nsheds++;
        out->npages = pld_huge_loose(huge, out->pages);
        pld_filler_remove(&heap->filler, huge);
        for (size_t i = 0; i < PLD_COUNT_OF(huge->taken); i++)
                huge->taken[i] |= out->pages[i];
        huge->ntaken = (uint16_t)(huge->ntaken + out->npages);
        heap->ntaken_pages += out->npages;
        huge->longest = (uint16_t)pld_bits_longest_run(huge->taken, PLD_HUGE_PAGES);
        if (huge->longest > 0)
                pld_filler_insert(&heap->filler, huge);
        pld_page_heap_count_loose_locked(heap, huge);
}

static void return_locked(struct pld_page_heap *heap, const struct shed *shed, bool gone)
{
        struct pld_huge *huge = shed->huge;
        huge->nsheds--;
        if (huge->longest > 0)
                pld_filler_remove(&heap->filler, huge);
        for (size_t i = 0; i < PLD_COUNT_OF(huge->taken); i++) {
                huge->taken[i] &= ~shed->pages[i];
                huge->lazy[i] |= shed->pages[i]; /* some may have gone before one did not */
                huge->dirty[i] &= gone ? ~shed->pages[i] : UINT64_MAX;
        }
        huge->ntaken = (uint16_t)(huge->ntaken - shed->npages);
        heap->ntaken_pages -= shed->npages;
        huge->longest = (uint16_t)pld_bits_longest_run(huge->taken, PLD_HUGE_PAGES);
        pld_page_heap_refile_locked(heap, huge, huge->given_ns);
}

bool pld_huge_break_try(struct pld_huge *huge)
{
        if (pld_load_relaxed(&huge->backing) == PLD_BACKING_BASE) {
                if (huge->advised)
                        pld_make_small((void *)pld_huge_address(huge));
                huge->advised = false;
                if (pld_exchange_relaxed(&huge->grown, false)) { /* P11 */
                        pld_book_huge((void *)pld_huge_address(huge), false);
                        pld_sub_relaxed(&pld_page_heaps.huge_bytes, PLD_HUGE_BYTES);
                }
                return true;
        }
        if (pld_load_relaxed(&pld_page_heaps.nbroken) >= BROKEN_MOST ||
            pld_break((void *)pld_huge_address(huge)))
                return false;
        pld_add_relaxed(&pld_page_heaps.nbroken, 1);
        huge->broken = true;
        pld_store_relaxed(&huge->backing, PLD_BACKING_BASE);
        pld_extent_split_locked(pld_huge_address(huge));
        pld_sub_relaxed(&pld_page_heaps.huge_bytes, PLD_HUGE_BYTES);
        return true;
}

static bool drop(void *arg)
{
        const struct shed *shed = arg;
        bool gone = pld_huge_break_try(shed->huge);
        for (size_t page = 0; gone;) {
                page = pld_bits_find(shed->pages, page, PLD_HUGE_PAGES, true);
                if (page == PLD_HUGE_PAGES)
                        break;
                size_t end = pld_bits_find(shed->pages, page, PLD_HUGE_PAGES, false);
                gone = pld_drop((void *)(pld_huge_address(shed->huge) + (page << PLD_PAGE_SHIFT)),
                                (end - page) << PLD_PAGE_SHIFT) == 0;
                page = end;
        }
        return gone;
}

static bool is_small(const struct pld_huge *huge) /* whatever the kernel may do */
{
        return pld_huge_kind(huge) == PLD_BACKING_BASE && !huge->advised;
}

/* The next huge page from *cursor on with `least` loose pages; small: of base pages. */
static struct pld_huge *next_sparse_locked(struct pld_page_heap *heap, size_t *cursor, size_t least,
                                           uint64_t before_ns, bool small)
{
        for (;;) {
                size_t i = pld_bits_find(heap->away, *cursor, heap->nhuge, true);
                if (i == heap->nhuge)
                        return NULL;
                *cursor = i + 1;
                struct pld_huge *huge = &heap->huge[i];
                if (huge->state == PLD_HUGE_TAKEN && huge->nloose >= least &&
                    huge->given_ns <= before_ns && (!small || is_small(huge)))
                        return huge;
        }
}

static bool shed_next(struct pld_page_heap *heap, size_t *cursor, size_t least, uint64_t before_ns,
                      bool all, size_t *npages)
{
        struct shed shed;
        pld_lock(&heap->lock);
        bool small = !all && !heap->surplus;
        struct pld_huge *huge = next_sparse_locked(heap, cursor, least, before_ns, small);
        if (huge)
                borrow_locked(heap, huge, &shed);
        pld_unlock(&heap->lock);
        if (!huge)
                return false;
        bool gone = pld_extent_unless_watched(drop, &shed);
        *npages += gone ? shed.npages : 0;
        pld_lock(&heap->lock);
        return_locked(heap, &shed, gone);
        pld_unlock(&heap->lock);
        return true;
}

size_t pld_page_heap_shed(uint64_t before_ns, bool all)
{
        size_t npages = 0;
        for (unsigned i = 0; i < pld_page_heaps.nslices && !pld_extent_is_watched(); i++) {
                size_t cursor = 0;
                while (shed_next(pld_page_heaps.of[i], &cursor, PLD_HUGE_PAGES / 2, before_ns, all,
                                 &npages))
                        ;
                cursor = 0;
                while (shed_next(pld_page_heaps.of[i], &cursor, 1, before_ns, all, &npages))
                        ;
        }
        return npages << PLD_PAGE_SHIFT;
}
