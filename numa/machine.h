/* machine.h: what the machine is, as far as this process may use it.
 *
 * Nodes are counted densely, 0 to nnodes - 1, in the order of the kernel's ids,
 * which may be sparse. A node is here when it has memory and the process is
 * allowed to use it: by cpuset, by the task policy of the thread that started
 * the machine, and by the setting. It may have no CPU. */
#ifndef PLD_NUMA_MACHINE_H
#define PLD_NUMA_MACHINE_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLD_MAX_NODES = 64 };

/* What the kernel's task policy asks of an allocator. */
enum pld_policy {
        PLD_POLICY_LOCAL,     /* default, local: the calling CPU's node */
        PLD_POLICY_BIND,      /* only the nodes of the mask, the nearest first */
        PLD_POLICY_PREFERRED, /* those of the mask first, then by distance */
        PLD_POLICY_INTERLEAVE /* huge pages are striped over the mask */
};

struct pld_node {
        int id;         /* the kernel's */
        unsigned ncpus; /* of those below; 0: a node of memory only */
        cpu_set_t cpus; /* the node's that the process may run on */
        size_t nbytes;  /* memory of the node, used or not */
        uint8_t weight; /* its share of a stripe, >= 1 */
        bool striped;   /* in the interleave mask */
        bool far;       /* memory without any CPU: a slower tier, taken after the others */
};

/* Const after start. */
struct pld_machine {
        unsigned nnodes;
        struct pld_node node[PLD_MAX_NODES];
        /* Where to look for memory when node i has none: order[i][0] == i, then by
         * distance, those without CPUs after those with, under a preferring policy the
         * preferred ones before the others. */
        uint8_t order[PLD_MAX_NODES][PLD_MAX_NODES];
        enum pld_policy policy;
        unsigned npreferred;              /* preferred: how many there are */
        uint8_t preferred[PLD_MAX_NODES]; /* those, then the others by distance; nnodes entries */
        unsigned ncpus;                   /* that the process may run on, on any node */
        bool has_numa; /* the kernel knows nodes */
        bool may_bind; /* and lets the process bind to them; else all is one node here */
        bool alone;    /* the only node that has memory: its memory is the system's */
        bool roams;    /* what is here for a thread can change when it moves */
};

extern struct pld_machine pld_machine;

/* nodes: the setting, such as "0,2-3" in the kernel's ids, or NULL. Once started,
 * further calls change nothing and return 0. -EINVAL, with one line on standard
 * error and nothing started: it is malformed, or leaves no node. A kernel without
 * NUMA, or one that forbids binding (containers do), is a machine of one node.
 * The calling thread's policy counts: it is a property of threads. */
int pld_machine_start(const char *nodes);
/* The node that the calling thread should allocate on now; nnodes (the stripe)
 * under interleave. Cheap, lock-free, safe in a signal handler. */
unsigned pld_machine_here(void);
/* Under interleave: the node of the stripe's huge page with this index. */
unsigned pld_machine_stripe_node(size_t huge_index);
/* The dense index of a kernel id, or -ENOENT. */
int pld_machine_index_of(int kernel_id);
/* Asks the kernel anew which nodes are allowed, after a refused bind: a cpuset
 * can shrink, and grow back. Indices stay. Thread-safe. */
void pld_machine_reread(void);
/* False once the node has been taken from the process. */
bool pld_machine_is_allowed(unsigned node);

#endif
