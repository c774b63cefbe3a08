/* region.h: giving back a thread's scratch stack; what region.c implements
 * otherwise is declared in <polder/region.h>. */
#ifndef PLD_ARENA_REGION_H
#define PLD_ARENA_REGION_H

#include <polder/region.h>

/* The calling thread's scratch stack is empty again, without memory. */
void pld_scratch_drop(void);
/* Bytes in regions' spans. */
size_t pld_region_bytes(void);

#endif
