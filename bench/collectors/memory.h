/* memory.h: what the loads ask of the memory that is measured, and its three answers.
 *
 * One source is compiled once for each of Polder (MEMORY_POLDER), bdwgc (MEMORY_BDWGC) and
 * malloc with free (MEMORY_MANUAL). Objects have their pointers in front: a kind is a size and
 * how many of the first words are pointers. Whatever a load keeps lies on a thread's stack, in
 * such an object, or in a root; where free is a duty, `if (MEMORY_IS_MANUAL)` says so. */
#ifndef BENCH_COLLECTORS_MEMORY_H
#define BENCH_COLLECTORS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum memory_mode { MEMORY_CONCURRENT, MEMORY_STOPPED };

#if defined MEMORY_POLDER

#include <polder/polder.h>

#define MEMORY_NAME       "polder"
#define MEMORY_STOPS_ONLY false
#define MEMORY_IS_MANUAL  false

typedef const struct polder_layout *memory_kind;

static inline void memory_start(void)
{
        polder_thread_attach();
}

static inline memory_kind memory_kind_of(size_t nbytes, size_t npointers)
{
        uint64_t bits = npointers == 64 ? ~UINT64_C(0) : (UINT64_C(1) << npointers) - 1;
        return polder_layout(nbytes, npointers ? &bits : NULL);
}

static inline void *memory_new(memory_kind kind)
{
        return polder_new(kind);
}

static inline void *memory_new_leaf(size_t nbytes)
{
        return polder_new_leaf(nbytes);
}

static inline void *memory_new_pointers(size_t count)
{
        return polder_new_array(memory_kind_of(sizeof(void *), 1), count);
}

static inline void memory_free(void *block)
{
        (void)block;
}

/* Of the thread's newest object, each slot once: plain. */
#define memory_fill(slot, value)  (*(slot) = (value))
#define memory_store(slot, value) polder_store(slot, value)
#ifdef MEMORY_PLAIN_EXCHANGE
/* To measure the barrier by what is without it. What is overwritten is not shaded, which only
 * matters to who loaded it a moment ago and has not been scanned since. */
#define memory_exchange(slot, value) __atomic_exchange_n(slot, value, __ATOMIC_ACQ_REL)
#else
#define memory_exchange(slot, value) polder_exchange(slot, value)
#endif
#define memory_load(slot) polder_load(slot)

static inline void memory_root(void *start, size_t nbytes)
{
        if (polder_root_add(start, nbytes))
                abort();
}

static inline void memory_collect(enum memory_mode mode)
{
        if (polder_collect(mode == MEMORY_STOPPED ? POLDER_STOP_THE_WORLD : POLDER_CONCURRENT))
                abort();
}

#define memory_thread_begin() ((void)polder_thread_attach())
#define memory_wait_begin()   polder_blocking_begin()
#define memory_wait_end()     polder_blocking_end()
#define memory_poll()         polder_safepoint()
/* Is a collection shading what this thread overwrites? */
#define memory_in_cycle() ((polder_thread_.shading & 3) != 0)

#elif defined MEMORY_BDWGC

#define GC_THREADS
#include <gc/gc.h>

#define MEMORY_NAME       "bdwgc"
#define MEMORY_STOPS_ONLY true /* every collection is a stop */
#define MEMORY_IS_MANUAL  false

typedef size_t memory_kind;

void memory_start(void);

static inline memory_kind memory_kind_of(size_t nbytes, size_t npointers)
{
        (void)npointers;
        return nbytes;
}

static inline void *memory_new(memory_kind kind)
{
        return GC_MALLOC(kind);
}

static inline void *memory_new_leaf(size_t nbytes)
{
        return GC_MALLOC_ATOMIC(nbytes);
}

static inline void *memory_new_pointers(size_t count)
{
        return GC_MALLOC(count * sizeof(void *));
}

static inline void memory_free(void *block)
{
        (void)block;
}

#define memory_fill(slot, value)     (*(slot) = (value))
#define memory_store(slot, value)    __atomic_store_n(slot, value, __ATOMIC_RELEASE)
#define memory_exchange(slot, value) __atomic_exchange_n(slot, value, __ATOMIC_ACQ_REL)
#define memory_load(slot)            __atomic_load_n(slot, __ATOMIC_ACQUIRE)

static inline void memory_root(void *start, size_t nbytes) /* the data segment is one */
{
        (void)start, (void)nbytes;
}

static inline void memory_collect(enum memory_mode mode)
{
        (void)mode;
        GC_gcollect();
}

#define memory_thread_begin() ((void)0) /* pthread_create() is GC_pthread_create() here */
#define memory_wait_begin()   ((void)0)
#define memory_wait_end()     ((void)0)
#define memory_poll()         ((void)0)
#define memory_in_cycle()     true /* not known: any moment may be in one */

#else

#define MEMORY_NAME       "malloc"
#define MEMORY_STOPS_ONLY true
#define MEMORY_IS_MANUAL  true

typedef size_t memory_kind;

static inline void memory_start(void)
{
}

static inline memory_kind memory_kind_of(size_t nbytes, size_t npointers)
{
        (void)npointers;
        return nbytes;
}

static inline void *memory_new(memory_kind kind)
{
        return malloc(kind);
}

static inline void *memory_new_leaf(size_t nbytes)
{
        return malloc(nbytes);
}

static inline void *memory_new_pointers(size_t count)
{
        return calloc(count, sizeof(void *));
}

static inline void memory_free(void *block)
{
        free(block);
}

#define memory_fill(slot, value)     (*(slot) = (value))
#define memory_store(slot, value)    __atomic_store_n(slot, value, __ATOMIC_RELEASE)
#define memory_exchange(slot, value) __atomic_exchange_n(slot, value, __ATOMIC_ACQ_REL)
#define memory_load(slot)            __atomic_load_n(slot, __ATOMIC_ACQUIRE)

static inline void memory_root(void *start, size_t nbytes)
{
        (void)start, (void)nbytes;
}

static inline void memory_collect(enum memory_mode mode)
{
        (void)mode;
}

#define memory_thread_begin() ((void)0)
#define memory_wait_begin()   ((void)0)
#define memory_wait_end()     ((void)0)
#define memory_poll()         ((void)0)
#define memory_in_cycle()     true /* not known: any moment may be in one */

#endif

/* What the collector knows about itself, so far. */
struct memory_figures {
        uint64_t cycles, stops;
        double stop_us_max, stop_ms_total;
        double stop_cpu_ms_total; /* of who stops; Polder tells it where it traces */
        double handshake_us_max, stall_us_max; /* Polder alone has them */
        double mark_ms;
        double freed_mib, allocated_mib;
};
struct memory_figures memory_figures(void);

#endif
