#include "collector/rules.h"

#include "base/check.h"
#include "collector/scan.h"
#include "collector/settings.h"
#include "numa/meta_map.h"

enum { NSTRIPES = 256 };

unsigned char pld_rules_shading;

static _Atomic uintptr_t *shadow; /* const after start: a word for each of the range's */
static _Atomic bool stripes[NSTRIPES];

static _Atomic uintptr_t *shadow_of(const void *slot)
{
        return &shadow[((uintptr_t)slot - pld_range.base) / sizeof(uintptr_t)];
}

static _Atomic bool *stripe_of(void **slot)
{
        return &stripes[(uintptr_t)slot / sizeof *slot % NSTRIPES];
}

void pld_rules_start(void)
{
        if (!pld_settings.rules)
                return;
        shadow = pld_meta_map(pld_range.nbytes);
        if (shadow)
                pld_rules_shading = PLD_SHADE_RECORD;
        else
                pld_say("POLDER_DEBUG=rules: no address space for a shadow of %zu GiB; the rules "
                        "are not checked", pld_range.nbytes >> 30);
}

void pld_rules_lock_slot(void **slot)
{
        while (pld_exchange_acquire(stripe_of(slot), true))
                pld_pause();
}

void pld_rules_unlock_slot(void **slot, void *value)
{
        if (pld_range_has((uintptr_t)slot))
                pld_store_relaxed(shadow_of(slot), (uintptr_t)value);
        pld_store_release(stripe_of(slot), false);
}

void pld_rules_clear(void *cells, size_t nbytes)
{
        for (size_t i = 0; i < nbytes / sizeof(uintptr_t); i++)
                pld_store_relaxed(&shadow_of(cells)[i], 0);
}

static void take_as_it_is(uintptr_t *slot, bool exact, void *arg)
{
        (void)exact;
        (void)arg;
        pld_store_relaxed(shadow_of(slot), *slot);
}

void pld_rules_settle_newest(struct pld_thread *self)
{
        uintptr_t newest = (uintptr_t)self->tls->self[PLD_SELF_NEWEST];
        if (!newest)
                return;
        self->tls->self[PLD_SELF_NEWEST] = NULL;
        struct pld_span *span = pld_span_of(newest);
        if (span->shape->kind == PLD_SHAPE_PRECISE)
                pld_object_each(span, newest, take_as_it_is, NULL);
}

/* ---- The check ------------------------------------------------------------------- */

static uintptr_t newest_of_some; /* threads lock: the object to be asked about */
static bool is_newest;           /* threads lock */

static void ask_thread(struct pld_thread *thread)
{
        is_newest |= (uintptr_t)thread->tls->self[PLD_SELF_NEWEST] == newest_of_some;
}

static bool is_some_newest_locked(uintptr_t object)
{
        newest_of_some = object;
        is_newest = false;
        pld_threads_each_locked(ask_thread);
        return is_newest;
}

static void compare(uintptr_t *slot, bool exact, void *arg)
{
        uintptr_t object = (uintptr_t)arg;
        (void)exact;
        if (*slot == pld_load_relaxed(shadow_of(slot)) || is_some_newest_locked(object))
                return;
        pld_die("rules: slot %p (offset %zu of object %p) holds %p, which no polder_store() put "
                "there: a plain store into an object that was not the thread's newest",
                (void *)slot, (uintptr_t)slot - object, (void *)object, (void *)*slot);
}

static void check_span(struct pld_span *span, void *arg)
{
        (void)arg;
        if (span->shape->kind != PLD_SHAPE_PRECISE)
                return;
        for (size_t i = 0; i < span->count; i++) {
                uintptr_t object = pld_span_object(span, i);
                if (pld_span_is_marked(span, i) && pld_span_has_object(span, i))
                        pld_object_each(span, object, compare, (void *)object);
        }
}

void pld_rules_check_locked(void)
{
        pld_collected_each(check_span, NULL);
}
