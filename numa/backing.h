/* backing.h: putting memory of a node under a piece of the range.
 *
 * A chain of kinds is tried in order, and each step that is left is counted with
 * its reason: nothing falls back silently. */
#ifndef PLD_NUMA_BACKING_H
#define PLD_NUMA_BACKING_H

#include <stddef.h>
#include <stdint.h>

#define PLD_HUGE_SHIFT 21
#define PLD_HUGE_BYTES ((size_t)1 << PLD_HUGE_SHIFT)

enum pld_backing {
        PLD_BACKING_NONE, /* address space only */
        PLD_BACKING_2M,   /* from the node's hugetlb pool */
        PLD_BACKING_THP,  /* transparent huge pages */
        PLD_BACKING_BASE, /* base pages */
        PLD_BACKING_KINDS
};

/* Why a step of the chain was left, or a piece taken with less than was asked. */
enum pld_reason {
        PLD_REASON_UNSUPPORTED,     /* the kernel has no such pages, or they are turned off */
        PLD_REASON_POOL_EMPTY,      /* the node's hugetlb pool has too few free pages */
        PLD_REASON_NODE_LOW,        /* the node would run out of memory */
        PLD_REASON_NODE_FORBIDDEN,  /* the node was taken from the process (cpuset) */
        PLD_REASON_BIND_REFUSED,    /* the kernel refuses binding to the node */
        PLD_REASON_BIND_FORBIDDEN,  /* binding is forbidden: used unbound, where it lies right */
        PLD_REASON_UNVERIFIED,      /* asking where a page lies is forbidden: used on trust */
        PLD_REASON_MAP_REFUSED,     /* mmap failed */
        PLD_REASON_POPULATE_FAILED, /* no memory when it was touched: a cgroup's limit, a race */
        PLD_REASON_MISPLACED,       /* a page lay on another node */
        PLD_REASON_NOT_HUGE,        /* the kernel gave base pages and would not collapse them */
        PLD_REASONS
};

/* pages: kinds in the order to try, such as "2M,thp,base"; NULL: "thp,base".
 * -EINVAL with one line on standard error, and nothing changed. Thread-safe. */
int pld_backing_start(const char *pages);

/* Backs nbytes (a multiple of 2 MiB; at likewise, inside the range, not backed)
 * with memory of the node: all of one kind, zeroed, populated, bound to the node,
 * and seen to lie there. -ENOMEM when no step of the chain worked on this node:
 * the piece is then without access again. No lock is held over system calls. */
int pld_back(void *at, size_t nbytes, unsigned node, enum pld_backing *out);
/* The physical pages go back to the kernel, the addresses stay reserved. kind and
 * node of one call are those of one pld_back() or of whole huge pages of it. */
void pld_unback(void *at, size_t nbytes, enum pld_backing kind);

/* How often a step of the chain was left for this reason, and over all. Relaxed
 * counters: each value was true once. */
uint64_t pld_backing_fallbacks(enum pld_backing left, enum pld_reason why);
uint64_t pld_backing_fallbacks_total(void);
/* Huge pages' worth of memory that was found on another node than asked for and
 * given back again. */
uint64_t pld_backing_misplaced(void);
/* Backed now, by node and kind. */
size_t pld_backing_bytes(unsigned node, enum pld_backing kind);
const char *pld_reason_name(enum pld_reason reason);
const char *pld_backing_name(enum pld_backing kind);

/* Anonymous memory for Polder's own structures: zero, touched lazily, not counted
 * against the system's commit limit. NULL when refused. */
void *pld_meta_map(size_t nbytes);
void pld_meta_unmap(void *at, size_t nbytes);
size_t pld_meta_mapped_bytes(void);

#endif
