/* stats.h: what is going on. */
#ifndef POLDER_STATS_H
#define POLDER_STATS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct polder_stats {
        size_t struct_size;        /* set by the caller: sizeof(struct polder_stats) */
        uint64_t cycles;           /* collections done */
        uint64_t stops;            /* times that threads were held: all of them, or some
                                      * for a while, when another was too long in coming */
        uint64_t stop_ns_total, stop_ns_max;
        uint64_t handshake_ns_max; /* from asking all threads for a step to the last answer */
        uint64_t stall_ns_max;     /* longest time an allocation spent assisting or waiting */
        uint64_t mark_ns_total;    /* spent marking, by workers and assists */
        uint64_t swept_bytes;      /* freed by sweeping, ever */
        uint64_t allocated_bytes;  /* of collected objects, ever */
        uint64_t assists;
        size_t live_bytes;         /* marked by the last collection */
        size_t heap_bytes;         /* live, and allocated since */
        size_t goal_bytes;         /* the heap at which the running or next collection should end */
        size_t resident_bytes;     /* backed by physical pages */
        size_t huge_bytes;         /* of those, by huge pages */
        uint64_t fallbacks;        /* steps down the backing chain */
        uint64_t misplaced_pages;  /* huge pages found on a wrong node, and given back */
};

/* Fills in as much as stats->struct_size has room for; 0, or -EINVAL. */
int polder_stats_read(struct polder_stats *stats);
/* format: "text", "json" or "prometheus"; 0, -EINVAL, or -EIO. */
int polder_stats_print(FILE *to, const char *format);

#ifdef __cplusplus
}
#endif

#endif
