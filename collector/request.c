/* request.c: who asks for cycles, and who runs them.
 *
 * Cycles are counted: the n-th is wanted, begun, finished. Who asks for one wants the next that
 * begins, so many who ask at a time get one, and who waits for it knows that it has begun after
 * he asked. The collector's thread runs what is wanted; it is made by the first who asks.
 *
 * Q1  cycles are run one at a time, by the collector's thread, or, where that
 *     could not be made, by the thread that asks for one.
 * Q2  a number is finished when its cycle is over and the program's callback on pressure has
 *     returned, and each number is, once.
 * Q3  what the heap asked for while another cycle began or ended, by a trigger of before it, is
 *     begun only if the heap still asks for it. */
#include "collector/request.h"

#include "base/check.h"
#include "base/futex.h"
#include "base/lock.h"
#include "collector/cycle.h"
#include "collector/generation.h"
#include "collector/pacer.h"
#include "collector/pressure.h"
#include "collector/finalizer.h"
#include "collector/safepoint.h"
#include "collector/settings.h"
#include "collector/start.h"
#include "collector/trace.h"
#include "collector/worker.h"
#include "numa/node_thread.h"
#include "numa/os.h"

#include <errno.h>

enum { THREAD_NAP_NS = 20000 };

_Atomic bool pld_request_is_due;

static struct pld_lock request_lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
static struct pld_lock run_lock = PLD_LOCK_INIT(PLD_RANK_CYCLE);
static uint32_t nwanted, nbegun;      /* request lock */
static uint32_t stop_until;           /* request lock: cycles up to this one stop the world, */
static uint32_t full_until;           /* up to this one are no young ones, */
static uint32_t asked_until;          /* up to this one are wanted by the program */
static _Atomic uint32_t nfinished;
static _Atomic uint32_t bell;         /* rung when something is wanted */
static _Atomic bool automatic_wanted; /* and not yet begun */
/* The collector's thread. Written with the request lock held. */
enum { THREAD_NONE, THREAD_BEING_MADE, THREAD_THERE, THREAD_REFUSED };
static _Atomic unsigned thread_state;

static void finish_number(uint32_t number)
{
        pld_store_release(&nfinished, number);
        pld_futex_wake(&nfinished, INT_MAX);
}

/* With the request lock. The number of the next wanted cycle, which begins now; 0: there is
 * none. */
static uint32_t begin_number(void)
{
        if (nwanted <= nbegun)
                return 0;
        if (nwanted > asked_until && !pld_pacer_wants_cycle()) {
                nwanted = nbegun; /* Q3: nobody waits for it */
                return 0;
        }
        return ++nbegun;
}

/* The next wanted cycle; false when there is none. free: outside of Polder, where the
 * program may be called. */
static bool run_next(bool free)
{
        pld_lock(&run_lock);
        pld_lock(&request_lock);
        bool automatic = pld_exchange_relaxed(&automatic_wanted, false);
        uint32_t number = begin_number();
        bool wanted = number != 0;
        automatic |= number > asked_until;
        bool stopped = number <= stop_until || (automatic && pld_settings.gc == POLDER_GC_STW);
        bool young = wanted && !stopped && number > full_until && pld_generation_may_be_young() &&
                !(automatic && pld_pacer_wants_full_cycle());
        pld_unlock(&request_lock);
        if (wanted) {
                struct pld_trace trace = { .number = number, .stopped = stopped, .young = young,
                                           .asked = !automatic };
                pld_cycle_run(&trace);
                if (pld_settings.gctrace)
                        pld_trace_print(&trace);
        }
        pld_unlock(&run_lock);
        if (!wanted)
                return false;
        pld_finalizers_serve();
        if (free)
                pld_pressure_report();
        finish_number(number);
        return true;
}

static void run_for_ever(void)
{
        for (;;) {
                uint32_t seen = pld_load_acquire(&bell);
                while (run_next(true))
                        ;
                pld_futex_wait(&bell, seen, 0);
        }
}

/* All that is wanted. */
static PLD_NOINLINE void run_blocked(struct pld_thread *self)
{
        pld_enter();
        pld_thread_block(self);
        while (run_next(false))
                ;
        if (self)
                pld_thread_unblock(self);
        pld_leave();
}

static void collector_thread_ends(void *unused);

static void *collector_thread(void *unused)
{
        pld_os->thread_be_prompt(); /* while it waits for a CPU, others may wait for it */
        pthread_cleanup_push(collector_thread_ends, NULL);
        run_for_ever();
        pthread_cleanup_pop(0);
        return unused;
}

static void set_thread_state(unsigned state)
{
        pld_lock(&request_lock);
        pld_store_release(&thread_state, state);
        pld_unlock(&request_lock);
}

/* By one at a time. */
static void make_thread(void)
{
        pthread_t thread;
        unsigned here = pld_machine_here();
        bool made = !pld_node_thread_start(&thread, here < pld_machine.nnodes ? here : 0,
                                           "polder-collect", collector_thread, NULL);
        set_thread_state(made ? THREAD_THERE : THREAD_REFUSED);
        if (!made)
                pld_store_relaxed(&pld_request_is_due, true); /* for who reckoned with it */
}

/* True when there is one, or, for who will not wait, will be one in a moment. */
static bool ensure_thread(bool may_wait)
{
        pld_lock(&request_lock);
        bool first = pld_load_relaxed(&thread_state) == THREAD_NONE;
        if (first)
                pld_store_relaxed(&thread_state, THREAD_BEING_MADE);
        pld_unlock(&request_lock);
        if (first)
                make_thread();
        while (may_wait && pld_load_acquire(&thread_state) == THREAD_BEING_MADE)
                pld_nap(THREAD_NAP_NS);
        return pld_load_acquire(&thread_state) != THREAD_REFUSED;
}

/* The program's callback on pressure has called pthread_exit(): its cycle is over, and the
 * next ones need another thread. */
static void collector_thread_ends(void *unused)
{
        (void)unused;
        pld_lock(&request_lock);
        pld_store_release(&thread_state, THREAD_NONE);
        uint32_t number = nbegun;
        pld_unlock(&request_lock);
        finish_number(number);
        pthread_detach(pthread_self());
        if (!ensure_thread(true))
                run_blocked(pld_thread_self()); /* Q1 */
}

static void ring(void)
{
        pld_add_release(&bell, 1);
        pld_futex_wake(&bell, INT_MAX);
}

/* The number of a cycle that begins after now. */
static uint32_t request(bool asked, bool stopped, bool full)
{
        pld_lock(&request_lock);
        uint32_t number = nbegun + 1;
        if (nwanted < number)
                nwanted = number;
        if (asked && asked_until < number)
                asked_until = number;
        if (stopped && stop_until < number)
                stop_until = number;
        if (full && full_until < number)
                full_until = number;
        pld_unlock(&request_lock);
        return number;
}

void pld_request_automatic(void)
{
        if (pld_settings.gc == POLDER_GC_OFF || pld_load_relaxed(&pld_phase) != PLD_PHASE_IDLE ||
            pld_exchange_relaxed(&automatic_wanted, true))
                return;
        request(false, false, false);
        if (ensure_thread(false))
                ring();
        else
                pld_store_relaxed(&pld_request_is_due, true); /* Q1 */
}

static void await(uint32_t number)
{
        for (;;) {
                uint32_t done = pld_load_acquire(&nfinished);
                if ((int32_t)(done - number) >= 0)
                        return;
                pld_futex_wait(&nfinished, done, 0);
        }
}

PLD_NOINLINE void pld_request_run_due_slow(struct pld_thread *self)
{
        if (pld_pressure_is_reporting() || !pld_exchange_relaxed(&pld_request_is_due, false))
                return;
        run_blocked(self);
        pld_pressure_report();
}

PLD_NOINLINE int polder_collect(enum polder_collect_mode mode)
{
        int error = pld_start();
        if (error)
                return error;
        if (mode != POLDER_CONCURRENT && mode != POLDER_STOP_THE_WORLD && mode != POLDER_YOUNG)
                return -EINVAL;
        if (pld_pressure_is_reporting())
                return -EDEADLK; /* the cycle is not over before the callback returns */
        struct pld_thread *self = pld_thread_self();
        bool by_thread = ensure_thread(true);
        pld_enter();
        pld_thread_block(self); /* first: the cycle that is asked for need not signal us */
        uint32_t number = request(true, mode == POLDER_STOP_THE_WORLD, mode != POLDER_YOUNG);
        if (by_thread)
                ring();
        else
                while (run_next(false))
                        ; /* Q1 */
        await(number);
        if (self)
                pld_thread_unblock(self);
        pld_leave();
        if (!by_thread)
                pld_pressure_report();
        return 0;
}

int polder_collect_start(void)
{
        int error = pld_start();
        if (error)
                return error;
        request(true, false, true);
        if (!ensure_thread(false))
                return polder_collect(POLDER_CONCURRENT);
        ring();
        return 0;
}

PLD_NOINLINE void pld_request_hold(void (*look)(void *arg), void *arg)
{
        struct pld_thread *self = pld_thread_self();
        pld_enter();
        pld_thread_block(self);
        pld_lock(&run_lock);
        pld_cycle_hold(look, arg);
        pld_unlock(&run_lock);
        if (self)
                pld_thread_unblock(self);
        pld_leave();
}

uint64_t pld_requests_done(void)
{
        return pld_load_relaxed(&nfinished);
}

/* ---- fork(): no cycle is under way in the child --------------------------------------------- */

static void await_run_lock(void)
{
        struct pld_thread *self = pld_thread_self();
        pld_enter();
        pld_thread_block(self);
        pld_lock_seize(&run_lock);
        if (self)
                pld_thread_unblock(self);
        pld_leave();
}

PLD_NOINLINE void pld_request_fork_prepare(void)
{
        await_run_lock();
        pld_sweep_finish(); /* no thread is halfway through a span then: nor in the child */
        pld_lock_seize(&request_lock);
}

void pld_request_fork_parent(void)
{
        pld_lock_cede(&request_lock);
        pld_lock_cede(&run_lock);
}

void pld_request_fork_child(void)
{
        pld_store_release(&thread_state, THREAD_NONE);
        pld_store_relaxed(&automatic_wanted, false); /* nobody is there to see it */
        pld_workers_fork_child();
        pld_lock_cede(&request_lock);
        pld_lock_cede(&run_lock);
}
