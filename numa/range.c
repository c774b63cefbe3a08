#include "numa/range.h"

#include "base/bits.h"
#include "numa/backing.h"
#include "numa/os.h"

#include <errno.h>

enum {
        LARGEST_SHIFT = 40,  /* 1 TiB */
        SMALLEST_SHIFT = 21, /* one huge page: a process with next to no address space */
};

struct pld_range pld_range;

/* A reserved range of that size and alignment; 0: refused. */
static uintptr_t reserve_aligned(size_t nbytes, size_t align)
{
        void *raw = pld_os->reserve(nbytes + align);
        if (!raw)
                return 0;
        uintptr_t from = (uintptr_t)raw, end = from + nbytes + align;
        uintptr_t base = pld_round_up(from, align);
        if (base > from)
                pld_os->unmap(raw, base - from);
        if (end > base + nbytes)
                pld_os->unmap((void *)(base + nbytes), end - base - nbytes);
        return base;
}

int pld_range_reserve(unsigned nslices)
{
        if (pld_range.base)
                return pld_range.nslices == nslices ? 0 : -EALREADY;
        size_t limit = pld_os->reserve_limit();
        for (unsigned shift = LARGEST_SHIFT; shift >= SMALLEST_SHIFT; shift--) {
                size_t slice = (size_t)1 << shift, align = slice < PLD_GIB ? PLD_HUGE_BYTES : PLD_GIB;
                if (nslices * slice + align > limit)
                        continue;
                uintptr_t base = reserve_aligned(nslices * slice, align);
                if (!base)
                        continue;
                pld_range = (struct pld_range){ .base = base,
                                                .nbytes = nslices * slice,
                                                .slice_shift = shift,
                                                .nslices = nslices };
                return 0;
        }
        return -ENOMEM;
}
