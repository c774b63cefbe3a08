/* page_heap.c: runs of pages, packed into huge pages.
 *
 * A run of up to one huge page goes into the fullest huge page that fits
 * (huge.h). A longer one takes huge pages in a row; the rest of its last one
 * is left to the filler, so nothing is rounded up. Freed runs join their
 * neighbours because a huge page is a bitmap. What has no taken page is idle:
 * kept for a while, then given back whole.
 *
 * Unless all is to be populated, malloc's memory is backed lazily: a block of which
 * little is touched takes little. And since a small program should stay small, the
 * first few huge pages of a slice are huge in name only (SMALL_BYTES, and some for each
 * thread): they fault in base pages.
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
 * Called by span.c and the regions with no lock of theirs held but a central's. */
#include "arena/page_heap.h"

#include "arena/extent.h"
#include "arena/huge.h"
#include "arena/meta.h"
#include "arena/page_map.h"
#include "base/atomic.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/lock.h"
#include "numa/range.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
        RELEASE_BATCH = 64,
        BACK_PIECE = 4,  /* huge pages a system call: a signal waits that long */
        LAZY_PIECE = 512, /* the same where nothing is populated */
        OPEN_PIECE = 128, /* huge pages that are made usable at a time (P8) */
        GIGANTIC_HUGE = PLD_GIGANTIC_BYTES >> PLD_HUGE_SHIFT, /* huge pages in a 1G page */
        ROOMY_PAGES = 32, /* a free run of so many takes any span of small objects */
        SMALL_BYTES = 8 << 20, THREAD_BYTES = 512 << 10, /* so much of a slice's first memory */
        SLACK_SHARE = 16, SLACK_PAGES = 64, /* free pages beside the taken ones */
        MOVE_PIECE = 16,  /* huge pages that are moved at once */
        BROKEN_MOST = 16384 /* each may cost two mappings more, and there is a limit */
};

struct page_heap {
        struct pld_lock lock;
        unsigned slice;       /* const after start */
        size_t nhuge;         /* lock: huge pages that can be used (P8) */
        size_t nall;          /* const: huge pages in the slice */
        struct pld_huge *huge; /* const: the first one */
        uint64_t *away;       /* lock: P1 */
        size_t low;           /* lock: no lower one is VOID or IDLE */
        struct pld_list idle; /* lock: P2 */
        struct pld_list kept; /* lock: the same, of 1G pages (P9) */
        struct pld_list strays; /* lock: BUSY, to be given back (P7) */
        struct pld_filler filler; /* lock */
        size_t nidle;             /* lock: huge pages */
        _Atomic size_t nbacked;   /* lock to write: huge pages */
        size_t ntaken_pages;      /* lock */
        size_t nloose, surplus;   /* lock: pages, P6; those beyond the slack */
        size_t nreserved;         /* lock: huge pages that are never given back */
        _Atomic bool dry;         /* lock to write: the next span may need backing */
};

static struct page_heap *heaps[PLD_MAX_SLICES]; /* const after start */
static unsigned nslices;                        /* const after start */
static struct pld_huge *all_huge;               /* const after start: by (at - base) / 2 MiB */
static int64_t decay_ms;                        /* const after start */
static bool populate_all;                       /* const after start */
static bool can_shed;                           /* const after start */
static _Atomic size_t limit_bytes;
static _Atomic size_t backed_bytes;
static _Atomic size_t huge_bytes;
static _Atomic size_t reserved_bytes;
/* Over all slices; relaxed: read as hints. */
static _Atomic size_t idle_bytes, surplus_bytes; /* the latter: loose, beyond the slack */
static _Atomic size_t nbroken;
static _Atomic size_t nthreads; /* the most that there have been */
static _Atomic size_t nabroad; /* huge pages (P7) */

static struct pld_huge *huge_at(uintptr_t at)
{
        return &all_huge[(at - pld_range.base) >> PLD_HUGE_SHIFT];
}

static uintptr_t address_of(const struct pld_huge *huge)
{
        return pld_range.base + ((uintptr_t)(huge - all_huge) << PLD_HUGE_SHIFT);
}

static size_t index_of(const struct page_heap *heap, const struct pld_huge *huge)
{
        return (size_t)(huge - heap->huge);
}

static void note_room_locked(struct page_heap *heap)
{
        bool dry = heap->nidle == 0 && pld_bits_find(heap->filler.nonempty, ROOMY_PAGES,
                                                     PLD_HUGE_PAGES + 1, true) > PLD_HUGE_PAGES;
        if (pld_load_relaxed(&heap->dry) != dry)
                pld_store_relaxed(&heap->dry, dry);
}

static size_t surplus_of(const struct page_heap *heap)
{
        size_t slack = heap->ntaken_pages / SLACK_SHARE;
        if (slack < SLACK_PAGES)
                slack = SLACK_PAGES;
        return heap->nloose > slack ? heap->nloose - slack : 0;
}

/* After a change of what is taken, free or there. */
static void count_loose_locked(struct page_heap *heap, struct pld_huge *huge) /* P6 */
{
        uint64_t loose[PLD_HUGE_PAGES / 64];
        uint8_t kind = pld_load_relaxed(&huge->backing);
        size_t n = 0, before = heap->surplus;
        if (can_shed && huge->state == PLD_HUGE_TAKEN && !huge->abroad && heap->nreserved == 0 &&
            (kind == PLD_BACKING_THP || kind == PLD_BACKING_BASE))
                n = pld_huge_loose(huge, loose);
        heap->nloose += n - huge->nloose;
        huge->nloose = (uint16_t)n;
        heap->surplus = surplus_of(heap);
        if (heap->surplus != before)
                pld_add_relaxed(&surplus_bytes, (heap->surplus - before) << PLD_PAGE_SHIFT);
}

/* ---- The states of a huge page (P1, P2) ----------------------------------- */

static void leave_idle_locked(struct page_heap *heap, struct pld_huge *huge)
{
        pld_list_remove(&huge->link);
        heap->nidle--;
        pld_sub_relaxed(&idle_bytes, PLD_HUGE_BYTES);
}

static void become_busy_locked(struct page_heap *heap, struct pld_huge *huge)
{
        PLD_ASSERT(huge->state == PLD_HUGE_VOID || huge->state == PLD_HUGE_IDLE);
        if (huge->state == PLD_HUGE_IDLE)
                leave_idle_locked(heap, huge);
        huge->state = PLD_HUGE_BUSY;
        pld_bit_set(heap->away, index_of(heap, huge));
}

static void come_home_locked(struct page_heap *heap, struct pld_huge *huge)
{
        size_t i = index_of(heap, huge);
        pld_bit_clear(heap->away, i);
        if (i < heap->low)
                heap->low = i;
}

static void become_idle_locked(struct page_heap *heap, struct pld_huge *huge, uint64_t now_ns)
{
        huge->state = PLD_HUGE_IDLE;
        bool kept = pld_load_relaxed(&huge->backing) == PLD_BACKING_1G;
        huge->given_ns = now_ns;
        pld_list_push(kept ? &heap->kept : &heap->idle, &huge->link); /* P9 */
        heap->nidle++;
        pld_add_relaxed(&idle_bytes, PLD_HUGE_BYTES);
        come_home_locked(heap, huge);
}

static void become_void_locked(struct page_heap *heap, struct pld_huge *huge)
{
        huge->state = PLD_HUGE_VOID;
        come_home_locked(heap, huge);
}

/* ---- Backing -------------------------------------------------------------- */

static bool claim_bytes(size_t nbytes) /* P4 */
{
        size_t limit = pld_load_relaxed(&limit_bytes);
        size_t before = pld_add_relaxed(&backed_bytes, nbytes);
        if (!limit || before + nbytes <= limit)
                return true;
        pld_sub_relaxed(&backed_bytes, nbytes);
        return false;
}

static unsigned home_of(const struct page_heap *heap, const struct pld_huge *huge)
{
        return heap->slice < pld_machine.nnodes ? heap->slice
                                                : pld_machine_stripe_node(index_of(heap, huge));
}

/* How many from `huge` on are VOID in truth (backing none) and go to one node. */
static size_t same_home(const struct page_heap *heap, const struct pld_huge *huge, size_t n)
{
        size_t k = 1;
        while (k < n && !pld_load_relaxed(&huge[k].backing) &&
               home_of(heap, huge + k) == home_of(heap, huge))
                k++;
        return k;
}

/* Every thread begins with a span of each class that it uses, most of it untouched. */
static size_t small_bytes(void)
{
        return SMALL_BYTES + pld_load_relaxed(&nthreads) * THREAD_BYTES / pld_machine.nnodes;
}

/* Memory of a kind under n huge pages; *lazily: may be, and has been, not populated. */
static int back_kernel(struct page_heap *heap, struct pld_huge *huge, size_t n, bool *lazily,
                       enum pld_backing *kind)
{
        void *at = (void *)address_of(huge);
        unsigned node = home_of(heap, huge);
        bool small = n == 1 && pld_load_relaxed(&heap->nbacked) << PLD_HUGE_SHIFT < small_bytes();
        if (*lazily && pld_back_lazily(at, n << PLD_HUGE_SHIFT, node, !small, kind) == 0)
                return 0;
        *lazily = false;
        return pld_back(at, n << PLD_HUGE_SHIFT, node, kind);
}

/* They are backed now, and the caller's. */
static void note_backed(struct pld_huge *huge, size_t n, unsigned node, enum pld_backing kind,
                        bool lazily)
{
        if (kind != PLD_BACKING_BASE)
                pld_add_relaxed(&huge_bytes, n << PLD_HUGE_SHIFT);
        for (size_t i = 0; i < n; i++) {
                huge[i].node = (uint8_t)node;
                memset(huge[i].dirty, 0, sizeof huge[i].dirty);
                memset(huge[i].lazy, lazily ? 0xff : 0, sizeof huge[i].lazy); /* P5 */
                huge[i].longest = PLD_HUGE_PAGES;
                pld_store_relaxed(&huge[i].backing, (uint8_t)kind);
        }
        pld_extent_added(address_of(huge), n << PLD_HUGE_SHIFT, node, kind);
}

static int back_piece(struct page_heap *heap, struct pld_huge *huge, size_t n, bool lazily)
{
        enum pld_backing kind;
        unsigned node = home_of(heap, huge);
        if (!claim_bytes(n << PLD_HUGE_SHIFT))
                return -ENOMEM;
        int error = pld_page_map_open(address_of(huge), n << PLD_HUGE_SHIFT); /* P8 */
        if (!error)
                error = back_kernel(heap, huge, n, &lazily, &kind);
        if (error)
                pld_sub_relaxed(&backed_bytes, n << PLD_HUGE_SHIFT);
        else
                note_backed(huge, n, node, kind, lazily);
        return error;
}

/* n BUSY huge pages in a row: backs those that are not; no lock held (P3). */
static int back_busy(struct page_heap *heap, struct pld_huge *huge, size_t n, bool lazily,
                     size_t *nfresh)
{
        for (size_t i = 0; i < n;) {
                if (pld_load_relaxed(&huge[i].backing)) {
                        i++;
                        continue;
                }
                size_t most = lazily ? LAZY_PIECE : BACK_PIECE;
                size_t k = same_home(heap, &huge[i], n - i < most ? n - i : most);
                int error = back_piece(heap, &huge[i], k, lazily);
                if (error)
                        return error;
                *nfresh += k;
                i += k;
        }
        return 0;
}

static void unback(struct pld_huge *huge)
{
        uint8_t kind = pld_load_relaxed(&huge->backing);
        pld_extent_removed(address_of(huge), PLD_HUGE_BYTES);
        pld_unback((void *)address_of(huge), PLD_HUGE_BYTES, kind);
        pld_store_relaxed(&huge->backing, PLD_BACKING_NONE);
        if (huge->broken)
                pld_sub_relaxed(&nbroken, 1);
        if (huge->abroad)
                pld_sub_relaxed(&nabroad, 1);
        huge->broken = huge->abroad = false;
        pld_sub_relaxed(&backed_bytes, PLD_HUGE_BYTES);
        if (kind != PLD_BACKING_BASE)
                pld_sub_relaxed(&huge_bytes, PLD_HUGE_BYTES);
}

/* Makes n more huge pages of the slice usable, or as many as there are; false: none.
 * Takes and drops the lock (P3, P8). */
static bool see_more(struct page_heap *heap, size_t n)
{
        pld_lock(&heap->lock);
        size_t from = heap->nhuge, left = heap->nall - from;
        pld_unlock(&heap->lock);
        n = pld_round_up(n, OPEN_PIECE);
        if (n > left)
                n = left;
        if (n == 0 || pld_meta_open(heap->huge + from, n * sizeof *heap->huge) != 0)
                return false;
        pld_lock(&heap->lock);
        if (heap->nhuge < from + n)
                heap->nhuge = from + n;
        pld_unlock(&heap->lock);
        return true;
}

/* First of n huge pages in a row that are VOID or IDLE, at a multiple of align. */
static struct pld_huge *find_row_locked(struct page_heap *heap, size_t n, size_t align)
{
        size_t skew = address_of(heap->huge) >> PLD_HUGE_SHIFT;
        heap->low = pld_bits_find(heap->away, heap->low, heap->nhuge, false);
        for (size_t i = heap->low;;) {
                i = pld_bits_find_run(heap->away, i, heap->nhuge, n);
                if (i == heap->nhuge)
                        return NULL;
                size_t aligned = pld_round_up(i + skew, align) - skew;
                if (aligned == i)
                        return &heap->huge[i];
                if (aligned + n > heap->nhuge)
                        return NULL;
                i = aligned;
        }
}

/* A row that is the caller's now; takes and drops the lock. */
static struct pld_huge *claim_row(struct page_heap *heap, size_t n, size_t align)
{
        pld_lock(&heap->lock);
        struct pld_huge *huge = NULL;
        struct pld_list *idle = pld_list_is_empty(&heap->kept) ? &heap->idle : &heap->kept;
        if (n == 1 && align == 1 && !pld_list_is_empty(idle))
                huge = pld_container_of(idle->next, struct pld_huge, link);
        else
                huge = find_row_locked(heap, n, align);
        for (size_t i = 0; huge && i < n; i++)
                become_busy_locked(heap, &huge[i]);
        pld_unlock(&heap->lock);
        return huge;
}

/* A row of n backed huge pages, all BUSY and the caller's; takes and drops the lock. */
static struct pld_huge *acquire_row(struct page_heap *heap, size_t n, size_t align,
                                     bool lazily)
{
        struct pld_huge *huge;
        while (!(huge = claim_row(heap, n, align)))
                if (!see_more(heap, n + align - 1))
                        return NULL;

        size_t nfresh = 0;
        int error = back_busy(heap, huge, n, lazily && !populate_all, &nfresh);

        pld_lock(&heap->lock);
        pld_add_relaxed(&heap->nbacked, nfresh);
        for (size_t i = 0; error && i < n; i++) {
                if (pld_load_relaxed(&huge[i].backing))
                        become_idle_locked(heap, &huge[i], pld_now_ns());
                else
                        become_void_locked(heap, &huge[i]);
        }
        pld_unlock(&heap->lock);
        return error ? NULL : huge;
}

/* ---- Allocation ------------------------------------------------------------ */

/* In a filler (P2). */
static bool is_filed(const struct pld_huge *huge)
{
        return huge->state == PLD_HUGE_TAKEN && huge->longest > 0 && !huge->abroad; /* P7 */
}

static void take_locked(struct page_heap *heap, struct pld_huge *huge, size_t page, size_t npages,
                        struct pld_run *run)
{
        if (is_filed(huge))
                pld_filler_remove(&heap->filler, huge);
        huge->state = PLD_HUGE_TAKEN;
        if (pld_huge_is_lazy(huge, page, npages))
                run->lazy = true;
        if (!pld_huge_take(huge, page, npages))
                run->zeroed = false;
        heap->ntaken_pages += npages;
        if (is_filed(huge))
                pld_filler_insert(&heap->filler, huge);
        count_loose_locked(heap, huge);
        note_room_locked(heap);
}

static bool alloc_within(struct page_heap *heap, size_t npages, size_t align, bool lazily,
                         struct pld_run *out)
{
        size_t align_pages = align > PLD_PAGE_BYTES ? align >> PLD_PAGE_SHIFT : 1;
        pld_lock(&heap->lock);
        struct pld_huge *huge = pld_filler_find(&heap->filler, npages, align_pages);
        if (!huge) {
                pld_unlock(&heap->lock);
                huge = acquire_row(heap, 1, 1, lazily);
                if (!huge)
                        return false;
                pld_lock(&heap->lock);
        }
        size_t page = pld_huge_find(huge, npages, align_pages);
        PLD_ASSERT(page < PLD_HUGE_PAGES);
        out->at = address_of(huge) + (page << PLD_PAGE_SHIFT);
        take_locked(heap, huge, page, npages, out);
        pld_unlock(&heap->lock);
        return true;
}

static bool alloc_row(struct page_heap *heap, size_t npages, size_t align, bool lazily,
                      struct pld_run *out)
{
        size_t n = pld_div_up(npages, PLD_HUGE_PAGES);
        size_t align_huge = align > PLD_HUGE_BYTES ? align >> PLD_HUGE_SHIFT : 1;
        struct pld_huge *huge = acquire_row(heap, n, align_huge, lazily);
        if (!huge)
                return false;
        out->at = address_of(huge);
        pld_lock(&heap->lock);
        for (size_t i = 0; i < n; i++, npages -= PLD_HUGE_PAGES)
                take_locked(heap, &huge[i], 0, npages < PLD_HUGE_PAGES ? npages : PLD_HUGE_PAGES, out);
        pld_unlock(&heap->lock);
        return true;
}

static bool alloc_pages(struct page_heap *heap, size_t npages, size_t align, bool lazily,
                        struct pld_run *out)
{
        *out = (struct pld_run){ .npages = npages, .zeroed = true };
        return npages <= PLD_HUGE_PAGES && align <= PLD_HUGE_BYTES
                       ? alloc_within(heap, npages, align, lazily, out)
                       : alloc_row(heap, npages, align, lazily, out);
}

/* The run is the caller's: only its own bits are written, and no one drops its pages. */
static int populate(struct page_heap *heap, struct pld_run *run)
{
        if (pld_populate((void *)run->at, run->npages << PLD_PAGE_SHIFT)) {
                pld_page_heap_free(*run);
                return -ENOMEM;
        }
        run->lazy = false;
        pld_lock(&heap->lock);
        for (size_t i = 0; i < run->npages; i++) {
                uintptr_t at = run->at + (i << PLD_PAGE_SHIFT);
                pld_bit_clear(huge_at(at)->lazy, (at & (PLD_HUGE_BYTES - 1)) >> PLD_PAGE_SHIFT);
        }
        pld_unlock(&heap->lock);
        return 0;
}

int pld_page_heap_alloc(unsigned slice, size_t npages, size_t align, bool populated,
                        struct pld_run *out)
{
        struct page_heap *heap = heaps[slice];
        pld_extent_check_outside();
        if (npages > heap->nall * PLD_HUGE_PAGES)
                return -ENOMEM;
        bool done = alloc_pages(heap, npages, align, !populated, out);
        if (!done && pld_load_relaxed(&limit_bytes) && pld_page_heap_release(UINT64_MAX) > 0)
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
        struct pld_huge *huge = huge_at(end);
        struct page_heap *heap = heaps[pld_range_slice_of(end)];
        pld_lock(&heap->lock);
        bool fits = pld_bits_find(huge->taken, page, page + npages, true) == page + npages;
        if (fits) {
                run->zeroed = true;
                take_locked(heap, huge, page, npages, run);
                run->npages += npages;
        }
        pld_unlock(&heap->lock);
        return fits;
}

/* ---- Freeing ------------------------------------------------------------------ */

static void become_stray_locked(struct page_heap *heap, struct pld_huge *huge) /* P7 */
{
        huge->state = PLD_HUGE_BUSY;
        if (!huge->moving)
                pld_list_push(&heap->strays, &huge->link);
}

/* Takes and drops the lock (P3). */
static void release_strays(struct page_heap *heap)
{
        for (;;) {
                pld_lock(&heap->lock);
                struct pld_list *item = pld_list_pop(&heap->strays);
                pld_unlock(&heap->lock);
                if (!item)
                        return;
                struct pld_huge *huge = pld_container_of(item, struct pld_huge, link);
                unback(huge);
                pld_lock(&heap->lock);
                pld_sub_relaxed(&heap->nbacked, 1);
                become_void_locked(heap, huge);
                pld_unlock(&heap->lock);
        }
}

static void refile_locked(struct page_heap *heap, struct pld_huge *huge, uint64_t now_ns)
{
        if (is_filed(huge) && huge->ntaken > 0)
                pld_filler_insert(&heap->filler, huge);
        else if (huge->ntaken == 0 && huge->abroad)
                become_stray_locked(heap, huge);
        else if (huge->ntaken == 0)
                become_idle_locked(heap, huge, now_ns);
        count_loose_locked(heap, huge);
        note_room_locked(heap);
}

static void give_locked(struct page_heap *heap, struct pld_huge *huge, size_t page, size_t npages,
                        uint64_t now_ns)
{
        PLD_ASSERT(huge->state == PLD_HUGE_TAKEN);
        if (is_filed(huge))
                pld_filler_remove(&heap->filler, huge);
        pld_huge_give(huge, page, npages);
        heap->ntaken_pages -= npages;
        huge->given_ns = now_ns;
        refile_locked(heap, huge, now_ns);
}

void pld_page_heap_free(struct pld_run run)
{
        struct page_heap *heap = heaps[pld_range_slice_of(run.at)];
        uint64_t now_ns = pld_now_ns();
        pld_extent_check_outside();
        pld_lock(&heap->lock);
        while (run.npages > 0) {
                size_t page = (run.at & (PLD_HUGE_BYTES - 1)) >> PLD_PAGE_SHIFT;
                size_t here = PLD_HUGE_PAGES - page;
                if (here > run.npages)
                        here = run.npages;
                give_locked(heap, huge_at(run.at), page, here, now_ns);
                run.at += here << PLD_PAGE_SHIFT;
                run.npages -= here;
        }
        bool stray = !pld_list_is_empty(&heap->strays);
        pld_unlock(&heap->lock);
        if (pld_unlikely(stray))
                release_strays(heap);
        if (decay_ms == 0) {
                pld_page_heap_release(UINT64_MAX);
                if (pld_load_relaxed(&surplus_bytes))
                        pld_page_heap_shed(UINT64_MAX, false);
        }
}

/* The oldest idle huge pages, made BUSY; how many. */
static size_t collect_idle_locked(struct page_heap *heap, uint64_t before_ns,
                                  struct pld_huge *out[RELEASE_BATCH])
{
        size_t n = 0;
        while (n < RELEASE_BATCH && !pld_list_is_empty(&heap->idle) &&
               pld_load_relaxed(&heap->nbacked) > heap->nreserved) {
                struct pld_huge *huge = pld_container_of(heap->idle.prev, struct pld_huge, link);
                if (huge->given_ns > before_ns)
                        break;
                become_busy_locked(heap, huge);
                pld_sub_relaxed(&heap->nbacked, 1);
                out[n++] = huge;
        }
        return n;
}

static size_t release_from(struct page_heap *heap, uint64_t before_ns)
{
        struct pld_huge *batch[RELEASE_BATCH];
        size_t total = 0, n;
        do {
                pld_lock(&heap->lock);
                n = collect_idle_locked(heap, before_ns, batch);
                pld_unlock(&heap->lock);
                for (size_t i = 0; i < n; i++)
                        unback(batch[i]); /* P3 */
                pld_lock(&heap->lock);
                for (size_t i = 0; i < n; i++)
                        become_void_locked(heap, batch[i]);
                pld_unlock(&heap->lock);
                total += n;
        } while (n == RELEASE_BATCH);
        return total << PLD_HUGE_SHIFT;
}

size_t pld_page_heap_release(uint64_t before_ns)
{
        size_t nbytes = 0;
        for (unsigned i = 0; i < nslices; i++)
                nbytes += release_from(heaps[i], before_ns);
        return nbytes;
}

/* ---- Shedding --------------------------------------------------------------------- */

/* Pages of a TAKEN huge page, on their way to the kernel: taken (P3). */
struct shed {
        struct pld_huge *huge;
        uint64_t pages[PLD_HUGE_PAGES / 64];
        size_t npages;
};

static void borrow_locked(struct page_heap *heap, struct pld_huge *huge, struct shed *out)
{
        out->huge = huge;
        out->npages = pld_huge_loose(huge, out->pages);
        pld_filler_remove(&heap->filler, huge);
        for (size_t i = 0; i < PLD_COUNT_OF(huge->taken); i++)
                huge->taken[i] |= out->pages[i];
        huge->ntaken = (uint16_t)(huge->ntaken + out->npages);
        heap->ntaken_pages += out->npages;
        huge->longest = (uint16_t)pld_bits_longest_run(huge->taken, PLD_HUGE_PAGES);
        if (huge->longest > 0)
                pld_filler_insert(&heap->filler, huge);
        count_loose_locked(heap, huge);
}

static void return_locked(struct page_heap *heap, const struct shed *shed, bool gone)
{
        struct pld_huge *huge = shed->huge;
        if (huge->longest > 0)
                pld_filler_remove(&heap->filler, huge);
        for (size_t i = 0; i < PLD_COUNT_OF(huge->taken); i++) {
                huge->taken[i] &= ~shed->pages[i];
                huge->lazy[i] |= gone ? shed->pages[i] : 0;
                huge->dirty[i] &= gone ? ~shed->pages[i] : UINT64_MAX;
        }
        huge->ntaken = (uint16_t)(huge->ntaken - shed->npages);
        heap->ntaken_pages -= shed->npages;
        huge->longest = (uint16_t)pld_bits_longest_run(huge->taken, PLD_HUGE_PAGES);
        refile_locked(heap, huge, huge->given_ns);
}

static bool break_try(struct pld_huge *huge)
{
        if (pld_load_relaxed(&huge->backing) == PLD_BACKING_BASE)
                return true;
        if (pld_load_relaxed(&nbroken) >= BROKEN_MOST || pld_break((void *)address_of(huge)))
                return false;
        pld_add_relaxed(&nbroken, 1);
        huge->broken = true;
        pld_store_relaxed(&huge->backing, PLD_BACKING_BASE);
        pld_extent_split_locked(address_of(huge));
        pld_sub_relaxed(&huge_bytes, PLD_HUGE_BYTES);
        return true;
}

static bool drop(void *arg)
{
        const struct shed *shed = arg;
        bool gone = break_try(shed->huge);
        for (size_t page = 0; gone;) {
                page = pld_bits_find(shed->pages, page, PLD_HUGE_PAGES, true);
                if (page == PLD_HUGE_PAGES)
                        break;
                size_t end = pld_bits_find(shed->pages, page, PLD_HUGE_PAGES, false);
                gone = pld_drop((void *)(address_of(shed->huge) + (page << PLD_PAGE_SHIFT)),
                                (end - page) << PLD_PAGE_SHIFT) == 0;
                page = end;
        }
        return gone;
}

/* The next huge page from *cursor on with `least` loose pages. */
static struct pld_huge *next_sparse_locked(struct page_heap *heap, size_t *cursor, size_t least,
                                           uint64_t before_ns)
{
        for (;;) {
                size_t i = pld_bits_find(heap->away, *cursor, heap->nhuge, true);
                if (i == heap->nhuge)
                        return NULL;
                *cursor = i + 1;
                struct pld_huge *huge = &heap->huge[i];
                if (huge->state == PLD_HUGE_TAKEN && huge->nloose >= least &&
                    huge->given_ns <= before_ns)
                        return huge;
        }
}

static bool shed_next(struct page_heap *heap, size_t *cursor, size_t least, uint64_t before_ns,
                      bool all, size_t *npages)
{
        struct shed shed;
        pld_lock(&heap->lock);
        struct pld_huge *huge = NULL;
        if (all || heap->surplus)
                huge = next_sparse_locked(heap, cursor, least, before_ns);
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
        for (unsigned i = 0; i < nslices && !pld_extent_is_watched(); i++) {
                size_t cursor = 0;
                while (shed_next(heaps[i], &cursor, PLD_HUGE_PAGES / 2, before_ns, all, &npages))
                        ;
                cursor = 0;
                while (shed_next(heaps[i], &cursor, 1, before_ns, all, &npages))
                        ;
        }
        return npages << PLD_PAGE_SHIFT;
}

/* ---- Moving to another node (P7) ------------------------------------------------------ */

/* All that is taken of it lies in [from, end). */
static bool has_others_locked(const struct pld_huge *huge, uintptr_t from, uintptr_t end)
{
        uintptr_t at = address_of(huge);
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
static size_t begin_move_locked(struct page_heap *heap, struct pld_huge *huge, size_t n,
                                uintptr_t from, uintptr_t end)
{
        size_t k = 0;
        for (; k < n && k < MOVE_PIECE && can_move_locked(&huge[k], from, end); k++) {
                if (huge[k].node != huge->node ||
                    pld_load_relaxed(&huge[k].backing) != pld_load_relaxed(&huge->backing))
                        break;
                if (is_filed(&huge[k]))
                        pld_filler_remove(&heap->filler, &huge[k]);
                pld_add_relaxed(&nabroad, !huge[k].abroad);
                huge[k].abroad = huge[k].moving = true;
                count_loose_locked(heap, &huge[k]);
        }
        return k;
}

static void end_move_locked(struct page_heap *heap, struct pld_huge *huge, unsigned node)
{
        huge->node = (uint8_t)node;
        huge->moving = false;
        huge->abroad = node != home_of(heap, huge);
        if (!huge->abroad)
                pld_sub_relaxed(&nabroad, 1);
        if (huge->ntaken == 0) /* freed meanwhile */
                huge->state = PLD_HUGE_TAKEN;
        refile_locked(heap, huge, pld_now_ns());
}

/* n > 0 that are moving. */
static int move(struct page_heap *heap, struct pld_huge *huge, size_t n, unsigned node)
{
        uintptr_t at = address_of(huge);
        size_t nbytes = n << PLD_HUGE_SHIFT;
        uint8_t kind = pld_load_relaxed(&huge->backing);
        unsigned old = huge->node;
        pld_extent_removed(at, nbytes);
        int error = pld_rehome((void *)at, nbytes, node, kind);
        unsigned now = error ? old : node;
        pld_extent_added(at, nbytes, now, kind);
        pld_lock(&heap->lock);
        for (size_t i = 0; i < n; i++)
                end_move_locked(heap, &huge[i], now);
        pld_unlock(&heap->lock);
        release_strays(heap);
        return error;
}

int pld_page_heap_migrate(uintptr_t from, uintptr_t end, unsigned node)
{
        struct page_heap *heap = heaps[pld_range_slice_of(from)];
        bool stayed = false;
        pld_extent_check_outside();
        for (uintptr_t at = pld_round_down(from, PLD_HUGE_BYTES); at < end;) {
                struct pld_huge *huge = huge_at(at);
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
        if (pld_likely(pld_load_relaxed(&nabroad) == 0))
                return false;
        struct pld_huge *huge = huge_at(at);
        struct pld_huge *last = huge_at(at + (npages << PLD_PAGE_SHIFT) - 1);
        struct page_heap *heap = heaps[pld_range_slice_of(at)];
        bool abroad = false;
        pld_lock(&heap->lock);
        for (; huge <= last; huge++)
                abroad |= huge->abroad;
        pld_unlock(&heap->lock);
        return abroad;
}

/* Up to n VOID huge pages in a row, made BUSY; how many. */
static size_t claim_void_locked(struct page_heap *heap, size_t n, struct pld_huge **out)
{
        size_t i = heap->low, k = 0;
        while (i < heap->nhuge && heap->huge[i].state != PLD_HUGE_VOID)
                i++;
        for (; k < n && i + k < heap->nhuge && heap->huge[i + k].state == PLD_HUGE_VOID; k++)
                become_busy_locked(heap, &heap->huge[i + k]);
        *out = &heap->huge[i];
        return k;
}

/* n BUSY ones in a row, of which nfresh were backed just now. Takes and drops the lock. */
static void finish_growth(struct page_heap *heap, struct pld_huge *row, size_t n, size_t nfresh,
                          bool keep)
{
        pld_lock(&heap->lock);
        pld_add_relaxed(&heap->nbacked, nfresh);
        heap->nreserved += keep ? nfresh : 0;
        pld_add_relaxed(&reserved_bytes, keep ? nfresh << PLD_HUGE_SHIFT : 0);
        for (size_t i = n; i-- > 0;) { /* the lowest ends up first */
                if (pld_load_relaxed(&row[i].backing))
                        become_idle_locked(heap, &row[i], pld_now_ns());
                else
                        become_void_locked(heap, &row[i]);
        }
        note_room_locked(heap);
        pld_unlock(&heap->lock);
}

/* Up to n, in pieces; how many were backed. */
static size_t grow_pieces(struct page_heap *heap, size_t n, bool keep)
{
        size_t got = 0;
        for (bool failed = false; got < n && !failed;) {
                struct pld_huge *row;
                size_t nfresh = 0, most = n - got < BACK_PIECE ? n - got : BACK_PIECE;
                pld_lock(&heap->lock);
                size_t k = claim_void_locked(heap, most, &row);
                pld_unlock(&heap->lock);
                if (k == 0 && see_more(heap, n - got))
                        continue;
                failed = k == 0 || back_busy(heap, row, k, false, &nfresh) != 0; /* P3 */
                finish_growth(heap, row, k, nfresh, keep);
                got += nfresh;
        }
        return got;
}

/* All huge pages of a place for a 1G page, VOID and made BUSY; NULL: there is none yet. */
static struct pld_huge *claim_gigantic_locked(struct page_heap *heap)
{
        size_t skew = address_of(heap->huge) >> PLD_HUGE_SHIFT;
        size_t first = pld_round_up(skew, GIGANTIC_HUGE) - skew, k = 0;
        for (; first + GIGANTIC_HUGE <= heap->nhuge; first += GIGANTIC_HUGE) {
                for (k = 0; k < GIGANTIC_HUGE; k++)
                        if (heap->huge[first + k].state != PLD_HUGE_VOID)
                                break;
                if (k == GIGANTIC_HUGE)
                        break;
        }
        if (first + GIGANTIC_HUGE > heap->nhuge)
                return NULL;
        for (k = 0; k < GIGANTIC_HUGE; k++)
                become_busy_locked(heap, &heap->huge[first + k]);
        return &heap->huge[first];
}

static struct pld_huge *claim_gigantic(struct page_heap *heap)
{
        struct pld_huge *huge;
        if (heap->slice >= pld_machine.nnodes) /* the stripe: its huge pages take turns */
                return NULL;
        do {
                pld_lock(&heap->lock);
                huge = claim_gigantic_locked(heap);
                pld_unlock(&heap->lock);
        } while (!huge && see_more(heap, GIGANTIC_HUGE));
        return huge;
}

static bool back_gigantic(const struct page_heap *heap, struct pld_huge *huge)
{
        uintptr_t at = address_of(huge);
        if (!claim_bytes(PLD_GIGANTIC_BYTES))
                return false;
        if (pld_page_map_open(at, PLD_GIGANTIC_BYTES) == 0 &&
            pld_back_1g((void *)at, heap->slice) == 0) {
                note_backed(huge, GIGANTIC_HUGE, heap->slice, PLD_BACKING_1G, false);
                return true;
        }
        pld_sub_relaxed(&backed_bytes, PLD_GIGANTIC_BYTES);
        return false;
}

/* By one 1G page; how many huge pages that is, 0: it had to be left (and is counted). */
static size_t grow_gigantic(struct page_heap *heap)
{
        struct pld_huge *huge = claim_gigantic(heap);
        if (!huge) {
                pld_back_1g_missed();
                return 0;
        }
        size_t nfresh = back_gigantic(heap, huge) ? GIGANTIC_HUGE : 0; /* P3 */
        finish_growth(heap, huge, GIGANTIC_HUGE, nfresh, true);
        return nfresh;
}

size_t pld_page_heap_grow(unsigned slice, size_t nbytes, bool keep)
{
        struct page_heap *heap = heaps[slice];
        size_t wanted = pld_div_up(nbytes, PLD_HUGE_BYTES), got = 0;
        while (keep && pld_backing_has_1g() && wanted - got >= GIGANTIC_HUGE) {
                size_t n = grow_gigantic(heap);
                if (n == 0)
                        n = grow_pieces(heap, GIGANTIC_HUGE, true);
                got += n;
                if (n < GIGANTIC_HUGE)
                        return got << PLD_HUGE_SHIFT;
        }
        return (got + grow_pieces(heap, wanted - got, keep)) << PLD_HUGE_SHIFT;
}

void pld_page_heap_expect_thread(void)
{
        pld_add_relaxed(&nthreads, 1);
}

bool pld_page_heap_is_dry(unsigned slice)
{
        return pld_load_relaxed(&heaps[slice]->dry);
}

/* ---- Start and questions -------------------------------------------------------- */

static struct page_heap *make_heap(unsigned slice)
{
        struct page_heap *heap = pld_meta_alloc(sizeof *heap);
        size_t nhuge = ((size_t)1 << pld_range.slice_shift) >> PLD_HUGE_SHIFT;
        uint64_t *away = pld_meta_alloc(pld_words_for(nhuge) * sizeof *away);
        if (!heap || !away)
                return NULL;
        pld_lock_init(&heap->lock, PLD_RANK_PAGE_HEAP);
        heap->slice = slice;
        heap->nall = nhuge;
        heap->huge = huge_at(pld_range_slice_at(slice));
        heap->away = away;
        pld_list_init(&heap->idle);
        pld_list_init(&heap->kept);
        pld_list_init(&heap->strays);
        pld_filler_init(&heap->filler);
        note_room_locked(heap);
        return heap;
}

int pld_page_heap_start(const struct pld_page_heap_options *options)
{
        decay_ms = options->decay_ms;
        populate_all = options->populate;
        can_shed = (size_t)sysconf(_SC_PAGESIZE) <= PLD_PAGE_BYTES;
        pld_store_relaxed(&limit_bytes, options->limit_bytes);
        all_huge = pld_meta_map_sparse((pld_range.nbytes >> PLD_HUGE_SHIFT) * sizeof *all_huge);
        if (!all_huge)
                return -ENOMEM;
        for (unsigned i = 0; i < pld_range.nslices; i++) {
                heaps[i] = make_heap(i);
                if (!heaps[i])
                        return -ENOMEM;
        }
        nslices = pld_range.nslices;
        return 0;
}

void pld_page_heap_set_limit(size_t nbytes)
{
        pld_store_relaxed(&limit_bytes, nbytes);
}

unsigned pld_page_heap_slices(void)
{
        return nslices;
}

int pld_page_heap_node_of(uintptr_t at)
{
        if (!nslices || !pld_range_has(at))
                return -ENOENT;
        const struct pld_huge *huge = huge_at(at);
        return pld_load_relaxed(&huge->backing) ? huge->node : -ENOENT;
}

size_t pld_page_heap_backed_bytes(void)
{
        return pld_load_relaxed(&backed_bytes);
}

size_t pld_page_heap_huge_bytes(void)
{
        return pld_load_relaxed(&huge_bytes);
}

size_t pld_page_heap_idle_bytes(void)
{
        return pld_load_relaxed(&idle_bytes);
}

size_t pld_page_heap_spare_bytes(void)
{
        size_t idle = pld_page_heap_idle_bytes();
        size_t backed = pld_load_relaxed(&backed_bytes), kept = pld_load_relaxed(&reserved_bytes);
        size_t beyond = backed > kept ? backed - kept : 0;
        return (idle < beyond ? idle : beyond) + pld_load_relaxed(&surplus_bytes);
}

size_t pld_page_heap_used_bytes(void)
{
        size_t n = 0;
        for (unsigned i = 0; i < nslices; i++) {
                pld_lock(&heaps[i]->lock);
                n += heaps[i]->ntaken_pages;
                pld_unlock(&heaps[i]->lock);
        }
        return n << PLD_PAGE_SHIFT;
}

/* Where some are abroad, and in the stripe, each huge page is asked. */
static void count_one_by_one_locked(struct page_heap *heap, unsigned node, size_t *used,
                                    size_t *idle)
{
        for (size_t i = pld_bits_find(heap->away, 0, heap->nhuge, true); i < heap->nhuge;
             i = pld_bits_find(heap->away, i + 1, heap->nhuge, true))
                if (heap->huge[i].node == node)
                        *used += (size_t)heap->huge[i].ntaken << PLD_PAGE_SHIFT;
        pld_list_each(item, &heap->idle)
                if (pld_container_of(item, struct pld_huge, link)->node == node)
                        *idle += PLD_HUGE_BYTES;
        pld_list_each(item, &heap->kept)
                if (pld_container_of(item, struct pld_huge, link)->node == node)
                        *idle += PLD_HUGE_BYTES;
}

void pld_page_heap_count_node(unsigned node, size_t *used, size_t *idle)
{
        *used = *idle = 0;
        for (unsigned i = 0; i < nslices; i++) {
                struct page_heap *heap = heaps[i];
                bool mixed = i >= pld_machine.nnodes || pld_load_relaxed(&nabroad) > 0;
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

static void verify_huge_locked(const struct page_heap *heap, const struct pld_huge *huge)
{
        size_t ntaken = 0;
        for (size_t i = 0; i < PLD_COUNT_OF(huge->taken); i++)
                ntaken += pld_popcount(huge->taken[i]);
        PLD_CHECK(ntaken == huge->ntaken);
        PLD_CHECK((ntaken > 0) == (huge->state == PLD_HUGE_TAKEN) || huge->state == PLD_HUGE_BUSY);
        bool away = huge->state == PLD_HUGE_TAKEN || huge->state == PLD_HUGE_BUSY;
        PLD_CHECK(away == pld_bit_get(heap->away, index_of(heap, huge))); /* P1 */
        if (huge->state != PLD_HUGE_VOID && huge->state != PLD_HUGE_BUSY) {
                PLD_CHECK(huge->longest == pld_bits_longest_run(huge->taken, PLD_HUGE_PAGES));
                PLD_CHECK(pld_load_relaxed(&huge->backing) != PLD_BACKING_NONE);
        }
        PLD_CHECK(!huge->abroad || away); /* P7 */
        if (huge->state == PLD_HUGE_IDLE || is_filed(huge))
                PLD_CHECK(huge->link.next != &huge->link); /* P2 */
}

void pld_page_heap_verify(void)
{
        for (unsigned s = 0; s < nslices; s++) {
                struct page_heap *heap = heaps[s];
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
                PLD_CHECK(nloose == heap->nloose && heap->surplus == surplus_of(heap)); /* P6 */
                pld_list_each(item, &heap->idle) {
                        verify_huge_locked(heap, pld_container_of(item, struct pld_huge, link));
                        nidle++;
                }
                pld_list_each(item, &heap->kept) {
                        struct pld_huge *huge = pld_container_of(item, struct pld_huge, link);
                        verify_huge_locked(heap, huge);
                        PLD_CHECK(pld_load_relaxed(&huge->backing) == PLD_BACKING_1G); /* P9 */
                        nidle++;
                }
                PLD_CHECK(nidle == heap->nidle);
                pld_unlock(&heap->lock);
        }
}

void pld_page_heap_fork_prepare(void)
{
        for (unsigned i = 0; i < nslices; i++)
                pld_lock_seize(&heaps[i]->lock);
}

void pld_page_heap_fork_done(void)
{
        for (unsigned i = nslices; i-- > 0;)
                pld_lock_cede(&heaps[i]->lock);
}
