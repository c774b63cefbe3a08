/* place_heap: is every byte of both heaps where it was asked for?
 *
 * usage: place_heap [nodes=ID,ID…] [bound=1] [even=1] [fallback=1]
 * On each node that has CPUs a thread builds a graph in the collected heap and a
 * set of malloc'ed blocks, small and large. nodes: where memory may lie, the
 * preferred first (a policy is set by numactl); without it every thread's memory
 * must be on its own node. bound: no other node is Polder's at all. even: huge pages must be spread evenly over the nodes.
 * fallback: some step of the backing chain must have been left, and counted.
 * Then cycles run, and each marking thread must be on its own node's CPUs. */
#include <polder/polder.h>

#include "tests/guest/place.h"

#include <dirent.h>
#include <numa.h>
#include <pthread.h>
#include <stdint.h>

enum { NODES = 20000, BLOCKS = 4000, LARGE = 6, LARGE_BYTES = 700000, MAX_IDS = 64, HUGE = 2 << 20 };

struct node {
        struct node *next;
        void *leaf;
        char pad[176];
};

static struct node *heads[MAX_IDS]; /* a registered root */
static const struct polder_layout *layout;
static int allowed[MAX_IDS], nallowed; /* nodes= */
static bool even, bound;
static size_t on_node[MAX_IDS]; /* bytes of whole huge pages seen, for even= */
static uintptr_t seen[4096];
static size_t nseen;

static int wanted_node(int mine)
{
        if (nallowed == 0)
                return mine;
        int best = allowed[0];
        for (int i = 0; i < nallowed; i++)
                if (numa_distance(mine, allowed[i]) < numa_distance(mine, best))
                        best = allowed[i];
        return best;
}

static void note_huge(uintptr_t at, int node)
{
        at &= ~(uintptr_t)(HUGE - 1);
        for (size_t i = 0; i < nseen; i++)
                if (seen[i] == at)
                        return;
        if (nseen < sizeof seen / sizeof seen[0])
                seen[nseen++] = at;
        on_node[node]++;
}

/* Says whether the bytes lie where they should, by the kernel's word and by ours. */
static bool lies_right(const void *at, size_t nbytes, int node)
{
        int ours = polder_node_of(at);
        if (even) {
                bool true_word = true;
                for (size_t i = 0; i < nbytes; i += 4096) {
                        char *byte = (char *)(uintptr_t)at + i;
                        int here = polder_node_of(byte);
                        if (here < 0 || place_elsewhere((char *)((uintptr_t)byte & ~4095ul), 1, here))
                                true_word = false;
                        else
                                note_huge((uintptr_t)byte, here);
                }
                return true_word;
        }
        uintptr_t from = (uintptr_t)at & ~4095ul;
        return ours == node && place_elsewhere((char *)from, (uintptr_t)at + nbytes - from, node) == 0;
}

static void *build(void *arg)
{
        int cpu = (int)(intptr_t)arg;
        if (!place_fact(place_run_on(cpu), "a thread runs on CPU %d", cpu))
                return NULL;
        int mine = place_node_of_cpu(), node = wanted_node(mine);
        size_t wrong = 0;
        for (int i = 0; i < NODES; i++) {
                void *leaf = polder_new_leaf(100 + (size_t)(i % 400));
                struct node *one = polder_new(layout);
                if (!one || !leaf) {
                        place_fact(false, "there is memory on node %d", node);
                        return NULL;
                }
                *one = (struct node){ .leaf = leaf };
                polder_store(&one->next, polder_load(&heads[mine]));
                polder_store(&heads[mine], one);
                if (i % 8 == 0)
                        wrong += (size_t)!lies_right(one, sizeof *one, node) +
                                 (size_t)!lies_right(leaf, 100, node);
        }
        place_fact(wrong == 0, "collected objects of node %d lie on node %d; %zu do not", mine, node,
                   wrong);
        wrong = 0;
        for (size_t i = 0; i < LARGE; i++) {
                char *large = polder_new_leaf(LARGE_BYTES * (1 + i));
                wrong += !large || !lies_right(large, LARGE_BYTES * (1 + i), node);
        }
        place_fact(wrong == 0, "large objects of node %d lie on node %d; %zu do not", mine, node, wrong);
        wrong = 0;
        void **blocks = polder_calloc(BLOCKS, sizeof *blocks);
        for (int i = 0; i < BLOCKS; i++) {
                size_t nbytes = i % 500 ? 16 + (size_t)(i % 3000) : 1200000;
                blocks[i] = polder_malloc(nbytes);
                if (blocks[i])
                        memset(blocks[i], 1, nbytes);
                if (i % 4 == 0 || nbytes > 4000)
                        wrong += !blocks[i] || !lies_right(blocks[i], nbytes, node);
        }
        place_fact(wrong == 0, "malloc'ed blocks of node %d lie on node %d; %zu do not", mine, node, wrong);
        for (int i = 0; i < BLOCKS; i++)
                polder_free(blocks[i]);
        polder_free(blocks);
        return NULL;
}

static size_t count(int node)
{
        size_t n = 0;
        for (struct node *one = polder_load(&heads[node]); one; one = polder_load(&one->next))
                n += polder_size_of(polder_load(&one->leaf)) >= 100;
        return n;
}

static bool cpus_within(const char *list, int node)
{
        struct bitmask *cpus = numa_parse_cpustring_all(list), *home = numa_allocate_cpumask();
        bool within = cpus && numa_node_to_cpus(node, home) == 0;
        for (unsigned i = 0; within && i < cpus->size; i++)
                within = !numa_bitmask_isbitset(cpus, i) || numa_bitmask_isbitset(home, i);
        return within;
}

/* A thread's name and the CPUs it may use, from the kernel. */
static bool read_task(const char *task, char *name, char *cpus)
{
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/self/task/%.20s/status", task);
        FILE *file = fopen(path, "r");
        *name = *cpus = '\0';
        while (file && fgets(line, sizeof line, file)) {
                sscanf(line, "Name: %31s", name);
                sscanf(line, "Cpus_allowed_list: %127s", cpus);
        }
        if (file)
                fclose(file);
        return *name && *cpus;
}

static void look_at_workers(void)
{
        int nworkers = 0;
        DIR *tasks = opendir("/proc/self/task");
        for (struct dirent *task; tasks && (task = readdir(tasks));) {
                char name[32], cpus[128];
                int index;
                if (task->d_name[0] == '.' || !read_task(task->d_name, name, cpus) ||
                    sscanf(name, "polder-mark-%d", &index) != 1)
                        continue;
                nworkers++;
                int node = bound ? allowed[index] : index; /* ids are dense here */
                struct bitmask *home = numa_allocate_cpumask();
                if (numa_node_to_cpus(node, home) == 0 && numa_bitmask_weight(home) > 0)
                        place_fact(cpus_within(cpus, node), "%s runs on node %d, not on CPUs %s", name,
                                   node, cpus);
        }
        if (tasks)
                closedir(tasks);
        place_fact(nworkers > 0, "there are marking threads");
}

static void read_nodes(const char *list)
{
        struct bitmask *mask = list ? numa_parse_nodestring_all(list) : NULL;
        for (unsigned i = 0; mask && i < mask->size && nallowed < MAX_IDS; i++)
                if (numa_bitmask_isbitset(mask, i))
                        allowed[nallowed++] = (int)i;
}

static void look_at_stripes(void)
{
        size_t least = SIZE_MAX, most = 0, total = 0;
        for (int i = 0; i < nallowed; i++) {
                size_t n = on_node[allowed[i]];
                least = n < least ? n : least;
                most = n > most ? n : most;
                total += n;
        }
        /* Seen are only those huge pages that hold something of ours. */
        place_fact(total > 8 && most - least <= 2, "huge pages are spread evenly: from %zu to %zu of %zu",
                   least, most, total);
}

int main(int argc, char **argv)
{
        (void)argc;
        read_nodes(place_argument(argv + 1, "nodes"));
        even = place_argument(argv + 1, "even");
        bound = place_argument(argv + 1, "bound");
        layout = POLDER_LAYOUT(struct node, next, leaf);
        polder_root_add(heads, sizeof heads);
        struct bitmask *cpus = numa_allocate_cpumask();
        for (int node = 0; node <= numa_max_node(); node++) {
                if (numa_node_to_cpus(node, cpus) || numa_bitmask_weight(cpus) == 0)
                        continue;
                intptr_t cpu = 0;
                while (!numa_bitmask_isbitset(cpus, (unsigned)cpu))
                        cpu++;
                if (!numa_bitmask_isbitset(numa_all_cpus_ptr, (unsigned)cpu))
                        continue;
                uintptr_t thread;
                if (polder_thread_create(&thread, build, (void *)cpu) == 0)
                        pthread_join((pthread_t)thread, NULL);
                polder_collect(POLDER_CONCURRENT);
                if (polder_load(&heads[node]))
                        place_fact(count(node) == NODES, "node %d's graph is whole", node);
        }
        polder_collect(POLDER_STOP_THE_WORLD);
        look_at_workers();
        if (even)
                look_at_stripes();
        struct polder_stats stats = { .struct_size = sizeof stats };
        polder_stats_read(&stats);
        place_fact(stats.misplaced_pages == 0, "no huge page is misplaced; %llu are",
                   (unsigned long long)stats.misplaced_pages);
        if (place_argument(argv + 1, "fallback"))
                place_fact(stats.fallbacks > 0, "a step down the chain was counted");
        return place_done();
}
