/* realloc.c: blocks that grow. */
#include "bench/workloads/workload.h"

#include <string.h>

enum { VECTORS = 8 };

static void *grown(void *block, size_t from, size_t to)
{
        block = realloc(block, to);
        if (!block)
                give_up("realloc");
        touch((char *)block + from, to - from);
        return block;
}

/* One buffer to `high` in steps of `low`, again and again. A note of 64 bytes is taken in
 * each step and freed with the buffer, for a program does not do one thing alone. */
static uint64_t by_steps(const struct setting *setting)
{
        size_t steps = setting->high / setting->low;
        void **notes = own_array(steps, sizeof *notes);
        uint64_t done = 0;
        while (done < setting->operations) {
                void *buffer = NULL;
                for (size_t step = 0; step < steps; step++) {
                        buffer = grown(buffer, step * setting->low, (step + 1) * setting->low);
                        notes[step] = get(64);
                }
                put(buffer);
                for (size_t step = 0; step < steps; step++)
                        put(notes[step]);
                done += steps;
        }
        return done;
}

/* Eight vectors in turn, each doubled from `low` to `high`. */
static uint64_t by_doubling(const struct setting *setting)
{
        void *vectors[VECTORS];
        uint64_t done = 0;
        while (done < setting->operations) {
                for (int i = 0; i < VECTORS; i++)
                        vectors[i] = get(setting->low);
                for (size_t nbytes = setting->low; nbytes < setting->high; nbytes *= 2) {
                        for (int i = 0; i < VECTORS; i++)
                                vectors[i] = grown(vectors[i], nbytes, 2 * nbytes);
                        done += VECTORS;
                }
                for (int i = 0; i < VECTORS; i++)
                        put(vectors[i]);
        }
        return done;
}

/* An operation: realloc. Pattern: steps or doubling. */
uint64_t run_realloc(const struct setting *setting)
{
        return !strcmp(setting->pattern, "steps") ? by_steps(setting) : by_doubling(setting);
}
