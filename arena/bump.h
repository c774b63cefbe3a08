/* bump.h: bump allocation through runs of free cells.
 *
 * A thread holds a current span per central, in a slot of its cache. A refill
 * finds the next run of free cells in it, zeroes it, and reserves it by setting
 * its allocated bits at once; then an object costs an add and a compare (after
 * Whippet's Nofl space). Slots are direct-mapped by the central's number: a
 * layout that a thread seldom uses loses its slot to another, so that the
 * half-empty spans of a thread stay few.
 *
 * Not thread-safe: a cache belongs to one thread, or to whoever stopped it. */
#ifndef PLD_ARENA_BUMP_H
#define PLD_ARENA_BUMP_H

#include "arena/central.h"

enum { PLD_BUMP_SLOTS = 256 };

struct pld_slot {
        struct pld_central *central; /* NULL: empty */
        struct pld_span *span;       /* never NULL while central is set */
        size_t next_bit;             /* where the next run is looked for */
};

struct pld_bump {
        struct pld_slot slot[PLD_BUMP_SLOTS];
        uint64_t used[PLD_BUMP_SLOTS / 64]; /* slots with a central */
};

static inline struct pld_slot *pld_bump_slot(struct pld_bump *bump, const struct pld_central *central)
{
        return &bump->slot[central->slot % PLD_BUMP_SLOTS];
}

/* The next object of the run, zeroed; NULL: a refill is due. */
static inline void *pld_bump_try(struct pld_bump *bump, const struct pld_central *central)
{
        struct pld_slot *slot = pld_bump_slot(bump, central);
        if (pld_unlikely(slot->central != central))
                return NULL;
        struct pld_span_collected *at = &slot->span->collected;
        uintptr_t object = pld_load_relaxed(&at->run_next);
        uintptr_t next = object + central->nbytes;
        if (pld_unlikely(next > pld_load_relaxed(&at->run_end)))
                return NULL;
        pld_store_relaxed(&at->run_next, next);
        return (void *)object;
}

/* Opens the next run and allocates from it. black: its objects are born marked.
 * *reserved: bytes of the run. NULL: no memory. */
void *pld_bump_refill(struct pld_bump *bump, struct pld_central *central, bool black,
                      size_t *reserved);
/* One object and no current span kept: for a thread without a cache. */
void *pld_bump_direct(struct pld_central *central, bool black);

/* Marks what is left of every run, so that its objects are born black. */
void pld_bump_blacken(struct pld_bump *bump);
/* At a flip: frees what is left of every run; the spans stay the thread's. */
void pld_bump_close(struct pld_bump *bump);
/* Gives back every span. */
void pld_bump_empty(struct pld_bump *bump);
/* Is a word inside what is left of some run of this cache? For assertions. */
bool pld_bump_reserves(const struct pld_bump *bump, uintptr_t at);

#endif
