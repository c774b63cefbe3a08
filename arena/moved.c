/* moved.c: huge pages that leave the node of their slice (page_heap.c, P7).
 *
 * They are abroad and moving before the kernel is asked, so that nothing of them is handed
 * out meanwhile. What is freed on the way is seen to at the end; what is freed abroad is a
 * stray, BUSY, and goes back to the kernel when the lock has been dropped (P3). */
#include "arena/page_heap_inside.h"

#include "arena/extent.h"
#include "base/clock.h"

#include <errno.h>

enum {
        MOVE_PIECE = 16 /* huge pages that are moved at once */
};

/* Takes and drops the lock (P3). */
void pld_page_heap_release_strays(struct pld_page_heap *heap)
{
        for (;;) {
                pld_lock(&heap->lock);
                struct pld_list *item = pld_list_pop(&heap->strays);
                pld_unlock(&heap->lock);
                if (!item)
                        return;
                struct pld_huge *huge = pld_container_of(item, struct pld_huge, link);
                pld_huge_unback(huge);
                pld_lock(&heap->lock);
                pld_sub_relaxed(&heap->nbacked, 1);
                pld_huge_become_void_locked(heap, huge);
                pld_unlock(&heap->lock);
        }
}

/* All that is taken of it lies in [from, end). */
static bool has_others_locked(const struct pld_huge *huge, uintptr_t from, uintptr_t end)
{
        uintptr_t at = pld_huge_address(huge);
        size_t first = from > at ? (from - at) >> PLD_PAGE_SHIFT : 0;
        size_t last = end < at + PLD_HUGE_BYTES ? pld_pages_for(end - at) : PLD_HUGE_PAGES;
        return pld_bits_find(huge->taken, 0, first, true) < first ||
               pld_bits_find(huge->taken, last, PLD_HUGE_PAGES, true) < PLD_HUGE_PAGES;
}

static bool can_move_locked(const struct pld_huge *huge, uintptr_t from, uintptr_t end)
{
        uint8_t kind = pld_load_relaxed(&huge->backing);
        return huge->state == PLD_HUGE_TAKEN && !huge->moving && kind != PLD_BACKING_1G &&
               !has_others_locked(huge, from, end);
}

/* Up to n huge pages in a row that can be moved together; how many. */
static size_t begin_move_locked(struct pld_page_heap *heap, struct pld_huge *huge, size_t n,
                                uintptr_t from, uintptr_t end)
{
        size_t k = 0;
        for (; k < n && k < MOVE_PIECE && can_move_locked(&huge[k], from, end); k++) {
                if (huge[k].node != huge->node || pld_huge_kind(&huge[k]) != pld_huge_kind(huge))
                        break;
                huge[k].growing = false; /* P11 */
                if (pld_huge_is_filed(&huge[k]))
                        pld_filler_remove(&heap->filler, &huge[k]);
                pld_add_relaxed(&pld_page_heaps.nabroad, !huge[k].abroad);
                huge[k].abroad = huge[k].moving = true;
                pld_page_heap_count_loose_locked(heap, &huge[k]);
        }
        return k;
}

static void end_move_locked(struct pld_page_heap *heap, struct pld_huge *huge, unsigned node)
{
        huge->node = (uint8_t)node;
        huge->moving = false;
        huge->abroad = node != pld_huge_home(heap, huge);
        if (!huge->abroad)
                pld_sub_relaxed(&pld_page_heaps.nabroad, 1);
        if (huge->ntaken == 0) /* freed meanwhile */
                huge->state = PLD_HUGE_TAKEN;
        pld_page_heap_refile_locked(heap, huge, pld_now_ns());
}

/* n > 0 that are moving. */
static int move(struct pld_page_heap *heap, struct pld_huge *huge, size_t n, unsigned node)
{
        uintptr_t at = pld_huge_address(huge);
        size_t nbytes = n << PLD_HUGE_SHIFT;
        enum pld_backing told = pld_load_relaxed(&huge->backing);
        unsigned old = huge->node;
        pld_extent_removed(at, nbytes);
        int error = pld_rehome((void *)at, nbytes, node, pld_huge_kind(huge));
        unsigned now = error ? old : node;
        pld_extent_added(at, nbytes, now, told);
        pld_lock(&heap->lock);
        for (size_t i = 0; i < n; i++)
                end_move_locked(heap, &huge[i], now);
        pld_unlock(&heap->lock);
        pld_page_heap_release_strays(heap);
        return error;
}

int pld_page_heap_migrate(uintptr_t from, uintptr_t end, unsigned node)
{
        struct pld_page_heap *heap = pld_page_heaps.of[pld_range_slice_of(from)];
        bool stayed = false;
        pld_extent_check_outside();
        for (uintptr_t at = pld_round_down(from, PLD_HUGE_BYTES); at < end;) {
                struct pld_huge *huge = pld_huge_at(at);
                size_t most = pld_div_up(end - at, PLD_HUGE_BYTES), n = 0;
                pld_lock(&heap->lock);
                bool there = huge->node == node && !huge->moving;
                if (!there)
                        n = begin_move_locked(heap, huge, most, from, end);
                pld_unlock(&heap->lock);
                int error = n ? move(heap, huge, n, node) : 0; /* P3 */
                if (error && error != -EBUSY)
                        return error;
                stayed |= error || (n == 0 && !there);
                at += (n ? n : 1) << PLD_HUGE_SHIFT;
        }
        return stayed ? -EBUSY : 0;
}

bool pld_page_heap_is_abroad(uintptr_t at, size_t npages)
{
        if (pld_likely(pld_load_relaxed(&pld_page_heaps.nabroad) == 0))
                return false;
        struct pld_huge *huge = pld_huge_at(at);
        struct pld_huge *last = pld_huge_at(at + (npages << PLD_PAGE_SHIFT) - 1);
        struct pld_page_heap *heap = pld_page_heaps.of[pld_range_slice_of(at)];
        bool abroad = false;
        pld_lock(&heap->lock);
        for (; huge <= last; huge++)
                abroad |= huge->abroad;
        pld_unlock(&heap->lock);
        return abroad;
}
