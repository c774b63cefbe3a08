/* workload.h: what the kinds of workload share. No part of Polder is in here: the
 * program knows malloc and free alone, and takes whichever the dynamic linker gives it. */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "bench/own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { TOUCH_STRIDE = 4096 - 64, SIZES = 1 << 13, MAX_THREADS = 64 };

/* What the command line said. */
struct setting {
        const char *pattern; /* the kind's own: an order, a way to grow, … */
        uint64_t operations; /* of all threads together */
        size_t nbytes, low, high;
        size_t blocks; /* that are alive at once, in the whole process */
        unsigned threads;
        double seconds; /* to wait at the end */
};

/* A kind runs, and returns how many operations it did. */
struct kind {
        const char *name;
        uint64_t (*run)(const struct setting *setting);
};

uint64_t run_nothing(const struct setting *setting);
uint64_t run_pair(const struct setting *setting);
uint64_t run_batch(const struct setting *setting);
uint64_t run_build(const struct setting *setting);
uint64_t run_trees(const struct setting *setting);
uint64_t run_churn(const struct setting *setting);
uint64_t run_shared(const struct setting *setting);
uint64_t run_larson(const struct setting *setting);
uint64_t run_handoff(const struct setting *setting);
uint64_t run_realloc(const struct setting *setting);
uint64_t run_calloc(const struct setting *setting);
uint64_t run_scratch(const struct setting *setting);
uint64_t run_lives(const struct setting *setting);
uint64_t run_shift(const struct setting *setting);
uint64_t run_shrink(const struct setting *setting);
uint64_t run_tiny(const struct setting *setting);

/* The calling process's resident memory, huge pages of the pool too. */
size_t resident_kib(void);

/* Prints how much is resident and how much of it is alive. */
void sample(size_t live_nbytes);

/* Calls body(setting, i) in threads i = 0 … threads - 1, and waits for them. */
void in_threads(const struct setting *setting, void (*body)(const struct setting *, unsigned));

/* Sizes between low and high, as many between 2^n and 2^(n+1) for each n. */
void fill_sizes(uint32_t sizes[static SIZES], size_t low, size_t high, uint64_t seed);

static inline uint32_t any_of(const uint32_t sizes[static SIZES], struct random *random)
{
        return sizes[(random_next(random) >> 32) % SIZES];
}

/* --- Touching: a block of memory that nobody writes costs nothing ------------------------ */

/* Writes the first word of the block and one in each 4 KiB, each on another of the cache's
 * sets: at a stride of 4 KiB the writes would evict each other. */
static inline void touch(void *block, size_t nbytes)
{
        for (size_t at = 0; at + sizeof(uint32_t) <= nbytes; at += TOUCH_STRIDE)
                *(volatile uint32_t *)((char *)block + at) = (uint32_t)nbytes;
}

static inline void *get(size_t nbytes)
{
        void *block = malloc(nbytes);
        if (__builtin_expect(!block, 0))
                give_up("malloc");
        touch(block, nbytes);
        return block;
}

/* The first word still says what touch() wrote: a small size, never zero. */
static inline void put(void *block)
{
        if (__builtin_expect(block && !*(volatile uint32_t *)block, 0))
                give_up("a block lost its content");
        free(block);
}

#endif
