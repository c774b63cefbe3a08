/* os_cgroup.h: what the memory control groups of this process leave it. */
#ifndef PLD_NUMA_OS_CGROUP_H
#define PLD_NUMA_OS_CGROUP_H

#include "numa/os.h"

/* Of the tightest limit; -ENOENT: there is none. */
int pld_cgroup_memory(struct pld_os_memory *out);
/* The same for tests: below another root than /, and without remembering. */
int pld_cgroup_memory_below(const char *root, struct pld_os_memory *out);

#endif
