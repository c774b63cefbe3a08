#include "tests/arena/page_heap_test.h"

#include <errno.h>
#include <string.h>

enum { THIN = 16 }; /* huge pages of which one page each is taken */

static void make_thin(struct pld_run *left)
{
        struct pld_run rest[THIN];
        for (int i = 0; i < THIN; i++) {
                cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES - 1, PLD_PAGE_BYTES, true, &rest[i]),
                             0);
                left[i] = take(0, 1, PLD_PAGE_BYTES);
                memset((void *)rest[i].at, 0xff, (PLD_HUGE_PAGES - 1) * PLD_PAGE_BYTES);
                memset((void *)left[i].at, i + 1, PLD_PAGE_BYTES);
        }
        for (int i = 0; i < THIN; i++)
                pld_page_heap_free(rest[i]);
        cr_assert_eq(pld_page_heap_idle_bytes(), 0);
}

Test(shed, thin_huge_pages_shed_what_is_free)
{
        struct pld_run left[THIN];
        arena_test_start(1);
        make_thin(left);
        pld_page_heap_verify();
        size_t all = THIN * (PLD_HUGE_PAGES - 1) * PLD_PAGE_BYTES;
        cr_expect_gt(pld_page_heap_spare_bytes(), all / 2);
        cr_expect_eq(pld_page_heap_shed(0, false), 0, "they were given back a moment ago");
        cr_expect_gt(pld_page_heap_shed(UINT64_MAX, false), all / 2);
        cr_expect_eq(pld_page_heap_spare_bytes(), 0);
        cr_expect_eq(pld_page_heap_shed(UINT64_MAX, true), 0);
        cr_expect_eq(pld_page_heap_huge_bytes(), 0);
        pld_page_heap_verify();
        for (int i = 0; i < THIN; i++)
                for (size_t k = 0; k < PLD_PAGE_BYTES; k++)
                        cr_assert_eq(((unsigned char *)left[i].at)[k], i + 1);
        for (int i = 0; i < THIN; i++) {
                struct pld_run run = take(0, PLD_HUGE_PAGES - 1, PLD_PAGE_BYTES);
                cr_expect(run.zeroed && run.lazy);
                for (size_t k = 0; k < run.npages * PLD_PAGE_BYTES; k += 64)
                        cr_assert_eq(*(unsigned char *)(run.at + k), 0);
        }
        cr_expect_eq(pld_page_heap_backed_bytes(), THIN * PLD_HUGE_BYTES);
        pld_page_heap_verify();
}

/* Less than the slack is free; bytes that go. */
static size_t shed_few(bool populated)
{
        enum { FEW = 8 };
        struct pld_run left, few;
        size_t there;
        arena_test_start(1);
        cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES - FEW, PLD_PAGE_BYTES, populated, &left),
                     0);
        cr_assert_eq(pld_page_heap_alloc(0, FEW, PLD_PAGE_BYTES, populated, &few), 0);
        memset((void *)left.at, 1, left.npages * PLD_PAGE_BYTES);
        memset((void *)few.at, 1, FEW * PLD_PAGE_BYTES);
        pld_page_heap_free(few);
        cr_expect_eq(pld_page_heap_spare_bytes(), 0);
        cr_expect_eq(pld_page_heap_shed(0, false), 0, "they were given back a moment ago");
        size_t nbytes = pld_page_heap_shed(UINT64_MAX, false);
        cr_assert_eq(pld_os->resident((void *)few.at, FEW * PLD_PAGE_BYTES, &there), 0);
        cr_expect_eq(there, FEW * PLD_PAGE_BYTES - nbytes);
        cr_expect_eq(*(char *)left.at, 1);
        pld_page_heap_verify();
        return nbytes;
}

Test(shed, of_base_pages_all_that_is_free_goes)
{
        cr_expect_eq(shed_few(false), 8 * PLD_PAGE_BYTES);
}

Test(shed, a_huge_page_is_not_broken_for_a_few)
{
        cr_expect_eq(shed_few(true), 0);
        cr_expect_eq(pld_page_heap_huge_bytes(), PLD_HUGE_BYTES);
}

Test(shed, what_is_reserved_or_of_a_pool_is_kept_whole)
{
        struct pld_run left[THIN];
        struct pld_arena_settings settings = arena_test_settings();
        settings.pages = "2M";
        arena_test_machine(1);
        pld_fake_set_pool(arena_test_id(0), 1000);
        cr_assert_eq(pld_arena_start(&settings), 0);
        make_thin(left);
        cr_expect_eq(pld_page_heap_spare_bytes(), 0);
        cr_expect_eq(pld_page_heap_shed(UINT64_MAX, true), 0);
}

Test(shed, a_reserve_is_kept_whole)
{
        struct pld_run left[THIN];
        arena_test_start(1);
        cr_expect_eq(pld_page_heap_grow(0, THIN * PLD_HUGE_BYTES, true), THIN * PLD_HUGE_BYTES);
        make_thin(left);
        cr_expect_eq(pld_page_heap_shed(UINT64_MAX, true), 0);
        cr_expect_eq(pld_page_heap_spare_bytes(), 0);
}

Test(shed, a_huge_page_that_cannot_be_broken_stays)
{
        struct pld_run left[THIN];
        arena_test_start(1);
        make_thin(left);
        size_t before = pld_page_heap_huge_bytes();
        pld_fake_forbid(PLD_FAKE_ADVISE, EINVAL);
        pld_page_heap_shed(UINT64_MAX, true);
        cr_expect_eq(before, THIN * PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_huge_bytes(), before);
        pld_page_heap_verify();
        for (int i = 0; i < THIN; i++)
                cr_assert_eq(*(unsigned char *)left[i].at, i + 1);
}

/* Several threads at once do the same while `at_work`. */
enum { SHEDDING_ROUNDS = 200, PIECES = 8 };
static _Atomic bool at_work, at_end, is_busy;
static _Atomic size_t nasked;

static void *shed_along(void *unused)
{
        while (!pld_load_acquire(&at_end))
                if (pld_load_acquire(&at_work))
                        pld_page_heap_shed(UINT64_MAX, true);
        return unused;
}

static void *promote_along(void *unused)
{
        while (!pld_load_acquire(&at_end)) {
                pld_store_seq_cst(&is_busy, true);
                if (pld_load_seq_cst(&at_work))
                        pld_add_relaxed(&nasked, pld_page_heap_promote(UINT64_MAX, true));
                pld_store_seq_cst(&is_busy, false);
        }
        return unused;
}

/* What it began is over, too: what is taken from now on it may not see. */
static void rest_promoting(void)
{
        pld_store_seq_cst(&at_work, false);
        while (pld_load_seq_cst(&is_busy))
                pld_pause();
}

Test(shed, two_threads_that_shed_one_huge_page_count_it_once)
{
        pthread_t threads[2];
        struct pld_run runs[PIECES];
        arena_test_start(1);
        for (int i = 0; i < 2; i++)
                pthread_create(&threads[i], NULL, shed_along, NULL);
        pld_store_release(&at_work, true);
        for (int round = 0; round < SHEDDING_ROUNDS; round++) {
                for (int i = 0; i < PIECES; i++)
                        cr_assert_eq(pld_page_heap_alloc(0, PLD_HUGE_PAGES / PIECES, PLD_PAGE_BYTES,
                                                         true, &runs[i]),
                                     0);
                for (int i = 0; i < PIECES; i++)
                        pld_page_heap_free(runs[i]);
                pld_page_heap_release(UINT64_MAX);
        }
        pld_store_release(&at_end, true);
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        cr_expect_leq(pld_page_heap_huge_bytes(), pld_page_heap_backed_bytes());
        cr_expect_eq(pld_page_heap_huge_bytes(), pld_backing_bytes(0, PLD_BACKING_THP));
        pld_page_heap_release(UINT64_MAX);
        cr_expect_eq(pld_page_heap_huge_bytes(), 0);
        pld_page_heap_verify();
}

Test(shed, pages_on_their_way_out_do_not_make_a_huge_page_full)
{
        pthread_t thread;
        arena_test_start(1);
        pthread_create(&thread, NULL, promote_along, NULL);
        for (int round = 0; round < SHEDDING_ROUNDS; round++) {
                struct pld_run stays = take(0, PLD_HUGE_PAGES / 2, PLD_PAGE_BYTES);
                struct pld_run goes = take(0, PLD_HUGE_PAGES / 2, PLD_PAGE_BYTES);
                memset((void *)stays.at, 1, PLD_HUGE_BYTES / 2);
                memset((void *)goes.at, 1, PLD_HUGE_BYTES / 2);
                pld_page_heap_free(goes);
                pld_store_release(&at_work, true);
                cr_expect_eq(pld_page_heap_shed(UINT64_MAX, true), PLD_HUGE_BYTES / 2);
                rest_promoting();
                pld_page_heap_free(stays);
                pld_page_heap_release(UINT64_MAX);
        }
        pld_store_release(&at_end, true);
        pthread_join(thread, NULL);
        cr_expect_eq(pld_load_relaxed(&nasked), 0);
        pld_page_heap_verify();
}
