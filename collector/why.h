/* why.h: a chain of holders, from a root to the object that was asked about. */
#ifndef PLD_COLLECTOR_WHY_H
#define PLD_COLLECTOR_WHY_H

#include "collector/roots.h"

#include <stdio.h>

enum pld_why_way { PLD_WHY_SLOT, PLD_WHY_KEY, PLD_WHY_OWNER };

/* One object of the chain, and how it leads to the next. */
struct pld_why_step {
        uintptr_t object;
        size_t nbytes;
        const char *shape;
        enum pld_why_way way;
        uintptr_t slot;  /* SLOT */
        uintptr_t other; /* KEY: the owner; OWNER: the key */
        uintptr_t word;  /* that leads to the next */
};

struct pld_why {
        uintptr_t asked, object; /* the address; its object's first byte */
        struct pld_root root;
        bool own;                /* the root is on the asker's stack or in its registers */
        struct pld_why_step *step;   /* from the root to the object */
        size_t nsteps;           /* 0: nothing leads to it */
        bool has_weak, has_finalizer; /* the object does */
};

/* 0 or -EIO. */
int pld_why_print(const struct pld_why *chain, FILE *to);

#endif
