/* request.h: asking for cycles. */
#ifndef PLD_COLLECTOR_REQUEST_H
#define PLD_COLLECTOR_REQUEST_H

#include "base/atomic.h"

#include <polder/collected.h>

#include <stdbool.h>
#include <stdint.h>

/* Asks for a cycle of the kind that the settings want; from any thread, inside
 * Polder or not; returns at once. */
void pld_request_automatic(void);
/* Runs it here, if there is no thread to run it; outside of Polder. */
struct pld_thread;
void pld_request_run_due_slow(struct pld_thread *self);

extern _Atomic bool pld_request_is_due; /* and waits for a mutator to run it */

static inline void pld_request_run_due(struct pld_thread *self)
{
        if (__builtin_expect(pld_load_relaxed(&pld_request_is_due), 0))
                pld_request_run_due_slow(self);
}

/* Between two cycles, with all swept and every mutator held: the caller looks at the heap.
 * Waits for a cycle that is under way; from any thread, holding no lock. */
void pld_request_hold(void (*look)(void *arg), void *arg);

uint64_t pld_requests_done(void); /* cycles that were run */

void pld_request_fork_prepare(void);
void pld_request_fork_parent(void);
void pld_request_fork_child(void);

#endif
