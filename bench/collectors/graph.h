/* graph.h: graphs of nodes of 48 bytes, and the bare loop that marks them. */
#ifndef BENCH_COLLECTORS_GRAPH_H
#define BENCH_COLLECTORS_GRAPH_H

#include "bench/collectors/load.h"

enum { NODE_POINTERS = 4, LEAF_SLOT = 3 };

struct node {
        struct node *to[NODE_POINTERS]; /* of a table's node, the last one is a leaf */
        uint64_t number, unused;
};

/* What keeps a graph alive: arrays of pointers, themselves collected objects. */
struct graph {
        struct {
                struct node **at;
                size_t count;
        } array[64];
        unsigned narrays;
        bool has_leaves;      /* to[LEAF_SLOT] is an object without pointers */
        bool leads_to_leaves; /* so is all that the arrays refer to */
        uint64_t objects;     /* that were made; all but a random graph's can be reached */
};

void graph_make(struct graph *graph, const char *shape, uint64_t count);

/* False where it cannot be known how far objects lie apart. */
bool bound_start(void);
/* How many objects the bare loop reaches, by so many threads, and how long it takes. */
uint64_t bound_mark(const struct graph *graph, unsigned threads, double *seconds);

#endif
