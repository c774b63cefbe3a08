/* kind.h: what a huge page's worth of memory can be made of, and why it is not. */
#ifndef PLD_NUMA_KIND_H
#define PLD_NUMA_KIND_H

#include <stdbool.h>
#include <stddef.h>

#define PLD_HUGE_SHIFT 21
#define PLD_HUGE_BYTES ((size_t)1 << PLD_HUGE_SHIFT)
#define PLD_GIGANTIC_BYTES ((size_t)1 << 30) /* of a 1G page */

enum pld_backing {
        PLD_BACKING_NONE, /* address space only */
        PLD_BACKING_1G,   /* a part of a hugetlb page that large: of the reserve only */
        PLD_BACKING_2M,   /* from the node's hugetlb pool */
        PLD_BACKING_THP,  /* transparent huge pages */
        PLD_BACKING_BASE, /* base pages */
        PLD_BACKING_KINDS
};

/* What is backed at least at a time by that kind: of the hugetlb kinds, a page. */
static inline size_t pld_backing_unit_bytes(enum pld_backing kind)
{
        return kind == PLD_BACKING_1G ? PLD_GIGANTIC_BYTES : PLD_HUGE_BYTES;
}

/* Why a step of the chain was left, or a piece taken with less than was asked. */
enum pld_reason {
        PLD_REASON_UNSUPPORTED,     /* the kernel has no such pages, or they are turned off */
        PLD_REASON_POOL_EMPTY,      /* the node's hugetlb pool has too few free pages */
        PLD_REASON_NODE_LOW,        /* the node would run out of memory */
        PLD_REASON_CGROUP_LOW,      /* a limit of a control group would be passed */
        PLD_REASON_NODE_FORBIDDEN,  /* the node was taken from the process (cpuset) */
        PLD_REASON_BIND_REFUSED,    /* the kernel refuses binding to the node */
        PLD_REASON_BIND_FORBIDDEN,  /* binding is forbidden: used unbound, where it lies right */
        PLD_REASON_UNVERIFIED,      /* asking where a page lies is forbidden: used on trust */
        PLD_REASON_MAP_REFUSED,     /* mmap failed */
        PLD_REASON_POPULATE_FAILED, /* no memory when it was touched: a cgroup's limit, a race */
        PLD_REASON_MISPLACED,       /* a page lay on another node */
        PLD_REASON_NOT_HUGE,        /* the kernel gave base pages and would not collapse them */
        PLD_REASON_NO_PLACE,        /* the range has no free piece of one node for a 1G page */
        PLD_REASON_LOCK_REFUSED,    /* it may not be locked in memory: used unlocked */
        PLD_REASONS
};

static inline bool pld_backing_is_of_pool(enum pld_backing kind)
{
        return kind == PLD_BACKING_1G || kind == PLD_BACKING_2M;
}

const char *pld_backing_name(enum pld_backing kind);
const char *pld_reason_name(enum pld_reason reason);

#endif
