#include "numa/backing.h"

#include <criterion/criterion.h>

#include "tests/numa/backing_setup.h"

#include <errno.h>

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
