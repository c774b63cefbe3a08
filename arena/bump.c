/* bump.c: see bump.h.
 *
 * B1  the cells of a run are zero before their allocated bits are set (release).
 * B2  run_end is 0 while run_next moves to another run, so that whoever reads
 *     run_end, run_next, and the same run_end again has both ends of one run: a
 *     cell that was born long ago is never taken for one that is not yet born.
 *     (Were run_end the same by chance, for a later run that ends there, its
 *     cells were free, and so no object that the reader may ask about.)
 * B3  at a flip, when no one else runs, what is left of a run is freed: neither
 *     allocated nor marked bits stay behind. At any other time it becomes
 *     objects instead, which the next sweep frees: a marker that is looking at
 *     a cell might otherwise mark it after it was freed. */
#include "arena/bump.h"

#include "arena/stall.h"
#include "base/check.h"

#include <string.h>

/* Cells are zeroed this many bytes ahead of their use, so that they are still
 * in the first-level cache then. */
enum { RUN_BYTES = 2048 };

static void mark_cells(struct pld_span *span, size_t from, size_t to)
{
        while (from < to) {
                size_t end = pld_round_down(from, 64) + 64;
                if (end > to)
                        end = to;
                uint64_t mask = pld_mask((unsigned)(from % 64), (unsigned)(from % 64 + (end - from)));
                pld_or_relaxed(&pld_span_marked(span)[from / 64], mask);
                from = end;
        }
}

static void reserve_cells(struct pld_span *span, size_t from, size_t to)
{
        while (from < to) {
                size_t end = pld_round_down(from, 64) + 64;
                if (end > to)
                        end = to;
                _Atomic uint64_t *word = &pld_span_allocated(span)[from / 64];
                uint64_t mask = pld_mask((unsigned)(from % 64), (unsigned)(from % 64 + (end - from)));
                PLD_ASSERT(!(pld_load_relaxed(word) & mask));
                pld_store_release(word, pld_load_relaxed(word) | mask); /* B1 */
                from = end;
        }
}

static void free_cells(struct pld_span *span, size_t from, size_t to)
{
        while (from < to) {
                size_t end = pld_round_down(from, 64) + 64;
                if (end > to)
                        end = to;
                uint64_t mask = pld_mask((unsigned)(from % 64), (unsigned)(from % 64 + (end - from)));
                _Atomic uint64_t *word = &pld_span_allocated(span)[from / 64];
                pld_store_relaxed(word, pld_load_relaxed(word) & ~mask);
                pld_and_relaxed(&pld_span_marked(span)[from / 64], ~mask);
                from = end;
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

/* What is left of the run turns into objects, all zero, that nobody knows of. */
static void end_run(struct pld_span *span)
{
        pld_store_release(&span->collected.run_end, 0);
        pld_store_release(&span->collected.run_next, 0);
}

/* Bits, read as plain words by their only writer. */
static size_t find_bit(struct pld_span *span, size_t from, bool value)
{
        return pld_bits_find((const uint64_t *)pld_span_allocated(span), from, span->count, value);
}

static bool open_run(struct pld_slot *slot, bool black, size_t *reserved)
{
        struct pld_span *span = slot->span;
        size_t from = find_bit(span, slot->next_bit, false);
        if (from == span->count)
                return false;
        size_t most = RUN_BYTES / span->nbytes;
        size_t to = find_bit(span, from, true);
        if (to - from > most)
                to = from + (most ? most : 1);
        slot->next_bit = to;

        uintptr_t start = pld_span_object(span, from), end = pld_span_object(span, to);
        if (pld_load_relaxed(&span->collected.dirty))
                memset((void *)start, 0, end - start);
        pld_store_release(&span->collected.run_end, 0); /* B2 */
        pld_store_release(&span->collected.run_next, start);
        pld_store_release(&span->collected.run_end, end);
        if (black)
                mark_cells(span, from, to);
        reserve_cells(span, from, to);
        *reserved = end - start;
        return true;
}

static void give_up(struct pld_bump *bump, struct pld_slot *slot)
{
        if (!slot->central)
                return;
        end_run(slot->span); /* B3 */
        pld_central_put(slot->central, slot->span);
        slot->central = NULL;
        slot->span = NULL;
        pld_bit_clear(bump->used, (size_t)(slot - bump->slot));
}

static bool take_span(struct pld_bump *bump, struct pld_slot *slot, struct pld_central *central)
{
        struct pld_stall_span stall = pld_stall_begin();
        give_up(bump, slot);
        struct pld_span *span = pld_central_take(central);
        pld_stall_end(stall, PLD_STALL_REFILL);
        if (!span)
                return false;
        *slot = (struct pld_slot){ .central = central, .span = span };
        pld_bit_set(bump->used, (size_t)(slot - bump->slot));
        return true;
}

void *pld_bump_refill(struct pld_bump *bump, struct pld_central *central, bool black,
                      size_t *reserved)
{
        struct pld_slot *slot = pld_bump_slot(bump, central);
        for (;;) {
                if (slot->central == central) {
                        pld_span_sweep(slot->span); /* C2 */
                        if (open_run(slot, black, reserved))
                                return pld_bump_try(bump, central);
                }
                if (!take_span(bump, slot, central))
                        return NULL;
        }
}

void *pld_bump_direct(struct pld_central *central, bool black)
{
        struct pld_span *span = pld_central_take(central);
        if (!span)
                return NULL;
        size_t i = find_bit(span, 0, false);
        PLD_ASSERT(i < span->count);
        void *object = (void *)pld_span_object(span, i);
        if (pld_load_relaxed(&span->collected.dirty))
                memset(object, 0, span->nbytes);
        if (black)
                mark_cells(span, i, i + 1);
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
                        mark_cells(bump->slot[i].span, from, to);
        }
}

void pld_bump_close(struct pld_bump *bump)
{
        for (size_t i = pld_bits_find(bump->used, 0, PLD_BUMP_SLOTS, true); i < PLD_BUMP_SLOTS;
             i = pld_bits_find(bump->used, i + 1, PLD_BUMP_SLOTS, true)) {
                struct pld_span *span = bump->slot[i].span;
                size_t from, to;
                if (has_run(span, &from, &to))
                        free_cells(span, from, to); /* B3 */
                end_run(span);
                bump->slot[i].next_bit = 0;
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
