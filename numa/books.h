/* books.h: what is backed, on which node and how. For backing.c, which has the invariants;
 * the counters are those of backing.h. */
#ifndef PLD_NUMA_BOOKS_H
#define PLD_NUMA_BOOKS_H

#include "numa/backing.h"

struct pld_piece {
        char *at;
        size_t nbytes; /* whole huge pages */
        unsigned node;
};

enum pld_how { /* B1: beside the node, in a byte */
        PLD_HOW_POPULATED = 1 << 6,
        PLD_HOW_LAZY = 2 << 6,
        PLD_HOW_LOCKED = 3 << 6, /* and populated */
        PLD_HOW_MASK = 3 << 6
};

bool pld_books_open(struct pld_piece piece); /* it can be entered; false: no memory for that */
void pld_books_enter(struct pld_piece piece, enum pld_backing kind, enum pld_how how);
void pld_books_cross_out(void *at, size_t nbytes, enum pld_backing kind);
/* It is on the piece's node from now on. */
void pld_books_rehome(struct pld_piece piece, enum pld_backing kind);
unsigned pld_books_node(const void *at);
size_t pld_books_lazy_bytes(unsigned node); /* B5 */

void pld_books_fall_back(enum pld_backing left, enum pld_reason why);
void pld_books_misplace(size_t nhuge);

/* For assertions. */
bool pld_books_is_piece(const void *at, size_t nbytes);

#endif
