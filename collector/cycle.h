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

/* Young, stopped or neither, as the trace says, and the rest is written there. One at a time
 * (request.h), as all below; in a blocking section, or no mutator. */
struct pld_trace;
void pld_cycle_run(struct pld_trace *trace);
/* The caller looks at the heap with all swept and every mutator held. */
void pld_cycle_hold(void (*look)(void *arg), void *arg);

/* ns; the second: CPU time of the thread that runs the cycle. */
extern struct pld_histogram pld_stop_times, pld_stop_cpu_times, pld_handshake_times;

#endif
