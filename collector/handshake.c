/* handshake.c: asking every thread to do a step.
 *
 * A collection needs each thread to do small things at known points: arm its
 * barrier, scan its stack, give away what it shaded. It *asks*: it stores a step in
 * the thread's `asked` and raises a flag that the thread looks at whenever it
 * leaves Polder (safepoint.c). A thread that doesn't come by is sent a signal, whose
 * handler does the step on the thread's own stack. For a thread in a blocking section
 * the asker does the step itself; so it does for one that runs outside of Polder, if the
 * step needs no stack. No step takes long, and threads do theirs one at a time or in
 * parallel, as it happens: that is a handshake. A stop is a handshake whose step ends in
 * waiting.
 *
 * T1  a step is done at most once for each asked thread, by whoever takes it out
 *     of `asked`: the thread while it is RUNNING, or the asker after it moved the
 *     state from BLOCKED to HELD, or from RUNNING to AWAY (T7); or the asker takes it
 *     back undone.
 * T3  a thread that is BLOCKED is never signalled: `signalled` is raised before
 *     the state is read, and the thread waits for it to fall after it has become
 *     BLOCKED (each sees the other: both are sequentially consistent).
 * T7  a step that needs no stack is done by the asker also for a thread that is RUNNING
 *     and outside of Polder, whether it has a processor or not. Every way into Polder
 *     looks at the flag after it has raised `inside`, and if it is up waits while the
 *     state is AWAY; an inlined store that finds nothing to shade does no more than store.
 *     The asker raises the flag, has every processor pass a barrier (membarrier: so no
 *     fence is needed where threads enter), moves the state from RUNNING to AWAY, and
 *     then looks at `inside`. If that is 0, whatever the thread does next inside Polder
 *     comes after the step. Who has seen the flag passes a fence before it looks at the
 *     state; so what it does inside while that is RUNNING the asker sees as inside.
 *     Only the thread moves its state from RUNNING to BLOCKED or HELD, and only the
 *     asker to AWAY, each by compare-and-swap. (Asymmetric handshakes, as of Dice and
 *     others' biased locks.) Thread Sanitizer knows no such barrier: there it is not done.
 * The threads lock is held from asking to the last answer. */
#include "collector/handshake.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/futex.h"
#include "collector/safepoint.h"
#include "collector/settings.h"
#include "numa/os.h"

enum {
        SPINS = 50,
        FIRST_SIGNAL_NS = 5000,
        NEXT_SIGNAL_NS = 200000,
        STAGGER_NS = 200000
};

static _Atomic uint64_t nsignals;

static void ask(struct pld_thread *thread, pld_step step)
{
        pld_store_relaxed(&thread->pending, true);
        pld_store_release(&thread->asked, step);
        pld_fence_seq_cst();
        pld_flag_set(thread, 1);
}

/* Too late where the thread is at it already: then its answer is near. */
static void take_back(struct pld_thread *thread)
{
        if (pld_exchange_acq_rel(&thread->asked, NULL))
                pld_store_relaxed(&thread->pending, false);
}

/* For a thread in a blocking section: T1. */
static bool serve_for_try(struct pld_thread *thread)
{
        uint32_t blocked = PLD_THREAD_BLOCKED;
        if (!pld_cas_acq_rel(&thread->state, &blocked, PLD_THREAD_HELD))
                return false;
        /* NULL: it served itself just before it became BLOCKED. */
        pld_step step = pld_exchange_acq_rel(&thread->asked, NULL);
        pld_flag_set(thread, 0);
        if (step == pld_step_hold) {
                pld_stop_step(thread);
                thread->held_for = true; /* until resumed */
                pld_step_answer(thread);
                return true;
        }
        if (step) {
                step(thread);
                pld_step_answer(thread);
        }
        pld_store_release(&thread->state, PLD_THREAD_BLOCKED);
        pld_futex_wake(&thread->state, 1);
        return true;
}

/* For a thread that is outside and may be running there; after the barrier: T7. */
static bool serve_away_try(struct pld_thread *thread)
{
        uint32_t running = PLD_THREAD_RUNNING;
        if (!pld_cas_seq_cst(&thread->state, &running, PLD_THREAD_AWAY))
                return false;
        pld_step step = NULL;
        if (!__atomic_load_n(&thread->tls->inside, __ATOMIC_ACQUIRE))
                step = pld_exchange_acq_rel(&thread->asked, NULL);
        if (step == pld_step_hold) {
                pld_stop_step(thread);
                thread->held_for = true; /* the flag stays up until it is resumed */
                pld_step_answer(thread);
                return true;
        }
        if (step) {
                step(thread);
                pld_step_answer(thread);
                pld_flag_set(thread, 0);
        }
        pld_thread_come_back(thread);
        return step != NULL;
}

static void signal_try(struct pld_thread *thread)
{
        if (PLD_TSAN)
                return; /* it delays signals; stops are polled there */
        pld_store_seq_cst(&thread->signalled, 1); /* T3 */
        if (pld_load_seq_cst(&thread->state) != PLD_THREAD_RUNNING ||
            pld_thread_signal(thread)) {
                pld_store_seq_cst(&thread->signalled, 0);
                return;
        }
        pld_add_relaxed(&nsignals, 1);
}

static unsigned serve_round(bool with_signal, bool with_away)
{
        unsigned nwaiting = 0;
        pld_list_each(item, &pld_threads) {
                struct pld_thread *thread = pld_thread_at(item);
                if (!pld_load_acquire(&thread->pending) || serve_for_try(thread) ||
                    (with_away && serve_away_try(thread)))
                        continue;
                nwaiting++;
                if (with_signal)
                        signal_try(thread);
        }
        return nwaiting;
}

/* The flag of every thread that was asked is up; the processors pass a barrier. */
static bool may_serve_away(enum pld_need need)
{
        return need == PLD_NEEDS_STATE && !PLD_TSAN && pld_os->barrier_everywhere() == 0;
}

/* A thread that runs on another CPU answers within microseconds: at its next poll,
 * or when the signal takes it out of a system call. One that has no CPU needs ours:
 * so sleep, do not yield. Who has slept is woken at once; who has yielded waits for
 * its turn. Those that the step needs not for itself are left where they are: what is inside
 * Polder then, and has a CPU, will be out soon, and no signal would hasten it.
 * until_ns 0: for ever. False: time is up, and some have not answered. */
static bool await_answers(enum pld_need need, uint64_t until_ns)
{
        uint64_t due_ns = pld_now_ns() + FIRST_SIGNAL_NS;
        bool with_away = false, patient = true;
        for (;;) {
                uint32_t seen = pld_load_acquire(&pld_answers);
                uint64_t now_ns = pld_now_ns();
                bool is_due = now_ns >= due_ns;
                if (is_due && patient)
                        with_away = may_serve_away(need);
                if (!serve_round(is_due && !with_away, with_away))
                        return true;
                if (until_ns && now_ns >= until_ns)
                        return false;
                if (!is_due && patient) {
                        for (unsigned i = 0; i < SPINS && pld_load_relaxed(&pld_answers) == seen; i++)
                                pld_pause();
                        continue;
                }
                patient = false;
                if (is_due)
                        due_ns = now_ns + NEXT_SIGNAL_NS;
                uint64_t wake_ns = until_ns && until_ns < due_ns ? until_ns : due_ns;
                pld_store_seq_cst(&pld_asker_sleeps, 1);
                pld_futex_wait(&pld_answers, seen, wake_ns - now_ns);
                pld_store_seq_cst(&pld_asker_sleeps, 0);
        }
}

/* Debugging: one thread at a time, with pauses between them, so that threads which
 * have done the step and threads which have not meet for long. */
static void stagger(pld_step step, enum pld_need need)
{
        pld_list_each(item, &pld_threads) {
                ask(pld_thread_at(item), step);
                await_answers(need, 0);
                pld_nap(STAGGER_NS);
        }
}

void pld_threads_handshake_locked(pld_step step, enum pld_need need)
{
        PLD_ASSERT(pld_threads_are_locked());
        if (pld_settings.stagger) {
                stagger(step, need);
                return;
        }
        pld_list_each(item, &pld_threads)
                ask(pld_thread_at(item), step);
        await_answers(need, 0);
}

bool pld_threads_stop_locked(pld_step step, enum pld_need need, uint64_t within_ns)
{
        PLD_ASSERT(pld_threads_are_locked());
        pld_stop_step = step;
        pld_add_release(&pld_stopping, 1);
        pld_list_each(item, &pld_threads)
                ask(pld_thread_at(item), pld_step_hold);
        if (await_answers(need, within_ns ? pld_now_ns() + within_ns : 0))
                return true;
        pld_list_each(item, &pld_threads)
                take_back(pld_thread_at(item));
        await_answers(need, 0); /* of those that were at it */
        return false;
}

static void release(struct pld_thread *thread)
{
        if (pld_load_relaxed(&thread->state) == PLD_THREAD_HELD) {
                pld_store_release(&thread->state, PLD_THREAD_BLOCKED);
                return;
        }
        pld_flag_set(thread, 0);
        pld_thread_come_back(thread);
        thread->held_for = false;
}

uint64_t pld_threads_resume_locked(void)
{
        pld_list_each(item, &pld_threads)
                /* Others hold themselves; and one that was too late may be anywhere. */
                if (pld_thread_at(item)->held_for)
                        release(pld_thread_at(item));
        pld_add_release(&pld_stopping, 1);
        uint64_t now_ns = pld_now_ns(); /* those who are woken may take our CPU */
        pld_futex_wake(&pld_stopping, INT_MAX);
        pld_list_each(item, &pld_threads) {
                struct pld_thread *thread = pld_thread_at(item);
                if (!thread->held_for)
                        continue;
                thread->held_for = false;
                pld_futex_wake(&thread->state, 1);
        }
        return now_ns;
}

uint64_t pld_thread_wakeups(void)
{
        return pld_load_relaxed(&nsignals);
}
