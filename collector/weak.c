/* weak.c: weak references.
 *
 * The program holds a leaf that knows where its target is; a record on the target's span, what
 * leaf that is. There is one for each target. The invariants, of which D1, D3, D5 and D6
 * are about weak references, are in records.c. */
#include "collector/records_inside.h"

#include "arena/sweep.h"
#include "collector/safepoint.h"

#include <errno.h>

struct polder_weak {
        _Atomic uintptr_t target; /* hidden: the object is a leaf */
        _Atomic uint32_t epoch;   /* D6 */
};

static struct polder_weak *weak_of(const struct pld_record *record)
{
        return (struct polder_weak *)record->value;
}

void pld_weak_clear_locked(const struct pld_record *record)
{
        pld_store_release(&weak_of(record)->target, 0);
}

void pld_weak_renew_locked(const struct pld_record *record)
{
        pld_store_release(&weak_of(record)->epoch, pld_load_relaxed(&pld_sweep_epoch));
}

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
        pld_lock(&pld_records_lock);
        struct pld_record *record = pld_record_find_locked(found.span, target, PLD_RECORD_WEAK);
        if (record) {
                weak = weak_of(record);
        } else if ((record = pld_record_new_locked())) {
                pld_store_relaxed(&weak->epoch, pld_load_relaxed(&pld_sweep_epoch));
                pld_store_release(&weak->target, target);
                *record = (struct pld_record){ .target = target,
                                               .kind = PLD_RECORD_WEAK,
                                               .value = (uintptr_t)weak };
                pld_record_hang_locked(found.span, record);
        } else {
                weak = NULL;
                errno = ENOMEM;
        }
        if (weak && pld_records_are_walked(self))
                pld_shade_word(&self->marker, (uintptr_t)weak);
        pld_unlock(&pld_records_lock);
        pld_leave();
        polder_keep_alive(object);
        return weak;
}

/* The target, if it lives. */
static PLD_NOINLINE uintptr_t look_at_target_slow(struct polder_weak *weak)
{
        pld_lock(&pld_records_lock);
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
        pld_unlock(&pld_records_lock);
        return target;
}

static uintptr_t look_at_target(struct polder_weak *weak)
{
        uintptr_t target = pld_load_acquire(&weak->target);
        /* Acquire: pairs with pld_weak_renew_locked(); read after the target. */
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
        if (target && pld_records_are_walked(self))
                pld_shade_word(&self->marker, target); /* D4 */
        pld_leave();
        return (void *)target;
}
