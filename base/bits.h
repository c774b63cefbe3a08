/* bits.h: rounding, and bitmaps as arrays of 64-bit words. */
#ifndef PLD_BASE_BITS_H
#define PLD_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLD_KIB ((size_t)1 << 10)
#define PLD_MIB ((size_t)1 << 20)
#define PLD_GIB ((size_t)1 << 30)

#define PLD_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define pld_likely(x) __builtin_expect(!!(x), 1)
#define pld_unlikely(x) __builtin_expect(!!(x), 0)
#define PLD_NOINLINE __attribute__((noinline))
#define PLD_HIDDEN __attribute__((visibility("hidden"))) /* one instruction less to read it */
#define PLD_CACHE_LINE 64

struct pld_product {
        uint64_t high, low;
};

static inline struct pld_product pld_mul(uint64_t a, uint64_t b)
{
        unsigned __int128 product = (unsigned __int128)a * b;
        return (struct pld_product){ (uint64_t)(product >> 64), (uint64_t)product };
}

/* The upper half of the product. */
static inline uint64_t pld_mul_high(uint64_t a, uint64_t b)
{
        return pld_mul(a, b).high;
}

static inline bool pld_is_pow2(size_t x)
{
        return x && !(x & (x - 1));
}

/* align: a power of two. The caller rules out overflow. */
static inline size_t pld_round_up(size_t x, size_t align)
{
        return (x + align - 1) & ~(align - 1);
}

static inline size_t pld_round_down(size_t x, size_t align)
{
        return x & ~(align - 1);
}

static inline size_t pld_div_up(size_t x, size_t by)
{
        return (x + by - 1) / by;
}

/* x > 0 for both. */
static inline unsigned pld_log2(size_t x)
{
        return 63u - (unsigned)__builtin_clzl(x);
}

static inline unsigned pld_lowest_bit(uint64_t x)
{
        return (unsigned)__builtin_ctzl(x);
}

/* By hand: where the compiler may not use the processor's it calls a function. */
static inline unsigned pld_popcount(uint64_t x)
{
#if defined(__POPCNT__)
        return (unsigned)__builtin_popcountl(x);
#else
        x -= x >> 1 & UINT64_C(0x5555555555555555);
        x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
        x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
        return (unsigned)(x * UINT64_C(0x0101010101010101) >> 56);
#endif
}

static inline size_t pld_words_for(size_t nbits)
{
        return (nbits + 63) / 64;
}

/* Bits [from, to) of one word, 0 <= from < to <= 64. */
static inline uint64_t pld_mask(unsigned from, unsigned to)
{
        return (~UINT64_C(0) >> (64 - (to - from))) << from;
}

/* Of the bits [*from, to), which are some, those in the first word; *from moves behind them. */
static inline uint64_t pld_mask_next(size_t *from, size_t to)
{
        unsigned first = *from % 64;
        size_t n = to - *from < 64 - first ? to - *from : 64 - first;
        *from += n;
        return pld_mask(first, first + (unsigned)n);
}

static inline bool pld_bit_get(const uint64_t *words, size_t i)
{
        return words[i / 64] >> (i % 64) & 1;
}

static inline void pld_bit_set(uint64_t *words, size_t i)
{
        words[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void pld_bit_clear(uint64_t *words, size_t i)
{
        words[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* Sets or clears the bits [from, to). */
void pld_bits_fill(uint64_t *words, size_t from, size_t to, bool value);
/* The first bit at or after `from` that has `value`, or `nbits`. */
size_t pld_bits_find(const uint64_t *words, size_t from, size_t nbits, bool value);
/* Start of the first run of at least `n` clear bits at or after `from`, or `nbits`. */
size_t pld_bits_find_run(const uint64_t *words, size_t from, size_t nbits, size_t n);
/* Length of the run of clear bits that `at`, a clear one, is in. */
size_t pld_bits_run_around(const uint64_t *words, size_t at, size_t nbits);
/* Length of the longest run of clear bits. */
size_t pld_bits_longest_run(const uint64_t *words, size_t nbits);

#endif
