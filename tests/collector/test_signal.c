#include "tests/collector/test_thread.h"

static _Atomic unsigned nurgent;

static void on_urgent(int number)
{
        if (number == SIGURG)
                pld_add_relaxed(&nurgent, 1);
}

static void on_urgent_info(int number, siginfo_t *info, void *context)
{
        if (number == SIGURG && info && context)
                pld_add_relaxed(&nurgent, 1);
}

static void expect_handler_called(struct sigaction action)
{
        cr_assert_eq(sigaction(SIGURG, &action, NULL), 0);
        collected_start();
        raise(SIGURG);
        cr_expect_eq(nurgent, 1);
        struct hold hold = { .how = spin };
        hold_start(&hold);
        for (int i = 0; i < 10; i++)
                collect_both_ways();
        cr_expect_gt(pld_thread_wakeups(), 0);
        cr_expect_eq(nurgent, 1, "Polder's own signals are not the program's");
        /* The kernel makes one of two that are pending for a thread, and one of Polder's may be,
         * for a step that was done without it (T7): the program's is lost then. */
        while (pld_load_relaxed(&nurgent) < 2) {
                pthread_kill(hold.thread, SIGURG);
                sched_yield();
        }
        hold_end(&hold);
}

Test(signal, a_handler_that_was_there_before_is_called_still, .timeout = 60)
{
        expect_handler_called((struct sigaction){ .sa_handler = on_urgent });
}

Test(signal, a_handler_with_info_that_was_there_before_is_called_still, .timeout = 60)
{
        expect_handler_called(
            (struct sigaction){ .sa_sigaction = on_urgent_info, .sa_flags = SA_SIGINFO });
}

static void *poll_with_signal_masked(void *arg)
{
        struct gang *gang = arg;
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        cr_assert_eq(polder_thread_attach(), 0);
        pld_add_release(&gang->nready, 1);
        while (!pld_load_acquire(&gang->done)) {
                polder_safepoint();
                polder_blocking_begin();
                polder_blocking_end();
        }
        return NULL;
}

Test(signal, a_thread_with_all_signals_masked_is_stopped_by_polls, .timeout = 60)
{
        collected_start();
        collect_beside(2, poll_with_signal_masked, 20);
}

static void *watch_errno(void *arg)
{
        struct gang *gang = arg;
        cr_assert_eq(polder_thread_attach(), 0);
        pld_add_release(&gang->nready, 1);
        for (unsigned i = 0; !pld_load_acquire(&gang->done); i++) {
                errno = 4711;
                polder_safepoint();
                cr_assert_eq(errno, 4711, "safepoint: %d", errno);
                polder_store(&roots[4], roots[5]);
                cr_assert_eq(errno, 4711, "store: %d", errno);
                polder_blocking_begin();
                cr_assert_eq(errno, 4711, "begin: %d", errno);
                sched_yield();
                polder_blocking_end();
                cr_assert_eq(errno, 4711, "end: %d", errno);
                cr_assert_not_null(polder_new(node_layout));
                cr_assert_eq(errno, 4711, "new: %d", errno);
        }
        return NULL;
}

Test(signal, nothing_on_the_way_touches_errno, .timeout = 120)
{
        collected_start();
        collect_beside(4, watch_errno, 200);
}
