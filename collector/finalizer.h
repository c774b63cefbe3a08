/* finalizer.h: the thread that calls finalizers. */
#ifndef PLD_COLLECTOR_FINALIZER_H
#define PLD_COLLECTOR_FINALIZER_H

#include <stddef.h>
#include <stdint.h>

/* At a cycle's end: makes sure that there is a thread to call what is due, as in the
 * child of a fork(), where the former one is not. */
void pld_finalizers_serve(void);
/* Due, and not yet called. */
size_t pld_finalizers_pending(void);
/* Calls that have returned, ever; of a process that forked, from then on. */
uint64_t pld_finalizers_called(void);

#endif
