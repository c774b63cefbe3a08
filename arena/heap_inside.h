/* heap_inside.h: what the pieces of heaps share, and nobody else includes.
 *
 * heap.c has the invariants (H1 to H4) and the calls; shard.c is where a heap's spans are,
 * stash.c what threads keep of its blocks. */
#ifndef PLD_ARENA_HEAP_INSIDE_H
#define PLD_ARENA_HEAP_INSIDE_H

#include "arena/cache.h"
#include "arena/heap.h"
#include "base/atomic.h"
#include "base/check.h"
#include "base/list.h"
#include "base/lock.h"

enum {
        PLD_SHARDS_MOST = 8,
        PLD_SEATS = 8,
        PLD_STASH_BLOCKS = 32 /* of a class: what a thread keeps in a heap */
};

struct pld_shard {
        struct pld_lock lock;
        struct polder_heap *heap; /* const while it has one */
        struct pld_list large;    /* lock: spans */
        struct pld_list link;     /* heaps' lock: of the spare ones */
        struct pld_cache cache;   /* lock, but for what others may do to its manual half */
};

struct pld_stash_bin {
        struct pld_block *first; /* the last that was freed */
        uint32_t n, most;
};

struct pld_stash {                   /* H3 */
        _Atomic(const void *) owner; /* names a thread; NULL: nobody's */
        struct pld_stash *next;      /* const */
        struct pld_stash_bin bin[PLD_NCLASSES_SMALL];
};

struct pld_seat { /* what a thread remembers of a heap */
        uint64_t serial;
        struct pld_stash *stash; /* NULL: there can be none */
};

struct polder_heap {
        unsigned slice;                            /* const */
        bool strict;                               /* const: that slice or none */
        uint64_t serial;                           /* const: H2 */
        _Atomic(struct pld_stash *) stashes;       /* any thread pushes */
        struct pld_list link;                      /* heaps' lock */
        _Atomic unsigned nshards;                  /* heaps' lock to write; >= 1 */
        struct pld_shard *shards[PLD_SHARDS_MOST]; /* the first nshards are const */
};

extern struct pld_lock pld_heaps_lock;
extern _Thread_local struct pld_seat pld_seats[PLD_SEATS];

/* ---- shard.c --------------------------------------------------------------------- */

/* The heap has one more. False: there are enough, or no memory. */
bool pld_shard_add_locked(struct polder_heap *heap);
/* For another heap; it is empty. */
void pld_shard_spare_locked(struct pld_shard *shard);
struct pld_shard *pld_shard_lock(struct polder_heap *heap); /* some one, locked */
/* Blocks of the class; how many there are, 0: no memory. */
unsigned pld_shard_take(struct polder_heap *heap, unsigned class, struct pld_block **to,
                        unsigned most);
/* Of any shards. True: a span was released. */
bool pld_shard_put_back(struct pld_block *const blocks[], size_t n);

static inline struct pld_shard *pld_shard_of(const struct pld_span *span)
{
        return pld_container_of(pld_load_relaxed(&span->manual.owner), struct pld_shard, cache);
}

/* ---- stash.c: the calling thread's, but for the last --------------------------------- */

struct pld_stash *pld_stash_find_slow(struct polder_heap *heap, struct pld_seat *seat);
/* All but the `left` that were freed last go back. True: a span was released. */
bool pld_stash_flush(struct pld_stash_bin *bin, uint32_t left);
void pld_stash_empty(struct polder_heap *heap);
bool pld_stash_is_there(void); /* in some heap, perhaps destroyed by now */
/* The thread ends: what it keeps goes back; then, after all heaps, nothing is remembered. */
void pld_stash_leave(struct polder_heap *heap);
void pld_stash_forget_seats(void);
/* In a forked child: those of threads that are not there. */
void pld_stash_forget_others(struct polder_heap *heap);

static inline struct pld_stash *pld_stash_of(struct polder_heap *heap)
{
        struct pld_seat *seat = &pld_seats[heap->serial % PLD_SEATS];
        return pld_likely(seat->serial == heap->serial) ? seat->stash
                                                       : pld_stash_find_slow(heap, seat);
}

/* The calling thread's bin of the class in that heap; NULL: it has none, or one without room. */
static inline struct pld_stash_bin *pld_stash_bin(struct polder_heap *heap, unsigned class)
{
        struct pld_stash *stash = class < PLD_NCLASSES_SMALL ? pld_stash_of(heap) : NULL;
        return stash && stash->bin[class].most ? &stash->bin[class] : NULL;
}

static inline struct pld_block *pld_stash_pop(struct pld_stash_bin *bin)
{
        struct pld_block *block = bin->first;
        PLD_ASSERT(block->key == pld_manual_key_of(block));
        bin->first = block->next;
        bin->n--;
        return block;
}

static inline void pld_stash_push(struct pld_stash_bin *bin, struct pld_block *block)
{
        block->next = bin->first;
        bin->first = block;
        bin->n++;
}

#endif
