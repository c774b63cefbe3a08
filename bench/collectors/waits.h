/* waits.h: how long operations took, and when a thread did not get on. */
#ifndef BENCH_COLLECTORS_WAITS_H
#define BENCH_COLLECTORS_WAITS_H

#include "bench/collectors/load.h"

enum {
        WAIT_BITS = 5, /* a histogram's cell is 1/32 of its value wide */
        WAIT_CELLS = 48 << WAIT_BITS,
        GAP_NS = 20000, /* no operation takes so long by itself */
        GAP_BIN_NS = 100000,
};

struct waits {
        /* latencies: HDR-like, a cell for each 2^n · (1 + k/32) ns */
        uint64_t cells[WAIT_CELLS];
        uint64_t max_ns;
        /* gaps: the time lost in each tenth of a millisecond since `start`, in ns; and what of
         * it the kernel or the host took */
        uint64_t start, last;
        uint32_t *lost, *taken;
        bool *cycle; /* was a collection under way? */
        size_t nbins;
        int schedstat;
        uint64_t read_at, ran_ns, queued_ns; /* when the thread's schedstat was last read */
        uint64_t stolen_ns;                  /* of all CPUs, as of then */
        uint64_t gap_max_ns, gap_net_max_ns;
        char apart[64]; /* threads' waits share no cache line */
};

/* The calling thread's; from now on, for so many seconds at most. */
void waits_begin(struct waits *waits, double seconds);
void waits_gap_slow(struct waits *waits, uint64_t now);

static inline unsigned wait_cell(uint64_t ns)
{
        if (ns < 1u << WAIT_BITS)
                return (unsigned)ns;
        unsigned top = 63u - (unsigned)__builtin_clzll(ns);
        unsigned cell = ((top - WAIT_BITS + 1) << WAIT_BITS) +
                        (unsigned)((ns >> (top - WAIT_BITS)) & ((1u << WAIT_BITS) - 1));
        return cell < WAIT_CELLS ? cell : WAIT_CELLS - 1;
}

static inline void waits_note(struct waits *waits, uint64_t ns)
{
        waits->cells[wait_cell(ns)]++;
        if (ns > waits->max_ns)
                waits->max_ns = ns;
}

/* The thread is getting on: it was at `last`, and nothing that it wanted took long since. */
static inline void waits_alive(struct waits *waits, uint64_t now)
{
        size_t bin = (now - waits->start) / GAP_BIN_NS;
        if (memory_in_cycle() && bin < waits->nbins)
                waits->cycle[bin] = true;
        if (now - waits->last > GAP_NS)
                waits_gap_slow(waits, now);
        waits->last = now;
}

/* Of what wait_cell() counted, in microseconds; 0: nothing. */
double waits_percentile(const uint64_t cells[], double part);

/* Reads how much the host has stolen; to be called every few milliseconds, by one thread. */
void waits_look_at_host(void);

/* Of n threads: percentiles, the longest gap, and the lowest utilization of ten milliseconds. */
void waits_say(struct waits *waits, unsigned n);

#endif
