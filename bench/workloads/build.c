/* build.c: a single thread that allocates, and frees little or nothing. */
#include "bench/workloads/workload.h"

struct link {
        uint32_t content;
        struct link *next;
};

/* A list that only grows, as a compiler's. An operation: malloc. */
uint64_t run_build(const struct setting *setting)
{
        static uint32_t sizes[SIZES];
        struct link *list = NULL;
        fill_sizes(sizes, setting->low, setting->high, 11);
        for (uint64_t i = 0; i < setting->operations; i++) {
                struct link *link = get(sizes[i % SIZES]);
                link->next = list;
                list = link;
        }
        *(struct link *volatile *)&list = list;
        return setting->operations;
}

struct tree {
        uint32_t content;
        struct tree *left, *right;
};

static struct tree *tree_make(unsigned depth)
{
        struct tree *tree = get(sizeof *tree);
        tree->left = depth ? tree_make(depth - 1) : NULL;
        tree->right = depth ? tree_make(depth - 1) : NULL;
        return tree;
}

static void tree_end(struct tree *tree)
{
        if (tree->left)
                tree_end(tree->left);
        if (tree->right)
                tree_end(tree->right);
        put(tree);
}

/* Binary trees of many depths beside a tall one that stays, after the benchmarks game.
 * An operation: malloc, free. */
uint64_t run_trees(const struct setting *setting)
{
        enum { TALLEST = 17, LOWEST = 4 };
        uint64_t done = 0;
        struct tree *stays = tree_make(TALLEST);
        while (done < setting->operations) {
                for (unsigned depth = LOWEST; depth < TALLEST; depth += 4) {
                        for (unsigned trees = 1u << (TALLEST - 1 - depth); trees; trees--) {
                                tree_end(tree_make(depth));
                                done += (2u << depth) - 1;
                        }
                }
        }
        tree_end(stays);
        return done + (2u << TALLEST) - 1;
}
