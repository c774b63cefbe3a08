/* malloc_pair: how long does an allocation and its free take, beside jemalloc?
 *
 * For each size, rounds of the two in turn, in one process (jemalloc is linked as the
 * process's malloc); prints the medians in nanoseconds, and the ratio of each pair of
 * rounds as median, lowest and highest. Two patterns: `pair` frees at once, `batch`
 * frees a thousand blocks in the order in which they came. */
#include <polder/arena.h>

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 15, PAIRS = 400000, BATCH = 1000 };

struct allocator {
        void *(*get)(size_t nbytes);
        void (*put)(void *block);
};

static const struct allocator ours = { polder_malloc, polder_free }, theirs = { malloc, free };
static void *batch[BATCH];

static double pairs(const struct allocator *allocator, size_t nbytes)
{
        uint64_t start_ns = pld_now_ns();
        for (int i = 0; i < PAIRS; i++) {
                char *block = allocator->get(nbytes);
                *(volatile char *)block = 1;
                allocator->put(block);
        }
        return (double)(pld_now_ns() - start_ns) / PAIRS;
}

static double batches(const struct allocator *allocator, size_t nbytes)
{
        uint64_t start_ns = pld_now_ns();
        for (int round = 0; round < PAIRS / BATCH; round++) {
                for (int i = 0; i < BATCH; i++) {
                        batch[i] = allocator->get(nbytes);
                        *(volatile char *)batch[i] = 1;
                }
                for (int i = 0; i < BATCH; i++)
                        allocator->put(batch[i]);
        }
        return (double)(pld_now_ns() - start_ns) / PAIRS;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

static void compare(const char *name, double (*run)(const struct allocator *, size_t), size_t nbytes)
{
        double our[ROUNDS], their[ROUNDS], ratio[ROUNDS];
        for (int i = -2; i < ROUNDS; i++) { /* two to warm up */
                double a = run(&ours, nbytes), b = run(&theirs, nbytes);
                if (i >= 0) {
                        our[i] = a;
                        their[i] = b;
                        ratio[i] = a / b;
                }
        }
        qsort(our, ROUNDS, sizeof *our, by_value);
        qsort(their, ROUNDS, sizeof *their, by_value);
        qsort(ratio, ROUNDS, sizeof *ratio, by_value);
        printf("pattern=%s bytes=%zu polder_ns=%.1f jemalloc_ns=%.1f ratio=%.2f low=%.2f high=%.2f\n",
               name, nbytes, our[ROUNDS / 2], their[ROUNDS / 2], ratio[ROUNDS / 2], ratio[0],
               ratio[ROUNDS - 1]);
}

int main(void)
{
        static const size_t sizes[] = { 16, 64, 256, 1024, 8192, 65536 };
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
                compare("pair", pairs, sizes[i]);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] - 1; i++)
                compare("batch", batches, sizes[i]);
        return 0;
}
