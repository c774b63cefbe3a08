/* page_heap_counts.c: how much there is of what, and whether the invariants of
 * page_heap.c hold. Nothing here changes anything. */
#include "arena/page_heap_inside.h"

size_t pld_page_heap_backed_bytes(void)
{
        return pld_load_relaxed(&pld_page_heaps.backed_bytes);
}

size_t pld_page_heap_huge_bytes(void)
{
        return pld_load_relaxed(&pld_page_heaps.huge_bytes);
}

size_t pld_page_heap_idle_bytes(void)
{
        return pld_load_relaxed(&pld_page_heaps.idle_bytes);
}

size_t pld_page_heap_mortal_bytes(void)
{
        size_t backed = pld_load_relaxed(&pld_page_heaps.backed_bytes),
               kept = pld_load_relaxed(&pld_page_heaps.reserved_bytes);
        return backed > kept ? backed - kept : 0;
}

size_t pld_page_heap_spare_bytes(void)
{
        size_t idle = pld_page_heap_idle_bytes(), beyond = pld_page_heap_mortal_bytes();
        return (idle < beyond ? idle : beyond) + pld_load_relaxed(&pld_page_heaps.surplus_bytes);
}

size_t pld_page_heap_used_bytes(void)
{
        size_t n = 0;
        for (unsigned i = 0; i < pld_page_heaps.nslices; i++) {
                pld_lock(&pld_page_heaps.of[i]->lock);
                n += pld_page_heaps.of[i]->ntaken_pages;
                pld_unlock(&pld_page_heaps.of[i]->lock);
        }
        return n << PLD_PAGE_SHIFT;
}

/* Where some are abroad, and in the stripe, each huge page is asked. */
static void count_one_by_one_locked(struct pld_page_heap *heap, unsigned node, size_t *used,
                                    size_t *idle)
{
        for (size_t i = pld_bits_find(heap->away, 0, heap->nhuge, true); i < heap->nhuge;
             i = pld_bits_find(heap->away, i + 1, heap->nhuge, true))
                if (heap->huge[i].node == node)
                        *used += (size_t)heap->huge[i].ntaken << PLD_PAGE_SHIFT;
        pld_list_each(item, &heap->idle) if (pld_container_of(item, struct pld_huge, link)->node ==
                                             node) *idle += PLD_HUGE_BYTES;
        pld_list_each(item, &heap->kept) if (pld_container_of(item, struct pld_huge, link)->node ==
                                             node) *idle += PLD_HUGE_BYTES;
}

void pld_page_heap_count_node(unsigned node, size_t *used, size_t *idle)
{
        *used = *idle = 0;
        for (unsigned i = 0; i < pld_page_heaps.nslices; i++) {
                struct pld_page_heap *heap = pld_page_heaps.of[i];
                bool mixed =
                    i >= pld_machine.nnodes || pld_load_relaxed(&pld_page_heaps.nabroad) > 0;
                if (!mixed && i != node)
                        continue;
                pld_lock(&heap->lock);
                if (mixed)
                        count_one_by_one_locked(heap, node, used, idle);
                else {
                        *used += heap->ntaken_pages << PLD_PAGE_SHIFT;
                        *idle += heap->nidle << PLD_HUGE_SHIFT;
                }
                pld_unlock(&heap->lock);
        }
}

static void verify_huge_locked(const struct pld_page_heap *heap, const struct pld_huge *huge)
{
        size_t ntaken = 0;
        for (size_t i = 0; i < PLD_COUNT_OF(huge->taken); i++)
                ntaken += pld_popcount(huge->taken[i]);
        PLD_CHECK(ntaken == huge->ntaken);
        PLD_CHECK((ntaken > 0) == (huge->state == PLD_HUGE_TAKEN) || huge->state == PLD_HUGE_BUSY);
        bool away = huge->state == PLD_HUGE_TAKEN || huge->state == PLD_HUGE_BUSY;
        PLD_CHECK(away == pld_bit_get(heap->away, pld_huge_index(heap, huge))); /* P1 */
        if (huge->state != PLD_HUGE_VOID && huge->state != PLD_HUGE_BUSY) {
                PLD_CHECK(huge->longest == pld_bits_longest_run(huge->taken, PLD_HUGE_PAGES));
                PLD_CHECK(pld_load_relaxed(&huge->backing) != PLD_BACKING_NONE);
        }
        PLD_CHECK(!huge->abroad || away); /* P7 */
        if (huge->state == PLD_HUGE_IDLE || pld_huge_is_filed(huge))
                PLD_CHECK(huge->link.next != &huge->link); /* P2 */
}

void pld_page_heap_verify(void)
{
        for (unsigned s = 0; s < pld_page_heaps.nslices; s++) {
                struct pld_page_heap *heap = pld_page_heaps.of[s];
                pld_lock(&heap->lock);
                size_t last = pld_bits_find(heap->away, 0, heap->nhuge, true);
                for (size_t i = last; i < heap->nhuge;
                     i = pld_bits_find(heap->away, i + 1, heap->nhuge, true)) {
                        verify_huge_locked(heap, &heap->huge[i]);
                        PLD_CHECK(i >= heap->low || pld_bit_get(heap->away, i));
                }
                size_t nidle = 0, nloose = 0;
                for (size_t i = last; i < heap->nhuge;
                     i = pld_bits_find(heap->away, i + 1, heap->nhuge, true))
                        nloose += heap->huge[i].nloose;
                PLD_CHECK(nloose == heap->nloose &&
                          heap->surplus == pld_page_heap_surplus(heap)); /* P6 */
                pld_list_each(item, &heap->idle)
                {
                        verify_huge_locked(heap, pld_container_of(item, struct pld_huge, link));
                        nidle++;
                }
                pld_list_each(item, &heap->kept)
                {
                        struct pld_huge *huge = pld_container_of(item, struct pld_huge, link);
                        verify_huge_locked(heap, huge);
                        PLD_CHECK(pld_load_relaxed(&huge->backing) == PLD_BACKING_1G); /* P9 */
                        nidle++;
                }
                PLD_CHECK(nidle == heap->nidle);
                pld_unlock(&heap->lock);
        }
}
