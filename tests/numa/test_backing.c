#include "numa/backing.h"

#include <criterion/criterion.h>

#include "tests/numa/machine_setup.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static enum pld_backing back_one(unsigned node, size_t i)
{
        enum pld_backing kind = PLD_BACKING_NONE;
        int error = pld_back(huge_at(node, i), PLD_HUGE_BYTES, node, &kind);
        cr_assert(error == 0 || error == -ENOMEM);
        cr_assert((error == 0) == (kind != PLD_BACKING_NONE), "out is written on success only");
        return kind;
}

static uint64_t why(enum pld_backing kind, enum pld_reason reason)
{
        return pld_backing_fallbacks(kind, reason);
}

/* B3: nothing of it is left. */
static void expect_untouched(unsigned node, size_t i)
{
        cr_expect(pld_fake_node_of(huge_at(node, i)) == -ENOENT);
        cr_expect(pld_fake_disaster() == NULL);
        for (int kind = 0; kind < PLD_BACKING_KINDS; kind++)
                cr_expect(pld_backing_bytes(node, kind) == 0);
}

/* --- the chain */

Test(backing, the_default_chain_is_thp_then_base)
{
        setup_nodes(1);
        setup_started(NULL);
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
        pld_fake_set_huge(0, 0, 0);
        cr_expect(back_one(0, 1) == PLD_BACKING_BASE);
        cr_expect(pld_backing_fallbacks_total() == 1);
}

Test(backing, the_chain_is_tried_in_its_order)
{
        setup_nodes(1);
        pld_fake_set_pool(0, 1);
        setup_started("2M,thp,base");
        cr_expect(back_one(0, 0) == PLD_BACKING_2M);
        cr_expect(back_one(0, 1) == PLD_BACKING_THP);
        cr_expect(why(PLD_BACKING_2M, PLD_REASON_POOL_EMPTY) == 1);
        setup_started("base");
        cr_expect(back_one(0, 2) == PLD_BACKING_BASE);
        setup_started("base,thp");
        cr_expect(back_one(0, 3) == PLD_BACKING_BASE);
}

Test(backing, kinds_may_be_written_in_any_case)
{
        setup_nodes(1);
        setup_started("2m,THP,Base");
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
}

Test(backing, a_bad_chain_changes_nothing)
{
        static const char *const bad[] = { "",      "thp,",     ",thp", "4K", "thp base",
                                           "2M,1G", "thp,base,thp", "none", "thpx", "1G,1G" };
        setup_nodes(1);
        setup_started("base");
        for (size_t i = 0; i < PLD_COUNT_OF(bad); i++)
                cr_expect(pld_backing_start(bad[i]) == -EINVAL, "\"%s\"", bad[i]);
        cr_expect(back_one(0, 0) == PLD_BACKING_BASE);
        cr_expect(pld_backing_fallbacks_total() == 0);
}

Test(backing, a_complaint_names_what_it_is_about)
{
        int ends[2], saved = dup(STDERR_FILENO);
        char text[512] = "";
        cr_assert(pipe(ends) == 0);
        dup2(ends[1], STDERR_FILENO);
        cr_expect(pld_backing_start("thp,1G") == -EINVAL);
        dup2(saved, STDERR_FILENO);
        cr_assert(read(ends[0], text, sizeof text - 1) > 0);
        cr_expect(strstr(text, "\"1G\" comes first or not at all"));
        cr_expect(strchr(text, '\n') == text + strlen(text) - 1, "one line");
}

Test(backing, a_kind_that_the_kernel_lacks_is_a_counted_fallback)
{
        setup_nodes(1);
        pld_fake_set_support(PLD_BACKING_THP, false);
        setup_started(NULL);
        cr_expect(back_one(0, 0) == PLD_BACKING_BASE);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_UNSUPPORTED) == 1);
}

Test(backing, every_kind_and_reason_has_a_name)
{
        for (int i = 0; i < PLD_BACKING_KINDS; i++)
                cr_expect(pld_backing_name(i) && *pld_backing_name(i));
        for (int i = 0; i < PLD_REASONS; i++)
                cr_expect(pld_reason_name(i) && *pld_reason_name(i));
}

/* --- placement */

Test(backing, a_piece_lies_on_its_node_wherever_the_caller_runs)
{
        setup_nodes(4);
        for (int id = 0; id < 4; id++)
                pld_fake_set_pool(id, 1);
        setup_started("2M,thp,base");
        for (unsigned node = 0; node < 4; node++) {
                pld_fake_run_on((int)(7 - 2 * node));
                cr_expect(back_one(node, 0) == PLD_BACKING_2M);
                cr_expect(back_one(node, 1) == PLD_BACKING_THP);
                cr_expect(pld_fake_node_of(huge_at(node, 0)) == (int)node);
                cr_expect(pld_fake_node_of(huge_at(node, 1)) == (int)node);
        }
        cr_expect(pld_backing_misplaced() == 0);
}

Test(backing, indices_are_not_kernel_ids)
{
        pld_fake_reset();
        pld_fake_add_node(4, 1, PLD_GIB);
        pld_fake_add_node(9, 1, PLD_GIB);
        pld_fake_install();
        setup_started(NULL);
        back_one(1, 0);
        cr_expect(pld_fake_node_of(huge_at(1, 0)) == 9);
        cr_expect(pld_fake_free_bytes(4) == PLD_GIB);
}

Test(backing, memory_is_zero_and_can_be_written)
{
        setup_nodes(1);
        setup_started(NULL);
        back_one(0, 0);
        char *at = huge_at(0, 0);
        cr_expect(at[0] == 0 && at[PLD_HUGE_BYTES - 1] == 0);
        memset(at, 0xaa, PLD_HUGE_BYTES);
        pld_unback(at, PLD_HUGE_BYTES, PLD_BACKING_THP);
        back_one(0, 0);
        cr_expect(at[0] == 0 && at[PLD_HUGE_BYTES - 1] == 0);
}

Test(backing, a_misplaced_page_is_counted_and_given_back)
{
        setup_nodes(2);
        setup_started(NULL);
        pld_fake_misplace(1, 1);
        cr_expect(back_one(0, 0) == PLD_BACKING_BASE);
        cr_expect(pld_fake_node_of(huge_at(0, 0)) == 0);
        cr_expect(pld_backing_misplaced() == 1);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_MISPLACED) == 1);
        cr_expect(pld_fake_free_bytes(1) == PLD_GIB);
}

Test(backing, one_misplaced_page_condemns_the_piece)
{
        setup_nodes(2);
        setup_started("thp");
        pld_fake_misplace(1, 1);
        enum pld_backing kind;
        cr_expect(pld_back(huge_at(0, 0), 4 * PLD_HUGE_BYTES, 0, &kind) == -ENOMEM);
        cr_expect(pld_backing_misplaced() == 1);
        expect_untouched(0, 0);
        cr_expect(pld_fake_free_bytes(0) == PLD_GIB);
        cr_expect(pld_fake_free_bytes(1) == PLD_GIB);
}

Test(backing, a_misplaced_pool_page_goes_back_to_the_pool)
{
        setup_nodes(2);
        pld_fake_set_pool(0, 1);
        pld_fake_set_pool(1, 1);
        setup_started("2M");
        pld_fake_misplace(1, 1);
        cr_expect(back_one(0, 0) == PLD_BACKING_NONE);
        cr_expect(why(PLD_BACKING_2M, PLD_REASON_MISPLACED) == 1);
        cr_expect(pld_fake_pool(0) == 1 && pld_fake_pool(1) == 1);
}

/* --- pools */

Test(backing, a_pool_on_another_node_is_no_help)
{
        setup_nodes(2);
        pld_fake_set_pool(1, 8);
        setup_started("2M,thp,base");
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
        cr_expect(why(PLD_BACKING_2M, PLD_REASON_POOL_EMPTY) == 1);
        cr_expect(pld_fake_pool(1) == 8);
        cr_expect(back_one(1, 0) == PLD_BACKING_2M);
        cr_expect(pld_fake_pool(1) == 7);
}

Test(backing, a_piece_has_one_kind_only)
{
        setup_nodes(1);
        pld_fake_set_pool(0, 3);
        setup_started("2M,thp,base");
        enum pld_backing kind;
        cr_assert(pld_back(huge_at(0, 0), 4 * PLD_HUGE_BYTES, 0, &kind) == 0);
        cr_expect(kind == PLD_BACKING_THP);
        cr_expect(pld_fake_pool(0) == 3);
}

Test(backing, a_failed_step_of_the_pool_gives_its_pages_back)
{
        static const enum pld_fake_call calls[] = { PLD_FAKE_MAP_POOL, PLD_FAKE_POPULATE,
                                                    PLD_FAKE_MOVE };
        static const enum pld_reason wanted[] = { PLD_REASON_MAP_REFUSED,
                                                  PLD_REASON_POPULATE_FAILED,
                                                  PLD_REASON_MAP_REFUSED };
        setup_nodes(1);
        pld_fake_set_pool(0, 2);
        setup_started("2M");
        for (size_t i = 0; i < PLD_COUNT_OF(calls); i++) {
                uint64_t before = why(PLD_BACKING_2M, wanted[i]);
                pld_fake_fail(calls[i], 0, 1, EFAULT);
                cr_expect(back_one(0, 0) == PLD_BACKING_NONE);
                cr_expect(why(PLD_BACKING_2M, wanted[i]) == before + 1);
                cr_expect(pld_fake_pool(0) == 2);
        }
        cr_expect(back_one(0, 0) == PLD_BACKING_2M);
}

Test(backing, a_pool_that_was_emptied_meanwhile_is_no_signal)
{
        setup_nodes(2);
        pld_fake_set_pool(0, 1);
        setup_started("2M,base");
        pld_fake_fail(PLD_FAKE_MAP_POOL, 0, 1, ENOMEM);
        cr_expect(back_one(0, 0) == PLD_BACKING_BASE);
        cr_expect(why(PLD_BACKING_2M, PLD_REASON_POOL_EMPTY) == 1);
}

/* --- gigantic pages */

static bool back_gigantic(unsigned node, size_t gib)
{
        int error = pld_back_1g(huge_at(node, gib * 512), node);
        cr_assert(error == 0 || error == -ENOMEM);
        return error == 0;
}

static void setup_gigantic(const char *pages)
{
        setup_nodes(2);
        pld_fake_set_gigantic(0, 1);
        pld_fake_set_gigantic(1, 2);
        setup_started(pages);
}

Test(backing, a_1g_page_lies_on_its_node_and_is_whole)
{
        setup_gigantic("1G,thp");
        cr_expect(back_gigantic(1, 0));
        cr_expect(pld_fake_gigantic(1) == 1 && pld_fake_gigantic(0) == 1);
        cr_expect(pld_backing_bytes(1, PLD_BACKING_1G) == PLD_GIB);
        cr_expect(pld_backing_locked_bytes(1, PLD_BACKING_1G) == PLD_GIB, "never paged out");
        cr_expect(pld_fake_node_of(huge_at(1, 0)) == 1 && pld_fake_node_of(huge_at(1, 511)) == 1);
        cr_expect(pld_fake_node_of(huge_at(1, 512)) == -ENOENT);
        huge_at(1, 0)[0] = huge_at(1, 511)[PLD_HUGE_BYTES - 1] = 1;
        cr_expect(pld_backing_fallbacks_total() == 0);
}

Test(backing, a_1g_page_is_for_who_asks_for_it)
{
        setup_gigantic("1G,thp");
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
        cr_expect(pld_backing_fallbacks_total() == 0, "a huge page is no step down");
        setup_started("thp");
        cr_expect(!pld_backing_has_1g());
        cr_expect(!back_gigantic(0, 1));
        cr_expect(pld_fake_gigantic(0) == 1);
        cr_expect(pld_backing_fallbacks_total() == 0, "nothing else is tried instead");
}

Test(backing, an_empty_pool_of_1g_pages_is_counted)
{
        setup_gigantic("1G,thp");
        cr_expect(back_gigantic(0, 0));
        cr_expect(!back_gigantic(0, 1));
        cr_expect(why(PLD_BACKING_1G, PLD_REASON_POOL_EMPTY) == 1);
        cr_expect(pld_fake_gigantic(1) == 2, "another node's are no help");
        cr_expect(pld_fake_node_of(huge_at(0, 512)) == -ENOENT);
        cr_expect(back_one(0, 512) == PLD_BACKING_THP, "the place is free for others");
}

Test(backing, a_machine_without_1g_pages_is_counted)
{
        setup_nodes(1);
        pld_fake_set_support(PLD_BACKING_1G, false);
        setup_started("1G,thp");
        cr_expect(!back_gigantic(0, 0));
        cr_expect(why(PLD_BACKING_1G, PLD_REASON_UNSUPPORTED) == 1);
}

Test(backing, a_failed_step_of_a_1g_page_gives_it_back)
{
        static const enum pld_fake_call calls[] = { PLD_FAKE_MAP_POOL, PLD_FAKE_BIND,
                                                    PLD_FAKE_OPEN, PLD_FAKE_POPULATE,
                                                    PLD_FAKE_MOVE };
        setup_gigantic("1G,thp");
        for (size_t i = 0; i < PLD_COUNT_OF(calls); i++) {
                pld_fake_fail(calls[i], 0, 1, EFAULT);
                cr_expect(!back_gigantic(0, 0));
                cr_expect(pld_fake_gigantic(0) == 1, "%zu", i);
                expect_untouched(0, 0);
        }
        cr_expect(pld_backing_fallbacks_total() == PLD_COUNT_OF(calls));
        pld_fake_misplace(512, 1);
        cr_expect(!back_gigantic(0, 0));
        cr_expect(why(PLD_BACKING_1G, PLD_REASON_MISPLACED) == 1);
        cr_expect(pld_backing_misplaced() == 512);
        cr_expect(pld_fake_gigantic(1) == 2);
        cr_expect(back_gigantic(0, 0));
}

Test(backing, a_1g_page_goes_back_whole)
{
        setup_gigantic("1G,thp");
        cr_expect(back_gigantic(0, 0));
        pld_unback(huge_at(0, 0), PLD_GIB, PLD_BACKING_1G);
        cr_expect(pld_fake_gigantic(0) == 1);
        cr_expect(pld_fake_disaster() == NULL);
        expect_untouched(0, 0);
}

/* --- locked memory */

/* B6: under mlockall() what is opened is populated, and would be so anywhere. */
Test(backing, a_piece_is_bound_before_it_can_be_touched)
{
        enum pld_backing kind;
        setup_nodes(2);
        pld_fake_set_pool(0, 2);
        setup_started("2M,thp,base");
        pld_fake_forbid(PLD_FAKE_BIND, EINVAL);
        cr_expect(back_one(0, 0) == PLD_BACKING_NONE);
        cr_expect(pld_back_lazily(huge_at(0, 0), PLD_HUGE_BYTES, 0, &kind) == -EAGAIN);
        setup_started("thp,base");
        cr_expect(pld_back_lazily(huge_at(0, 0), PLD_HUGE_BYTES, 0, &kind) == -EAGAIN);
        cr_expect(pld_fake_calls(PLD_FAKE_BIND) > 3);
        cr_expect(pld_fake_calls(PLD_FAKE_OPEN) == 0);
}

Test(backing, what_is_backed_is_locked_when_asked_for)
{
        setup_nodes(2);
        pld_fake_set_pool(1, 1);
        setup_started("2M,thp,base");
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
        cr_expect(pld_fake_locked_bytes() == 0);
        pld_backing_lock(true);
        cr_expect(back_one(0, 1) == PLD_BACKING_THP);
        cr_expect(back_one(1, 0) == PLD_BACKING_2M);
        cr_expect(pld_fake_locked_bytes() == PLD_HUGE_BYTES);
        cr_expect(pld_backing_locked_bytes(0, PLD_BACKING_THP) == PLD_HUGE_BYTES);
        cr_expect(pld_backing_locked_bytes(1, PLD_BACKING_2M) == PLD_HUGE_BYTES);
}

Test(backing, what_is_given_back_is_not_counted_as_locked)
{
        setup_nodes(1);
        setup_started("thp,base");
        pld_backing_lock(true);
        back_one(0, 0);
        pld_backing_lock(false);
        back_one(0, 1);
        pld_unback(huge_at(0, 1), PLD_HUGE_BYTES, PLD_BACKING_THP);
        cr_expect(pld_backing_locked_bytes(0, PLD_BACKING_THP) == PLD_HUGE_BYTES);
        pld_unback(huge_at(0, 0), PLD_HUGE_BYTES, PLD_BACKING_THP);
        cr_expect(pld_backing_locked_bytes(0, PLD_BACKING_THP) == 0);
        cr_expect(pld_fake_locked_bytes() == 0);
}

Test(backing, a_locked_huge_page_that_is_broken_is_locked_base_pages)
{
        setup_nodes(1);
        setup_started("thp,base");
        pld_backing_lock(true);
        back_one(0, 0);
        cr_assert(pld_break(huge_at(0, 0)) == 0);
        cr_expect(pld_backing_locked_bytes(0, PLD_BACKING_THP) == 0);
        cr_expect(pld_backing_locked_bytes(0, PLD_BACKING_BASE) == PLD_HUGE_BYTES);
}

Test(backing, what_is_to_be_locked_does_not_come_lazily)
{
        enum pld_backing kind;
        setup_nodes(1);
        setup_started("thp,base");
        pld_backing_lock(true);
        cr_expect(pld_back_lazily(huge_at(0, 0), PLD_HUGE_BYTES, 0, &kind) == -EAGAIN);
        expect_untouched(0, 0);
        pld_backing_lock(false);
        cr_expect(pld_back_lazily(huge_at(0, 0), PLD_HUGE_BYTES, 0, &kind) == 0);
        cr_expect(pld_backing_locked_bytes(0, kind) == 0);
}

Test(backing, a_refused_lock_is_counted_and_one_line_and_the_memory_is_used)
{
        int ends[2], saved = dup(STDERR_FILENO);
        char text[512] = "";
        setup_nodes(1);
        setup_started("thp,base");
        pld_fake_set_lock_limit(3 * PLD_MIB);
        pld_backing_lock(true);
        cr_assert(pipe(ends) == 0);
        dup2(ends[1], STDERR_FILENO);
        for (size_t i = 0; i < 4; i++)
                cr_expect(back_one(0, i) == PLD_BACKING_THP);
        dup2(saved, STDERR_FILENO);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_LOCK_REFUSED) == 3);
        cr_expect(pld_backing_locked_bytes(0, PLD_BACKING_THP) == PLD_HUGE_BYTES);
        cr_assert(read(ends[0], text, sizeof text - 1) > 0);
        cr_expect(strstr(text, "POLDER_LOCK") && strstr(text, "3072 KiB") &&
                  strstr(text, "ulimit -l"), "%s", text);
        cr_expect(strchr(text, '\n') == text + strlen(text) - 1, "one line");
}

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

/* --- huge or not */

Test(backing, base_pages_are_collapsed_where_that_works)
{
        setup_nodes(1);
        pld_fake_set_huge(0, 0, 1);
        setup_started("thp");
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
        cr_expect(pld_fake_calls(PLD_FAKE_COLLAPSE) == 1);
        cr_expect(back_one(0, 1) == PLD_BACKING_NONE);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_NOT_HUGE) == 1);
        cr_expect(pld_fake_node_of(huge_at(0, 1)) == -ENOENT);
}

Test(backing, huge_pages_are_not_collapsed)
{
        setup_nodes(1);
        setup_started("thp");
        back_one(0, 0);
        cr_expect(pld_fake_calls(PLD_FAKE_COLLAPSE) == 0);
}

Test(backing, one_base_page_run_makes_a_piece_not_huge)
{
        setup_nodes(1);
        pld_fake_set_huge(0, 3, 0);
        setup_started("thp,base");
        enum pld_backing kind;
        cr_assert(pld_back(huge_at(0, 0), 4 * PLD_HUGE_BYTES, 0, &kind) == 0);
        cr_expect(kind == PLD_BACKING_BASE);
}

Test(backing, what_is_not_huge_is_kept_as_base_pages)
{
        setup_nodes(1);
        pld_fake_set_huge(0, 0, 0);
        setup_started("thp,base");
        unsigned populated = pld_fake_calls(PLD_FAKE_POPULATE);
        cr_expect(back_one(0, 0) == PLD_BACKING_BASE);
        cr_expect(pld_fake_calls(PLD_FAKE_POPULATE) == populated + 1, "not populated again");
        cr_expect(pld_backing_bytes(0, PLD_BACKING_BASE) == PLD_HUGE_BYTES);
}

Test(backing, collapsing_rests_after_a_failure)
{
        setup_nodes(1);
        pld_fake_set_huge(0, 0, 0);
        setup_started("thp,base");
        for (size_t i = 0; i < 64; i++)
                back_one(0, i);
        cr_expect(pld_fake_calls(PLD_FAKE_COLLAPSE) == 2);
        cr_expect(why(PLD_BACKING_THP, PLD_REASON_NOT_HUGE) == 64);
}

/* --- giving back */

Test(backing, unback_gives_the_memory_back)
{
        setup_nodes(2);
        pld_fake_set_pool(1, 4);
        setup_started("2M,thp,base");
        enum pld_backing kind;
        cr_assert(pld_back(huge_at(1, 0), 4 * PLD_HUGE_BYTES, 1, &kind) == 0);
        cr_expect(pld_backing_bytes(1, PLD_BACKING_2M) == 4 * PLD_HUGE_BYTES);
        pld_unback(huge_at(1, 1), 2 * PLD_HUGE_BYTES, kind);
        cr_expect(pld_fake_pool(1) == 2);
        cr_expect(pld_backing_bytes(1, PLD_BACKING_2M) == 2 * PLD_HUGE_BYTES);
        cr_expect(pld_fake_node_of(huge_at(1, 0)) == 1);
        cr_expect(pld_fake_node_of(huge_at(1, 1)) == -ENOENT);
        cr_expect(pld_fake_node_of(huge_at(1, 3)) == 1);
}

Test(backing, bytes_are_counted_for_the_node_that_was_asked)
{
        setup_nodes(3);
        setup_started(NULL);
        enum pld_backing kind; /* from the stripe's slice */
        cr_assert(pld_back(huge_at(3, 0), PLD_HUGE_BYTES, 2, &kind) == 0);
        cr_assert(pld_back(huge_at(3, 1), PLD_HUGE_BYTES, 1, &kind) == 0);
        cr_expect(pld_backing_bytes(2, PLD_BACKING_THP) == PLD_HUGE_BYTES);
        pld_unback(huge_at(3, 0), 2 * PLD_HUGE_BYTES, kind);
        cr_expect(pld_backing_bytes(2, PLD_BACKING_THP) == 0);
        cr_expect(pld_backing_bytes(1, PLD_BACKING_THP) == 0);
}

Test(backing, what_was_given_back_cannot_be_touched)
{
        setup_nodes(1);
        setup_started(NULL);
        back_one(0, 0);
        cr_expect(can_be_read(huge_at(0, 0)));
        pld_unback(huge_at(0, 0), PLD_HUGE_BYTES, PLD_BACKING_THP);
        cr_expect(!can_be_read(huge_at(0, 0)));
}

Test(backing, memory_goes_back_even_when_closing_is_refused)
{
        setup_nodes(1);
        setup_started(NULL);
        back_one(0, 0);
        pld_fake_fail(PLD_FAKE_CLOSE, 0, 1, ENOMEM);
        pld_unback(huge_at(0, 0), PLD_HUGE_BYTES, PLD_BACKING_THP);
        cr_expect(pld_fake_free_bytes(0) == PLD_GIB);
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
}

Test(backing, errno_is_kept)
{
        setup_nodes(1);
        setup_started("2M,thp");
        errno = EDOM;
        back_one(0, 0);
        pld_fake_fail(PLD_FAKE_POPULATE, 0, 1, ENOMEM);
        back_one(0, 1);
        pld_unback(huge_at(0, 0), PLD_HUGE_BYTES, PLD_BACKING_THP);
        cr_expect(errno == EDOM);
}

/* --- metadata */

Test(backing, metadata_is_zero_and_counted)
{
        setup_nodes(1);
        size_t before = pld_meta_mapped_bytes();
        char *at = pld_meta_map(PLD_GIB);
        cr_assert(at);
        cr_expect(at[0] == 0 && at[PLD_GIB - 1] == 0);
        cr_expect(pld_meta_mapped_bytes() == before + PLD_GIB);
        pld_meta_unmap(at, PLD_GIB);
        cr_expect(pld_meta_mapped_bytes() == before);
        pld_fake_fail(PLD_FAKE_MAP, 0, 1, ENOMEM);
        cr_expect(pld_meta_map(4096) == NULL);
        cr_expect(pld_meta_mapped_bytes() == before);
}

Test(backing, a_sparse_table_is_written_where_it_is_open)
{
        setup_nodes(1);
        char *at = pld_meta_map_sparse(PLD_GIB);
        cr_assert(at);
        cr_expect(at[PLD_GIB / 2] == 0);
        cr_assert(pld_meta_open(at + 5000, 1) == 0);
        at[4096] = at[8191] = 1;
        pld_fake_fail(PLD_FAKE_OPEN_SPARSE, 0, 1, ENOMEM);
        cr_expect(pld_meta_open(at, 1) == -ENOMEM);
        pld_meta_unmap(at, PLD_GIB);
}

Test(backing, without_metadata_nothing_is_backed)
{
        setup_nodes(1);
        setup_started(NULL);
        pld_fake_fail(PLD_FAKE_MAP, 0, 1, ENOMEM);
        cr_expect(back_one(0, 0) == PLD_BACKING_NONE);
        expect_untouched(0, 0);
        pld_fake_fail(PLD_FAKE_OPEN_SPARSE, 0, 1, ENOMEM);
        cr_expect(back_one(0, 0) == PLD_BACKING_NONE);
        expect_untouched(0, 0);
        cr_expect(back_one(0, 0) == PLD_BACKING_THP);
}

/* --- the real one */

static void start_real(const char *pages)
{
        cr_assert(pld_machine_start(NULL) == 0);
        cr_assert(pld_range_reserve(pld_machine.nnodes + 1) == 0);
        cr_assert(pld_backing_start(pages) == 0);
}

Test(backing, a_real_piece_is_zero_and_writable)
{
        start_real("2M,thp,base");
        for (size_t i = 0; i < 4; i++) {
                char *at = huge_at(0, i);
                cr_assert(back_one(0, i) != PLD_BACKING_NONE);
                cr_assert(at[0] == 0 && !memcmp(at, at + 1, PLD_HUGE_BYTES - 1));
                memset(at, 1, PLD_HUGE_BYTES);
        }
        cr_expect(pld_backing_misplaced() == 0);
}

Test(backing, a_real_piece_of_base_pages_is_there)
{
        start_real("base");
        cr_expect(back_one(0, 0) == PLD_BACKING_BASE);
        cr_expect(pld_backing_fallbacks_total() == 0);
}

Test(backing, a_real_piece_too_large_for_the_machine_is_refused)
{
        start_real(NULL);
        size_t slice = (size_t)1 << pld_range.slice_shift;
        if (slice < 2 * pld_machine.node[0].nbytes)
                cr_skip_test("the address space is too small to ask for that much");
        enum pld_backing kind;
        cr_expect(pld_back(huge_at(0, 0), slice, 0, &kind) == -ENOMEM);
        cr_expect(pld_backing_fallbacks(PLD_BACKING_THP, PLD_REASON_NODE_LOW) +
                          pld_backing_fallbacks(PLD_BACKING_THP, PLD_REASON_UNSUPPORTED) ==
                  1);
}

Test(backing, a_real_piece_given_back_is_no_memory_any_more)
{
        start_real(NULL);
        enum pld_backing kind = back_one(0, 0);
        *(volatile char *)huge_at(0, 0) = 1;
        cr_expect(can_be_read(huge_at(0, 0)));
        pld_unback(huge_at(0, 0), PLD_HUGE_BYTES, kind);
        cr_expect(!can_be_read(huge_at(0, 0)));
}

/* --- lazily */

static int lazily(unsigned node, size_t i, size_t nhuge, enum pld_backing *kind)
{
        *kind = PLD_BACKING_NONE;
        return pld_back_lazily(huge_at(node, i), nhuge * PLD_HUGE_BYTES, node, kind);
}

Test(backing, lazy_memory_is_bound_and_not_populated)
{
        enum pld_backing kind;
        setup_nodes(2);
        setup_started(NULL);
        unsigned nbinds = pld_fake_calls(PLD_FAKE_BIND);
        cr_expect(lazily(1, 0, 3, &kind) == 0 && kind == PLD_BACKING_BASE);
        cr_expect(pld_fake_calls(PLD_FAKE_BIND) == nbinds + 1);
        cr_expect(pld_fake_node_of(huge_at(1, 2)) == 1);
        cr_expect(pld_fake_calls(PLD_FAKE_POPULATE) == 0);
        cr_expect(pld_backing_bytes(1, PLD_BACKING_BASE) == 3 * PLD_HUGE_BYTES);
        memset(huge_at(1, 2), 1, 100);
        pld_unback(huge_at(1, 0), 3 * PLD_HUGE_BYTES, PLD_BACKING_BASE);
        cr_expect(pld_backing_bytes(1, PLD_BACKING_BASE) == 0);
        cr_expect(pld_backing_fallbacks_total() == 0, "base pages are no fallback here");
}

Test(backing, the_only_node_needs_no_binding)
{
        enum pld_backing kind;
        setup_nodes(1);
        setup_started(NULL);
        unsigned nbinds = pld_fake_calls(PLD_FAKE_BIND);
        cr_expect(lazily(0, 0, 1, &kind) == 0);
        cr_expect(pld_fake_calls(PLD_FAKE_BIND) == nbinds);
}

Test(backing, pages_of_a_pool_are_never_lazy)
{
        enum pld_backing kind;
        setup_nodes(1);
        pld_fake_set_pool(0, 8);
        setup_started("2M,thp");
        cr_expect(lazily(0, 0, 1, &kind) == -EAGAIN && kind == PLD_BACKING_NONE);
        expect_untouched(0, 0);
        pld_fake_set_support(PLD_BACKING_2M, false);
        setup_started("2M,thp");
        cr_expect(lazily(0, 0, 1, &kind) == 0 && kind == PLD_BACKING_THP);
}

Test(backing, a_refused_bind_means_no_laziness)
{
        enum pld_backing kind;
        setup_nodes(2);
        setup_started(NULL);
        pld_fake_fail(PLD_FAKE_BIND, 0, 1, EPERM);
        cr_expect(lazily(1, 0, 1, &kind) == -EAGAIN);
        expect_untouched(1, 0);
        pld_fake_fail(PLD_FAKE_OPEN, 0, 1, ENOMEM);
        cr_expect(lazily(1, 0, 1, &kind) == -EAGAIN);
        expect_untouched(1, 0);
}

/* B5: what was promised and not yet touched is not promised again. */
Test(backing, lazy_pieces_do_not_fill_a_node_with_neighbours)
{
        enum pld_backing kind;
        size_t n = 0, i = 0;
        setup_nodes(2);
        setup_started(NULL);
        size_t have = pld_fake_free_bytes(1) / PLD_HUGE_BYTES;
        while (lazily(1, i, 8, &kind) == 0)
                i += 8;
        n = i;
        cr_expect(n > have / 2 && n < have, "%zu of %zu", n, have);
        cr_expect(pld_back(huge_at(1, n), PLD_HUGE_BYTES, 1, &kind) == 0, "populated, it may");
        pld_unback(huge_at(1, 0), 8 * PLD_HUGE_BYTES, PLD_BACKING_BASE);
        cr_expect(lazily(1, 0, 4, &kind) == 0, "there is room again");
}

Test(backing, a_broken_huge_page_is_base_pages_in_the_books)
{
        enum pld_backing kind;
        setup_nodes(1);
        setup_started(NULL);
        cr_expect(pld_back(huge_at(0, 0), 2 * PLD_HUGE_BYTES, 0, &kind) == 0);
        cr_expect(pld_break(huge_at(0, 1)) == 0);
        cr_expect(pld_backing_bytes(0, PLD_BACKING_THP) == PLD_HUGE_BYTES);
        cr_expect(pld_backing_bytes(0, PLD_BACKING_BASE) == PLD_HUGE_BYTES);
        pld_unback(huge_at(0, 1), PLD_HUGE_BYTES, PLD_BACKING_BASE);
        cr_expect(pld_backing_bytes(0, PLD_BACKING_BASE) == 0);
}

Test(backing, what_is_mostly_untouched_is_not_made_huge)
{
        bool done;
        enum pld_backing kind;
        setup_nodes(1);
        setup_started(NULL);
        cr_expect(lazily(0, 0, 2, &kind) == 0);
        char *at = huge_at(0, 1);
        memset(at, 1, PLD_HUGE_BYTES / 2);
        cr_expect(!pld_make_huge(at, false, &done));
        memset(at, 1, PLD_HUGE_BYTES);
        unsigned ncalls = pld_fake_calls(PLD_FAKE_COLLAPSE);
        cr_expect(pld_make_huge(at, false, &done) && !done);
        cr_expect(pld_fake_calls(PLD_FAKE_COLLAPSE) == ncalls);
        cr_expect(pld_make_huge(at, true, &done) && done);
        cr_expect(pld_fake_calls(PLD_FAKE_COLLAPSE) == ncalls + 1);
        cr_expect(at[0] == 1 && at[PLD_HUGE_BYTES - 1] == 1);
        pld_fake_forbid(PLD_FAKE_ADVISE, EINVAL);
        cr_expect(!pld_make_huge(at, true, &done));
        setup_started("base");
        cr_expect(!pld_make_huge(at, true, &done), "not wanted");
}
