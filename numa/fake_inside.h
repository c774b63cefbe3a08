/* fake_inside.h: what the pieces of the fake machine share, and nobody else includes.
 *
 * fake.c is the machine: its nodes and CPUs, what the process may use of them, and which calls
 * fail. fake_pages.c has the books of addresses and pages. */
#ifndef PLD_NUMA_FAKE_INSIDE_H
#define PLD_NUMA_FAKE_INSIDE_H

#include "base/lock.h"
#include "numa/fake.h"

struct pld_fake_node {
        bool exists;                                   /* const after set-up */
        unsigned weight, first_cpu, ncpus;             /* likewise */
        uint8_t distance[PLD_NODE_IDS];                /* likewise */
        size_t total;                                  /* likewise, until it is unplugged */
        size_t nfree, pool, gigantic, huge, collapsible; /* lock (F1) */
};

struct pld_fake_machine {
        struct pld_lock lock;
        struct pld_fake_node nodes[PLD_NODE_IDS];
        /* Const after set-up, but for the limit of the control group. */
        bool has_numa, all_nodes, hides_cpu, supports[PLD_BACKING_KINDS];
        unsigned ncpus;
        struct pld_os_policy policy;
        struct pld_node_set allowed;
        cpu_set_t cpus;
        size_t reserve_limit, lock_limit;
        _Atomic size_t cgroup_limit;
};

extern struct pld_fake_machine pld_fake;

/* fake.c: 0, or the -errno with which this call fails. */
int pld_fake_trip(enum pld_fake_call call);
/* The same for what answers with an address: the real call's, or NULL with errno. */
void *pld_fake_trip_pointer(enum pld_fake_call call, void *(*real)(size_t), size_t nbytes);
/* As os.h says of pool_free() and node_here(). */
int pld_fake_pool_free(int id, enum pld_backing kind, size_t *npages);
int pld_fake_node_here(int *cpu);

/* fake_pages.c: forgets all of them; its part of the contract of os.h. */
void pld_fake_pages_reset(void);
void pld_fake_pages_fill(struct pld_os *os);

#endif
