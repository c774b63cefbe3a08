/* page_heap.c: runs of pages, packed into huge pages.
 *
 * A run of up to one huge page goes into the fullest huge page that fits
 * (huge.h). A longer one begins where another ends, if it is not much longer; or it takes
 * huge pages in a row, and the rest of its last one is left to the filler, so nothing is
 * rounded up. Freed runs join their
 * neighbours because a huge page is a bitmap. What has no taken page is idle:
 * kept for a while, then given back whole.
 *
 * Unless all is to be populated, malloc's memory is backed lazily, by base pages: a block of
 * which little is touched takes little, and a small program stays small. Also, the kernel
 * hands out base pages that are warm, and huge ones that may not be: in a virtual machine
 * their first touch can take milliseconds. What has been full for a while is *promoted*.
 * The collected heap asks for populated runs, and what it gets from a lazy huge page
 * is populated then.
 *
 * After a time of plenty, what survives lies thin over many huge pages. Those that were
 * left alone for the decay time *shed* their free pages, as long as there are more of
 * them than a slack. A hugetlb page cannot be split, and what is reserved is kept whole.
 *
 * P1  a huge page is VOID, IDLE, TAKEN or BUSY; the slice's `away` bit is set
 *     for TAKEN and BUSY, and only for those.
 * P2  IDLE ones are on the idle list, the most recently freed first; TAKEN
 *     ones with a free page are in the filler.
 * P3  no system call under the lock: a huge page that is being backed or
 *     given back is BUSY, and belongs to the thread that made it so. Pages that are
 *     being shed are taken meanwhile.
 * P4  backed bytes never exceed the limit: they are claimed before the kernel
 *     is asked and returned when it refuses.
 * P5  a page that is not `lazy` is in memory; one that is not `dirty` is zero.
 * P6  nloose of the heap is the sum over its huge pages, and counts what shedding
 *     could give back.
 * P7  a huge page that was moved is `abroad` while it lies on another node than its slice
 *     says (and on its way): it is in no filler, so none of its free pages is handed out
 *     but to the run behind which they lie; and when the last one is free it goes back
 *     to the kernel. While it is `moving` it is left to who moves it.
 * P8  what describes a huge page can be written only below nhuge, which grows when the
 *     slice has nothing else left: a program's mlockall() makes resident what can be
 *     written. So does the page map, as huge pages are backed.
 * P9  huge pages of a 1G page are kept for ever, on a list of their own when idle.
 * P10 nripe counts the huge pages that are `ripe`: full of base pages, and nobody was asked
 *     yet to make them huge. `advised` ones may have become huge, whatever the books say, and
 *     must be made small before they shed. To advise is harmless should the huge page have
 *     been given back meanwhile: what comes there later is advised anew.
 * P11 one that the kernel has collapsed for us is `grown`: of base pages, and counted as huge,
 *     here and in the books of the ground. It is `growing` from the asking on, unless the
 *     lock was taken to back, move or shed it; then nobody knows what became of it, and
 *     it is not counted. Nor is what the kernel collapses in its own time.
 * The pieces: row.c backs huge pages, in rows; straddle.c lays runs over the edges of several;
 * promote.c makes them huge in truth; shed.c gives back what is idle or thin, shed_spans.c what
 * is free in spans; moved.c moves
 * to another node; page_heap_counts.c answers and verifies. What they share is in
 * page_heap_inside.h.
 * Called by span.c and the regions with no lock of theirs held but a central's. */
#include "arena/page_heap.h"

#include "arena/extent.h"
#include "arena/meta.h"
#include "arena/page_heap_inside.h"
#include "arena/stall.h"
#include "base/clock.h"
#include "numa/meta_map.h"

#include <errno.h>
#include <unistd.h>

enum {
        ROOMY_PAGES = 32, /* a free run of so many takes any span of small objects */
        STRADDLE_LEAST = 32, STRADDLE_MOST = 4 * PLD_HUGE_PAGES /* pages of a run, see straddle.c */
};

struct pld_page_heaps pld_page_heaps;

static int64_t decay_ms; /* const after start */
static bool can_shed;    /* const after start */

void pld_page_heap_note_room_locked(struct pld_page_heap *heap)
{
        bool dry = heap->nidle == 0 && pld_bits_find(heap->filler.nonempty, ROOMY_PAGES,
                                                     PLD_HUGE_PAGES + 1, true) > PLD_HUGE_PAGES;
        if (pld_load_relaxed(&heap->dry) != dry)
                pld_store_relaxed(&heap->dry, dry);
}

/* After a change of what is taken, free or there. */
void pld_page_heap_count_loose_locked(struct pld_page_heap *heap, struct pld_huge *huge) /* P6 */
{
        uint64_t loose[PLD_HUGE_PAGES / 64];
        uint8_t kind = pld_load_relaxed(&huge->backing);
        size_t n = 0, before = heap->surplus;
        if (can_shed && huge->state == PLD_HUGE_TAKEN && !huge->abroad && heap->nreserved == 0 &&
            (kind == PLD_BACKING_THP || kind == PLD_BACKING_BASE))
                n = pld_huge_loose(huge, loose);
        heap->nloose += n - huge->nloose;
        huge->nloose = (uint16_t)n;
        heap->surplus = pld_page_heap_surplus(heap);
        if (heap->surplus != before)
                pld_add_relaxed(&pld_page_heaps.surplus_bytes, (heap->surplus - before)
                                                                   << PLD_PAGE_SHIFT);
        bool ripe = huge->state == PLD_HUGE_TAKEN && huge->ntaken == PLD_HUGE_PAGES &&
                    kind == PLD_BACKING_BASE && !huge->asked && !huge->broken &&
                    huge->nsheds == 0; /* else they only look taken */
        if (ripe != huge->ripe) /* P10 */
                pld_add_relaxed(&pld_page_heaps.nripe, ripe ? 1 : SIZE_MAX);
        huge->ripe = ripe;
}

/* ---- Allocation ------------------------------------------------------------ */

void pld_page_heap_take_locked(struct pld_page_heap *heap, struct pld_huge *huge, size_t page,
                               size_t npages, struct pld_run *run)
{
        if (pld_huge_is_filed(huge))
                pld_filler_remove(&heap->filler, huge);
        huge->state = PLD_HUGE_TAKEN;
        if (pld_huge_is_lazy(huge, page, npages))
                run->lazy = true;
        if (!pld_huge_take(huge, page, npages))
                run->zeroed = false;
        heap->ntaken_pages += npages;
        if (pld_huge_is_filed(huge))
                pld_filler_insert(&heap->filler, huge);
        pld_page_heap_count_loose_locked(heap, huge);
        pld_page_heap_note_room_locked(heap);
}

static bool may_straddle(size_t npages, size_t align)
{
        size_t most = pld_machine.nnodes > 1 ? PLD_HUGE_PAGES : STRADDLE_MOST;
        return npages >= STRADDLE_LEAST && npages <= most && align <= PLD_PAGE_BYTES;
}

static bool alloc_within(struct pld_page_heap *heap, size_t npages, size_t align, bool lazily,
                         struct pld_run *out)
{
        size_t align_pages = align > PLD_PAGE_BYTES ? align >> PLD_PAGE_SHIFT : 1, page = 0;
        pld_lock(&heap->lock);
        struct pld_huge *huge = pld_filler_find(&heap->filler, npages, align_pages, &page);
        if (!huge) {
                pld_unlock(&heap->lock);
                if (may_straddle(npages, align) &&
                    pld_page_heap_straddle(heap, npages, lazily, out))
                        return true;
                huge = pld_page_heap_acquire_row(heap, 1, 1, lazily);
                if (!huge)
                        return false;
                page = 0;
                pld_lock(&heap->lock);
        }
        out->at = pld_huge_address(huge) + (page << PLD_PAGE_SHIFT);
        pld_page_heap_take_locked(heap, huge, page, npages, out);
        pld_unlock(&heap->lock);
        return true;
}

static bool alloc_row(struct pld_page_heap *heap, size_t npages, size_t align, bool lazily,
                      struct pld_run *out)
{
        size_t n = pld_div_up(npages, PLD_HUGE_PAGES);
        size_t align_huge = align > PLD_HUGE_BYTES ? align >> PLD_HUGE_SHIFT : 1;
        if (may_straddle(npages, align) && pld_page_heap_straddle(heap, npages, lazily, out))
                return true;
        struct pld_huge *huge = pld_page_heap_acquire_row(heap, n, align_huge, lazily);
        if (!huge)
                return false;
        out->at = pld_huge_address(huge);
        pld_lock(&heap->lock);
        for (size_t i = 0; i < n; i++, npages -= PLD_HUGE_PAGES) {
                size_t here = npages < PLD_HUGE_PAGES ? npages : PLD_HUGE_PAGES;
                pld_page_heap_take_locked(heap, &huge[i], 0, here, out);
        }
        pld_unlock(&heap->lock);
        return true;
}

static bool alloc_pages(struct pld_page_heap *heap, size_t npages, size_t align, bool lazily,
                        struct pld_run *out)
{
        *out = (struct pld_run){ .npages = npages, .zeroed = true };
        return npages <= PLD_HUGE_PAGES && align <= PLD_HUGE_BYTES
                   ? alloc_within(heap, npages, align, lazily, out)
                   : alloc_row(heap, npages, align, lazily, out);
}

/* The run is the caller's: only its own bits are written, and no one drops its pages. */
static int populate(struct pld_page_heap *heap, struct pld_run *run)
{
        struct pld_stall_span stall = pld_stall_begin();
        int error = pld_populate((void *)run->at, run->npages << PLD_PAGE_SHIFT);
        pld_stall_end(stall, PLD_STALL_GROW);
        if (error) {
                pld_page_heap_free(*run);
                return -ENOMEM;
        }
        run->lazy = false;
        pld_lock(&heap->lock);
        for (size_t i = 0; i < run->npages; i++) {
                uintptr_t at = run->at + (i << PLD_PAGE_SHIFT);
                pld_bit_clear(pld_huge_at(at)->lazy, (at & (PLD_HUGE_BYTES - 1)) >> PLD_PAGE_SHIFT);
        }
        pld_unlock(&heap->lock);
        return 0;
}

static size_t release_all(void)
{
        struct pld_stall_span stall = pld_stall_begin();
        size_t nbytes = pld_page_heap_release(UINT64_MAX);
        pld_stall_end(stall, PLD_STALL_RELEASE);
        return nbytes;
}

int pld_page_heap_alloc(unsigned slice, size_t npages, size_t align, bool populated,
                        struct pld_run *out)
{
        struct pld_page_heap *heap = pld_page_heaps.of[slice];
        pld_extent_check_outside();
        if (npages > heap->nall * PLD_HUGE_PAGES)
                return -ENOMEM;
        bool done = alloc_pages(heap, npages, align, !populated, out);
        if (!done && pld_load_relaxed(&pld_page_heaps.limit_bytes) && release_all() > 0)
                done = alloc_pages(heap, npages, align, !populated, out);
        if (!done)
                return -ENOMEM;
        return populated && out->lazy ? populate(heap, out) : 0;
}

bool pld_page_heap_extend_try(struct pld_run *run, size_t npages)
{
        uintptr_t end = run->at + (run->npages << PLD_PAGE_SHIFT);
        size_t page = (end & (PLD_HUGE_BYTES - 1)) >> PLD_PAGE_SHIFT;
        if (page == 0 || page + npages > PLD_HUGE_PAGES)
                return false;
        struct pld_huge *huge = pld_huge_at(end);
        struct pld_page_heap *heap = pld_page_heaps.of[pld_range_slice_of(end)];
        pld_lock(&heap->lock);
        bool fits = pld_bits_find(huge->taken, page, page + npages, true) == page + npages;
        if (fits) {
                run->zeroed = true;
                pld_page_heap_take_locked(heap, huge, page, npages, run);
                run->npages += npages;
        }
        pld_unlock(&heap->lock);
        return fits;
}

/* ---- Freeing --------------------------------------------------------------- */

static void become_stray_locked(struct pld_page_heap *heap, struct pld_huge *huge) /* P7 */
{
        huge->state = PLD_HUGE_BUSY;
        huge->growing = false; /* P11 */
        if (!huge->moving)
                pld_list_push(&heap->strays, &huge->link);
}

void pld_page_heap_refile_locked(struct pld_page_heap *heap, struct pld_huge *huge, uint64_t now_ns)
{
        if (pld_huge_is_filed(huge) && huge->ntaken > 0)
                pld_filler_insert(&heap->filler, huge);
        else if (huge->ntaken == 0 && huge->abroad)
                become_stray_locked(heap, huge);
        else if (huge->ntaken == 0)
                pld_huge_become_idle_locked(heap, huge, now_ns);
        pld_page_heap_count_loose_locked(heap, huge);
        pld_page_heap_note_room_locked(heap);
}

static void give_locked(struct pld_page_heap *heap, struct pld_huge *huge, size_t page,
                        size_t npages, uint64_t now_ns)
{
        PLD_ASSERT(huge->state == PLD_HUGE_TAKEN);
        if (pld_huge_is_filed(huge))
                pld_filler_remove(&heap->filler, huge);
        pld_huge_give(huge, page, npages);
        heap->ntaken_pages -= npages;
        huge->given_ns = now_ns;
        huge->asked = false;
        pld_page_heap_refile_locked(heap, huge, now_ns);
}

void pld_page_heap_free(struct pld_run run)
{
        struct pld_page_heap *heap = pld_page_heaps.of[pld_range_slice_of(run.at)];
        uint64_t now_ns = pld_now_coarse_ns();
        pld_extent_check_outside();
        pld_lock(&heap->lock);
        while (run.npages > 0) {
                size_t page = (run.at & (PLD_HUGE_BYTES - 1)) >> PLD_PAGE_SHIFT;
                size_t here = PLD_HUGE_PAGES - page;
                if (here > run.npages)
                        here = run.npages;
                give_locked(heap, pld_huge_at(run.at), page, here, now_ns);
                run.at += here << PLD_PAGE_SHIFT;
                run.npages -= here;
        }
        bool stray = !pld_list_is_empty(&heap->strays);
        pld_unlock(&heap->lock);
        if (pld_unlikely(stray))
                pld_page_heap_release_strays(heap);
        if (decay_ms == 0) {
                pld_page_heap_release(UINT64_MAX);
                if (pld_load_relaxed(&pld_page_heaps.surplus_bytes))
                        pld_page_heap_shed(UINT64_MAX, false);
        }
}

/* ---- Start and fork -------------------------------------------------------- */

static struct pld_page_heap *make_heap(unsigned slice)
{
        struct pld_page_heap *heap = pld_meta_alloc(sizeof *heap);
        size_t nhuge = ((size_t)1 << pld_range.slice_shift) >> PLD_HUGE_SHIFT;
        uint64_t *away = pld_meta_alloc(pld_words_for(nhuge) * sizeof *away);
        if (!heap || !away)
                return NULL;
        pld_lock_init(&heap->lock, PLD_RANK_PAGE_HEAP);
        heap->slice = slice;
        heap->nall = nhuge;
        heap->huge = pld_huge_at(pld_range_slice_at(slice));
        heap->away = away;
        pld_list_init(&heap->idle);
        pld_list_init(&heap->kept);
        pld_list_init(&heap->strays);
        pld_filler_init(&heap->filler);
        pld_page_heap_note_room_locked(heap);
        return heap;
}

int pld_page_heap_start(const struct pld_page_heap_options *options)
{
        decay_ms = options->decay_ms;
        pld_page_heaps.populate_all = options->populate;
        can_shed = (size_t)sysconf(_SC_PAGESIZE) <= PLD_PAGE_BYTES;
        pld_store_relaxed(&pld_page_heaps.limit_bytes, options->limit_bytes);
        pld_page_heaps.huge =
            pld_meta_map_sparse((pld_range.nbytes >> PLD_HUGE_SHIFT) * sizeof *pld_page_heaps.huge);
        if (!pld_page_heaps.huge)
                return -ENOMEM;
        for (unsigned i = 0; i < pld_range.nslices; i++) {
                pld_page_heaps.of[i] = make_heap(i);
                if (!pld_page_heaps.of[i])
                        return -ENOMEM;
        }
        pld_page_heaps.nslices = pld_range.nslices;
        return 0;
}

void pld_page_heap_set_limit(size_t nbytes)
{
        pld_store_relaxed(&pld_page_heaps.limit_bytes, nbytes);
}

unsigned pld_page_heap_slices(void)
{
        return pld_page_heaps.nslices;
}

bool pld_page_heap_is_dry(unsigned slice)
{
        return pld_load_relaxed(&pld_page_heaps.of[slice]->dry);
}

int pld_page_heap_node_of(uintptr_t at)
{
        if (!pld_page_heaps.nslices || !pld_range_has(at))
                return -ENOENT;
        const struct pld_huge *huge = pld_huge_at(at);
        return pld_load_relaxed(&huge->backing) ? huge->node : -ENOENT;
}

void pld_page_heap_fork_prepare(void)
{
        for (unsigned i = 0; i < pld_page_heaps.nslices; i++)
                pld_lock_seize(&pld_page_heaps.of[i]->lock);
}

void pld_page_heap_fork_done(void)
{
        for (unsigned i = pld_page_heaps.nslices; i-- > 0;)
                pld_lock_cede(&pld_page_heaps.of[i]->lock);
}
