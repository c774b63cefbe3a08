/* handshake.h: asking every attached thread to do a step, and stopping them all. */
#ifndef PLD_COLLECTOR_HANDSHAKE_H
#define PLD_COLLECTOR_HANDSHAKE_H

#include "collector/thread.h"

/* What a step needs of its thread. */
enum pld_need {
        PLD_NEEDS_STACK, /* its stack and registers: it stands still */
        PLD_NEEDS_STATE  /* what is written inside of Polder only: it may run elsewhere (T7) */
};

/* Every attached thread does the step once, by itself, or it is done for it.
 * Threads lock held; the caller is no mutator, or is in a blocking section. */
void pld_threads_handshake_locked(pld_step step, enum pld_need need);
/* Holds every thread, each after having done the step; until resumed. One that is held
 * by PLD_NEEDS_STATE may run, but not enter Polder. False: some
 * did not come within within_ns (0: as long as it takes); the others are held all
 * the same, and must be resumed. */
bool pld_threads_stop_locked(pld_step step, enum pld_need need, uint64_t within_ns);
/* Returns when they could go on. */
uint64_t pld_threads_resume_locked(void);
uint64_t pld_thread_wakeups(void); /* signals sent, ever */

#endif
