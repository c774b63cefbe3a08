/* huge.h: one huge page of the range, and which of its pages are taken.
 *
 * A filler holds the huge pages that are partly taken, sorted by their longest
 * free run: the first that fits is among the fullest (tcmalloc's Temeraire
 * sorts so: Hunter et al., "Beyond malloc efficiency to fleet efficiency",
 * OSDI 2021). Everything here is under the page heap's lock. */
#ifndef PLD_ARENA_HUGE_H
#define PLD_ARENA_HUGE_H

#include "arena/page_heap.h"
#include "base/list.h"

enum pld_huge_state {
        PLD_HUGE_VOID,  /* address space only */
        PLD_HUGE_IDLE,  /* backed, no page taken */
        PLD_HUGE_TAKEN, /* backed, some pages taken */
        PLD_HUGE_BUSY   /* being backed or given back, outside the lock */
};

struct pld_huge {
        struct pld_list link;                  /* idle list or a filler's list */
        uint64_t taken[PLD_HUGE_PAGES / 64];   /* a bit a page */
        uint64_t dirty[PLD_HUGE_PAGES / 64];   /* may hold other bytes than zero */
        uint64_t lazy[PLD_HUGE_PAGES / 64];    /* not populated: may fault at the first touch */
        uint64_t given_ns;                     /* when a page was last given back */
        uint16_t ntaken, longest;              /* pages taken; longest free run */
        uint16_t nloose;                       /* what the page heap has counted of it */
        uint8_t state;                         /* enum pld_huge_state */
        _Atomic uint8_t backing;               /* enum pld_backing; read without the lock */
        uint8_t node;                          /* index of the node it lies on */
        bool abroad, moving;                   /* page_heap.c, P7 */
        bool broken;                           /* was huge, and is base pages since it shed some */
        uint8_t nsheds;                        /* threads that have borrowed pages (shed.c) */
        bool ripe, asked, advised, growing;    /* page_heap.c, P10 */
        _Atomic bool grown;                    /* page_heap.c, P11 */
};

struct pld_filler {
        struct pld_list by_longest[PLD_HUGE_PAGES + 1];
        uint64_t nonempty[PLD_HUGE_PAGES / 64 + 1];
};

void pld_filler_init(struct pld_filler *filler);
void pld_filler_insert(struct pld_filler *filler, struct pld_huge *huge);
void pld_filler_remove(struct pld_filler *filler, struct pld_huge *huge);
/* A huge page with npages free in a row at a multiple of align_pages, and the first of them;
 * NULL. */
struct pld_huge *pld_filler_find(struct pld_filler *filler, size_t npages, size_t align_pages,
                                 size_t *page);

/* First page of a free run, PLD_HUGE_PAGES when there is none. */
size_t pld_huge_find(const struct pld_huge *huge, size_t npages, size_t align_pages);
/* Returns whether all of them are zero. */
bool pld_huge_take(struct pld_huge *huge, size_t page, size_t npages);
void pld_huge_give(struct pld_huge *huge, size_t page, size_t npages);
/* Some of the pages have not been populated. */
bool pld_huge_is_lazy(const struct pld_huge *huge, size_t page, size_t npages);
/* Pages that are free and yet in memory, as far as is known; how many. */
size_t pld_huge_loose(const struct pld_huge *huge, uint64_t out[PLD_HUGE_PAGES / 64]);

#endif
