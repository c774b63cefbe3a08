/* meta_map.h: memory for Polder's own structures, outside of the range. */
#ifndef PLD_NUMA_META_MAP_H
#define PLD_NUMA_META_MAP_H

#include <stddef.h>

/* Anonymous memory: zero, touched lazily, not counted
 * against the system's commit limit. NULL when refused. */
void *pld_meta_map(size_t nbytes);
/* The same, of transparent huge pages where they are wanted: for what is used densely. */
void *pld_meta_map_huge(size_t nbytes);
/* The same for tables that are used here and there: all of it can be read, what has been
 * opened can be written, and a program's mlockall() brings only that into memory.
 * pld_meta_open() widens to whole base pages; -errno when the kernel refuses. */
void *pld_meta_map_sparse(size_t nbytes);
int pld_meta_open(void *at, size_t nbytes);
/* Stays in memory, if what is backed does; pld_meta_open() does it as well. */
void pld_meta_lock(void *at, size_t nbytes);
void pld_meta_unmap(void *at, size_t nbytes);
size_t pld_meta_mapped_bytes(void);

#endif
