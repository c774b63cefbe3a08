/* bin.h: what a thread keeps in front of malloc's spans: free blocks, blocks of others
 * on their way home, and a few large spans.
 *
 * All of it belongs to the cache's thread. */
#ifndef PLD_ARENA_BIN_H
#define PLD_ARENA_BIN_H

#include "arena/manual.h"

enum { PLD_OUTBOX = 16, PLD_LARGE_KEPT = 4 };

/* Free blocks of one class, in the order in which they were freed: the last one is
 * handed out first. */
struct pld_bin {
        struct pld_block **top;   /* behind the last one; == floor: none */
        struct pld_block **limit; /* the most that top may be: the bin's size, and what is lent */
        struct pld_block **floor; /* its place: changes when it becomes wide, and narrow again */
};

/* Blocks of one span of another thread's. */
struct pld_outgoing {
        struct pld_span *span; /* NULL: none */
        struct pld_block *first, *last;
        uint32_t n;
};

struct pld_bins {
        struct pld_bin bin[PLD_NCLASSES];
        bool refilled[PLD_NCLASSES]; /* since the bin last grew */
        uint16_t lent[PLD_NCLASSES]; /* what a bin may hold beyond its size until it is full (N6) */
        struct pld_outgoing out[PLD_OUTBOX];    /* by a span's address */
        struct pld_span *large[PLD_LARGE_KEPT]; /* freed ones, to be used again; or NULL */
        size_t large_bytes;                     /* of these */
        size_t grown_bytes;                     /* what bins may hold more than at first */
        size_t extra_bytes;                     /* and what beyond their room */
        size_t given_bytes;                     /* went back from full bins since a refill (N7) */
        struct pld_block **slots; /* const: what the bins lie in; NULL: nothing is kept here */
        struct pld_block **wide[PLD_NCLASSES]; /* what wide ones lie in; NULL until needed */
};

extern bool pld_bins_are_used; /* const after start; false: tests of what lies beneath */

/* Nothing is kept; what was is forgotten, as in a forked child what a thread kept that is
 * not there: it may have been changing it. */
void pld_bins_init(struct pld_bins *bins);
/* All of it goes back where it is from. */
void pld_bins_empty(struct pld_cache *cache);

/* What other bins than that of the class have beyond their room goes back: the cache is about
 * to ask the page heap for pages. */
void pld_bins_narrow(struct pld_cache *cache, unsigned but);

/* A block of the class after its bin ran out, ready for use; NULL: no memory. */
struct pld_block *pld_bin_refill(struct pld_cache *cache, unsigned class);
/* A free, with its key, by the owner, whose bin is at its limit. True: a span was
 * released. */
bool pld_bin_free_full(struct pld_cache *cache, unsigned class, struct pld_block *block);
/* The same by someone who is not the owner. */
bool pld_bin_free_remote(struct pld_span *span, struct pld_block *block);

/* A freed large span is kept for the calling thread's next allocation; false: it is
 * too large, or of another node. */
bool pld_bins_keep_large(struct pld_span *span);
/* One that was kept, with room for nbytes and not much more; NULL. */
struct pld_span *pld_bins_reuse_large(size_t nbytes);

/* The bin's last block; NULL: a refill is due. */
static inline struct pld_block *pld_bin_pop(struct pld_bin *bin)
{
        if (pld_unlikely(bin->top == bin->floor))
                return NULL;
        struct pld_block *block = *--bin->top; /* so put, it takes one instruction less */
        PLD_ASSERT(block->key == pld_manual_key_of(block));
        block->key = 0;
        return block;
}

#endif
