/* large.h: blocks with a span of their own. */
#ifndef PLD_ARENA_LARGE_H
#define PLD_ARENA_LARGE_H

#include "arena/span.h"

/* align: bytes, a power of two, 0: a page. NULL: no memory. */
struct pld_span *pld_large_new(size_t nbytes, size_t align, unsigned slice, bool strict);
void pld_large_free(struct pld_span *span);
/* In place, growing or shrinking; false: it does not fit there. */
bool pld_large_resize_try(struct pld_span *span, size_t nbytes);

static inline size_t pld_large_room(const struct pld_span *span)
{
        return span->npages << PLD_PAGE_SHIFT;
}

#endif
