/* memory_polder.h: memory.h over Polder's collected heap. */
#ifndef KVD_MEMORY_POLDER_H
#define KVD_MEMORY_POLDER_H

#include <stdint.h>

#include <polder/polder.h>

/* Layouts by size, in steps of 16 bytes, as they are first asked for. */
#define MEMORY_LAYOUTS_CACHED 65

struct memory_layouts {
        uint64_t slots;
        const struct polder_layout *_Atomic cached[MEMORY_LAYOUTS_CACHED];
};

#define MEMORY_COLLECTS true

#define memory_load(slot)            polder_load(slot)
#define memory_store(slot, value)    polder_store(slot, value)
#define memory_exchange(slot, value) polder_exchange(slot, value)
#define memory_retire(object)        ((void)(object))

#endif
