/* meta.h: memory for Polder's own structures.
 *
 * Bump-allocated from lazily touched mappings and never given back: what stands
 * here once keeps its type for ever, so that a reader that raced with a free
 * still reads a structure of that type. Thread-safe. */
#ifndef PLD_ARENA_META_H
#define PLD_ARENA_META_H

#include <stddef.h>

/* Zeroed, aligned to a cache line; NULL when there is no memory. */
void *pld_meta_alloc(size_t nbytes);
/* The next nbytes handed out will not fault. */
void pld_meta_touch(size_t nbytes);
/* Bytes handed out. */
size_t pld_meta_bytes(void);
void pld_meta_fork_prepare(void);
void pld_meta_fork_done(void);

#endif
