/* records.h: what hangs on objects: weak references and finalizers. */
#ifndef PLD_COLLECTOR_RECORDS_H
#define PLD_COLLECTOR_RECORDS_H

#include "collector/roots.h"

void pld_records_start(void);
/* Once a cycle, after every thread has been scanned: shades what records keep. */
void pld_records_shade(struct pld_marker *marker);
/* The same words, for searches beside the cycle; mutators are held. */
void pld_records_each(pld_root_visit visit, void *arg);
void pld_records_fork_prepare(void);
void pld_records_fork_done(void);
void pld_records_fork_child(void);

#endif
