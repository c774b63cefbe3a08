/* trees.c: how fast are trees made and dropped? */
#include "bench/collectors/load.h"

/* --- Binary trees, after the benchmarks game: two pointers a node, children first; a tall
 * tree that stays, and short ones of many depths, as many nodes at each depth --------------- */

struct tree {
        struct tree *left, *right;
};

static memory_kind tree_kind;
static uint64_t nodes_made;

static struct tree *tree_make(unsigned depth)
{
        struct tree *left = NULL, *right = NULL;
        if (depth) {
                left = tree_make(depth - 1);
                right = tree_make(depth - 1);
        }
        struct tree *tree = memory_new(tree_kind);
        if (!tree)
                give_up("no memory");
        memory_fill(&tree->left, left);
        memory_fill(&tree->right, right);
        return tree;
}

static uint64_t tree_count(struct tree *tree)
{
        struct tree *left = memory_load(&tree->left), *right = memory_load(&tree->right);
        return 1 + (left ? tree_count(left) + tree_count(right) : 0);
}

static void tree_end(struct tree *tree)
{
        if (tree->left) {
                tree_end(tree->left);
                tree_end(tree->right);
        }
        memory_free(tree);
}

static void make_and_drop(unsigned depth)
{
        struct tree *tree = tree_make(depth);
        if (tree_count(tree) != (2u << depth) - 1)
                give_up("a tree is not whole");
        if (MEMORY_IS_MANUAL)
                tree_end(tree);
}

static void make_trees(const struct setting *setting, unsigned index)
{
        enum { SHORTEST = 4 };
        uint64_t made = 0;
        struct tree *stays = NULL;
        if (!index) {
                make_and_drop(setting->depth + 1);
                stays = tree_make(setting->depth);
                made += (4u << setting->depth) - 1 + (2u << setting->depth) - 1;
        }
        for (unsigned depth = SHORTEST; depth <= setting->depth; depth += 2) {
                unsigned trees = 1u << (setting->depth - depth + SHORTEST);
                for (unsigned i = index; i < trees; i += setting->threads) {
                        make_and_drop(depth);
                        made += (2u << depth) - 1;
                }
        }
        if (stays && tree_count(stays) != (2u << setting->depth) - 1)
                give_up("the tree that stays is not whole");
        __atomic_fetch_add(&nodes_made, made, __ATOMIC_RELAXED);
}

static void say_nodes(uint64_t began)
{
        double seconds = (double)(now_ns() - began) / 1e9;
        say("nodes=%llu mnodes_s=%.3f", (unsigned long long)nodes_made,
            (double)nodes_made / seconds / 1e6);
}

void run_trees(const struct setting *setting)
{
        tree_kind = memory_kind_of(sizeof(struct tree), 2);
        uint64_t began = now_ns();
        in_threads(setting, setting->threads, make_trees, NULL);
        say_nodes(began);
}

/* --- The mix, like Ellis, Kovac and Boehm's GCBench: each thread has a tree and an array of
 * numbers that stay, and makes trees of all depths, half of them from their leaves and half
 * from their roots; the last 64 trees are held in an array, which is replaced when it is full.
 * A node has two pointers and two numbers ---------------------------------------------------- */

struct branch {
        struct branch *left, *right;
        uint64_t depth, number;
};

enum { HELD = 64, NUMBERS = 500000 };

static memory_kind branch_kind;

static struct branch *branch_new(unsigned depth)
{
        struct branch *branch = memory_new(branch_kind);
        if (!branch)
                give_up("no memory");
        branch->depth = depth;
        branch->number = depth * 3;
        return branch;
}

static struct branch *branch_from_leaves(unsigned depth)
{
        struct branch *left = NULL, *right = NULL;
        if (depth) {
                left = branch_from_leaves(depth - 1);
                right = branch_from_leaves(depth - 1);
        }
        struct branch *branch = branch_new(depth);
        memory_fill(&branch->left, left);
        memory_fill(&branch->right, right);
        return branch;
}

static void branch_populate(struct branch *branch, unsigned depth)
{
        if (!depth) {
                if (MEMORY_IS_MANUAL)
                        branch->left = branch->right = NULL;
                return;
        }
        memory_store(&branch->left, branch_new(depth - 1));
        memory_store(&branch->right, branch_new(depth - 1));
        branch_populate(branch->left, depth - 1);
        branch_populate(branch->right, depth - 1);
}

static struct branch *branch_from_root(unsigned depth)
{
        struct branch *branch = branch_new(depth);
        branch_populate(branch, depth);
        return branch;
}

static uint64_t branch_count(struct branch *branch)
{
        if (branch->number != branch->depth * 3)
                give_up("a node lost its numbers");
        struct branch *left = memory_load(&branch->left), *right = memory_load(&branch->right);
        return 1 + (left ? branch_count(left) + branch_count(right) : 0);
}

static void branch_end(struct branch *branch)
{
        if (branch->left) {
                branch_end(branch->left);
                branch_end(branch->right);
        }
        memory_free(branch);
}

static void end_held(struct branch **held)
{
        for (unsigned i = 0; i < HELD; i++)
                if (held[i])
                        branch_end(held[i]);
        memory_free(held);
}

static void mix(const struct setting *setting, unsigned index)
{
        enum { SHORTEST = 4 };
        uint64_t made = (2u << setting->depth) - 1;
        struct branch *stays = branch_from_root(setting->depth);
        double *numbers = memory_new_leaf(NUMBERS * sizeof *numbers);
        for (unsigned i = 0; i < NUMBERS; i++)
                numbers[i] = 1.0 / (i + 1 + index);
        struct branch **held = memory_new_pointers(HELD);
        unsigned count = 0;
        for (unsigned depth = SHORTEST; depth <= setting->depth; depth += 2) {
                for (unsigned trees = 64u << (setting->depth - depth); trees; trees--) {
                        struct branch *tree =
                            trees % 2 ? branch_from_leaves(depth) : branch_from_root(depth);
                        made += (2u << depth) - 1;
                        if (count == HELD) {
                                if (branch_count(memory_load(&held[trees % HELD])) < 31)
                                        give_up("a tree that was held is not whole");
                                if (MEMORY_IS_MANUAL)
                                        end_held(held);
                                held = memory_new_pointers(HELD);
                                count = 0;
                        }
                        memory_store(&held[count], tree);
                        count++;
                }
        }
        if (MEMORY_IS_MANUAL)
                end_held(held);
        if (branch_count(stays) != (2u << setting->depth) - 1)
                give_up("the tree that stays is not whole");
        for (unsigned i = 0; i < NUMBERS; i++)
                if (numbers[i] != 1.0 / (i + 1 + index))
                        give_up("the array that stays is not whole");
        __atomic_fetch_add(&nodes_made, made, __ATOMIC_RELAXED);
}

void run_mix(const struct setting *setting)
{
        branch_kind = memory_kind_of(sizeof(struct branch), 2);
        uint64_t began = now_ns();
        in_threads(setting, setting->threads, mix, NULL);
        say_nodes(began);
}
