/* start.h: starting Polder with other settings than the defaults.
 *
 * Optional: the first use starts Polder with the defaults and the environment
 * (POLDER_*). polder_options_init() fills in just those, so that a program
 * changes only what it cares for. */
#ifndef POLDER_START_H
#define POLDER_START_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum polder_gc { POLDER_GC_CONCURRENT, POLDER_GC_STW, POLDER_GC_OFF };

struct polder_options {
        size_t struct_size;           /* set by polder_options_init(): lets the struct grow */
        const char *pages;            /* backing chain, e.g. "2M,thp,base" */
        const char *nodes;            /* allowed nodes, e.g. "0,2-3"; NULL: what the process is allowed */
        size_t reserve;               /* bytes populated from the start, over all nodes; kept */
        bool prefault;                /* the start waits until the reserve is populated */
        int64_t decay_ms;             /* idle huge pages go back after this; -1 never, 0 at once */
        size_t memory_limit;          /* soft, as Go's GOMEMLIMIT; 0: none */
        bool memory_limit_hard;       /* the limit is a wall: allocation returns NULL there */
        size_t max_spans, max_caches; /* 0: none */
        int gc_percent;               /* 100; negative: automatic cycles for a limit only */
        enum polder_gc gc;            /* what automatic cycles are */
        int workers_per_node;         /* 0: a quarter of the node's CPUs */
        const char *debug;            /* "gctrace=1,verify" */
        bool lock;                    /* what is backed is locked in memory, as far as allowed */
        int generations;              /* 1: most cycles look at young objects only; 0: none does;
                                       * -1: while it pays */
        size_t gc_floor;              /* a heap grows by so much between collections, times
                                       * gc_percent / 100, however little lives; 0: 16 MiB for
                                       * each thread that can run, 32 to 256 MiB in all, and
                                       * while collecting takes more than a tenth of the CPUs
                                       * up to sixteen times that, but not more than 512 MiB
                                       * or a 32nd of the memory that there is */
};

void polder_options_init(struct polder_options *options);
/* 0; -EALREADY once started; -EINVAL for an option that cannot be, which one
 * line on standard error names; -ENOMEM. */
int polder_init(const struct polder_options *options);
/* Waits until the reserve is populated; 0, or -ENOMEM when it fell short. */
int polder_prefault_wait(void);

#ifdef __cplusplus
}
#endif

#endif
