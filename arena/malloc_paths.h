/* malloc_paths.h: the two fast paths, for whoever has a name of its own for malloc() and
 * free(): a jump to another name is a tenth of what they take.
 *
 * pld_malloc() finds the class in a table, its bin in the thread's cache, and takes the
 * last block; pld_free() finds the span in the page map, sees that the address is a
 * block's and the span the thread's own, and puts it into the bin. Neither has a test for
 * "not started" or "no cache": a thread without a cache sees one whose bins are empty and
 * full at once, and owns no span. */
#ifndef PLD_ARENA_MALLOC_PATHS_H
#define PLD_ARENA_MALLOC_PATHS_H

#include "arena/cache.h"

#include <string.h>

enum { PLD_FREED_POISON = 0xdf };

/* Each the rest of the way, where the fast path is left; not inlined. */
void *pld_malloc_beyond(size_t nbytes) PLD_HIDDEN; /* from pld_cache_rooted_end on */
void *pld_malloc_slow(size_t nbytes) PLD_HIDDEN;   /* the bin is empty */
void pld_free_slow(void *p) PLD_HIDDEN;            /* not a small block */
void pld_free_remote(struct pld_span *span, struct pld_block *block) PLD_HIDDEN; /* another's */
void pld_free_full(struct pld_span *span, struct pld_block *block) PLD_HIDDEN; /* so is the bin */
void pld_die_free_already(const struct pld_block *block) PLD_HIDDEN
    __attribute__((noreturn, cold));

static inline void pld_check_not_free(const struct pld_block *block)
{
        if (pld_unlikely(block->key == pld_manual_key_of(block)))
                pld_die_free_already(block);
}

static inline void *pld_malloc(size_t nbytes)
{
        if (pld_unlikely(nbytes >= pld_load_relaxed(&pld_cache_rooted_end)))
                return pld_malloc_beyond(nbytes);
        struct pld_bin *bin = pld_cache_mine->bins.bin + pld_class_of_least(nbytes);
        __asm__("" : "+r"(bin)); /* one address, not one for each field */
        struct pld_block *block = pld_bin_pop(bin);
        return pld_likely(block) ? block : pld_malloc_slow(nbytes);
}

static inline void pld_free(void *p)
{
        struct pld_place place = pld_place_of((uintptr_t)p);
        struct pld_span *span = pld_place_span(place);
        if (pld_unlikely(pld_place_kind(place) != PLD_KIND_MANUAL ||
                         !pld_manual_is_block(span, (uintptr_t)p))) {
                pld_free_slow(p);
                return;
        }
        struct pld_cache *cache = pld_cache_mine;
        struct pld_block *block = p;
        pld_check_not_free(block); /* malloc.c, A3 */
        if (PLD_DEBUG)
                memset(block + 1, PLD_FREED_POISON, span->nbytes - sizeof *block);
        block->key = pld_manual_key_of(block);
        if (pld_unlikely(pld_load_relaxed(&span->manual.owner) != cache)) {
                pld_free_remote(span, block);
                return;
        }
        struct pld_bin *bin = &cache->bins.bin[pld_place_class(place)];
        struct pld_block **top = bin->top;
        if (pld_unlikely(top == bin->limit)) {
                pld_free_full(span, block);
                return;
        }
        *top = block;
        bin->top = top + 1;
}

#endif
