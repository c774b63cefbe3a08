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

struct pld_chain { /* blocks of one span, linked; the last one's next is NULL */
        struct pld_block *first, *last;
        uint32_t n;
};

enum pld_manual_where {
        PLD_MANUAL_NOWHERE, /* abandoned, or in one function's hands */
        PLD_MANUAL_CURRENT,
        PLD_MANUAL_LISTED,
        PLD_MANUAL_FULLED,  /* in full[], `full` set when last looked at */
        PLD_MANUAL_REVIVING, /* in full[], and known to be on its way to `revived` */
        PLD_MANUAL_KEPT     /* large: freed, and kept by a thread */
};

/* A thread's spans of malloc; fields belong to the thread unless they say otherwise. */
struct pld_manual {
        struct pld_span *current[PLD_NCLASSES]; /* never NULL: an empty span where there is none */
        struct pld_list spans[PLD_NCLASSES];    /* others, with free blocks */
        struct pld_list full[PLD_NCLASSES];     /* without free blocks when they came */
        /* Lines of their own: what others write, what is written often, what is read often. */
        _Alignas(PLD_CACHE_LINE) _Atomic(struct pld_span *) revived; /* spans that lost `full` */
        _Alignas(PLD_CACHE_LINE) _Atomic uint32_t entries; /* odd: lists are being changed */
        _Atomic uint32_t guest;                 /* futex: who visits (visit.h) */
        uint32_t seen_entries;                  /* who visits: when it last came by */
        uint8_t next_class;                     /* who visits: where it begins */
        _Alignas(PLD_CACHE_LINE) _Atomic bool news; /* any thread: others freed something */
        bool strict;                            /* const: memory of the cache's slice or none */
        bool in_heap;                           /* const: a heap's (heap.h), behind its lock */
};

extern struct pld_span pld_span_none; /* has no blocks */
extern uintptr_t pld_manual_key PLD_HIDDEN; /* const after start */
/* Set by the collector before it starts: a last collection, for when memory is out, after
 * so many in vain. True: something was freed, trying again is worth it. */
extern bool (*pld_manual_last_resort)(unsigned nbefore);

int pld_manual_start(void); /* after the page heap */
void pld_manual_init(struct pld_manual *manual);
struct pld_cache;
/* All spans of the cache are abandoned or released; it is the caller's. */
void pld_manual_empty(struct pld_cache *cache);
/* The same in a forked child, for the cache of a thread that is not there; false:
 * the fork came while it was being changed, and it must stay as it is. */
bool pld_manual_empty_orphan(struct pld_cache *cache);

/* Up to `most` blocks, which hold their keys; a new span is made for the first only, and if
 * it may be. How many; 0: no memory. */
unsigned pld_manual_take(struct pld_cache *cache, unsigned class, struct pld_block **to,
                         unsigned most, bool may_make);
/* Blocks of the cache's own spans of the class go back to them. True: the decay may have work
 * (decay.h). */
bool pld_manual_put_back(struct pld_cache *cache, unsigned class,
                         struct pld_block *const blocks[], size_t n);
/* Blocks of a span that is another's or nobody's, with their keys. They are the caller's
 * until then. True: a span was released. */
bool pld_manual_send_back(struct pld_span *span, struct pld_chain chain);
/* The caller's, on no list, with no block out, and claimed (blocks.h). */
void pld_manual_release(struct pld_span *span);

/* For the caches of heaps, under their locks. All spans are released, whatever is out. */
void pld_manual_destroy(struct pld_cache *cache);
/* For whoever may change the cache's lists: what others freed is seen to, and free spans are
 * released. False: it ended early, as may_go_on() said; the next time begins elsewhere. */
typedef bool (*pld_manual_may)(struct pld_cache *cache);
bool pld_manual_tidy(struct pld_cache *cache, pld_manual_may may_go_on);
void pld_manual_tidy_mine(void); /* the calling thread's, its bins included */
/* Bytes in the cache's spans. */
size_t pld_manual_cache_bytes(const struct pld_cache *cache);

/* Bytes in spans of malloc, their free blocks included. */
size_t pld_manual_bytes(void);
void pld_manual_count(ptrdiff_t nbytes); /* spans of malloc came or went */
extern _Atomic bool pld_manual_has_news; /* some cache has, since that was looked at; a hint */
void pld_manual_verify(struct pld_cache *cache); /* the caller's */
void pld_manual_fork_prepare(void);
void pld_manual_fork_done(void);

/* Is p the first byte of a block of a small span? The lower half of the product
 * is the remainder (Lemire, Kaser and Kurz, "Faster remainder by direct
 * computation", 2019). Always false for large spans, whose magic is 0. */
static inline bool pld_manual_is_block(const struct pld_span *span, uintptr_t p)
{
        struct pld_product product = pld_mul(p - span->start, span->magic);
        return product.low < span->magic && product.high < span->count;
}

static inline uintptr_t pld_manual_key_of(const struct pld_block *block)
{
        return pld_manual_key ^ (uintptr_t)block;
}

#endif
