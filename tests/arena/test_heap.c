#include "tests/arena/arena_test.h"

#include "arena/heap_inside.h"
#include "base/random.h"

#include <polder/arena.h>

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t sizes[] = {
        0, 1, 16, 17, 100, 1000, 1025, 8000, 40000, 262144, 262145, 3000000
};
static char *blocks[4000];

static struct polder_heap *make(void)
{
        struct polder_heap *heap = polder_heap_create(-1);
        cr_assert_not_null(heap);
        return heap;
}

static struct polder_heap *start(void)
{
        arena_test_start(1);
        return make();
}

/* All that is not the heap's has been freed. */
static void finish(struct polder_heap *heap)
{
        polder_heap_destroy(heap);
        arena_test_nothing_left();
}

static void fill(struct polder_heap *heap, unsigned n, size_t nbytes)
{
        for (unsigned i = 0; i < n; i++) {
                blocks[i] = polder_heap_malloc(heap, nbytes);
                cr_assert_not_null(blocks[i]);
                memset(blocks[i], (int)i, nbytes);
        }
}

/* Nobody keeps blocks in it, but for its stashes themselves. */
static void expect_nothing_kept(struct polder_heap *heap)
{
        pld_heaps_reclaim();
        cr_expect_leq(polder_heap_bytes(heap), 64 * PLD_KIB);
}

Test(heap, blocks_of_all_sizes_are_aligned_and_stay_as_they_were_written)
{
        struct polder_heap *heap = start();
        for (unsigned i = 0; i < 300; i++) {
                size_t nbytes = sizes[i % PLD_COUNT_OF(sizes)];
                blocks[i] = polder_heap_malloc(heap, nbytes);
                cr_assert_not_null(blocks[i]);
                cr_assert_eq((uintptr_t)blocks[i] % 16, 0);
                cr_assert(polder_malloc_usable_size(blocks[i]) >= nbytes);
                memset(blocks[i], (int)(i % 251), nbytes);
        }
        for (unsigned i = 0; i < 300; i++) {
                size_t nbytes = sizes[i % PLD_COUNT_OF(sizes)];
                for (size_t k = 0; k < nbytes; k += 1 + nbytes / 100)
                        cr_assert_eq((unsigned char)blocks[i][k], i % 251);
                polder_free(blocks[i]);
        }
        polder_heap_destroy(heap);
        polder_heap_destroy(NULL);
        arena_test_nothing_left();
}

Test(heap, destroying_it_frees_all_its_blocks_and_no_others)
{
        struct polder_heap *heap = start(), *other = make();
        static char *mine[2000], *theirs[2000];
        for (unsigned i = 0; i < PLD_COUNT_OF(mine); i++) {
                size_t nbytes = i % 100 ? sizes[i % 9] : 500000;
                cr_assert_not_null(polder_heap_malloc(heap, nbytes));
                mine[i] = memset(polder_malloc(nbytes + 8), 1, nbytes + 8);
                theirs[i] = memset(polder_heap_malloc(other, nbytes + 8), 2, nbytes + 8);
        }
        size_t used = pld_page_heap_used_bytes(), nbytes = polder_heap_bytes(heap);
        cr_expect_geq(nbytes, 20 * 500000);
        polder_heap_destroy(heap);
        cr_expect_leq(pld_page_heap_used_bytes(), used - nbytes);
        for (unsigned i = 0; i < PLD_COUNT_OF(mine); i++) {
                cr_assert_eq(mine[i][7], 1);
                cr_assert_eq(theirs[i][7], 2);
                polder_free(mine[i]);
        }
        polder_heap_destroy(other);
        arena_test_nothing_left();
}

Test(heap, its_bytes_are_what_it_holds)
{
        struct polder_heap *heap = start();
        cr_expect_eq(polder_heap_bytes(heap), 0);
        void *large = polder_heap_malloc(heap, 1000000);
        cr_expect_eq(polder_heap_bytes(heap), pld_round_up(1000000, PLD_PAGE_BYTES));
        large = polder_realloc(large, 300000);
        cr_expect_eq(polder_heap_bytes(heap), pld_round_up(300000, PLD_PAGE_BYTES));
        polder_free(large);
        cr_expect_eq(polder_heap_bytes(heap), 0);
        fill(heap, 1000, 1000);
        cr_expect_geq(polder_heap_bytes(heap), 1000 * 1000);
        for (unsigned i = 0; i < 1000; i++)
                polder_free(blocks[i]);
        cr_expect_leq(polder_heap_bytes(heap), 200 * PLD_KIB,
                      "free spans go at once, but for the last");
        expect_nothing_kept(heap);
        finish(heap);
}

Test(heap, calloc_is_zeroed_and_products_that_overflow_are_refused)
{
        struct polder_heap *heap = start();
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned i = 0; i < PLD_COUNT_OF(sizes); i++) {
                        char *p = polder_heap_calloc(heap, sizes[i], 1);
                        for (size_t k = 0; k < sizes[i]; k++)
                                cr_assert_eq(p[k], 0);
                        memset(p, 1, sizes[i]);
                        polder_free(p);
                }
        }
        errno = 0;
        cr_expect_null(polder_heap_calloc(heap, SIZE_MAX / 2, 3));
        cr_expect_eq(errno, ENOMEM);
        errno = 0;
        cr_expect_null(polder_heap_malloc(heap, SIZE_MAX));
        cr_expect_eq(errno, ENOMEM);
        cr_expect_null(polder_heap_malloc(heap, (size_t)1 << 50));
        cr_expect_not_null(polder_heap_malloc(heap, 1));
        finish(heap);
}

Test(heap, aligned_blocks_are_aligned)
{
        struct polder_heap *heap = start();
        for (size_t align = 1; align <= 4 * PLD_MIB; align *= 2) {
                for (unsigned i = 0; i < 10; i++) {
                        char *p = polder_heap_aligned_alloc(heap, align, sizes[i]);
                        cr_assert_not_null(p);
                        cr_assert_eq((uintptr_t)p % align, 0);
                        memset(p, 1, sizes[i]);
                        if (i % 2)
                                polder_free(p);
                }
        }
        errno = 0;
        cr_expect_null(polder_heap_aligned_alloc(heap, 24, 100));
        cr_expect_eq(errno, EINVAL);
        cr_expect_null(polder_heap_aligned_alloc(heap, (size_t)1 << 62, 1));
        cr_expect_eq(errno, ENOMEM);
        finish(heap);
}

Test(heap, a_resized_block_keeps_its_contents_and_stays_in_its_heap)
{
        struct polder_heap *heap = start();
        for (unsigned from = 1; from < PLD_COUNT_OF(sizes); from++) {
                for (unsigned to = 1; to < PLD_COUNT_OF(sizes); to++) {
                        size_t less = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
                        char *p = polder_heap_realloc(heap, NULL, sizes[from]);
                        memset(p, 'x', sizes[from]);
                        p = from % 2 ? polder_realloc(p, sizes[to])
                                     : polder_heap_realloc(heap, p, sizes[to]);
                        cr_assert_not_null(p);
                        for (size_t k = 0; k < less; k += 1 + less / 100)
                                cr_assert_eq(p[k], 'x');
                        memset(p, 1, sizes[to]);
                }
        }
        cr_expect_null(polder_heap_realloc(heap, polder_heap_malloc(heap, 10), 0));
        finish(heap);
}

Test(heap, memory_is_on_the_node_asked_for_or_there_is_none)
{
        arena_test_start(3);
        errno = 0;
        cr_expect_null(polder_heap_create(arena_test_id(0) + 1));
        cr_expect_eq(errno, EINVAL);
        errno = 0;
        cr_expect_null(polder_heap_create(-2));
        cr_expect_eq(errno, EINVAL);
        pld_fake_run_on(2);
        struct polder_heap *here = make(), *there = polder_heap_create(arena_test_id(2));
        for (unsigned i = 0; i < PLD_COUNT_OF(sizes); i++) {
                cr_expect_eq(polder_node_of(polder_heap_malloc(here, sizes[i])), arena_test_id(1));
                cr_expect_eq(polder_node_of(polder_heap_malloc(there, sizes[i])), arena_test_id(2));
        }
        pld_fake_run_on(0);
        cr_expect_eq(polder_node_of(polder_heap_malloc(here, 5000)), arena_test_id(1));
        polder_heap_destroy(here);
        polder_heap_destroy(there);
        pld_fake_set_free(arena_test_id(0), 0);
        struct polder_heap *full = polder_heap_create(arena_test_id(0));
        errno = 0;
        cr_expect_null(polder_heap_malloc(full, 100000000));
        cr_expect_eq(errno, ENOMEM);
        cr_expect_null(polder_heap_malloc(full, 64));
        polder_heap_destroy(full);
        arena_test_nothing_left();
}

/* ---- Beside malloc --------------------------------------------------------------- */

static void *leave_blocks(void *unused)
{
        for (unsigned i = 0; i < 300; i++)
                blocks[i] = memset(polder_malloc(128), 7, 128);
        for (unsigned i = 0; i < 300; i += 2)
                polder_free(blocks[i]);
        return unused;
}

Test(heap, it_adopts_nothing_of_dead_threads)
{
        arena_test_start(1);
        arena_test_thread(leave_blocks, NULL);
        struct polder_heap *heap = make();
        for (unsigned i = 0; i < 1000; i++)
                memset(polder_heap_malloc(heap, 128), 1, 128);
        polder_heap_destroy(heap);
        for (unsigned i = 1; i < 300; i += 2) {
                cr_assert_eq(blocks[i][127], 7);
                polder_free(blocks[i]);
        }
        arena_test_nothing_left();
}

static _Atomic unsigned step;

static void *free_a_few_and_go_on(void *unused)
{
        void *mine[100];
        for (unsigned i = 0; i < 40; i++)
                polder_free(blocks[i]);
        pld_store_release(&step, 1);
        while (pld_load_acquire(&step) < 2)
                pld_pause();
        for (unsigned i = 0; i < 100; i++)
                mine[i] = polder_malloc(64);
        for (unsigned i = 0; i < 100; i++)
                polder_free(mine[i]);
        return unused;
}

Test(heap, no_thread_keeps_a_block_that_outlives_it)
{
        pthread_t thread;
        struct polder_heap *heap = start();
        fill(heap, 100, 64);
        pthread_create(&thread, NULL, free_a_few_and_go_on, NULL);
        while (pld_load_acquire(&step) < 1)
                pld_pause();
        polder_heap_destroy(heap);
        struct polder_heap *next = make(); /* in the same memory */
        fill(next, 100, 64);
        pld_store_release(&step, 2);
        pthread_join(thread, NULL);
        for (unsigned i = 0; i < 100; i++)
                for (unsigned k = 0; k < 64; k++)
                        cr_assert_eq(blocks[i][k], (char)i);
        polder_heap_destroy(next);
        arena_test_nothing_left();
}

Test(heap, no_thread_keeps_a_large_block_of_it)
{
        struct polder_heap *heap = start();
        void *p = polder_heap_malloc(heap, 500000), *q = polder_heap_malloc(heap, 500000);
        polder_free(p);
        void *mine = polder_malloc(500000);
        memset(mine, 1, 500000);
        polder_heap_destroy(heap);
        polder_free(mine);
        cr_expect_neq(mine, q);
        arena_test_nothing_left();
}

static void *free_all(void *n)
{
        for (unsigned i = 0; i < *(unsigned *)n; i++)
                polder_free(blocks[i]);
        return NULL;
}

Test(heap, what_other_threads_free_is_used_again)
{
        struct polder_heap *heap = start();
        unsigned n = 1000;
        size_t first = 0;
        for (unsigned round = 0; round < 10; round++) {
                fill(heap, n, 500);
                if (round == 0)
                        first = polder_heap_bytes(heap);
                arena_test_thread(free_all, &n);
        }
        cr_expect_leq(polder_heap_bytes(heap), first + first / 4);
        finish(heap);
}

static void *use_many_sizes(void *heap)
{
        void *mine[50];
        for (unsigned i = 0; i < 50; i++)
                mine[i] = polder_heap_malloc(heap, 60 * (i + 1));
        for (unsigned i = 0; i < 50; i++)
                polder_free(mine[i]);
        return NULL;
}

Test(heap, a_thread_that_ends_gives_back_what_it_kept)
{
        struct polder_heap *heap = start();
        for (unsigned i = 0; i < 500; i++)
                arena_test_thread(use_many_sizes, heap);
        expect_nothing_kept(heap);
        finish(heap);
}

static pthread_key_t key;

static void use_late(void *heap)
{
        static _Thread_local unsigned nrounds;
        use_many_sizes(heap);
        if (++nrounds < 4)
                pthread_setspecific(key, heap);
}

static void *end_late(void *heap)
{
        use_many_sizes(heap);
        pthread_setspecific(key, heap);
        return NULL;
}

Test(heap, destructors_of_a_thread_may_use_it_to_the_last)
{
        arena_test_start(1);
        pthread_key_create(&key, use_late);
        struct polder_heap *heap = make();
        use_many_sizes(heap);
        arena_test_thread(end_late, heap);
        expect_nothing_kept(heap);
        finish(heap);
}

Test(heap, a_thread_may_use_more_heaps_than_it_has_seats_for)
{
        enum { NHEAPS = 50, ROUNDS = 100 };
        struct polder_heap *heaps[NHEAPS];
        arena_test_start(1);
        for (unsigned i = 0; i < NHEAPS; i++)
                heaps[i] = make();
        for (unsigned round = 0; round < ROUNDS; round++) {
                for (unsigned i = 0; i < NHEAPS; i++)
                        blocks[i] = polder_heap_malloc(heaps[i], 64);
                for (unsigned i = 0; i < NHEAPS; i++)
                        polder_free(blocks[i]);
                polder_heap_destroy(heaps[round % NHEAPS]); /* and another one in its place */
                heaps[round % NHEAPS] = make();
        }
        for (unsigned i = 0; i < NHEAPS; i++)
                polder_heap_destroy(heaps[i]);
        arena_test_nothing_left();
}

Test(heap, memory_that_waits_in_heaps_is_found_when_there_is_no_other)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.limit = 16 * PLD_MIB;
        arena_test_start_as(1, &settings);
        struct polder_heap *heap = make();
        unsigned n = 0;
        while (n < PLD_COUNT_OF(blocks) && (blocks[n] = polder_heap_malloc(heap, 200000)))
                n++;
        cr_expect_gt(n, 40);
        cr_expect_lt(n, 90);
        free_all(&n);
        for (unsigned i = 0; i < 97; i++) { /* every class keeps its last span */
                void *p = polder_heap_malloc(heap, pld_classes[i].nbytes);
                polder_free(p);
        }
        void *p = polder_malloc(13 * PLD_MIB);
        cr_expect_not_null(p);
        polder_free(p);
        finish(heap);
}

/* ---- Misuse ---------------------------------------------------------------------- */

Test(heap, a_double_free_dies, .signal = SIGABRT)
{
        struct polder_heap *heap = start();
        void *p = polder_heap_malloc(heap, 64);
        polder_free(p);
        polder_free(p);
}

Test(heap, a_double_free_of_a_large_block_dies, .signal = SIGABRT)
{
        struct polder_heap *heap = start();
        void *p = polder_heap_malloc(heap, 500000);
        polder_free(p);
        polder_free(p);
}

Test(heap, a_free_after_it_was_destroyed_dies, .signal = SIGABRT)
{
        struct polder_heap *heap = start();
        void *p = polder_heap_malloc(heap, 64);
        polder_heap_destroy(heap);
        polder_free(p);
}

Test(heap, a_free_inside_a_block_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        polder_free((char *)polder_heap_malloc(make(), 64) + 16);
}

Test(heap, a_realloc_of_another_heaps_block_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        polder_heap_realloc(make(), polder_heap_malloc(make(), 64), 100);
}

Test(heap, a_realloc_of_mallocs_block_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        polder_heap_realloc(make(), polder_malloc(64), 100);
}

/* ---- Threads --------------------------------------------------------------------- */

enum { NTHREADS = 4 };

static _Atomic(char *) handed_over[64];

/* Blocks change hands through a table; whoever gets one looks at it and frees it. */
static void exchange_one(struct polder_heap *heap, struct pld_random *random)
{
        /* What threads keep, what they don't, and what is large. */
        static const uint32_t most[] = { 200, 2000, 20000, 20000, 20000, 400000 };
        size_t nbytes = 16 + pld_random_below(random, most[pld_random_below(random, 6)]);
        char *p = polder_heap_malloc(heap, nbytes);
        PLD_CHECK(p);
        p[8] = p[nbytes - 1] = (char)nbytes;
        *(size_t *)p = nbytes;
        p = pld_exchange_acq_rel(&handed_over[pld_random_below(random, 64)], p);
        if (!p)
                return;
        nbytes = *(size_t *)p;
        PLD_CHECK(p[nbytes - 1] == (char)nbytes && (p[8] == (char)nbytes || nbytes == 16));
        polder_free(p);
}

static void *share(void *heap)
{
        struct pld_random random = pld_random_seeded((uintptr_t)&random);
        for (unsigned i = 0; i < 30000 && !pld_load_relaxed(&arena_test_over); i++) {
                exchange_one(heap, &random);
                if (i == 0)
                        pld_add_relaxed(&arena_test_nbusy, 1);
        }
        return NULL;
}

Test(heap, threads_share_it_and_hand_its_blocks_around, .timeout = 300)
{
        pthread_t threads[NTHREADS];
        arena_test_start(2); /* four CPUs, as many shards */
        for (unsigned round = 0; round < 3; round++) {
                struct polder_heap *heap = make();
                memset(handed_over, 0, sizeof handed_over);
                for (unsigned i = 0; i < NTHREADS; i++)
                        cr_assert_eq(pthread_create(&threads[i], NULL, share, heap), 0);
                for (unsigned i = 0; i < NTHREADS; i++)
                        pthread_join(threads[i], NULL);
                finish(heap);
        }
}

static int child(void *arg)
{
        struct polder_heap *heap = arg;
        for (unsigned i = 0; i < PLD_COUNT_OF(handed_over); i++)
                polder_free(handed_over[i]);
        for (unsigned i = 0; i < 1000; i++) {
                char *p = polder_heap_malloc(heap, 1 + i);
                if (!p)
                        return 1;
                memset(p, 1, 1 + i);
                if (i % 2)
                        polder_free(p);
        }
        pthread_t thread;
        if (pthread_create(&thread, NULL, use_many_sizes, heap) || pthread_join(thread, NULL))
                return 3;
        polder_heap_destroy(heap);
        heap = polder_heap_create(-1);
        return heap && polder_heap_malloc(heap, 100) ? 0 : 2;
}

static _Atomic bool is_inside;

/* As a thread that is in the middle of something when another one forks. */
static void *be_inside(void *arg)
{
        struct polder_heap *heap = arg;
        pld_lock(&heap->shards[0]->lock);
        pld_store_release(&is_inside, true);
        usleep(50000);
        pld_store_release(&is_inside, false);
        pld_unlock(&heap->shards[0]->lock);
        return NULL;
}

Test(heap, a_fork_waits_for_who_is_inside_a_heap, .timeout = 60)
{
        pthread_t thread;
        struct polder_heap *heap = start();
        cr_assert_eq(pthread_create(&thread, NULL, be_inside, heap), 0);
        while (!pld_load_acquire(&is_inside))
                sched_yield();
        pld_heap_fork_prepare();
        cr_expect_not(pld_load_acquire(&is_inside));
        pld_heap_fork_done();
        pthread_join(thread, NULL);
        finish(heap);
}

Test(heap, a_forked_child_has_heaps_while_threads_used_them_in_the_parent, .timeout = 300)
{
        arena_test_start(2);
        struct polder_heap *heap = make();
        arena_test_fork_beside(NTHREADS, share, 30, child, heap);
        finish(heap);
}
