#include "numa/backing.h"

#include <criterion/criterion.h>

#include "numa/meta_map.h"
#include "tests/numa/backing_setup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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

Test(backing, metadata_used_densely_is_of_huge_pages_where_those_are_wanted)
{
        setup_nodes(1);
        pld_backing_start("base");
        unsigned before = pld_fake_calls(PLD_FAKE_ADVISE);
        pld_meta_unmap(pld_meta_map_huge(PLD_HUGE_BYTES), PLD_HUGE_BYTES);
        cr_expect(pld_fake_calls(PLD_FAKE_ADVISE) == before);
        pld_backing_start("thp,base");
        pld_meta_unmap(pld_meta_map_huge(PLD_HUGE_BYTES), PLD_HUGE_BYTES);
        cr_expect(pld_fake_calls(PLD_FAKE_ADVISE) == before + 1);
        pld_fake_fail(PLD_FAKE_ADVISE, 0, 1, EINVAL);
        errno = EDOM;
        cr_expect(pld_meta_map_huge(PLD_HUGE_BYTES) != NULL, "it is not needed");
        cr_expect(errno == EDOM);
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
