/* os_machine.h: what the machine is, as Linux tells it. The contracts are os.h's. */
#ifndef PLD_NUMA_OS_MACHINE_H
#define PLD_NUMA_OS_MACHINE_H

#include "numa/os.h"

enum { PLD_LINUX_MAXNODE = PLD_NODE_IDS + 1 }; /* the kernel takes one less than it is told */

int pld_linux_nodes_with_memory(struct pld_node_set *out);
int pld_linux_nodes_allowed(struct pld_node_set *out);
int pld_linux_policy(struct pld_os_policy *out);
int pld_linux_cpus_of_node(int id, cpu_set_t *out);
int pld_linux_cpus_allowed(cpu_set_t *out);
int pld_linux_distances(int id, uint8_t row[PLD_NODE_IDS]);
unsigned pld_linux_weight(int id);
int pld_linux_memory(int id, struct pld_os_memory *out);
int pld_linux_pool_free(int id, enum pld_backing kind, size_t *npages);
/* Transparent huge pages of 2 MiB; not whether they are used without being asked for. */
bool pld_linux_has_thp(void);

#endif
