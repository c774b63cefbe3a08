/* thread.c: attached threads.
 *
 * A collection needs each thread to do small things at known points: arm its
 * barrier, scan its stack, give away what it shaded. It *asks*: it stores a step in
 * the thread's `asked` and raises a flag that the thread looks at whenever it
 * leaves Polder. A thread that doesn't come by is sent a signal, whose handler
 * does the step on the thread's own stack. For a thread in a blocking section the
 * asker does the step itself. No step takes long, and threads do theirs one at a
 * time or in parallel, as it happens: that is a handshake. A stop is a handshake
 * whose step ends in waiting.
 *
 * T1  a step is done at most once for each asked thread, by whoever takes it out
 *     of `asked`: the thread while it is RUNNING, or the asker after it moved the
 *     state from BLOCKED to HELD; or the asker takes it back undone.
 * T2  no step happens between polder_enter_() and polder_leave_(), nor while the
 *     thread holds a lock of Polder's: the handler sees both and returns; the
 *     flag stays up, and the signal is sent again after a while.
 * T3  a thread that is BLOCKED is never signalled: `signalled` is raised before
 *     the state is read, and the thread waits for it to fall after it has become
 *     BLOCKED (each sees the other: both are sequentially consistent).
 * T4  the list changes under the threads lock only, which the asker holds from
 *     asking to the last answer. A thread that wants the lock is BLOCKED first.
 * T5  registers and sp are saved by the outermost section only: what a nested one
 *     would save may be overwritten before the outer one ends.
 * T6  a thread may stand on another stack than its own, if that is registered as a
 *     root (a fiber's) or is its alternate signal stack: then it is scanned to its
 *     end, and the thread's own stack as a whole, since where the thread left that
 *     one is not known.
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
 * T8  a thread is not cancelled while it does a step or is held: the signal that cancels it
 *     waits for the handler of ours, and nothing in here is a cancellation point. */
#include "collector/thread.h"

#include "arena/arena.h"
#include "arena/meta.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/futex.h"
#include "collector/pacer.h"
#include "collector/roots.h"
#include "collector/rules.h"
#include "collector/settings.h"
#include "collector/start.h"
#include "numa/os.h"

#include <polder/arena.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        SPINS = 50,
        FIRST_SIGNAL_NS = 5000,
        NEXT_SIGNAL_NS = 200000,
        STAGGER_NS = 200000,
        HELD_SPIN_NS = 20000, /* many a stop is over by then */
        LOST_TRIES = 1000,
        LEAVING_ROUND = 2, /* of destructors */
        NO_LIMIT_STACK_BYTES = 1 << 30,
        STOP_SIGNAL = SIGURG /* ignored by default, and debuggers pass it on (Go's choice) */
};

__thread struct polder_thread_ polder_thread_ __attribute__((tls_model("initial-exec"))) = {
        .shading = PLD_SHADE_ATTACH,
};
static_assert(sizeof(struct polder_thread_) == 64, "frozen");

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_THREADS);
static struct pld_list threads = PLD_LIST_INIT(threads); /* lock */
static struct pld_list spare = PLD_LIST_INIT(spare);     /* lock */
static unsigned char birth_shading;                      /* lock */
static bool birth_black;                                 /* lock */
static _Atomic uint32_t answers;  /* changes when a step is done */
static _Atomic uint32_t asker_sleeps;
static _Atomic uint32_t stopping; /* odd while threads are held */
static pld_step stop_step;        /* lock; const while stopping */
static _Atomic uint64_t nsignals;
static _Atomic bool unmarked; /* send_signal() */
static pthread_key_t exit_key;
static struct sigaction former_action;
static __thread unsigned nrounds; /* of destructors, that have come by here */

/* ---- Doing a step -------------------------------------------------------------- */

/* A hint to look at `asked`, which is where the step travels. Release: pairs with
 * pld_look_up(), which does not go on before the step that was done for it (T7). */
static void raise_flag(struct pld_thread *thread, unsigned char up)
{
        __atomic_store_n(&thread->tls->asked, up, __ATOMIC_RELEASE);
}

static void answer(struct pld_thread *thread)
{
        pld_store_release(&thread->pending, false); /* pairs with the asker's acquire */
        pld_add_release(&answers, 1);
        if (pld_load_seq_cst(&asker_sleeps))
                pld_futex_wake(&answers, 1);
}

/* ---- While somebody serves for a thread that runs (T7) --------------------------- */

static bool is_away(uint32_t state)
{
        return state == PLD_THREAD_AWAY || state == PLD_THREAD_AWAITING;
}

/* By the thread; acquire: the step's effects, as of come_back(). */
static void await_return(struct pld_thread *self)
{
        uint64_t until_ns = pld_now_ns() + HELD_SPIN_NS;
        for (;;) {
                uint32_t state = pld_load_acquire(&self->state);
                if (!is_away(state))
                        return;
                if (pld_now_ns() < until_ns)
                        pld_pause();
                else if (state == PLD_THREAD_AWAITING ||
                         pld_cas_acq_rel(&self->state, &state, PLD_THREAD_AWAITING))
                        pld_futex_wait(&self->state, PLD_THREAD_AWAITING, 0);
        }
}

/* By the asker. */
static void come_back(struct pld_thread *thread)
{
        if (pld_exchange_acq_rel(&thread->state, PLD_THREAD_RUNNING) == PLD_THREAD_AWAITING)
                pld_futex_wake(&thread->state, 1);
}

PLD_NOINLINE void pld_enter_slow(void)
{
        struct pld_thread *self = pld_thread_self();
        pld_fence_seq_cst(); /* T7: `inside`, then the state */
        if (self && is_away(pld_load_acquire(&self->state)))
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

static void stop_here(struct pld_thread *thread)
{
        uint32_t seen = pld_load_acquire(&stopping);
        stop_step(thread);
        become(thread, PLD_THREAD_HELD);
        answer(thread);
        uint64_t until_ns = pld_now_ns() + HELD_SPIN_NS;
        while (pld_load_acquire(&stopping) == seen && pld_now_ns() < until_ns)
                pld_pause();
        while (pld_load_acquire(&stopping) == seen)
                pld_futex_wait(&stopping, seen, 0);
        pld_store_release(&thread->state, PLD_THREAD_RUNNING);
}

/* By the thread itself, its sp and registers saved; T1. */
static void serve(struct pld_thread *thread)
{
        /* Lowered before `asked` is read; ask() writes them the other way round:
         * either we see the step or the flag goes up again. */
        raise_flag(thread, 0);
        pld_fence_seq_cst();
        pld_step step = pld_exchange_acq_rel(&thread->asked, NULL);
        if (!step)
                return;
        if (step == stop_here) {
                stop_here(thread);
                return;
        }
        step(thread);
        answer(thread);
}

/* ---- Which stack --------------------------------------------------------------- */

static bool is_on_own_stack(const struct pld_thread *thread, uintptr_t sp)
{
        return sp >= thread->stack_low && sp < thread->stack_base;
}

/* The end of the calling thread's stack, other than its own, that sp is on; 0:
 * nobody knows that stack. */
static PLD_NOINLINE uintptr_t other_stack_end(uintptr_t sp)
{
        stack_t alternate;
        uintptr_t end = pld_roots_end_of(sp);
        if (end)
                return end;
        if (sigaltstack(NULL, &alternate) || !(alternate.ss_flags & SS_ONSTACK))
                return 0;
        uintptr_t low = (uintptr_t)alternate.ss_sp;
        end = low + alternate.ss_size;
        return sp >= low && sp < end ? end : 0;
}

static bool stand_try(struct pld_thread *self, uintptr_t sp)
{
        self->sp = sp;
        self->stack_end = pld_likely(is_on_own_stack(self, sp)) ? self->stack_base
                                                                : other_stack_end(sp);
        return self->stack_end != 0;
}

void pld_thread_stand(struct pld_thread *self, uintptr_t sp)
{
        if (!stand_try(self, sp))
                pld_die("a thread uses Polder on a stack that Polder does not know: a fiber's stack "
                        "must be registered by polder_root_add()");
}

/* All of a thread's own stack that can be read: the main thread's is mapped only as
 * far down as it was ever used. */
static uintptr_t own_stack_bottom(const struct pld_thread *thread)
{
        enum { NASKED = 256 };
        unsigned char there[NASKED];
        uintptr_t page = (uintptr_t)getpagesize();
        uintptr_t low = pld_round_up(thread->stack_low, page);
        uintptr_t at = pld_round_down(thread->stack_base, page);
        for (uintptr_t step = NASKED * page; step >= page;) {
                if (at - low >= step && !mincore((void *)(at - step), step, there))
                        at -= step;
                else
                        step /= 2;
        }
        return at;
}

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
                if (is_away(pld_load_acquire(&self->state))) {
                        self->tls->inside = 0; /* outside it may go on */
                        return;
                }
                pld_registers_save(&self->registers);
                pld_thread_stand(self, pld_stack_pointer());
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
        } else if (stand_try(self, sp)) {
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
static int send_signal(const struct pld_thread *thread)
{
        siginfo_t info = { .si_signo = STOP_SIGNAL, .si_code = SI_QUEUE };
        info.si_pid = thread->process;
        info.si_value.sival_ptr = &stopping;
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
                return info->si_value.sival_ptr == &stopping;
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

/* ---- Asking ----------------------------------------------------------------------- */

PLD_NOINLINE void pld_threads_lock(void)
{
        struct pld_thread *self = pld_thread_self();
        pld_thread_block(self); /* T4 */
        pld_lock(&lock);
        if (self)
                pld_thread_unblock(self);
}

void pld_threads_unlock(void)
{
        pld_unlock(&lock);
}

void pld_threads_set_birth(unsigned char shading, bool black)
{
        birth_shading = shading;
        birth_black = black;
}

static struct pld_thread *thread_at(struct pld_list *item)
{
        return pld_container_of(item, struct pld_thread, link);
}

static void ask(struct pld_thread *thread, pld_step step)
{
        pld_store_relaxed(&thread->pending, true);
        pld_store_release(&thread->asked, step);
        pld_fence_seq_cst();
        raise_flag(thread, 1);
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
        raise_flag(thread, 0);
        if (step == stop_here) {
                stop_step(thread);
                thread->held_for = true; /* until resumed */
                answer(thread);
                return true;
        }
        if (step) {
                step(thread);
                answer(thread);
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
        if (step == stop_here) {
                stop_step(thread);
                thread->held_for = true; /* the flag stays up until it is resumed */
                answer(thread);
                return true;
        }
        if (step) {
                step(thread);
                answer(thread);
                raise_flag(thread, 0);
        }
        come_back(thread);
        return step != NULL;
}

static void signal_try(struct pld_thread *thread)
{
        if (PLD_TSAN)
                return; /* it delays signals; stops are polled there */
        pld_store_seq_cst(&thread->signalled, 1); /* T3 */
        if (pld_load_seq_cst(&thread->state) != PLD_THREAD_RUNNING ||
            send_signal(thread)) {
                pld_store_seq_cst(&thread->signalled, 0);
                return;
        }
        pld_add_relaxed(&nsignals, 1);
}

static unsigned serve_round(bool with_signal, bool with_away)
{
        unsigned nwaiting = 0;
        pld_list_each(item, &threads) {
                struct pld_thread *thread = thread_at(item);
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
                uint32_t seen = pld_load_acquire(&answers);
                uint64_t now_ns = pld_now_ns();
                bool is_due = now_ns >= due_ns;
                if (is_due && patient)
                        with_away = may_serve_away(need);
                if (!serve_round(is_due && !with_away, with_away))
                        return true;
                if (until_ns && now_ns >= until_ns)
                        return false;
                if (!is_due && patient) {
                        for (unsigned i = 0; i < SPINS && pld_load_relaxed(&answers) == seen; i++)
                                pld_pause();
                        continue;
                }
                patient = false;
                if (is_due)
                        due_ns = now_ns + NEXT_SIGNAL_NS;
                uint64_t wake_ns = until_ns && until_ns < due_ns ? until_ns : due_ns;
                pld_store_seq_cst(&asker_sleeps, 1);
                pld_futex_wait(&answers, seen, wake_ns - now_ns);
                pld_store_seq_cst(&asker_sleeps, 0);
        }
}

/* Debugging: one thread at a time, with pauses between them, so that threads which
 * have done the step and threads which have not meet for long. */
static void stagger(pld_step step, enum pld_need need)
{
        pld_list_each(item, &threads) {
                ask(thread_at(item), step);
                await_answers(need, 0);
                pld_nap(STAGGER_NS);
        }
}

void pld_threads_handshake_locked(pld_step step, enum pld_need need)
{
        PLD_ASSERT(pld_lock_is_held(&lock));
        if (pld_settings.stagger) {
                stagger(step, need);
                return;
        }
        pld_list_each(item, &threads)
                ask(thread_at(item), step);
        await_answers(need, 0);
}

bool pld_threads_stop_locked(pld_step step, enum pld_need need, uint64_t within_ns)
{
        PLD_ASSERT(pld_lock_is_held(&lock));
        stop_step = step;
        pld_add_release(&stopping, 1);
        pld_list_each(item, &threads)
                ask(thread_at(item), stop_here);
        if (await_answers(need, within_ns ? pld_now_ns() + within_ns : 0))
                return true;
        pld_list_each(item, &threads)
                take_back(thread_at(item));
        await_answers(need, 0); /* of those that were at it */
        return false;
}

static void release(struct pld_thread *thread)
{
        if (pld_load_relaxed(&thread->state) == PLD_THREAD_HELD) {
                pld_store_release(&thread->state, PLD_THREAD_BLOCKED);
                return;
        }
        raise_flag(thread, 0);
        come_back(thread);
        thread->held_for = false;
}

uint64_t pld_threads_resume_locked(void)
{
        pld_list_each(item, &threads)
                /* Others hold themselves; and one that was too late may be anywhere. */
                if (thread_at(item)->held_for)
                        release(thread_at(item));
        pld_add_release(&stopping, 1);
        uint64_t now_ns = pld_now_ns(); /* those who are woken may take our CPU */
        pld_futex_wake(&stopping, INT_MAX);
        pld_list_each(item, &threads) {
                struct pld_thread *thread = thread_at(item);
                if (!thread->held_for)
                        continue;
                thread->held_for = false;
                pld_futex_wake(&thread->state, 1);
        }
        return now_ns;
}

void pld_threads_each_locked(pld_step visit)
{
        pld_list_each(item, &threads)
                visit(thread_at(item));
}

unsigned pld_threads_count_locked(void)
{
        unsigned n = 0;
        pld_list_each(item, &threads)
                n++;
        return n;
}

uint64_t pld_thread_wakeups(void)
{
        return pld_load_relaxed(&nsignals);
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
        if (pld_load_seq_cst(&asker_sleeps))
                pld_futex_wake(&answers, 1); /* the asker may serve for us now */
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
                pld_thread_stand(self, pld_stack_pointer());
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

void pld_thread_stack_each(struct pld_thread *thread, pld_stack_visit visit, void *arg)
{
        if (is_away(pld_load_relaxed(&thread->state)))
                return;
        uintptr_t registers = (uintptr_t)&thread->registers;
        visit(registers, registers + sizeof thread->registers, arg);
        visit(thread->sp, thread->stack_end, arg);
        if (pld_unlikely(thread->stack_end != thread->stack_base)) /* T6 */
                visit(own_stack_bottom(thread), thread->stack_base, arg);
        uintptr_t newest = (uintptr_t)&thread->tls->self[PLD_SELF_NEWEST];
        visit(newest, newest + sizeof(uintptr_t), arg);
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

/* ---- Coming and going ------------------------------------------------------------------- */

/* The main thread's, from its end as the kernel set it up down to what it may grow to. */
static bool main_stack(uintptr_t *low, uintptr_t *base)
{
        extern void *__libc_stack_end; /* glibc's dynamic linker's */
        struct rlimit limit;
        if (getpid() != (pid_t)syscall(SYS_gettid))
                return false;
        uintptr_t grows = NO_LIMIT_STACK_BYTES;
        if (!getrlimit(RLIMIT_STACK, &limit) && limit.rlim_cur < grows)
                grows = limit.rlim_cur;
        *base = (uintptr_t)__libc_stack_end;
        *low = *base - grows;
        return true;
}

/* False: glibc had no memory, or found no /proc, where it looks up the main thread's. */
static bool find_stack(struct pld_thread *thread)
{
        pthread_attr_t attributes;
        void *low = NULL;
        size_t nbytes = 0;
        if (!pthread_getattr_np(pthread_self(), &attributes)) {
                pthread_attr_getstack(&attributes, &low, &nbytes);
                pthread_attr_destroy(&attributes);
        }
        thread->stack_low = (uintptr_t)low;
        thread->stack_base = (uintptr_t)low + nbytes;
        return nbytes > 0 || main_stack(&thread->stack_low, &thread->stack_base);
}

static struct pld_thread *shell_new(void)
{
        pld_lock(&lock);
        struct pld_list *item = pld_list_pop(&spare);
        pld_unlock(&lock);
        struct pld_thread *thread = item ? thread_at(item) : pld_meta_alloc(sizeof *thread);
        if (thread)
                memset(thread, 0, sizeof *thread);
        return thread;
}

static void shell_free(struct pld_thread *thread)
{
        pld_lock(&lock);
        pld_list_push(&spare, &thread->link);
        pld_unlock(&lock);
}

struct pld_thread *pld_thread_attach(void)
{
        struct pld_thread *thread = pld_thread_self();
        if (thread)
                return thread;
        if (nrounds >= PTHREAD_DESTRUCTOR_ITERATIONS || pld_start())
                return NULL; /* the first: nobody would detach it any more */
        thread = shell_new();
        if (!thread)
                return NULL;
        if (!find_stack(thread) || pthread_setspecific(exit_key, (void *)1)) {
                shell_free(thread);
                return NULL;
        }
        thread->tls = &polder_thread_;
        thread->process = getpid();
        thread->id = (pid_t)syscall(SYS_gettid);
        thread->cache = pld_cache_get(); /* NULL: over the limit; it allocates directly */
        unsigned here = pld_machine_here();
        pld_marker_init(&thread->marker, here < pld_machine.nnodes ? here : 0, false);

        unsigned char inside = polder_thread_.inside;
        polder_enter_();
        pld_lock(&lock);
        polder_thread_.shading = birth_shading | pld_rules_shading;
        polder_thread_.self[PLD_SELF_THREAD] = thread;
        thread->black = birth_black;
        pld_list_append(&threads, &thread->link);
        pld_unlock(&lock);
        polder_thread_.inside = inside;
        return thread;
}

int polder_thread_attach(void)
{
        return pld_thread_attach() ? 0 : -ENOMEM;
}

PLD_NOINLINE void polder_thread_detach(void)
{
        struct pld_thread *self = pld_thread_self();
        if (!self)
                return;
        pld_enter();
        pld_thread_block(self); /* T4 */
        pld_lock(&lock);
        self->blocking_depth = 1;
        pld_thread_unblock(self);
        pld_marker_flush(&self->marker);
        pld_journal_hand_over(&self->journal);
        if (pld_rules_shading)
                pld_rules_settle_newest(self);
        PLD_ASSERT(!self->cache || self->cache == pld_cache_mine); /* no other thread's by now */
        if (self->cache)
                pld_bump_empty(&self->cache->bump);
        pld_list_remove(&self->link);
        pld_unlock(&lock);

        polder_thread_.self[PLD_SELF_THREAD] = NULL;
        polder_thread_.self[PLD_SELF_NEWEST] = NULL;
        polder_thread_.asked = 0;
        polder_thread_.shading = PLD_SHADE_ATTACH;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        polder_thread_.inside = 0;
        pld_pacer_flush(self);
        shell_free(self);
}

/* The thread stays attached through the first round, so that other destructors may use
 * Polder; one that attaches it again later is followed by another round, but for the last.
 * We come by in each of them, to know which it is. */
static void on_exit_key(void *value)
{
        if (pld_unlikely(polder_thread_.inside))
                pld_die_of_end_inside();
        if (++nrounds < PTHREAD_DESTRUCTOR_ITERATIONS)
                pthread_setspecific(exit_key, value);
        if (nrounds >= LEAVING_ROUND)
                polder_thread_detach();
}

/* Those by which the C library cancels a thread, which may be at any moment of a system
 * call: T7. It has them below SIGRTMIN, and its own calls leave them out of every set. */
static void add_internal_signals(sigset_t *set)
{
        unsigned long *words = (unsigned long *)set;
        enum { BITS = 8 * sizeof *words };
        for (int i = __SIGRTMIN - 1; i < SIGRTMIN - 1; i++) /* signal i + 1 */
                words[i / BITS] |= 1UL << i % BITS;
}

int pld_thread_start(void)
{
        struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
        sigemptyset(&action.sa_mask);
        add_internal_signals(&action.sa_mask);
        int error = pthread_key_create(&exit_key, on_exit_key);
        if (error)
                return -error;
        if (sigaction(STOP_SIGNAL, &action, &former_action))
                return -errno;
        pld_cache_before_end = polder_thread_detach;
        return 0;
}

/* ---- Creating threads ---------------------------------------------------------------------- */

struct parcel {
        void *(*start)(void *);
        void *arg;
        bool pinned;
};

static void *run_parcel(void *arg)
{
        struct parcel *parcel = arg;
        void *(*start)(void *) = parcel->start;
        void *volatile mine = parcel->arg; /* on this stack before it is unpinned */
        pld_thread_attach();
        if (parcel->pinned)
                polder_unpin(mine);
        polder_free(parcel);
        return start(mine);
}

int polder_thread_create(uintptr_t *thread, void *(*start)(void *), void *arg)
{
        int error = pld_start();
        if (error)
                return error;
        struct parcel *parcel = polder_malloc(sizeof *parcel);
        if (!parcel)
                return -ENOMEM;
        *parcel = (struct parcel){ .start = start, .arg = arg };
        parcel->pinned = polder_size_of(arg) > 0 && polder_pin(arg) == 0;
        pthread_t handle;
        error = -pthread_create(&handle, NULL, run_parcel, parcel);
        if (error) {
                if (parcel->pinned)
                        polder_unpin(arg);
                polder_free(parcel);
                return error;
        }
        *thread = (uintptr_t)handle;
        return 0;
}

/* ---- fork() ------------------------------------------------------------------------------------- */

void pld_thread_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_thread_fork_parent(void)
{
        pld_lock_cede(&lock);
}

/* Only the forking thread is there. */
void pld_thread_fork_child(void)
{
        struct pld_thread *self = pld_thread_self();
        struct pld_list others = PLD_LIST_INIT(others);
        pld_list_splice(&others, &threads);
        for (struct pld_list *item; (item = pld_list_pop(&others));) {
                struct pld_thread *thread = thread_at(item);
                if (thread == self) {
                        self->process = getpid();
                        self->id = (pid_t)syscall(SYS_gettid);
                        pld_list_push(&threads, item);
                } else {
                        pld_list_push(&spare, item);
                }
        }
        pld_lock_cede(&lock);
}
