/* mark_graph: how fast are graphs marked, beside a bare loop over the same memory?
 *
 * Objects say in their first word how many pointers follow, to objects and to leaves: so
 * that a loop which knows nothing of a heap can mark them, too. That one is the *bound*:
 * a bitmap of its own, on huge pages, one bit for each place where an object may be; a
 * stack in chunks, of which full ones are shared; and between stack and scan a ring of
 * objects that have been asked for. Rounds of a whole concurrent collection and of the
 * bound take turns in one process, one process for each number of markers. Nothing is
 * freed, so a collection is all marking but for the sweep of bitmaps, which is counted in.
 *
 *   random  nodes of 48 bytes, each refers to four others
 *   lists   64 lists of such nodes in random order: every step waits for the one before
 *   tree    a binary tree, made depth first
 *   table   a hash table: chains in random order, a leaf of 64 to 1024 bytes each
 *   arrays  64 arrays of pointers to leaves of 48 bytes in random order
 *   mixed   objects of 32 to 512 bytes, each refers to others by a third of its words
 *
 * usage: mark_graph [-n OBJECTS] [-r ROUNDS] [-m MARKERS] [SHAPE...] */
#include <polder/polder.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/random.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ROUNDS = 32, MAX_MARKERS = 8, RING = 32, CHUNK_ITEMS = 1022, TOPS = 64, SIZES = 8 };

struct object {
        uint32_t nobjects, nleaves;
        struct object *to[];
};

static struct object *top; /* a registered root: all else is reached from here */
static const struct polder_layout *slot_layout;
static struct pld_random dice;
static size_t count = 20000000;
static uintptr_t lowest = UINTPTR_MAX, highest;

/* ---- Making graphs ----------------------------------------------------------------------- */

static size_t below(size_t n)
{
        return pld_random_below(&dice, (uint32_t)n);
}

static void *checked(void *at)
{
        if (!at) {
                fputs("mark_graph: no memory\n", stderr);
                exit(1);
        }
        return at;
}

static void *noted(void *object)
{
        uintptr_t at = (uintptr_t)checked(object);
        lowest = at < lowest ? at : lowest;
        highest = at > highest ? at : highest;
        return object;
}

static const struct polder_layout *layout_for(size_t nbytes, unsigned npointers)
{
        size_t offsets[64];
        for (unsigned i = 0; i < npointers; i++)
                offsets[i] = 8 + 8 * i;
        return checked((void *)(uintptr_t)polder_layout_of(nbytes, offsets, npointers));
}

static struct object *object_new(const struct polder_layout *layout, unsigned nobjects,
                                 unsigned nleaves)
{
        struct object *object = noted(polder_new(layout));
        object->nobjects = nobjects;
        object->nleaves = nleaves;
        return object;
}

static struct object *array_new(size_t nobjects, size_t nleaves)
{
        struct object *array = noted(polder_new_array(slot_layout, 1 + nobjects + nleaves));
        array->nobjects = (uint32_t)nobjects;
        array->nleaves = (uint32_t)nleaves;
        return array;
}

static void set(struct object *object, size_t i, void *value)
{
        polder_store(&object->to[i], value);
}

/* Not seen by the collector, which does not run while a graph is made. */
static struct object **all_new(size_t n)
{
        return checked(malloc(n * sizeof(struct object *)));
}

static void shuffle(struct object **all, size_t n)
{
        for (size_t i = n; i > 1; i--) {
                size_t j = below(i);
                struct object *other = all[j];
                all[j] = all[i - 1];
                all[i - 1] = other;
        }
}

static void make_random(void)
{
        const struct polder_layout *layout = layout_for(48, 4);
        struct object **all = all_new(count);
        for (size_t i = 0; i < count; i++)
                all[i] = object_new(layout, 4, 0);
        for (size_t i = 0; i < count; i++)
                for (unsigned k = 0; k < 4; k++)
                        set(all[i], k, all[below(count)]);
        for (unsigned i = 0; i < TOPS; i++)
                set(top, i, all[below(count)]);
        free(all);
}

static void make_lists(void)
{
        const struct polder_layout *layout = layout_for(48, 1);
        struct object **all = all_new(count);
        for (size_t i = 0; i < count; i++)
                all[i] = object_new(layout, 1, 0);
        shuffle(all, count);
        for (size_t i = 0; i < count; i++) {
                set(all[i], 0, top->to[i % TOPS]);
                set(top, i % TOPS, all[i]);
        }
        free(all);
}

static struct object *tree_of(const struct polder_layout *layout, size_t n)
{
        if (n == 0)
                return NULL;
        struct object *node = object_new(layout, 2, 0);
        set(node, 0, tree_of(layout, (n - 1) / 2));
        set(node, 1, tree_of(layout, n - 1 - (n - 1) / 2));
        return node;
}

static void make_tree(void)
{
        set(top, 0, tree_of(layout_for(48, 2), count));
}

static void make_table(void)
{
        const struct polder_layout *layout = layout_for(48, 2);
        struct object **all = all_new(count / 2);
        size_t nbuckets = count / 2;
        struct object *table = array_new(nbuckets, 0);
        set(top, 0, table);
        for (size_t i = 0; i < count / 2; i++) {
                all[i] = object_new(layout, 1, 1);
                set(all[i], 1, noted(polder_new_leaf(64 + below(15) * 64)));
        }
        shuffle(all, count / 2);
        for (size_t i = 0; i < count / 2; i++) {
                size_t bucket = below(nbuckets);
                set(all[i], 0, table->to[bucket]);
                set(table, bucket, all[i]);
        }
        free(all);
}

static void make_arrays(void)
{
        struct object **all = all_new(count);
        for (size_t i = 0; i < count; i++)
                all[i] = noted(polder_new_leaf(48));
        shuffle(all, count);
        for (unsigned i = 0; i < TOPS; i++) {
                struct object *array = array_new(0, count / TOPS);
                set(top, i, array);
                for (size_t k = 0; k < count / TOPS; k++)
                        set(array, k, all[i * (count / TOPS) + k]);
        }
        free(all);
}

static void make_mixed(void)
{
        static const unsigned nbytes[SIZES] = { 32, 48, 64, 96, 128, 192, 320, 512 };
        struct object **all = all_new(count);
        for (size_t i = 0; i < count; i++) {
                unsigned size = nbytes[below(SIZES)], n = size / 24;
                all[i] = object_new(layout_for(size, n), n, 0);
        }
        for (size_t i = 0; i < count; i++)
                for (unsigned k = 0; k < all[i]->nobjects; k++)
                        set(all[i], k, all[below(count)]);
        for (unsigned i = 0; i < TOPS; i++)
                set(top, i, all[below(count)]);
        free(all);
}

static const struct shape {
        const char *name;
        void (*make)(void);
        size_t grain;      /* no two objects begin within so many bytes */
        unsigned lessened; /* so many times fewer objects */
} shapes[] = {
        { "random", make_random, 48, 1 }, { "lists", make_lists, 48, 4 },
        { "tree", make_tree, 48, 1 },     { "table", make_table, 48, 2 },
        { "arrays", make_arrays, 48, 1 }, { "mixed", make_mixed, 32, 4 },
};

/* ---- The bound ------------------------------------------------------------------------------ */

struct chunk {
        struct chunk *next;
        size_t n;
        struct object *item[CHUNK_ITEMS];
};

static struct {
        pthread_mutex_t lock;
        struct chunk *full, *empty; /* lock */
        unsigned nmarkers;
        _Atomic unsigned nhungry; /* lock to write */
        _Atomic size_t nfull;     /* lock to write */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Atomic uint64_t *bits;
static size_t nwords;
static uint64_t magic; /* the upper half of offset * magic is a bit's number */

struct marker {
        struct chunk *stack;
        struct object *ring[RING];
        unsigned ring_at, ring_n;
        uint64_t nmarked;
        bool alone;
} __attribute__((aligned(128)));

static void bits_start(const struct shape *shape)
{
        magic = UINT64_MAX / shape->grain + 1;
        nwords = (highest - lowest) / shape->grain / 64 + 1;
        size_t nbytes = pld_round_up(nwords * 8, 2 << 20);
        char *at = mmap(NULL, nbytes + (2 << 20), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
                checked(NULL);
        bits = (void *)pld_round_up((uintptr_t)at, 2 << 20);
        madvise((void *)bits, nbytes, MADV_HUGEPAGE);
}

static struct chunk *chunk_new(void)
{
        pthread_mutex_lock(&pool.lock);
        struct chunk *chunk = pool.empty;
        if (chunk)
                pool.empty = chunk->next;
        pthread_mutex_unlock(&pool.lock);
        if (!chunk)
                chunk = checked(malloc(sizeof *chunk));
        chunk->n = 0;
        return chunk;
}

static void chunk_give(struct chunk *chunk)
{
        pthread_mutex_lock(&pool.lock);
        chunk->next = pool.full;
        pool.full = chunk;
        pool.nfull++;
        pthread_mutex_unlock(&pool.lock);
}

/* The other half of the stack, for those who have nothing. */
static void share(struct marker *marker)
{
        struct chunk *half = chunk_new();
        size_t n = marker->stack->n / 2;
        memcpy(half->item, marker->stack->item, n * sizeof half->item[0]);
        half->n = n;
        memmove(marker->stack->item, marker->stack->item + n,
                (marker->stack->n - n) * sizeof half->item[0]);
        marker->stack->n -= n;
        chunk_give(half);
}

static inline void push(struct marker *marker, struct object *object)
{
        if (pld_unlikely(marker->stack->n == CHUNK_ITEMS)) {
                chunk_give(marker->stack);
                marker->stack = chunk_new();
        }
        marker->stack->item[marker->stack->n++] = object;
}

static inline bool mark(struct marker *marker, struct object *object)
{
        size_t i = pld_mul_high((uintptr_t)object - lowest, magic);
        uint64_t bit = UINT64_C(1) << (i % 64);
        uint64_t word = pld_load_relaxed(&bits[i / 64]);
        if (word & bit)
                return false;
        if (marker->alone)
                pld_store_relaxed(&bits[i / 64], word | bit);
        else if (pld_or_relaxed(&bits[i / 64], bit) & bit)
                return false;
        marker->nmarked++;
        return true;
}

static inline void scan(struct marker *marker, const struct object *object)
{
        size_t n = object->nobjects, nleaves = object->nleaves;
        for (size_t i = 0; i < n; i++)
                if (object->to[i] && mark(marker, object->to[i]))
                        push(marker, object->to[i]);
        for (size_t i = n; i < n + nleaves; i++)
                mark(marker, object->to[i]);
}

static bool take(struct marker *marker)
{
        bool hungry = false, found = false, over = false;
        while (!found && !over) {
                pthread_mutex_lock(&pool.lock);
                if ((found = pool.full != NULL)) {
                        marker->stack->next = pool.empty;
                        pool.empty = marker->stack;
                        marker->stack = pool.full;
                        pool.full = marker->stack->next;
                        pool.nfull--;
                        pool.nhungry -= hungry;
                } else {
                        pool.nhungry += !hungry;
                        hungry = true;
                        over = pool.nhungry == pool.nmarkers;
                }
                pthread_mutex_unlock(&pool.lock);
                for (unsigned i = 0; i < 64 && !found; i++)
                        __asm__ __volatile__("" ::: "memory");
        }
        return found;
}

static void *bound_marker(void *arg)
{
        struct marker *marker = arg;
        do {
                for (;;) {
                        while (marker->ring_n < RING && marker->stack->n > 0) {
                                struct object *object = marker->stack->item[--marker->stack->n];
                                __builtin_prefetch(object);
                                __builtin_prefetch((char *)object + 40);
                                marker->ring[(marker->ring_at + marker->ring_n++) % RING] = object;
                        }
                        if (marker->ring_n == 0)
                                break;
                        struct object *object = marker->ring[marker->ring_at];
                        marker->ring_at = (marker->ring_at + 1) % RING;
                        marker->ring_n--;
                        scan(marker, object);
                        if (pld_unlikely(pld_load_relaxed(&pool.nhungry) &&
                                         !pld_load_relaxed(&pool.nfull) && marker->stack->n > 1))
                                share(marker);
                }
        } while (take(marker));
        return NULL;
}

static double bound(unsigned nmarkers, uint64_t *nmarked)
{
        static struct marker markers[MAX_MARKERS];
        pthread_t threads[MAX_MARKERS];
        memset((void *)bits, 0, nwords * sizeof *bits);
        memset(markers, 0, sizeof markers);
        pool.nmarkers = nmarkers;
        pool.nhungry = 0;
        uint64_t start_ns = pld_now_ns();
        for (unsigned i = 0; i < nmarkers; i++) {
                markers[i].stack = chunk_new();
                markers[i].alone = nmarkers == 1;
        }
        mark(&markers[0], top);
        push(&markers[0], top);
        for (unsigned i = 1; i < nmarkers; i++)
                if (pthread_create(&threads[i], NULL, bound_marker, &markers[i]))
                        checked(NULL);
        bound_marker(&markers[0]);
        *nmarked = markers[0].nmarked;
        for (unsigned i = 1; i < nmarkers; i++) {
                pthread_join(threads[i], NULL);
                *nmarked += markers[i].nmarked;
        }
        return (double)(pld_now_ns() - start_ns) / 1e9;
}

/* ---- Rounds --------------------------------------------------------------------------------- */

static double collect(void)
{
        uint64_t start_ns = pld_now_ns();
        polder_collect(POLDER_CONCURRENT);
        return (double)(pld_now_ns() - start_ns) / 1e9;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return x < y ? -1 : x > y;
}

static void race(const struct shape *shape, unsigned nmarkers, unsigned rounds)
{
        double ours[MAX_ROUNDS], bounds[MAX_ROUNDS], ratios[MAX_ROUNDS];
        uint64_t nmarked = 0;
        char workers[16];
        snprintf(workers, sizeof workers, "%u", nmarkers);
        setenv("POLDER_WORKERS", workers, 1);
        count /= shape->lessened;
        dice = pld_random_seeded(1);
        polder_root_add((void *)&top, sizeof top);
        polder_set_gc_percent(-1);
        const size_t zero = 0;
        slot_layout = checked((void *)(uintptr_t)polder_layout_of(8, &zero, 1));
        top = array_new(TOPS, 0);
        shape->make();
        bits_start(shape);
        collect();
        bound(nmarkers, &nmarked);
        for (unsigned i = 0; i < rounds; i++) {
                bounds[i] = bound(nmarkers, &nmarked);
                ours[i] = collect();
                ratios[i] = bounds[i] / ours[i];
        }
        qsort(ours, rounds, sizeof ours[0], by_value);
        qsort(bounds, rounds, sizeof bounds[0], by_value);
        qsort(ratios, rounds, sizeof ratios[0], by_value);
        struct polder_stats stats = { .struct_size = sizeof stats };
        polder_stats_read(&stats);
        if (stats.live_bytes < nmarked * shape->grain) {
                fputs("mark_graph: less was marked than can be reached\n", stderr);
                exit(1);
        }
        double millions = (double)nmarked / 1e6;
        printf("bench=mark_graph shape=%s markers=%u objects=%llu mobj_s=%.2f bound_mobj_s=%.2f "
               "ratio=%.3f ratio_min=%.3f ratio_max=%.3f best_mobj_s=%.2f best_bound_mobj_s=%.2f\n",
               shape->name, nmarkers, (unsigned long long)nmarked, millions / ours[rounds / 2],
               millions / bounds[rounds / 2], ratios[rounds / 2], ratios[0], ratios[rounds - 1],
               millions / ours[0], millions / bounds[0]);
        fflush(stdout);
        _exit(0);
}

static int race_apart(const struct shape *shape, unsigned nmarkers, unsigned rounds)
{
        int status = 1;
        pid_t child = fork();
        if (child == 0)
                race(shape, nmarkers, rounds);
        if (child > 0)
                waitpid(child, &status, 0);
        return status != 0;
}

int main(int argc, char **argv)
{
        unsigned rounds = 5, only = 0;
        int option, failed = 0;
        while ((option = getopt(argc, argv, "n:r:m:")) != -1) {
                if (option == 'n')
                        count = strtoull(optarg, NULL, 0);
                else if (option == 'r')
                        rounds = (unsigned)strtoul(optarg, NULL, 0);
                else if (option == 'm')
                        only = (unsigned)strtoul(optarg, NULL, 0);
                else
                        return 2;
        }
        if (rounds < 1 || rounds > MAX_ROUNDS || only > MAX_MARKERS || count < 1000)
                return 2;
        for (size_t i = 0; i < PLD_COUNT_OF(shapes); i++) {
                bool wanted = optind == argc;
                for (int k = optind; k < argc; k++)
                        wanted |= !strcmp(argv[k], shapes[i].name);
                for (unsigned n = 1; wanted && n <= 2; n++)
                        if (!only || n == 1)
                                failed |= race_apart(&shapes[i], only ? only : n, rounds);
        }
        return failed;
}
