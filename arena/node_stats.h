/* node_stats.h: what was wanted of the nodes, what they gave, and who came.
 *
 * Relaxed counters, each a line of its own: nothing is read here but for statistics. */
#ifndef PLD_ARENA_NODE_STATS_H
#define PLD_ARENA_NODE_STATS_H

#include "arena/page_heap.h"
#include "base/atomic.h"

/* Bytes, ever, but for the last. */
struct pld_node_counts {
        _Alignas(PLD_CACHE_LINE) _Atomic uint64_t allocated; /* in runs of its pages */
        _Atomic uint64_t foreign;                            /* of these, wanted on another node */
        _Atomic uint64_t missed;       /* wanted here, and found on another node */
        _Atomic uint64_t freed_abroad; /* of small blocks, by threads on other nodes */
        _Atomic uint64_t arrivals;     /* of threads that had memory of another node */
};

extern struct pld_node_counts pld_node_counts[PLD_MAX_NODES];

/* A run was found. wanted: a slice. */
static inline void pld_node_count_run(unsigned wanted, const struct pld_run *run)
{
        int node = pld_page_heap_node_of(run->at);
        uint64_t nbytes = run->npages << PLD_PAGE_SHIFT;
        if (node < 0)
                return;
        pld_add_relaxed(&pld_node_counts[node].allocated, nbytes);
        if (pld_likely(wanted == (unsigned)node || wanted >= pld_machine.nnodes))
                return;
        pld_add_relaxed(&pld_node_counts[node].foreign, nbytes);
        pld_add_relaxed(&pld_node_counts[wanted].missed, nbytes);
}

/* slice: whose blocks are going home; here: that of the thread that freed them. */
static inline void pld_node_count_freed(unsigned slice, unsigned here, size_t nbytes)
{
        if (pld_unlikely(slice != here && slice < pld_machine.nnodes))
                pld_add_relaxed(&pld_node_counts[slice].freed_abroad, nbytes);
}

static inline void pld_node_count_arrival(unsigned slice)
{
        if (slice < pld_machine.nnodes)
                pld_add_relaxed(&pld_node_counts[slice].arrivals, 1);
}

#endif
