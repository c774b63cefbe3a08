#include "numa/backing.h"

#include <criterion/criterion.h>

#include "tests/numa/backing_setup.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

/* --- nodes that are full */

Test(backing, a_full_node_is_refused_and_not_the_oom_killers)
{
        setup_nodes(2);
        pld_fake_set_free(0, 8 * PLD_MIB);
        setup_started(NULL);
        cr_expect(back_one(0, 0) == PLD_BACKING_NONE);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_NODE_LOW) == 1);
        cr_expect(why(PLD_BACKING_BASE, PLD_REASON_NODE_LOW) == 1);
        expect_untouched(0, 0);
        cr_expect(back_one(1, 0) == PLD_BACKING_THP);
}

Test(backing, what_would_pass_a_cgroups_limit_is_refused_before_the_kernel_kills)
{
        enum pld_backing kind;
        setup_nodes(2);
        setup_started(NULL);
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
        pld_fake_set_cgroup(100 * PLD_MIB);
        size_t n = 1;
        while (n < 100 && pld_back(huge_at(n % 2, n), PLD_HUGE_BYTES, n % 2, &kind) == 0)
                n++;
        cr_expect(n * PLD_HUGE_BYTES > 90 * PLD_MIB && n * PLD_HUGE_BYTES < 100 * PLD_MIB, "%zu", n);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_CGROUP_LOW) == 1);
        cr_expect(why(PLD_BACKING_BASE, PLD_REASON_CGROUP_LOW) == 1);
        cr_expect(pld_backing_fallbacks_total() == 2);
        cr_expect(pld_back_lazily(huge_at(0, n), PLD_HUGE_BYTES, 0, &kind) == -EAGAIN);
        pld_unback(huge_at(0, 0), PLD_HUGE_BYTES, PLD_BACKING_THP);
        cr_expect(back_one(1, n + 1) == PLD_BACKING_THP, "what was given back can be had again");
        pld_fake_set_cgroup(0);
        cr_expect(back_one(1, n + 2) == PLD_BACKING_THP);
        cr_expect(pld_fake_disaster() == NULL);
}

Test(backing, a_node_is_never_filled_to_the_brim)
{
        setup_nodes(2);
        setup_started(NULL);
        size_t i = 0;
        while (back_one(0, i) != PLD_BACKING_NONE)
                i++;
        cr_expect(i > 400, "most of 512 huge pages can be had");
        cr_expect(pld_fake_free_bytes(0) >= 16 * PLD_MIB);
        cr_expect(pld_fake_disaster() == NULL);
}

Test(backing, a_piece_larger_than_the_node_is_refused)
{
        setup_nodes(2);
        setup_started(NULL);
        enum pld_backing kind;
        cr_expect(pld_back(huge_at(0, 0), PLD_GIB, 0, &kind) == -ENOMEM);
        expect_untouched(0, 0);
}

static int second_error;

static void back_half_more(void)
{
        enum pld_backing kind;
        second_error = pld_back(huge_at(0, 512), 600 * PLD_MIB, 0, &kind);
}

/* Two threads, one of which has asked and not yet populated; played by one. */
Test(backing, what_was_granted_and_not_yet_populated_is_not_granted_again)
{
        setup_nodes(2);
        setup_started(NULL);
        enum pld_backing kind;
        pld_fake_before_populate(back_half_more);
        cr_expect(pld_back(huge_at(0, 0), 600 * PLD_MIB, 0, &kind) == 0);
        cr_expect(second_error == -ENOMEM);
        cr_expect(pld_fake_disaster() == NULL);
        cr_expect(pld_back(huge_at(0, 512), 200 * PLD_MIB, 0, &kind) == 0, "the grant ended");
}

static void *fill(void *raw)
{
        size_t from = (size_t)raw;
        enum pld_backing kind;
        for (size_t i = from; i < from + 512; i++)
                pld_back(huge_at(0, i), PLD_HUGE_BYTES, 0, &kind);
        return NULL;
}

Test(backing, threads_together_do_not_overfill_a_node)
{
        pthread_t threads[4];
        setup_nodes(2);
        setup_started(NULL);
        for (size_t i = 0; i < 4; i++)
                cr_assert(pthread_create(&threads[i], NULL, fill, (void *)(i * 512)) == 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        cr_expect(pld_fake_disaster() == NULL);
        cr_expect(pld_fake_free_bytes(0) >= 16 * PLD_MIB);
        size_t backed = pld_backing_bytes(0, PLD_BACKING_THP) +
                        pld_backing_bytes(0, PLD_BACKING_BASE); /* once there was room again */
        cr_expect(backed == PLD_GIB - pld_fake_free_bytes(0));
}

/* --- refusals */

Test(backing, a_refused_bind_on_one_node_is_counted_and_works)
{
        setup_nodes(1);
        pld_fake_forbid(PLD_FAKE_BIND, EPERM);
        setup_started(NULL);
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_BIND_FORBIDDEN) == 1);
}

Test(backing, a_container_that_forbids_all_of_it_works)
{
        setup_nodes(2);
        pld_fake_set_pool(1, 1);
        pld_fake_forbid(PLD_FAKE_BIND, EPERM);
        pld_fake_forbid(PLD_FAKE_POLICY, EPERM);
        pld_fake_forbid(PLD_FAKE_NODES_ALLOWED, EPERM);
        pld_fake_forbid(PLD_FAKE_NODES_OF, EPERM);
        pld_fake_run_on(3);
        setup_started("2M,thp");
        cr_expect(back_one(0, 0) == PLD_BACKING_2M);
        cr_expect(back_one(0, 1) == PLD_BACKING_THP);
        cr_expect(pld_backing_misplaced() == 0);
}

Test(backing, a_filter_set_later_leaves_what_lies_right)
{
        setup_nodes(2);
        setup_started("thp");
        pld_fake_forbid(PLD_FAKE_BIND, EPERM);
        pld_fake_run_on(0);
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
        cr_expect(back_one(1, 0) == PLD_BACKING_NONE, "unbound, it lay on the caller's node");
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_MISPLACED) == 1);
        expect_untouched(1, 0);
}

Test(backing, what_cannot_be_verified_is_counted)
{
        setup_nodes(2);
        setup_started("thp");
        pld_fake_forbid(PLD_FAKE_NODES_OF, EPERM);
        cr_expect(back_one(1, 0) == PLD_BACKING_THP);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_UNVERIFIED) == 1);
}

Test(backing, a_cpuset_that_shrank_is_seen_when_a_bind_fails)
{
        setup_nodes(2);
        setup_started("thp");
        pld_fake_allow_nodes("0");
        cr_expect(back_one(1, 0) == PLD_BACKING_NONE);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_NODE_FORBIDDEN) == 1);
        cr_expect(!pld_machine_is_allowed(1));
        expect_untouched(1, 0);
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
}

Test(backing, a_cpuset_that_grew_back_is_seen_when_a_bind_works)
{
        setup_nodes(2);
        setup_started("thp");
        pld_fake_allow_nodes("0");
        back_one(1, 0);
        cr_assert(!pld_machine_is_allowed(1));
        pld_fake_allow_nodes(NULL);
        cr_expect(back_one(1, 0) == PLD_BACKING_THP);
        cr_expect(pld_machine_is_allowed(1));
}

Test(backing, each_refusal_is_counted_by_its_reason_and_leaves_nothing)
{
        static const struct {
                enum pld_fake_call call;
                enum pld_reason reason;
        } cases[] = { { PLD_FAKE_OPEN, PLD_REASON_MAP_REFUSED },
                      { PLD_FAKE_BIND, PLD_REASON_BIND_REFUSED },
                      { PLD_FAKE_POPULATE, PLD_REASON_POPULATE_FAILED } };
        setup_nodes(2);
        setup_started("thp");
        for (size_t i = 0; i < PLD_COUNT_OF(cases); i++) {
                pld_fake_fail(cases[i].call, 0, 1, ENOMEM);
                cr_expect(back_one(0, 0) == PLD_BACKING_NONE);
                cr_expect(why(PLD_BACKING_THP, cases[i].reason) == 1, "%s",
                          pld_reason_name(cases[i].reason));
                expect_untouched(0, 0);
        }
        cr_expect(pld_backing_fallbacks_total() == PLD_COUNT_OF(cases));
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
}

Test(backing, a_refusal_in_one_kind_leads_to_the_next)
{
        setup_nodes(2);
        setup_started("thp,base");
        pld_fake_fail(PLD_FAKE_POPULATE, 0, 1, ENOMEM);
        cr_expect(back_one(0, 0) == PLD_BACKING_BASE);
        cr_expect(pld_backing_fallbacks_total() == 1);
}

Test(backing, a_refused_piece_cannot_be_touched)
{
        setup_nodes(2);
        setup_started("thp");
        pld_fake_fail(PLD_FAKE_POPULATE, 0, 1, ENOMEM);
        back_one(0, 0);
        cr_expect(!can_be_read(huge_at(0, 0)));
}
