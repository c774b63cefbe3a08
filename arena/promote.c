/* promote.c: full huge pages of base pages become huge in truth.
 *
 * malloc's memory comes in base pages, as it is touched (page_heap.c). A huge page of them
 * that is full, and has been left alone for a while, is worth a real one: fewer misses of the
 * TLB for as long as it lasts. The kernel is asked to collapse it, by the decay's thread, or
 * to do so when it comes to it, where there is only the program's own (P10). */
#include "arena/page_heap_inside.h"

enum { PROMOTE_MOST = 32 /* of a slice at a time: each may take a millisecond */ };

static struct pld_huge *next_ripe_locked(struct pld_page_heap *heap, size_t *cursor,
                                         uint64_t before_ns)
{
        for (;;) {
                size_t i = pld_bits_find(heap->away, *cursor, heap->nhuge, true);
                if (i == heap->nhuge)
                        return NULL;
                *cursor = i + 1;
                if (heap->huge[i].ripe && heap->huge[i].given_ns <= before_ns)
                        return &heap->huge[i];
        }
}

static struct pld_huge *pick(struct pld_page_heap *heap, size_t *cursor, uint64_t before_ns)
{
        pld_lock(&heap->lock);
        struct pld_huge *huge = next_ripe_locked(heap, cursor, before_ns);
        if (huge) {
                huge->asked = huge->advised = huge->growing = true;
                pld_page_heap_count_loose_locked(heap, huge);
        }
        pld_unlock(&heap->lock);
        return huge;
}

/* P11 */
static void note_grown(struct pld_page_heap *heap, struct pld_huge *huge, bool done)
{
        pld_lock(&heap->lock);
        if (done && huge->growing && !pld_exchange_relaxed(&huge->grown, true)) {
                pld_book_huge((void *)pld_huge_address(huge), true);
                pld_add_relaxed(&pld_page_heaps.huge_bytes, PLD_HUGE_BYTES);
        }
        huge->growing = false;
        pld_unlock(&heap->lock);
}

size_t pld_page_heap_promote(uint64_t before_ns, bool now)
{
        size_t n = 0;
        for (unsigned i = 0; i < pld_page_heaps.nslices && pld_page_heap_is_ripe(); i++) {
                size_t cursor = 0;
                for (unsigned k = 0; k < PROMOTE_MOST; k++) {
                        struct pld_huge *huge = pick(pld_page_heaps.of[i], &cursor, before_ns);
                        if (!huge)
                                break;
                        bool done;
                        n += pld_make_huge((void *)pld_huge_address(huge), now, &done); /* P3 */
                        note_grown(pld_page_heaps.of[i], huge, done);
                }
        }
        return n;
}

bool pld_page_heap_is_ripe(void)
{
        return pld_load_relaxed(&pld_page_heaps.nripe) > 0;
}
