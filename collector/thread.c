/* thread.c: attached threads, as they come and go.
 *
 * A thread attaches at its first use of the collected heap, or when it says so, and stays
 * until its last thread-specific values are destroyed. How collections get at it is told
 * in handshake.c, what it does for them in safepoint.c.
 *
 * T4  the list changes under the threads lock only, which the asker holds from
 *     asking to the last answer. A thread that wants the lock is BLOCKED first. */
#include "collector/thread.h"

#include "arena/arena.h"
#include "arena/meta.h"
#include "base/check.h"
#include "collector/pacer.h"
#include "collector/rules.h"
#include "collector/safepoint.h"
#include "collector/stack.h"
#include "collector/start.h"

#include <polder/arena.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LEAVING_ROUND = 2 }; /* of destructors */

__thread struct polder_thread_ polder_thread_ __attribute__((tls_model("initial-exec"))) = {
        .shading = PLD_SHADE_ATTACH,
};
static_assert(sizeof(struct polder_thread_) == 64, "frozen");

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_THREADS);
struct pld_list pld_threads = PLD_LIST_INIT(pld_threads);
static struct pld_list spare = PLD_LIST_INIT(spare);     /* lock */
static unsigned char birth_shading;                      /* lock */
static bool birth_black;                                 /* lock */
static pthread_key_t exit_key;
static __thread unsigned nrounds; /* of destructors, that have come by here */

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

bool pld_threads_are_locked(void)
{
        return pld_lock_is_held(&lock);
}

void pld_threads_set_birth(unsigned char shading, bool black)
{
        birth_shading = shading;
        birth_black = black;
}

void pld_threads_each_locked(pld_step visit)
{
        pld_list_each(item, &pld_threads)
                visit(pld_thread_at(item));
}

unsigned pld_threads_count_locked(void)
{
        unsigned n = 0;
        pld_list_each(item, &pld_threads)
                n++;
        return n;
}

/* ---- Coming and going ------------------------------------------------------------------- */

static struct pld_thread *shell_new(void)
{
        pld_lock(&lock);
        struct pld_list *item = pld_list_pop(&spare);
        pld_unlock(&lock);
        struct pld_thread *thread = item ? pld_thread_at(item) : pld_meta_alloc(sizeof *thread);
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
        if (!pld_stack_find(thread) || pthread_setspecific(exit_key, (void *)1)) {
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
        thread->journal.later = birth_shading & PLD_SHADE_OLD;
        pld_list_append(&pld_threads, &thread->link);
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

int pld_thread_start(void)
{
        int error = pthread_key_create(&exit_key, on_exit_key);
        if (error)
                return -error;
        pld_cache_before_end = polder_thread_detach;
        return pld_safepoint_start();
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
        pld_list_splice(&others, &pld_threads);
        for (struct pld_list *item; (item = pld_list_pop(&others));) {
                struct pld_thread *thread = pld_thread_at(item);
                if (thread == self) {
                        self->process = getpid();
                        self->id = (pid_t)syscall(SYS_gettid);
                        pld_list_push(&pld_threads, item);
                } else {
                        pld_list_push(&spare, item);
                }
        }
        pld_lock_cede(&lock);
}
