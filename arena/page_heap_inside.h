/* page_heap_inside.h: what the pieces of the page heap share, and nobody else includes.
 *
 * page_heap.c has the invariants (P1 to P11), and hands out and takes back. row.c backs huge
 * pages, straddle.c crosses them, promote.c makes them huge in truth, shed.c and shed_spans.c
 * give them back, moved.c moves them, page_heap_counts.c counts. */
#ifndef PLD_ARENA_PAGE_HEAP_INSIDE_H
#define PLD_ARENA_PAGE_HEAP_INSIDE_H

#include "arena/huge.h"
#include "base/atomic.h"
#include "base/check.h"
#include "base/lock.h"
#include "numa/range.h"

enum {
        PLD_SLACK_SHARE = 64, PLD_SLACK_PAGES = 32 /* free pages beside the taken ones */
};

struct pld_page_heap {
        struct pld_lock lock;
        unsigned slice;       /* const after start */
        size_t nhuge;         /* lock: huge pages that can be used (P8) */
        size_t nall;          /* const: huge pages in the slice */
        struct pld_huge *huge; /* const: the first one */
        uint64_t *away;       /* lock: P1 */
        size_t low;           /* lock: no lower one is VOID or IDLE */
        size_t seek;          /* lock: where straddle.c looks first in a large heap */
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

struct pld_page_heaps {
        struct pld_page_heap *of[PLD_MAX_SLICES]; /* const after start: by slice */
        unsigned nslices;                         /* const after start */
        struct pld_huge *huge;                    /* const after start: by (at - base) / 2 MiB */
        bool populate_all;                        /* const after start */
        _Atomic size_t limit_bytes;
        _Atomic size_t backed_bytes;
        _Atomic size_t huge_bytes;
        _Atomic size_t reserved_bytes;
        /* Over all slices; relaxed: read as hints. */
        _Atomic size_t idle_bytes, surplus_bytes; /* the latter: loose, beyond the slack */
        _Atomic size_t nbroken;
        _Atomic size_t nabroad; /* huge pages (P7) */
        _Atomic size_t nripe;   /* the same (P10) */
};

extern struct pld_page_heaps pld_page_heaps;

/* page_heap.c */
void pld_page_heap_note_room_locked(struct pld_page_heap *heap);
/* After a change of what is taken, free or there (P6). */
void pld_page_heap_count_loose_locked(struct pld_page_heap *heap, struct pld_huge *huge);
/* One that is in no filler goes where it belongs now. */
void pld_page_heap_refile_locked(struct pld_page_heap *heap, struct pld_huge *huge,
                                 uint64_t now_ns);

/* Pages of one that is TAKEN, or BUSY and the caller's, are the run's from here on. */
void pld_page_heap_take_locked(struct pld_page_heap *heap, struct pld_huge *huge, size_t page,
                               size_t npages, struct pld_run *run);

/* straddle.c: a run over the edges of huge pages; false: there is no place, or no memory.
 * Takes and drops the lock. */
bool pld_page_heap_straddle(struct pld_page_heap *heap, size_t npages, bool lazily,
                            struct pld_run *out);

/* row.c: a row of n backed huge pages, all BUSY and the caller's, or NULL. Takes and drops
 * the lock. */
struct pld_huge *pld_page_heap_acquire_row(struct pld_page_heap *heap, size_t n, size_t align,
                                           bool lazily);
/* n in a row, BUSY and the caller's, are backed; or they are IDLE or VOID again and it is an
 * error. Takes and drops the lock. */
int pld_page_heap_back_row(struct pld_page_heap *heap, struct pld_huge *huge, size_t n,
                           bool lazily);
void pld_huge_unback(struct pld_huge *huge); /* BUSY and the caller's; no lock held (P3) */
unsigned pld_huge_home(const struct pld_page_heap *heap, const struct pld_huge *huge);

/* shed.c: a TAKEN huge page that cannot go away is base pages from then on; false: it is kept
 * as it is. Under the lock of the extents, and no other. */
bool pld_huge_break_try(struct pld_huge *huge);

/* moved.c: takes and drops the lock (P3). */
void pld_page_heap_release_strays(struct pld_page_heap *heap);

static inline struct pld_huge *pld_huge_at(uintptr_t at)
{
        return &pld_page_heaps.huge[(at - pld_range.base) >> PLD_HUGE_SHIFT];
}

static inline uintptr_t pld_huge_address(const struct pld_huge *huge)
{
        return pld_range.base + ((uintptr_t)(huge - pld_page_heaps.huge) << PLD_HUGE_SHIFT);
}

static inline size_t pld_huge_index(const struct pld_page_heap *heap, const struct pld_huge *huge)
{
        return (size_t)(huge - heap->huge);
}

/* What it is in the books (P11). */
static inline enum pld_backing pld_huge_kind(const struct pld_huge *huge)
{
        return pld_load_relaxed(&huge->grown) ? PLD_BACKING_THP
                                              : (enum pld_backing)pld_load_relaxed(&huge->backing);
}

/* In a filler (P2). */
static inline bool pld_huge_is_filed(const struct pld_huge *huge)
{
        return huge->state == PLD_HUGE_TAKEN && huge->longest > 0 && !huge->abroad; /* P7 */
}

static inline size_t pld_page_heap_surplus(const struct pld_page_heap *heap)
{
        size_t slack = heap->ntaken_pages / PLD_SLACK_SHARE;
        if (slack < PLD_SLACK_PAGES)
                slack = PLD_SLACK_PAGES;
        return heap->nloose > slack ? heap->nloose - slack : 0;
}

/* ---- The states of a huge page (P1, P2) ------------------------------------ */

static inline void pld_huge_leave_idle_locked(struct pld_page_heap *heap, struct pld_huge *huge)
{
        pld_list_remove(&huge->link);
        heap->nidle--;
        pld_sub_relaxed(&pld_page_heaps.idle_bytes, PLD_HUGE_BYTES);
}

static inline void pld_huge_become_busy_locked(struct pld_page_heap *heap, struct pld_huge *huge)
{
        PLD_ASSERT(huge->state == PLD_HUGE_VOID || huge->state == PLD_HUGE_IDLE);
        if (huge->state == PLD_HUGE_IDLE)
                pld_huge_leave_idle_locked(heap, huge);
        huge->state = PLD_HUGE_BUSY;
        huge->growing = false; /* P11 */
        pld_bit_set(heap->away, pld_huge_index(heap, huge));
}

static inline void pld_huge_come_home_locked(struct pld_page_heap *heap, struct pld_huge *huge)
{
        size_t i = pld_huge_index(heap, huge);
        pld_bit_clear(heap->away, i);
        if (i < heap->low)
                heap->low = i;
}

static inline void pld_huge_become_idle_locked(struct pld_page_heap *heap, struct pld_huge *huge,
                                               uint64_t now_ns)
{
        huge->state = PLD_HUGE_IDLE;
        bool kept = pld_load_relaxed(&huge->backing) == PLD_BACKING_1G;
        huge->given_ns = now_ns;
        pld_list_push(kept ? &heap->kept : &heap->idle, &huge->link); /* P9 */
        heap->nidle++;
        pld_add_relaxed(&pld_page_heaps.idle_bytes, PLD_HUGE_BYTES);
        pld_huge_come_home_locked(heap, huge);
}

static inline void pld_huge_become_void_locked(struct pld_page_heap *heap, struct pld_huge *huge)
{
        huge->state = PLD_HUGE_VOID;
        pld_huge_come_home_locked(heap, huge);
}

#endif
