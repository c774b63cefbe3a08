/* backing_setup.h: asking for pieces, and for why steps of the chain were left. */
#ifndef PLD_TESTS_NUMA_BACKING_SETUP_H
#define PLD_TESTS_NUMA_BACKING_SETUP_H

#include "tests/numa/machine_setup.h"

#include <errno.h>

static inline enum pld_backing back_one(unsigned node, size_t i)
{
        enum pld_backing kind = PLD_BACKING_NONE;
        int error = pld_back(huge_at(node, i), PLD_HUGE_BYTES, node, &kind);
        cr_assert(error == 0 || error == -ENOMEM);
        cr_assert((error == 0) == (kind != PLD_BACKING_NONE), "out is written on success only");
        return kind;
}

static inline uint64_t why(enum pld_backing kind, enum pld_reason reason)
{
        return pld_backing_fallbacks(kind, reason);
}

/* B3: nothing of it is left. */
static inline void expect_untouched(unsigned node, size_t i)
{
        cr_expect(pld_fake_node_of(huge_at(node, i)) == -ENOENT);
        cr_expect(pld_fake_disaster() == NULL);
        for (int kind = 0; kind < PLD_BACKING_KINDS; kind++)
                cr_expect(pld_backing_bytes(node, kind) == 0);
}

#endif
