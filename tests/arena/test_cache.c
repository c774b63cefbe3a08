#include "tests/arena/arena_test.h"

#include <polder/arena.h>

#include <string.h>

static void *touch(void *unused)
{
        (void)unused;
        polder_free(polder_malloc(64));
        return pld_cache_mine;
}

Test(cache, a_thread_without_one_has_the_empty_one)
{
        cr_expect_eq(pld_cache_mine, &pld_cache_none);
        for (unsigned i = 0; i < PLD_NCLASSES; i++)
                cr_assert_eq(pld_cache_none.manual.current[i], &pld_span_none);
        cr_expect_eq(pld_span_none.manual.free_bits, 0);
}

Test(cache, it_is_made_once_and_given_back_at_the_end)
{
        arena_test_start(1);
        struct pld_cache *cache = pld_cache_get();
        cr_expect_neq(cache, &pld_cache_none);
        cr_expect_eq(pld_cache_get(), cache);
        cr_expect_eq(pld_caches_live(), 1);
        void *other = arena_test_thread(touch, NULL);
        cr_expect_neq(other, cache);
        cr_expect_eq(pld_caches_live(), 1);
        cr_expect_eq(arena_test_thread(touch, NULL), other, "it is used again");
        pld_cache_drop();
        cr_expect_eq(pld_caches_live(), 0);
        cr_expect_eq(pld_cache_mine, &pld_cache_none);
}

static void *blocks[1000];

static void *allocate(void *unused)
{
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++) {
                blocks[i] = polder_malloc(i);
                cr_assert_not_null(blocks[i]);
                memset(blocks[i], 1, i);
        }
        cr_expect_eq(pld_cache_mine, &pld_cache_none);
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i += 2) {
                polder_free(blocks[i]);
                blocks[i] = NULL;
        }
        return unused;
}

Test(cache, a_thread_over_the_limit_is_served_all_the_same)
{
        arena_test_start_one_cache();
        arena_test_thread(allocate, NULL);
        cr_expect_eq(pld_caches_live(), 1);
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}

/* ---- Destructors that still allocate ------------------------------------------------- */

static pthread_key_t key;
static unsigned rounds;

static void allocate_late(void *value)
{
        void *p = polder_malloc(64);
        cr_expect_not_null(p);
        polder_free(p);
        polder_free(value);
        if (++rounds < 4)
                pthread_setspecific(key, polder_malloc(rounds * 100));
}

static void *end_late(void *unused)
{
        pthread_setspecific(key, polder_malloc(64));
        return unused;
}

Test(cache, destructors_of_a_thread_may_allocate_to_the_last)
{
        arena_test_start(1);
        pthread_key_create(&key, allocate_late);
        arena_test_thread(end_late, NULL);
        cr_expect_eq(rounds, 4);
        cr_expect_eq(pld_caches_live(), 0);
        arena_test_nothing_left();
}

Test(cache, destructors_that_ran_before_ours_may_allocate_too)
{
        pthread_key_create(&key, allocate_late); /* a lower key: earlier in each round */
        arena_test_start(1);
        arena_test_thread(end_late, NULL);
        cr_expect_eq(pld_caches_live(), 0);
        arena_test_nothing_left();
}

static void *use_bump(void *arg)
{
        size_t reserved;
        struct pld_cache *cache = pld_cache_get();
        return pld_bump_refill(&cache->bump, arg, false, &reserved);
}

Test(cache, the_collectors_spans_of_an_ended_thread_are_given_back)
{
        arena_test_start(1);
        struct pld_central *central = pld_central_new(0, pld_class_of(64), NULL);
        uintptr_t at = (uintptr_t)arena_test_thread(use_bump, central);
        struct pld_span *span = pld_span_of(at);
        cr_expect_not(span->collected.owned);
        cr_expect_eq(pld_central_take(central), span);
}

/* ---- fork() ----------------------------------------------------------------------------- */

static _Atomic bool ready, stop;
static unsigned nheld;

/* What it keeps in its bin would be lost to the child: so it takes that, too. */
static void *hold(void *unused)
{
        const struct pld_bin *bin;
        do {
                blocks[nheld++] = polder_malloc(64);
                bin = &pld_cache_mine->bins.bin[pld_class_of(64)];
        } while (nheld < 500 || (bin->top > bin->floor && nheld < PLD_COUNT_OF(blocks)));
        pld_store_release(&ready, true);
        while (!pld_load_relaxed(&stop))
                pld_pause();
        return unused;
}

Test(cache, a_forked_child_may_free_what_threads_left_in_the_parent)
{
        pthread_t thread;
        arena_test_start(1);
        pthread_create(&thread, NULL, hold, NULL);
        while (!pld_load_acquire(&ready))
                pld_pause();
        cr_expect_eq(pld_caches_live(), 1);
        pld_cache_fork_prepare();
        pld_cache_fork_done();
        /* As in the child, where the other thread does not run: it only spins. */
        pld_cache_fork_child();
        cr_expect_eq(pld_caches_live(), 0);
        for (unsigned i = 0; i < nheld; i++)
                polder_free(blocks[i]);
        arena_test_nothing_left();
}
