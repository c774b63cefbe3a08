/* records.c: weak references and finalizers.
 *
 * A record hangs on the span of the object it speaks of, its *target*, and is
 * settled by whoever sweeps that span: if the target was not marked, a weak
 * reference is cleared, and a finalizer is put on the list of the finalizer
 * thread, which keeps the object alive until it has run (after Go's specials). So
 * neither costs the terminating stop anything.
 *
 * D1  a weak object is kept alive as long as its target: it is shaded every cycle.
 * D2  what a finalizable target refers to, and the finalizer's argument, are
 *     shaded every cycle; the target itself is not. So the finalizers of a chain
 *     run in order, one cycle after the other.
 * D3  weak references to a dead target are cleared before its finalizer is
 *     listed: nobody gets the object from a weak reference after that.
 *     The same goes for ties (tie.c), and so ties have no finalizable owners.
 * D4  whoever takes a pointer out of a record while a cycle is under way shades
 *     it first.
 * D5  polder_weak_get() runs inside Polder, so no flip comes between its look at
 *     the weak reference and its return.
 * D6  a weak reference knows for which sweep epoch its target is known to live. For
 *     another epoch its span is not yet settled, or the reference is cleared; which
 *     of them, and what the target's mark says, can be seen under the records lock
 *     only: without it the span may be swept, given back and be another one.
 * D7  a cycle walks the records piece by piece, and shades without the lock, so that nobody
 *     waits long for it. What is hung meanwhile is shaded by who hangs it, and what is taken down
 *     by who takes it (D4). Nothing is settled then, as no span is swept while a cycle marks. */
#include "collector/records.h"

#include "arena/meta.h"
#include "base/check.h"
#include "base/futex.h"
#include "base/loaded.h"
#include "base/lock.h"
#include "collector/safepoint.h"
#include "collector/scan.h"
#include "collector/start.h"
#include "collector/thread.h"
#include "collector/tie.h"

#include <errno.h>
#include <string.h>

struct polder_weak {
        _Atomic uintptr_t target; /* hidden: the object is a leaf */
        _Atomic uint32_t epoch;   /* D6 */
};

enum { PIECE = 64 }; /* records that are looked at while the lock is held once */

enum kind { WEAK, FINALIZER, CURSOR };

struct record {
        struct record *next;   /* on its span, or on `ready`, or on `spare` */
        struct pld_list link;  /* of all that are on spans */
        uintptr_t target;
        enum kind kind;
        bool is_loaded; /* fn is code of the program's or of a library's */
        polder_finalizer fn;
        uintptr_t value; /* the weak object, or the finalizer's argument */
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_RECORDS);
static struct pld_list all = PLD_LIST_INIT(all);   /* lock: hanging on spans */
static struct record *ready, **ready_end = &ready; /* lock: finalizers to call, oldest first */
static struct record *spare;                       /* lock */
static struct record cursor = { .kind = CURSOR };  /* lock: on `all` while that is walked: D7 */
static struct record *not_shaded;                  /* lock: of `ready`: D7 */
static _Atomic uint32_t nready;                    /* lock to write */
static bool has_thread;                            /* lock */
static _Atomic(polder_finalizer) running;          /* written by the finalizer's thread */
static _Atomic uint64_t ncalled;                   /* calls that are over */
static _Atomic uint32_t call_bell, nawaiting;      /* a futex, and who sleeps on it */
static __thread bool is_finalizer_thread;

static bool is_marking(const struct pld_thread *self)
{
        return self && (self->tls->shading & (PLD_SHADE_OLD | PLD_SHADE_NEW));
}

static struct record *record_new_locked(void)
{
        struct record *record = spare;
        if (record)
                spare = record->next;
        else
                record = pld_meta_alloc(sizeof *record);
        return record;
}

static void record_free_locked(struct record *record)
{
        record->next = spare;
        spare = record;
}

static struct record *first_of(struct pld_span *span)
{
        return pld_load_acquire(&span->collected.records);
}

static void hang_locked(struct pld_span *span, struct record *record)
{
        record->next = first_of(span);
        pld_store_release(&span->collected.records, record);
        pld_list_push(&all, &record->link);
}

static struct record *find_locked(struct pld_span *span, uintptr_t target, enum kind kind)
{
        for (struct record *record = first_of(span); record; record = record->next)
                if (record->target == target && record->kind == kind)
                        return record;
        return NULL;
}

/* ---- Settling -------------------------------------------------------------------- */

static void *finalizer_thread(void *unused);

static void list_ready_locked(struct record *record)
{
        record->next = NULL;
        *ready_end = record;
        ready_end = &record->next;
        pld_add_release(&nready, 1);
}

/* The record leaves `ready`, shaded (D7). */
static void pass_over_locked(const struct record *record)
{
        if (not_shaded == record)
                not_shaded = record->next;
}

/* Takes every record of that kind whose target is not marked off the span. */
static struct record *cut_dead_locked(struct pld_span *span, enum kind kind)
{
        struct record *dead = NULL, *kept = NULL, *next;
        for (struct record *record = first_of(span); record; record = next) {
                next = record->next;
                bool dies = record->kind == kind &&
                            !pld_span_is_marked(span, pld_span_index(span, record->target));
                record->next = dies ? dead : kept;
                *(dies ? &dead : &kept) = record;
                if (dies)
                        pld_list_remove(&record->link);
        }
        pld_store_release(&span->collected.records, kept);
        return dead;
}

static void renew_weak_locked(struct pld_span *span)
{
        for (struct record *record = first_of(span); record; record = record->next)
                if (record->kind == WEAK)
                        pld_store_release(&((struct polder_weak *)record->value)->epoch,
                                          pld_load_relaxed(&pld_sweep_epoch)); /* D6 */
}

static void settle(struct pld_span *span)
{
        struct record *record, *next;
        bool any = false;
        if (pld_load_relaxed(&span->collected.tied))
                pld_ties_settle(span);
        pld_lock(&lock);
        for (record = cut_dead_locked(span, WEAK); record; record = next) { /* D3 */
                next = record->next;
                pld_store_release(&((struct polder_weak *)record->value)->target, 0);
                record_free_locked(record);
        }
        renew_weak_locked(span);
        for (record = cut_dead_locked(span, FINALIZER); record; record = next) {
                next = record->next;
                pld_span_mark(span, pld_span_index(span, record->target));
                list_ready_locked(record);
                any = true;
        }
        pld_unlock(&lock);
        if (any)
                pld_futex_wake(&nready, 1);
}

void pld_records_start(void)
{
        pld_sweep_start(settle);
}

/* ---- What records keep --------------------------------------------------------------- */

struct keep {
        pld_root_visit visit;
        void *arg;
        struct pld_root root; /* what they have in common */
};

static void keep_slot(uintptr_t *slot, bool exact, void *arg)
{
        struct keep *keep = arg;
        keep->root.exact = exact;
        keep->root.slot = (uintptr_t)slot;
        keep->root.word = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        keep->visit(&keep->root, keep->arg);
}

static void each_of(const struct record *record, pld_root_visit visit, void *arg)
{
        struct pld_root value = { .kind = record->kind == WEAK ? PLD_ROOT_WEAK : PLD_ROOT_ARGUMENT,
                                  .word = record->value,
                                  .holder = record->target };
        visit(&value, arg); /* D1, D2 */
        if (record->kind == WEAK)
                return;
        struct keep keep = { visit, arg, value };
        keep.root.kind = PLD_ROOT_FINALIZABLE;
        pld_object_each(pld_span_of(record->target), record->target, keep_slot, &keep);
}

static void each_of_ready(const struct record *record, pld_root_visit visit, void *arg)
{
        struct pld_root root = { .kind = PLD_ROOT_READY,
                                 .word = record->target,
                                 .holder = record->target };
        visit(&root, arg);
        root.kind = PLD_ROOT_ARGUMENT;
        root.word = record->value;
        visit(&root, arg);
}

void pld_records_each(pld_root_visit visit, void *arg)
{
        pld_lock(&lock);
        pld_list_each(item, &all)
                each_of(pld_container_of(item, struct record, link), visit, arg);
        for (struct record *record = ready; record; record = record->next)
                each_of_ready(record, visit, arg);
        pld_unlock(&lock);
}

static void shade_kept(const struct pld_root *root, void *arg)
{
        if (root->exact)
                pld_shade_exact(arg, root->word);
        else
                pld_shade_word(arg, root->word);
}

/* Copies of the next records on spans; how many. */
static size_t next_hanging(struct record piece[PIECE])
{
        size_t n = 0;
        pld_lock(&lock);
        struct pld_list *item = cursor.link.next;
        pld_list_remove(&cursor.link);
        for (; n < PIECE && item != &all; item = item->next)
                piece[n++] = *pld_container_of(item, struct record, link);
        if (n > 0)
                pld_list_insert(item->prev, &cursor.link);
        pld_unlock(&lock);
        return n;
}

static size_t next_ready(struct record piece[PIECE])
{
        size_t n = 0;
        pld_lock(&lock);
        for (; n < PIECE && not_shaded; not_shaded = not_shaded->next)
                piece[n++] = *not_shaded;
        pld_unlock(&lock);
        return n;
}

void pld_records_shade(struct pld_marker *marker)
{
        struct record piece[PIECE];
        size_t n;
        pld_lock(&lock);
        pld_list_push(&all, &cursor.link);
        not_shaded = ready;
        pld_unlock(&lock);
        while ((n = next_hanging(piece)) > 0)
                for (size_t i = 0; i < n; i++)
                        each_of(&piece[i], shade_kept, marker);
        while ((n = next_ready(piece)) > 0)
                for (size_t i = 0; i < n; i++)
                        each_of_ready(&piece[i], shade_kept, marker);
}

/* ---- Weak references ------------------------------------------------------------------- */

struct polder_weak *polder_weak_new(void *object)
{
        struct pld_thread *self = pld_thread_attach();
        struct pld_found found = pld_find_object((uintptr_t)object);
        if (!self || !found.span) {
                errno = self ? EINVAL : ENOMEM;
                return NULL;
        }
        uintptr_t target = pld_span_object(found.span, found.index);
        struct polder_weak *weak = polder_new_leaf(sizeof *weak);
        if (!weak)
                return NULL;
        pld_enter();
        pld_span_sweep(found.span); /* settle before hanging: the target is alive, we hold it */
        pld_lock(&lock);
        struct record *record = find_locked(found.span, target, WEAK);
        if (record) {
                weak = (struct polder_weak *)record->value;
        } else if ((record = record_new_locked())) {
                pld_store_relaxed(&weak->epoch, pld_load_relaxed(&pld_sweep_epoch));
                pld_store_release(&weak->target, target);
                *record = (struct record){ .target = target, .kind = WEAK, .value = (uintptr_t)weak };
                hang_locked(found.span, record);
        } else {
                weak = NULL;
                errno = ENOMEM;
        }
        if (weak && is_marking(self))
                pld_shade_word(&self->marker, (uintptr_t)weak);
        pld_unlock(&lock);
        pld_leave();
        polder_keep_alive(object);
        return weak;
}

/* The target, if it lives. */
static PLD_NOINLINE uintptr_t look_at_target_slow(struct polder_weak *weak)
{
        pld_lock(&lock);
        uintptr_t target = pld_load_relaxed(&weak->target);
        /* It may have been settled while we waited; then the marks are gone, too. */
        bool settled = pld_load_relaxed(&weak->epoch) == pld_load_relaxed(&pld_sweep_epoch);
        if (target && !settled) { /* D6 */
                struct pld_span *span = pld_span_of(target);
                if (pld_span_is_marked(span, pld_span_index(span, target)))
                        pld_store_relaxed(&weak->epoch, pld_load_relaxed(&pld_sweep_epoch));
                else
                        target = 0;
        }
        pld_unlock(&lock);
        return target;
}

static uintptr_t look_at_target(struct polder_weak *weak)
{
        uintptr_t target = pld_load_acquire(&weak->target);
        /* Acquire: pairs with renew_weak_locked(); read after the target. */
        if (!target || pld_load_acquire(&weak->epoch) == pld_load_relaxed(&pld_sweep_epoch))
                return target;
        return look_at_target_slow(weak);
}

void *polder_weak_get(const struct polder_weak *weak)
{
        struct pld_thread *self = pld_thread_attach();
        if (!weak || !self)
                return NULL;
        pld_enter(); /* D5 */
        uintptr_t target = look_at_target((struct polder_weak *)(uintptr_t)weak);
        if (target && is_marking(self))
                pld_shade_word(&self->marker, target); /* D4 */
        pld_leave();
        return (void *)target;
}

/* ---- Finalizers ------------------------------------------------------------------------- */

/* Takes the oldest ready record. Its pointers are on the caller's stack before
 * anyone can scan it. */
static struct record *take_ready(struct pld_thread *self, void *volatile *object, void *volatile *arg)
{
        pld_enter();
        pld_lock(&lock);
        struct record *record = ready;
        if (record) {
                ready = record->next;
                if (!ready)
                        ready_end = &ready;
                pass_over_locked(record);
                pld_sub_relaxed(&nready, 1);
                pld_store_relaxed(&running, record->fn);
                *object = (void *)record->target;
                *arg = (void *)record->value;
                if (is_marking(self)) { /* D4 */
                        pld_shade_word(&self->marker, record->target);
                        pld_shade_word(&self->marker, record->value);
                }
        }
        pld_unlock(&lock);
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
        struct record *record = take_ready(self, &object, &arg);
        if (!record)
                return false;
        polder_finalizer fn = record->fn;
        if (record->is_loaded && !pld_is_loaded((uintptr_t)fn, 1))
                pld_die("the finalizer %p of object %p was in a library that is unloaded: it should "
                        "have called polder_finalizer_forget()", (void *)(uintptr_t)fn, object);
        pld_lock(&lock);
        record_free_locked(record);
        pld_unlock(&lock);
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
                pld_futex_wait(&nready, 0, 0);
                pld_thread_unblock(self);
                pld_leave();
        }
}

static void leave_thread(void)
{
        pld_lock(&lock);
        has_thread = false;
        pld_unlock(&lock);
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
        pld_lock(&lock);
        bool first = !has_thread;
        has_thread = true;
        pld_unlock(&lock);
        if (!first)
                return 0;
        int error = pthread_create(&thread, NULL, finalizer_thread, NULL);
        if (error) {
                pld_lock(&lock);
                has_thread = false;
                pld_unlock(&lock);
                return -ENOMEM;
        }
        pthread_detach(thread);
        return 0;
}

static void take_down_locked(struct pld_span *span, struct record *record)
{
        struct record **at = (struct record **)&span->collected.records;
        while (*at != record)
                at = &(*at)->next;
        *at = record->next;
        pld_list_remove(&record->link);
        record_free_locked(record);
}

static int set_locked(struct pld_span *span, uintptr_t target, polder_finalizer fn, void *arg)
{
        struct record *record = find_locked(span, target, FINALIZER);
        if (!fn) {
                if (record)
                        take_down_locked(span, record);
                return 0;
        }
        if (!record) {
                record = record_new_locked();
                if (!record)
                        return -ENOMEM;
                *record = (struct record){ .target = target, .kind = FINALIZER };
                hang_locked(span, record);
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
        pld_lock(&lock);
        if (is_marking(self)) { /* D4, and D2 for a record that this cycle may have passed */
                struct record *record = find_locked(found.span, target, FINALIZER);
                if (record)
                        pld_shade_word(&self->marker, record->value);
                pld_shade_word(&self->marker, (uintptr_t)arg);
                pld_shade_word(&self->marker, target);
        }
        error = set_locked(found.span, target, fn, arg);
        pld_unlock(&lock);
        pld_leave();
        return error;
}

/* D4. */
static void shade_record(struct pld_thread *self, const struct record *record)
{
        if (!is_marking(self))
                return;
        pld_shade_word(&self->marker, record->value);
        pld_shade_word(&self->marker, record->target);
}

static size_t forget_set_locked(struct pld_thread *self, polder_finalizer fn)
{
        size_t n = 0;
        for (struct pld_list *item = all.next, *next; item != &all; item = next) {
                struct record *record = pld_container_of(item, struct record, link);
                next = item->next;
                if (record->kind != FINALIZER || record->fn != fn)
                        continue;
                shade_record(self, record);
                take_down_locked(pld_span_of(record->target), record);
                n++;
        }
        return n;
}

static size_t forget_ready_locked(struct pld_thread *self, polder_finalizer fn)
{
        size_t n = 0;
        struct record **at = &ready;
        while (*at) {
                struct record *record = *at;
                if (record->fn != fn) {
                        at = &record->next;
                        continue;
                }
                *at = record->next;
                pass_over_locked(record);
                shade_record(self, record);
                record_free_locked(record);
                pld_sub_relaxed(&nready, 1);
                n++;
        }
        ready_end = at;
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
        pld_lock(&lock);
        size_t n = forget_set_locked(self, fn) + forget_ready_locked(self, fn);
        pld_unlock(&lock);
        pld_leave();
        if (!is_finalizer_thread)
                await_call(self, fn);
        return n;
}

void pld_finalizers_serve(void)
{
        if (pld_load_relaxed(&nready))
                start_finalizer_thread(); /* no memory: the next cycle tries again */
}

size_t pld_finalizers_pending(void)
{
        return pld_load_relaxed(&nready);
}

uint64_t pld_finalizers_called(void)
{
        return pld_load_relaxed(&ncalled);
}

void pld_records_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_records_fork_done(void)
{
        pld_lock_cede(&lock);
}

/* The finalizer thread is not there; the end of the next cycle makes one if it is needed. */
void pld_records_fork_child(void)
{
        has_thread = false;
        pld_store_relaxed(&running, NULL);
        pld_store_relaxed(&nawaiting, 0);
        pld_lock_cede(&lock);
}
