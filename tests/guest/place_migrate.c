/* place_migrate: does a block that is moved to another node lie there, with what it holds?
 *
 * usage: place_migrate [pool=1]
 * From each node to each other one: malloc'ed blocks, populated or not, and a collected
 * object. The kernel is asked for every page. pool: the first blocks are of 2M pages of
 * node 0's pool, and must be so still. */
#include <polder/polder.h>

#include "tests/guest/place.h"

#include <numa.h>
#include <stdint.h>

enum { MIB_2 = 2 << 20, NHUGE = 3, BYTES = NHUGE * MIB_2 };

static void fill(unsigned char *p, size_t nbytes)
{
        for (size_t i = 0; i < nbytes; i += 512)
                p[i] = (unsigned char)(i / 512 * 7);
}

static bool is_filled(const unsigned char *p, size_t nbytes)
{
        for (size_t i = 0; i < nbytes; i += 512)
                if (p[i] != (unsigned char)(i / 512 * 7))
                        return false;
        return true;
}

static struct polder_node_stats stats_of(int node)
{
        struct polder_node_stats stats = { .struct_size = sizeof stats };
        polder_node_stats_read(node, &stats);
        return stats;
}

static bool lies_on(char *p, size_t nbytes, int node)
{
        for (size_t i = 0; i < nbytes; i += MIB_2)
                if (polder_node_of(p + i) != node)
                        return false;
        return place_elsewhere(p, nbytes, node) == 0;
}

static void move_block(int from, int to, bool of_pool)
{
        char *p = polder_malloc_onnode(BYTES, from);
        if (!place_fact(p != NULL, "there is memory on node %d", from))
                return;
        fill((unsigned char *)p, BYTES);
        struct polder_node_stats before = stats_of(to);
        int error = polder_migrate(p, BYTES, to);
        struct polder_node_stats after = stats_of(to);
        place_fact(error == 0, "a block moves from node %d to %d: %s", from, to, strerror(-error));
        place_fact(lies_on(p, BYTES, to), "it lies there");
        place_fact(is_filled((unsigned char *)p, BYTES), "it holds what it held");
        place_fact(after.used_bytes == before.used_bytes + BYTES, "node %d's figures say so", to);
        if (of_pool)
                place_fact(after.backed_2m_bytes == before.backed_2m_bytes + BYTES,
                           "in pages of the pool");
        polder_free(p);
        char *again = polder_malloc_onnode(BYTES, from);
        memset(again, 1, BYTES);
        place_fact(lies_on(again, BYTES, from), "the next block of node %d lies on it", from);
        polder_free(again);
}

static void move_untouched(int from, int to)
{
        char *p = polder_malloc_onnode(BYTES, from);
        place_fact(polder_migrate(p, BYTES, to) == 0, "an untouched block moves to node %d", to);
        memset(p, 1, BYTES);
        place_fact(lies_on(p, BYTES, to), "it comes to lie there when it is touched");
        polder_free(p);
}

static void move_object(int from, int to)
{
        static const struct polder_layout *layout;
        if (!layout)
                layout = polder_layout_of(BYTES, NULL, 0);
        unsigned char *p = layout ? polder_new_onnode(layout, from) : NULL;
        if (!place_fact(p != NULL, "there is an object on node %d", from))
                return;
        fill(p, BYTES);
        place_fact(polder_migrate(p, BYTES, to) == 0, "a collected object moves to node %d", to);
        place_fact(lies_on((char *)p, BYTES, to) && is_filled(p, BYTES), "it lies there, whole");
        polder_collect(POLDER_STOP_THE_WORLD);
        place_fact(is_filled(p, BYTES), "a collection keeps it");
}

int main(int argc, char **argv)
{
        bool of_pool = place_argument(argv + 1, "pool");
        (void)argc;
        polder_free(polder_malloc(1));
        for (int from = 0; from <= numa_max_node(); from++) {
                for (int to = 0; to <= numa_max_node(); to++) {
                        if (to == from)
                                continue;
                        move_block(from, to, of_pool && from == 0);
                        move_untouched(from, to);
                        move_object(from, to);
                }
        }
        place_fact(polder_migrate(&argc, sizeof argc, 0) == -EINVAL, "the stack is no block");
        return place_done();
}
