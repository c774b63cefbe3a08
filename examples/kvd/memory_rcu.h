/* memory_rcu.h: memory.h over jemalloc, with liburcu's quiescent states. */
#ifndef KVD_MEMORY_RCU_H
#define KVD_MEMORY_RCU_H

#include <stdint.h>

struct memory_layouts {
        uint64_t slots; /* malloc does not care */
};

#define MEMORY_COLLECTS false

#define memory_load(slot)            __atomic_load_n((slot), __ATOMIC_ACQUIRE)
#define memory_store(slot, value)    __atomic_store_n((slot), (value), __ATOMIC_RELEASE)
#define memory_exchange(slot, value) __atomic_exchange_n((slot), (value), __ATOMIC_ACQ_REL)

/* Frees the object once no reader can hold it any more. */
void memory_retire(void *object);

#endif
