/* fake.h: a machine made of tables, for the tests.
 *
 * Any topology, policy, amount of memory and kind of trouble. Addresses are real,
 * so that code on top of it runs; which node a page lies on, and how much memory a
 * node has left, is only remembered. Populating touches nothing: a machine of
 * terabytes costs a test nothing.
 *
 * Set up the machine, then install it, before anything of Polder starts. */
#ifndef PLD_NUMA_FAKE_H
#define PLD_NUMA_FAKE_H

#include "numa/os.h"

#include <stdbool.h>
#include <stddef.h>

/* What can be made to fail. */
enum pld_fake_call {
        PLD_FAKE_RESERVE,
        PLD_FAKE_OPEN,
        PLD_FAKE_OPEN_SPARSE,
        PLD_FAKE_CLOSE,
        PLD_FAKE_MAP,
        PLD_FAKE_MAP_POOL,
        PLD_FAKE_MOVE,
        PLD_FAKE_BIND,
        PLD_FAKE_REBIND,
        PLD_FAKE_ADVISE,
        PLD_FAKE_POPULATE,
        PLD_FAKE_COLLAPSE,
        PLD_FAKE_NODES_OF,
        PLD_FAKE_LOCK,
        PLD_FAKE_POLICY,
        PLD_FAKE_NODES_ALLOWED,
        PLD_FAKE_DISTANCES,
        PLD_FAKE_THREAD_CREATE,
        PLD_FAKE_BARRIER,
        PLD_FAKE_CALLS
};

/* Empty: no node, no NUMA in the kernel. */
void pld_fake_reset(void);
/* A node with that kernel id, so much memory, and CPUs that follow the last ones. */
void pld_fake_add_node(int id, unsigned ncpus, size_t nbytes);
/* Both ways; 10 to itself and 20 to others unless told. */
void pld_fake_set_distance(int id, int other, uint8_t distance);
/* Of the calling process: a cpuset, an affinity mask, a task policy. NULL: all. */
void pld_fake_allow_nodes(const char *list);
void pld_fake_allow_cpus(const char *list);
void pld_fake_set_policy(enum pld_policy kind, const char *list);
void pld_fake_set_weight(int id, unsigned weight); /* makes interleave a weighted one */
/* Resources of a node; huge pages left for THP, in free memory or by collapsing. */
void pld_fake_set_pool(int id, size_t npages);
void pld_fake_set_gigantic(int id, size_t npages); /* its pool of 1G pages */
void pld_fake_set_free(int id, size_t nbytes);
void pld_fake_set_cgroup(size_t nbytes); /* for what is used of all nodes; 0: no limit */
void pld_fake_set_huge(int id, size_t nfree, size_t ncollapsible);
void pld_fake_unplug(int id); /* its memory is gone, and what lay there lies nowhere now */
void pld_fake_set_support(enum pld_backing kind, bool has);
void pld_fake_set_reserve_limit(size_t nbytes); /* more is refused by reserve */
void pld_fake_set_lock_limit(size_t nbytes);
/* The CPU that the calling thread is on. */
void pld_fake_run_on(int cpu);
int pld_fake_cpu(void);
void pld_fake_hide_cpu(void); /* it can be asked for, but not be read from memory */

/* After `skip` more calls that work, `times` fail with that error (> 0). */
void pld_fake_fail(enum pld_fake_call call, unsigned skip, unsigned times, int error);
/* All fail: a seccomp filter. */
void pld_fake_forbid(enum pld_fake_call call, int error);
/* The next n populated huge pages lie on this node, wherever they were bound. */
void pld_fake_misplace(unsigned n, int id);

/* Called once, before the next populate does anything, without the fake's lock. */
void pld_fake_before_populate(void (*fn)(void));

unsigned pld_fake_calls(enum pld_fake_call call); /* since the reset, failed ones too */
size_t pld_fake_free_bytes(int id);
size_t pld_fake_pool(int id);
size_t pld_fake_gigantic(int id);
size_t pld_fake_locked_bytes(void);
/* Kernel id of the node a huge page of the range lies on, or, where it is bound and not
 * populated, will lie on; else -ENOENT. */
int pld_fake_node_of(const void *at);
/* Whether the machine would have sent a signal by now, and for what; else NULL. */
const char *pld_fake_disaster(void);

void pld_fake_install(void);

#endif
