/* node_thread.h: threads that stay on a node's CPUs. */
#ifndef PLD_NUMA_NODE_THREAD_H
#define PLD_NUMA_NODE_THREAD_H

#include "numa/machine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* A joinable thread on the node's CPUs (on all the process may use, where the
 * node has none), with every signal blocked, a small stack, and the name, cut to
 * 15 bytes. -errno when it can't be made. */
int pld_node_thread_start(pthread_t *out, unsigned node, const char *name, void *(*fn)(void *),
                          void *arg);

/* One call of a function for each node, in parallel, each on a thread there. */
struct pld_each {
        void (*fn)(unsigned node, void *arg); /* const after the call */
        void *arg;
        _Atomic uint32_t running; /* calls not yet done */
        struct pld_each_one {
                struct pld_each *job;
                unsigned node;
        } one[PLD_MAX_NODES];
};

/* job: the caller's, untouched until pld_each_wait() has returned. Where a
 * thread can't be made, that node's call runs in the caller, before this returns:
 * so the job is always done. Returns how many ran so. */
unsigned pld_each_node(void (*fn)(unsigned node, void *arg), void *arg, struct pld_each *job);
/* Returns when every call has; any number of threads may wait. */
void pld_each_wait(struct pld_each *job);

#endif
