/* mlock.h: memory that is to stay in memory, if the program asked for that. */
#ifndef PLD_NUMA_MLOCK_H
#define PLD_NUMA_MLOCK_H

#include <stdbool.h>
#include <stddef.h>

/* What is backed from now on is locked in memory, too. Where the kernel refuses it is
 * used all the same; the first time is one line on standard error. */
void pld_mlock_start(bool on);
bool pld_mlock_is_on(void);
int pld_mlock_try(void *at, size_t nbytes); /* whether it is on or not; -errno: refused */

#endif
