/* region.h: memory that dies all at once.
 *
 * A region hands out memory by moving a pointer, for a request, say, and takes
 * all of it back in one call. One thread uses a region at a time. */
#ifndef POLDER_REGION_H
#define POLDER_REGION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct polder_region;

/* NULL with ENOMEM. */
struct polder_region *polder_region_create(void);
/* 16-byte aligned, not zeroed; NULL with ENOMEM. Never freed by itself. */
void *polder_region_alloc(struct polder_region *region, size_t nbytes);
/* All that was allocated is gone; some memory is kept for what comes. */
void polder_region_reset(struct polder_region *region);
void polder_region_destroy(struct polder_region *region); /* NULL: nothing happens */

/* The calling thread's scratch stack: allocate freely, then drop back to the
 * mark. Marks nest; the stack goes when the thread ends. */
typedef uintptr_t polder_scratch_mark;
polder_scratch_mark polder_scratch_begin(void);
void *polder_scratch_alloc(size_t nbytes);
/* mark: of this thread, and not dropped already. */
void polder_scratch_end(polder_scratch_mark mark);

#ifdef __cplusplus
}
#endif

#endif
