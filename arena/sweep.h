/* sweep.h: adopting the mark bitmap as the allocation bitmap.
 *
 * The collector's flip adds 2 to the epoch; from then on every span is two
 * behind until someone sweeps it (Go's sweepgen). Sweeping happens between
 * collections only: all is swept before marking starts. */
#ifndef PLD_ARENA_SWEEP_H
#define PLD_ARENA_SWEEP_H

#include "arena/span.h"

extern _Atomic uint32_t pld_sweep_epoch;
extern _Atomic uint64_t pld_swept_bytes; /* freed by sweeping, ever */
/* What is marked stays so when it is swept: the next cycle takes it for old. Set with
 * the flip, while all mutators are stopped and all is swept. */
extern _Atomic bool pld_sweep_keeps_marks;
/* And the last cycle left old objects alone: a span in which nothing was allocated since
 * the flip before, nor born in the cycle before that, holds old ones only, and need not be swept, ever so many cycles long.
 * Set in the same way. */
extern _Atomic bool pld_sweep_spares_old;
/* While a young cycle runs: what is born is black, and a bit says so. If the flip keeps the marks,
 * the sweep takes those away: such objects are young, as those that are born between cycles. */
extern _Atomic bool pld_sweep_births_are_young;

/* Called by the sweeper of a span that has records, before its marks are
 * adopted; it may mark objects of this span, to keep them. */
typedef void (*pld_settle)(struct pld_span *span);
void pld_sweep_start(pld_settle settle);

/* Sweeps the span, or waits until whoever sweeps it is done. */
void pld_span_sweep(struct pld_span *span);
/* While all mutators are stopped. */
void pld_sweep_flip(void);

static inline bool pld_span_is_swept(struct pld_span *span)
{
        /* Acquire: pairs with the sweeper's release; the bitmaps are settled. */
        return pld_load_acquire(&span->collected.sweep_epoch) == pld_load_relaxed(&pld_sweep_epoch);
}

#endif
