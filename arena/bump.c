/* bump.c: see bump.h.
 *
 * B1  a cell is zero before it is born, that is, before run_next passes it (release). What
 *     is reserved and not yet born may hold anything, so nobody looks into it; what
 *     is left of a run is zeroed before it turns into objects (B3).
 * B2  run_end is 0 while run_next moves to another run, so that whoever reads
 *     run_end, run_next, and the same run_end again has both ends of one run: a
 *     cell that was born long ago is never taken for one that is not yet born.
 *     (Were run_end the same by chance, for a later run that ends there, its
 *     cells were free, and so no object that the reader may ask about.)
 * B3  at a flip, when no one else runs, what is left of a run is freed: no
 *     bit of theirs stays behind. At any other time it becomes
 *     objects instead, which the next sweep frees: a marker that is looking at
 *     a cell might otherwise mark it after it was freed.
 * B4  runs grow with use: a slot begins with a short one, each is twice as long as
 *     the one before, and a flip halves them. While objects are born black they are short,
 *     as threads have to come and assist. */
#include "arena/bump.h"

#include "arena/stall.h"
#include "arena/sweep.h"
#include "base/check.h"
#include "base/prefetch.h"

#include <string.h>

enum {
        RUN_BYTES_LEAST = 2048, RUN_BYTES_MOST = 16384,
        RUN_CELLS_MOST = 256 /* what a flip frees takes time while all are held */
};

/* Objects that will be born black, and young after a flip that keeps the marks if this cycle is
 * a young one. */
static void blacken_cells(struct pld_span *span, size_t from, size_t to)
{
        bool young = pld_load_relaxed(&pld_sweep_births_are_young);
        span->collected.born |= young;
        while (from < to) {
                struct pld_marks *marks = &pld_span_marks(span)[from / 64];
                _Atomic uint64_t *born = &pld_span_born(span)[from / 64];
                uint64_t mask = pld_mask_next(&from, to);
                if (young)
                        pld_store_relaxed(born, pld_load_relaxed(born) | mask);
                pld_or_relaxed(&marks->all, mask);
        }
}

static void reserve_cells(struct pld_span *span, size_t from, size_t to)
{
        while (from < to) {
                _Atomic uint64_t *word = &pld_span_allocated(span)[from / 64];
                uint64_t mask = pld_mask_next(&from, to);
                PLD_ASSERT(!(pld_load_relaxed(word) & mask));
                pld_store_release(word, pld_load_relaxed(word) | mask); /* B1 */
        }
}

static void free_cells(struct pld_span *span, size_t from, size_t to)
{
        while (from < to) {
                _Atomic uint64_t *allocated = &pld_span_allocated(span)[from / 64];
                struct pld_marks *marks = &pld_span_marks(span)[from / 64];
                _Atomic uint64_t *born = &pld_span_born(span)[from / 64];
                uint64_t mask = pld_mask_next(&from, to);
                pld_store_relaxed(allocated, pld_load_relaxed(allocated) & ~mask);
                pld_and_relaxed(&marks->all, ~mask);
                pld_store_relaxed(&marks->pen, pld_load_relaxed(&marks->pen) & ~mask);
                pld_store_relaxed(born, pld_load_relaxed(born) & ~mask);
        }
}

static bool has_run(struct pld_span *span, size_t *from, size_t *to)
{
        struct pld_span_collected *at = &span->collected;
        uintptr_t next = pld_load_relaxed(&at->run_next), end = pld_load_relaxed(&at->run_end);
        if (next >= end)
                return false;
        *from = pld_span_index(span, next);
        *to = pld_span_index(span, end - 1) + 1;
        return true;
}

/* Those of [from, to) that are not zero. */
static void zero(const struct pld_span *span, uintptr_t from, uintptr_t to)
{
        if (pld_load_relaxed(&span->collected.dirty) && from < to)
                memset((void *)from, 0, to - from);
}

static void end_run(struct pld_slot *slot)
{
        slot->limit = 0;
        pld_store_release(&slot->span->collected.run_end, 0);
        pld_store_release(&slot->span->collected.run_next, 0);
}

/* What is left of the run turns into objects, all zero, that nobody knows of (B1). */
static void give_birth(struct pld_slot *slot)
{
        struct pld_span_collected *at = &slot->span->collected;
        uintptr_t next = pld_load_relaxed(&at->run_next);
        zero(slot->span, slot->limit > next ? slot->limit : next, pld_load_relaxed(&at->run_end));
        end_run(slot);
}

/* Bits, read as plain words by their only writer. */
static size_t find_bit(struct pld_span *span, size_t from, size_t end, bool value)
{
        return pld_bits_find((const uint64_t *)pld_span_allocated(span), from, end, value);
}

/* Up to where what comes behind the run is free as far as is known. */
static uintptr_t end_of_free(const struct pld_slot *slot, uintptr_t run_end)
{
        struct pld_span *span = slot->span;
        bool goes_on = slot->next_bit < span->count &&
                       !pld_bit_get((const uint64_t *)pld_span_allocated(span), slot->next_bit);
        return goes_on ? pld_span_object(span, span->count) : run_end;
}

/* The next cells of the run, as many as fit into a stretch. What comes behind is asked for
 * already (as the JVM does), so that the stores of the next stretch need not wait. */
static void make_ready(struct pld_slot *slot)
{
        struct pld_span *span = slot->span;
        uintptr_t from = pld_load_relaxed(&span->collected.run_next);
        uintptr_t end = pld_load_relaxed(&span->collected.run_end);
        uintptr_t to = from + slot->central->stretch;
        if (to >= end) {
                to = end;
                end = end_of_free(slot, end);
        }
        zero(span, from, to);
        slot->limit = to;
        if (end > to + PLD_STRETCH_BYTES)
                end = to + PLD_STRETCH_BYTES;
#pragma GCC unroll 8
        for (uintptr_t at = to; at < end; at += PLD_CACHE_LINE)
                pld_prefetch_write((const void *)at);
}

static void *take(struct pld_bump *bump, const struct pld_central *central)
{
        void *object = NULL;
        pld_bump_try(bump, central, &object);
        return object;
}

static size_t cells_of_run(struct pld_slot *slot, bool black)
{
        size_t n = (black ? RUN_BYTES_LEAST : slot->run_bytes) / slot->span->nbytes;
        if (slot->run_bytes < RUN_BYTES_MOST)
                slot->run_bytes *= 2; /* B4 */
        return n < 1 ? 1 : n < RUN_CELLS_MOST ? n : RUN_CELLS_MOST;
}

static bool open_run(struct pld_slot *slot, bool black, size_t *reserved)
{
        struct pld_span *span = slot->span;
        PLD_ASSERT(pld_load_relaxed(&span->collected.run_next) ==
                   pld_load_relaxed(&span->collected.run_end));
        size_t from = find_bit(span, slot->next_bit, span->count, false);
        if (from == span->count)
                return false;
        size_t most = from + cells_of_run(slot, black);
        size_t to = find_bit(span, from, most < span->count ? most : span->count, true);
        slot->next_bit = (uint32_t)to;

        uintptr_t start = pld_span_object(span, from), end = pld_span_object(span, to);
        slot->limit = 0;
        pld_store_release(&span->collected.run_end, 0); /* B2 */
        pld_store_release(&span->collected.run_next, start);
        pld_store_release(&span->collected.run_end, end);
        if (black)
                blacken_cells(span, from, to);
        reserve_cells(span, from, to);
        make_ready(slot);
        *reserved = end - start;
        return true;
}

static void give_up(struct pld_bump *bump, struct pld_slot *slot)
{
        if (!slot->central)
                return;
        give_birth(slot); /* B3 */
        pld_central_put(slot->central, slot->span);
        slot->central = NULL;
        slot->span = NULL;
        pld_bit_clear(bump->used, (size_t)(slot - bump->slot));
}

static bool take_span(struct pld_bump *bump, struct pld_slot *slot, struct pld_central *central)
{
        struct pld_stall_span stall = pld_stall_begin();
        uint32_t run_bytes = slot->central == central ? slot->run_bytes : RUN_BYTES_LEAST;
        give_up(bump, slot);
        struct pld_span *span = pld_central_take(central);
        pld_stall_end(stall, PLD_STALL_REFILL);
        if (!span)
                return false;
        *slot = (struct pld_slot){ .central = central, .span = span, .run_bytes = run_bytes };
        pld_bit_set(bump->used, (size_t)(slot - bump->slot));
        return true;
}

void *pld_bump_more(struct pld_bump *bump, const struct pld_central *central)
{
        struct pld_slot *slot = pld_bump_slot(bump, central);
        if (slot->central != central || pld_load_relaxed(&slot->span->collected.run_next) >=
                                            pld_load_relaxed(&slot->span->collected.run_end))
                return NULL;
        make_ready(slot);
        return take(bump, central);
}

void *pld_bump_next(struct pld_bump *bump, const struct pld_central *central, bool black,
                    size_t *reserved)
{
        struct pld_slot *slot = pld_bump_slot(bump, central);
        if (slot->central != central)
                return NULL;
        pld_span_sweep(slot->span); /* C2 */
        return open_run(slot, black, reserved) ? take(bump, central) : NULL;
}

void *pld_bump_refill(struct pld_bump *bump, struct pld_central *central, bool black,
                      size_t *reserved)
{
        struct pld_slot *slot = pld_bump_slot(bump, central);
        void *object = pld_bump_more(bump, central);
        *reserved = 0;
        while (!object) {
                object = pld_bump_next(bump, central, black, reserved);
                if (!object && !take_span(bump, slot, central))
                        return NULL;
        }
        return object;
}

void *pld_bump_direct(struct pld_central *central, bool black)
{
        struct pld_span *span = pld_central_take(central);
        if (!span)
                return NULL;
        size_t i = find_bit(span, 0, span->count, false);
        PLD_ASSERT(i < span->count);
        void *object = (void *)pld_span_object(span, i);
        zero(span, (uintptr_t)object, (uintptr_t)object + span->nbytes);
        if (black)
                blacken_cells(span, i, i + 1);
        reserve_cells(span, i, i + 1);
        pld_central_put(central, span);
        return object;
}

void pld_bump_blacken(struct pld_bump *bump)
{
        for (size_t i = pld_bits_find(bump->used, 0, PLD_BUMP_SLOTS, true); i < PLD_BUMP_SLOTS;
             i = pld_bits_find(bump->used, i + 1, PLD_BUMP_SLOTS, true)) {
                size_t from, to;
                if (has_run(bump->slot[i].span, &from, &to))
                        blacken_cells(bump->slot[i].span, from, to);
        }
}

void pld_bump_close(struct pld_bump *bump)
{
        for (size_t i = pld_bits_find(bump->used, 0, PLD_BUMP_SLOTS, true); i < PLD_BUMP_SLOTS;
             i = pld_bits_find(bump->used, i + 1, PLD_BUMP_SLOTS, true)) {
                struct pld_slot *slot = &bump->slot[i];
                size_t from, to;
                if (has_run(slot->span, &from, &to))
                        free_cells(slot->span, from, to); /* B3 */
                end_run(slot);
                slot->next_bit = 0;
                if (slot->run_bytes > RUN_BYTES_LEAST)
                        slot->run_bytes /= 2; /* B4 */
        }
}

void pld_bump_empty(struct pld_bump *bump)
{
        for (size_t i = 0; i < PLD_BUMP_SLOTS; i++)
                give_up(bump, &bump->slot[i]);
}

bool pld_bump_reserves(const struct pld_bump *bump, uintptr_t at)
{
        for (size_t i = 0; i < PLD_BUMP_SLOTS; i++) {
                const struct pld_slot *slot = &bump->slot[i];
                if (slot->central && at >= pld_load_relaxed(&slot->span->collected.run_next) &&
                    at < pld_load_relaxed(&slot->span->collected.run_end))
                        return true;
        }
        return false;
}
