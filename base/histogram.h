/* histogram.h: how often a time was how long, in fixed memory.
 *
 * Buckets are linear within each power of two (as in HdrHistogram), so that a value is
 * known to one part in 16 whatever its size. To add is three relaxed additions and a
 * maximum; any number of threads may. Reading goes on meanwhile: what is read was there,
 * though perhaps not all at the same moment. All zero is an empty one. */
#ifndef PLD_BASE_HISTOGRAM_H
#define PLD_BASE_HISTOGRAM_H

#include "base/atomic.h"
#include "base/bits.h"

enum {
        PLD_HISTOGRAM_FINE_BITS = 4,
        PLD_HISTOGRAM_FINE = 1 << PLD_HISTOGRAM_FINE_BITS, /* buckets in a power of two */
        PLD_HISTOGRAM_BITS = 40,                           /* what is longer counts as this */
        PLD_HISTOGRAM_BUCKETS =
            (PLD_HISTOGRAM_BITS - PLD_HISTOGRAM_FINE_BITS + 1) * PLD_HISTOGRAM_FINE
};

struct pld_histogram {
        _Atomic uint64_t sum, max;
        _Atomic uint64_t n[PLD_HISTOGRAM_BUCKETS];
};

/* A copy that stands still. */
struct pld_histogram_copy {
        uint64_t count, sum, max;
        uint64_t n[PLD_HISTOGRAM_BUCKETS];
};

static inline unsigned pld_histogram_bucket(uint64_t value)
{
        if (value < PLD_HISTOGRAM_FINE)
                return (unsigned)value;
        if (value >> PLD_HISTOGRAM_BITS)
                return PLD_HISTOGRAM_BUCKETS - 1;
        unsigned shift = pld_log2(value) - PLD_HISTOGRAM_FINE_BITS;
        return shift * PLD_HISTOGRAM_FINE + (unsigned)(value >> shift);
}

/* The highest value that belongs there. */
static inline uint64_t pld_histogram_last(unsigned bucket)
{
        if (bucket < 2 * PLD_HISTOGRAM_FINE)
                return bucket;
        unsigned shift = bucket / PLD_HISTOGRAM_FINE - 1;
        uint64_t first = (uint64_t)(bucket % PLD_HISTOGRAM_FINE + PLD_HISTOGRAM_FINE) << shift;
        return first + ((UINT64_C(1) << shift) - 1);
}

void pld_histogram_add(struct pld_histogram *histogram, uint64_t value);
void pld_histogram_copy(const struct pld_histogram *histogram, struct pld_histogram_copy *out);
/* What came between two copies of one histogram. The longest is known to its bucket only. */
void pld_histogram_subtract(struct pld_histogram_copy *later,
                            const struct pld_histogram_copy *earlier);
/* The value that `share` of all do not exceed, to one part in 16 above; 0 when empty. */
uint64_t pld_histogram_at(const struct pld_histogram_copy *copy, double share);
/* How many values are at most as long; exact where `last` is a bucket's last value. */
uint64_t pld_histogram_count_to(const struct pld_histogram_copy *copy, uint64_t last);

#endif
