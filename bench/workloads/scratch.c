/* scratch.c: do two threads' blocks share a cache line? After Hoard's cache-thrash and
 * cache-scratch.
 *
 * Each thread takes a small block, writes it a thousand times, frees it, takes the next.
 * Active: do blocks that two threads ask for at the same time lie on one line? Passive: the
 * first blocks come from one thread, which got them one after another, on one line; does a
 * thread that frees such a block get it again? */
#include "bench/workloads/workload.h"

#include <string.h>

enum { WRITES = 1000 };

static void *given[MAX_THREADS];

static void scratch(const struct setting *setting, unsigned index)
{
        put(given[index]);
        for (uint64_t i = setting->operations / setting->threads; i; i--) {
                volatile uint32_t *block = get(setting->nbytes);
                for (int write = 0; write < WRITES; write++)
                        ++*block;
                put((void *)block);
        }
}

/* An operation: malloc, a thousand writes, free. Pattern: active or passive. */
uint64_t run_scratch(const struct setting *setting)
{
        bool passive = !strcmp(setting->pattern, "passive");
        for (unsigned i = 0; passive && i < setting->threads; i++)
                given[i] = get(setting->nbytes);
        in_threads(setting, scratch);
        return setting->operations;
}
