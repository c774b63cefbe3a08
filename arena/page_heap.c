/* page_heap.c: runs of pages, packed into huge pages.
 *
 * A run of up to one huge page goes into the fullest huge page that fits
 * (huge.h). A longer one takes huge pages in a row; the rest of its last one
 * is left to the filler, so nothing is rounded up. Freed runs join their
 * neighbours because a huge page is a bitmap. What has no taken page is idle:
 * kept for a while, then given back whole, never in pieces (a hugetlb page
 * cannot be split and a transparent one should not be).
 *
 * P1  a huge page is VOID, IDLE, TAKEN or BUSY; the slice's `away` bit is set
 *     for TAKEN and BUSY, and only for those.
 * P2  IDLE ones are on the idle list, the most recently freed first; TAKEN
 *     ones with a free page are in the filler.
 * P3  no system call under the lock: a huge page that is being backed or
 *     given back is BUSY, and belongs to the thread that made it so.
 * P4  backed bytes never exceed the limit: they are claimed before the kernel
 *     is asked and returned when it refuses.
 * Called by span.c and the regions with no lock of theirs held but a central's. */
#include "arena/page_heap.h"

#include "arena/huge.h"
#include "arena/meta.h"
#include "base/atomic.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/lock.h"
#include "numa/range.h"

#include <errno.h>
#include <string.h>

enum {
        RELEASE_BATCH = 64,
        BACK_PIECE = 4,  /* huge pages a system call: a signal waits that long */
        ROOMY_PAGES = 32 /* a free run of so many takes any span of small objects */
};

struct page_heap {
        struct pld_lock lock;
        unsigned slice;       /* const after start */
        size_t nhuge;         /* const: huge pages in the slice */
        struct pld_huge *huge; /* const: the first one */
        uint64_t *away;       /* lock: P1 */
        size_t low;           /* lock: no lower one is VOID or IDLE */
        struct pld_list idle; /* lock: P2 */
        struct pld_filler filler; /* lock */
        size_t nidle, nbacked;    /* lock: huge pages */
        size_t ntaken_pages;      /* lock */
        size_t nreserved;         /* lock: huge pages that are never given back */
        _Atomic bool dry;         /* lock to write: the next span may need backing */
};

static struct page_heap *heaps[PLD_MAX_SLICES]; /* const after start */
static unsigned nslices;                        /* const after start */
static struct pld_huge *all_huge;               /* const after start: by (at - base) / 2 MiB */
static int64_t decay_ms;                        /* const after start */
static _Atomic size_t limit_bytes;
static _Atomic size_t backed_bytes;
static _Atomic size_t huge_bytes;
static _Atomic size_t reserved_bytes;
static _Atomic size_t idle_bytes; /* over all slices; relaxed: read as a hint */

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
        huge->idle_since_ns = now_ns;
        pld_list_push(&heap->idle, &huge->link);
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
        while (k < n && k < BACK_PIECE && !pld_load_relaxed(&huge[k].backing) &&
               home_of(heap, huge + k) == home_of(heap, huge))
                k++;
        return k;
}

static int back_piece(struct page_heap *heap, struct pld_huge *huge, size_t n)
{
        enum pld_backing kind;
        unsigned node = home_of(heap, huge);
        if (!claim_bytes(n << PLD_HUGE_SHIFT))
                return -ENOMEM;
        int error = pld_back((void *)address_of(huge), n << PLD_HUGE_SHIFT, node, &kind);
        if (error) {
                pld_sub_relaxed(&backed_bytes, n << PLD_HUGE_SHIFT);
                return error;
        }
        if (kind != PLD_BACKING_BASE)
                pld_add_relaxed(&huge_bytes, n << PLD_HUGE_SHIFT);
        for (size_t i = 0; i < n; i++) {
                huge[i].node = (uint8_t)node;
                memset(huge[i].dirty, 0, sizeof huge[i].dirty);
                huge[i].longest = PLD_HUGE_PAGES;
                pld_store_relaxed(&huge[i].backing, (uint8_t)kind);
        }
        return 0;
}

/* n BUSY huge pages in a row: backs those that are not; no lock held (P3). */
static int back_busy(struct page_heap *heap, struct pld_huge *huge, size_t n, size_t *nfresh)
{
        for (size_t i = 0; i < n;) {
                if (pld_load_relaxed(&huge[i].backing)) {
                        i++;
                        continue;
                }
                size_t k = same_home(heap, &huge[i], n - i);
                int error = back_piece(heap, &huge[i], k);
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
        pld_unback((void *)address_of(huge), PLD_HUGE_BYTES, kind);
        pld_store_relaxed(&huge->backing, PLD_BACKING_NONE);
        pld_sub_relaxed(&backed_bytes, PLD_HUGE_BYTES);
        if (kind != PLD_BACKING_BASE)
                pld_sub_relaxed(&huge_bytes, PLD_HUGE_BYTES);
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

/* A row of n backed huge pages, all BUSY and the caller's; takes and drops the lock. */
static struct pld_huge *acquire_row(struct page_heap *heap, size_t n, size_t align)
{
        pld_lock(&heap->lock);
        struct pld_huge *huge = NULL;
        if (n == 1 && align == 1 && !pld_list_is_empty(&heap->idle))
                huge = pld_container_of(heap->idle.next, struct pld_huge, link);
        else
                huge = find_row_locked(heap, n, align);
        for (size_t i = 0; huge && i < n; i++)
                become_busy_locked(heap, &huge[i]);
        pld_unlock(&heap->lock);
        if (!huge)
                return NULL;

        size_t nfresh = 0;
        int error = back_busy(heap, huge, n, &nfresh);

        pld_lock(&heap->lock);
        heap->nbacked += nfresh;
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

static bool take_locked(struct page_heap *heap, struct pld_huge *huge, size_t page, size_t npages)
{
        if (huge->state == PLD_HUGE_TAKEN && huge->longest > 0)
                pld_filler_remove(&heap->filler, huge);
        huge->state = PLD_HUGE_TAKEN;
        bool zeroed = pld_huge_take(huge, page, npages);
        heap->ntaken_pages += npages;
        if (huge->longest > 0)
                pld_filler_insert(&heap->filler, huge);
        note_room_locked(heap);
        return zeroed;
}

static bool alloc_within(struct page_heap *heap, size_t npages, size_t align, struct pld_run *out)
{
        size_t align_pages = align > PLD_PAGE_BYTES ? align >> PLD_PAGE_SHIFT : 1;
        pld_lock(&heap->lock);
        struct pld_huge *huge = pld_filler_find(&heap->filler, npages, align_pages);
        if (!huge) {
                pld_unlock(&heap->lock);
                huge = acquire_row(heap, 1, 1);
                if (!huge)
                        return false;
                pld_lock(&heap->lock);
        }
        size_t page = pld_huge_find(huge, npages, align_pages);
        PLD_ASSERT(page < PLD_HUGE_PAGES);
        out->at = address_of(huge) + (page << PLD_PAGE_SHIFT);
        out->npages = npages;
        out->zeroed = take_locked(heap, huge, page, npages);
        pld_unlock(&heap->lock);
        return true;
}

static bool alloc_row(struct page_heap *heap, size_t npages, size_t align, struct pld_run *out)
{
        size_t n = pld_div_up(npages, PLD_HUGE_PAGES);
        size_t align_huge = align > PLD_HUGE_BYTES ? align >> PLD_HUGE_SHIFT : 1;
        struct pld_huge *huge = acquire_row(heap, n, align_huge);
        if (!huge)
                return false;
        *out = (struct pld_run){ .at = address_of(huge), .npages = npages, .zeroed = true };
        pld_lock(&heap->lock);
        for (size_t i = 0; i < n; i++, npages -= PLD_HUGE_PAGES) {
                size_t here = npages < PLD_HUGE_PAGES ? npages : PLD_HUGE_PAGES;
                if (!take_locked(heap, &huge[i], 0, here))
                        out->zeroed = false;
        }
        pld_unlock(&heap->lock);
        return true;
}

int pld_page_heap_alloc(unsigned slice, size_t npages, size_t align, struct pld_run *out)
{
        struct page_heap *heap = heaps[slice];
        if (npages > heap->nhuge * PLD_HUGE_PAGES)
                return -ENOMEM;
        bool within = npages <= PLD_HUGE_PAGES && align <= PLD_HUGE_BYTES;
        bool done = within ? alloc_within(heap, npages, align, out)
                           : alloc_row(heap, npages, align, out);
        if (!done && pld_load_relaxed(&limit_bytes) && pld_page_heap_release(UINT64_MAX) > 0)
                done = within ? alloc_within(heap, npages, align, out)
                              : alloc_row(heap, npages, align, out);
        return done ? 0 : -ENOMEM;
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
                run->zeroed = take_locked(heap, huge, page, npages);
                run->npages += npages;
        }
        pld_unlock(&heap->lock);
        return fits;
}

/* ---- Freeing ------------------------------------------------------------------ */

static void give_locked(struct page_heap *heap, struct pld_huge *huge, size_t page, size_t npages)
{
        PLD_ASSERT(huge->state == PLD_HUGE_TAKEN);
        if (huge->longest > 0)
                pld_filler_remove(&heap->filler, huge);
        pld_huge_give(huge, page, npages);
        heap->ntaken_pages -= npages;
        if (huge->ntaken > 0)
                pld_filler_insert(&heap->filler, huge);
        else
                become_idle_locked(heap, huge, pld_now_ns());
        note_room_locked(heap);
}

void pld_page_heap_free(struct pld_run run)
{
        struct page_heap *heap = heaps[pld_range_slice_of(run.at)];
        pld_lock(&heap->lock);
        while (run.npages > 0) {
                size_t page = (run.at & (PLD_HUGE_BYTES - 1)) >> PLD_PAGE_SHIFT;
                size_t here = PLD_HUGE_PAGES - page;
                if (here > run.npages)
                        here = run.npages;
                give_locked(heap, huge_at(run.at), page, here);
                run.at += here << PLD_PAGE_SHIFT;
                run.npages -= here;
        }
        pld_unlock(&heap->lock);
        if (decay_ms == 0)
                pld_page_heap_release(UINT64_MAX);
}

/* The oldest idle huge pages, made BUSY; how many. */
static size_t collect_idle_locked(struct page_heap *heap, uint64_t before_ns,
                                  struct pld_huge *out[RELEASE_BATCH])
{
        size_t n = 0;
        while (n < RELEASE_BATCH && !pld_list_is_empty(&heap->idle) &&
               heap->nbacked > heap->nreserved) {
                struct pld_huge *huge = pld_container_of(heap->idle.prev, struct pld_huge, link);
                if (huge->idle_since_ns > before_ns)
                        break;
                become_busy_locked(heap, huge);
                heap->nbacked--;
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

size_t pld_page_heap_grow(unsigned slice, size_t nbytes, bool keep)
{
        struct page_heap *heap = heaps[slice];
        size_t wanted = pld_div_up(nbytes, PLD_HUGE_BYTES), got = 0;
        for (bool failed = false; got < wanted && !failed;) {
                struct pld_huge *row;
                size_t nfresh = 0, n = wanted - got < BACK_PIECE ? wanted - got : BACK_PIECE;
                pld_lock(&heap->lock);
                n = claim_void_locked(heap, n, &row);
                pld_unlock(&heap->lock);
                failed = n == 0 || back_busy(heap, row, n, &nfresh) != 0; /* P3 */
                pld_lock(&heap->lock);
                heap->nbacked += nfresh;
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
                got += nfresh;
        }
        return got << PLD_HUGE_SHIFT;
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
        heap->nhuge = nhuge;
        heap->huge = huge_at(pld_range_slice_at(slice));
        heap->away = away;
        pld_list_init(&heap->idle);
        pld_filler_init(&heap->filler);
        note_room_locked(heap);
        return heap;
}

int pld_page_heap_start(const struct pld_page_heap_options *options)
{
        decay_ms = options->decay_ms;
        pld_store_relaxed(&limit_bytes, options->limit_bytes);
        all_huge = pld_meta_map((pld_range.nbytes >> PLD_HUGE_SHIFT) * sizeof *all_huge);
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
        return idle < beyond ? idle : beyond;
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
        if (huge->state == PLD_HUGE_IDLE || (away && huge->state == PLD_HUGE_TAKEN && huge->longest))
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
                size_t nidle = 0;
                pld_list_each(item, &heap->idle) {
                        verify_huge_locked(heap, pld_container_of(item, struct pld_huge, link));
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
