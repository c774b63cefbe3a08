/* graph.c: how long does it take to mark graphs of a million nodes and more?
 *
 * Nodes are 48 bytes: four pointers and two numbers. The shapes are
 *
 *   random   each node refers to four others; about 98 of 100 can be reached
 *   lists    64 lists, which were made side by side
 *   tree     a binary tree, in the order of a walk
 *   table    a hash table: an array, chains of nodes, a leaf of 64 bytes each
 *   arrays   64 wide arrays, that refer to leaves of 48 bytes at random
 *   mixed    as many nodes of a random graph, of lists, of a tree and of a table
 *
 * The whole heap is collected some times and nothing is freed: so it is all marking. Where that
 * can be done beside the program it is, by as many markers as are set; in a stop the thread that
 * asks marks, too. The bound, measured beside it in the same memory (bound.c), is what a loop can
 * do that knows the graph and nothing else. */
#include "bench/collectors/graph.h"

#include <string.h>

static memory_kind node_kind;
static struct {
        struct graph graph;
} root;

static struct node *node_new(void)
{
        struct node *node = memory_new(node_kind);
        if (!node)
                give_up("no memory");
        return node;
}

static struct node *leaf_new(size_t nbytes)
{
        char *leaf = memory_new_leaf(nbytes);
        if (!leaf)
                give_up("no memory");
        memset(leaf, 0, nbytes);
        return (struct node *)leaf;
}

static struct node **array_new(struct graph *graph, size_t count)
{
        struct node **array = memory_new_pointers(count);
        if (!array)
                give_up("no memory");
        unsigned i = graph->narrays++;
        memory_store(&graph->array[i].at, array);
        graph->array[i].count = count;
        graph->objects++;
        return array;
}

/* All nodes are known by an array while the graph is made, which then is dropped. */
static void make_random(struct graph *graph, uint64_t count)
{
        struct node **all = memory_new_pointers(count);
        struct random random = random_of(5);
        for (uint64_t i = 0; i < count; i++) {
                struct node *node = node_new();
                node->number = i;
                memory_store(&all[i], node);
        }
        for (uint64_t i = 0; i < count; i++)
                for (unsigned k = 0; k < NODE_POINTERS; k++)
                        memory_store(&all[i]->to[k], all[random_below(&random, count)]);
        struct node **first = array_new(graph, 64);
        for (unsigned i = 0; i < 64; i++)
                memory_store(&first[i], all[i]);
        graph->objects += count;
        memory_free(all);
}

static void make_lists(struct graph *graph, uint64_t count)
{
        enum { LISTS = 64 };
        struct node **heads = array_new(graph, LISTS);
        for (uint64_t i = 0; i < count; i++) {
                struct node *node = node_new();
                memory_fill(&node->to[0], heads[i % LISTS]);
                node->number = i;
                memory_store(&heads[i % LISTS], node);
        }
        graph->objects += count;
}

static struct node *tree_of(uint64_t count)
{
        if (!count)
                return NULL;
        struct node *left = tree_of((count - 1) / 2), *right = tree_of(count - 1 - (count - 1) / 2);
        struct node *node = node_new();
        memory_fill(&node->to[0], left);
        memory_fill(&node->to[1], right);
        node->number = count;
        return node;
}

static void make_tree(struct graph *graph, uint64_t count)
{
        struct node **top = array_new(graph, 1);
        memory_store(&top[0], tree_of(count));
        graph->objects += count;
}

static void make_table(struct graph *graph, uint64_t count)
{
        struct random random = random_of(6);
        size_t buckets = count / 2;
        struct node **table = array_new(graph, buckets);
        for (uint64_t i = 0; i < count / 2; i++) {
                size_t bucket = random_below(&random, buckets);
                struct node *leaf = leaf_new(64);
                struct node *node = node_new();
                memory_fill(&node->to[0], table[bucket]);
                memory_fill(&node->to[LEAF_SLOT], leaf);
                node->number = i;
                memory_store(&table[bucket], node);
        }
        graph->has_leaves = true;
        graph->objects += count / 2 * 2;
}

static void make_arrays(struct graph *graph, uint64_t count)
{
        enum { ARRAYS = 64 };
        struct random random = random_of(8);
        size_t length = count / ARRAYS;
        struct node **leaves = memory_new_pointers(length);
        for (unsigned k = 0; k < ARRAYS; k++) {
                struct node **array = array_new(graph, length);
                for (size_t i = 0; i < length; i++)
                        memory_store(&leaves[i], leaf_new(48));
                for (size_t i = 0; i < length; i++) { /* each once, in another order */
                        size_t other = i + random_below(&random, length - i);
                        memory_store(&array[i], leaves[other]);
                        memory_store(&leaves[other], leaves[i]);
                }
        }
        graph->leads_to_leaves = true;
        graph->objects += length * ARRAYS;
}

void graph_make(struct graph *graph, const char *shape, uint64_t count)
{
        node_kind = memory_kind_of(sizeof(struct node), NODE_POINTERS);
        if (!strcmp(shape, "random")) {
                make_random(graph, count);
        } else if (!strcmp(shape, "lists")) {
                make_lists(graph, count);
        } else if (!strcmp(shape, "tree")) {
                make_tree(graph, count);
        } else if (!strcmp(shape, "table")) {
                make_table(graph, count);
        } else if (!strcmp(shape, "arrays")) {
                make_arrays(graph, count);
        } else if (!strcmp(shape, "mixed")) {
                make_table(graph, count / 4);
                make_random(graph, count / 4);
                make_lists(graph, count / 4);
                make_tree(graph, count / 4);
                graph->has_leaves = false; /* the bare loop does not know which is which */
        } else {
                give_up("there is no such shape");
        }
}

/* --- Collections ----------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return x < y ? -1 : x > y;
}

static double median(double *values, unsigned n)
{
        qsort(values, n, sizeof *values, by_value);
        return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double collect_seconds(enum memory_mode mode, unsigned times)
{
        double seconds[64];
        for (unsigned i = 0; i < times; i++) {
                uint64_t began = now_ns();
                memory_collect(mode);
                seconds[i] = (double)(now_ns() - began) / 1e9;
        }
        return median(seconds, times);
}

static double bound_seconds(const struct graph *graph, unsigned threads, unsigned times,
                            uint64_t *reached)
{
        double seconds[64];
        for (unsigned i = 0; i < times; i++)
                *reached = bound_mark(graph, threads, &seconds[i]);
        return median(seconds, times);
}

/* What can be reached is what the heap holds afterwards, as its collector sees it. */
static void check(const struct graph *graph, uint64_t reached)
{
#ifdef MEMORY_POLDER
        struct polder_stats stats = { .struct_size = sizeof stats };
        polder_stats_read(&stats);
        say("marked_mib=%.1f", (double)stats.live_bytes / 1048576);
        if (stats.live_bytes < (reached - graph->narrays) * sizeof(struct node))
                give_up("less is marked than can be reached");
#elif defined MEMORY_BDWGC
        if (GC_get_heap_size() - GC_get_free_bytes() < reached * 95 / 100 * sizeof(struct node))
                give_up("the heap holds less than can be reached");
#endif
        if (reached > graph->objects || reached < graph->objects * 95 / 100)
                give_up("the graph is not whole");
}

static void make_and_collect(const struct setting *setting, unsigned index)
{
        struct graph *graph = &root.graph;
        unsigned times = setting->cycles && setting->cycles < 64 ? setting->cycles : 5;
        (void)index;
        graph_make(graph, setting->shape, setting->count);
        memory_collect(MEMORY_STOPPED); /* what making it has left */
        double stopped = collect_seconds(MEMORY_STOPPED, times);
        double concurrent = collect_seconds(MEMORY_CONCURRENT, times);
        uint64_t reached = graph->objects;
        double one = 0, two = 0;
        if (bound_start()) {
                one = bound_seconds(graph, 1, times, &reached);
                two = bound_seconds(graph, 2, times, &reached);
        }
        check(graph, reached);
        double millions = (double)reached / 1e6;
        say("shape=%s objects=%llu stopped_mobj_s=%.3f concurrent_mobj_s=%.3f mobj_s=%.3f",
            setting->shape, (unsigned long long)reached, millions / stopped, millions / concurrent,
            millions / (MEMORY_STOPS_ONLY && stopped < concurrent ? stopped : concurrent));
        if (one > 0)
                say("bound1_mobj_s=%.3f bound2_mobj_s=%.3f", millions / one, millions / two);
}

void run_graph(const struct setting *setting)
{
        memory_root(&root, sizeof root);
        in_threads(setting, 1, make_and_collect, NULL);
}
