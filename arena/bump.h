/* bump.h: bump allocation through runs of free cells.
 *
 * A thread holds a current span per central, in a slot of its cache. A refill
 * finds the next run of free cells in it, and reserves it by setting its allocated
 * bits at once; the run is zeroed in stretches, each a little before its use; then an
 * object costs an add and a compare (after Whippet's Nofl space). Slots are direct-mapped by the central's number: a
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
        uintptr_t limit;             /* the run's cells below are zero (bump.c, B1) */
        uint32_t next_bit;           /* where the next run is looked for */
        uint32_t run_bytes;          /* so long is the next run at most (B4) */
};

struct pld_bump {
        struct pld_slot slot[PLD_BUMP_SLOTS];
        uint64_t used[PLD_BUMP_SLOTS / 64]; /* slots with a central */
};

static inline struct pld_slot *pld_bump_slot(struct pld_bump *bump, const struct pld_central *central)
{
        return &bump->slot[central->slot % PLD_BUMP_SLOTS];
}

/* The next object of the run, zeroed. False: more of it has to be made ready first, or it is
 * at its end. */
static inline bool pld_bump_try(struct pld_bump *bump, const struct pld_central *central, void **out)
{
        struct pld_slot *slot = pld_bump_slot(bump, central);
        if (pld_unlikely(slot->central != central))
                return false;
        struct pld_span_collected *at = &slot->span->collected;
        uintptr_t object = pld_load_relaxed(&at->run_next);
        uintptr_t next = object + central->nbytes;
        if (pld_unlikely(next > slot->limit))
                return false;
        pld_store_release(&at->run_next, next); /* B1 */
        *out = (void *)object;
        return true;
}

/* The same, with the next stretch of the run; NULL: it is at its end. */
void *pld_bump_more(struct pld_bump *bump, const struct pld_central *central);
/* The same, from another run of the same span; NULL: that has none left. black: its objects
 * are born marked. *reserved: bytes of the run. */
void *pld_bump_next(struct pld_bump *bump, const struct pld_central *central, bool black,
                    size_t *reserved);
/* The same, if need be from another span. NULL: no memory. */
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
