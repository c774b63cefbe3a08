/* arena.h: memory with an owner: malloc and free.
 *
 * Thread-safe, all of it: a block may be freed by any thread. Memory is 16-byte
 * aligned and comes from the node that the calling thread runs on, or from the
 * nearest one with memory to give. The first call starts Polder.
 *
 * A call that allocates returns NULL with errno = ENOMEM when there is no memory
 * or a limit is reached. A free leaves errno alone. Freeing twice, freeing an
 * address inside a block, or one that is not Polder's, is one line on standard
 * error that names the address, and abort(). */
#ifndef POLDER_ARENA_H
#define POLDER_ARENA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* nbytes 0 is a block like any other. Not zeroed. */
void *polder_malloc(size_t nbytes);
/* Zeroed; ENOMEM also where count * nbytes overflows. */
void *polder_calloc(size_t count, size_t nbytes);
/* The contents stay, up to the smaller size. p NULL: polder_malloc(). nbytes 0
 * frees p and returns NULL, as glibc does. On failure p stays as it is. */
void *polder_realloc(void *p, size_t nbytes);
void *polder_reallocarray(void *p, size_t count, size_t nbytes);
/* align: bytes, a power of two, else EINVAL; nbytes may be anything. */
void *polder_aligned_alloc(size_t align, size_t nbytes);
/* 0, EINVAL (align: a power of two and a multiple of sizeof(void *)) or ENOMEM,
 * as POSIX has it: positive, and errno is left alone; *out only on success. */
int polder_posix_memalign(void **out, size_t align, size_t nbytes);
/* node: the kernel's number. On that node or not at all; EINVAL for a node that
 * is unknown or not allowed. */
void *polder_malloc_onnode(size_t nbytes, int node);

void polder_free(void *p); /* NULL: nothing happens */
/* nbytes: what the block was allocated or last reallocated with; checked in
 * debug builds. */
void polder_free_sized(void *p, size_t nbytes);
/* Bytes that may be used; at least what was asked for. 0 for NULL. */
size_t polder_malloc_usable_size(const void *p);

/* Home node (the kernel's number) of any address of Polder's; -ENOENT for others. */
int polder_node_of(const void *p);
/* Moves a large block (or a part of it: huge pages are moved whole) to another node, with
 * what it holds, and binds it there: of polder_malloc() or polder_new() with more than
 * 256 KiB, or a region's. It stays where it is in the address space, and may be in use,
 * but must not be freed or resized meanwhile; blocks that are aligned to 2 MiB and
 * multiples of that move completely. Threads wait for the kernel where they touch it.
 * 0; -EBUSY: the huge pages at its ends that hold other blocks as well stayed, or ones
 * that are pinned, or shared with a forked child; the others have moved.
 * -EINVAL: no such block, not inside of it, or the node is unknown or not allowed;
 * -ENOMEM: the node has too little memory; -EPERM: the kernel forbids it. After these
 * some may have moved; polder_node_of() tells. */
int polder_migrate(void *p, size_t nbytes, int node);
/* Gives idle huge pages, and the free pages of others, back to the kernel now; the bytes
 * given. */
size_t polder_release(void);

#ifdef __cplusplus
}
#endif

#endif
