#include "arena/page_map.h"

#include "arena/meta.h"
#include "arena/span.h"
#include "base/bits.h"
#include "numa/meta_map.h"

#include <errno.h>

enum {
        BASE_PAGE_BYTES = 4096,
        OPEN_BYTES = 64 << 10, /* of the array, at a time */
        OPEN_PAGES = OPEN_BYTES / sizeof(uintptr_t)
};

_Atomic uintptr_t *pld_page_map;
_Atomic uintptr_t pld_page_map_end[PLD_MAX_SLICES];

static _Atomic uint64_t *is_open; /* const after start: a bit for OPEN_PAGES entries */

int pld_page_map_start(void)
{
        size_t npages = pld_range.nbytes >> PLD_PAGE_SHIFT;
        if (!is_open)
                is_open = pld_meta_alloc(pld_words_for(pld_div_up(npages, OPEN_PAGES)) *
                                         sizeof *is_open);
        if (!pld_page_map)
                pld_page_map = pld_meta_map_sparse(npages * sizeof *pld_page_map);
        return pld_page_map && is_open ? 0 : -ENOMEM;
}

/* Two threads may open the same piece: nothing happens the second time. */
int pld_page_map_open(uintptr_t at, size_t nbytes)
{
        size_t first = (at - pld_range.base) >> PLD_PAGE_SHIFT, n = nbytes >> PLD_PAGE_SHIFT;
        size_t all = pld_range.nbytes >> PLD_PAGE_SHIFT;
        for (size_t i = first / OPEN_PAGES; i <= (first + n - 1) / OPEN_PAGES; i++) {
                uint64_t bit = UINT64_C(1) << (i % 64);
                if (pld_load_relaxed(&is_open[i / 64]) & bit)
                        continue;
                size_t from = i * OPEN_PAGES, left = all - from;
                if (pld_meta_open((void *)&pld_page_map[from],
                                  (left < OPEN_PAGES ? left : OPEN_PAGES) * sizeof *pld_page_map))
                        return -ENOMEM;
                pld_or_relaxed(&is_open[i / 64], bit);
        }
        return 0;
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
        if (n == 0 || pld_page_map_open(at, nbytes) != 0)
                return;
        for (size_t i = 0; i < n; i += step)
                pld_or_relaxed(&pld_page_map[first + i], 0);
        raise_end(pld_range_slice_of(at), at + nbytes);
}

/* Of a large object's span the number does not matter. */
static size_t page_of(bool collected, size_t i)
{
        return collected ? i % PLD_PLACE_PAGES : 0;
}

void pld_page_map_set(uintptr_t at, size_t npages, struct pld_span *span, enum pld_kind kind)
{
        size_t page = (at - pld_range.base) >> PLD_PAGE_SHIFT;
        bool collected = span && kind == PLD_KIND_COLLECTED;
        uintptr_t number = !span ? 0 : collected ? span->form * PLD_PLACE_PAGES : span->class;
        uintptr_t bits = span ? (uintptr_t)span | kind | number << PLD_PLACE_CLASS_SHIFT : 0;
        raise_end(pld_range_slice_of(at), at + (npages << PLD_PAGE_SHIFT));
        for (size_t i = 0; i < npages; i++)
                pld_store_release(&pld_page_map[page + i],
                                  bits | (uintptr_t)page_of(collected, i) << PLD_PLACE_CLASS_SHIFT);
}
