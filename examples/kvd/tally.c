/* tally.c: what has happened so far. */
#include "examples/kvd/tally.h"

static struct tallies everybodys[TALLY_WORKERS];

__thread struct tallies *tally_mine;

void tally_begin(unsigned worker)
{
        tally_mine = &everybodys[worker];
}

uint64_t tally_sum(enum tally which)
{
        uint64_t sum = 0;
        for (unsigned i = 0; i < TALLY_WORKERS; i++)
                sum += atomic_load_explicit(&everybodys[i].counts[which], memory_order_relaxed);
        return sum;
}
