/* span.h: a run of pages carved into equal objects of one size and one shape.
 *
 * The descriptor lies apart from the pages, so that marking and sweeping never
 * touch an object. Its bitmaps follow it: first `marked`, then `allocated`, then `born`,
 * one bit an object; where malloc's has many blocks, one for the free ones. */
#ifndef PLD_ARENA_SPAN_H
#define PLD_ARENA_SPAN_H

#include "arena/page_heap.h"
#include "arena/page_map.h"
#include "base/check.h"
#include "base/list.h"

struct pld_block; /* a free block of malloc's (manual.h) */
struct pld_cache;
struct pld_central;
struct pld_shape; /* where the pointers are in an object: the collector's business */

/* What a span is to the collected heap. */
struct pld_span_collected {
        /* The objects in [run_next, run_end) are reserved for one thread and not
         * yet born: allocated says they are there, but they are no objects.
         * Written by the owner; read by anyone who classifies a word. */
        _Atomic uintptr_t run_next, run_end;
        struct pld_central *central;  /* const from birth */
        _Atomic uint32_t sweep_epoch; /* sweep.h */
        bool owned;                   /* central lock: some thread's current span */
        bool sweeping;                /* central lock: taken off its list by a sweeper */
        bool used;                    /* central lock: owned at some time since the flip */
        _Atomic bool dirty;           /* free cells may hold other bytes than zero */
        _Atomic bool tied;            /* the collector's: some object is a key or an owner */
        bool born;                    /* its owner, then the sweeper: some bit of `born` is set */
        bool young;                   /* its sweeper: it held objects that were born in the cycle */
        void *_Atomic records;        /* weak references and finalizers: the collector's */
        void *_Atomic ties;           /* the collector's (tie.c) */
};

/* What a span is to malloc (manual.c). */
struct pld_span_manual {
        _Atomic(struct pld_cache *) owner; /* NULL: abandoned, anyone may adopt it */
        uint64_t free_bits;                /* owner: blocks to hand out (blocks.c, B1) */
        uint32_t used;                     /* owner: see manual.c, M2 */
        uint16_t fresh;                    /* owner: blocks never handed out yet start here */
        uint8_t where;                     /* owner: enum pld_manual_where */
        bool in_heap;                      /* const before a block is out: a heap's (heap.h) */
        struct pld_block *taken_over;      /* owner: freed by others, not looked into yet */
        /* On the next line: other threads write it, while the owner frees. */
        _Atomic uintptr_t remote;          /* any thread: blocks freed by others; low bit: full */
        struct pld_span *next_revived;     /* whoever cleared `full`, then the owner */
        bool absent; /* const before a block is out: the pages were not in memory at birth */
};

struct pld_span {
        /* Const from birth to release, but for the union and the link. What a free looks
         * at, and a bump allocation, is in the first line. */
        uintptr_t start;
        uint64_t magic; /* pld_mul_high(offset, magic) is an object's index */
        uint32_t count; /* objects */
        uint16_t nwords; /* of each bitmap; of malloc's, of half of its one */
        uint8_t class;
        uint8_t kind;  /* enum pld_kind */
        size_t nbytes; /* of an object */
        union {
                struct pld_span_collected collected;
                struct pld_span_manual manual;
        };
        size_t npages;
        const struct pld_shape *shape; /* collected spans; NULL: no pointers */
        struct pld_list link; /* lock of whoever holds the list */
        uint8_t slice; /* whose page heap the pages are from */
        bool zeroed;   /* the pages were zero at birth */
        uint16_t form; /* collected spans (form.h) */
        /* Blocks of malloc's that are free and can be lent: outside of the union, as it is 0
         * in all other spans, whatever they are (blocks.c, B2). */
        _Atomic uint32_t idle;
        /* Marked (two for one), allocated, born; of malloc's, the free ones, the owner's. */
        _Alignas(PLD_CACHE_LINE) _Atomic uint64_t bits[];
};

static_assert(sizeof(struct pld_span) == 128, "the bitmaps start on a line of their own");
static_assert(offsetof(struct pld_span, manual.remote) == PLD_CACHE_LINE, "see there");

enum { PLD_SPAN_BITMAPS = 4 }; /* of nwords words each */

struct pld_span_wish {
        enum pld_kind kind;
        unsigned class;                /* PLD_CLASS_LARGE: one object of nbytes */
        size_t nbytes;                 /* large only */
        size_t align;                  /* of the first object, bytes; 0: a page */
        const struct pld_shape *shape; /* collected only */
        unsigned form;                 /* the same; 0: of leaves */
        unsigned slice;
        bool strict;                   /* this slice or none */
};

void pld_span_start(size_t max_spans); /* 0: no limit */
/* Pages and a descriptor, not yet in the page map: no one else can find it.
 * NULL: no memory, or the limit on spans is reached. */
struct pld_span *pld_span_new(const struct pld_span_wish *wish);
/* From here on addresses inside the span lead to it. */
void pld_span_publish(struct pld_span *span);
/* Out of the page map, pages to the page heap, descriptor to the next span. */
void pld_span_release(struct pld_span *span);
size_t pld_spans_live(void);
void pld_span_fork_prepare(void);
void pld_span_fork_done(void);

static inline struct pld_span *pld_span_of(uintptr_t at)
{
        return pld_place_span(pld_place_of(at));
}

/* at: inside the span. May be >= count in the unused tail. */
static inline size_t pld_span_index(const struct pld_span *span, uintptr_t at)
{
        return (size_t)pld_mul_high(at - span->start, span->magic);
}

static inline uintptr_t pld_span_object(const struct pld_span *span, size_t i)
{
        return span->start + i * span->nbytes;
}

/* Marks of 64 objects, each of which is marked in either word: anyone sets a bit of `all`, by an
 * atomic or; who has the pen (collector/mark.h) is alone with the other, and just stores. */
struct pld_marks {
        _Atomic uint64_t all, pen;
};

static inline struct pld_marks *pld_span_marks(struct pld_span *span)
{
        return (struct pld_marks *)span->bits;
}

/* The pen's word first: sweeping moves what it says into the other. */
static inline uint64_t pld_marks_read(const struct pld_marks *marks)
{
        uint64_t pen = pld_load_acquire(&marks->pen);
        return pen | pld_load_relaxed(&marks->all);
}

/* Where nobody marks; `all` is seen no later than that the other is empty. */
static inline void pld_marks_set(struct pld_marks *marks, uint64_t all)
{
        pld_store_relaxed(&marks->all, all);
        if (pld_load_relaxed(&marks->pen))
                pld_store_release(&marks->pen, 0);
}

static inline _Atomic uint64_t *pld_span_allocated(struct pld_span *span)
{
        return span->bits + 2 * (size_t)span->nwords;
}

/* Born in the running cycle, a young one, or in the last and not yet swept (sweep.h). Written by
 * who owns the span, then by its sweeper. */
static inline _Atomic uint64_t *pld_span_born(struct pld_span *span)
{
        return span->bits + 3 * (size_t)span->nwords;
}

static inline bool pld_span_is_marked(struct pld_span *span, size_t i)
{
        return pld_marks_read(&pld_span_marks(span)[i / 64]) >> (i % 64) & 1;
}

static inline bool pld_span_is_born(struct pld_span *span, size_t i)
{
        return pld_load_acquire(&pld_span_born(span)[i / 64]) >> (i % 64) & 1;
}

/* Between cycles: it is marked, and the sweep will leave it so. A sweeper clears the mark
 * of what was born first, then the other bit: so who misses that finds no mark. */
static inline bool pld_span_is_old(struct pld_span *span, size_t i)
{
        return pld_span_is_marked(span, i) && !pld_span_is_born(span, i) &&
               pld_span_is_marked(span, i);
}

/* True for the one caller that set it; who has the pen may have set the other bit meanwhile.
 * Relaxed: marks order nothing but themselves; what must be seen behind a mark travels with the
 * mark queue. */
static inline bool pld_span_mark(struct pld_span *span, size_t i)
{
        uint64_t bit = UINT64_C(1) << (i % 64);
        struct pld_marks *marks = &pld_span_marks(span)[i / 64];
        if (pld_marks_read(marks) & bit)
                return false;
        return !(pld_or_relaxed(&marks->all, bit) & bit);
}

/* Is there an object number i, born already? For words that may be anything, and for marked
 * cells: those of a black run are marked before they are born, and hold anything. */
static inline bool pld_span_has_object(struct pld_span *span, size_t i)
{
        if (i >= span->count)
                return false;
        /* Acquire: pairs with the release in bump.c, so that a cell that is
         * allocated has been zeroed. */
        uint64_t word = pld_load_acquire(&pld_span_allocated(span)[i / 64]);
        if (!(word >> (i % 64) & 1))
                return false;
        /* Both ends of one run: with an old run_next and a new run_end, an object
         * between two runs would look unborn (bump.c, B2). */
        uintptr_t at = pld_span_object(span, i), next, end;
        do {
                end = pld_load_acquire(&span->collected.run_end);
                next = pld_load_acquire(&span->collected.run_next);
        } while (pld_unlikely(end != pld_load_relaxed(&span->collected.run_end)));
        return at < next || at >= end;
}

#endif
