/* stall.h: what allocations waited for, and how long.
 *
 * A cause is told by whoever knows it, on this floor or above. Times do not overlap: who
 * times something that may contain other causes subtracts what was told meanwhile
 * (pld_stalled_ns). An allocation's causes together are its stall. */
#ifndef PLD_ARENA_STALL_H
#define PLD_ARENA_STALL_H

#include "base/clock.h"
#include "base/histogram.h"

enum pld_stall {
        PLD_STALL_ASSIST,  /* marking, to pay for what was allocated */
        PLD_STALL_PACE,    /* waiting while the heap is far past its goal */
        PLD_STALL_REFILL,  /* finding the next span */
        PLD_STALL_SWEEP,   /* sweeping spans for that */
        PLD_STALL_GROW,    /* waiting for the kernel's memory */
        PLD_STALL_RELEASE, /* giving memory back, to stay below a limit */
        PLD_STALL_LARGE,   /* finding and zeroing the pages of a large object */
        PLD_STALL_COLLECT, /* waiting for a collection, as there was no memory */
        PLD_STALLS
};

extern struct pld_histogram pld_stall_times[PLD_STALLS]; /* ns */
extern struct pld_histogram pld_stall_sums;              /* the same, of whole allocations */
extern _Thread_local uint64_t pld_stalled_ns PLD_HIDDEN; /* told since the allocation began */

void pld_stall_note(enum pld_stall cause, uint64_t ns);

/* Something that contains other causes. */
struct pld_stall_span {
        uint64_t start_ns, told_ns;
};

static inline struct pld_stall_span pld_stall_begin(void)
{
        return (struct pld_stall_span){ pld_now_ns(), pld_stalled_ns };
}

static inline void pld_stall_end(struct pld_stall_span span, enum pld_stall cause)
{
        uint64_t all = pld_now_ns() - span.start_ns, others = pld_stalled_ns - span.told_ns;
        pld_stall_note(cause, all > others ? all - others : 0);
}

/* Around an allocation. */
static inline void pld_stall_start_sum(void)
{
        pld_stalled_ns = 0;
}

static inline void pld_stall_sum_up(void)
{
        if (pld_unlikely(pld_stalled_ns))
                pld_histogram_add(&pld_stall_sums, pld_stalled_ns);
}

#endif
