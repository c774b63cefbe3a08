#include "tests/collector/test_fiber.h"

static void hold_on_fiber(struct hold *hold)
{
        switch_to_fiber(hold, hold_on_stack, true);
}

Test(fiber, a_fiber_that_polls_keeps_what_its_stack_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_fiber);
}

static void hold_spinning(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        spin(hold);
        cr_assert_not_null(here[1]);
}

static void hold_on_spinning_fiber(struct hold *hold)
{
        switch_to_fiber(hold, hold_spinning, true);
}

Test(fiber, a_fiber_that_never_polls_is_stopped_and_keeps_what_its_stack_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_spinning_fiber);
}

static void hold_below_spinning_fiber(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        switch_to_fiber(hold, spin, true);
        cr_assert_not_null(here[1]);
}

Test(fiber, the_own_stack_of_a_thread_on_a_fiber_keeps_what_it_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_below_spinning_fiber);
}

static void hold_blocking(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        polder_blocking_begin();
        pld_store_release(&hold->ready, true);
        await(&hold->done);
        polder_blocking_end();
        cr_assert_not_null(here[1]);
}

static void hold_on_blocking_fiber(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        switch_to_fiber(hold, hold_blocking, true);
        cr_assert_not_null(here[1]);
}

Test(fiber, a_fiber_may_block, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_blocking_fiber);
}

static struct hold *on_signal_hold;

static void on_alternate_stack(int number)
{
        (void)number;
        hold_spinning(on_signal_hold);
}

static void with_alternate_stack(struct hold *hold, void (*fn)(int))
{
        stack_t stack = { .ss_sp = malloc(64 << 10), .ss_size = 64 << 10 };
        struct sigaction action = { .sa_handler = fn, .sa_flags = SA_ONSTACK };
        cr_assert_eq(sigaltstack(&stack, NULL), 0);
        cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
        on_signal_hold = hold;
        pthread_kill(pthread_self(), SIGUSR1);
        void *block = stack.ss_sp;
        stack.ss_flags = SS_DISABLE;
        sigaltstack(&stack, NULL);
        free(block);
}

static void hold_on_alternate_stack(struct hold *hold)
{
        with_alternate_stack(hold, on_alternate_stack);
}

Test(fiber, an_alternate_signal_stack_keeps_what_it_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_alternate_stack);
}

static void spin_on_signal(int number)
{
        (void)number;
        spin(on_signal_hold);
}

static void hold_below_alternate_stack(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        with_alternate_stack(hold, spin_on_signal);
        cr_assert_not_null(here[1]);
}

Test(fiber, what_a_signal_on_an_alternate_stack_interrupted_keeps_what_it_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_below_alternate_stack);
}

/* The main thread's stack is mapped as far as it was used, and no further. */
Test(fiber, the_main_thread_may_run_a_fiber, .timeout = 60)
{
        struct hold hold = { .done = 1 };
        collected_start();
        hold.hidden = (uintptr_t)on_a_thread(make_hidden, (void *)0);
        void *volatile here[4] = { NULL, (void *)~hold.hidden };
        void (*collect)(struct hold *) = (void (*)(struct hold *))collect_both_ways;
        switch_to_fiber(&hold, collect, true);
        cr_expect(is_alive(0));
        cr_expect_not_null(here[1]);
}

static void poll_on_unknown_stack(void)
{
        struct hold hold = { .done = 0 };
        collected_start();
        void (*collect)(struct hold *) = (void (*)(struct hold *))collect_both_ways;
        switch_to_fiber(&hold, collect, false);
}

Test(fiber, a_stack_that_polder_does_not_know_is_named)
{
        expect_death(poll_on_unknown_stack, "polder_root_add");
}
