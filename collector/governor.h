/* governor.h: the law by which collections are paced: arithmetic, and nothing else.
 *
 * It knows no clock, no thread and no heap: the pacer tells it what happened, and the
 * tests tell it what never did (tests/collector/test_governor.c). Sizes are in bytes, CPU
 * times in nanoseconds. Whoever uses it serializes the calls. */
#ifndef PLD_COLLECTOR_GOVERNOR_H
#define PLD_COLLECTOR_GOVERNOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pld_governor {
        /* What a full cycle (0) and a young one (1) are expected to be like. */
        double scan[2];        /* bytes to be scanned; 0: not known */
        double density[2];     /* bytes scanned for each one that is marked; */
        bool knows[2];         /* not known: taken for 1 */
        double runway[2];      /* bytes allocated while it runs, with its share of the CPUs */
        double room_for_half;  /* bytes between two cycles with which they take half the CPUs */
        double stretch;        /* of the floor; 0: not known, taken for 1 */
        double spent, passed;  /* CPU time lately: of cycles, and of all there was */
        double bucket;         /* CPU time of cycles above one half of what there was */
        bool limit_gives_way;
};

/* The heap as the last cycle has left it. */
struct pld_heap_facts {
        size_t live;       /* marked, or born in the cycle */
        size_t full_live;  /* the same of the last full cycle */
        size_t certain;    /* of that, what was marked and is to be counted */
        size_t roots;
        size_t other;      /* backed for other things than the heap */
        size_t floor;      /* what a heap grows by at 100 percent, be it ever so small, */
        size_t most_floor; /* and while collecting it takes much of the CPUs */
        size_t limit;      /* 0: none */
        int percent;       /* negative: the limit alone makes cycles */
};

/* Where the heap may go: SIZE_MAX is nowhere in particular. */
struct pld_aim {
        size_t goal;       /* a cycle should have ended, */
        size_t trigger;    /* and should begin, */
        size_t young_room; /* or a young one after so much was allocated, if any; */
        size_t bound;      /* and here it must have ended, whatever it costs */
        bool by_floor;     /* so little lives that the heap grows by the floor */
};

struct pld_aim pld_governor_aim(const struct pld_governor *governor,
                                const struct pld_heap_facts *facts);

/* What a floor may be stretched to where there is so much memory. */
size_t pld_governor_most_floor(size_t there_is);
/* What may stay unused below a limit. */
size_t pld_governor_headroom(size_t limit);
/* With that alive, the limit cannot be held. */
bool pld_governor_is_pressed(const struct pld_governor *governor,
                             const struct pld_heap_facts *facts);

/* A cycle that marks. */
struct pld_progress {
        bool young;
        size_t heap;       /* now */
        size_t at_begin;   /* the heap then: more than that is not there to be scanned */
        double scanned;
};

/* What each allocated byte owes: bytes of scanning. */
double pld_governor_debt(const struct pld_governor *governor, const struct pld_aim *aim,
                         const struct pld_progress *progress);
/* The workers' share of the CPUs does not suffice: the cycle is behind. */
bool pld_governor_is_late(const struct pld_governor *governor, const struct pld_aim *aim,
                          const struct pld_progress *progress);
/* The heap is so far past its goal that who allocates has to give way. */
bool pld_governor_is_far_over(const struct pld_aim *aim, size_t heap);

/* What a cycle was like, when it ends. */
struct pld_cycle_facts {
        bool young;
        bool asked;        /* by the program: says nothing of how much the heap needs */
        bool by_floor;     /* what is said of its aim */
        double scanned, marked;
        double born;       /* allocated from its begin to its end */
        double allocated;  /* since the end of the one before */
        double mark_cpu;   /* of all CPUs, that it took while it ran */
        double mark_span;  /* all the CPUs' time meanwhile */
        double span;       /* the same since the end of the one before; 0: it is the first */
        double second;     /* a second of all CPUs */
};
void pld_governor_learn(struct pld_governor *governor, const struct pld_cycle_facts *facts);

#endif
