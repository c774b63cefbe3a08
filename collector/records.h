/* records.h: what hangs on objects: weak references and finalizers. */
#ifndef PLD_COLLECTOR_RECORDS_H
#define PLD_COLLECTOR_RECORDS_H

#include "collector/roots.h"

void pld_records_start(void);
/* Once a cycle, after every thread has been scanned: shades what records keep. */
void pld_records_shade(struct pld_marker *marker);
/* The same words, for searches beside the cycle; mutators are held. */
void pld_records_each(pld_root_visit visit, void *arg);
/* At a cycle's end: makes sure that there is a thread to call what is due, as in the
 * child of a fork(), where the former one is not. */
void pld_finalizers_serve(void);
/* Records settled and not yet finalized. */
size_t pld_finalizers_pending(void);
/* Calls that have returned, ever; of a process that forked, from then on. */
uint64_t pld_finalizers_called(void);
void pld_records_fork_prepare(void);
void pld_records_fork_done(void);
void pld_records_fork_child(void);

#endif
