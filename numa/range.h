/* range.h: the one range of addresses that everything placed lies in.
 *
 * Reserved once, backed piece by piece. It is cut into equal slices, a power of
 * two each: slice i is for the node with index i, the last one for the stripe of
 * an interleave policy. So the slice of an address is a subtraction and a shift. */
#ifndef PLD_NUMA_RANGE_H
#define PLD_NUMA_RANGE_H

#include "base/bits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pld_range {
        uintptr_t base; /* a multiple of 1 GiB, of 2 MiB where slices are smaller; 0: not reserved yet */
        size_t nbytes;  /* nslices << slice_shift */
        unsigned slice_shift, nslices;
};

extern struct pld_range pld_range PLD_HIDDEN; /* const after reserve */

/* Maps the range without access. Slices are 1 TiB each, or half of that, or a
 * quarter… down to 2 MiB: the largest that the system grants. -ENOMEM when even
 * that is refused; -EALREADY when reserved with another count (the same: 0). */
int pld_range_reserve(unsigned nslices);

static inline bool pld_range_has(uintptr_t at)
{
        return at - pld_range.base < pld_range.nbytes;
}

/* at: inside the range. */
static inline unsigned pld_range_slice_of(uintptr_t at)
{
        return (unsigned)((at - pld_range.base) >> pld_range.slice_shift);
}

static inline uintptr_t pld_range_slice_at(unsigned slice)
{
        return pld_range.base + ((uintptr_t)slice << pld_range.slice_shift);
}

#endif
