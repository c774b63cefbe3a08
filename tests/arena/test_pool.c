#include "tests/arena/arena_test.h"

#include "arena/pool_inside.h"
#include "base/random.h"

#include <polder/arena.h>

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *objects[20000];

static struct polder_pool *make(size_t count, size_t nbytes)
{
        struct polder_pool *pool = polder_pool_create(count, nbytes, 0, -1);
        cr_assert_not_null(pool);
        return pool;
}

static void destroy_unused(struct polder_pool *pool)
{
        pld_pool_verify(pool);
        cr_expect_eq(polder_pool_destroy(pool), 0);
        arena_test_nothing_left();
}

/* How many there are; they are in objects[]. */
static size_t get_all(struct polder_pool *pool)
{
        size_t n = 0;
        while (n < PLD_COUNT_OF(objects) && (objects[n] = polder_pool_get(pool)))
                n++;
        return n;
}

Test(pool, objects_are_distinct_aligned_zeroed_and_as_many_as_asked_for)
{
        static const struct {
                size_t count, nbytes, align;
        } shapes[] = {
                { 1, 1, 0 },        { 7, 0, 1 },      { 100, 24, 8 },
                { 1000, 48, 64 },   { 20000, 16, 0 }, { 300, 1000, 512 },
                { 40, 5000, 8192 }, { 40, 3, 4096 },  { 5000, 2112, 64 },
        };
        arena_test_start(1);
        for (unsigned i = 0; i < PLD_COUNT_OF(shapes); i++) {
                size_t count = shapes[i].count, nbytes = shapes[i].nbytes;
                struct polder_pool *pool = polder_pool_create(count, nbytes, shapes[i].align, -1);
                cr_assert_not_null(pool);
                cr_assert_eq(polder_pool_available(pool), count);
                cr_assert_eq(get_all(pool), count);
                for (size_t k = 0; k < count; k++) {
                        size_t align = shapes[i].align < 16 ? 16 : shapes[i].align;
                        cr_assert_eq((uintptr_t)objects[k] % align, 0);
                        for (size_t b = 0; b < nbytes; b++)
                                cr_assert_eq(((char *)objects[k])[b], 0);
                        memset(objects[k], 1, nbytes); /* one byte over another is not 0 there */
                }
                cr_assert_eq(polder_pool_in_use(pool), count);
                for (size_t k = 0; k < count; k++)
                        polder_pool_put(pool, objects[k]);
                cr_assert_eq(polder_pool_in_use(pool), 0);
                pld_pool_verify(pool);
                cr_assert_eq(polder_pool_destroy(pool), 0);
        }
        cr_expect_eq(polder_pool_destroy(NULL), 0);
        arena_test_nothing_left();
}

Test(pool, what_cannot_be_is_refused)
{
        arena_test_start(1);
        errno = 0;
        cr_expect_null(polder_pool_create(0, 16, 0, -1));
        cr_expect_eq(errno, EINVAL);
        errno = 0;
        cr_expect_null(polder_pool_create(10, 16, 24, -1));
        cr_expect_eq(errno, EINVAL);
        errno = 0;
        cr_expect_null(polder_pool_create(10, 16, 0, arena_test_id(0) + 1));
        cr_expect_eq(errno, EINVAL);
        errno = 0;
        cr_expect_null(polder_pool_create(10, 16, 0, -2));
        cr_expect_eq(errno, EINVAL);
        static const size_t large[][3] = {
                { SIZE_MAX, 16, 0 },
                { 10, SIZE_MAX, 0 },
                { 1 << 20, (size_t)1 << 50, 0 },
                { 1, (size_t)1 << 50, 0 },
                { 1, 1, (size_t)1 << 63 },
                { 1 << 30, 1 << 20, 0 },
        };
        for (unsigned i = 0; i < PLD_COUNT_OF(large); i++) {
                errno = 0;
                cr_expect_null(polder_pool_create(large[i][0], large[i][1], large[i][2], -1));
                cr_expect_eq(errno, ENOMEM);
        }
        arena_test_nothing_left();
}

Test(pool, one_that_is_exhausted_says_so_and_lives_on)
{
        arena_test_start(1);
        struct polder_pool *pool = make(20, 100);
        cr_assert_eq(get_all(pool), 20);
        errno = 0;
        cr_expect_null(polder_pool_get(pool));
        cr_expect_eq(errno, ENOMEM);
        polder_pool_put(pool, NULL);
        polder_pool_put(pool, objects[3]);
        errno = 7;
        cr_expect_eq(polder_pool_get(pool), objects[3]);
        cr_expect_eq(errno, 7);
        polder_pool_put_bulk(pool, objects, 20);
        destroy_unused(pool);
}

Test(pool, bulk_takes_all_or_nothing)
{
        arena_test_start(1);
        static const size_t counts[] = { 50, 1000,
                                         10000 }; /* without hands, with small and large */
        for (unsigned i = 0; i < PLD_COUNT_OF(counts); i++) {
                size_t count = counts[i];
                struct polder_pool *pool = make(count, 64);
                cr_assert_eq(polder_pool_get_bulk(pool, objects, count + 1), -ENOMEM);
                cr_assert_eq(polder_pool_get_bulk(pool, objects, SIZE_MAX), -ENOMEM);
                cr_assert_eq(polder_pool_available(pool), count);
                cr_assert_eq(polder_pool_get_bulk(pool, objects, count - 3), 0);
                cr_assert_eq(polder_pool_get_bulk(pool, objects + count - 3, 4), -ENOMEM);
                cr_assert_eq(polder_pool_available(pool), 3, "nothing was taken");
                cr_assert_eq(polder_pool_get_bulk(pool, objects + count - 3, 3), 0);
                cr_assert_eq(polder_pool_get_bulk(pool, NULL, 0), 0);
                cr_assert_null(polder_pool_get(pool));
                polder_pool_put_bulk(pool, objects, count);
                polder_pool_put_bulk(pool, NULL, 0);
                pld_pool_verify(pool);
                cr_assert_eq(polder_pool_destroy(pool), 0);
        }
        arena_test_nothing_left();
}

Test(pool, random_calls_of_random_sizes_lose_and_double_nothing)
{
        static const size_t counts[] = { 30, 700, 5000 };
        struct pld_random random = { .state = 42 };
        arena_test_start(1);
        for (unsigned i = 0; i < PLD_COUNT_OF(counts); i++) {
                struct polder_pool *pool = make(counts[i], 40);
                size_t n = 0;
                for (unsigned step = 0; step < 20000; step++) {
                        size_t most = pld_random_below(&random, 4) ? 40 : 400;
                        size_t k = 1 + pld_random_below(&random, (uint32_t)most);
                        if (pld_random_below(&random, 2)) {
                                if (polder_pool_get_bulk(pool, objects + n, k))
                                        cr_assert_gt(n + k, counts[i]);
                                else
                                        n += k;
                        } else if (k <= n) {
                                n -= k;
                                polder_pool_put_bulk(pool, objects + n, k);
                        }
                        if (pld_random_below(&random, 2) && n > 0)
                                polder_pool_put(pool, objects[--n]);
                        if (pld_random_below(&random, 2) && (objects[n] = polder_pool_get(pool)))
                                n++;
                        cr_assert_eq(polder_pool_in_use(pool), n);
                }
                polder_pool_put_bulk(pool, objects, n);
                pld_pool_verify(pool);
                cr_assert_eq(polder_pool_destroy(pool), 0);
        }
        arena_test_nothing_left();
}

Test(pool, an_object_keeps_what_is_behind_its_first_word)
{
        arena_test_start(1);
        struct polder_pool *pool = make(1, 64);
        char *object = polder_pool_get(pool);
        memset(object, 'x', 64);
        polder_pool_put(pool, object);
        cr_assert_eq(polder_pool_get(pool), object);
        for (unsigned i = 0; i < 64; i++)
                cr_expect_eq(object[i], i < 8 ? 0 : 'x');
        polder_pool_put(pool, object);
        destroy_unused(pool);
}

Test(pool, memory_is_on_the_node_asked_for_or_there_is_none)
{
        arena_test_start(3);
        pld_fake_run_on(2);
        struct polder_pool *here = make(1000, 64);
        cr_expect_eq(polder_node_of(polder_pool_get(here)), arena_test_id(1));
        struct polder_pool *there = polder_pool_create(1000, 64, 0, arena_test_id(2));
        cr_assert_eq(get_all(there), 1000);
        for (unsigned i = 0; i < 1000; i++)
                cr_assert_eq(polder_node_of(objects[i]), arena_test_id(2));
        cr_expect_eq(polder_pool_destroy(there), 1000);
        pld_fake_set_free(arena_test_id(0), 0);
        errno = 0;
        cr_expect_null(polder_pool_create(100000, 64, 0, arena_test_id(0)));
        cr_expect_eq(errno, ENOMEM);
        cr_expect_eq(polder_pool_destroy(here), 1);
        arena_test_nothing_left();
}

/* ---- Misuse ---------------------------------------------------------------------- */

Test(pool, a_double_put_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        struct polder_pool *pool = make(1000, 64);
        void *a = polder_pool_get(pool), *b = polder_pool_get(pool);
        polder_pool_put(pool, a);
        polder_pool_put(pool, b);
        polder_pool_put(pool, a);
}

static void *put_object_0(void *pool)
{
        polder_pool_put(pool, objects[0]);
        return NULL;
}

Test(pool, a_double_put_by_another_thread_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        struct polder_pool *pool = make(1000, 64);
        objects[0] = polder_pool_get(pool);
        polder_pool_put(pool, objects[0]);
        arena_test_thread(put_object_0, pool);
}

Test(pool, a_bulk_with_one_object_twice_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        struct polder_pool *pool = make(1000, 64);
        void *a = polder_pool_get(pool);
        polder_pool_put_bulk(pool, (void *[]){ a, a }, 2);
}

Test(pool, a_put_of_an_address_inside_an_object_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        struct polder_pool *pool = make(1000, 48);
        polder_pool_put(pool, (char *)polder_pool_get(pool) + 16);
}

Test(pool, a_put_of_another_pools_object_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        struct polder_pool *pool = make(1000, 64);
        polder_pool_put(pool, polder_pool_get(make(1000, 64)));
}

Test(pool, a_put_of_what_lies_behind_the_objects_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        struct polder_pool *pool = make(1, 64);
        polder_pool_put(pool, (char *)polder_pool_get(pool) + 64);
}

Test(pool, a_put_of_mallocs_block_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        polder_pool_put(make(1000, 64), polder_malloc(64));
}

Test(pool, a_free_of_its_object_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        polder_free(polder_pool_get(make(1000, 64)));
}

/* ---- Threads --------------------------------------------------------------------- */

static void *take_and_put_some(void *pool)
{
        void *some[40];
        cr_assert_eq(polder_pool_get_bulk(pool, some, 40), 0);
        polder_pool_put_bulk(pool, some, 40);
        return NULL;
}

Test(pool, a_thread_that_ends_gives_back_what_it_had_at_hand)
{
        arena_test_start(1);
        struct polder_pool *pool = make(2000, 64), *other = make(2000, 64);
        for (unsigned i = 0; i < 100; i++) { /* more threads than there are hands */
                arena_test_thread(take_and_put_some, pool);
                arena_test_thread(take_and_put_some, other);
        }
        pld_pool_verify(pool);
        cr_expect_eq(get_all(pool), 2000);
        cr_expect_eq(polder_pool_destroy(pool), 2000);
        destroy_unused(other);
}

static pthread_key_t key;

static void put_late(void *value)
{
        static _Thread_local unsigned nrounds;
        polder_pool_put(value, polder_pool_get(value));
        if (++nrounds < 4)
                pthread_setspecific(key, value);
}

static void *end_late(void *pool)
{
        polder_pool_put(pool, polder_pool_get(pool));
        pthread_setspecific(key, pool);
        return NULL;
}

Test(pool, destructors_of_a_thread_may_use_it_to_the_last)
{
        arena_test_start(1);
        pthread_key_create(&key, put_late);
        struct polder_pool *pool = make(2000, 64);
        arena_test_thread(end_late, pool);
        pld_pool_verify(pool);
        cr_expect_eq(get_all(pool), 2000);
        cr_expect_eq(polder_pool_destroy(pool), 2000);
        arena_test_nothing_left();
}

Test(pool, a_pool_in_the_place_of_a_destroyed_one_is_another)
{
        arena_test_start(1);
        for (unsigned i = 0; i < 50; i++) {
                struct polder_pool *pool = make(2000, 64);
                cr_assert_eq(get_all(pool), 2000);
                for (unsigned k = i; k < 2000; k++)
                        polder_pool_put(pool, objects[k]);
                cr_assert_eq(polder_pool_destroy(pool), i);
        }
        arena_test_nothing_left();
}

Test(pool, a_thread_may_use_more_pools_than_it_has_seats_for)
{
        enum { NPOOLS = 50 };
        struct polder_pool *pools[NPOOLS];
        arena_test_start(1);
        for (unsigned i = 0; i < NPOOLS; i++)
                pools[i] = make(1000, 16);
        for (unsigned round = 0; round < 100; round++) {
                for (unsigned i = 0; i < NPOOLS; i++)
                        objects[i] = polder_pool_get(pools[i]);
                for (unsigned i = 0; i < NPOOLS; i++)
                        polder_pool_put(pools[i], objects[i]);
        }
        for (unsigned i = 0; i < NPOOLS; i++) {
                pld_pool_verify(pools[i]);
                cr_expect_eq(polder_pool_destroy(pools[i]), 0);
        }
        arena_test_nothing_left();
}

enum { NTHREADS = 12, MOST = 100 };


static void hold_for_a_moment(struct polder_pool *pool, struct pld_random *random, uintptr_t name)
{
        void *some[MOST];
        size_t n = 1 + pld_random_below(random, MOST);
        if (polder_pool_get_bulk(pool, some, n))
                return;
        for (size_t i = 0; i < n; i++)
                ((uintptr_t *)some[i])[1] = name;
        void *one = polder_pool_get(pool);
        if (one)
                ((uintptr_t *)one)[1] = name;
        for (size_t i = 0; i < n; i++)
                PLD_CHECK(((uintptr_t *)some[i])[1] == name);
        polder_pool_put_bulk(pool, some, n);
        PLD_CHECK(!one || ((uintptr_t *)one)[1] == name);
        polder_pool_put(pool, one);
}

static void *churn(void *pool)
{
        uintptr_t name = (uintptr_t)&name;
        struct pld_random random = { .state = name };
        for (unsigned i = 0; i < 20000 && !pld_load_relaxed(&arena_test_over); i++) {
                hold_for_a_moment(pool, &random, name);
                if (i == 0)
                        pld_add_relaxed(&arena_test_nbusy, 1);
        }
        return NULL;
}

/* One by one, through the common part, where threads are between two steps most often. */
static void *churn_singly(void *pool)
{
        uintptr_t name = (uintptr_t)&name;
        for (unsigned i = 0; i < 300000; i++) {
                uintptr_t *one = polder_pool_get(pool), *two = polder_pool_get(pool);
                if (one)
                        one[1] = name;
                if (two)
                        two[1] = name;
                PLD_CHECK((!one || one[1] == name) && (!two || two[1] == name));
                polder_pool_put(pool, one);
                polder_pool_put(pool, two);
        }
        return NULL;
}

static void churn_together(struct polder_pool *pool, void *(*fn)(void *), unsigned nthreads)
{
        pthread_t threads[NTHREADS];
        for (unsigned i = 0; i < nthreads; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, fn, pool), 0);
        for (unsigned i = 0; i < nthreads; i++)
                pthread_join(threads[i], NULL);
}

Test(pool, no_two_threads_have_one_object_where_magazines_come_and_go, .timeout = 300)
{
        arena_test_start(1);
        struct polder_pool *pool = make(12, 16);
        churn_together(pool, churn_singly, 6);
        destroy_unused(pool);
}

Test(pool, no_two_threads_have_one_object, .timeout = 300)
{
        static const size_t counts[] = { 40, 600, 3000 }; /* scarce, and more threads than hands */
        arena_test_start(1);
        for (unsigned i = 0; i < PLD_COUNT_OF(counts); i++) {
                struct polder_pool *pool = make(counts[i], 16);
                churn_together(pool, churn, NTHREADS);
                pld_pool_verify(pool);
                cr_assert_eq(get_all(pool), counts[i]);
                cr_assert_eq(polder_pool_destroy(pool), counts[i]);
        }
        arena_test_nothing_left();
}

/* ---- fork() ---------------------------------------------------------------------- */

static void *keep_a_hand(void *pool)
{
        polder_pool_put(pool, polder_pool_get(pool));
        pld_add_relaxed(&arena_test_nbusy, 1);
        while (!pld_load_relaxed(&arena_test_over))
                pld_pause();
        return NULL;
}

Test(pool, a_forked_child_has_what_its_parents_threads_had_at_hand)
{
        pthread_t thread;
        arena_test_start(1);
        struct polder_pool *pool = make(2000, 16);
        pthread_create(&thread, NULL, keep_a_hand, pool);
        while (!pld_load_relaxed(&arena_test_nbusy))
                pld_pause();
        cr_expect_lt(get_all(pool), 2000);
        pld_pool_fork_prepare();
        pld_pool_fork_done();
        /* As in the child, where the other thread does not run: it only spins. */
        pld_pool_fork_child();
        cr_expect_neq(polder_pool_available(pool), 0);
        while (polder_pool_get(pool))
                ;
        cr_expect_eq(polder_pool_in_use(pool), 2000);
        pld_pool_verify(pool);
        pld_store_relaxed(&arena_test_over, true);
        pthread_join(thread, NULL);
}

static uint32_t magazines_on(const struct polder_pool *pool, const struct pld_stack *stack)
{
        uint32_t n = 0, number = (uint32_t)pld_load_relaxed(&stack->head);
        for (; number; n++)
                number = pld_load_relaxed(&pld_magazine_at(pool, number - 1)->next);
        return n;
}

/* What a thread had in its hands at the fork is nobody's in the child, but the magazine it was in
 * is wanted there: without it one would be waited for that never comes (P4). */
Test(pool, a_forked_child_has_the_magazines_that_threads_were_carrying)
{
        arena_test_start(1);
        struct polder_pool *pool = make(2000, 16);
        struct pld_magazine *carried[2] = { pld_magazine_find(pool), pld_magazine_find(pool) };
        cr_assert(carried[0] && carried[1]);
        size_t nout = pld_load_relaxed(&carried[0]->n) + pld_load_relaxed(&carried[1]->n);
        pld_pool_fork_prepare();
        pld_pool_fork_done();
        pld_pool_fork_child();
        cr_expect_eq(magazines_on(pool, &pool->full) + magazines_on(pool, &pool->partial) +
                         magazines_on(pool, &pool->empty),
                     pool->nmagazines);
        cr_expect_eq(polder_pool_in_use(pool), nout);
        pld_pool_verify(pool);
}

/* Between the stacks most of the time. */
static void *carry(void *pool)
{
        void *some[MOST];
        for (bool first = true; !pld_load_relaxed(&arena_test_over); first = false) {
                if (polder_pool_get_bulk(pool, some, MOST) == 0)
                        polder_pool_put_bulk(pool, some, MOST);
                if (first)
                        pld_add_relaxed(&arena_test_nbusy, 1);
        }
        return NULL;
}

enum { FORKERS = 3 };

static int child(void *pool)
{
        pld_pool_verify(pool);
        size_t n = get_all(pool);
        /* But for what the others had out, or on the way. */
        if (n < 20000 - FORKERS * 2 * MOST)
                return 1;
        for (size_t i = 0; i < n; i++)
                ((uintptr_t *)objects[i])[1] = i;
        for (size_t i = 0; i < n; i++)
                if (((uintptr_t *)objects[i])[1] != i)
                        return 2;
        polder_pool_put_bulk(pool, objects, n);
        pld_pool_verify(pool);
        return 0;
}

Test(pool, a_forked_child_uses_it_while_threads_did_in_the_parent, .timeout = 300)
{
        arena_test_start(1);
        struct polder_pool *pool = make(20000, 16);
        arena_test_fork_beside(FORKERS, carry, 100, child, pool);
        destroy_unused(pool);
}
