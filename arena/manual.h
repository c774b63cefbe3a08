/* manual.h: memory with an owner: malloc and free.
 *
 * The spans of small blocks; what is larger is in large.h, the calls that
 * people make are in malloc.c. */
#ifndef PLD_ARENA_MANUAL_H
#define PLD_ARENA_MANUAL_H

#include "arena/span.h"
#include "base/check.h"

/* The smallest class: 16 bytes, so that a free block has room for both words. */
enum { PLD_MANUAL_CLASS_MIN = 1, PLD_MANUAL_FULL = 1 };

struct pld_block { /* what a free block holds */
        struct pld_block *next;
        uintptr_t key; /* pld_manual_key ^ its address: how a double free is known */
};

enum pld_manual_where {
        PLD_MANUAL_NOWHERE, /* abandoned, or in one function's hands */
        PLD_MANUAL_CURRENT,
        PLD_MANUAL_LISTED,
        PLD_MANUAL_FULLED,  /* in full[], `full` set when last looked at */
        PLD_MANUAL_REVIVING, /* in full[], and known to be on its way to `revived` */
        PLD_MANUAL_KEPT     /* large: freed, and kept by a thread */
};

/* Free blocks of one class, in the order in which they were freed: the last one is
 * handed out first. To their spans they are out. */
struct pld_bin {
        struct pld_block **top;   /* behind the last one; == floor: none */
        struct pld_block **limit; /* the most that top may be; grows with use */
        struct pld_block **floor; /* const while the cache is in use */
};

/* Blocks of one span of another thread's, on their way back to it. */
struct pld_outgoing {
        struct pld_span *span; /* NULL: none */
        struct pld_block *first, *last;
        uint32_t n;
};

enum { PLD_OUTBOX = 16, PLD_LARGE_KEPT = 4 };

/* A thread's half of malloc; fields belong to the thread unless they say otherwise. */
struct pld_manual {
        struct pld_bin bin[PLD_NCLASSES];
        struct pld_span *current[PLD_NCLASSES]; /* never NULL: an empty span where there is none */
        struct pld_list spans[PLD_NCLASSES];    /* others, with free blocks */
        struct pld_list full[PLD_NCLASSES];     /* without free blocks when they came */
        struct pld_outgoing out[PLD_OUTBOX];    /* by a span's address */
        struct pld_span *large[PLD_LARGE_KEPT]; /* freed ones, to be used again; or NULL */
        size_t large_bytes;                     /* of these */
        _Atomic(struct pld_span *) revived;     /* any thread pushes: spans that lost `full` */
        _Atomic bool inside;                    /* lists are being changed; read by a forked child */
        bool strict;                            /* const: memory of the cache's slice or none */
        struct pld_block **slots;               /* const: what the bins lie in; or NULL */
};

extern struct pld_span pld_span_none; /* has no blocks */
extern uintptr_t pld_manual_key;      /* const after start */
extern bool pld_manual_has_bins;      /* const after start; false: tests of what lies beneath */
/* Set by the collector before it starts: a last collection, for when memory is
 * out. True: something was freed, trying again is worth it. */
extern bool (*pld_manual_last_resort)(void);

int pld_manual_start(void); /* after the page heap */
/* with_bins: else every block comes from its span and goes back there at once. */
void pld_manual_init(struct pld_manual *manual, bool with_bins);
struct pld_cache;
/* All spans of the cache are abandoned or released; it is the caller's. */
void pld_manual_empty(struct pld_cache *cache);
/* The same in a forked child, for the cache of a thread that is not there; false:
 * the fork came while it was being changed, and it must stay as it is. */
bool pld_manual_empty_orphan(struct pld_cache *cache);

/* A block of the class after its bin ran out; NULL: no memory. */
struct pld_block *pld_manual_refill(struct pld_cache *cache, unsigned class);
/* One block from the slice's shared cache, under a lock. */
struct pld_block *pld_manual_shared(unsigned slice, unsigned class, bool strict);
/* A free by the owner whose bin is at its limit. True: a span was released. */
bool pld_manual_free_full(struct pld_cache *cache, struct pld_span *span, struct pld_block *block);
/* A free by someone who is not the owner; the block is the caller's until then.
 * True: a span was released. */
bool pld_manual_free_remote(struct pld_span *span, struct pld_block *block);
/* A freed large span is kept for the calling thread's next allocation; false: it is
 * too large, or another one than it would use. */
bool pld_manual_keep_large(struct pld_span *span);
/* One that was kept, with room for nbytes and not much more; NULL. */
struct pld_span *pld_manual_reuse_large(size_t nbytes);

/* Gives back the free spans that only wait for someone to look: of dead threads,
 * of the shared caches, and of the calling thread. Bytes given back. */
size_t pld_manual_reclaim(void);
/* Bytes in spans of malloc, their free blocks included. */
size_t pld_manual_bytes(void);
void pld_manual_count(ptrdiff_t nbytes); /* spans of malloc came or went */
void pld_manual_verify(struct pld_cache *cache); /* the caller's */
void pld_manual_fork_prepare(void);
void pld_manual_fork_done(void);

/* Is p the first byte of a block of a small span? The low bits of the product
 * are the remainder (Lemire, Kaser and Kurz, "Faster remainder by direct
 * computation", 2019). Always false for large spans, whose magic is 0. */
static inline bool pld_manual_is_block(const struct pld_span *span, uintptr_t p)
{
        uint64_t product = (p - span->start) * span->magic;
        return (product & ((UINT64_C(1) << PLD_MAGIC_SHIFT) - 1)) < span->magic &&
               product >> PLD_MAGIC_SHIFT < span->count;
}

static inline uintptr_t pld_manual_key_of(const struct pld_block *block)
{
        return pld_manual_key ^ (uintptr_t)block;
}

/* The bin's last block; NULL: a refill is due. */
static inline struct pld_block *pld_bin_pop(struct pld_bin *bin)
{
        struct pld_block **top = bin->top;
        if (pld_unlikely(top == bin->floor))
                return NULL;
        struct pld_block *block = top[-1];
        PLD_ASSERT(block->key == pld_manual_key_of(block));
        bin->top = top - 1;
        block->key = 0;
        return block;
}

#endif
