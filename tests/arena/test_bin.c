#include "tests/arena/arena_test.h"

#include <polder/arena.h>

#include <string.h>

enum { N64 = 1024 /* at least a span's worth */, UNKEPT = 48 /* by who is not the owner */ };

static size_t block_bytes = 64;

static unsigned span_count(void)
{
        return pld_classes[pld_class_of(block_bytes)].manual_count;
}

static struct pld_span *span_of(const void *p)
{
        return pld_span_of((uintptr_t)p);
}

static void *allocate_a_span(void *arg)
{
        void **blocks = arg;
        for (unsigned i = 0; i < span_count(); i++)
                blocks[i] = polder_malloc(block_bytes);
        return NULL;
}

static void free_a_span(void **blocks)
{
        for (unsigned i = 0; i < span_count(); i++)
                polder_free(blocks[i]);
}

static struct pld_bin *bin_of(size_t nbytes)
{
        return &pld_cache_mine->bins.bin[pld_class_of_block(nbytes)];
}

static size_t nbinned(size_t nbytes)
{
        return (size_t)(bin_of(nbytes)->top - bin_of(nbytes)->floor);
}

Test(bin, a_bin_grows_with_use_and_then_gives_its_older_half_back)
{
        void *blocks[N64];
        arena_test_start(1);
        polder_free(polder_malloc(64));
        size_t first = (size_t)(bin_of(64)->limit - bin_of(64)->floor);
        allocate_a_span(blocks);
        for (unsigned i = 0; i < span_count(); i++)
                polder_free(blocks[i]);
        size_t last = (size_t)(bin_of(64)->limit - bin_of(64)->floor);
        cr_expect_gt(last, first);
        cr_expect_leq(nbinned(64), last);
        cr_expect_gt(nbinned(64), 0);
        pld_manual_verify(pld_cache_mine);
        cr_expect_eq(polder_malloc(64), blocks[span_count() - 1], "the last one freed");
        polder_free(blocks[span_count() - 1]);
        arena_test_nothing_left();
}

Test(bin, steady_use_of_a_bin_touches_no_span)
{
        void *blocks[4];
        arena_test_start(1);
        for (unsigned i = 0; i < 4; i++)
                blocks[i] = polder_malloc(64);
        struct pld_span *span = span_of(blocks[0]);
        uint32_t used = span->manual.used;
        for (unsigned i = 0; i < 4; i++)
                polder_free(blocks[i]);
        cr_expect_eq(span->manual.used, used, "to the span they are out");
        for (unsigned i = 0; i < 4; i++)
                blocks[i] = polder_malloc(64);
        cr_expect_eq(span->manual.used, used);
        for (unsigned i = 0; i < 4; i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

static unsigned nremote(const struct pld_span *span)
{
        uintptr_t word = pld_load_relaxed(&span->manual.remote);
        uintptr_t at = word << 16 >> 16 & ~(uintptr_t)PLD_MANUAL_FULL;
        unsigned n = 0;
        for (; at; at = (uintptr_t)((struct pld_block *)at)->next)
                n++;
        cr_expect_eq(n, word >> 48, "the word says how many there are");
        return n;
}

static void *free_some(void *arg)
{
        void **blocks = arg;
        struct pld_span *span = span_of(blocks[0]);
        for (unsigned i = 0; i < 10; i++)
                polder_free(blocks[i]);
        cr_expect_eq(nremote(span), 0, "they wait in the outbox");
        for (unsigned i = 10; i < 70; i++)
                polder_free(blocks[i]);
        cr_expect_eq(nremote(span), 64, "and go home together");
        return NULL;
}

Test(bin, blocks_of_others_go_home_in_batches_and_all_when_the_thread_ends)
{
        void *blocks[N64];
        block_bytes = UNKEPT;
        arena_test_start(1);
        allocate_a_span(blocks);
        arena_test_thread(free_some, blocks);
        struct pld_span *span = span_of(blocks[0]);
        cr_expect_eq(nremote(span), 70);
        for (unsigned i = 70; i < span_count(); i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

static void *free_first_and_stay(void *arg)
{
        polder_free(*(void **)arg); /* it waits in the outbox, the owner is gone by then */
        return NULL;
}

Test(bin, a_block_in_an_outbox_survives_the_end_of_its_owner)
{
        void *blocks[N64];
        block_bytes = UNKEPT;
        arena_test_start(1);
        arena_test_thread(allocate_a_span, blocks);
        struct pld_span *span = span_of(blocks[0]);
        pld_store_relaxed(&span->manual.owner, &pld_cache_none); /* as it was when we looked */
        free_first_and_stay(&blocks[0]);
        pld_store_relaxed(&span->manual.owner, NULL);
        for (unsigned i = 1; i < span_count(); i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

Test(bin, a_large_span_is_kept_for_the_next_one_of_its_size)
{
        enum { LARGE = 1 << 20 };
        arena_test_start(1);
        char *p = polder_malloc(LARGE);
        polder_free(p);
        cr_expect_eq(pld_spans_live(), 1);
        char *q = polder_malloc(LARGE / 2);
        cr_expect_neq(q, p, "it is not wasted on half of it");
        cr_expect_eq(polder_malloc(LARGE - 5000), p);
        cr_expect_geq(polder_malloc_usable_size(p), LARGE - 5000);
        memset(p, 1, LARGE - 5000);
        polder_free(p);
        p = polder_calloc(1, LARGE);
        for (unsigned i = 0; i < LARGE; i += 512)
                cr_assert_eq(p[i], 0);
        polder_free(p);
        polder_free(q);
        arena_test_nothing_left();
}

Test(bin, release_gives_back_what_bins_and_threads_keep)
{
        void *blocks[N64];
        arena_test_start(1);
        allocate_a_span(blocks);
        polder_free(polder_malloc(1 << 20));
        free_a_span(blocks);
        cr_expect_gt(pld_spans_live(), 0);
        polder_release();
        cr_expect_eq(pld_spans_live(), 0);
        cr_expect_eq(pld_page_heap_used_bytes(), 0);
        cr_expect_eq(polder_malloc(64) == NULL, 0, "and goes on");
}

Test(bin, a_large_block_freed_twice_is_found, .signal = SIGABRT)
{
        arena_test_start(1);
        void *p = polder_malloc(1 << 20);
        polder_free(p);
        polder_free(p);
}

static void *free_twice(void *arg)
{
        polder_free(arg);
        polder_free(arg);
        return NULL;
}

Test(bin, a_block_freed_twice_by_a_stranger_is_found, .signal = SIGABRT)
{
        arena_test_start(1);
        arena_test_thread(free_twice, polder_malloc(64));
}

/* ---- Threads that move (N4; cache.c, K3) */

enum { CPU_OF_0 = 0, CPU_OF_1 = 2 }; /* arena_test_machine() */

static bool is_on(const void *p, unsigned node)
{
        return polder_node_of(p) == arena_test_id(node);
}

/* As often as it takes to be sure that the answer is no accident. */
static bool pairs_are_on(size_t nbytes, unsigned node)
{
        bool all = true;
        for (int i = 0; i < 100; i++) {
                void *p = polder_malloc(nbytes);
                all &= is_on(p, node);
                polder_free(p);
        }
        return all;
}

Test(bin, what_a_thread_keeps_is_of_the_node_it_is_on_whatever_the_size)
{
        static const size_t sizes[] = { 1, 16, 1000, 2000, 40000, 200000, 1 << 20 };
        arena_test_start(2);
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                pld_fake_run_on(CPU_OF_0);
                cr_expect(pairs_are_on(sizes[i], 0));
                pld_fake_run_on(CPU_OF_1);
                cr_expect(pairs_are_on(sizes[i], 1), "%zu bytes", sizes[i]);
                void *p = polder_aligned_alloc(64, sizes[i]);
                pld_fake_run_on(CPU_OF_0);
                void *q = polder_realloc(p, 3 * sizes[i]);
                cr_expect(is_on(q, 0) || q == p);
                polder_free(q);
        }
        arena_test_nothing_left();
}

Test(bin, another_cpu_of_the_node_is_no_move)
{
        arena_test_start(2);
        void *p = polder_malloc(64);
        polder_free(p);
        pld_fake_run_on(CPU_OF_0 + 1);
        cr_expect_eq(polder_malloc(64), p);
        polder_free(p);
}

Test(bin, a_thread_that_moves_gives_up_what_it_kept)
{
        void *blocks[N64];
        arena_test_start(2);
        allocate_a_span(blocks);
        for (unsigned i = 0; i < span_count(); i++)
                polder_free(blocks[i]);
        polder_free(polder_malloc(1 << 20));
        cr_expect_gt(nbinned(64), 0);
        pld_fake_run_on(CPU_OF_1);
        void *p = polder_malloc(128);
        cr_expect_eq(nbinned(64), 0);
        cr_expect_eq(pld_cache_mine->bins.large_bytes, 0);
        cr_expect_eq(pld_spans_live(), 1, "that of the new block");
        polder_free(p);
        arena_test_nothing_left();
}

Test(bin, blocks_freed_after_a_move_go_home)
{
        void *blocks[N64], *again[N64];
        arena_test_start(2);
        allocate_a_span(blocks);
        struct pld_span *span = span_of(blocks[0]);
        pld_fake_run_on(CPU_OF_1);
        polder_free(polder_malloc(64));
        free_a_span(blocks);
        allocate_a_span(again);
        for (unsigned i = 0; i < span_count(); i++)
                cr_assert(is_on(again[i], 1));
        free_a_span(again);
        pld_fake_run_on(CPU_OF_0);
        bool found = false;
        allocate_a_span(again);
        for (unsigned i = 0; i < span_count(); i++)
                found |= span_of(again[i]) == span;
        cr_expect(found || pld_spans_live() == 1, "its memory is used again");
        free_a_span(again);
        arena_test_nothing_left();
}

Test(bin, where_the_cpu_cannot_be_read_it_is_asked_for)
{
        arena_test_machine(2);
        pld_fake_hide_cpu();
        struct pld_arena_settings settings = arena_test_settings();
        cr_assert_eq(pld_arena_start(&settings), 0);
        cr_expect(pairs_are_on(64, 0));
        pld_fake_run_on(CPU_OF_1);
        cr_expect(pairs_are_on(64, 1));
}

Test(bin, on_one_node_no_block_asks_where_the_thread_is)
{
        arena_test_start(1);
        polder_free(polder_malloc(64));
        cr_expect_gt(pld_cache_rooted_end, PLD_LEAST_MAX);
        cr_expect_not(pld_cache_may_have_moved(pld_cache_mine));
        pld_fake_run_on(1);
        cr_expect_not(pld_cache_may_have_moved(pld_cache_mine));
}

static void *free_and_take_again(void *arg)
{
        void **blocks = arg;
        struct pld_span *span = span_of(blocks[0]);
        polder_free(blocks[0]);
        cr_expect_eq(nbinned(256), 1);
        cr_expect_eq(polder_malloc(256), blocks[0], "no way round by its owner");
        polder_free(blocks[0]);
        for (unsigned i = 1; i < 20; i++)
                polder_free(blocks[i]);
        cr_expect_eq(bin_of(256)->top, bin_of(256)->limit, "as many as it has room for");
        cr_expect_eq(bin_of(256)->limit - bin_of(256)->floor, 8, "which does not grow for them");
        cr_expect_eq(nremote(span), 0, "the others wait in the outbox");
        return NULL;
}

Test(bin, blocks_of_others_are_kept_while_there_is_room)
{
        void *blocks[20];
        arena_test_start(1);
        for (unsigned i = 0; i < 20; i++)
                blocks[i] = polder_malloc(256);
        cr_assert_eq(span_of(blocks[0]), span_of(blocks[19]));
        arena_test_thread(free_and_take_again, blocks);
        cr_expect_eq(nremote(span_of(blocks[0])), 20, "those of the bin, too, when the thread ends");
        arena_test_nothing_left();
}

static void *free_two_of_others(void *arg)
{
        void **blocks = arg;
        polder_free(blocks[0]);
        polder_free(blocks[1]);
        cr_expect_eq(nbinned(UNKEPT), 0);
        cr_expect_eq(nbinned(64), 1);
        return NULL;
}

Test(bin, blocks_of_others_that_are_smaller_than_a_cache_line_are_not_kept)
{
        arena_test_start(1);
        void *blocks[2] = { polder_malloc(UNKEPT), polder_malloc(64) };
        arena_test_thread(free_two_of_others, blocks);
        arena_test_nothing_left();
}

static void *free_of_others_into_a_full_bin(void *arg)
{
        void **blocks = arg, *own[8];
        for (unsigned i = 0; i < 8; i++)
                own[i] = polder_malloc(256);
        for (unsigned i = 0; i < 4; i++)
                polder_free(blocks[i]);
        for (unsigned i = 0; i < 8; i++)
                polder_free(own[i]);
        pld_manual_verify(pld_cache_mine);
        pld_bins_empty(pld_cache_mine);
        pld_manual_verify(pld_cache_mine);
        cr_expect_eq(nremote(span_of(blocks[0])), 4, "each to its owner");
        return NULL;
}

Test(bin, an_emptied_bin_sends_each_block_to_its_owner)
{
        void *blocks[4];
        arena_test_start(1);
        for (unsigned i = 0; i < 4; i++)
                blocks[i] = polder_malloc(256);
        arena_test_thread(free_of_others_into_a_full_bin, blocks);
        arena_test_nothing_left();
}

Test(bin, a_bin_of_large_blocks_begins_with_one_and_works)
{
        enum { LARGE = 200 << 10 };
        void *blocks[12];
        arena_test_start(1);
        for (int round = 0; round < 3; round++) {
                for (unsigned i = 0; i < 12; i++)
                        cr_assert_not_null(blocks[i] = polder_malloc(LARGE));
                struct pld_bin *bin = &pld_cache_mine->bins.bin[pld_class_of_block(LARGE)];
                if (round == 0)
                        cr_expect_eq(bin->limit - bin->floor, 1);
                for (unsigned i = 0; i < 12; i++) {
                        polder_free(blocks[i]);
                        cr_assert_leq(bin->top, bin->limit);
                }
        }
        cr_expect_leq(pld_cache_mine->bins.grown_bytes, 2 << 20);
        arena_test_nothing_left();
}

/* ---- What is lent (N6) */

enum { NSOME = 64, NMUCH = 2400, SOME_BYTES = 16 << 10, MUCH_BYTES = 64 << 10 };

static void take_all(void *blocks[], size_t n, size_t nbytes)
{
        for (size_t i = 0; i < n; i++)
                blocks[i] = polder_malloc(nbytes);
}

static void free_all(void *blocks[], size_t n)
{
        for (size_t i = 0; i < n; i++)
                polder_free(blocks[i]);
}

Test(bin, who_gives_back_much_and_takes_nothing_keeps_little) /* N7 */
{
        static void *some[NSOME], *much[NMUCH];
        arena_test_start(1);
        take_all(much, NMUCH, MUCH_BYTES);
        take_all(some, NSOME, SOME_BYTES);
        free_all(some, NSOME);
        size_t usual = nbinned(SOME_BYTES);
        cr_expect_gt(usual, 2);
        take_all(some, NSOME, SOME_BYTES);
        free_all(much, NMUCH);
        free_all(some, NSOME);
        cr_expect_leq(nbinned(SOME_BYTES), 1);
        cr_expect_leq(nbinned(MUCH_BYTES), 1);
        cr_expect_eq(pld_cache_mine->bins.grown_bytes, 0);
        cr_expect_eq(pld_cache_mine->bins.extra_bytes, 0);
        for (int i = 0; i < 4; i++) {
                take_all(some, NSOME, SOME_BYTES);
                free_all(some, NSOME);
        }
        cr_expect_geq(nbinned(SOME_BYTES), usual, "it grows again");
        pld_manual_verify(pld_cache_mine);
        pld_manual_reclaim();
        arena_test_nothing_left();
}

Test(bin, who_only_takes_is_given_more_at_a_time)
{
        static void *blocks[1000];
        arena_test_start(1);
        struct pld_cache *cache = pld_cache_get();
        struct pld_bin *bin = bin_of(64);
        size_t first = (size_t)(bin->limit - bin->floor), most = 0;
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++) {
                blocks[i] = polder_malloc(64);
                if (nbinned(64) > most)
                        most = nbinned(64);
                cr_assert_leq(bin->top, bin->limit);
        }
        cr_expect_gt(most, 2 * first);
        cr_expect_leq(most * 64, 8 << 10);
        cr_expect_eq(cache->bins.grown_bytes, 0, "it has not grown");
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++) {
                polder_free(blocks[i]);
                cr_assert_leq(bin->top, bin->limit);
        }
        cr_expect_eq(cache->bins.lent[pld_class_of(64)], 0);
        cr_expect_eq(bin->limit - bin->floor, 2 * first, "it grew once, as it was full once");
        pld_manual_verify(cache);
        arena_test_nothing_left();
}

Test(bin, of_large_blocks_no_more_are_taken_at_a_time)
{
        void *blocks[64];
        arena_test_start(1);
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++) {
                blocks[i] = polder_malloc(8192);
                cr_assert_leq(nbinned(8192), 3);
        }
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

/* ---- The extra (N5) */

enum { WIDE = 8192, NWIDE = 1000, ROUNDS = 12 };

static struct pld_bin *bin_of_blocks(size_t nbytes)
{
        return &pld_cache_mine->bins.bin[pld_class_of_block(nbytes)];
}

static struct pld_bin *wide_bin(void)
{
        return bin_of_blocks(WIDE);
}

static size_t size_of(const struct pld_bin *bin)
{
        return (size_t)(bin->limit - bin->floor);
}

/* By turns as many are taken and freed. */
static void swing_some(unsigned n, size_t nbytes)
{
        static _Thread_local void *blocks[NWIDE];
        for (unsigned round = 0; round < ROUNDS; round++) {
                for (unsigned i = 0; i < n; i++)
                        cr_assert_not_null(blocks[i] = polder_malloc(nbytes));
                for (unsigned i = 0; i < n; i++)
                        polder_free(blocks[i]);
        }
        pld_manual_verify(pld_cache_mine);
}

static void swing(void)
{
        swing_some(NWIDE, WIDE);
}

Test(bin, who_takes_and_frees_many_large_blocks_by_turns_keeps_them)
{
        arena_test_start(1);
        swing();
        size_t nspans = pld_spans_live(), nheld = nbinned(WIDE);
        cr_expect_geq(nheld, NWIDE);
        swing();
        cr_expect_eq(nbinned(WIDE), nheld);
        cr_expect_eq(pld_spans_live(), nspans);
        cr_expect_leq(size_of(wide_bin()) * WIDE, 8 << 20);
        cr_expect_gt(pld_cache_mine->bins.extra_bytes, 0);
        arena_test_nothing_left();
}

static bool is_narrow(void)
{
        return size_of(wide_bin()) == 128 && nbinned(WIDE) == 128 &&
               pld_cache_mine->bins.extra_bytes == 0;
}

Test(bin, the_extra_goes_back_before_another_class_gets_a_span)
{
        arena_test_start(1);
        void *few[20], *p = polder_malloc(100);
        swing();
        size_t used = pld_page_heap_used_bytes();
        for (unsigned i = 0; i < 20; i++)
                few[i] = polder_malloc(100);
        cr_expect_gt(pld_cache_mine->bins.extra_bytes, 0, "a span that was there had some");
        for (unsigned i = 0; i < 20; i++)
                polder_free(few[i]);
        polder_free(p);
        p = polder_malloc(3000);
        cr_expect(is_narrow());
        cr_expect_lt(pld_page_heap_used_bytes(), used / 4);
        pld_manual_verify(pld_cache_mine);
        polder_free(p);
        arena_test_nothing_left();
}

Test(bin, a_wide_bin_lies_apart_and_comes_back_with_its_blocks)
{
        void *kept[64];
        arena_test_start(1);
        polder_free(polder_malloc(WIDE));
        struct pld_block **place = wide_bin()->floor;
        swing();
        cr_expect_neq(wide_bin()->floor, place);
        struct pld_block **wide = wide_bin()->floor;
        void *last = wide_bin()->top[-1];
        polder_free(polder_malloc(1 << 20));
        cr_expect_eq(wide_bin()->floor, place);
        cr_expect_eq(nbinned(WIDE), 128);
        cr_expect_eq(polder_malloc(WIDE), last, "the order is the same");
        polder_free(last);
        for (unsigned i = 0; i < 64; i++)
                cr_assert_not_null(kept[i] = polder_malloc(WIDE));
        swing();
        cr_expect_eq(wide_bin()->floor, wide, "the same as before");
        for (unsigned i = 0; i < 64; i++)
                polder_free(kept[i]);
        arena_test_nothing_left();
}

Test(bin, a_bin_that_is_emptied_has_no_extra)
{
        arena_test_start(1);
        swing();
        pld_bins_empty(pld_cache_mine);
        cr_expect_eq(size_of(wide_bin()), 128);
        cr_expect_eq(pld_cache_mine->bins.extra_bytes, 0);
        arena_test_nothing_left();
}

enum { OTHER = 7000, NOTHER = 1200, ONE_IN = 4 };

/* So that there are free blocks of the other class in spans that stay. */
static void free_most(void **blocks)
{
        for (unsigned i = 0; i < NOTHER; i++)
                if (i % ONE_IN)
                        polder_free(blocks[i]);
}

Test(bin, the_extra_stays_where_the_span_is_for_the_same_class)
{
        static void *blocks[2 * NWIDE], *others[NOTHER];
        arena_test_start(1);
        for (unsigned i = 0; i < NOTHER; i++)
                others[i] = polder_malloc(OTHER);
        free_most(others);
        swing();
        size_t size = size_of(wide_bin());
        swing_some(600, OTHER);
        cr_assert_eq(size_of(wide_bin()), size);
        cr_expect_gt(size_of(bin_of_blocks(OTHER)), 150);
        for (unsigned i = 0; i < 2 * NWIDE; i++)
                blocks[i] = polder_malloc(WIDE);
        cr_expect_eq(size_of(wide_bin()), size);
        cr_expect_leq(size_of(bin_of_blocks(OTHER)), 150);
        for (unsigned i = 0; i < 2 * NWIDE; i++)
                polder_free(blocks[i]);
        for (unsigned i = 0; i < NOTHER; i += ONE_IN)
                polder_free(others[i]);
        arena_test_nothing_left();
}

Test(bin, the_extra_goes_back_before_a_large_block_gets_pages)
{
        arena_test_start(1);
        swing();
        void *p = polder_malloc(1 << 20);
        cr_expect(is_narrow());
        polder_free(p);
        swing();
        cr_expect_geq(nbinned(WIDE), NWIDE);
        cr_expect_eq(polder_malloc(1 << 20), p);
        cr_expect_geq(nbinned(WIDE), NWIDE, "this one had been kept");
        polder_free(p);
        arena_test_nothing_left();
}

enum { NSWINGERS = 6 };
static pthread_barrier_t all_have;

static void *swing_and_wait(void *unused)
{
        swing();
        pthread_barrier_wait(&all_have);
        pthread_barrier_wait(&all_have);
        return unused;
}

Test(bin, threads_share_the_extra)
{
        pthread_t threads[NSWINGERS];
        size_t before;
        arena_test_start(1);
        pthread_barrier_init(&all_have, NULL, NSWINGERS + 1);
        for (unsigned i = 0; i < NSWINGERS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, swing_and_wait, NULL), 0);
        pthread_barrier_wait(&all_have);
        before = pld_manual_bytes();
        pthread_barrier_wait(&all_have);
        for (unsigned i = 0; i < NSWINGERS; i++)
                pthread_join(threads[i], NULL);
        cr_expect_geq(before, 32 << 20);
        cr_expect_leq(before, (32 << 20) + NSWINGERS * (2 << 20));
        arena_test_nothing_left();
}

static void *swing_alone(void *unused)
{
        swing();
        cr_expect_geq(nbinned(WIDE), NWIDE);
        return unused;
}

static void *swing_and_be_forgotten(void *unused)
{
        swing_alone(NULL);
        pld_bins_init(&pld_cache_mine->bins); /* as a forked child does */
        return unused;
}

Test(bin, the_extra_of_threads_that_ended_is_there_for_others)
{
        arena_test_start(1);
        for (unsigned i = 0; i < NSWINGERS; i++)
                arena_test_thread(swing_alone, NULL);
        arena_test_nothing_left();
        for (unsigned i = 0; i < NSWINGERS; i++)
                arena_test_thread(swing_and_be_forgotten, NULL);
}
