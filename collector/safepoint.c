/* safepoint.c: where a thread does what it was asked, or waits.
 *
 * At a poll, which is wherever it leaves Polder; on a signal, if it doesn't come by; and
 * never where it is BLOCKED, for then the asker does it. What is asked, and by whom, is
 * told in handshake.c, with T1, T3 and T7.
 *
 * T2  no step happens between polder_enter_() and polder_leave_(), nor while the
 *     thread holds a lock of Polder's: the handler sees both and returns; the
 *     flag stays up, and the signal is sent again after a while.
 * T5  registers and sp are saved by the outermost section only: what a nested one
 *     would save may be overwritten before the outer one ends.
 * T8  a thread is not cancelled while it does a step or is held: the signal that cancels it
 *     waits for the handler of ours, and nothing in here is a cancellation point. */
#include "collector/safepoint.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/futex.h"
#include "collector/stack.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        HELD_SPIN_NS = 20000, /* many a stop is over by then */
        LOST_TRIES = 1000,
        STOP_SIGNAL = SIGURG /* ignored by default, and debuggers pass it on (Go's choice) */
};

_Atomic uint32_t pld_answers, pld_asker_sleeps, pld_stopping;
pld_step pld_stop_step;
static _Atomic bool unmarked; /* pld_thread_signal() */
static struct sigaction former_action;

/* ---- Doing a step -------------------------------------------------------------- */

/* A hint to look at `asked`, which is where the step travels. Release: pairs with
 * pld_look_up(), which does not go on before the step that was done for it (T7). */
void pld_flag_set(struct pld_thread *thread, unsigned char up)
{
        __atomic_store_n(&thread->tls->asked, up, __ATOMIC_RELEASE);
}

void pld_step_answer(struct pld_thread *thread)
{
        pld_store_release(&thread->pending, false); /* pairs with the asker's acquire */
        pld_add_release(&pld_answers, 1);
        if (pld_load_seq_cst(&pld_asker_sleeps))
                pld_futex_wake(&pld_answers, 1);
}

/* ---- While somebody serves for a thread that runs (T7) --------------------------- */

/* By the thread; acquire: the step's effects, as of pld_thread_come_back(). */
static void await_return(struct pld_thread *self)
{
        uint64_t until_ns = pld_now_ns() + HELD_SPIN_NS;
        for (;;) {
                uint32_t state = pld_load_acquire(&self->state);
                if (!pld_thread_is_away(state))
                        return;
                if (pld_now_ns() < until_ns)
                        pld_pause();
                else if (state == PLD_THREAD_AWAITING ||
                         pld_cas_acq_rel(&self->state, &state, PLD_THREAD_AWAITING))
                        pld_futex_wait(&self->state, PLD_THREAD_AWAITING, 0);
        }
}

/* By the asker. */
void pld_thread_come_back(struct pld_thread *thread)
{
        if (pld_exchange_acq_rel(&thread->state, PLD_THREAD_RUNNING) == PLD_THREAD_AWAITING)
                pld_futex_wake(&thread->state, 1);
}

PLD_NOINLINE void pld_enter_slow(void)
{
        struct pld_thread *self = pld_thread_self();
        pld_fence_seq_cst(); /* T7: `inside`, then the state */
        if (self && pld_thread_is_away(pld_load_acquire(&self->state)))
                await_return(self);
}

/* By the thread, which is RUNNING but for a moment's look of the asker's. */
static void become(struct pld_thread *self, enum pld_thread_state state)
{
        for (;;) {
                uint32_t running = PLD_THREAD_RUNNING;
                if (pld_cas_seq_cst(&self->state, &running, (uint32_t)state))
                        return;
                await_return(self);
        }
}

void pld_step_hold(struct pld_thread *thread)
{
        uint32_t seen = pld_load_acquire(&pld_stopping);
        pld_stop_step(thread);
        become(thread, PLD_THREAD_HELD);
        pld_step_answer(thread);
        uint64_t until_ns = pld_now_ns() + HELD_SPIN_NS;
        while (pld_load_acquire(&pld_stopping) == seen && pld_now_ns() < until_ns)
                pld_pause();
        while (pld_load_acquire(&pld_stopping) == seen)
                pld_futex_wait(&pld_stopping, seen, 0);
        pld_store_release(&thread->state, PLD_THREAD_RUNNING);
}

/* By the thread itself, its sp and registers saved; T1. */
static void serve(struct pld_thread *thread)
{
        /* Lowered before `asked` is read; ask() writes them the other way round:
         * either we see the step or the flag goes up again. */
        pld_flag_set(thread, 0);
        pld_fence_seq_cst();
        pld_step step = pld_exchange_acq_rel(&thread->asked, NULL);
        if (!step)
                return;
        if (step == pld_step_hold) {
                pld_step_hold(thread);
                return;
        }
        step(thread);
        pld_step_answer(thread);
}

/* ---- Coming by, or being fetched ------------------------------------------------ */

PLD_NOINLINE void polder_safepoint_slow_(void)
{
        struct pld_thread *self = pld_thread_self();
        if (!self) {
                polder_thread_.asked = 0;
                return;
        }
        while (__atomic_load_n(&self->tls->asked, __ATOMIC_RELAXED)) {
                polder_enter_();
                pld_fence_seq_cst(); /* T7 */
                if (pld_thread_is_away(pld_load_acquire(&self->state))) {
                        self->tls->inside = 0; /* outside it may go on */
                        return;
                }
                pld_registers_save(&self->registers);
                pld_stack_stand(self, pld_stack_pointer());
                serve(self);
                __atomic_signal_fence(__ATOMIC_SEQ_CST);
                self->tls->inside = 0;
                __atomic_signal_fence(__ATOMIC_SEQ_CST);
        }
}

/* Perhaps it leaves that stack again; the collection waits. */
static void complain_of_stack(void)
{
        static _Atomic unsigned ntries;
        if (pld_add_relaxed(&ntries, 1) == LOST_TRIES)
                pld_say("a collection waits for a thread on a stack that Polder does not know: a "
                        "fiber's stack must be registered by polder_root_add()");
}

/* By a signal, on top of whatever stack the thread was on; T2. */
static void serve_interrupted(struct pld_thread *self, uintptr_t sp)
{
        if (self->tls->inside || pld_locks_held() > 0)
                return;
        self->tls->inside = 1;
        pld_fence_seq_cst(); /* T7 */
        if (pld_load_acquire(&self->state) != PLD_THREAD_RUNNING) {
                /* Someone else serves, or will. */
        } else if (pld_stack_stand_try(self, sp)) {
                /* The interrupted registers lie in the frame above us. */
                memset(&self->registers, 0, sizeof self->registers);
                serve(self);
        } else {
                complain_of_stack();
        }
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        self->tls->inside = 0;
}

/* Sends the stop signal with a mark of ours, to tell it from the program's. Where a
 * sandbox forbids that, it goes without: then every one sent by a thread of this
 * process is taken for ours. */
int pld_thread_signal(const struct pld_thread *thread)
{
        siginfo_t info = { .si_signo = STOP_SIGNAL, .si_code = SI_QUEUE };
        info.si_pid = thread->process;
        info.si_value.sival_ptr = &pld_stopping;
        if (!pld_load_relaxed(&unmarked) &&
            !syscall(SYS_rt_tgsigqueueinfo, thread->process, thread->id, STOP_SIGNAL, &info))
                return 0;
        if (errno == EPERM || errno == ENOSYS)
                pld_store_relaxed(&unmarked, true);
        int error = (int)syscall(SYS_tgkill, thread->process, thread->id, STOP_SIGNAL);
        if (error && errno == ESRCH) /* who detaches waits for the lock that we hold */
                pld_die("a thread has ended attached: it first used the heap in the last destructors "
                        "of its thread-specific values");
        return error;
}

static bool is_ours(const siginfo_t *info)
{
        if (info->si_code == SI_QUEUE)
                return info->si_value.sival_ptr == &pld_stopping;
        return info->si_code == SI_TKILL && pld_load_relaxed(&unmarked);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
        struct pld_thread *self = pld_thread_self();
        int saved = errno;
        if (is_ours(info)) {
                if (!self)
                        goto out; /* it detached meanwhile */
                pld_store_seq_cst(&self->signalled, 0); /* T3 */
                serve_interrupted(self, pld_stack_pointer());
        } else if (former_action.sa_flags & SA_SIGINFO) {
                former_action.sa_sigaction(number, info, context);
        } else if (former_action.sa_handler != SIG_DFL && former_action.sa_handler != SIG_IGN) {
                former_action.sa_handler(number);
        }
out:
        errno = saved;
}

/* Those by which the C library cancels a thread, which may be at any moment of a system
 * call: T8. It has them below SIGRTMIN, and its own calls leave them out of every set. */
static void add_internal_signals(sigset_t *set)
{
        unsigned long *words = (unsigned long *)set;
        enum { BITS = 8 * sizeof *words };
        for (int i = __SIGRTMIN - 1; i < SIGRTMIN - 1; i++) /* signal i + 1 */
                words[i / BITS] |= 1UL << i % BITS;
}

int pld_safepoint_start(void)
{
        struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
        sigemptyset(&action.sa_mask);
        add_internal_signals(&action.sa_mask);
        return sigaction(STOP_SIGNAL, &action, &former_action) ? -errno : 0;
}

void pld_thread_admit_stops(void)
{
        static const int admitted[] = { STOP_SIGNAL, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT };
        sigset_t set;
        sigfillset(&set);
        for (size_t i = 0; i < PLD_COUNT_OF(admitted); i++)
                sigdelset(&set, admitted[i]);
        pthread_sigmask(SIG_SETMASK, &set, NULL);
}

/* ---- Blocking ------------------------------------------------------------------------ */

void pld_thread_block_saved(struct pld_thread *thread)
{
        if (thread->blocking_depth++ > 0)
                return;
        become(thread, PLD_THREAD_BLOCKED);
        /* T3: a signal that is on its way arrives before the thread waits for
         * anything else; one that is masked never does. */
        for (unsigned i = 0; pld_load_seq_cst(&thread->signalled) && i < 1000; i++)
                sched_yield();
        if (pld_load_seq_cst(&pld_asker_sleeps))
                pld_futex_wake(&pld_answers, 1); /* the asker may serve for us now */
}

void pld_thread_unblock(struct pld_thread *thread)
{
        PLD_ASSERT(thread->blocking_depth > 0);
        if (thread->blocking_depth > 1) {
                thread->blocking_depth--;
                return;
        }
        for (;;) {
                uint32_t blocked = PLD_THREAD_BLOCKED;
                if (pld_cas_acq_rel(&thread->state, &blocked, PLD_THREAD_RUNNING))
                        break;
                pld_futex_wait(&thread->state, PLD_THREAD_HELD, 0);
        }
        thread->blocking_depth = 0;
}

/* It reads its caller's frame: not for AddressSanitizer. */
__attribute__((no_sanitize("address"))) PLD_NOINLINE void polder_blocking_begin(void)
{
        struct pld_thread *self = pld_thread_self();
        if (!self)
                return;
        pld_enter();
        if (self->blocking_depth == 0) { /* T5 */
                pld_registers_save(&self->registers);
                pld_stack_stand(self, pld_stack_pointer());
                pld_frame_save(&self->registers, self->sp, self->stack_end); /* we return */
        }
        pld_thread_block_saved(self);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        self->tls->inside = 0;
}

void polder_blocking_end(void)
{
        struct pld_thread *self = pld_thread_self();
        if (!self || self->blocking_depth == 0)
                return;
        polder_enter_();
        pld_thread_unblock(self);
        polder_leave_();
}

static void end_blocking(void *unused)
{
        (void)unused;
        polder_blocking_end();
}

/* Also where fn is cancelled: what cleans up behind us may use the heap. */
PLD_NOINLINE void *polder_blocking_call(void *(*fn)(void *), void *arg)
{
        void *result;
        pthread_cleanup_push(end_blocking, NULL);
        polder_blocking_begin();
        result = fn(arg);
        pthread_cleanup_pop(1);
        return result;
}
