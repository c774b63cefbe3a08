/* layout.h: where the pointers are in an object.
 *
 * A *layout* is what the user describes: a size and a pattern of pointer words.
 * A *shape* is what a span has: a pattern within one size class, repeated every
 * `period` words for arrays. Shapes are canonical, so that layouts which differ
 * only in size share spans, and arrays of all lengths in a class do, too. */
#ifndef PLD_COLLECTOR_LAYOUT_H
#define PLD_COLLECTOR_LAYOUT_H

#include "arena/central.h"

enum pld_shape_kind {
        PLD_SHAPE_LEAF = PLD_FORM_LEAF,
        PLD_SHAPE_CONSERVATIVE = PLD_FORM_CONSERVATIVE,
        PLD_SHAPE_PRECISE = PLD_FORM_PRECISE
};

struct pld_shape {
        enum pld_shape_kind kind;
        unsigned class;            /* PLD_CLASS_LARGE: objects of any size */
        unsigned form;             /* arena/form.h */
        size_t period;             /* words; 0: the pattern comes once */
        size_t nwords;             /* words that the pattern covers, trailing leaves cut off */
        uint64_t *pattern;         /* bit i of word i / 64: word i is a pointer */
        struct pld_shape *next;    /* in its hash bucket */
        /* What the shortest path allocates from (new.c, N4); pld_central_none until made. */
        _Atomic(struct pld_central *) rooted;
        /* By slice, made when first needed. */
        _Atomic(struct pld_central *) central[PLD_MAX_SLICES];
};

struct polder_layout {
        size_t nbytes;
        struct pld_shape *shape;     /* of one object */
        _Atomic(struct pld_shape *) array[PLD_NCLASSES + 1]; /* of arrays, by class */
        struct polder_layout *next;  /* in its hash bucket */
};

extern struct pld_shape *pld_leaf_shape[PLD_NCLASSES + 1];         /* const after start */
extern struct pld_shape *pld_conservative_shape[PLD_NCLASSES + 1]; /* const after start */

int pld_layout_start(void);
/* The shape of an array of these that takes that size class. NULL: no memory. */
struct pld_shape *pld_layout_array_shape(const struct polder_layout *element, unsigned class);
/* A leaf layout that shares its spans with no other. NULL: no memory. */
struct polder_layout *pld_layout_alone(size_t nbytes);
/* The shape's central on that slice. NULL: no memory. */
struct pld_central *pld_shape_central_slow(struct pld_shape *shape, unsigned slice);
void pld_layout_fork_prepare(void);
void pld_layout_fork_done(void);

static inline struct pld_central *pld_shape_central(struct pld_shape *shape, unsigned slice)
{
        /* Acquire: pairs with the release that publishes it. */
        struct pld_central *central = pld_load_acquire(&shape->central[slice]);
        return pld_likely(central != NULL) ? central : pld_shape_central_slow(shape, slice);
}

static inline const char *pld_shape_name(const struct pld_shape *shape)
{
        static const char *const names[] = { "leaf", "conservative", "precise" };
        return names[shape->kind];
}

static inline unsigned pld_class_for(size_t nbytes)
{
        return nbytes <= PLD_SMALL_MAX ? pld_class_of(nbytes) : (unsigned)PLD_CLASS_LARGE;
}

#endif
