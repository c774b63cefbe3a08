/* stack.h: the stacks of attached threads. */
#ifndef PLD_COLLECTOR_STACK_H
#define PLD_COLLECTOR_STACK_H

#include "collector/thread.h"

/* Where the calling thread's own stack lies. False: glibc had no memory, or found no /proc,
 * where it looks up the main thread's. */
bool pld_stack_find(struct pld_thread *self);
/* The calling thread's stack is to be scanned from sp on. False: that is on no stack that
 * Polder knows. */
bool pld_stack_stand_try(struct pld_thread *self, uintptr_t sp);
/* The same; dies instead. */
void pld_stack_stand(struct pld_thread *self, uintptr_t sp);

/* Inside a step or while the thread is held: every word of its stack and
 * registers that may be a pointer, but for its newest object's. Of one that runs elsewhere: none. */
typedef void (*pld_stack_visit)(uintptr_t from, uintptr_t to, void *arg);
void pld_stack_each(struct pld_thread *thread, pld_stack_visit visit, void *arg);

#endif
