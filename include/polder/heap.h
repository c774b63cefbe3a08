/* heap.h: heaps that are freed at once: a tenant's memory, say.
 *
 * A heap hands out blocks as malloc does, from memory of its own. A block is freed by
 * polder_free(), by any thread, resized by polder_realloc(), which keeps it in its heap,
 * and looked at by polder_malloc_usable_size(). Whatever is left goes with the heap, in
 * time that depends on how much memory there is and not on how many blocks.
 *
 * Thread-safe: threads may allocate from one heap together. But the heap may be
 * destroyed only when nobody allocates from it or frees into it any more, and its blocks
 * are gone then: to free one is like any double free.
 *
 * Calls that allocate return NULL with ENOMEM, or EINVAL where they say so. */
#ifndef POLDER_HEAP_H
#define POLDER_HEAP_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct polder_heap;

/* node: the kernel's number: all memory is of that node, or there is none; EINVAL for
 * one that is unknown or not allowed. -1: the node that the calling thread runs on, or
 * the nearest with memory to give. */
struct polder_heap *polder_heap_create(int node);

void *polder_heap_malloc(struct polder_heap *heap, size_t nbytes);
/* Zeroed; ENOMEM also where count * nbytes overflows. */
void *polder_heap_calloc(struct polder_heap *heap, size_t count, size_t nbytes);
/* As polder_realloc(). p: NULL, or a block of that heap. */
void *polder_heap_realloc(struct polder_heap *heap, void *p, size_t nbytes);
/* align: bytes, a power of two, else EINVAL. */
void *polder_heap_aligned_alloc(struct polder_heap *heap, size_t align, size_t nbytes);

/* Bytes of memory that the heap holds, what is free in it included. */
size_t polder_heap_bytes(struct polder_heap *heap);
/* NULL: nothing happens. */
void polder_heap_destroy(struct polder_heap *heap);

#ifdef __cplusplus
}
#endif

#endif
