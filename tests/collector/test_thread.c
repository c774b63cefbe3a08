#include "tests/collector/collector_test.h"

#include "collector/thread.h"

#include <sys/resource.h>

static unsigned count_threads(void)
{
        pld_threads_lock();
        unsigned n = pld_threads_count_locked();
        pld_threads_unlock();
        return n;
}

/* ---- Coming and going ------------------------------------------------------------------ */

static void *attach_by_hand(void *out)
{
        cr_assert_null(pld_thread_self());
        cr_assert_eq(polder_thread_attach(), 0);
        cr_assert_eq(polder_thread_attach(), 0, "twice is no error");
        *(unsigned *)out = count_threads();
        polder_thread_detach();
        polder_thread_detach();
        cr_assert_null(pld_thread_self());
        cr_assert_eq(polder_thread_attach(), 0, "it may come again");
        return NULL;
}

Test(thread, a_thread_attaches_and_detaches_by_hand)
{
        unsigned during;
        collected_start();
        unsigned before = count_threads();
        on_a_thread(attach_by_hand, &during);
        cr_expect_eq(during, before + 1);
        cr_expect_eq(count_threads(), before, "the end of a thread detaches it");
}

static void *allocate_one(void *unused)
{
        (void)unused;
        cr_assert_not_null(polder_new_leaf(8));
        cr_assert_not_null(pld_thread_self());
        return NULL;
}

static void *store_one(void *unused)
{
        static struct node dummy;
        (void)unused;
        polder_store(&roots[1], &dummy);
        cr_assert_not_null(pld_thread_self());
        cr_assert_eq(roots[1], &dummy);
        return NULL;
}

static void *exchange_one(void *unused)
{
        struct node *expected = roots[1];
        (void)unused;
        cr_assert(polder_compare_exchange(&roots[1], &expected, NULL));
        cr_assert_not_null(pld_thread_self());
        return NULL;
}

static void *clear_one(void *unused)
{
        (void)unused;
        polder_clear(&roots[1], sizeof roots[1]);
        cr_assert_not_null(pld_thread_self());
        return NULL;
}

Test(thread, allocating_and_storing_attach)
{
        collected_start();
        unsigned before = count_threads();
        on_a_thread(allocate_one, NULL);
        on_a_thread(store_one, NULL);
        on_a_thread(exchange_one, NULL);
        on_a_thread(clear_one, NULL);
        cr_expect_eq(count_threads(), before);
}

static void *collect_unattached(void *unused)
{
        (void)unused;
        collect_both_ways();
        return NULL;
}

Test(thread, an_unattached_thread_may_collect, .timeout = 60)
{
        collected_start();
        on_a_thread(collect_unattached, NULL);
}

static __attribute__((unused)) void *wait_to_be_cancelled(void *arg)
{
        struct gang *gang = arg;
        int ends[2];
        char byte;
        cr_assert_eq(pipe(ends), 0);
        cr_assert_eq(polder_thread_attach(), 0);
        polder_blocking_begin();
        pld_add_release(&gang->nready, 1);
        ssize_t got = read(ends[0], &byte, 1);
        (void)got;
        return NULL;
}

#if !defined(__SANITIZE_ADDRESS__) /* which stumbles over its own end of a thread then */
Test(thread, a_cancelled_thread_detaches, .timeout = 60)
{
        struct gang gang;
        collected_start();
        unsigned before = count_threads();
        gang_start(&gang, 4, wait_to_be_cancelled);
        cr_expect_eq(count_threads(), before + 4);
        for (unsigned i = 0; i < gang.n; i++)
                pthread_cancel(gang.thread[i]);
        gang_stop(&gang);
        cr_expect_eq(count_threads(), before);
        collect_both_ways();
}
#endif

static pthread_key_t late_key;

static void use_polder_late(void *round)
{
        cr_assert_not_null(polder_new_leaf(16));
        if ((uintptr_t)round < 8)
                pthread_setspecific(late_key, (void *)((uintptr_t)round + 1));
}

static void *end_slowly(void *first)
{
        pthread_setspecific(late_key, first);
        return NULL;
}

Test(thread, destructors_of_thread_specific_values_may_use_polder, .timeout = 60)
{
        cr_assert_eq(pthread_key_create(&late_key, use_polder_late), 0);
        collected_start();
        unsigned before = count_threads();
        on_a_thread(end_slowly, (void *)8);
        cr_expect_eq(count_threads(), before);
        collect_both_ways();
}

static void *bring_late_key(void *unused)
{
        (void)unused;
        cr_assert_eq(pthread_key_create(&late_key, use_polder_late), 0);
        return NULL;
}

/* A key that is older than Polder's, and one that is younger. */
Test(thread, destructors_that_use_polder_up_to_the_third_round_leave_no_thread_behind,
     .timeout = 60)
{
        collected_start();
        bring_late_key(NULL);
        unsigned before = count_threads();
        on_a_thread(end_slowly, (void *)8);
        on_a_thread(end_slowly, (void *)7);
        on_a_thread(end_slowly, (void *)6);
        cr_expect_eq(count_threads(), before);
        collect_both_ways();
}

static void *come_and_go(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        while (!pld_load_acquire(&gang->done)) {
                struct node *node = node_new(polder_load(&roots[2]), 1);
                polder_store(&node->next, NULL);
                polder_store(&roots[2], node);
                polder_thread_detach();
        }
        return NULL;
}

Test(thread, threads_may_come_and_go_in_every_phase, .timeout = 120)
{
        collected_start();
        collect_beside(4, come_and_go, 60);
}

static void *shade_and_detach(void *unused)
{
        (void)unused;
        struct node *slot = node_new(NULL, 1);
        polder_thread_.shading = PLD_SHADE_OLD; /* as if a cycle were marking; none follows */
        polder_store(&slot, NULL);
        cr_assert_not(pld_marker_is_empty(&pld_thread_self()->marker));
        polder_thread_detach();
        return NULL;
}

/* Y3: nobody would ask for it any more. */
Test(thread, a_thread_that_detaches_gives_away_what_it_shaded)
{
        collected_start();
        on_a_thread(shade_and_detach, NULL);
        struct pld_grey_chunk *chunk = pld_grey_take(0);
        cr_assert_not_null(chunk);
        cr_expect_eq(chunk->n, 1);
}

static void *live_shortly(void *unused)
{
        (void)unused;
        for (uintptr_t i = 0; i < 100; i++)
                cr_assert_not_null(node_new(NULL, i));
        return NULL;
}

Test(thread, many_threads_live_and_die_while_cycles_run, .timeout = 120)
{
        pthread_t thread[16];
        collected_start();
        unsigned before = count_threads();
        for (int round = 0; round < 30; round++) {
                for (unsigned i = 0; i < PLD_COUNT_OF(thread); i++)
                        cr_assert_eq(pthread_create(&thread[i], NULL, live_shortly, NULL), 0);
                polder_collect_start();
                for (unsigned i = 0; i < PLD_COUNT_OF(thread); i++)
                        pthread_join(thread[i], NULL);
        }
        cr_expect_eq(count_threads(), before);
}

/* ---- polder_thread_create ------------------------------------------------------------------ */

static void *collect_and_look(void *arg)
{
        for (int i = 0; i < 3; i++)
                collect_both_ways();
        cr_assert_not_null(polder_weak_get(weaks[0]));
        return (void *)((struct node *)arg)->value;
}

static void *create_with_object(void *out)
{
        struct node *node = node_new(NULL, 42);
        watch(0, node);
        cr_assert_eq(polder_thread_create(out, collect_and_look, node), 0);
        return NULL;
}

Test(thread, create_keeps_the_argument_alive_until_start_has_it, .timeout = 60)
{
        uintptr_t thread;
        void *result;
        collected_start();
        on_a_thread(create_with_object, &thread);
        cr_assert_eq(pthread_join((pthread_t)thread, &result), 0);
        cr_expect_eq((uintptr_t)result, 42);
        collect_both_ways();
        cr_expect_not(is_alive(0), "and not longer");
}

static void *same(void *arg)
{
        cr_assert_not_null(pld_thread_self(), "attached from the start");
        return arg;
}

Test(thread, create_passes_any_argument_as_it_is)
{
        uintptr_t thread;
        void *result;
        char local;
        collected_start();
        char *object = polder_new_leaf(64);
        void *const args[] = { NULL, &local, (void *)1, object + 13 };
        for (size_t i = 0; i < PLD_COUNT_OF(args); i++) {
                cr_assert_eq(polder_thread_create(&thread, same, args[i]), 0);
                cr_assert_eq(pthread_join((pthread_t)thread, &result), 0);
                cr_expect_eq(result, args[i]);
        }
        cr_expect_eq(polder_unpin(object), -ENOENT, "no pin stays behind");
}

static __attribute__((unused)) void *create_in_vain(void *unused)
{
        (void)unused;
        struct node *node = node_new(NULL, 42);
        uintptr_t thread = 4711;
        watch(0, node);
        struct rlimit limit = { 1 << 20, RLIM_INFINITY };
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        int error = polder_thread_create(&thread, collect_and_look, node);
        limit.rlim_cur = RLIM_INFINITY;
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        cr_assert_eq(error, -EAGAIN);
        cr_assert_eq(thread, 4711);
        cr_assert_eq(polder_unpin(node), -ENOENT);
        return NULL;
}

#if !defined(__SANITIZE_ADDRESS__) /* which needs address space of its own */
Test(thread, create_that_fails_keeps_nothing, .timeout = 60)
{
        collected_start();
        collect_both_ways();
        make_and_collect(create_in_vain);
        cr_expect_not(is_alive(0));
}
#endif
