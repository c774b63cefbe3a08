/* memory.h: all that kvd asks of its memory.
 *
 * Two builds share every other file. In `kvd` objects live in Polder's collected
 * heap: a replaced object is simply dropped, and a reader needs nothing but
 * memory_load. In `kvd-malloc` they come from jemalloc, readers are protected by
 * liburcu's quiescent states, and whoever unlinks an object must retire it.
 *
 * Terms. A slot is a pointer variable that several threads may read while one
 * writes it. A worker calls memory_turn() once per turn of its loop, where it
 * holds no object, and waits for events between memory_wait_begin() and _end().
 *
 * M1  A new object is filled at once, plainly, each slot once; from then on its
 *     slots are written by memory_store and memory_exchange alone.
 * M2  Slots lie in objects or in memory given to memory_root().
 * M3  What a thread found through memory_load stays whole until its memory_turn().
 * M4  What is retired is already out of the reach of those who start to look now. */
#ifndef KVD_MEMORY_H
#define KVD_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef KVD_POLDER
#include "examples/kvd/memory_polder.h"
#else
#include "examples/kvd/memory_rcu.h"
#endif

/* What the backend's header defines:
 *   struct memory_layouts, whose field `slots` has bit i set where word i is a slot;
 *   memory_load(slot), memory_store(slot, value), memory_exchange(slot, value);
 *   memory_retire(object); MEMORY_COLLECTS: retiring does nothing at all. */

#define MEMORY_SLOT(type, field) (UINT64_C(1) << (offsetof(type, field) / sizeof(void *)))

extern const char *const memory_name;

/* Once, before any thread; 0 or -errno. */
int memory_start(void);
/* Memory outside the heap that holds slots; const address, lives for ever. 0 or -errno. */
int memory_root(void *start, size_t nbytes);

/* NULL when the heap is full. */
void *memory_new(struct memory_layouts *of, size_t nbytes); /* zeroed */
void *memory_new_slots(size_t count);                       /* nothing but slots; zeroed */
void *memory_new_bytes(size_t nbytes); /* no slots at all; bytes of any value */

/* Each thread that touches objects, at its begin (0 or -errno) and end. */
int memory_thread_begin(void);
void memory_thread_end(void);
void memory_wait_begin(void);
void memory_wait_end(void);
void memory_turn(void);

/* Gives back all that can be given back, and waits for it. */
void memory_purge(void);
/* Starts a collection, if there is a collector, and does not wait. */
void memory_collect(void);
/* INFO's section on memory and reclamation; like snprintf. */
int memory_describe(char *to, size_t nbytes);

#endif
