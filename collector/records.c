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
#include "arena/sweep.h"
#include "collector/records_inside.h"
#include "collector/tie.h"

struct pld_lock pld_records_lock = PLD_LOCK_INIT(PLD_RANK_RECORDS);
struct pld_list pld_records_hanging = PLD_LIST_INIT(pld_records_hanging);
static struct pld_record *spare;                                 /* lock */
static struct pld_record cursor = { .kind = PLD_RECORD_CURSOR }; /* lock: D7 */

struct pld_record *pld_record_new_locked(void)
{
        struct pld_record *record = spare;
        if (record)
                spare = record->next;
        else
                record = pld_meta_alloc(sizeof *record);
        return record;
}

void pld_record_free_locked(struct pld_record *record)
{
        record->next = spare;
        spare = record;
}

static struct pld_record *first_of(struct pld_span *span)
{
        return pld_load_acquire(&span->collected.records);
}

void pld_record_hang_locked(struct pld_span *span, struct pld_record *record)
{
        record->next = first_of(span);
        pld_store_release(&span->collected.records, record);
        pld_list_push(&pld_records_hanging, &record->link);
}

void pld_record_take_down_locked(struct pld_span *span, struct pld_record *record)
{
        struct pld_record **at = (struct pld_record **)&span->collected.records;
        while (*at != record)
                at = &(*at)->next;
        *at = record->next;
        pld_list_remove(&record->link);
        pld_record_free_locked(record);
}

struct pld_record *pld_record_find_locked(struct pld_span *span, uintptr_t target,
                                          enum pld_record_kind kind)
{
        for (struct pld_record *record = first_of(span); record; record = record->next)
                if (record->target == target && record->kind == kind)
                        return record;
        return NULL;
}

/* ---- Settling -------------------------------------------------------------------- */

/* Takes every record of that kind whose target is not marked off the span. */
static struct pld_record *cut_dead_locked(struct pld_span *span, enum pld_record_kind kind)
{
        struct pld_record *dead = NULL, *kept = NULL, *next;
        for (struct pld_record *record = first_of(span); record; record = next) {
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

static void settle_weak_locked(struct pld_span *span)
{
        struct pld_record *record, *next;
        for (record = cut_dead_locked(span, PLD_RECORD_WEAK); record; record = next) {
                next = record->next;
                pld_weak_clear_locked(record);
                pld_record_free_locked(record);
        }
        for (record = first_of(span); record; record = record->next)
                if (record->kind == PLD_RECORD_WEAK)
                        pld_weak_renew_locked(record);
}

/* True: finalizers are due. */
static bool settle_finalizers_locked(struct pld_span *span)
{
        struct pld_record *dead = cut_dead_locked(span, PLD_RECORD_FINALIZER), *next;
        bool any = dead;
        for (struct pld_record *record = dead; record; record = next) {
                next = record->next;
                pld_span_mark(span, pld_span_index(span, record->target));
                pld_finalizer_is_due_locked(record);
        }
        return any;
}

static void settle(struct pld_span *span)
{
        if (pld_load_relaxed(&span->collected.tied))
                pld_ties_settle(span);
        pld_lock(&pld_records_lock);
        settle_weak_locked(span); /* D3 */
        bool any = settle_finalizers_locked(span);
        pld_unlock(&pld_records_lock);
        if (any)
                pld_finalizers_wake();
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

static void each_of(const struct pld_record *record, pld_root_visit visit, void *arg)
{
        bool is_weak = record->kind == PLD_RECORD_WEAK;
        struct pld_root value = { .kind = is_weak ? PLD_ROOT_WEAK : PLD_ROOT_ARGUMENT,
                                  .word = record->value,
                                  .holder = record->target };
        visit(&value, arg); /* D1, D2 */
        if (is_weak)
                return;
        struct keep keep = { visit, arg, value };
        keep.root.kind = PLD_ROOT_FINALIZABLE;
        pld_object_each(pld_span_of(record->target), record->target, keep_slot, &keep);
}

void pld_records_each(pld_root_visit visit, void *arg)
{
        pld_lock(&pld_records_lock);
        pld_list_each(item, &pld_records_hanging)
                each_of(pld_container_of(item, struct pld_record, link), visit, arg);
        pld_finalizers_each_due_locked(visit, arg);
        pld_unlock(&pld_records_lock);
}

static void shade_kept(const struct pld_root *root, void *arg)
{
        if (root->exact)
                pld_shade_exact(arg, root->word);
        else
                pld_shade_word(arg, root->word);
}

/* Copies of the next records on spans; how many. */
static size_t next_hanging(struct pld_record piece[PLD_RECORDS_PIECE])
{
        size_t n = 0;
        pld_lock(&pld_records_lock);
        struct pld_list *item = cursor.link.next;
        pld_list_remove(&cursor.link);
        for (; n < PLD_RECORDS_PIECE && item != &pld_records_hanging; item = item->next)
                piece[n++] = *pld_container_of(item, struct pld_record, link);
        if (n > 0)
                pld_list_insert(item->prev, &cursor.link);
        pld_unlock(&pld_records_lock);
        return n;
}

void pld_records_shade(struct pld_marker *marker)
{
        struct pld_record piece[PLD_RECORDS_PIECE];
        size_t n;
        pld_lock(&pld_records_lock);
        pld_list_push(&pld_records_hanging, &cursor.link);
        pld_finalizers_begin_walk_locked();
        pld_unlock(&pld_records_lock);
        while ((n = next_hanging(piece)) > 0)
                for (size_t i = 0; i < n; i++)
                        each_of(&piece[i], shade_kept, marker);
        pld_finalizers_walk(shade_kept, marker);
}

/* ---- Forks ------------------------------------------------------------------------- */

void pld_records_fork_prepare(void)
{
        pld_lock_seize(&pld_records_lock);
}

void pld_records_fork_done(void)
{
        pld_lock_cede(&pld_records_lock);
}

void pld_records_fork_child(void)
{
        pld_finalizers_fork_child();
        pld_lock_cede(&pld_records_lock);
}
