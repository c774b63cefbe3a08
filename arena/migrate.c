#include "arena/arena.h"
#include "arena/span.h"
#include "numa/range.h"

#include <errno.h>
#include <polder/arena.h>

/* Blocks with a span of their own, but not what is handed out in parts as memory of its
 * slice's node. */
static bool is_one_block(uintptr_t from, size_t nbytes)
{
        struct pld_place place = pld_place_of(from);
        struct pld_span *span = pld_place_span(place);
        if (pld_place_kind(place) == PLD_KIND_NONE || pld_place_kind(place) == PLD_KIND_POOL ||
            span->class != PLD_CLASS_LARGE)
                return false;
        uintptr_t end = span->start + (span->npages << PLD_PAGE_SHIFT);
        return nbytes > 0 && nbytes <= end - from;
}

int polder_migrate(void *p, size_t nbytes, int node)
{
        if (!pld_arena_is_started() || !is_one_block((uintptr_t)p, nbytes))
                return -EINVAL;
        int index = pld_machine_index_of(node);
        if (index < 0)
                return -EINVAL;
        return pld_page_heap_migrate((uintptr_t)p, (uintptr_t)p + nbytes, (unsigned)index);
}
