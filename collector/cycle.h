/* cycle.h: one collection. */
#ifndef PLD_COLLECTOR_CYCLE_H
#define PLD_COLLECTOR_CYCLE_H

#include "base/atomic.h"
#include "base/histogram.h"

#include <polder/collected.h>

#include <stdbool.h>
#include <stdint.h>

enum pld_phase {
        PLD_PHASE_IDLE,    /* nothing is marked; spans may be swept */
        PLD_PHASE_ARMED,   /* shading, but nothing is traced */
        PLD_PHASE_MARKING, /* every thread has been scanned */
        PLD_PHASE_STOPPED  /* marking with all mutators held */
};

extern _Atomic uint32_t pld_phase; /* enum pld_phase; the cycle's */

/* A mutator inside Polder that sees true keeps the flip waiting until it leaves. */
static inline bool pld_cycle_is_marking(void)
{
        return pld_load_acquire(&pld_phase) == PLD_PHASE_MARKING;
}

/* There is something for workers to do. */
static inline bool pld_cycle_has_work(void)
{
        return pld_load_acquire(&pld_phase) >= PLD_PHASE_MARKING;
}

/* Asks for a cycle of the kind that the settings want; from any thread, inside
 * Polder or not; returns at once. */
void pld_cycle_request_automatic(void);
/* Runs it here, if there is no thread to run it; outside of Polder. */
struct pld_thread;
void pld_cycle_run_due_slow(struct pld_thread *self);

extern _Atomic bool pld_cycle_is_due; /* and waits for a mutator to run it */

static inline void pld_cycle_run_due(struct pld_thread *self)
{
        if (__builtin_expect(pld_load_relaxed(&pld_cycle_is_due), 0))
                pld_cycle_run_due_slow(self);
}

/* Between two cycles, with all swept and every mutator held: the caller looks at the heap.
 * Waits for a cycle that is under way; from any thread, holding no lock. */
void pld_cycle_hold(void (*look)(void *arg), void *arg);

uint64_t pld_cycles_done(void);
/* ns; the second: CPU time of the thread that runs the cycle. */
extern struct pld_histogram pld_stop_times, pld_stop_cpu_times, pld_handshake_times;

void pld_cycle_fork_prepare(void);
void pld_cycle_fork_parent(void);
void pld_cycle_fork_child(void);

#endif
