#include "collector/pressure.h"

#include "base/check.h"
#include "base/futex.h"
#include "base/lock.h"
#include "collector/safepoint.h"
#include "collector/start.h"
#include "collector/thread.h"

#include <polder/collected.h>

#include <pthread.h>

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
static polder_pressure callback; /* lock */
static void *callback_arg;       /* lock */
static _Atomic bool pressed;     /* after the last cycle, and not yet reported */
static _Atomic size_t live, limit;
static _Atomic uint32_t nreporting; /* threads that are in the callback, or about to be */
static __thread bool reporting;

void pld_pressure_set(bool is_pressed, size_t is_live, size_t is_limit)
{
        pld_store_relaxed(&live, is_live);
        pld_store_relaxed(&limit, is_limit);
        pld_store_relaxed(&pressed, is_pressed);
}

bool pld_pressure_is_reporting(void)
{
        return reporting;
}

static void end_report(void *unused)
{
        (void)unused;
        reporting = false;
        if (pld_sub_acq_rel(&nreporting, 1) == 1) /* pairs with await_reports() */
                pld_futex_wake(&nreporting, INT_MAX);
}

static polder_pressure begin_report(void **arg)
{
        pld_lock(&lock);
        polder_pressure fn = callback;
        *arg = callback_arg;
        if (fn)
                pld_add_relaxed(&nreporting, 1);
        pld_unlock(&lock);
        return fn;
}

void pld_pressure_report(void)
{
        void *arg;
        if (reporting || !pld_exchange_relaxed(&pressed, false))
                return;
        polder_pressure fn = begin_report(&arg);
        if (!fn)
                return;
        bool was_attached = pld_thread_self() != NULL;
        reporting = true;
        pthread_cleanup_push(end_report, NULL); /* it may end its thread */
        fn(pld_load_relaxed(&live), pld_load_relaxed(&limit), arg);
        pthread_cleanup_pop(1);
        if (!was_attached)
                polder_thread_detach(); /* the collector's thread must not wait for itself */
}

/* Who is in the callback himself does not wait for it. */
static PLD_NOINLINE void await_reports(void)
{
        struct pld_thread *self = pld_thread_self();
        pld_enter();
        pld_thread_block(self);
        for (uint32_t n; !reporting && (n = pld_load_acquire(&nreporting)) > 0;)
                pld_futex_wait(&nreporting, n, 0);
        if (self)
                pld_thread_unblock(self);
        pld_leave();
}

int polder_on_pressure(polder_pressure fn, void *arg)
{
        int error = pld_start();
        if (error)
                return error;
        pld_lock(&lock);
        callback = fn;
        callback_arg = arg;
        pld_unlock(&lock);
        await_reports();
        return 0;
}

/* ---- fork() --------------------------------------------------------------------------- */

void pld_pressure_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_pressure_fork_parent(void)
{
        pld_lock_cede(&lock);
}

/* Who else was in the callback is not there. */
void pld_pressure_fork_child(void)
{
        pld_store_relaxed(&nreporting, reporting);
        pld_lock_cede(&lock);
}
