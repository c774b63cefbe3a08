/* shared.h: caches for those who have none of their own: one a slice, and one for memory of
 * that slice or none.
 *
 * Their spans are as any cache's (manual.c), behind a lock. */
#ifndef PLD_ARENA_SHARED_H
#define PLD_ARENA_SHARED_H

#include "arena/manual.h"

int pld_shared_start(void); /* after the page heap */
/* One block, ready for use, from the slice's shared cache; NULL: no memory. */
struct pld_block *pld_shared_take(unsigned slice, unsigned class, bool strict);
/* Free spans of all are released. Nothing before the start. */
void pld_shared_tidy(void);
void pld_shared_fork_prepare(void);
void pld_shared_fork_done(void);

#endif
