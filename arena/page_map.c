#include "arena/page_map.h"

#include "numa/backing.h"

#include <errno.h>

enum { BASE_PAGE_BYTES = 4096 };

_Atomic uintptr_t *pld_page_map;
_Atomic uintptr_t pld_page_map_end[PLD_MAX_SLICES];

int pld_page_map_start(void)
{
        if (!pld_page_map)
                pld_page_map = pld_meta_map((pld_range.nbytes >> PLD_PAGE_SHIFT) * sizeof *pld_page_map);
        return pld_page_map ? 0 : -ENOMEM;
}

static void raise_end(unsigned slice, uintptr_t to)
{
        uintptr_t was = pld_load_relaxed(&pld_page_map_end[slice]);
        while (to > was && !pld_cas_relaxed(&pld_page_map_end[slice], &was, to))
                ;
}

void pld_page_map_touch(uintptr_t at, size_t nbytes)
{
        size_t first = (at - pld_range.base) >> PLD_PAGE_SHIFT, n = nbytes >> PLD_PAGE_SHIFT;
        size_t step = BASE_PAGE_BYTES / sizeof *pld_page_map;
        for (size_t i = 0; i < n; i += step)
                pld_or_relaxed(&pld_page_map[first + i], 0);
        raise_end(pld_range_slice_of(at), at + nbytes);
}

void pld_page_map_set(uintptr_t at, size_t npages, struct pld_span *span, enum pld_kind kind)
{
        size_t page = (at - pld_range.base) >> PLD_PAGE_SHIFT;
        uintptr_t bits = span ? (uintptr_t)span | kind : 0;
        raise_end(pld_range_slice_of(at), at + (npages << PLD_PAGE_SHIFT));
        for (size_t i = 0; i < npages; i++)
                pld_store_release(&pld_page_map[page + i], bits);
}
