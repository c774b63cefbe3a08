/* pool.h: objects of one size, all of whose memory is there from the start.
 *
 * A pool takes the memory for all its objects when it is created, on one node, and
 * populates it: getting and putting objects never calls the system. Each thread has
 * some objects of a pool at hand; beyond these, threads exchange batches without a
 * lock. Thread-safe, but for polder_pool_destroy(). The interface follows DPDK's
 * rte_mempool.
 *
 * Objects are zero at first. Later an object keeps what its user left in it, but for
 * the first 8 bytes, which are zero in an object that was got.
 *
 * Putting an object that is in the pool already, or an address that is not the first
 * byte of one of the pool's objects, is one line on standard error that names the
 * address, and abort(). */
#ifndef POLDER_POOL_H
#define POLDER_POOL_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct polder_pool;

/* count > 0 objects of nbytes; align: bytes, a power of two, 0: 16. node: the kernel's
 * number, on that node or not at all; -1: the node that the calling thread runs on, or
 * the nearest with memory to give. NULL with ENOMEM, or with EINVAL where count or
 * align is wrong, or the node is unknown or not allowed. */
struct polder_pool *polder_pool_create(size_t count, size_t nbytes, size_t align, int node);

/* NULL with ENOMEM: the pool has none left but what other threads have at hand; these
 * keep no more than half of a pool between them. */
void *polder_pool_get(struct polder_pool *pool);
void polder_pool_put(struct polder_pool *pool, void *object); /* NULL: nothing happens */

/* All n objects, or none: 0 or -ENOMEM; then nothing is written to objects[0 .. n - 1]
 * that could be used. */
int polder_pool_get_bulk(struct polder_pool *pool, void *objects[], size_t n);
void polder_pool_put_bulk(struct polder_pool *pool, void *const objects[], size_t n);

/* Objects in the pool, those that threads have at hand included, and objects out; exact
 * while nobody gets or puts. In O(count / 64). */
size_t polder_pool_available(struct polder_pool *pool);
size_t polder_pool_in_use(struct polder_pool *pool);

/* Gives all memory back; no other thread may be using the pool. How many objects were
 * still out, which are gone now, too. NULL: nothing happens. */
size_t polder_pool_destroy(struct polder_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
