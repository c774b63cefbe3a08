/* os.h: everything the library asks of the operating system about machines,
 * memory and threads, behind one contract.
 *
 * The only code that knows a kernel interface by name is in os_*.c; the fake
 * machine of the tests is another implementation. No function allocates: the
 * heap below malloc must not call malloc. Unless it says otherwise, an int is 0
 * or -errno, an output is written on success only, and a function is thread-safe. */
#ifndef PLD_NUMA_OS_H
#define PLD_NUMA_OS_H

#include "numa/kind.h"
#include "numa/machine.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLD_NODE_IDS = 1024 }; /* kernel ids are below (the kernel's own limit) */

struct pld_node_set {
        uint64_t words[PLD_NODE_IDS / 64];
};

/* The calling thread's task policy. */
struct pld_os_policy {
        enum pld_policy kind;
        bool weighted;             /* interleave by the kernel's weights */
        struct pld_node_set nodes; /* of every kind but LOCAL; may name what is not allowed */
};

/* Bytes of one node. */
struct pld_os_memory {
        size_t total;
        size_t available; /* free or soon freed, without what the kernel keeps for itself */
        size_t swap;      /* free swap space of the whole system */
};

struct pld_os {
        /* --- what the machine is --- */
        int (*nodes_with_memory)(struct pld_node_set *out); /* -ENOSYS: no NUMA */
        int (*nodes_allowed)(struct pld_node_set *out);     /* by the cpuset, now */
        int (*policy)(struct pld_os_policy *out);
        int (*cpus_of_node)(int id, cpu_set_t *out);
        int (*cpus_allowed)(cpu_set_t *out);
        /* row[j]: distance from the node to node j, 0 where there is none. */
        int (*distances)(int id, uint8_t row[PLD_NODE_IDS]);
        unsigned (*weight)(int id); /* of weighted interleave; >= 1 */
        int (*memory)(int id, struct pld_os_memory *out); /* id < 0: of all nodes together */
        /* What the tightest limit of a control group leaves; -ENOENT: there is none. */
        int (*cgroup_memory)(struct pld_os_memory *out);
        /* Free hugetlb pages of that kind, 1G or 2M; likewise. */
        int (*pool_free)(int id, enum pld_backing kind, size_t *npages);
        bool (*supports)(enum pld_backing kind);
        int (*cpu)(void); /* the calling thread's, cheaply; negative: unknown */
        /* Where the kernel keeps that number as long as the thread lives; NULL: nowhere. */
        const _Atomic uint32_t *(*cpu_at)(void);
        int (*node_here)(int *cpu); /* kernel id of the calling thread's CPU, and that CPU */

        /* --- addresses and pages; nbytes are whole base pages --- */
        size_t (*reserve_limit)(void); /* more than this should not be reserved at once */
        void *(*reserve)(size_t nbytes); /* without access, anywhere; NULL */
        int (*unmap)(void *at, size_t nbytes);
        int (*open)(void *at, size_t nbytes);  /* reserved memory can be read and written */
        int (*close)(void *at, size_t nbytes); /* …is reserved only; its pages go back */
        int (*drop)(void *at, size_t nbytes);  /* the pages go back, access stays */
        void *(*map)(size_t nbytes); /* zero, touched lazily, unplaced; NULL */
        void *(*map_sparse)(size_t nbytes); /* the same, to be written only where it is opened */
        int (*open_sparse)(void *at, size_t nbytes);
        /* Of hugetlb pages, anywhere, without access; NULL with errno. */
        void *(*map_pool)(size_t nbytes, enum pld_backing kind);
        int (*move)(void *from, void *to, size_t nbytes); /* a pool mapping over a reserved one */
        int (*bind)(void *at, size_t nbytes, int id);
        /* The same, and what is there already is moved; -EIO: not all of it. */
        int (*rebind)(void *at, size_t nbytes, int id);
        int (*advise)(void *at, size_t nbytes, bool huge); /* transparent huge pages or none */
        /* Every page is there afterwards; faults: how many it took. Never a signal. */
        int (*populate)(void *at, size_t nbytes, size_t *faults);
        int (*collapse)(void *at, size_t nbytes); /* 0: all of it is huge now */
        int (*resident)(void *at, size_t nbytes, size_t *out); /* bytes of it that are there */
        int (*lock)(void *at, size_t nbytes); /* the pages stay in memory until they are closed */
        size_t (*lock_limit)(void); /* bytes that the process may lock in all */
        /* ids[i]: the node of pages[i], or -errno. */
        int (*nodes_of)(void **pages, size_t n, int *ids);

        /* --- threads --- */
        int (*thread_create)(pthread_t *out, size_t stack_bytes, void *(*fn)(void *), void *arg);
        void (*thread_settle)(const char *name, const cpu_set_t *cpus); /* the calling one */
        void (*thread_be_prompt)(void); /* the calling one waits for a CPU as little as may be */
        void (*thread_be_patient)(void); /* the calling one lets others go first */
        int (*barrier_everywhere)(void); /* every thread of the process passes a full barrier */
};

extern const struct pld_os pld_os_linux;
/* The one in use; tests set it before anything starts. */
extern const struct pld_os *pld_os;

static inline bool pld_node_set_has(const struct pld_node_set *set, int id)
{
        return set->words[id / 64] >> (id % 64) & 1;
}

static inline void pld_node_set_add(struct pld_node_set *set, int id)
{
        set->words[id / 64] |= UINT64_C(1) << (id % 64);
}

static inline void pld_node_set_keep(struct pld_node_set *set, const struct pld_node_set *of)
{
        for (int i = 0; i < PLD_NODE_IDS / 64; i++)
                set->words[i] &= of->words[i];
}

static inline bool pld_node_set_is_empty(const struct pld_node_set *set)
{
        uint64_t any = 0;
        for (int i = 0; i < PLD_NODE_IDS / 64; i++)
                any |= set->words[i];
        return any == 0;
}

#endif
