#include "collector/handshake.h"
#include "collector/thread.h"
#include "tests/collector/collector_test.h"


#include <poll.h>

static int silent[2];

static void *poll_for_long(void *arg)
{
        struct gang *gang = arg;
        struct pollfd fd = { .fd = silent[0], .events = POLLIN };
        cr_assert_eq(polder_thread_attach(), 0);
        polder_blocking_begin();
        pld_add_release(&gang->nready, 1);
        int n = poll(&fd, 1, -1);
        int error = errno;
        polder_blocking_end();
        cr_assert_eq(n, 1, "poll: %s", strerror(error));
        return NULL;
}

/* Nor is this thread, which is attached: it blocks before it asks for a collection. */
Test(blocking, a_blocking_thread_is_neither_signalled_nor_waited_for, .timeout = 60)
{
        struct gang gang;
        collected_start();
        cr_assert_eq(pipe(silent), 0);
        gang_start(&gang, 3, poll_for_long);
        uint64_t before = pld_thread_wakeups();
        for (int i = 0; i < 50; i++)
                collect_both_ways();
        cr_expect_eq(pld_thread_wakeups(), before);
        cr_assert_eq(write(silent[1], "", 1), 1);
        gang_stop(&gang);
}

static _Atomic unsigned ninterrupted, npolls;

static void *poll_often(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        for (unsigned i = 0; !pld_load_acquire(&gang->done); i++) {
                struct node *node = node_new(NULL, i);
                polder_store(&roots[3], node);
                polder_blocking_begin();
                if (poll(NULL, 0, i % 2 ? 1 : 0) < 0)
                        pld_add_relaxed(&ninterrupted, 1);
                polder_blocking_end();
                pld_add_relaxed(&npolls, 1);
                cr_assert_eq(node->value, i);
                for (volatile unsigned k = 0; k < i % 64 * 100; k++)
                        ; /* be caught outside, too */
        }
        return NULL;
}

Test(blocking, no_signal_reaches_into_a_blocking_section, .timeout = 120)
{
        collected_start();
        collect_beside(3, poll_often, 200);
        cr_expect_gt(npolls, 0);
        cr_expect_eq(ninterrupted, 0, "%u of %u", ninterrupted, npolls);
}

static void *flutter(void *arg)
{
        struct gang *gang = arg;
        cr_assert_eq(polder_thread_attach(), 0);
        pld_add_release(&gang->nready, 1);
        while (!pld_load_acquire(&gang->done)) {
                polder_blocking_begin();
                polder_blocking_end();
        }
        return NULL;
}

Test(blocking, threads_may_enter_and_leave_blocking_sections_at_any_moment, .timeout = 120)
{
        collected_start();
        collect_beside(4, flutter, 200);
}

static void *return_arg(void *arg)
{
        pld_threads_lock();
        uint32_t state = pld_load_relaxed(&pld_thread_self()->state);
        pld_threads_unlock();
        cr_assert_eq(state, PLD_THREAD_BLOCKED);
        return arg;
}

Test(blocking, blocking_call_calls_in_a_section_and_returns_the_result)
{
        int local;
        collected_start();
        cr_expect_eq(polder_blocking_call(return_arg, &local), &local);
        cr_expect_eq(pld_load_relaxed(&pld_thread_self()->state), PLD_THREAD_RUNNING);
}

Test(blocking, sections_nest)
{
        collected_start();
        polder_blocking_begin();
        polder_blocking_begin();
        polder_blocking_end();
        cr_expect_eq(pld_load_relaxed(&pld_thread_self()->state), PLD_THREAD_BLOCKED);
        polder_blocking_end();
        cr_expect_eq(pld_load_relaxed(&pld_thread_self()->state), PLD_THREAD_RUNNING);
        polder_blocking_end();
        cr_expect_not_null(polder_new_leaf(8), "one end too many is ignored");
}

Test(blocking, a_collection_inside_a_blocking_section_is_no_deadlock, .timeout = 60)
{
        collected_start();
        polder_blocking_begin();
        collect_both_ways();
        polder_blocking_end();
}

static void *block_unattached(void *unused)
{
        (void)unused;
        polder_blocking_begin();
        polder_blocking_end();
        cr_assert_null(pld_thread_self());
        polder_safepoint();
        return NULL;
}

Test(blocking, an_unattached_thread_may_block_and_poll)
{
        collected_start();
        on_a_thread(block_unattached, NULL);
}
