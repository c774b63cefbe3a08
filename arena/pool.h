/* pool.h: what pools do when threads end and processes fork; what pool.c implements
 * otherwise is declared in <polder/pool.h>. */
#ifndef PLD_ARENA_POOL_H
#define PLD_ARENA_POOL_H

#include <polder/pool.h>

/* What the calling thread has at hand goes back to the pools; the thread is ending. */
void pld_pools_leave(void);
void pld_pool_verify(struct polder_pool *pool); /* while nobody gets or puts */
void pld_pool_fork_prepare(void);
void pld_pool_fork_done(void);
/* In the child: what threads had at hand that are not there goes back. */
void pld_pool_fork_child(void);

#endif
