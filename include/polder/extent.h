/* extent.h: which ranges are backed by memory, to be registered with io_uring or RDMA. */
#ifndef POLDER_EXTENT_H
#define POLDER_EXTENT_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct polder_extent {
        void *start;       /* aligned to 2 MiB */
        size_t nbytes;     /* a multiple of 2 MiB */
        size_t page_bytes; /* of the pages that back it: 1 GiB, 2 MiB, or the kernel's base page */
        int node;          /* where it lies */
};

/* added: false when the extent is about to be given back to the kernel. */
typedef int (*polder_extent_visit)(const struct polder_extent *extent, bool added, void *arg);

/* Calls visit, with added, for each range that is backed now; neighbours of one node
 * and size of pages are one range. Other than 0 from visit ends it, and is returned.
 * visit may do what it likes; what changes meanwhile may be in it or not. */
int polder_extents(polder_extent_visit visit, void *arg);

/* The same, and from then on calls visit for each change, in whichever thread makes
 * it: before memory is used that was added, and before memory goes that is removed.
 * Each range is told once; what is removed may be a part of what was added, and the
 * other way round. visit may wait, but everyone who needs new memory waits with it;
 * it calls nothing of Polder's but polder_node_of(): allocation there ends the program
 * with one line. What it returns is looked at for what is there at the start only:
 * other than 0 ends the walk, is returned, and there is no visit from then on.
 * NULL: none from now on; no call is under way when this returns.
 * 0; -EBUSY: there is one already; -EDEADLK: called by a visit. A forked child has none. */
int polder_on_extent(polder_extent_visit visit, void *arg);

#ifdef __cplusplus
}
#endif

#endif
