/* settings.h: what the collector can be told, by option or by environment. */
#ifndef PLD_COLLECTOR_SETTINGS_H
#define PLD_COLLECTOR_SETTINGS_H

#include "arena/settings.h"

#include <polder/start.h>

struct pld_collector_settings {
        enum polder_gc gc;     /* POLDER_GC */
        int gc_percent;        /* POLDER_GC_PERCENT; negative: off */
        size_t gc_floor;       /* POLDER_GC_FLOOR, bytes; 0: by the number of threads */
        size_t memory_limit;   /* POLDER_MEMORY_LIMIT; 0: none */
        bool memory_limit_hard; /* the same, with ",hard" */
        int generations;       /* POLDER_GENERATIONS: 1, 0, or -1: while it pays */
        int workers_per_node;  /* POLDER_WORKERS; 0: a quarter of the node's CPUs */
        bool gctrace, verify, rules, stagger, report; /* POLDER_DEBUG */
};

extern struct pld_collector_settings pld_settings; /* const after start, but for the pacer's */

/* Both floors' settings from the environment, as options. */
void pld_options_from_environment(struct polder_options *options);
/* 0, or -EINVAL: an option that cannot be, after one line that names it. */
int pld_options_apply(const struct polder_options *options, struct pld_arena_settings *arena,
                      struct pld_collector_settings *collector);

#endif
