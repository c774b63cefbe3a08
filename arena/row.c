/* row.c: huge pages in a row, and the memory under them.
 *
 * Whoever wants huge pages makes them BUSY under the lock, asks the kernel without it, and
 * makes them IDLE or VOID again, or takes pages of them (page_heap.c, P1 and P3). They are
 * backed in pieces, each claimed before (P4) and of one home node; a piece that the kernel
 * refuses leaves what came before it idle. Growing does the same ahead of need, by 1G
 * pages where a reserve has room for one (P9). The slice is opened bit by bit (P8). */
#include "arena/page_heap_inside.h"

#include "arena/ahead.h"
#include "arena/extent.h"
#include "arena/meta.h"
#include "arena/page_map.h"
#include "arena/stall.h"
#include "base/clock.h"
#include "numa/meta_map.h"

#include <errno.h>
#include <string.h>

enum {
        BACK_PIECE = 4,   /* huge pages a system call: a signal waits that long */
        LAZY_PIECE = 512, /* the same where nothing is populated */
        OPEN_PIECE = 128, /* huge pages that are made usable at a time (P8) */
        GIGANTIC_HUGE = PLD_GIGANTIC_BYTES >> PLD_HUGE_SHIFT /* huge pages in a 1G page */
};

static bool claim_bytes(size_t nbytes) /* P4 */
{
        size_t limit = pld_load_relaxed(&pld_page_heaps.limit_bytes);
        size_t before = pld_add_relaxed(&pld_page_heaps.backed_bytes, nbytes);
        if (!limit || before + nbytes <= limit)
                return true;
        pld_sub_relaxed(&pld_page_heaps.backed_bytes, nbytes);
        return false;
}

unsigned pld_huge_home(const struct pld_page_heap *heap, const struct pld_huge *huge)
{
        return heap->slice < pld_machine.nnodes
                   ? heap->slice
                   : pld_machine_stripe_node(pld_huge_index(heap, huge));
}

/* How many from `huge` on are VOID in truth (backing none) and go to one node. */
static size_t same_home(const struct pld_page_heap *heap, const struct pld_huge *huge, size_t n)
{
        size_t k = 1;
        while (k < n && !pld_load_relaxed(&huge[k].backing) &&
               pld_huge_home(heap, huge + k) == pld_huge_home(heap, huge))
                k++;
        return k;
}

/* Memory of a kind under n huge pages; *lazily: may be, and has been, not populated. */
static int back_kernel(struct pld_page_heap *heap, struct pld_huge *huge, size_t n, bool *lazily,
                       enum pld_backing *kind)
{
        void *at = (void *)pld_huge_address(huge);
        unsigned node = pld_huge_home(heap, huge);
        if (*lazily && pld_back_lazily(at, n << PLD_HUGE_SHIFT, node, kind) == 0)
                return 0;
        *lazily = false;
        return pld_back(at, n << PLD_HUGE_SHIFT, node, kind);
}

/* They are backed now, and the caller's. */
static void note_backed(struct pld_huge *huge, size_t n, unsigned node, enum pld_backing kind,
                        bool lazily)
{
        if (kind != PLD_BACKING_BASE)
                pld_add_relaxed(&pld_page_heaps.huge_bytes, n << PLD_HUGE_SHIFT);
        for (size_t i = 0; i < n; i++) {
                huge[i].node = (uint8_t)node;
                memset(huge[i].dirty, 0, sizeof huge[i].dirty);
                memset(huge[i].lazy, lazily ? 0xff : 0, sizeof huge[i].lazy); /* P5 */
                huge[i].longest = PLD_HUGE_PAGES;
                huge[i].asked = huge[i].advised = false;
                pld_store_relaxed(&huge[i].backing, (uint8_t)kind);
        }
        pld_extent_added(pld_huge_address(huge), n << PLD_HUGE_SHIFT, node, kind);
}

static int back_piece(struct pld_page_heap *heap, struct pld_huge *huge, size_t n, bool lazily)
{
        enum pld_backing kind;
        unsigned node = pld_huge_home(heap, huge);
        if (!claim_bytes(n << PLD_HUGE_SHIFT))
                return -ENOMEM;
        int error = pld_page_map_open(pld_huge_address(huge), n << PLD_HUGE_SHIFT); /* P8 */
        if (!error)
                error = back_kernel(heap, huge, n, &lazily, &kind);
        if (error)
                pld_sub_relaxed(&pld_page_heaps.backed_bytes, n << PLD_HUGE_SHIFT);
        else
                note_backed(huge, n, node, kind, lazily);
        return error;
}

/* n BUSY huge pages in a row: backs those that are not; no lock held (P3). */
static int back_busy(struct pld_page_heap *heap, struct pld_huge *huge, size_t n, bool lazily,
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

void pld_huge_unback(struct pld_huge *huge)
{
        enum pld_backing kind = pld_huge_kind(huge);
        pld_extent_removed(pld_huge_address(huge), PLD_HUGE_BYTES);
        pld_unback((void *)pld_huge_address(huge), PLD_HUGE_BYTES, kind);
        pld_store_relaxed(&huge->backing, PLD_BACKING_NONE);
        pld_store_relaxed(&huge->grown, false);
        if (huge->broken)
                pld_sub_relaxed(&pld_page_heaps.nbroken, 1);
        if (huge->abroad)
                pld_sub_relaxed(&pld_page_heaps.nabroad, 1);
        huge->broken = huge->abroad = false;
        pld_sub_relaxed(&pld_page_heaps.backed_bytes, PLD_HUGE_BYTES);
        if (kind != PLD_BACKING_BASE)
                pld_sub_relaxed(&pld_page_heaps.huge_bytes, PLD_HUGE_BYTES);
}

/* ---- Rows ------------------------------------------------------------------ */

/* Makes n more huge pages of the slice usable, or as many as there are; false: none.
 * Takes and drops the lock (P3, P8). */
static bool see_more(struct pld_page_heap *heap, size_t n)
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
static struct pld_huge *find_row_locked(struct pld_page_heap *heap, size_t n, size_t align)
{
        size_t skew = pld_huge_address(heap->huge) >> PLD_HUGE_SHIFT;
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
static struct pld_huge *claim_row(struct pld_page_heap *heap, size_t n, size_t align)
{
        pld_lock(&heap->lock);
        struct pld_huge *huge = NULL;
        struct pld_list *idle = pld_list_is_empty(&heap->kept) ? &heap->idle : &heap->kept;
        if (n == 1 && align == 1 && !pld_list_is_empty(idle))
                huge = pld_container_of(idle->next, struct pld_huge, link);
        else
                huge = find_row_locked(heap, n, align);
        for (size_t i = 0; huge && i < n; i++)
                pld_huge_become_busy_locked(heap, &huge[i]);
        pld_unlock(&heap->lock);
        return huge;
}

/* A row of n backed huge pages, all BUSY and the caller's; takes and drops the lock. */
struct pld_huge *pld_page_heap_acquire_row(struct pld_page_heap *heap, size_t n, size_t align,
                                           bool lazily)
{
        struct pld_huge *huge;
        while (!(huge = claim_row(heap, n, align)))
                if (!see_more(heap, n + align - 1))
                        return NULL;
        return pld_page_heap_back_row(heap, huge, n, lazily) ? NULL : huge;
}

int pld_page_heap_back_row(struct pld_page_heap *heap, struct pld_huge *huge, size_t n, bool lazily)
{
        size_t nfresh = 0;
        struct pld_stall_span stall = pld_stall_begin();
        int error = back_busy(heap, huge, n, lazily && !pld_page_heaps.populate_all, &nfresh);
        if (nfresh)
                pld_stall_end(stall, PLD_STALL_GROW);

        pld_lock(&heap->lock);
        pld_add_relaxed(&heap->nbacked, nfresh);
        for (size_t i = 0; error && i < n; i++) {
                if (pld_load_relaxed(&huge[i].backing))
                        pld_huge_become_idle_locked(heap, &huge[i], pld_now_ns());
                else
                        pld_huge_become_void_locked(heap, &huge[i]);
        }
        size_t nidle = heap->nidle;
        pld_unlock(&heap->lock);
        if (!lazily)
                pld_ahead_drawn(heap->slice, nidle);
        return error;
}

/* ---- Growing --------------------------------------------------------------- */

/* Up to n VOID huge pages in a row, made BUSY; how many. */
static size_t claim_void_locked(struct pld_page_heap *heap, size_t n, struct pld_huge **out)
{
        size_t i = heap->low, k = 0;
        while (i < heap->nhuge && heap->huge[i].state != PLD_HUGE_VOID)
                i++;
        for (; k < n && i + k < heap->nhuge && heap->huge[i + k].state == PLD_HUGE_VOID; k++)
                pld_huge_become_busy_locked(heap, &heap->huge[i + k]);
        *out = &heap->huge[i];
        return k;
}

/* n BUSY ones in a row, of which nfresh were backed just now. Takes and drops the lock. */
static void finish_growth(struct pld_page_heap *heap, struct pld_huge *row, size_t n, size_t nfresh,
                          bool keep)
{
        pld_lock(&heap->lock);
        pld_add_relaxed(&heap->nbacked, nfresh);
        heap->nreserved += keep ? nfresh : 0;
        pld_add_relaxed(&pld_page_heaps.reserved_bytes, keep ? nfresh << PLD_HUGE_SHIFT : 0);
        for (size_t i = n; i-- > 0;) { /* the lowest ends up first */
                if (pld_load_relaxed(&row[i].backing))
                        pld_huge_become_idle_locked(heap, &row[i], pld_now_ns());
                else
                        pld_huge_become_void_locked(heap, &row[i]);
        }
        pld_page_heap_note_room_locked(heap);
        pld_unlock(&heap->lock);
}

/* Up to n, in pieces; how many were backed. */
static size_t grow_pieces(struct pld_page_heap *heap, size_t n, bool keep)
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
static struct pld_huge *claim_gigantic_locked(struct pld_page_heap *heap)
{
        size_t skew = pld_huge_address(heap->huge) >> PLD_HUGE_SHIFT;
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
                pld_huge_become_busy_locked(heap, &heap->huge[first + k]);
        return &heap->huge[first];
}

static struct pld_huge *claim_gigantic(struct pld_page_heap *heap)
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

static bool back_gigantic(const struct pld_page_heap *heap, struct pld_huge *huge)
{
        uintptr_t at = pld_huge_address(huge);
        if (!claim_bytes(PLD_GIGANTIC_BYTES))
                return false;
        if (pld_page_map_open(at, PLD_GIGANTIC_BYTES) == 0 &&
            pld_back_1g((void *)at, heap->slice) == 0) {
                note_backed(huge, GIGANTIC_HUGE, heap->slice, PLD_BACKING_1G, false);
                return true;
        }
        pld_sub_relaxed(&pld_page_heaps.backed_bytes, PLD_GIGANTIC_BYTES);
        return false;
}

/* By one 1G page; how many huge pages that is, 0: it had to be left (and is counted). */
static size_t grow_gigantic(struct pld_page_heap *heap)
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
        struct pld_page_heap *heap = pld_page_heaps.of[slice];
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
