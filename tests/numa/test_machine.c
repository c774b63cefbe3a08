#include "numa/machine.h"

#include <criterion/criterion.h>

#include "base/random.h"
#include "tests/numa/machine_setup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void start(void)
{
        cr_assert(pld_machine_start(NULL) == 0);
}

static bool order_is(const uint8_t *order, const char *digits)
{
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                if (order[i] != digits[i] - '0')
                        return false;
        return true;
}

/* N2 */
static void check_permutations(void)
{
        for (unsigned i = 0; i <= pld_machine.nnodes; i++) {
                uint64_t seen = 0;
                const uint8_t *order =
                        i < pld_machine.nnodes ? pld_machine.order[i] : pld_machine.preferred;
                for (unsigned k = 0; k < pld_machine.nnodes; k++)
                        seen |= UINT64_C(1) << order[k];
                cr_assert(seen == pld_mask(0, pld_machine.nnodes));
        }
}

/* --- nodes */

Test(machine, every_node_with_memory_is_there)
{
        setup_nodes(3);
        start();
        cr_assert(pld_machine.nnodes == 3);
        cr_expect(pld_machine.ncpus == 6);
        for (int i = 0; i < 3; i++) {
                cr_expect(pld_machine.node[i].id == i);
                cr_expect(pld_machine.node[i].ncpus == 2);
                cr_expect(CPU_ISSET((size_t)(2 * i), &pld_machine.node[i].cpus));
                cr_expect(pld_machine.node[i].nbytes == PLD_GIB);
        }
        check_permutations();
}

Test(machine, sparse_ids_get_dense_indices)
{
        setup_nodes(1);
        pld_fake_add_node(3, 1, PLD_GIB);
        pld_fake_add_node(250, 1, PLD_GIB);
        start();
        cr_assert(pld_machine.nnodes == 3);
        cr_expect(pld_machine_index_of(0) == 0);
        cr_expect(pld_machine_index_of(3) == 1);
        cr_expect(pld_machine_index_of(250) == 2);
        cr_expect(pld_machine_index_of(1) == -ENOENT);
        cr_expect(pld_machine_index_of(-1) == -ENOENT);
}

Test(machine, a_node_without_memory_is_not_there_but_its_cpus_have_a_near_one)
{
        setup_nodes(1);
        pld_fake_add_node(1, 1, 0);
        pld_fake_add_node(2, 1, PLD_GIB);
        pld_fake_set_distance(1, 2, 15);
        start();
        cr_assert(pld_machine.nnodes == 2);
        pld_fake_run_on(2);
        cr_expect(pld_machine_here() == 1); /* node 2 */
}

Test(machine, a_node_without_cpus_is_there)
{
        setup_nodes(2);
        pld_fake_add_node(2, 0, PLD_GIB);
        start();
        cr_assert(pld_machine.nnodes == 3);
        cr_expect(pld_machine.node[2].ncpus == 0);
}

Test(machine, cpus_outside_the_affinity_mask_do_not_count)
{
        setup_nodes(2);
        pld_fake_allow_cpus("1-2");
        start();
        cr_expect(pld_machine.ncpus == 2);
        cr_expect(pld_machine.node[0].ncpus == 1);
        cr_expect(!CPU_ISSET(0, &pld_machine.node[0].cpus));
        cr_expect(CPU_ISSET(1, &pld_machine.node[0].cpus));
}

Test(machine, a_cpuset_hides_the_other_nodes)
{
        setup_nodes(4);
        pld_fake_allow_nodes("1,3");
        start();
        cr_assert(pld_machine.nnodes == 2);
        cr_expect(pld_machine.node[0].id == 1);
        cr_expect(pld_machine.node[1].id == 3);
        pld_fake_run_on(6);
        cr_expect(pld_machine_here() == 1);
}

Test(machine, a_kernel_without_numa_is_one_node)
{
        pld_fake_reset();
        pld_fake_install();
        start();
        cr_expect(pld_machine.nnodes == 1);
        cr_expect(!pld_machine.has_numa);
        cr_expect(pld_machine.alone);
        cr_expect(pld_machine_here() == 0);
}

Test(machine, where_binding_is_forbidden_all_is_one_node)
{
        setup_nodes(2);
        pld_fake_forbid(PLD_FAKE_BIND, EPERM);
        pld_fake_forbid(PLD_FAKE_POLICY, EPERM);
        start();
        cr_expect(pld_machine.nnodes == 1);
        cr_expect(pld_machine.has_numa && !pld_machine.may_bind);
        cr_expect(pld_machine.node[0].ncpus == 4);
        cr_expect(pld_machine.node[0].nbytes == 2 * PLD_GIB);
}

Test(machine, more_nodes_than_fit_are_left_out)
{
        pld_fake_reset();
        for (int id = 0; id < PLD_MAX_NODES + 2; id++)
                pld_fake_add_node(id, 1, PLD_GIB);
        pld_fake_install();
        start();
        cr_expect(pld_machine.nnodes == PLD_MAX_NODES);
        check_permutations();
        pld_fake_run_on(PLD_MAX_NODES + 1);
        cr_expect(pld_machine_here() < PLD_MAX_NODES);
}

/* --- the setting */

Test(machine, the_setting_narrows_the_nodes)
{
        setup_nodes(4);
        cr_assert(pld_machine_start("0,2-3") == 0);
        cr_expect(pld_machine.nnodes == 3);
        cr_expect(pld_machine_index_of(1) == -ENOENT);
}

Test(machine, a_malformed_setting_starts_nothing)
{
        setup_nodes(2);
        cr_expect(pld_machine_start("0,") == -EINVAL);
        cr_expect(pld_machine_start("none") == -EINVAL);
        start();
        cr_expect(pld_machine.nnodes == 2);
}

Test(machine, a_setting_that_leaves_nothing_starts_nothing)
{
        setup_nodes(2);
        pld_fake_allow_nodes("0");
        cr_expect(pld_machine_start("1") == -EINVAL);
        cr_expect(pld_machine_start("7") == -EINVAL);
        start();
        cr_expect(pld_machine.nnodes == 1);
}

Test(machine, starting_again_changes_nothing)
{
        setup_nodes(2);
        start();
        cr_expect(pld_machine_start("1") == 0);
        cr_expect(pld_machine.nnodes == 2);
}

/* --- distances */

Test(machine, orders_go_by_distance)
{
        setup_nodes(4);
        pld_fake_set_distance(0, 1, 31);
        pld_fake_set_distance(0, 2, 21);
        pld_fake_set_distance(0, 3, 25);
        start();
        cr_expect(order_is(pld_machine.order[0], "0231"));
        check_permutations();
}

Test(machine, nodes_at_equal_distance_take_turns)
{
        setup_nodes(4);
        start();
        cr_expect(order_is(pld_machine.order[0], "0123"));
        cr_expect(order_is(pld_machine.order[1], "1230"));
        cr_expect(order_is(pld_machine.order[3], "3012"));
}

Test(machine, a_node_without_cpus_comes_after_the_others_however_near)
{
        setup_nodes(3);
        pld_fake_add_node(3, 0, PLD_GIB);
        pld_fake_set_distance(0, 3, 12);
        start();
        cr_expect(pld_machine.node[3].far && !pld_machine.node[2].far);
        cr_expect(order_is(pld_machine.order[0], "0123"));
        cr_expect(order_is(pld_machine.order[1], "1203"));
        cr_expect(order_is(pld_machine.order[3], "3012"), "whoever asks for it is given it");
        for (int cpu = 0; cpu < 6; cpu++) {
                pld_fake_run_on(cpu);
                cr_expect(pld_machine_here() == (unsigned)cpu / 2);
        }
        check_permutations();
}

Test(machine, cpus_without_memory_of_their_own_go_to_a_node_with_cpus)
{
        setup_nodes(1);
        pld_fake_add_node(1, 1, 0);
        pld_fake_add_node(2, 0, PLD_GIB);
        pld_fake_set_distance(1, 2, 12);
        start();
        pld_fake_run_on(2);
        cr_expect(pld_machine_here() == 0);
}

Test(machine, a_node_whose_cpus_are_taken_is_no_slower_tier)
{
        setup_nodes(3);
        pld_fake_allow_cpus("0-3");
        pld_fake_set_distance(0, 2, 15);
        start();
        cr_expect(pld_machine.node[2].ncpus == 0 && !pld_machine.node[2].far);
        cr_expect(order_is(pld_machine.order[0], "021"));
}

Test(machine, a_preferred_or_only_node_is_used_without_cpus_too)
{
        setup_nodes(2);
        pld_fake_add_node(2, 0, PLD_GIB);
        pld_fake_set_policy(PLD_POLICY_PREFERRED, "2");
        start();
        cr_expect(pld_machine_here() == 2);
        cr_expect(order_is(pld_machine.order[0], "021"));
}

Test(machine, where_no_node_has_cpus_there_is_one_tier)
{
        setup_nodes(2);
        pld_fake_add_node(2, 0, PLD_GIB);
        pld_fake_add_node(3, 0, PLD_GIB);
        pld_fake_set_policy(PLD_POLICY_BIND, "2-3");
        start();
        cr_assert(pld_machine.nnodes == 2);
        cr_expect(!pld_machine.node[0].far && !pld_machine.node[1].far);
}

Test(machine, an_unplugged_node_is_found_out_and_comes_back)
{
        setup_nodes(2);
        start();
        pld_fake_run_on(2);
        cr_expect(pld_machine_here() == 1);
        pld_fake_unplug(1);
        pld_machine_reread();
        cr_expect(!pld_machine_is_allowed(1));
        cr_expect(pld_machine_here() == 0);
        pld_fake_add_node(1, 0, PLD_GIB);
        pld_machine_reread();
        cr_expect(pld_machine_here() == 1);
}

Test(machine, unknown_distances_still_make_an_order)
{
        setup_nodes(3);
        pld_fake_forbid(PLD_FAKE_DISTANCES, EACCES);
        start();
        check_permutations();
        cr_expect(pld_machine.order[2][0] == 2);
        pld_fake_run_on(4);
        cr_expect(pld_machine_here() == 2);
}

/* --- the policy table */

Test(machine, default_policy_is_the_calling_cpus_node)
{
        setup_nodes(2);
        start();
        cr_expect(pld_machine.policy == PLD_POLICY_LOCAL);
        for (int cpu = 0; cpu < 4; cpu++) {
                pld_fake_run_on(cpu);
                cr_expect(pld_machine_here() == (unsigned)cpu / 2);
                cr_expect(pld_machine_here() == (unsigned)cpu / 2, "a second time, from the table");
        }
}

Test(machine, a_binding_policy_leaves_only_its_nodes)
{
        setup_nodes(4);
        pld_fake_set_policy(PLD_POLICY_BIND, "1-2");
        pld_fake_set_distance(3, 2, 15);
        start();
        cr_assert(pld_machine.nnodes == 2);
        cr_expect(pld_machine.policy == PLD_POLICY_BIND);
        pld_fake_run_on(2);
        cr_expect(pld_machine_here() == 0);
        pld_fake_run_on(6); /* on node 3: node 2 is nearer than node 1 */
        cr_expect(pld_machine_here() == 1);
}

Test(machine, a_preferring_policy_asks_those_first)
{
        setup_nodes(4);
        pld_fake_set_policy(PLD_POLICY_PREFERRED, "2");
        start();
        cr_assert(pld_machine.nnodes == 4);
        cr_expect(pld_machine.npreferred == 1);
        cr_expect(pld_machine.preferred[0] == 2);
        check_permutations();
        for (int cpu = 0; cpu < 8; cpu++) {
                pld_fake_run_on(cpu);
                cr_expect(pld_machine_here() == 2);
        }
}

Test(machine, of_many_preferred_the_nearest_is_first)
{
        setup_nodes(4);
        pld_fake_set_policy(PLD_POLICY_PREFERRED, "1,3");
        pld_fake_set_distance(0, 1, 40);
        pld_fake_set_distance(0, 3, 30);
        pld_fake_set_distance(0, 2, 11);
        pld_fake_run_on(0);
        start();
        cr_expect(pld_machine.npreferred == 2);
        cr_expect(pld_machine_here() == 3);
        cr_expect(order_is(pld_machine.preferred, "3120"));
        cr_expect(order_is(pld_machine.order[0], "0312"));
        pld_fake_run_on(2);
        cr_expect(pld_machine_here() == 1);
}

Test(machine, an_interleaving_policy_is_a_stripe_over_its_nodes)
{
        setup_nodes(4);
        pld_fake_set_policy(PLD_POLICY_INTERLEAVE, "0,2-3");
        start();
        cr_assert(pld_machine.nnodes == 4);
        cr_expect(pld_machine_here() == 4);
        static const unsigned wanted[] = { 0, 2, 3, 0, 2, 3, 0 };
        for (size_t i = 0; i < PLD_COUNT_OF(wanted); i++)
                cr_expect(pld_machine_stripe_node(i) == wanted[i]);
}

Test(machine, a_weighted_stripe_follows_the_weights)
{
        setup_nodes(3);
        pld_fake_set_policy(PLD_POLICY_INTERLEAVE, "0-2");
        pld_fake_set_weight(0, 3);
        pld_fake_set_weight(1, 1);
        pld_fake_set_weight(2, 2);
        start();
        unsigned seen[3] = { 0 };
        for (size_t i = 0; i < 600; i++)
                seen[pld_machine_stripe_node(i)]++;
        cr_expect(seen[0] == 300 && seen[1] == 100 && seen[2] == 200);
}

/* N6: not only at the end of a round. */
static void expect_fair(unsigned nnodes, const unsigned *weights)
{
        double seen[PLD_MAX_NODES] = { 0 }, sum = 0;
        setup_nodes((int)nnodes);
        pld_fake_set_policy(PLD_POLICY_INTERLEAVE, "0-63");
        for (unsigned i = 0; i < nnodes; i++) {
                pld_fake_set_weight((int)i, weights[i]);
                sum += weights[i];
        }
        start();
        for (size_t n = 1; n <= 2 * (size_t)sum + 7; n++) {
                seen[pld_machine_stripe_node(n - 1)]++;
                for (unsigned i = 0; i < nnodes; i++) {
                        double off = seen[i] - (double)n * weights[i] / sum;
                        cr_assert(off < 1 && off > -1, "node %u of %u has %g of %zu", i, nnodes,
                                  seen[i], n);
                }
        }
}

Test(machine, at_any_length_a_stripe_is_within_a_huge_page_of_the_weights)
{
        expect_fair(2, (const unsigned[]){ 9, 4 });
}

Test(machine, a_stripe_over_one_node_is_that_node)
{
        expect_fair(1, (const unsigned[]){ 3 });
}

Test(machine, a_stripe_is_fair_with_many_nodes_and_the_largest_weights)
{
        expect_fair(8, (const unsigned[]){ 255, 1, 2, 254, 17, 128, 3, 99 });
}

Test(machine, a_stripe_is_fair_with_random_weights)
{
        struct pld_random random = pld_random_seeded((uint64_t)getpid());
        unsigned weights[PLD_MAX_NODES];
        printf("seed %d\n", getpid());
        for (unsigned i = 0; i < 16; i++)
                weights[i] = 1 + (unsigned)(pld_random_next(&random) % 32);
        expect_fair(16, weights);
}

Test(machine, a_policy_without_usable_nodes_is_local)
{
        setup_nodes(3);
        pld_fake_set_policy(PLD_POLICY_INTERLEAVE, "2");
        pld_fake_allow_nodes("0-1");
        start();
        cr_expect(pld_machine.policy == PLD_POLICY_LOCAL);
        cr_expect(pld_machine_here() == 0);
}

/* --- a cpuset that changes */

Test(machine, a_node_that_was_taken_away_is_not_here)
{
        setup_nodes(3);
        start();
        pld_fake_run_on(4);
        cr_assert(pld_machine_here() == 2);
        pld_fake_allow_nodes("0-1");
        cr_expect(pld_machine_is_allowed(2));
        pld_machine_reread();
        cr_expect(!pld_machine_is_allowed(2));
        cr_expect(pld_machine_here() == 0);
        pld_fake_allow_nodes(NULL);
        pld_machine_reread();
        cr_expect(pld_machine_here() == 2);
}

Test(machine, a_stripe_leaves_out_what_was_taken_away)
{
        setup_nodes(2);
        pld_fake_set_policy(PLD_POLICY_INTERLEAVE, "0-1");
        start();
        pld_fake_allow_nodes("0");
        pld_machine_reread();
        cr_expect(pld_machine_stripe_node(0) == 0);
        cr_expect(pld_machine_stripe_node(1) == 0);
}

/* --- the real one */

Test(machine, the_real_machine_starts)
{
        start();
        cr_assert(pld_machine.nnodes >= 1);
        cr_expect(pld_machine.ncpus >= 1);
        cr_expect(pld_machine.node[0].nbytes > 0);
        unsigned here = pld_machine_here();
        cr_expect(here <= pld_machine.nnodes);
        check_permutations();
}
