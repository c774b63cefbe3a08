/* new_pair: what do collected objects that die at once cost, beside jemalloc's pairs?
 *
 * Objects of some sizes, each with one pointer, are made, written to and forgotten (made
 * and freed by jemalloc), by one thread and by two at once; and binary trees of depth 18 are
 * made and dropped (freed, node by node). Collections run as they come. Rounds take turns;
 * a line has the median in nanoseconds of wall-clock time for each object of a thread. */
#include <polder/polder.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 9, MAX_THREADS = 2, DEPTH = 18, KINDS = 4 };

static const size_t sizes[KINDS] = { 16, 64, 512, 0 }; /* 0: trees */
static const struct polder_layout *layouts[KINDS];

struct node {
        struct node *left, *right;
};

struct run {
        void (*work)(unsigned kind, size_t n);
        unsigned kind;
        size_t n;
        pthread_barrier_t *barrier;
        uint64_t took_ns;
};

static void make_collected(unsigned kind, size_t n)
{
        for (size_t i = 0; i < n; i++)
                *(volatile size_t *)((char *)polder_new(layouts[kind]) + 8) = i;
}

static void make_manual(unsigned kind, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                void *block = malloc(sizes[kind]);
                *(volatile size_t *)((char *)block + 8) = i;
                free(block);
        }
}

static struct node *tree_collected(unsigned depth)
{
        struct node *left = depth ? tree_collected(depth - 1) : NULL;
        struct node *right = depth ? tree_collected(depth - 1) : NULL;
        struct node *node = polder_new(layouts[KINDS - 1]);
        node->left = left;
        node->right = right;
        return node;
}

static struct node *tree_manual(unsigned depth)
{
        struct node *left = depth ? tree_manual(depth - 1) : NULL;
        struct node *right = depth ? tree_manual(depth - 1) : NULL;
        struct node *node = malloc(sizeof *node);
        node->left = left;
        node->right = right;
        return node;
}

static void tree_free(struct node *node)
{
        if (!node)
                return;
        tree_free(node->left);
        tree_free(node->right);
        free(node);
}

static void make_trees(unsigned kind, size_t n)
{
        (void)kind;
        for (size_t i = 0; i < n; i += 2 << DEPTH)
                tree_collected(DEPTH);
}

static void make_trees_manual(unsigned kind, size_t n)
{
        (void)kind;
        for (size_t i = 0; i < n; i += 2 << DEPTH)
                tree_free(tree_manual(DEPTH));
}

static void *worker(void *arg)
{
        struct run *run = arg;
        pthread_barrier_wait(run->barrier);
        uint64_t start_ns = pld_now_ns();
        run->work(run->kind, run->n);
        run->took_ns = pld_now_ns() - start_ns;
        return NULL;
}

/* Nanoseconds an object, of the slowest thread. */
static double time_of(void (*work)(unsigned, size_t), unsigned kind, size_t n, unsigned nthreads)
{
        pthread_t threads[MAX_THREADS];
        struct run runs[MAX_THREADS];
        pthread_barrier_t barrier;
        uint64_t most = 0;
        pthread_barrier_init(&barrier, NULL, nthreads);
        for (unsigned i = 0; i < nthreads; i++) {
                runs[i] = (struct run){ .work = work, .kind = kind, .n = n, .barrier = &barrier };
                if (pthread_create(&threads[i], NULL, worker, &runs[i]))
                        abort();
        }
        for (unsigned i = 0; i < nthreads; i++) {
                pthread_join(threads[i], NULL);
                most = runs[i].took_ns > most ? runs[i].took_ns : most;
        }
        pthread_barrier_destroy(&barrier);
        return (double)most / (double)n;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return x < y ? -1 : x > y;
}

static void race(unsigned kind, unsigned nthreads)
{
        double ours[ROUNDS], theirs[ROUNDS], ratios[ROUNDS];
        size_t n = sizes[kind] == 0 ? 4 << (DEPTH + 1) : ((size_t)1 << 30) / (sizes[kind] + 64);
        for (unsigned i = 0; i < ROUNDS; i++) {
                theirs[i] = time_of(sizes[kind] ? make_manual : make_trees_manual, kind, n, nthreads);
                ours[i] = time_of(sizes[kind] ? make_collected : make_trees, kind, n, nthreads);
                ratios[i] = ours[i] / theirs[i];
        }
        qsort(ours, ROUNDS, sizeof ours[0], by_value);
        qsort(theirs, ROUNDS, sizeof theirs[0], by_value);
        qsort(ratios, ROUNDS, sizeof ratios[0], by_value);
        printf("bench=new_pair what=%s nbytes=%zu threads=%u polder_ns=%.2f polder_best_ns=%.2f "
               "jemalloc_ns=%.2f ratio=%.2f ratio_min=%.2f ratio_max=%.2f\n",
               sizes[kind] ? "die_at_once" : "trees", sizes[kind] ? sizes[kind] : sizeof(struct node),
               nthreads, ours[ROUNDS / 2], ours[0], theirs[ROUNDS / 2], ratios[ROUNDS / 2], ratios[0],
               ratios[ROUNDS - 1]);
        fflush(stdout);
}

int main(void)
{
        const size_t first = 0, both[2] = { 0, 8 };
        for (unsigned kind = 0; kind < KINDS; kind++)
                layouts[kind] = sizes[kind] ? polder_layout_of(sizes[kind], &first, 1)
                                            : polder_layout_of(sizeof(struct node), both, 2);
        for (unsigned kind = 0; kind < KINDS; kind++)
                for (unsigned nthreads = 1; nthreads <= MAX_THREADS; nthreads++)
                        race(kind, nthreads);
        return 0;
}
