/* machine_setup.h: fake machines that several tests start from. */
#ifndef PLD_TESTS_NUMA_MACHINE_SETUP_H
#define PLD_TESTS_NUMA_MACHINE_SETUP_H

#include "base/bits.h"
#include "numa/backing.h"
#include "numa/fake.h"
#include "numa/machine.h"
#include "numa/range.h"

#include <criterion/criterion.h>

#include <unistd.h>

/* Asks the kernel, so that a sanitizer sees no signal. */
static inline bool can_be_read(const void *at)
{
        int ends[2];
        cr_assert(pipe(ends) == 0);
        bool can = write(ends[1], at, 1) == 1;
        close(ends[0]);
        close(ends[1]);
        return can;
}

/* n nodes of two CPUs and 1 GiB each, with ids 0 to n - 1. */
static inline void setup_nodes(int n)
{
        pld_fake_reset();
        for (int id = 0; id < n; id++)
                pld_fake_add_node(id, 2, PLD_GIB);
        pld_fake_install();
}

/* Everything a piece needs to be backed. */
static inline void setup_started(const char *pages)
{
        cr_assert(pld_machine_start(NULL) == 0);
        cr_assert(pld_range_reserve(pld_machine.nnodes + 1) == 0);
        cr_assert(pld_backing_start(pages) == 0);
}

/* Huge page i of a slice. */
static inline char *huge_at(unsigned slice, size_t i)
{
        return (char *)pld_range_slice_at(slice) + (i << PLD_HUGE_SHIFT);
}

#endif
