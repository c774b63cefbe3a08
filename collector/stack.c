/* stack.c: which stack a thread stands on, and what of it is scanned.
 *
 * T6  a thread may stand on another stack than its own, if that is registered as a
 *     root (a fiber's) or is its alternate signal stack: then it is scanned to its
 *     end, and the thread's own stack as a whole, since where the thread left that
 *     one is not known. */
#include "collector/stack.h"

#include "base/check.h"
#include "collector/roots.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NO_LIMIT_STACK_BYTES = 1 << 30 };

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

bool pld_stack_find(struct pld_thread *thread)
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

bool pld_stack_stand_try(struct pld_thread *self, uintptr_t sp)
{
        self->sp = sp;
        self->stack_end = pld_likely(is_on_own_stack(self, sp)) ? self->stack_base
                                                                : other_stack_end(sp);
        return self->stack_end != 0;
}

void pld_stack_stand(struct pld_thread *self, uintptr_t sp)
{
        if (!pld_stack_stand_try(self, sp))
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

/* Without the word that says what the thread's newest object is: thread-local variables, too,
 * lie between a stack's ends, and that one is more than a word that may be anything. */
static void visit_but_newest(const struct pld_thread *thread, uintptr_t from, uintptr_t to,
                             pld_stack_visit visit, void *arg)
{
        uintptr_t newest = (uintptr_t)&thread->tls->self[PLD_SELF_NEWEST];
        if (newest < from || newest >= to) {
                visit(from, to, arg);
                return;
        }
        visit(from, newest, arg);
        visit(newest + sizeof(void *), to, arg);
}

void pld_stack_each(struct pld_thread *thread, pld_stack_visit visit, void *arg)
{
        if (pld_thread_is_away(pld_load_relaxed(&thread->state)))
                return;
        uintptr_t registers = (uintptr_t)&thread->registers;
        visit(registers, registers + sizeof thread->registers, arg);
        visit_but_newest(thread, thread->sp, thread->stack_end, visit, arg);
        if (pld_unlikely(thread->stack_end != thread->stack_base)) /* T6 */
                visit_but_newest(thread, own_stack_bottom(thread), thread->stack_base, visit, arg);
}
