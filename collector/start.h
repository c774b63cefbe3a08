/* start.h: starting the collector, once. */
#ifndef PLD_COLLECTOR_START_H
#define PLD_COLLECTOR_START_H

#include "base/atomic.h"

#include <stdbool.h>

extern _Atomic bool pld_started;

/* Starts the arena and the collector, with the environment's settings unless
 * polder_init() came first. 0, or a negative errno. */
int pld_start_slow(void);

static inline int pld_start(void)
{
        /* Acquire: pairs with the release at the end of the start. */
        return pld_load_acquire(&pld_started) ? 0 : pld_start_slow();
}

#endif
