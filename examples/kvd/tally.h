/* tally.h: what has happened so far, counted by each worker on a line of its own. */
#ifndef KVD_TALLY_H
#define KVD_TALLY_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

enum tally {
        TALLY_CONNECTIONS,
        TALLY_CLOSED,
        TALLY_REJECTED,
        TALLY_COMMANDS,
        TALLY_HITS,
        TALLY_MISSES,
        TALLY_EXPIRED,
        TALLY_EVICTED,
        TALLIES
};

struct tallies {
        alignas(64) _Atomic uint64_t counts[TALLIES]; /* set by one worker, read by any */
};

extern __thread struct tallies *tally_mine;

/* Once, by each worker; at most TALLY_WORKERS of them. */
enum { TALLY_WORKERS = 256 };
void tally_begin(unsigned worker);
uint64_t tally_sum(enum tally which);

static inline void tally_add(enum tally which, uint64_t n)
{
        _Atomic uint64_t *count = &tally_mine->counts[which];
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
                              memory_order_relaxed);
}

#endif
