#include "arena/sweep.h"

#include "base/check.h"

#include <string.h>

enum { POISON_BYTES = 4096 };

_Atomic uint32_t pld_sweep_epoch = 2;
_Atomic uint64_t pld_swept_bytes;
_Atomic bool pld_sweep_keeps_marks;
_Atomic bool pld_sweep_spares_old;
_Atomic bool pld_sweep_births_are_young;
static pld_settle settle_records;

void pld_sweep_start(pld_settle settle)
{
        settle_records = settle;
}

/* Debug builds make sure that nobody goes on using what has died. */
static void poison(struct pld_span *span, size_t first, uint64_t dead)
{
        for (; dead; dead &= dead - 1)
                memset((void *)pld_span_object(span, first + pld_lowest_bit(dead)), 0xdb,
                       span->nbytes < POISON_BYTES ? span->nbytes : POISON_BYTES);
}

/* The marks of what was born go first (pld_span_is_old). */
static void make_young(struct pld_span *span)
{
        struct pld_marks *marks = pld_span_marks(span);
        _Atomic uint64_t *born = pld_span_born(span);
        for (size_t i = 0; i < span->nwords; i++) {
                pld_marks_set(&marks[i], pld_marks_read(&marks[i]) & ~pld_load_relaxed(&born[i]));
                pld_store_release(&born[i], 0);
        }
}

/* Returns the number of objects that died. */
static size_t adopt_marks(struct pld_span *span)
{
        struct pld_marks *marks = pld_span_marks(span);
        _Atomic uint64_t *allocated = pld_span_allocated(span);
        bool keeps = pld_load_relaxed(&pld_sweep_keeps_marks);
        size_t ndead = 0;
        for (size_t i = 0; i < span->nwords; i++) {
                uint64_t live = pld_marks_read(&marks[i]);
                uint64_t were = pld_load_relaxed(&allocated[i]);
                PLD_ASSERT(!(live & ~were));
                ndead += pld_popcount(were & ~live);
                if (PLD_DEBUG)
                        poison(span, i * 64, were & ~live);
                pld_store_relaxed(&allocated[i], live);
                pld_marks_set(&marks[i], keeps ? live : 0);
        }
        return ndead;
}

void pld_span_sweep(struct pld_span *span)
{
        _Atomic uint32_t *mine = &span->collected.sweep_epoch;
        uint32_t epoch = pld_load_relaxed(&pld_sweep_epoch);
        uint32_t was = pld_load_acquire(mine);
        if (was == epoch)
                return;
        /* Two behind, or more, if it was spared; odd: claimed. */
        if (was % 2 == 1 || !pld_cas_acquire(mine, &was, epoch - 1)) {
                while (pld_load_acquire(mine) != epoch) /* the claimer's release below */
                        pld_pause();
                return;
        }
        PLD_ASSERT(pld_load_relaxed(&span->collected.run_end) == 0);
        if (pld_load_relaxed(&span->collected.records) || pld_load_relaxed(&span->collected.tied))
                settle_records(span);
        size_t ndead = adopt_marks(span);
        span->collected.young = span->collected.born;
        if (span->collected.born)
                make_young(span);
        span->collected.born = false;
        if (ndead) {
                pld_store_relaxed(&span->collected.dirty, true);
                pld_add_relaxed(&pld_swept_bytes, ndead * span->nbytes);
        }
        pld_store_release(mine, epoch);
}

void pld_sweep_flip(void)
{
        pld_add_acq_rel(&pld_sweep_epoch, 2);
}
