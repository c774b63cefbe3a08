/* chain.h: the kinds of memory to try, in order. For backing.c, which has the invariants. */
#ifndef PLD_NUMA_CHAIN_H
#define PLD_NUMA_CHAIN_H

#include "base/check.h"
#include "numa/backing.h"

struct pld_chain {
        uint32_t word; /* the first kind in the lowest bits; NONE ends it */
};

enum {
        PLD_CHAIN_BITS = 4, /* of a kind */
        PLD_CHAIN_MASK = (1 << PLD_CHAIN_BITS) - 1
};
static_assert(PLD_BACKING_KINDS * PLD_CHAIN_BITS <= 32, "a chain fits in a word");

struct pld_chain pld_chain_now(void); /* B4 */
bool pld_chain_supports(enum pld_backing kind); /* for kinds of a chain that was read before */
bool pld_chain_has(struct pld_chain chain, enum pld_backing kind);
/* The first that there is, but for 1G. */
enum pld_backing pld_chain_wanted(struct pld_chain chain);

static inline enum pld_backing pld_chain_kind(struct pld_chain chain, unsigned i)
{
        return i * PLD_CHAIN_BITS >= 32
                       ? PLD_BACKING_NONE
                       : (enum pld_backing)(chain.word >> (i * PLD_CHAIN_BITS) & PLD_CHAIN_MASK);
}

#endif
