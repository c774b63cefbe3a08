/* finalizer.c: what is due, and the thread that calls it.
 *
 * A finalizer whose object has died is due: its record is on a list, in order, and keeps the
 * object. A thread that is made for the first finalizer calls them one by one, attached like any
 * other and outside of all locks, so a finalizer may do what a program may. After a call nothing
 * of it is left: where the object was not stored anywhere, the next cycle frees it.
 *
 * polder_finalizer_forget() takes away what is set and what is due, and awaits a call that is
 * under way. The invariants, of which D2, D4 and D7 are about finalizers, are in records.c. */
#include "collector/finalizer.h"

#include "arena/sweep.h"
#include "base/check.h"
#include "base/futex.h"
#include "base/loaded.h"
#include "collector/records_inside.h"
#include "collector/safepoint.h"
#include "collector/start.h"
#include "collector/tie.h"

#include <errno.h>

static struct pld_record *due, **due_end = &due; /* records' lock: oldest first */
static struct pld_record *not_shaded;            /* records' lock: of these: D7 */
static _Atomic uint32_t ndue;                    /* records' lock to write; a futex */
static bool has_thread;                          /* records' lock */
static _Atomic(polder_finalizer) running;        /* written by the finalizer's thread */
static _Atomic uint64_t ncalled;                 /* calls that are over */
static _Atomic uint32_t call_bell, nawaiting;    /* a futex, and who sleeps on it */
static __thread bool is_finalizer_thread;

/* ---- What is due ------------------------------------------------------------------------ */

void pld_finalizer_is_due_locked(struct pld_record *record)
{
        record->next = NULL;
        *due_end = record;
        due_end = &record->next;
        pld_add_release(&ndue, 1);
}

void pld_finalizers_wake(void)
{
        pld_futex_wake(&ndue, 1);
}

/* The record is no longer due; it is shaded by who takes it (D7). */
static void pass_over_locked(const struct pld_record *record)
{
        if (not_shaded == record)
                not_shaded = record->next;
        pld_sub_relaxed(&ndue, 1);
}

static void each_of_due(const struct pld_record *record, pld_root_visit visit, void *arg)
{
        struct pld_root root = { .kind = PLD_ROOT_READY,
                                 .word = record->target,
                                 .holder = record->target };
        visit(&root, arg);
        root.kind = PLD_ROOT_ARGUMENT;
        root.word = record->value;
        visit(&root, arg);
}

void pld_finalizers_each_due_locked(pld_root_visit visit, void *arg)
{
        for (struct pld_record *record = due; record; record = record->next)
                each_of_due(record, visit, arg);
}

void pld_finalizers_begin_walk_locked(void)
{
        not_shaded = due;
}

static size_t next_due(struct pld_record piece[PLD_RECORDS_PIECE])
{
        size_t n = 0;
        pld_lock(&pld_records_lock);
        for (; n < PLD_RECORDS_PIECE && not_shaded; not_shaded = not_shaded->next)
                piece[n++] = *not_shaded;
        pld_unlock(&pld_records_lock);
        return n;
}

void pld_finalizers_walk(pld_root_visit visit, void *arg)
{
        struct pld_record piece[PLD_RECORDS_PIECE];
        size_t n;
        while ((n = next_due(piece)) > 0)
                for (size_t i = 0; i < n; i++)
                        each_of_due(&piece[i], visit, arg);
}

/* D4: of whoever takes it. */
static void shade_record(struct pld_thread *self, const struct pld_record *record)
{
        if (!pld_records_are_walked(self))
                return;
        pld_shade_word(&self->marker, record->value);
        pld_shade_word(&self->marker, record->target);
}

/* ---- Calls ------------------------------------------------------------------------------ */

/* Takes the oldest that is due. Its pointers are on the caller's stack before
 * anyone can scan it. */
static struct pld_record *take_due(struct pld_thread *self, void *volatile *object,
                                   void *volatile *arg)
{
        pld_enter();
        pld_lock(&pld_records_lock);
        struct pld_record *record = due;
        if (record) {
                due = record->next;
                if (!due)
                        due_end = &due;
                pass_over_locked(record);
                pld_store_relaxed(&running, record->fn);
                *object = (void *)record->target;
                *arg = (void *)record->value;
                shade_record(self, record);
        }
        pld_unlock(&pld_records_lock);
        pld_leave();
        return record;
}

/* Sequentially consistent with await_call(): it sees the end, or is seen. */
static void call_ends(void)
{
        pld_store_seq_cst(&running, NULL);
        pld_add_relaxed(&ncalled, 1);
        if (!pld_load_seq_cst(&nawaiting))
                return;
        pld_add_release(&call_bell, 1);
        pld_futex_wake(&call_bell, INT_MAX);
}

static PLD_NOINLINE bool finalize_one(struct pld_thread *self)
{
        void *volatile object, *volatile arg;
        struct pld_record *record = take_due(self, &object, &arg);
        if (!record)
                return false;
        polder_finalizer fn = record->fn;
        if (record->is_loaded && !pld_is_loaded((uintptr_t)fn, 1))
                pld_die("the finalizer %p of object %p was in a library that is unloaded: it "
                        "should have called polder_finalizer_forget()",
                        (void *)(uintptr_t)fn, object);
        pld_lock(&pld_records_lock);
        pld_record_free_locked(record);
        pld_unlock(&pld_records_lock);
        fn(object, arg);
        object = arg = NULL;
        call_ends();
        return true;
}

static void finalize_for_ever(struct pld_thread *self)
{
        while (self) {
                while (finalize_one(self))
                        ;
                pld_enter(); /* no handshake while the thread is about to block */
                pld_thread_block(self);
                pld_futex_wait(&ndue, 0, 0);
                pld_thread_unblock(self);
                pld_leave();
        }
}

static void leave_thread(void)
{
        pld_lock(&pld_records_lock);
        has_thread = false;
        pld_unlock(&pld_records_lock);
}

/* A finalizer has called pthread_exit(): what else is due needs another thread. */
static void exit_thread(void *unused)
{
        (void)unused;
        call_ends();
        leave_thread();
        pld_finalizers_serve();
}

static void *finalizer_thread(void *unused)
{
        is_finalizer_thread = true;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL); /* a finalizer may tell who it is */
        pld_thread_admit_stops();
        pthread_cleanup_push(exit_thread, NULL);
        finalize_for_ever(pld_thread_attach());
        pthread_cleanup_pop(0);
        leave_thread(); /* no memory: a later cycle tries again */
        return unused;
}

static int start_finalizer_thread(void)
{
        pthread_t thread;
        pld_lock(&pld_records_lock);
        bool first = !has_thread;
        has_thread = true;
        pld_unlock(&pld_records_lock);
        if (!first)
                return 0;
        int error = pthread_create(&thread, NULL, finalizer_thread, NULL);
        if (error) {
                pld_lock(&pld_records_lock);
                has_thread = false;
                pld_unlock(&pld_records_lock);
                return -ENOMEM;
        }
        pthread_detach(thread);
        return 0;
}

/* ---- Setting and forgetting --------------------------------------------------------- */

static int set_locked(struct pld_span *span, uintptr_t target, polder_finalizer fn, void *arg)
{
        struct pld_record *record = pld_record_find_locked(span, target, PLD_RECORD_FINALIZER);
        if (!fn) {
                if (record)
                        pld_record_take_down_locked(span, record);
                return 0;
        }
        if (!record) {
                record = pld_record_new_locked();
                if (!record)
                        return -ENOMEM;
                *record = (struct pld_record){ .target = target, .kind = PLD_RECORD_FINALIZER };
                pld_record_hang_locked(span, record);
        }
        record->fn = fn;
        record->is_loaded = pld_is_loaded((uintptr_t)fn, 1);
        record->value = (uintptr_t)arg;
        return 0;
}

int polder_finalizer_set(void *object, polder_finalizer fn, void *arg)
{
        struct pld_thread *self = pld_thread_attach();
        if (!self)
                return -ENOMEM;
        struct pld_found found = pld_find_object((uintptr_t)object);
        uintptr_t target = (uintptr_t)object;
        if (!found.span || pld_span_object(found.span, found.index) != target ||
            (fn && pld_is_owner(found)))
                return -EINVAL;
        int error = fn ? start_finalizer_thread() : 0;
        if (error)
                return error;
        pld_enter();
        pld_span_sweep(found.span);
        pld_lock(&pld_records_lock);
        if (pld_records_are_walked(self)) { /* D4, and D2 for one that the walk may have passed */
                const struct pld_record *record =
                        pld_record_find_locked(found.span, target, PLD_RECORD_FINALIZER);
                if (record)
                        pld_shade_word(&self->marker, record->value);
                pld_shade_word(&self->marker, (uintptr_t)arg);
                pld_shade_word(&self->marker, target);
        }
        error = set_locked(found.span, target, fn, arg);
        pld_unlock(&pld_records_lock);
        pld_leave();
        return error;
}

static size_t forget_set_locked(struct pld_thread *self, polder_finalizer fn)
{
        size_t n = 0;
        struct pld_list *all = &pld_records_hanging;
        for (struct pld_list *item = all->next, *next; item != all; item = next) {
                struct pld_record *record = pld_container_of(item, struct pld_record, link);
                next = item->next;
                if (record->kind != PLD_RECORD_FINALIZER || record->fn != fn)
                        continue;
                shade_record(self, record);
                pld_record_take_down_locked(pld_span_of(record->target), record);
                n++;
        }
        return n;
}

static size_t forget_due_locked(struct pld_thread *self, polder_finalizer fn)
{
        size_t n = 0;
        struct pld_record **at = &due;
        while (*at) {
                struct pld_record *record = *at;
                if (record->fn != fn) {
                        at = &record->next;
                        continue;
                }
                *at = record->next;
                pass_over_locked(record);
                shade_record(self, record);
                pld_record_free_locked(record);
                n++;
        }
        due_end = at;
        return n;
}

static void await_call(struct pld_thread *self, polder_finalizer fn)
{
        pld_enter();
        pld_thread_block(self);
        pld_add_acq_rel(&nawaiting, 1);
        for (;;) {
                uint32_t seen = pld_load_acquire(&call_bell);
                if (pld_load_seq_cst(&running) != fn)
                        break;
                pld_futex_wait(&call_bell, seen, 0);
        }
        pld_sub_acq_rel(&nawaiting, 1);
        pld_thread_unblock(self);
        pld_leave();
}

size_t polder_finalizer_forget(polder_finalizer fn)
{
        struct pld_thread *self = pld_load_acquire(&pld_started) ? pld_thread_attach() : NULL;
        if (!self)
                return 0;
        pld_enter();
        pld_lock(&pld_records_lock);
        size_t n = forget_set_locked(self, fn) + forget_due_locked(self, fn);
        pld_unlock(&pld_records_lock);
        pld_leave();
        if (!is_finalizer_thread)
                await_call(self, fn);
        return n;
}

void pld_finalizers_serve(void)
{
        if (pld_load_relaxed(&ndue))
                start_finalizer_thread(); /* no memory: the next cycle tries again */
}

size_t pld_finalizers_pending(void)
{
        return pld_load_relaxed(&ndue);
}

uint64_t pld_finalizers_called(void)
{
        return pld_load_relaxed(&ncalled);
}

/* The thread is not there; the end of the next cycle makes one if it is needed. */
void pld_finalizers_fork_child(void)
{
        has_thread = false;
        pld_store_relaxed(&running, NULL);
        pld_store_relaxed(&nawaiting, 0);
}
