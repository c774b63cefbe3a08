#include "tests/arena/arena_test.h"

#include <polder/arena.h>

#include <string.h>
#include <unistd.h>

enum { N64 = 1024 /* at least a span's worth */ };

static unsigned span_count(void)
{
        return pld_classes[pld_class_of(64)].count;
}

static struct pld_span *span_of(const void *p)
{
        return pld_span_of((uintptr_t)p);
}

static struct pld_cache *owner_of(const void *p)
{
        return pld_load_relaxed(&span_of(p)->manual.owner);
}

/* Exactly one span's worth of blocks, and the first of the next, so that the
 * span is full and set aside. */
static void *fill_a_span(void **blocks)
{
        for (unsigned i = 0; i < span_count(); i++)
                blocks[i] = polder_malloc(64);
        return polder_malloc(64);
}

static void *free_all(void *arg)
{
        void **blocks = arg;
        for (unsigned i = 0; i < span_count(); i++)
                polder_free(blocks[i]);
        return NULL;
}

static void *free_first(void *arg)
{
        polder_free(*(void **)arg);
        return NULL;
}

static void *fill_and_end(void *arg)
{
        void **blocks = arg;
        for (unsigned i = 0; i < span_count(); i++)
                blocks[i] = polder_malloc(64);
        return NULL;
}

Test(manual, a_freed_block_is_the_next_one_handed_out)
{
        arena_test_start(1);
        void *a = polder_malloc(64), *b = polder_malloc(64);
        polder_free(a);
        cr_expect_eq(polder_malloc(64), a);
        polder_free(a);
        polder_free(b);
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

Test(manual, no_block_is_handed_out_twice)
{
        static unsigned char *blocks[5000];
        arena_test_start(1);
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++) {
                blocks[i] = polder_malloc(48);
                memset(blocks[i], (int)(i % 251), 48);
        }
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++)
                for (unsigned k = 0; k < 48; k++)
                        cr_assert_eq(blocks[i][k], i % 251);
        pld_manual_verify(pld_cache_mine);
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++)
                polder_free(blocks[i]);
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

Test(manual, a_full_span_comes_back_with_its_owners_first_free)
{
        void *blocks[N64];
        arena_test_start_bare(1);
        void *other = fill_a_span(blocks);
        struct pld_span *span = span_of(blocks[0]);
        cr_expect_neq(span_of(other), span);
        cr_expect_eq(span->manual.where, PLD_MANUAL_FULLED);
        cr_expect_eq(pld_load_relaxed(&span->manual.remote), PLD_MANUAL_FULL);
        polder_free(blocks[0]);
        cr_expect_eq(span->manual.where, PLD_MANUAL_LISTED);
        cr_expect_eq(pld_load_relaxed(&span->manual.remote), 0);
        pld_manual_verify(pld_cache_mine);
        for (unsigned i = 1; i < span_count(); i++)
                polder_free(blocks[i]);
        polder_free(other);
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

Test(manual, a_full_span_comes_back_after_another_threads_free)
{
        void *blocks[N64];
        arena_test_start_bare(1);
        void *other = fill_a_span(blocks);
        struct pld_span *span = span_of(blocks[0]);
        arena_test_thread(free_first, &blocks[0]);
        cr_expect_eq(pld_load_relaxed(&pld_cache_mine->manual.revived), span);
        void *rest[N64];
        unsigned n = 0;
        do /* until the span that follows is used up */
                rest[n++] = polder_malloc(64);
        while (span_of(rest[n - 1]) == span_of(other));
        cr_expect_eq(rest[n - 1], blocks[0], "and not a new span's");
        pld_manual_verify(pld_cache_mine);
        for (unsigned i = 0; i < n; i++)
                polder_free(rest[i]);
        for (unsigned i = 1; i < span_count(); i++)
                polder_free(blocks[i]);
        polder_free(other);
        arena_test_nothing_left();
}

Test(manual, the_owner_may_free_into_a_span_that_is_on_its_way_back)
{
        void *blocks[N64];
        arena_test_start_bare(1);
        void *other = fill_a_span(blocks);
        struct pld_span *span = span_of(blocks[0]);
        arena_test_thread(free_first, &blocks[0]);
        for (unsigned i = 1; i < span_count(); i++)
                polder_free(blocks[i]);
        cr_expect_eq(span->manual.where, PLD_MANUAL_REVIVING);
        cr_expect_eq(span->manual.used, 1, "the one on its remote list");
        polder_free(other);
        arena_test_nothing_left();
}

Test(manual, blocks_freed_by_another_thread_are_handed_out_again)
{
        void *blocks[N64];
        arena_test_start_bare(1);
        void *other = fill_a_span(blocks);
        arena_test_thread(free_all, blocks);
        size_t spans = pld_spans_live();
        void *again[2 * N64];
        for (unsigned i = 0; i < 2 * span_count() - 1; i++)
                again[i] = polder_malloc(64);
        cr_expect_eq(pld_spans_live(), spans);
        for (unsigned i = 0; i < 2 * span_count() - 1; i++)
                polder_free(again[i]);
        polder_free(other);
        arena_test_nothing_left();
}

Test(manual, the_spans_of_an_ended_thread_wait_with_its_live_blocks)
{
        void *blocks[N64];
        arena_test_start(1);
        arena_test_thread(fill_and_end, blocks);
        cr_expect_eq(pld_caches_live(), 0);
        cr_expect_null(owner_of(blocks[0]));
        cr_expect_eq(pld_spans_live(), 1);
        free_all(blocks);
        arena_test_nothing_left();
}

Test(manual, a_thread_adopts_the_abandoned_span_it_frees_into)
{
        void *blocks[N64];
        arena_test_start_bare(1);
        polder_free(polder_malloc(8192));
        arena_test_thread(fill_and_end, blocks);
        polder_free(blocks[3]);
        cr_expect_eq(owner_of(blocks[0]), pld_cache_mine);
        pld_manual_verify(pld_cache_mine);
        cr_expect_eq(polder_malloc(64), blocks[3]);
        free_all(blocks);
        arena_test_nothing_left();
}

Test(manual, a_thread_out_of_blocks_adopts_before_it_asks_for_a_new_span)
{
        void *blocks[N64];
        arena_test_start_bare(1);
        arena_test_thread(fill_and_end, blocks);
        struct pld_span *span = span_of(blocks[0]);
        arena_test_thread(free_first, &blocks[0]);
        cr_expect_null(owner_of(blocks[1]), "the thread that freed has ended, too");
        cr_expect_eq(polder_malloc(64), blocks[0]);
        cr_expect_eq(pld_load_relaxed(&span->manual.owner), pld_cache_mine);
        pld_manual_verify(pld_cache_mine);
        free_all(blocks);
        arena_test_nothing_left();
}

Test(manual, reclaim_finds_abandoned_spans_that_became_empty)
{
        void *blocks[N64];
        arena_test_start_bare(1);
        arena_test_thread(fill_and_end, blocks);
        struct pld_span *span = span_of(blocks[0]);
        /* As if each free had read the owner before the thread ended. */
        pld_store_relaxed(&span->manual.owner, &pld_cache_none);
        for (unsigned i = 0; i < span_count(); i++)
                pld_manual_free_remote(span, blocks[i]);
        pld_store_relaxed(&span->manual.owner, NULL);
        cr_expect_gt(pld_manual_reclaim(), 0);
        arena_test_nothing_left();
}

static void *free_from_abroad(void *arg)
{
        void **blocks = arg;
        pld_fake_run_on(2); /* node 1 */
        polder_free(polder_malloc(64));
        polder_free(blocks[0]);
        cr_expect_null(owner_of(blocks[1]), "a span of another node is not adopted");
        void *p = polder_malloc(64);
        cr_expect_neq(p, blocks[0]);
        cr_expect_eq(span_of(p)->slice, 1);
        polder_free(p);
        return NULL;
}

Test(manual, a_block_freed_from_abroad_is_not_local_memory_there)
{
        void *blocks[N64];
        arena_test_start(2);
        arena_test_thread(fill_and_end, blocks);
        cr_expect_eq(span_of(blocks[0])->slice, 0);
        arena_test_thread(free_from_abroad, blocks);
        for (unsigned i = 1; i < span_count(); i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

static void *free_all_from_abroad(void *arg)
{
        pld_fake_run_on(2);
        polder_free(polder_malloc(64));
        return free_all(arg);
}

Test(manual, the_last_block_freed_from_abroad_gives_the_span_back)
{
        void *blocks[N64];
        arena_test_start(2);
        arena_test_thread(fill_and_end, blocks);
        arena_test_thread(free_all_from_abroad, blocks);
        cr_expect_eq(pld_spans_live(), 0);
        arena_test_nothing_left();
}

static void *allocate_on_the_way(void *arg)
{
        void **blocks = arg;
        pld_fake_run_on(0);
        blocks[0] = polder_malloc(64);
        pld_fake_run_on(3);
        for (unsigned i = 1; i < 2 * span_count(); i++)
                blocks[i] = polder_malloc(64);
        cr_expect_eq(pld_cache_mine->slice, 1);
        cr_expect_null(owner_of(blocks[0]), "it left its spans where they are");
        return NULL;
}

Test(manual, a_thread_that_moved_takes_new_spans_where_it_is)
{
        void *blocks[2 * N64];
        arena_test_start(2);
        arena_test_thread(allocate_on_the_way, blocks);
        cr_expect_eq(span_of(blocks[0])->slice, 0);
        cr_expect_eq(span_of(blocks[2 * span_count() - 1])->slice, 1);
        for (unsigned i = 0; i < 2 * span_count(); i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

Test(manual, a_thread_keeps_one_empty_span_of_a_class)
{
        void *blocks[3][N64];
        arena_test_start_bare(1);
        for (unsigned i = 0; i < 3; i++)
                fill_and_end(blocks[i]);
        cr_expect_eq(pld_spans_live(), 3);
        free_all(blocks[0]);
        cr_expect_eq(pld_spans_live(), 3, "one is the spare");
        free_all(blocks[1]);
        cr_expect_eq(pld_spans_live(), 2);
        free_all(blocks[2]);
        cr_expect_eq(pld_spans_live(), 2, "and the current one");
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

/* One producer and several consumers at once, over and over. */
enum { NCONSUMERS = 3, NPRODUCED = 30000 };
static _Atomic(void *) mailbox[NCONSUMERS];
static _Atomic bool done;

static void *consume(void *arg)
{
        _Atomic(void *) *box = arg;
        for (;;) {
                bool last = pld_load_acquire(&done);
                void **p = pld_exchange_acq_rel(box, NULL);
                if (p)
                        polder_free(p);
                else if (last)
                        return NULL;
        }
}

Test(manual, producers_and_consumers_lose_nothing)
{
        pthread_t threads[NCONSUMERS];
        arena_test_start(1);
        for (unsigned i = 0; i < NCONSUMERS; i++)
                pthread_create(&threads[i], NULL, consume, &mailbox[i]);
        for (unsigned i = 0; i < NPRODUCED; i++) {
                void *p = polder_malloc(i % 3 ? 64 : 3000);
                polder_free(pld_exchange_acq_rel(&mailbox[i % NCONSUMERS], p));
        }
        pld_store_release(&done, true);
        for (unsigned i = 0; i < NCONSUMERS; i++)
                pthread_join(threads[i], NULL);
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

/* ---- Bins, outboxes, kept spans ------------------------------------------------- */

static struct pld_bin *bin_of(size_t nbytes)
{
        return &pld_cache_mine->manual.bin[pld_class_of(nbytes)];
}

static size_t nbinned(size_t nbytes)
{
        return (size_t)(bin_of(nbytes)->top - bin_of(nbytes)->floor);
}

Test(manual, a_bin_grows_with_use_and_then_gives_its_older_half_back)
{
        void *blocks[N64];
        arena_test_start(1);
        fill_and_end(blocks);
        size_t first = (size_t)(bin_of(64)->limit - bin_of(64)->floor);
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

Test(manual, steady_use_of_a_bin_touches_no_span)
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
        uintptr_t at = pld_load_relaxed(&span->manual.remote) & ~(uintptr_t)PLD_MANUAL_FULL;
        unsigned n = 0;
        for (; at; at = (uintptr_t)((struct pld_block *)at)->next)
                n++;
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

Test(manual, blocks_of_others_go_home_in_batches_and_all_when_the_thread_ends)
{
        void *blocks[N64];
        arena_test_start(1);
        fill_and_end(blocks);
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

Test(manual, a_block_in_an_outbox_survives_the_end_of_its_owner)
{
        void *blocks[N64];
        arena_test_start(1);
        arena_test_thread(fill_and_end, blocks);
        struct pld_span *span = span_of(blocks[0]);
        pld_store_relaxed(&span->manual.owner, &pld_cache_none); /* as it was when we looked */
        free_first_and_stay(&blocks[0]);
        pld_store_relaxed(&span->manual.owner, NULL);
        for (unsigned i = 1; i < span_count(); i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

Test(manual, a_large_span_is_kept_for_the_next_one_of_its_size)
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

Test(manual, release_gives_back_what_bins_and_threads_keep)
{
        void *blocks[N64];
        arena_test_start(1);
        fill_and_end(blocks);
        polder_free(polder_malloc(1 << 20));
        free_all(blocks);
        cr_expect_gt(pld_spans_live(), 0);
        polder_release();
        cr_expect_eq(pld_spans_live(), 0);
        cr_expect_eq(pld_page_heap_used_bytes(), 0);
        cr_expect_eq(polder_malloc(64) == NULL, 0, "and goes on");
}

Test(manual, a_large_block_freed_twice_is_found, .signal = SIGABRT)
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

Test(manual, a_block_freed_twice_by_a_stranger_is_found, .signal = SIGABRT)
{
        arena_test_start(1);
        arena_test_thread(free_twice, polder_malloc(64));
}
