/* random.h: xorshift64*, for sampling and tests (Marsaglia 2003, Vigna 2016). */
#ifndef PLD_BASE_RANDOM_H
#define PLD_BASE_RANDOM_H

#include <stdint.h>

struct pld_random {
        uint64_t state; /* never 0 */
};

static inline struct pld_random pld_random_seeded(uint64_t seed)
{
        seed = (seed + UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);
        return (struct pld_random){ seed | 1 };
}

static inline uint64_t pld_random_next(struct pld_random *random)
{
        uint64_t x = random->state;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        random->state = x;
        return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Uniform enough over [0, n), n > 0. */
static inline uint32_t pld_random_below(struct pld_random *random, uint32_t n)
{
        return (uint32_t)(((pld_random_next(random) >> 32) * n) >> 32);
}

#endif
