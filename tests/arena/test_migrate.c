#include "tests/arena/arena_test.h"

#include <errno.h>
#include <polder/arena.h>
#include <polder/region.h>
#include <string.h>

enum { CPU_OF_1 = 2, N = 3 }; /* arena_test_machine(); huge pages of a block */

static const size_t MIB_2 = PLD_HUGE_BYTES;

/* Where a huge page is, by the library's word and by the machine's. */
static bool lies_on(const char *p, unsigned node)
{
        return polder_node_of(p) == arena_test_id(node) &&
               pld_fake_node_of(p) == arena_test_id(node);
}

/* Populated from the start, so that the machine knows where it is. */
static void start(void)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = 64 * PLD_MIB;
        settings.prefault = true;
        arena_test_start_as(2, &settings);
}

static char *block_of(size_t nbytes)
{
        char *p = polder_malloc(nbytes);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % PLD_HUGE_BYTES, 0);
        return p;
}

static size_t on_node(unsigned node)
{
        size_t n = 0;
        for (enum pld_backing kind = PLD_BACKING_NONE + 1; kind < PLD_BACKING_KINDS; kind++)
                n += pld_backing_bytes(node, kind);
        return n;
}

Test(migrate, a_block_moves_with_the_books)
{
        start();
        size_t before = on_node(1);
        char *p = block_of(N * MIB_2);
        for (size_t i = 0; i < N; i++)
                cr_assert(lies_on(p + i * MIB_2, 0));
        cr_expect_eq(polder_migrate(p, N * MIB_2, arena_test_id(1)), 0);
        for (size_t i = 0; i < N; i++)
                cr_expect(lies_on(p + i * MIB_2, 1));
        cr_expect_eq(on_node(1), before + N * MIB_2);
        size_t used, idle;
        pld_page_heap_count_node(1, &used, &idle);
        cr_expect_eq(used, N * MIB_2);
        pld_page_heap_count_node(0, &used, &idle);
        cr_expect_eq(used, 0);
        pld_page_heap_verify();
        cr_expect_eq(polder_migrate(p, N * MIB_2, arena_test_id(1)), 0, "it is there");
}

Test(migrate, a_freed_block_is_not_handed_out_as_memory_of_its_old_node)
{
        start();
        char *p = block_of(N * MIB_2);
        cr_assert_eq(polder_migrate(p, N * MIB_2, arena_test_id(1)), 0);
        size_t backed = pld_page_heap_backed_bytes();
        polder_free(p);
        cr_expect_eq(pld_page_heap_backed_bytes(), backed - N * MIB_2, "it has gone back");
        pld_page_heap_verify();
        p = block_of(N * MIB_2);
        for (size_t i = 0; i < N; i++)
                cr_expect_eq(polder_node_of(p + i * MIB_2), arena_test_id(0));
        polder_free(p);
        arena_test_nothing_left();
}

Test(migrate, nothing_is_handed_out_beside_a_block_that_moved)
{
        start();
        char *p = block_of(N * MIB_2 + PLD_HUGE_BYTES / 2), *others[64];
        cr_assert_eq(polder_migrate(p, N * MIB_2 + PLD_HUGE_BYTES / 2, arena_test_id(1)), 0);
        for (int i = 0; i < 64; i++) {
                others[i] = polder_malloc(300000);
                cr_expect_eq(polder_node_of(others[i]), arena_test_id(0));
        }
        pld_page_heap_verify();
        for (int i = 0; i < 64; i++)
                polder_free(others[i]);
        polder_free(p);
        arena_test_nothing_left();
}

Test(migrate, a_huge_page_with_others_blocks_stays_and_the_rest_moves)
{
        start();
        char *p = block_of(N * MIB_2 + PLD_HUGE_BYTES / 2);
        char *other = polder_malloc(300000);
        cr_assert_eq((uintptr_t)other >> PLD_HUGE_SHIFT,
                     (uintptr_t)(p + N * MIB_2) >> PLD_HUGE_SHIFT);
        cr_expect_eq(polder_migrate(p, N * MIB_2 + PLD_HUGE_BYTES / 2, arena_test_id(1)), -EBUSY);
        cr_expect(lies_on(p, 1));
        cr_expect(lies_on(p + N * MIB_2, 0));
        cr_expect(lies_on(other, 0));
        cr_expect_eq(polder_migrate(other, 300000, arena_test_id(1)), -EBUSY);
        cr_expect(lies_on(other, 0));
        polder_free(other);
        polder_free(p);
        arena_test_nothing_left();
}

Test(migrate, a_block_can_come_home_and_its_huge_pages_are_used_again)
{
        start();
        char *p = block_of(N * MIB_2 + PLD_HUGE_BYTES / 2);
        for (int round = 0; round < 3; round++)
                for (unsigned node = 0; node < 2; node++)
                        cr_assert_eq(
                            polder_migrate(p, N * MIB_2 + PLD_HUGE_BYTES / 2, arena_test_id(!node)),
                            0);
        cr_expect(lies_on(p, 0));
        char *other = polder_malloc(300000);
        cr_expect_eq((uintptr_t)other >> PLD_HUGE_SHIFT,
                     (uintptr_t)(p + N * MIB_2) >> PLD_HUGE_SHIFT, "the rest is free again");
        pld_page_heap_verify();
        polder_free(other);
        size_t backed = pld_page_heap_backed_bytes();
        polder_free(p);
        cr_expect_eq(pld_page_heap_backed_bytes(), backed, "it is idle, as ever");
        arena_test_nothing_left();
}

Test(migrate, a_part_of_a_block_moves_by_huge_pages)
{
        start();
        char *p = block_of(N * MIB_2);
        cr_expect_eq(polder_migrate(p + MIB_2, MIB_2, arena_test_id(1)), 0);
        cr_expect(lies_on(p, 0));
        cr_expect(lies_on(p + MIB_2, 1));
        cr_expect(lies_on(p + 2 * MIB_2, 0));
        cr_expect_eq(polder_migrate(p + MIB_2 / 2, MIB_2 / 2, arena_test_id(1)), -EBUSY,
                     "half of it is not meant");
        cr_expect(lies_on(p, 0));
        polder_free(p);
        arena_test_nothing_left();
}

Test(migrate, a_block_that_moved_is_not_kept_for_the_next_one)
{
        start();
        char *p = block_of(MIB_2);
        cr_assert_eq(polder_migrate(p, MIB_2, arena_test_id(1)), 0);
        polder_free(p);
        cr_expect_eq(pld_cache_mine->bins.large_bytes, 0);
        p = polder_malloc(MIB_2);
        cr_expect_eq(polder_node_of(p), arena_test_id(0));
        polder_free(p);
        arena_test_nothing_left();
}

Test(migrate, a_block_that_moved_shrinks_and_grows_where_it_is)
{
        start();
        char *p = block_of(N * MIB_2);
        memset(p, 7, 100);
        cr_assert_eq(polder_migrate(p, N * MIB_2, arena_test_id(1)), 0);
        char *q = polder_realloc(p, MIB_2 + PLD_HUGE_BYTES / 2);
        cr_expect_eq(q, p);
        pld_page_heap_verify();
        q = polder_realloc(q, MIB_2 + PLD_HUGE_BYTES / 2 + 100000);
        cr_expect_eq(q, p, "the pages behind it are nobody else's");
        cr_expect_eq(q[99], 7);
        cr_expect_eq(polder_node_of(q + MIB_2 + PLD_HUGE_BYTES / 2 + 99999), arena_test_id(1));
        polder_free(q);
        arena_test_nothing_left();
}

Test(migrate, regions_can_move)
{
        start();
        struct polder_region *region = polder_region_create();
        char *p = polder_region_alloc(region, 2 * MIB_2);
        int error = polder_migrate(p, 2 * MIB_2, arena_test_id(1));
        cr_expect(error == 0 || error == -EBUSY);
        cr_expect_eq(polder_node_of(p + MIB_2), arena_test_id(1));
        polder_region_destroy(region);
        pld_page_heap_verify();
}

Test(migrate, what_is_no_large_block_is_invalid)
{
        int local = 0;
        cr_expect_eq(polder_migrate(&local, 4, 1), -EINVAL, "not even started");
        start();
        char *small = polder_malloc(64), *p = block_of(N * MIB_2);
        cr_expect_eq(polder_migrate(&local, 4, arena_test_id(1)), -EINVAL);
        cr_expect_eq(polder_migrate(small, 64, arena_test_id(1)), -EINVAL);
        cr_expect_eq(polder_migrate(p, 0, arena_test_id(1)), -EINVAL);
        cr_expect_eq(polder_migrate(p, N * MIB_2 + 1, arena_test_id(1)), -EINVAL);
        cr_expect_eq(polder_migrate(p, SIZE_MAX, arena_test_id(1)), -EINVAL);
        cr_expect_eq(polder_migrate(p, MIB_2, 0), -EINVAL, "there is no such node");
        cr_expect(lies_on(p, 0));
}

static void expect_refused(int error)
{
        char *p = block_of(N * MIB_2);
        size_t here = on_node(0), there = on_node(1);
        cr_expect_eq(polder_migrate(p, N * MIB_2, arena_test_id(1)), error);
        for (size_t i = 0; i < N; i++)
                cr_expect(lies_on(p + i * MIB_2, 0));
        cr_expect_eq(on_node(0), here);
        cr_expect_eq(on_node(1), there);
        pld_page_heap_verify();
        polder_free(p);
        arena_test_nothing_left();
}

Test(migrate, a_node_that_is_full_is_an_error_and_nothing_moves)
{
        start();
        pld_fake_set_free(arena_test_id(1), PLD_HUGE_BYTES);
        expect_refused(-ENOMEM);
        cr_expect_null(pld_fake_disaster());
}

Test(migrate, pages_that_cannot_be_moved_take_the_others_back_with_them)
{
        start();
        pld_fake_fail(PLD_FAKE_REBIND, 0, 1, EIO);
        expect_refused(-EBUSY);
}

Test(migrate, a_node_that_was_taken_is_invalid)
{
        start();
        pld_fake_allow_nodes("1"); /* the kernel's id of the first */
        expect_refused(-EINVAL);
        cr_expect_not(pld_machine_is_allowed(1));
}

Test(migrate, memory_of_a_pool_moves_too)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.pages = "2M,base";
        arena_test_machine(2);
        pld_fake_set_pool(arena_test_id(0), 8);
        pld_fake_set_pool(arena_test_id(1), 8);
        cr_assert_eq(pld_arena_start(&settings), 0);
        char *p = block_of(N * MIB_2);
        cr_assert_eq(pld_backing_bytes(0, PLD_BACKING_2M), N * MIB_2);
        cr_expect_eq(polder_migrate(p, N * MIB_2, arena_test_id(1)), 0);
        cr_expect(lies_on(p, 1));
        cr_expect_eq(pld_backing_bytes(1, PLD_BACKING_2M), N * MIB_2);
        cr_expect_eq(pld_fake_pool(arena_test_id(0)), 8);
        polder_free(p);
        cr_expect_eq(pld_fake_pool(arena_test_id(1)), 8);
}

Test(migrate, on_one_node_a_block_is_there_already)
{
        arena_test_start(1);
        char *p = block_of(MIB_2);
        cr_expect_eq(polder_migrate(p, MIB_2, arena_test_id(0)), 0);
        cr_expect_eq(polder_migrate(p, MIB_2, arena_test_id(1)), -EINVAL);
}

static void *move_and_allocate(void *arg)
{
        uintptr_t state = (uintptr_t)arg * 2654435761u + 1;
        char *blocks[8] = { NULL };
        for (int step = 0; step < 3000; step++) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                char **block = &blocks[state >> 33 & 7];
                size_t nbytes = 300000 + (state >> 36) % (3 * MIB_2);
                if (!*block) {
                        *block = polder_malloc(nbytes);
                        cr_assert_not_null(*block);
                        (*block)[0] = (char)step;
                } else if (state >> 60 & 3) {
                        int node = arena_test_id(state >> 62 & 1);
                        int error = polder_migrate(*block, polder_malloc_usable_size(*block), node);
                        cr_assert(error == 0 || error == -EBUSY);
                } else {
                        polder_free(*block);
                        *block = NULL;
                }
                if (step % 100 == 0)
                        pld_page_heap_shed(UINT64_MAX, true);
        }
        for (int i = 0; i < 8; i++)
                polder_free(blocks[i]);
        return NULL;
}

Test(migrate, threads_move_their_blocks_beside_each_other)
{
        enum { NTHREADS = 4 };
        pthread_t threads[NTHREADS];
        arena_test_start(2);
        for (uintptr_t i = 0; i < NTHREADS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, move_and_allocate, (void *)i), 0);
        for (uintptr_t i = 0; i < NTHREADS; i++)
                pthread_join(threads[i], NULL);
        pld_page_heap_verify();
        arena_test_nothing_left();
        cr_expect_eq(pld_page_heap_release(UINT64_MAX) > 0, true);
        cr_expect_eq(pld_page_heap_backed_bytes(), 0, "no huge page is lost");
        cr_expect_eq(on_node(0) + on_node(1), 0);
}
