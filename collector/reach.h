/* reach.h: a search through all that can be reached, which shares with marking what a
 * pointer is and where an object has some, and nothing else: no mark is looked at.
 *
 * All mutators are held, and all is swept. The memory that it takes is none of the
 * collected heap's, and is in proportion to what is reached. */
#ifndef PLD_COLLECTOR_REACH_H
#define PLD_COLLECTOR_REACH_H

#include "collector/roots.h"

#define PLD_REACH_ROOT SIZE_MAX

struct pld_reached {
        uintptr_t object; /* its first byte */
        size_t by;        /* the item that led to it, or PLD_REACH_ROOT */
};

struct pld_reach;
typedef void (*pld_reach_found)(struct pld_reach *reach, struct pld_found found);

struct pld_reach {
        pld_reach_found found;    /* called for each object once; may say that it is `over` */
        void *arg;
        struct pld_reached *item; /* in the order in which they were found: nearest first */
        size_t n, room;
        size_t at;                /* those before it have been looked through */
        uint64_t **seen;          /* a bitmap for each huge page of the range, made when needed */
        size_t low, high;         /* of the bitmaps made */
        uintptr_t holder, slot;   /* what is being looked at */
        bool over;                /* nothing more is looked at */
        bool failed;              /* for lack of memory */
};

/* 0 or -ENOMEM. */
int pld_reach_init(struct pld_reach *reach, pld_reach_found found, void *arg);
void pld_reach_free(struct pld_reach *reach); /* of one that was zero, too */
/* What the root leads to. */
void pld_reach_root(struct pld_reach *reach, const struct pld_root *root);
/* What all that was found leads to. */
void pld_reach_rest(struct pld_reach *reach);

/* Every word on the stacks and in the registers of threads that may be a pointer. */
void pld_threads_roots_each_locked(pld_root_visit visit, void *arg);
bool pld_root_leads_to(const struct pld_root *root, uintptr_t object);

static inline bool pld_word_leads_to(uintptr_t word, uintptr_t object)
{
        struct pld_found found = pld_find_object(word);
        return found.span && pld_span_object(found.span, found.index) == object;
}

#endif
