/* central.h: the spans of one slice, size class and shape (Go's mcentral). */
#ifndef PLD_ARENA_CENTRAL_H
#define PLD_ARENA_CENTRAL_H

#include "arena/sweep.h"
#include "base/lock.h"

/* So much is zeroed at a time: it is in the first-level cache still when it is used. */
enum { PLD_STRETCH_BYTES = 2048 };

struct pld_central {
        /* Looked at for every object: kept from the line that threads and sweepers write. */
        unsigned slice, class, slot; /* const; slot: a small number of its own */
        unsigned form;               /* const once spans are drawn (form.h); of leaves until set */
        size_t nbytes;               /* const: of an object; 0 for large ones */
        size_t stretch;              /* const: the same in whole cells, one at least; bytes */
        const struct pld_shape *shape; /* const */
        _Alignas(PLD_CACHE_LINE) struct pld_lock lock;
        uint32_t epoch;              /* lock: the sweep epoch the lists are of */
        uint32_t nsweeping;          /* lock: spans in sweepers' hands */
        struct pld_list partial, full, owned, unswept; /* lock */
        struct pld_list used_partial, used_full;       /* lock: owned since the flip */
};

static_assert(offsetof(struct pld_central, lock) == PLD_CACHE_LINE, "see there");

/* Nobody's current span is of it. */
extern struct pld_central pld_central_none PLD_HIDDEN;

/* Lives for ever; NULL: no memory. */
struct pld_central *pld_central_new(unsigned slice, unsigned class, const struct pld_shape *shape);
/* A swept span with a free cell, owned by the caller until put back; sweeps and
 * grows as needed. NULL: no memory. */
struct pld_span *pld_central_take(struct pld_central *central);
/* The caller's span, its run closed. */
void pld_central_put(struct pld_central *central, struct pld_span *span);
/* A new large span, still unpublished and unlisted; central->class is PLD_CLASS_LARGE. */
struct pld_span *pld_central_new_large(struct pld_central *central, size_t nbytes, bool strict);
/* Publishes it, with its object allocated (and marked). */
void pld_central_add_large(struct pld_central *central, struct pld_span *span, bool black);

/* Sweeps up to n spans; false when nothing was left to sweep. */
bool pld_central_sweep_some(struct pld_central *central, unsigned n);
/* All centrals: sweeps up to n spans; false when all is swept. Any thread. */
bool pld_sweep_some(unsigned n);
/* Sweeps all; returns when every span is swept, by whomever. Not during marking. */
void pld_sweep_finish(void);

/* Clears every mark, where sweeping has kept them. Once all is swept, and before the
 * next cycle marks; mutators may run, and nobody else looks at all spans. */
void pld_marks_clear(void);

/* Every collected span, under its central's lock. */
typedef void (*pld_span_visit)(struct pld_span *span, void *arg);
void pld_collected_each(pld_span_visit visit, void *arg);
void pld_central_fork_prepare(void);
void pld_central_fork_done(void);

#endif
