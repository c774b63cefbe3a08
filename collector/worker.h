/* worker.h: the threads that mark, each bound to one node's CPUs. */
#ifndef PLD_COLLECTOR_WORKER_H
#define PLD_COLLECTOR_WORKER_H

#include "collector/mark.h"

/* Makes those that are missing; fewer than wanted is not an error: whoever runs
 * the cycle marks, too. */
void pld_workers_start(void);
/* Wakes them for a marking phase. */
void pld_workers_wake(void);
unsigned pld_workers_count(void);
uint32_t pld_workers_woken(void); /* how often, ever */
uint64_t pld_workers_sent(void); /* references sent to other nodes, ever */
void pld_workers_fork_child(void);

/* Marks until there is nothing left to take; the marker is flushed then. Used by
 * workers and by whoever runs the cycle. */
void pld_mark_dry(struct pld_marker *marker);
/* The same, but no more than about so many bytes of scanning; false: there is more. */
bool pld_mark_dry_try(struct pld_marker *marker, uint64_t most);

#endif
