/* What finalizers may do. Those that end their thread are in tests/life/ends.c, those of
 * libraries in tests/life/plugin.c. */
#include "tests/collector/collector_test.h"

#include "base/clock.h"
#include "collector/cycle.h"
#include "collector/finalizer.h"
#include "collector/thread.h"

static _Atomic unsigned ncalls;
static _Atomic bool go_on;

static void await_finalized(unsigned n)
{
        while (pld_load_acquire(&ncalls) < n)
                sched_yield();
}

static void count(void *object, void *arg)
{
        (void)arg;
        cr_assert_eq(((struct node *)object)->value, 6);
        pld_add_release(&ncalls, 1);
}

struct task {
        polder_finalizer fn;
        unsigned n;
};

static void *set_many(void *arg)
{
        const struct task *task = arg;
        for (unsigned i = 0; i < task->n; i++)
                cr_assert_eq(polder_finalizer_set(node_new(NULL, 6), task->fn, NULL), 0);
        return NULL;
}

/* Of objects that are gone by then. */
static void set_finalizers(polder_finalizer fn, unsigned n)
{
        on_a_thread(set_many, &(struct task){ fn, n });
}

/* ---- What they may do ------------------------------------------------------------------ */

static void hang(void *object, void *arg)
{
        pld_add_release(&ncalls, 1);
        polder_blocking_begin();
        while (!pld_load_acquire(&go_on))
                usleep(1000);
        polder_blocking_end();
        cr_assert_eq(((struct node *)object)->value, 6);
        (void)arg;
}

Test(finalizer, one_that_hangs_holds_up_the_others_and_no_collection, .timeout = 60)
{
        collected_start();
        set_finalizers(hang, 1);
        collect_both_ways();
        await_finalized(1);
        set_finalizers(count, 100);
        for (int i = 0; i < 5; i++)
                collect_both_ways();
        cr_expect_eq(ncalls, 1);
        size_t pending = stats_now().finalizers_pending;
        cr_expect(pending >= 95 && pending <= 100, "%zu", pending);
        cr_expect_eq(stats_now().finalizers_called, 0);
        pld_store_release(&go_on, true);
        await_finalized((unsigned)pending + 1);
        while (stats_now().finalizers_called < pending + 1)
                sched_yield();
        cr_expect_eq(stats_now().finalizers_pending, 0);
}

static void do_everything(void *object, void *arg)
{
        struct node *mine = object, *fresh = node_new(NULL, 8);
        polder_store(&fresh->other, mine);
        polder_store(&roots[0], fresh); /* so it lives on */
        cr_assert_eq(polder_finalizer_set(mine, NULL, NULL), 0, "it has none any more");
        struct polder_ephemeron *ephemeron = polder_ephemeron_new(mine, node_new(NULL, 9));
        cr_assert_not_null(ephemeron);
        collect_both_ways();
        struct node *value = polder_ephemeron_get(ephemeron, mine);
        cr_assert_eq(value->value, 9);
        cr_assert_eq(mine->value, 6);
        cr_assert_eq(polder_pin(mine), 0);
        cr_assert_eq(polder_unpin(mine), 0);
        cr_assert_eq(polder_weak_get(polder_weak_new(mine)), mine);
        pld_add_release(&ncalls, 1);
        (void)arg;
}

Test(finalizer, it_may_allocate_store_collect_and_make_ephemerons, .timeout = 60)
{
        collected_start();
        set_finalizers(do_everything, 20);
        collect_both_ways();
        await_finalized(19); /* a stale word may keep one */
        collect_both_ways();
        cr_expect_eq(roots[0]->other->value, 6);
}

static void set_again(void *object, void *arg)
{
        if (pld_add_release(&ncalls, 1) < 4)
                cr_assert_eq(polder_finalizer_set(object, set_again, arg), 0);
        else
                cr_assert_eq(polder_finalizer_set(object, NULL, NULL), 0);
}

Test(finalizer, it_may_set_itself_again, .timeout = 60)
{
        collected_start();
        set_finalizers(set_again, 1);
        for (unsigned i = 1; i <= 5; i++) {
                collect_both_ways();
                await_finalized(i);
                while (pld_finalizers_called() < i)
                        sched_yield();
        }
        collect_both_ways();
        collect_both_ways();
        cr_expect_eq(ncalls, 5);
        cr_expect_eq(stats_now().finalizers_called, 5);
}

/* ---- Their thread ----------------------------------------------------------------------- */

static void look_at_mask(void *object, void *arg)
{
        sigset_t mask;
        (void)object;
        (void)arg;
        cr_assert_eq(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
        cr_expect(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGALRM) &&
                  sigismember(&mask, SIGUSR1));
        cr_expect_not(sigismember(&mask, SIGURG), "it is stopped like any thread");
        cr_expect_not(sigismember(&mask, SIGSEGV));
        pld_add_release(&ncalls, 1);
}

static void *set_with_all_blocked(void *unused)
{
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        set_finalizers(look_at_mask, 5);
        return unused;
}

Test(finalizer, their_thread_takes_no_signals_of_the_program, .timeout = 60)
{
        collected_start();
        make_and_collect(set_with_all_blocked);
        await_finalized(4);
}

/* ---- Forgetting ------------------------------------------------------------------------- */

Test(finalizer, what_is_forgotten_is_not_called, .timeout = 60)
{
        collected_start();
        cr_expect_eq(polder_finalizer_forget(count), 0);
        set_finalizers(count, 50);
        set_finalizers(hang, 1);
        cr_expect_eq(polder_finalizer_forget(count), 50);
        collect_both_ways();
        await_finalized(1);
        set_finalizers(count, 50);
        collect_both_ways(); /* behind the one that hangs */
        cr_expect_eq(polder_finalizer_forget(count), 50, "set or due");
        cr_expect_eq(stats_now().finalizers_pending, 0);
        pld_store_release(&go_on, true);
        set_finalizers(do_everything, 2);
        collect_both_ways();
        await_finalized(2);
}

static void *forget_hanging(void *unused)
{
        (void)unused;
        pld_store_release(&go_on, false);
        return (void *)(uintptr_t)polder_finalizer_forget(hang);
}

static _Atomic bool forgotten;

static void *forget_and_tell(void *unused)
{
        forget_hanging(unused);
        pld_store_release(&forgotten, true);
        return NULL;
}

Test(finalizer, forgetting_waits_for_a_call_that_is_under_way, .timeout = 60)
{
        pthread_t thread;
        collected_start();
        set_finalizers(hang, 1);
        collect_both_ways();
        await_finalized(1);
        cr_assert_eq(pthread_create(&thread, NULL, forget_and_tell, NULL), 0);
        for (int i = 0; i < 5; i++)
                collect_both_ways(); /* which it does not hold up */
        usleep(20000);
        cr_expect_not(pld_load_acquire(&forgotten));
        pld_store_release(&go_on, true);
        pthread_join(thread, NULL);
        cr_expect(forgotten);
        cr_expect_eq(pld_finalizers_called(), 1);
}

static void forget_myself(void *object, void *arg)
{
        (void)object;
        (void)arg;
        polder_finalizer_forget(forget_myself);
        pld_add_release(&ncalls, 1);
}

Test(finalizer, it_may_forget_itself, .timeout = 60)
{
        collected_start();
        set_finalizers(forget_myself, 5);
        collect_both_ways();
        await_finalized(1);
        collect_both_ways();
        cr_expect_eq(ncalls, 1);
}

static void *set_and_forget(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        while (!pld_load_acquire(&gang->done)) {
                for (int i = 0; i < 100; i++)
                        cr_assert_eq(polder_finalizer_set(node_new(node_new(NULL, 7), 6), count, NULL), 0);
                polder_finalizer_forget(count);
        }
        return NULL;
}

Test(finalizer, forgetting_may_race_with_cycles, .timeout = 120)
{
        struct gang gang;
        collected_start();
        gang_start(&gang, 2, set_and_forget);
        for (int i = 0; i < 50; i++)
                collect_both_ways();
        gang_stop(&gang);
        polder_finalizer_forget(count);
        unsigned before = ncalls;
        collect_both_ways();
        cr_expect_eq(ncalls, before);
}

/* ---- While a cycle walks the records (D7): verification knows what it has passed over ---- */

enum { MANY_RECORDS = 3000 };

static void never(void *object, void *arg)
{
        (void)object, (void)arg;
        cr_assert_fail("the object is alive");
}

static void *set_kept(void *unused)
{
        const struct polder_layout *slot = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        polder_store(&roots[0], polder_new_array(slot, MANY_RECORDS));
        void **kept = (void **)polder_load(&roots[0]);
        for (int i = 0; i < MANY_RECORDS; i++) {
                struct node *node = node_new(NULL, 6);
                polder_store(&kept[i], (void *)node);
                cr_assert_eq(polder_finalizer_set(node, never, node_new(NULL, 7)), 0);
                cr_assert_not_null(polder_weak_new(node));
        }
        return unused;
}

Test(finalizer, records_come_and_go_while_a_cycle_walks_them, .timeout = 120)
{
        struct gang gang;
        collected_start();
        on_a_thread(set_kept, NULL);
        set_finalizers(hang, 1);
        collect_both_ways();
        await_finalized(1);
        gang_start(&gang, 2, set_and_forget);
        for (int i = 0; i < 50; i++)
                collect_both_ways();
        gang_stop(&gang);
        pld_store_release(&go_on, true);
}

static void never_due(void *object, void *arg)
{
        (void)object, (void)arg;
        cr_assert_fail("another one hangs");
}

static void *set_by_turns(void *unused)
{
        for (int i = 0; i < MANY_RECORDS; i++) {
                struct node *arg = node_new(NULL, 7);
                cr_assert_eq(polder_finalizer_set(node_new(NULL, 6), never_due, arg), 0);
                cr_assert_eq(polder_finalizer_set(node_new(NULL, 6), count, NULL), 0);
        }
        return unused;
}

/* Or for its end: it may have been quicker. */
static void start_and_await_marking(void)
{
        uint64_t ncycles = stats_now().cycles;
        cr_assert_eq(polder_collect_start(), 0);
        while (!pld_cycle_is_marking() && stats_now().cycles == ncycles)
                pld_pause();
}

Test(finalizer, what_is_due_may_be_forgotten_while_a_cycle_walks_it, .timeout = 120)
{
        collected_start();
        set_finalizers(hang, 1);
        collect_both_ways();
        await_finalized(1); /* from now on all that is due stays so */
        for (uint64_t i = 0; i < 30; i++) {
                on_a_thread(set_by_turns, NULL);
                collect_both_ways();
                start_and_await_marking();
                uint64_t until_ns = pld_now_ns() + 20000 * i;
                while (pld_now_ns() < until_ns)
                        pld_pause();
                cr_expect_eq(polder_finalizer_forget(count), MANY_RECORDS);
                collect_both_ways();
                cr_expect_eq(polder_finalizer_forget(never_due), MANY_RECORDS);
        }
        pld_store_release(&go_on, true);
}
