/* central.c: where threads draw spans of collected objects from.
 *
 * A span is on exactly one list: `partial` or `full` once swept, or `used_partial` or
 * `used_full`, if it has been somebody's since; `owned` while
 * it is some thread's current span, `unswept` after a flip. The flip itself
 * touches no central: a central whose epoch is old moves its lists to
 * `unswept` when it is next looked at.
 *
 * C1  lists are of `epoch`; refresh_locked() comes first under the lock.
 * C2  an owned span may be on `unswept`, and may be swept by anyone; only its
 *     owner allocates from it, and sweeps it first.
 * C3  a span in a sweeper's hands is on no list, with `sweeping` set; the one
 *     that took it off puts it on the right list again.
 * C5  after a young cycle what nobody has used since the flip before, and held nothing that was
 *     born in the cycle before, is spared: its bitmaps agree, and its epoch stays behind
 *     until somebody takes it, and sweeps it first, or a full cycle comes.
 * C4  a span without objects goes back to the page heap from sweepers only,
 *     that is, never during marking: a marker may hold its descriptor. */
#include "arena/central.h"

#include "arena/meta.h"
#include "arena/stall.h"
#include "base/check.h"

enum { MAX_CENTRALS = 1 << 16, SWEEP_TRIES = 64, SWEEP_NS = 100000 };

struct pld_central pld_central_none;
static struct pld_central *_Atomic *all; /* set once, under the lock */
static _Atomic unsigned nall;
static struct pld_lock all_lock = PLD_LOCK_INIT(PLD_RANK_CENTRAL);

/* ---- One central ------------------------------------------------------------- */

static void refresh_locked(struct pld_central *central) /* C1 */
{
        uint32_t epoch = pld_load_relaxed(&pld_sweep_epoch);
        if (central->epoch == epoch)
                return;
        if (!pld_load_relaxed(&pld_sweep_spares_old)) { /* C5 */
                pld_list_splice(&central->unswept, &central->partial);
                pld_list_splice(&central->unswept, &central->full);
        }
        pld_list_splice(&central->unswept, &central->used_partial);
        pld_list_splice(&central->unswept, &central->used_full);
        pld_list_splice(&central->unswept, &central->owned);
        central->epoch = epoch;
}

static size_t count_allocated(struct pld_span *span)
{
        size_t n = 0;
        for (size_t i = 0; i < span->nwords; i++)
                n += pld_popcount(pld_load_relaxed(&pld_span_allocated(span)[i]));
        return n;
}

static struct pld_span *pop_locked(struct pld_list *list)
{
        struct pld_list *item = pld_list_pop(list);
        return item ? pld_container_of(item, struct pld_span, link) : NULL;
}

static void list_by_use_locked(struct pld_central *central, struct pld_span *span, size_t used)
{
        bool spared = !span->collected.used; /* C5 */
        if (used < span->count)
                pld_list_push(spared ? &central->partial : &central->used_partial, &span->link);
        else
                pld_list_push(spared ? &central->full : &central->used_full, &span->link);
}

static struct pld_span *own_locked(struct pld_central *central, struct pld_span *span)
{
        span->collected.owned = span->collected.used = true;
        pld_list_push(&central->owned, &span->link);
        return span;
}

/* Takes one unswept span, sweeps it with the lock dropped, and returns it
 * unlisted if it is nobody's; NULL if it is listed again. */
static struct pld_span *sweep_one_locked(struct pld_central *central, struct pld_span *span)
{
        span->collected.sweeping = true; /* C3 */
        if (!span->collected.owned)
                span->collected.used = false;
        central->nsweeping++;
        pld_unlock(&central->lock);
        pld_span_sweep(span);
        pld_lock(&central->lock);
        central->nsweeping--;
        span->collected.used |= span->collected.young; /* C5 */
        span->collected.sweeping = false;
        if (!span->collected.owned)
                return span;
        pld_list_push(&central->owned, &span->link);
        return NULL;
}

/* A span with a free cell from the lists; the lock is dropped now and then. */
static struct pld_span *find_locked(struct pld_central *central)
{
        uint64_t told_ns = pld_stalled_ns;
        /* Bounded, as an allocation waits for it. */
        for (unsigned tries = 0; tries < SWEEP_TRIES && pld_stalled_ns - told_ns < SWEEP_NS;
             tries++) {
                struct pld_span *span = pop_locked(&central->used_partial);
                if (!span)
                        span = pop_locked(&central->partial);
                if (span)
                        return own_locked(central, span);
                span = pop_locked(&central->unswept);
                if (!span)
                        return NULL;
                struct pld_stall_span stall = pld_stall_begin();
                span = sweep_one_locked(central, span);
                pld_stall_end(stall, PLD_STALL_SWEEP);
                if (!span)
                        continue;
                size_t used = count_allocated(span); /* it may have been put back meanwhile */
                if (used < span->count)
                        return own_locked(central, span);
                list_by_use_locked(central, span, used);
        }
        return NULL;
}

struct pld_span *pld_central_take(struct pld_central *central)
{
        pld_lock(&central->lock);
        refresh_locked(central);
        struct pld_span *span = find_locked(central);
        pld_unlock(&central->lock);
        if (span) {
                pld_span_sweep(span); /* C5 */
                return span;
        }

        span = pld_span_new(&(struct pld_span_wish){ .kind = PLD_KIND_COLLECTED,
                                                     .class = central->class,
                                                     .shape = central->shape,
                                                     .form = central->form,
                                                     .slice = central->slice });
        if (!span)
                return NULL;
        span->collected.central = central;
        pld_store_relaxed(&span->collected.sweep_epoch, pld_load_relaxed(&pld_sweep_epoch));
        pld_lock(&central->lock);
        refresh_locked(central);
        own_locked(central, span);
        pld_unlock(&central->lock);
        pld_span_publish(span);
        return span;
}

void pld_central_put(struct pld_central *central, struct pld_span *span)
{
        PLD_ASSERT(pld_load_relaxed(&span->collected.run_end) == 0);
        size_t used = count_allocated(span);
        pld_lock(&central->lock);
        refresh_locked(central);
        span->collected.owned = false;
        if (!span->collected.sweeping) { /* C3: else its sweeper lists it */
                pld_list_remove(&span->link);
                if (pld_span_is_swept(span))
                        list_by_use_locked(central, span, used);
                else
                        pld_list_push(&central->unswept, &span->link);
        }
        pld_unlock(&central->lock);
}

struct pld_span *pld_central_new_large(struct pld_central *central, size_t nbytes, bool strict)
{
        struct pld_span *span = pld_span_new(&(struct pld_span_wish){ .kind = PLD_KIND_COLLECTED,
                                                                      .class = PLD_CLASS_LARGE,
                                                                      .nbytes = nbytes,
                                                                      .shape = central->shape,
                                                                      .form = central->form,
                                                                      .slice = central->slice,
                                                                      .strict = strict });
        if (span)
                span->collected.central = central;
        return span;
}

void pld_central_add_large(struct pld_central *central, struct pld_span *span, bool black)
{
        pld_store_relaxed(&pld_span_allocated(span)[0], 1);
        pld_marks_set(pld_span_marks(span), black);
        span->collected.born = black && pld_load_relaxed(&pld_sweep_births_are_young);
        pld_store_relaxed(&pld_span_born(span)[0], span->collected.born);
        pld_store_relaxed(&span->collected.sweep_epoch, pld_load_relaxed(&pld_sweep_epoch));
        pld_lock(&central->lock);
        refresh_locked(central);
        pld_list_push(&central->used_full, &span->link);
        pld_unlock(&central->lock);
        pld_span_publish(span);
}

/* ---- Sweeping ------------------------------------------------------------------ */

bool pld_central_sweep_some(struct pld_central *central, unsigned n)
{
        bool more = true;
        pld_lock(&central->lock);
        refresh_locked(central);
        while (n-- > 0 && more) {
                struct pld_span *span = pop_locked(&central->unswept);
                if (!span) {
                        more = false;
                        break;
                }
                span = sweep_one_locked(central, span);
                if (!span)
                        continue;
                size_t used = count_allocated(span);
                if (used > 0) {
                        list_by_use_locked(central, span, used);
                        continue;
                }
                central->nsweeping++; /* C4: pld_sweep_finish() waits for the release, too */
                pld_unlock(&central->lock);
                pld_span_release(span);
                pld_lock(&central->lock);
                central->nsweeping--;
        }
        pld_unlock(&central->lock);
        return more;
}

bool pld_sweep_some(unsigned n)
{
        static _Atomic unsigned hand; /* where to look first: spreads the sweepers */
        unsigned count = pld_load_acquire(&nall);
        for (unsigned i = 0; i < count; i++) {
                unsigned at = pld_load_relaxed(&hand);
                struct pld_central *central = pld_load_acquire(&all[at % count]);
                if (pld_central_sweep_some(central, n))
                        return true;
                pld_cas_relaxed(&hand, &at, at + 1);
        }
        return false;
}

void pld_sweep_finish(void)
{
        unsigned count = pld_load_acquire(&nall);
        for (unsigned i = 0; i < count; i++) {
                struct pld_central *central = pld_load_acquire(&all[i]);
                while (pld_central_sweep_some(central, 64))
                        ;
        }
        for (unsigned i = 0; i < count; i++) {
                struct pld_central *central = pld_load_acquire(&all[i]);
                for (;;) {
                        pld_lock(&central->lock);
                        bool done = central->nsweeping == 0;
                        pld_unlock(&central->lock);
                        if (done)
                                break;
                        pld_pause();
                }
        }
}

/* ---- All of them ------------------------------------------------------------------ */

static bool enlist(struct pld_central *central)
{
        bool listed = false;
        pld_lock(&all_lock);
        if (!all)
                all = pld_meta_alloc(MAX_CENTRALS * sizeof *all);
        unsigned n = pld_load_relaxed(&nall);
        if (all && n < MAX_CENTRALS) {
                central->slot = n;
                pld_store_release(&all[n], central);
                pld_store_release(&nall, n + 1);
                listed = true;
        }
        pld_unlock(&all_lock);
        return listed;
}

/* Whole cells. */
static size_t stretch_of(size_t nbytes)
{
        bool some = nbytes && nbytes < PLD_STRETCH_BYTES;
        return some ? PLD_STRETCH_BYTES - PLD_STRETCH_BYTES % nbytes : nbytes;
}

struct pld_central *pld_central_new(unsigned slice, unsigned class, const struct pld_shape *shape)
{
        struct pld_central *central = pld_meta_alloc(sizeof *central);
        if (!central)
                return NULL;
        pld_lock_init(&central->lock, PLD_RANK_CENTRAL);
        central->slice = slice;
        central->class = class;
        central->nbytes = class < PLD_NCLASSES ? pld_classes[class].nbytes : 0;
        central->stretch = stretch_of(central->nbytes);
        central->shape = shape;
        central->form = pld_form_for(class, PLD_FORM_LEAF);
        central->epoch = pld_load_relaxed(&pld_sweep_epoch);
        pld_list_init(&central->partial);
        pld_list_init(&central->used_partial);
        pld_list_init(&central->used_full);
        pld_list_init(&central->full);
        pld_list_init(&central->owned);
        pld_list_init(&central->unswept);
        return enlist(central) ? central : NULL;
}

static void visit_list(struct pld_list *list, pld_span_visit visit, void *arg)
{
        pld_list_each(item, list)
                visit(pld_container_of(item, struct pld_span, link), arg);
}

void pld_collected_each(pld_span_visit visit, void *arg)
{
        unsigned count = pld_load_acquire(&nall);
        for (unsigned i = 0; i < count; i++) {
                struct pld_central *central = pld_load_acquire(&all[i]);
                pld_lock(&central->lock);
                visit_list(&central->partial, visit, arg);
                visit_list(&central->full, visit, arg);
                visit_list(&central->used_partial, visit, arg);
                visit_list(&central->used_full, visit, arg);
                visit_list(&central->owned, visit, arg);
                visit_list(&central->unswept, visit, arg);
                pld_unlock(&central->lock);
        }
}

static void clear_marks(struct pld_span *span, void *unused)
{
        (void)unused;
        for (size_t i = 0; i < span->nwords; i++)
                pld_marks_set(&pld_span_marks(span)[i], 0);
}

static bool owned_are_swept_locked(struct pld_central *central)
{
        pld_list_each(item, &central->owned)
                if (!pld_span_is_swept(pld_container_of(item, struct pld_span, link)))
                        return false;
        return true;
}

/* Nobody adopts cleared marks later: its epoch is the present one from here on (C5). */
static void sweep_and_clear(struct pld_span *span, void *unused)
{
        pld_span_sweep(span);
        clear_marks(span, unused);
}

/* Spans that nobody has used for a while, of which there are many, are taken aside:
 * sweeping takes locks, and threads need not wait. */
static void clear_central(struct pld_central *central)
{
        struct pld_list full = PLD_LIST_INIT(full), partial = PLD_LIST_INIT(partial);
        pld_lock(&central->lock);
        refresh_locked(central);
        while (!owned_are_swept_locked(central)) { /* their new owners are about to */
                pld_unlock(&central->lock);
                pld_pause();
                pld_lock(&central->lock);
        }
        visit_list(&central->used_partial, clear_marks, NULL);
        visit_list(&central->used_full, clear_marks, NULL);
        visit_list(&central->owned, clear_marks, NULL);
        pld_list_splice(&full, &central->full);
        pld_list_splice(&partial, &central->partial);
        pld_unlock(&central->lock);
        visit_list(&full, sweep_and_clear, NULL);
        visit_list(&partial, sweep_and_clear, NULL);
        pld_lock(&central->lock);
        pld_list_splice(&central->full, &full);
        pld_list_splice(&central->partial, &partial);
        pld_unlock(&central->lock);
}

void pld_marks_clear(void)
{
        unsigned count = pld_load_acquire(&nall);
        for (unsigned i = 0; i < count; i++)
                clear_central(pld_load_acquire(&all[i]));
}

void pld_central_fork_prepare(void)
{
        pld_lock_seize(&all_lock);
        for (unsigned i = 0; i < pld_load_relaxed(&nall); i++)
                pld_lock_seize(&pld_load_relaxed(&all[i])->lock);
}

void pld_central_fork_done(void)
{
        for (unsigned i = pld_load_relaxed(&nall); i-- > 0;)
                pld_lock_cede(&pld_load_relaxed(&all[i])->lock);
        pld_lock_cede(&all_lock);
}
