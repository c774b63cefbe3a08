#include "base/histogram.h"

#include <string.h>

void pld_histogram_add(struct pld_histogram *histogram, uint64_t value)
{
        pld_add_relaxed(&histogram->n[pld_histogram_bucket(value)], 1);
        pld_add_relaxed(&histogram->sum, value);
        uint64_t most = pld_load_relaxed(&histogram->max);
        while (value > most && !pld_cas_relaxed(&histogram->max, &most, value))
                ;
}

void pld_histogram_copy(const struct pld_histogram *histogram, struct pld_histogram_copy *out)
{
        out->count = 0;
        out->sum = pld_load_relaxed(&histogram->sum);
        out->max = pld_load_relaxed(&histogram->max);
        for (unsigned i = 0; i < PLD_HISTOGRAM_BUCKETS; i++) {
                out->n[i] = pld_load_relaxed(&histogram->n[i]);
                out->count += out->n[i];
        }
}

void pld_histogram_subtract(struct pld_histogram_copy *later,
                            const struct pld_histogram_copy *earlier)
{
        uint64_t highest = 0;
        later->count -= earlier->count;
        later->sum -= earlier->sum;
        for (unsigned i = 0; i < PLD_HISTOGRAM_BUCKETS; i++) {
                later->n[i] -= earlier->n[i];
                if (later->n[i])
                        highest = pld_histogram_last(i);
        }
        if (highest < later->max)
                later->max = highest;
}

uint64_t pld_histogram_at(const struct pld_histogram_copy *copy, double share)
{
        double rank = share * (double)copy->count;
        uint64_t seen = 0;
        for (unsigned i = 0; i < PLD_HISTOGRAM_BUCKETS; i++) {
                seen += copy->n[i];
                if (copy->n[i] && (double)seen >= rank) {
                        uint64_t last = pld_histogram_last(i);
                        return last < copy->max ? last : copy->max;
                }
        }
        return copy->count ? copy->max : 0;
}

uint64_t pld_histogram_count_to(const struct pld_histogram_copy *copy, uint64_t last)
{
        uint64_t n = 0;
        for (unsigned i = 0; i < PLD_HISTOGRAM_BUCKETS && pld_histogram_last(i) <= last; i++)
                n += copy->n[i];
        return n;
}
