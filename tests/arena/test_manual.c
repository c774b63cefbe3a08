#include "tests/arena/arena_test.h"

#include <polder/arena.h>

#include <string.h>
#include <unistd.h>

enum { N64 = 1024 /* at least a span's worth */ };

static unsigned span_count(void)
{
        return pld_classes[pld_class_of(64)].manual_count;
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

/* Frees what it is handed at once, so often just when the owner finds its span full. */
enum { NHANDED = 4, HANDED_BYTES = 80000 /* so many fill a span */ };

static void *free_at_once(void *arg)
{
        _Atomic(void *) *handed = arg;
        for (unsigned i = 0; !pld_load_acquire(&arena_test_over); i++)
                polder_free(pld_exchange_acquire(&handed[i % NHANDED], NULL));
        return NULL;
}

Test(manual, a_span_that_comes_back_while_it_is_set_aside_is_not_lost)
{
        _Atomic(void *) handed[NHANDED] = { NULL };
        pthread_t freer;
        arena_test_start_bare(1);
        cr_assert_eq(pthread_create(&freer, NULL, free_at_once, handed), 0);
        for (unsigned i = 0; i < 1000000; i++) {
                void *p = polder_malloc(HANDED_BYTES);
                for (unsigned k = 0; k < 100 && pld_load_relaxed(&handed[i % NHANDED]); k++)
                        pld_pause();
                polder_free(pld_exchange_acq_rel(&handed[i % NHANDED], p));
        }
        pld_store_release(&arena_test_over, true);
        pthread_join(freer, NULL);
        for (unsigned i = 0; i < NHANDED; i++)
                polder_free(handed[i]);
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
        for (unsigned i = 0; i < span_count(); i++) {
                struct pld_block *block = blocks[i];
                *block = (struct pld_block){ .key = pld_manual_key_of(block) };
                pld_manual_send_back(span, (struct pld_chain){ block, block, 1 });
        }
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

static void expect_others_untouched(struct pld_block *one)
{
        struct pld_span *span = pld_span_of((uintptr_t)one);
        for (size_t i = 0; i < span->count; i++) {
                struct pld_block *other = (struct pld_block *)pld_span_object(span, i);
                cr_expect(other == one || (!other->next && !other->key), "block %zu", i);
        }
}

Test(manual, a_block_that_was_never_out_is_not_touched)
{
        static const size_t sizes[] = { 16, 48, 224, 256, 1024, 8192 };
        void *blocks[PLD_COUNT_OF(sizes)];
        arena_test_start_bare(1);
        for (unsigned i = 0; i < PLD_COUNT_OF(sizes); i++)
                expect_others_untouched(blocks[i] = polder_malloc(sizes[i]));
        for (unsigned i = 0; i < PLD_COUNT_OF(sizes); i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

Test(manual, a_block_freed_holds_its_key)
{
        arena_test_start_bare(1);
        struct pld_block *one = polder_malloc(1024);
        polder_free(one);
        cr_expect_eq(one->key, pld_manual_key_of(one), "M7");
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

Test(manual, a_span_of_few_blocks_hands_each_out_once)
{
        arena_test_start_bare(1);
        struct pld_span *span;
        void *blocks[64];
        uint64_t seen = 0;
        blocks[0] = polder_malloc(256);
        span = pld_span_of((uintptr_t)blocks[0]);
        cr_assert_eq(span->count, 64, "every bit");
        for (unsigned i = 1; i < 64; i++)
                blocks[i] = polder_malloc(256);
        for (unsigned i = 0; i < 64; i++) {
                cr_expect_eq(pld_span_of((uintptr_t)blocks[i]), span);
                seen |= UINT64_C(1) << pld_span_index(span, (uintptr_t)blocks[i]);
        }
        cr_expect_eq(seen, UINT64_MAX);
        for (unsigned i = 0; i < 64; i += 2)
                polder_free(blocks[i]);
        for (unsigned i = 0; i < 64; i += 2)
                cr_expect_eq(pld_span_of((uintptr_t)(blocks[i] = polder_malloc(256))), span);
        for (unsigned i = 0; i < 64; i++)
                polder_free(blocks[i]);
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

/* With the 64 beside each other of which a word knows, and others, in any order. */
Test(manual, a_span_of_many_blocks_hands_each_out_once)
{
        enum { N = 1024 };
        static void *blocks[N];
        static bool seen[N];
        arena_test_start_bare(1);
        for (unsigned i = 0; i < N; i++)
                blocks[i] = polder_malloc(16);
        struct pld_span *span = span_of(blocks[0]);
        cr_assert_eq(span->count, N);
        for (unsigned step = 7; step; step = step == 7 ? 1 : 0) {
                for (unsigned i = 0; i < N; i += step)
                        polder_free(blocks[i]);
                pld_manual_verify(pld_cache_mine);
                for (unsigned i = 0; i < N; i += step)
                        blocks[i] = polder_malloc(16);
                pld_manual_verify(pld_cache_mine);
        }
        for (unsigned i = 0; i < N; i++) {
                cr_assert_eq(span_of(blocks[i]), span);
                size_t index = pld_span_index(span, (uintptr_t)blocks[i]);
                cr_assert_not(seen[index], "block %zu twice", index);
                seen[index] = true;
        }
        for (unsigned i = 0; i < N; i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

Test(manual, what_others_freed_is_handed_out_before_new_blocks)
{
        void *blocks[N64];
        arena_test_start_bare(1);
        for (unsigned i = 0; i < 64; i++) /* all that has bits: 4 KiB */
                blocks[i] = polder_malloc(64);
        for (unsigned i = 0; i < 8; i++)
                arena_test_thread(free_first, &blocks[i]);
        polder_free(blocks[20]);
        cr_expect_eq(polder_malloc(64), blocks[20]);
        for (unsigned i = 0; i < 4; i++) {
                void *block = polder_malloc(64);
                cr_expect_lt(pld_span_index(span_of(block), (uintptr_t)block), 8);
                pld_manual_verify(pld_cache_mine);
        }
        arena_test_thread(free_first, &blocks[30]);
        for (unsigned i = 0; i < 5; i++) {
                void *block = polder_malloc(64);
                cr_expect_lt(pld_span_index(span_of(block), (uintptr_t)block), 31);
        }
        for (unsigned i = 0; i < 64; i++)
                polder_free(blocks[i]);
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

static void *free_one(void *block)
{
        polder_free(block);
        return NULL;
}

Test(manual, a_block_that_another_thread_freed_comes_before_one_that_nobody_touched)
{
        arena_test_start_bare(1);
        enum { LARGE = 100 << 10 };
        void *one = polder_malloc(LARGE);
        arena_test_thread(free_one, one);
        cr_expect_eq(polder_malloc(LARGE), one);
        polder_free(one);
        arena_test_nothing_left();
}

Test(manual, blocks_that_can_be_lent_are_news_for_the_decay)
{
        struct pld_block *large[2], *small[2];
        arena_test_start_bare(1);
        struct pld_cache *cache = pld_cache_get(); /* the classes are there from now on */
        unsigned of_large = pld_class_of_block(8192), of_small = pld_class_of_block(64);
        cr_assert_eq(pld_manual_take(cache, of_large, large, 2, true), 2);
        cr_assert_eq(pld_manual_take(cache, of_small, small, 2, true), 2);
        cr_expect(pld_manual_put_back(cache, of_large, large, 1));
        cr_expect_not(pld_manual_put_back(cache, of_small, small, 1));
        pld_manual_put_back(cache, of_large, large + 1, 1);
        pld_manual_put_back(cache, of_small, small + 1, 1);
        arena_test_nothing_left();
}
