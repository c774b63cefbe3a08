#include "numa/range.h"

#include <criterion/criterion.h>

#include "tests/numa/machine_setup.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

Test(range, slices_are_equal_powers_of_two)
{
        setup_nodes(2);
        cr_assert(pld_range_reserve(3) == 0);
        cr_expect(pld_range.nslices == 3);
        cr_expect(pld_range.nbytes == (size_t)3 << pld_range.slice_shift);
        cr_expect(pld_range.base % PLD_GIB == 0);
}

Test(range, addresses_know_their_slice)
{
        setup_nodes(2);
        cr_assert(pld_range_reserve(3) == 0);
        size_t slice = (size_t)1 << pld_range.slice_shift;
        for (unsigned i = 0; i < 3; i++) {
                cr_expect(pld_range_slice_of(pld_range_slice_at(i)) == i);
                cr_expect(pld_range_slice_of(pld_range_slice_at(i) + slice - 1) == i);
        }
}

Test(range, other_addresses_are_not_in_it)
{
        int local;
        setup_nodes(1);
        cr_expect(!pld_range_has(0), "before it is reserved");
        cr_assert(pld_range_reserve(2) == 0);
        cr_expect(pld_range_has(pld_range.base));
        cr_expect(pld_range_has(pld_range.base + pld_range.nbytes - 1));
        cr_expect(!pld_range_has(pld_range.base + pld_range.nbytes));
        cr_expect(!pld_range_has(pld_range.base - 1));
        cr_expect(!pld_range_has((uintptr_t)&local));
        cr_expect(!pld_range_has(0));
        cr_expect(!pld_range_has(UINTPTR_MAX));
}

Test(range, halves_until_it_fits)
{
        setup_nodes(1);
        pld_fake_set_reserve_limit(17 * PLD_GIB);
        cr_assert(pld_range_reserve(4) == 0);
        cr_expect(pld_range.slice_shift == 32);
}

Test(range, small_slices_are_aligned_to_huge_pages)
{
        setup_nodes(1);
        pld_fake_set_reserve_limit(700 * PLD_MIB);
        cr_assert(pld_range_reserve(2) == 0);
        cr_expect(pld_range.slice_shift == 28);
        cr_expect(pld_range.base % (2 * PLD_MIB) == 0);
}

Test(range, is_refused_where_nothing_fits)
{
        setup_nodes(1);
        pld_fake_set_reserve_limit(5 * PLD_MIB);
        cr_expect(pld_range_reserve(2) == -ENOMEM);
        cr_expect(pld_range.base == 0);
        pld_fake_set_reserve_limit(PLD_GIB);
        cr_expect(pld_range_reserve(2) == 0);
}

Test(range, survives_refused_mappings)
{
        setup_nodes(1);
        pld_fake_fail(PLD_FAKE_RESERVE, 0, 2, ENOMEM);
        cr_assert(pld_range_reserve(2) == 0);
        cr_expect(pld_range.base != 0);
}

Test(range, is_reserved_once)
{
        setup_nodes(1);
        cr_assert(pld_range_reserve(2) == 0);
        uintptr_t base = pld_range.base;
        cr_expect(pld_range_reserve(2) == 0);
        cr_expect(pld_range_reserve(3) == -EALREADY);
        cr_expect(pld_range.base == base);
}

Test(range, leaves_a_part_of_a_limited_address_space)
{
#ifdef __SANITIZE_ADDRESS__
        cr_skip_test("AddressSanitizer itself has mapped more than the limit");
#endif
        struct rlimit limit = { .rlim_cur = 64 * PLD_GIB, .rlim_max = 64 * PLD_GIB };
        cr_assert(setrlimit(RLIMIT_AS, &limit) == 0);
        cr_assert(pld_range_reserve(2) == 0);
        cr_expect(pld_range.nbytes <= 32 * PLD_GIB);
        cr_expect(pld_range.nbytes >= 16 * PLD_GIB);
}
