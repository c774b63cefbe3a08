/* page_map.h: from any address to the span that holds it, in one load.
 *
 * A flat, lazily touched array with one entry a page of the reserved range. An
 * entry is the span's address with the span's kind in the low bits and, in the high
 * ones (addresses end below), its class, so that these are known without touching the
 * span: free() goes from entry to bin. Of collected spans the high bits have the form
 * and the page's number in the span instead (form.h). Entries are written under the
 * page heap's hand-over (a page has one owner) and read by anyone at any time:
 * span descriptors keep their type for ever (meta.h), so a reader that races
 * with a release reads a stale span, never rubbish.
 *
 * Only entries of what is backed are open for writing: so a program's mlockall() does not
 * bring the whole array into memory.
 *
 * Most entries are never touched. To read one takes a page fault, which a word that
 * only looks like an address must not cost: so the end of those that were ever
 * written to is known for each slice. */
#ifndef PLD_ARENA_PAGE_MAP_H
#define PLD_ARENA_PAGE_MAP_H

#include "arena/form.h"
#include "arena/page_heap.h"
#include "base/atomic.h"
#include "numa/range.h"

struct pld_span;

enum pld_kind {
        PLD_KIND_NONE,
        PLD_KIND_MANUAL, /* malloc: small and large */
        PLD_KIND_REGION,
        PLD_KIND_POOL,
        PLD_KIND_COLLECTED, /* the collector's; the only one with that bit */
        PLD_KINDS
};

enum {
        PLD_KIND_MASK = 7,
        PLD_PLACE_CLASS_SHIFT = 48,
        PLD_PLACE_PAGES_SHIFT = 5, /* of collected spans: the page, and above it the form */
        PLD_PLACE_PAGES = 1 << PLD_PLACE_PAGES_SHIFT,
        PLD_PLACE_FORM_SHIFT = PLD_PLACE_CLASS_SHIFT + PLD_PLACE_PAGES_SHIFT
};

struct pld_place { /* what an entry says */
        uintptr_t bits;
};

extern _Atomic uintptr_t *pld_page_map PLD_HIDDEN; /* const after start */
/* By slice, the address up to which entries were written to; only ever rises, and
 * before the entries say anything. */
extern _Atomic uintptr_t pld_page_map_end[PLD_MAX_SLICES] PLD_HIDDEN;

int pld_page_map_start(void); /* after the range is reserved */

static inline enum pld_kind pld_place_kind(struct pld_place place)
{
        return (enum pld_kind)(place.bits & PLD_KIND_MASK);
}

static inline struct pld_span *pld_place_span(struct pld_place place)
{
        const uintptr_t mask = ((uintptr_t)1 << PLD_PLACE_CLASS_SHIFT) - 1 - PLD_KIND_MASK;
        return (struct pld_span *)(place.bits & mask);
}

static inline unsigned pld_place_class(struct pld_place place)
{
        return (unsigned)(place.bits >> PLD_PLACE_CLASS_SHIFT);
}

/* Of collected spans. The form's number, and how far into the span an address is (of a
 * large one: any number). */
static inline unsigned pld_place_form(struct pld_place place)
{
        return (unsigned)(place.bits >> PLD_PLACE_FORM_SHIFT);
}

static inline size_t pld_place_offset(struct pld_place place, uintptr_t at)
{
        const uintptr_t mask = (uintptr_t)(PLD_PLACE_PAGES - 1) << PLD_PAGE_SHIFT;
        return (place.bits >> (PLD_PLACE_CLASS_SHIFT - PLD_PAGE_SHIFT) & mask) + at % PLD_PAGE_BYTES;
}

/* Of an address that was handed out; of any other word: no entry, but perhaps a page
 * fault. Acquire: pairs with pld_page_map_set, so that the span's fields are there
 * for one who did not get the address from its owner. */
static inline struct pld_place pld_place_of(uintptr_t at)
{
        if (!pld_range_has(at))
                return (struct pld_place){ 0 };
        size_t page = (at - pld_range.base) >> PLD_PAGE_SHIFT;
        return (struct pld_place){ pld_load_acquire(&pld_page_map[page]) };
}

/* Of a word that may be anything. Relaxed: whoever was given an object was given the
 * end, raised before it, in the same way. */
static inline struct pld_place pld_place_of_word(uintptr_t word)
{
        if (!pld_range_has(word) ||
            word >= pld_load_relaxed(&pld_page_map_end[pld_range_slice_of(word)]))
                return (struct pld_place){ 0 };
        return pld_place_of(word);
}

/* The entries of [at, at + nbytes) can be written from now on; before, they can be read,
 * and are 0. -ENOMEM when the kernel refuses. */
int pld_page_map_open(uintptr_t at, size_t nbytes);
/* Writes to the entries of [at, at + nbytes), so that no later write faults. */
void pld_page_map_touch(uintptr_t at, size_t nbytes);
void pld_page_map_set(uintptr_t at, size_t npages, struct pld_span *span, enum pld_kind kind);

#endif
