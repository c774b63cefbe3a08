#include "tests/arena/arena_test.h"

#include "arena/extent.h"

#include <polder/arena.h>
#include <polder/extent.h>

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64, STOP = 7 };

/* What a visit was told, in order. */
static struct {
        struct polder_extent extent[MOST];
        bool added[MOST];
        size_t n;
        int answer; /* to each */
} told;

static int note(const struct polder_extent *extent, bool added, void *arg)
{
        (void)arg;
        cr_assert_lt(told.n, MOST);
        told.extent[told.n] = *extent;
        told.added[told.n++] = added;
        return told.answer;
}

static size_t list(void)
{
        told.n = 0;
        cr_assert_eq(polder_extents(note, NULL), 0);
        return told.n;
}

static uintptr_t take(unsigned slice, size_t nhuge)
{
        struct pld_run run;
        cr_assert_eq(
            pld_page_heap_alloc(slice, nhuge * PLD_HUGE_PAGES, PLD_PAGE_BYTES, true, &run), 0);
        return run.at;
}

static void give(uintptr_t at, size_t nhuge)
{
        pld_page_heap_free((struct pld_run){ .at = at, .npages = nhuge * PLD_HUGE_PAGES });
}

static void expect_extent(size_t i, uintptr_t start, size_t nhuge, int node)
{
        cr_assert_lt(i, told.n);
        cr_expect_eq((uintptr_t)told.extent[i].start, start);
        cr_expect_eq(told.extent[i].nbytes, nhuge << PLD_HUGE_SHIFT);
        cr_expect_eq(told.extent[i].node, node);
}

Test(extent, before_the_start_nothing_is_backed)
{
        cr_expect_eq(list(), 0);
}

Test(extent, neighbours_are_one_extent)
{
        arena_test_start(1);
        uintptr_t a = take(0, 5), b = take(0, 3);
        cr_assert_eq(b, a + 5 * PLD_HUGE_BYTES);
        cr_expect_eq(list(), 1);
        expect_extent(0, a, 8, arena_test_id(0));
        cr_expect(told.added[0]);
        cr_expect_eq(told.extent[0].page_bytes, PLD_HUGE_BYTES);
}

Test(extent, what_went_back_in_between_makes_two_of_it)
{
        arena_test_start(1);
        uintptr_t a = take(0, 6), b = take(0, 1), c = take(0, 3);
        give(b, 1);
        polder_release();
        cr_expect_eq(list(), 2);
        expect_extent(0, a, 6, arena_test_id(0));
        expect_extent(1, c, 3, arena_test_id(0));
}

Test(extent, nodes_have_extents_of_their_own)
{
        arena_test_start(3);
        uintptr_t at[3];
        for (unsigned i = 0; i < 3; i++)
                at[i] = take(i, i + 1);
        cr_expect_eq(list(), 3);
        for (unsigned i = 0; i < 3; i++)
                expect_extent(i, at[i], i + 1, arena_test_id(i));
}

Test(extent, each_size_of_pages_has_extents_of_its_own)
{
        struct pld_arena_settings settings = arena_test_settings();
        arena_test_machine(1);
        pld_fake_set_pool(arena_test_id(0), 1);
        pld_fake_set_support(PLD_BACKING_THP, false);
        settings.pages = "2M,base";
        cr_assert_eq(pld_arena_start(&settings), 0);
        uintptr_t a = take(0, 1), b = take(0, 2);
        cr_expect_eq(list(), 2);
        expect_extent(0, a, 1, arena_test_id(0));
        expect_extent(1, b, 2, arena_test_id(0));
        cr_expect_eq(told.extent[0].page_bytes, PLD_HUGE_BYTES);
        cr_expect_eq(told.extent[1].page_bytes, (size_t)sysconf(_SC_PAGESIZE));
}

/* A huge page on each of two nodes; who is told of one will hear of no other. */
static void start_with_two(void)
{
        arena_test_start(2);
        take(0, 1);
        take(1, 1);
        told.answer = STOP;
}

Test(extent, other_than_0_ends_the_walk_and_is_returned)
{
        start_with_two();
        cr_expect_eq(polder_extents(note, NULL), STOP);
        cr_expect_eq(told.n, 1);
}

static int allocate(const struct polder_extent *extent, bool added, void *arg)
{
        void **out = arg;
        (void)extent;
        (void)added;
        *out = polder_malloc(3 * PLD_HUGE_BYTES);
        return STOP;
}

Test(extent, a_visit_of_what_is_there_may_allocate)
{
        void *p = NULL;
        arena_test_start(1);
        take(0, 1);
        cr_expect_eq(polder_extents(allocate, &p), STOP);
        cr_expect_not_null(p);
        polder_free(p);
}

Test(extent, a_listener_is_told_what_is_there_and_then_what_changes)
{
        arena_test_start(1);
        uintptr_t a = take(0, 2);
        cr_expect_eq(polder_on_extent(note, NULL), 0);
        cr_expect_eq(told.n, 1);
        expect_extent(0, a, 2, arena_test_id(0));
        uintptr_t b = take(0, 1);
        cr_expect_eq(told.n, 2);
        expect_extent(1, b, 1, arena_test_id(0));
        cr_expect(told.added[1]);
        give(b, 1);
        cr_expect_eq(told.n, 2, "idle memory is backed");
        polder_release();
        cr_expect_eq(told.n, 3);
        expect_extent(2, b, 1, arena_test_id(0));
        cr_expect(!told.added[2]);
        cr_expect_eq(polder_on_extent(NULL, NULL), 0);
        take(0, 1);
        cr_expect_eq(told.n, 3, "nobody listens any more");
}

Test(extent, one_that_came_before_the_start_is_told_the_reserve)
{
        struct pld_arena_settings settings = arena_test_settings();
        size_t nbytes = 0;
        settings.reserve = 16 * PLD_HUGE_BYTES;
        settings.prefault = true;
        arena_test_machine(1);
        cr_expect_eq(polder_on_extent(note, NULL), 0);
        cr_assert_eq(pld_arena_start(&settings), 0);
        for (size_t i = 0; i < told.n; i++)
                nbytes += told.extent[i].nbytes;
        cr_expect_eq(nbytes, settings.reserve);
}

static int touch(const struct polder_extent *extent, bool added, void *arg)
{
        char *at = extent->start;
        (void)arg;
        for (size_t i = 0; i < extent->nbytes; i += PLD_HUGE_BYTES) {
                cr_expect_eq(at[i], added ? 0 : 1, "added before it is used");
                cr_expect_eq(polder_node_of(at + i), extent->node);
                at[i] = 1;
        }
        return 0;
}

Test(extent, memory_is_there_whenever_it_is_told_of)
{
        arena_test_start(1);
        cr_expect_eq(polder_on_extent(touch, NULL), 0);
        give(take(0, 3), 3);
        cr_expect_eq(polder_release(), 3 * PLD_HUGE_BYTES);
}

Test(extent, there_is_one_listener_at_a_time)
{
        arena_test_start(1);
        cr_expect_eq(polder_on_extent(note, NULL), 0);
        cr_expect_eq(polder_on_extent(touch, NULL), -EBUSY);
        cr_expect_eq(polder_on_extent(NULL, NULL), 0);
        cr_expect_eq(polder_on_extent(touch, NULL), 0);
}

Test(extent, a_listener_that_refuses_what_is_there_is_none)
{
        start_with_two();
        cr_expect_eq(polder_on_extent(note, NULL), STOP);
        cr_expect_eq(told.n, 1);
        cr_expect(!pld_extent_is_watched());
        take(0, 1);
        cr_expect_eq(told.n, 1);
        told.answer = 0;
        cr_expect_eq(polder_on_extent(note, NULL), 0);
        cr_expect(pld_extent_is_watched());
        told.answer = STOP;
        take(0, 1);
        take(0, 1);
        cr_expect_eq(told.n, 5, "a change can't be refused");
}

static int come_back(const struct polder_extent *extent, bool added, void *arg)
{
        int *errors = arg;
        (void)extent;
        (void)added;
        errors[0] = polder_on_extent(NULL, NULL);
        errors[1] = polder_extents(note, NULL);
        return 0;
}

static bool split(void *at)
{
        pld_extent_split_locked((uintptr_t)at);
        return true;
}

Test(extent, nothing_is_split_while_somebody_listens)
{
        arena_test_start(1);
        uintptr_t at = take(0, 4);
        polder_on_extent(note, NULL);
        cr_expect(!pld_extent_unless_watched(split, (void *)(at + PLD_HUGE_BYTES)));
        cr_expect_eq(list(), 1);
        polder_on_extent(NULL, NULL);
        cr_expect(pld_extent_unless_watched(split, (void *)(at + PLD_HUGE_BYTES)));
        cr_expect_eq(list(), 3);
        expect_extent(1, at + PLD_HUGE_BYTES, 1, arena_test_id(0));
        cr_expect_eq(told.extent[1].page_bytes, (size_t)sysconf(_SC_PAGESIZE));
}

Test(extent, a_callback_that_would_wait_for_itself_is_refused)
{
        int errors[2] = { 0, 0 };
        arena_test_start(1);
        polder_on_extent(come_back, errors);
        take(0, 1);
        cr_expect_eq(errors[0], -EDEADLK);
        cr_expect_eq(errors[1], -EDEADLK);
}

Test(extent, a_callback_that_allocates_dies, .signal = SIGABRT)
{
        void *p;
        arena_test_start(1);
        polder_free(polder_malloc(4000)); /* there are spans with room */
        polder_on_extent(allocate, &p);
}

static int allocate_small(const struct polder_extent *extent, bool added, void *arg)
{
        (void)extent;
        (void)added;
        (void)arg;
        for (int i = 0; i < 1000; i++)
                polder_malloc(4000);
        return 0;
}

Test(extent, so_does_one_that_takes_what_is_free_already, .signal = SIGABRT)
{
        arena_test_start(1);
        polder_free(polder_malloc(4000));
        polder_on_extent(allocate_small, NULL);
}

Test(extent, a_forked_child_has_no_listener)
{
        arena_test_start(1);
        uintptr_t at = take(0, 3);
        polder_on_extent(note, NULL);
        size_t before = told.n;
        pid_t pid = fork();
        if (pid == 0) {
                take(0, 2);
                bool silent = told.n == before && !pld_extent_is_watched();
                bool whole = list() == 1 && (uintptr_t)told.extent[0].start == at;
                told.n = 0;
                _exit(silent && whole && polder_on_extent(note, NULL) == 0 ? 0 : 1);
        }
        int status;
        waitpid(pid, &status, 0);
        cr_expect_eq(status, 0);
        take(0, 1);
        cr_expect_eq(told.n, before + 1, "the parent's is there still");
}
