/* test_away.c: steps that are done for threads which run outside of Polder (handshake.c, T7).
 *
 * The thread that is served masks the stop signal, and neither polls nor enters: so it cannot
 * have done the step itself. */
#include "tests/collector/test_thread.h"

#include "numa/os.h"

static _Atomic unsigned nsteps, nrounds;
static _Atomic bool may_enter, is_entering, has_entered, stays_inside, is_inside;
static struct pld_thread *_Atomic served;

static void count_it(struct pld_thread *thread)
{
        if (thread == pld_load_acquire(&served))
                pld_add_release(&nsteps, 1);
}

static void mask_signals(void)
{
        sigset_t all;
        sigfillset(&all);
        cr_assert_eq(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
}

static void be_served(struct hold *hold)
{
        mask_signals();
        pld_store_release(&served, pld_thread_self());
        pld_store_release(&hold->ready, true);
}

static void come_in(struct hold *hold, void (*enter)(void))
{
        pld_store_release(&is_entering, true);
        enter();
        pld_store_release(&has_entered, true);
        poll_until(&hold->done);
}

/* Neither a poll nor a way into Polder until it may; then this one. */
static void run_outside_then(struct hold *hold, void (*enter)(void))
{
        be_served(hold);
        while (!pld_load_acquire(&may_enter))
                pld_add_relaxed(&nrounds, 1);
        come_in(hold, enter);
}

static void allocate(void)
{
        cr_assert_not_null(polder_new(node_layout));
}

static void run_outside(struct hold *hold)
{
        allocate(); /* the next comes from the same run */
        run_outside_then(hold, allocate);
}

static void run_inside(struct hold *hold)
{
        mask_signals();
        pld_store_release(&served, pld_thread_self());
        polder_enter_();
        pld_store_release(&is_inside, true);
        pld_store_release(&hold->ready, true);
        while (pld_load_acquire(&stays_inside))
                pld_pause();
        polder_leave_();
        poll_until(&hold->done);
}

static void begin(struct hold *hold)
{
        collected_start();
        polder_thread_detach();
        if (PLD_TSAN || pld_os->barrier_everywhere())
                cr_skip_test("no barrier for every thread here");
        hold_start(hold);
}

static void end(struct hold *hold)
{
        pld_store_release(&may_enter, true);
        hold_end(hold);
}

static void await_rounds(void)
{
        unsigned seen = pld_load_relaxed(&nrounds);
        while (pld_load_relaxed(&nrounds) == seen)
                sched_yield();
}

Test(away, who_runs_outside_need_not_come_for_a_step, .timeout = 60)
{
        struct hold hold = { .how = run_outside };
        begin(&hold);
        uint64_t wakeups = pld_thread_wakeups();
        for (unsigned i = 1; i <= 100; i++) {
                pld_threads_lock();
                pld_threads_handshake_locked(count_it, PLD_NEEDS_STATE);
                pld_threads_unlock();
                cr_assert_eq(pld_load_acquire(&nsteps), i);
        }
        cr_expect_eq(pld_thread_wakeups(), wakeups, "nor is it signalled");
        await_rounds();
        end(&hold);
        cr_expect(has_entered);
}

static void enter_during_a_stop(void (*how)(struct hold *))
{
        struct hold hold = { .how = how };
        begin(&hold);
        pld_threads_lock();
        cr_expect(pld_threads_stop_locked(count_it, PLD_NEEDS_STATE, 0));
        cr_expect_eq(pld_load_acquire(&nsteps), 1);
        for (unsigned i = 0; i < 10; i++)
                await_rounds(); /* it runs on, outside */
        pld_store_release(&may_enter, true);
        await(&is_entering);
        usleep(5000);
        cr_expect_not(pld_load_acquire(&has_entered), "but waits where it enters");
        pld_threads_resume_locked();
        pld_threads_unlock();
        await(&has_entered);
        end(&hold);
}

Test(away, who_is_held_while_it_runs_does_not_allocate, .timeout = 60)
{
        enter_during_a_stop(run_outside);
}

static void store(void)
{
        polder_store(&roots[0], NULL);
}

/* Its flag is that of a thread in a cycle. */
static void store_while_shading(struct hold *hold)
{
        polder_store(&roots[0], node_new(NULL, 1));
        polder_thread_.shading |= PLD_SHADE_OLD;
        run_outside_then(hold, store);
}

Test(away, who_is_held_while_it_runs_does_not_store_where_it_shades, .timeout = 60)
{
        enter_during_a_stop(store_while_shading);
}

static void block(void)
{
        polder_blocking_begin();
        polder_blocking_end();
}

static void block_from_outside(struct hold *hold)
{
        run_outside_then(hold, block);
}

Test(away, who_is_held_while_it_runs_does_not_block, .timeout = 60)
{
        enter_during_a_stop(block_from_outside);
}

static void detach_from_outside(struct hold *hold)
{
        run_outside_then(hold, polder_thread_detach);
}

Test(away, who_is_held_while_it_runs_does_not_go, .timeout = 60)
{
        enter_during_a_stop(detach_from_outside);
}

Test(away, what_is_inside_is_not_served, .timeout = 60)
{
        struct hold hold = { .how = run_inside };
        pld_store_release(&stays_inside, true);
        begin(&hold);
        pld_threads_lock();
        cr_expect_not(pld_threads_stop_locked(count_it, PLD_NEEDS_STATE, 20000000));
        cr_expect_eq(pld_load_acquire(&nsteps), 0);
        pld_threads_resume_locked();
        pld_store_release(&stays_inside, false);
        pld_threads_handshake_locked(count_it, PLD_NEEDS_STATE);
        cr_expect_eq(pld_load_acquire(&nsteps), 1);
        pld_threads_unlock();
        end(&hold);
}

/* A safepoint asks for nothing that a stop takes away, nor does it end one. */
static void poll_outside(struct hold *hold)
{
        allocate();
        be_served(hold);
        while (!pld_load_acquire(&may_enter)) {
                pld_add_relaxed(&nrounds, 1);
                if (pld_load_acquire(&nsteps))
                        polder_safepoint();
        }
        come_in(hold, allocate);
}

Test(away, who_is_held_while_it_runs_may_poll, .timeout = 60)
{
        enter_during_a_stop(poll_outside);
}

/* What a running thread's stack leads to is not looked at. */
static void count_part(uintptr_t from, uintptr_t to, void *arg)
{
        unsigned *n = arg;
        *n += from < to;
}

static unsigned nparts;

static void count_parts(struct pld_thread *thread)
{
        if (thread == pld_load_acquire(&served))
                pld_stack_each(thread, count_part, &nparts);
}

Test(away, the_stack_of_who_runs_is_not_read, .timeout = 60)
{
        struct hold hold = { .how = run_outside };
        begin(&hold);
        pld_threads_lock();
        pld_threads_handshake_locked(count_parts, PLD_NEEDS_STATE);
        pld_threads_unlock();
        cr_expect_eq(nparts, 0);
        end(&hold);
}
