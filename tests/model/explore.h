/* explore.h: every state that a protocol can get into, or a long random walk through them. */
#ifndef MODEL_EXPLORE_H
#define MODEL_EXPLORE_H

#include "tests/model/protocol.h"

#include <stdio.h>

struct verdict {
        const char *wrong; /* NULL: nothing found */
        bool complete;     /* all states were visited, not only those that fit */
        size_t nstates, nsteps, nflips;
        int depth; /* steps from the first state to the farthest, or to the fault */
};

/* Breadth first, so that a fault comes with a shortest way to it, which is printed to `trace`
 * if that is not NULL. invariants: ask protocol_breach() too. */
struct verdict explore_all(const struct rules *rules, bool invariants, size_t max_states,
                           FILE *trace);

/* nsteps random steps from the first state, for bounds too large to exhaust. */
struct verdict explore_walk(const struct rules *rules, uint64_t seed, size_t nsteps);

#endif
