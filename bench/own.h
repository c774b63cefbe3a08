/* own.h: what programs that measure bring along, so that nothing of it is the allocator's or
 * the collector's that is measured: arrays, random numbers, a pause. */
#ifndef BENCH_OWN_H
#define BENCH_OWN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

_Noreturn void give_up(const char *what); /* the program's */

static inline void *own_array(size_t count, size_t nbytes)
{
        void *array =
            mmap(NULL, count * nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (array == MAP_FAILED)
                give_up("mmap");
        return array;
}

static inline void end_own_array(void *array, size_t count, size_t nbytes)
{
        munmap(array, count * nbytes);
}

/* In a loop that waits for another processor. */
static inline void own_pause(void)
{
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ __volatile__("yield");
#endif
}

/* Marsaglia's xorshift with a multiplication; seeds are fixed. */
struct random {
        uint64_t state;
};

static inline struct random random_of(uint64_t seed)
{
        return (struct random){ (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) };
}

static inline uint64_t random_next(struct random *random)
{
        random->state ^= random->state >> 12;
        random->state ^= random->state << 25;
        random->state ^= random->state >> 27;
        return random->state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline uint64_t random_below(struct random *random, uint64_t limit)
{
        return ((random_next(random) >> 32) * limit) >> 32;
}

#endif
