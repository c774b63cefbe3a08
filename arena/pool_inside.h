/* pool_inside.h: what the pieces of pools share, and nobody else includes.
 *
 * pool.c has the calls, and the rest of the invariants; magazine.c the common part. */
#ifndef PLD_ARENA_POOL_INSIDE_H
#define PLD_ARENA_POOL_INSIDE_H

#include "arena/pool.h"
#include "arena/span.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/list.h"

struct pld_magazine {
        _Atomic uint32_t next; /* on a stack: the number + 1 of the one below, or 0 */
        _Atomic uint32_t n;    /* objects; whoever took it off its stack writes it */
        void *object[];
};

struct pld_stack {
        _Alignas(PLD_CACHE_LINE) _Atomic uint64_t head; /* P5 */
};

/* All but the stacks is const from birth to destruction. */
struct polder_pool {
        uintptr_t start;  /* of the objects */
        uint64_t inverse; /* of the stride's odd part */
        uint64_t serial;  /* P6 */
        uint32_t shift;   /* the stride's factors of 2 */
        uint32_t count;
        uint32_t batch;
        uint32_t nhands, nmagazines;
        uint32_t hand_bytes, magazine_bytes;
        char *hands, *magazines;
        size_t stride;
        struct pld_span *span;
        struct pld_list link; /* lock */
        struct pld_stack full, partial, empty;
};

static inline struct pld_magazine *pld_magazine_at(const struct polder_pool *pool, uint32_t i)
{
        return (struct pld_magazine *)(pool->magazines + (size_t)i * pool->magazine_bytes);
}

/* With n objects in it, it goes on the stack where those are (P3). */
void pld_magazine_stow(struct polder_pool *pool, struct pld_magazine *magazine, uint32_t n);
/* One that has objects, off its stack; NULL. */
struct pld_magazine *pld_magazine_find(struct polder_pool *pool);
void pld_magazines_put(struct polder_pool *pool, void *const objects[], size_t n);
/* All or nothing. */
bool pld_magazines_get(struct polder_pool *pool, void *objects[], size_t n);

#endif
