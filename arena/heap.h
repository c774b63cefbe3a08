/* heap.h: what malloc.c does with blocks that are a heap's; what heap.c implements
 * otherwise is declared in <polder/heap.h>.
 *
 * The spans are those that say `in_heap`. */
#ifndef PLD_ARENA_HEAP_H
#define PLD_ARENA_HEAP_H

#include "arena/manual.h"

#include <polder/heap.h>

/* A block of a small span, with its key. True: a span was released. */
bool pld_heap_free(struct pld_span *span, struct pld_block *block);
void pld_heap_free_large(struct pld_span *span);
/* In place; see pld_large_resize_try(). */
bool pld_heap_resize_try(struct pld_span *span, size_t nbytes);
/* From the heap of that span. */
void *pld_heap_alloc_beside(struct pld_span *span, size_t nbytes);
/* Gives back the free spans in all heaps; bytes. */
size_t pld_heaps_reclaim(void);
/* What the calling thread keeps of heaps goes back to them; the thread is ending. */
void pld_heaps_leave(void);
void pld_heap_fork_prepare(void);
void pld_heap_fork_done(void);
/* In the child: what threads kept that are not there is out, until the heap goes. */
void pld_heap_fork_child(void);

#endif
