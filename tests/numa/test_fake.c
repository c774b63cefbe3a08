/* The fake machine has to behave as the kernel does, or what it proves is nothing. */
#include "numa/fake.h"

#include <criterion/criterion.h>

#include "tests/numa/machine_setup.h"

#include <errno.h>

static char *reserved(size_t nbytes)
{
        char *at = pld_os->reserve(nbytes + PLD_HUGE_BYTES);
        cr_assert(at);
        return (char *)pld_round_up((uintptr_t)at, PLD_HUGE_BYTES);
}

Test(fake, unbound_memory_lies_on_the_callers_node)
{
        size_t faults;
        setup_nodes(2);
        pld_fake_run_on(3);
        char *at = reserved(PLD_HUGE_BYTES);
        cr_assert(pld_os->open(at, PLD_HUGE_BYTES) == 0);
        cr_assert(pld_os->populate(at, PLD_HUGE_BYTES, &faults) == 0);
        cr_expect(pld_fake_node_of(at) == 1);
        cr_expect(faults == 1);
}

Test(fake, populating_a_full_node_is_a_disaster)
{
        size_t faults;
        setup_nodes(1);
        pld_fake_set_free(0, PLD_MIB);
        char *at = reserved(PLD_HUGE_BYTES);
        cr_assert(pld_os->open(at, PLD_HUGE_BYTES) == 0);
        cr_assert(pld_os->bind(at, PLD_HUGE_BYTES, 0) == 0);
        pld_os->populate(at, PLD_HUGE_BYTES, &faults);
        cr_expect(pld_fake_disaster() != NULL);
}

Test(fake, a_pool_mapping_is_reserved_over_all_nodes)
{
        size_t faults;
        setup_nodes(2);
        pld_fake_set_pool(1, 1);
        cr_expect(pld_os->map_pool(2 * PLD_HUGE_BYTES, PLD_BACKING_2M) == NULL && errno == ENOMEM);
        char *at = pld_os->map_pool(PLD_HUGE_BYTES, PLD_BACKING_2M);
        cr_assert(at);
        cr_assert(pld_os->bind(at, PLD_HUGE_BYTES, 0) == 0, "as on Linux, this is not refused");
        cr_expect(pld_os->populate(at, PLD_HUGE_BYTES, &faults) == -EFAULT);
        cr_expect(pld_fake_disaster() == NULL);
}

Test(fake, a_moved_page_keeps_its_node)
{
        size_t faults;
        setup_nodes(2);
        pld_fake_set_pool(1, 1);
        char *to = reserved(PLD_HUGE_BYTES);
        char *from = pld_os->map_pool(PLD_HUGE_BYTES, PLD_BACKING_2M);
        cr_assert(pld_os->bind(from, PLD_HUGE_BYTES, 1) == 0);
        cr_assert(pld_os->populate(from, PLD_HUGE_BYTES, &faults) == 0);
        cr_assert(pld_os->move(from, to, PLD_HUGE_BYTES) == 0);
        cr_expect(pld_fake_node_of(to) == 1);
        cr_expect(pld_fake_pool(1) == 0);
        cr_assert(pld_os->close(to, PLD_HUGE_BYTES) == 0);
        cr_expect(pld_fake_pool(1) == 1);
}

Test(fake, failures_come_when_they_are_ordered)
{
        setup_nodes(1);
        char *at = reserved(PLD_HUGE_BYTES);
        pld_fake_fail(PLD_FAKE_OPEN, 1, 2, EACCES);
        cr_expect(pld_os->open(at, PLD_HUGE_BYTES) == 0);
        cr_expect(pld_os->open(at, PLD_HUGE_BYTES) == -EACCES);
        cr_expect(pld_os->open(at, PLD_HUGE_BYTES) == -EACCES);
        cr_expect(pld_os->open(at, PLD_HUGE_BYTES) == 0);
        cr_expect(pld_fake_calls(PLD_FAKE_OPEN) == 4);
        pld_fake_forbid(PLD_FAKE_BIND, EPERM);
        for (int i = 0; i < 10; i++)
                cr_expect(pld_os->bind(at, PLD_HUGE_BYTES, 0) == -EPERM);
}

Test(fake, a_node_outside_of_the_cpuset_cannot_be_bound_to)
{
        setup_nodes(2);
        char *at = reserved(PLD_HUGE_BYTES);
        pld_fake_allow_nodes("0");
        cr_expect(pld_os->bind(at, PLD_HUGE_BYTES, 1) == -EINVAL);
        cr_expect(pld_os->bind(at, PLD_HUGE_BYTES, 0) == 0);
}
