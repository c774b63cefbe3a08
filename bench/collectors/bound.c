/* bound.c: the bare loop: marking as fast as memory allows, for comparison.
 *
 * It knows what a collector has to find out: that every object is a node of 48 bytes or a
 * leaf. A pointer's mark is a bit in an array of one bit for 16 bytes, tested before it is set.
 * Objects that were not marked yet are asked for and go into a ring, and are scanned when they
 * fall out of it; what the ring does not hold is on a stack. Two threads share a pool of full
 * stacks. In a heap of 20 million nodes nearly every object is a miss, and nothing else costs
 * much: so it is the memory's speed for loads of which some dozen are in flight. */
#include "bench/collectors/graph.h"

#include <pthread.h>
#include <string.h>

enum { RING = 32, CHUNK = 1024, POOL = 1 << 16 };

struct chunk {
        unsigned n;
        struct node *node[CHUNK];
};

struct marker {
        const struct graph *graph;
        unsigned threads;
        struct chunk *stack, *spare;
        struct node *ring[RING];
        unsigned next, held;
        uint64_t reached;
        char apart[64];
};

static uintptr_t low;
static uint64_t *bits;
static size_t nwords;

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct chunk *pool[POOL], *idle_chunks[POOL];
static unsigned npool, nidle, nhungry;
static size_t next_root_array, next_root;

static struct chunk *chunk_new(void)
{
        struct chunk *chunk = NULL;
        pthread_mutex_lock(&pool_lock);
        if (nidle)
                chunk = idle_chunks[--nidle];
        pthread_mutex_unlock(&pool_lock);
        chunk = chunk ? chunk : own_array(1, sizeof *chunk);
        chunk->n = 0;
        return chunk;
}

static bool mark(uintptr_t address, bool shared)
{
        size_t bit = (address - low) / 16;
        uint64_t *word = &bits[bit / 64], mask = UINT64_C(1) << (bit % 64);
        if (__atomic_load_n(word, __ATOMIC_RELAXED) & mask)
                return false;
        if (shared)
                return !(__atomic_fetch_or(word, mask, __ATOMIC_RELAXED) & mask);
        *word |= mask;
        return true;
}

static void give_chunk(struct marker *marker)
{
        pthread_mutex_lock(&pool_lock);
        if (npool == POOL)
                give_up("the pool is full");
        pool[npool] = marker->stack;
        __atomic_store_n(&npool, npool + 1, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&pool_lock);
        marker->stack = chunk_new();
}

static inline void push(struct marker *marker, struct node *node)
{
        if (marker->stack->n == CHUNK)
                give_chunk(marker);
        marker->stack->node[marker->stack->n++] = node;
}

static inline void shade(struct marker *marker, struct node *node, bool leaf)
{
        if (!node || !mark((uintptr_t)node, marker->threads > 1))
                return;
        marker->reached++;
        if (!leaf)
                push(marker, node);
}

static inline void scan(struct marker *marker, struct node *node)
{
        for (unsigned k = 0; k < NODE_POINTERS; k++)
                shade(marker, node->to[k], marker->graph->has_leaves && k == LEAF_SLOT);
}

static inline void ask_for(const struct node *node)
{
        __builtin_prefetch(node);
        __builtin_prefetch((const char *)node + sizeof *node - 1);
}

/* Scans what is on the stack and in the ring. */
static void drain(struct marker *marker)
{
        for (;;) {
                while (marker->held < RING && marker->stack->n) {
                        struct node *node = marker->stack->node[--marker->stack->n];
                        ask_for(node);
                        marker->ring[(marker->next + marker->held++) % RING] = node;
                }
                if (!marker->held)
                        return;
                struct node *node = marker->ring[marker->next];
                marker->next = (marker->next + 1) % RING;
                marker->held--;
                scan(marker, node);
        }
}

/* A piece of the roots, or false: there are none left. */
static bool scan_roots(struct marker *marker)
{
        enum { PIECE = 2048 };
        const struct graph *graph = marker->graph;
        pthread_mutex_lock(&pool_lock);
        while (next_root_array < graph->narrays &&
               next_root >= graph->array[next_root_array].count) {
                next_root_array++;
                next_root = 0;
        }
        size_t array = next_root_array, from = next_root;
        next_root += PIECE;
        pthread_mutex_unlock(&pool_lock);
        if (array >= graph->narrays)
                return false;
        marker->reached += !from;
        for (size_t i = from; i < from + PIECE && i < graph->array[array].count; i++)
                shade(marker, graph->array[array].at[i], graph->leads_to_leaves);
        return true;
}

/* A full stack of somebody's, or false: nobody has any, or will. */
static bool take_chunk(struct marker *marker)
{
        bool hungry = false;
        for (;;) {
                pthread_mutex_lock(&pool_lock);
                if (npool) {
                        idle_chunks[nidle++] = marker->stack;
                        marker->stack = pool[npool - 1];
                        __atomic_store_n(&npool, npool - 1, __ATOMIC_RELAXED);
                        nhungry -= hungry;
                        pthread_mutex_unlock(&pool_lock);
                        return true;
                }
                nhungry += !hungry;
                hungry = true;
                bool done = nhungry == marker->threads;
                pthread_mutex_unlock(&pool_lock);
                if (done)
                        return false;
                while (!__atomic_load_n(&npool, __ATOMIC_RELAXED) &&
                       __atomic_load_n(&nhungry, __ATOMIC_RELAXED) < marker->threads)
                        own_pause();
                if (__atomic_load_n(&nhungry, __ATOMIC_RELAXED) == marker->threads)
                        return false;
        }
}

static void *work(void *argument)
{
        struct marker *marker = argument;
        memory_thread_begin();
        marker->stack = chunk_new();
        do {
                do
                        drain(marker);
                while (scan_roots(marker));
        } while (take_chunk(marker));
        pthread_mutex_lock(&pool_lock);
        idle_chunks[nidle++] = marker->stack;
        pthread_mutex_unlock(&pool_lock);
        return NULL;
}

/* --- How far do the objects lie apart? ------------------------------------------------------- */

#ifdef MEMORY_POLDER
static int widen(const struct polder_extent *extent, bool added, void *argument)
{
        uintptr_t *limits = argument, start = (uintptr_t)extent->start;
        (void)added;
        limits[0] = start < limits[0] ? start : limits[0];
        limits[1] = start + extent->nbytes > limits[1] ? start + extent->nbytes : limits[1];
        return 0;
}
#endif

bool bound_start(void)
{
        uintptr_t limits[2] = { UINTPTR_MAX, 0 };
#ifdef MEMORY_POLDER
        polder_extents(widen, limits);
#endif
        if (limits[0] >= limits[1])
                return false;
        low = limits[0];
        nwords = (limits[1] - limits[0]) / 1024 + 2;
        bits = own_array(nwords, sizeof *bits);
        return true;
}

uint64_t bound_mark(const struct graph *graph, unsigned threads, double *seconds)
{
        static struct marker markers[2];
        pthread_t other;
        memset(bits, 0, nwords * sizeof *bits);
        npool = nhungry = 0;
        next_root_array = next_root = 0;
        uint64_t began = now_ns();
        for (unsigned i = 0; i < threads; i++) {
                memset(&markers[i], 0, sizeof markers[i]);
                markers[i].graph = graph;
                markers[i].threads = threads;
        }
        if (threads > 1 && pthread_create(&other, NULL, work, &markers[1]))
                give_up("pthread_create");
        work(&markers[0]);
        if (threads > 1)
                pthread_join(other, NULL);
        *seconds = (double)(now_ns() - began) / 1e9;
        return markers[0].reached + (threads > 1 ? markers[1].reached : 0);
}
