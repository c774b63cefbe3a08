#include "numa/backing.h"

#include <criterion/criterion.h>

#include "numa/mlock.h"
#include "tests/numa/backing_setup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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
        pld_mlock_start(true);
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
        pld_mlock_start(true);
        back_one(0, 0);
        pld_mlock_start(false);
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
        pld_mlock_start(true);
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
        pld_mlock_start(true);
        cr_expect(pld_back_lazily(huge_at(0, 0), PLD_HUGE_BYTES, 0, &kind) == -EAGAIN);
        expect_untouched(0, 0);
        pld_mlock_start(false);
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
        pld_mlock_start(true);
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
