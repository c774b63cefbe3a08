#include "tests/collector/collector_test.h"

#include "collector/finalizer.h"
#include "collector/thread.h"

/* ---- Weak references ------------------------------------------------------------------------ */

static void *make_kept_and_lost(void *unused)
{
        (void)unused;
        struct node *kept = node_new(NULL, 1), *lost = node_new(NULL, 2);
        polder_store(&roots[0], kept);
        watch(0, kept);
        watch(1, lost);
        cr_assert_eq(polder_weak_get(weaks[0]), kept);
        cr_assert_eq(polder_weak_get(weaks[1]), lost);
        return NULL;
}

Test(records, a_weak_reference_is_cleared_when_its_object_goes_and_not_before)
{
        collected_start();
        make_and_collect(make_kept_and_lost);
        cr_expect(is_alive(0));
        cr_expect_not(is_alive(1));
        polder_store(&roots[0], NULL);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

Test(records, the_same_object_has_the_same_weak_reference)
{
        collected_start();
        struct node *node = node_new(NULL, 1), *other = node_new(NULL, 2);
        struct polder_weak *weak = polder_weak_new(node);
        cr_expect_eq(polder_weak_new(node), weak);
        cr_expect_eq(polder_weak_new((char *)node + 8), weak, "from inside, too");
        cr_expect_neq(polder_weak_new(other), weak);
        collect_both_ways();
        cr_expect_eq(polder_weak_new(node), weak);
        cr_expect_eq(polder_weak_get(weak), node);
        cr_expect_gt(polder_size_of(weak), 0, "it is a collected object");
        polder_keep_alive(node);
}

Test(records, what_is_no_object_has_no_weak_reference)
{
        int local;
        collected_start();
        errno = 0;
        cr_expect_null(polder_weak_new(&local));
        cr_expect_eq(errno, EINVAL);
        cr_expect_null(polder_weak_new(NULL));
        cr_expect_null(polder_weak_get(NULL));
}

/* The weak object is kept by the record alone. */
static void *make_unwatched(void *unused)
{
        (void)unused;
        struct node *node = node_new(NULL, 1);
        polder_store(&roots[0], node);
        struct polder_weak *weak = polder_weak_new(node);
        watch(0, weak); /* a weak reference to the weak reference */
        return NULL;
}

Test(records, a_weak_reference_lives_as_long_as_its_object)
{
        collected_start();
        make_and_collect(make_unwatched);
        cr_expect(is_alive(0));
        polder_store(&roots[0], NULL);
        for (int i = 0; i < 3; i++)
                collect_both_ways();
        cr_expect_not(is_alive(0));
}

static void *make_large_weak(void *unused)
{
        (void)unused;
        watch(0, polder_new_leaf(1 << 20));
        void *kept = polder_new_leaf(1 << 20);
        watch(1, kept);
        polder_store(&roots[0], kept);
        return NULL;
}

Test(records, large_objects_have_weak_references_too)
{
        collected_start();
        make_and_collect(make_large_weak);
        cr_expect_not(is_alive(0));
        cr_expect(is_alive(1));
}

enum { NTARGETS = 64 };

/* Objects that die all the time, in spans that go back to the page heap. */
static void *make_targets(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        for (unsigned i = 0; !pld_load_acquire(&gang->done); i++) {
                struct node *node = polder_new_leaf(i % 3 ? 64 << 10 : 64);
                node->value = 4711;
                watch(i % NTARGETS, node);
                polder_free(polder_malloc(64 << 10)); /* may get the same pages */
        }
        return NULL;
}

static void *get_targets(void *arg)
{
        struct gang *gang = arg;
        polder_thread_attach(); /* else what it reads first is nobody's */
        pld_add_release(&gang->nready, 1);
        for (unsigned i = 0; !pld_load_acquire(&gang->done); i++) {
                struct node *node = polder_weak_get(polder_load(&weaks[i % NTARGETS]));
                if (node)
                        cr_assert_eq(node->value, 4711);
        }
        return NULL;
}

Test(records, getting_from_a_weak_reference_may_race_with_its_objects_end, .timeout = 120)
{
        struct gang makers, getters;
        collected_start_as("off", "");
        gang_start(&makers, 2, make_targets);
        gang_start(&getters, 4, get_targets);
        for (int i = 0; i < 200; i++)
                collect_both_ways();
        gang_stop(&makers);
        gang_stop(&getters);
}

/* ---- Finalizers
 * ------------------------------------------------------------------------------------- */

static _Atomic unsigned ncalls;
static uintptr_t calls[64];
static _Atomic uintptr_t finalizer_self;

static void remember(void *object, void *arg)
{
        unsigned n = pld_load_relaxed(&ncalls);
        calls[n % 64] = ((struct node *)object)->value;
        cr_assert_eq(arg ? ((struct node *)arg)->value : 0, arg ? 100 : 0);
        pld_store_relaxed(&finalizer_self, (uintptr_t)pthread_self());
        pld_add_release(&ncalls, 1);
}

static void *await_calls(void *n)
{
        while (pld_load_acquire(&ncalls) < (unsigned)(uintptr_t)n)
                sched_yield();
        return NULL;
}

static void settle_calls(void)
{
        collect_both_ways();
        while (pld_finalizers_pending())
                sched_yield();
        collect_both_ways(); /* handshakes the finalizer's thread; it has let go of the last one */
        while (pld_finalizers_pending())
                sched_yield();
}

static void *make_finalizable(void *unused)
{
        (void)unused;
        struct node *node = node_new(node_new(NULL, 5), 1), *arg = node_new(NULL, 100);
        watch(0, node);
        watch(1, node->next);
        watch(2, arg);
        cr_assert_eq(polder_finalizer_set(node, remember, arg), 0);
        return NULL;
}

Test(records, a_finalizer_runs_once_on_a_thread_of_its_own, .timeout = 60)
{
        collected_start();
        on_a_thread(make_finalizable, NULL);
        for (int i = 0; i < 5; i++)
                settle_calls();
        on_a_thread(await_calls, (void *)1);
        cr_expect_eq(ncalls, 1);
        cr_expect_eq(calls[0], 1);
        cr_expect_neq(finalizer_self, (uintptr_t)pthread_self());
        collect_both_ways();
        cr_expect_not(is_alive(0) || is_alive(1) || is_alive(2), "then all of it goes");
}

static void *keep_and_set(void *unused)
{
        (void)unused;
        struct node *node = node_new(NULL, 1);
        polder_store(&roots[0], node);
        struct node *arg = node_new(NULL, 100);
        watch(0, arg);
        cr_assert_eq(polder_finalizer_set(node, remember, arg), 0);
        return NULL;
}

Test(records, while_the_object_lives_the_finalizer_waits_and_keeps_its_argument, .timeout = 60)
{
        collected_start();
        on_a_thread(keep_and_set, NULL);
        for (int i = 0; i < 3; i++)
                settle_calls();
        cr_expect_eq(ncalls, 0);
        cr_expect(is_alive(0));
        polder_store(&roots[0], NULL);
        settle_calls();
        on_a_thread(await_calls, (void *)1);
}

static void *make_finalizable_chain(void *unused)
{
        (void)unused;
        struct node *chain = NULL;
        for (uintptr_t i = 1; i <= 4; i++) {
                chain = node_new(chain, i);
                cr_assert_eq(polder_finalizer_set(chain, remember, NULL), 0);
        }
        return NULL;
}

Test(records, a_chain_is_finalized_from_its_head_one_a_cycle, .timeout = 60)
{
        collected_start();
        on_a_thread(make_finalizable_chain, NULL);
        for (unsigned i = 1; i <= 4; i++) {
                cr_assert_eq(polder_collect(i % 2 ? POLDER_CONCURRENT : POLDER_STOP_THE_WORLD), 0);
                on_a_thread(await_calls, (void *)(uintptr_t)i);
                cr_expect_eq(ncalls, i);
                cr_expect_eq(calls[i - 1], 5 - i);
        }
}

static void resurrect(void *object, void *arg)
{
        (void)arg;
        polder_store(&roots[0], (struct node *)object);
        pld_add_release(&ncalls, 1);
}

static void *make_phoenix(void *unused)
{
        (void)unused;
        struct node *node = node_new(node_new(NULL, 8), 7);
        watch(0, node);
        cr_assert_eq(polder_finalizer_set(node, resurrect, NULL), 0);
        return NULL;
}

static void *set_on_root(void *unused)
{
        (void)unused;
        cr_assert_eq(polder_finalizer_set(polder_load(&roots[0]), remember, NULL), 0);
        polder_store(&roots[0], NULL);
        return NULL;
}

Test(records, an_object_that_its_finalizer_stores_lives_on_without, .timeout = 60)
{
        collected_start();
        on_a_thread(make_phoenix, NULL);
        settle_calls();
        on_a_thread(await_calls, (void *)1);
        cr_expect_not(is_alive(0), "weak references are cleared before");
        settle_calls();
        cr_assert_not_null(roots[0]);
        cr_expect_eq(roots[0]->value, 7);
        cr_expect_eq(roots[0]->next->value, 8, "all it refers to is whole");
        polder_store(&roots[1], roots[0]);
        polder_store(&roots[0], NULL);
        polder_store(&roots[1], NULL);
        settle_calls();
        settle_calls();
        cr_expect_eq(ncalls, 1, "it has no finalizer any more");
        on_a_thread(make_phoenix, NULL);
        settle_calls();
        on_a_thread(await_calls, (void *)2);
        on_a_thread(set_on_root, NULL);
        settle_calls();
        on_a_thread(await_calls, (void *)3);
}

static void *set_and_unset(void *unused)
{
        (void)unused;
        struct node *node = node_new(NULL, 1);
        cr_assert_eq(polder_finalizer_set(node, NULL, NULL), 0, "nothing to remove");
        cr_assert_eq(polder_finalizer_set(node, remember, NULL), 0);
        cr_assert_eq(polder_finalizer_set(node, NULL, NULL), 0);
        struct node *two = node_new(NULL, 2);
        cr_assert_eq(polder_finalizer_set(two, resurrect, NULL), 0);
        cr_assert_eq(polder_finalizer_set(two, remember, NULL), 0);
        return NULL;
}

Test(records, a_finalizer_is_removed_or_replaced, .timeout = 60)
{
        collected_start();
        on_a_thread(set_and_unset, NULL);
        settle_calls();
        on_a_thread(await_calls, (void *)1);
        settle_calls();
        cr_expect_eq(ncalls, 1);
        cr_expect_eq(calls[0], 2);
        cr_expect_null(roots[0]);
}

static void *make_self_reference(void *unused)
{
        (void)unused;
        struct node *node = node_new(NULL, 1);
        polder_store(&node->next, node);
        cr_assert_eq(polder_finalizer_set(node, remember, NULL), 0);
        return NULL;
}

Test(records, an_object_reachable_from_its_own_fields_is_never_finalized, .timeout = 60)
{
        collected_start();
        on_a_thread(make_self_reference, NULL);
        for (int i = 0; i < 3; i++)
                settle_calls();
        cr_expect_eq(ncalls, 0);
}

Test(records, only_the_first_byte_of_an_object_takes_a_finalizer)
{
        int local;
        collected_start();
        struct node *node = node_new(NULL, 1);
        cr_expect_eq(polder_finalizer_set((char *)node + 8, remember, NULL), -EINVAL);
        cr_expect_eq(polder_finalizer_set(&local, remember, NULL), -EINVAL);
        cr_expect_eq(polder_finalizer_set(NULL, remember, NULL), -EINVAL);
}

static void count_call(void *object, void *arg)
{
        (void)arg;
        cr_assert_eq(((struct node *)object)->value, 3);
        cr_assert_eq(((struct node *)object)->next->value, 4);
        pld_add_release(&ncalls, 1);
}

static void *make_many_finalizable(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        for (int i = 0; i < 3000; i++)
                cr_assert_eq(polder_finalizer_set(node_new(node_new(NULL, 4), 3), count_call, NULL),
                             0);
        return NULL;
}

Test(records, each_of_many_is_finalized_once_while_cycles_run, .timeout = 120)
{
        collected_start();
        collect_beside(3, make_many_finalizable, 30);
        for (int i = 0; i < 3; i++)
                settle_calls();
        on_a_thread(await_calls, (void *)9000);
        settle_calls();
        cr_expect_eq(ncalls, 9000);
}
