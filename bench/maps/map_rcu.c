/* map_rcu.c: liburcu's rculfhash on jemalloc, with quiescent states. What was replaced goes to
 * call_rcu in batches, as in the example server (examples/kvd/memory_rcu.c). */
#include "bench/maps/map.h"

#include "examples/kvd/memory.h"

#include <stdlib.h>

#include <urcu/urcu-qsbr.h>

#include <urcu/rculfhash.h>

struct entry {
        struct cds_lfht_node node;
        struct content content;
};

const char *const map_name = "rculfhash";

static struct cds_lfht *table;

static int matches(struct cds_lfht_node *node, const void *key)
{
        return caa_container_of(node, struct entry, node)->content.key == *(const uint64_t *)key;
}

void map_start(size_t expected)
{
        unsigned long nbuckets = 1;
        while (nbuckets < expected)
                nbuckets *= 2;
        if (memory_start())
                abort();
        table =
            cds_lfht_new_flavor(nbuckets, nbuckets, 0, CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING,
                                &urcu_qsbr_flavor, NULL);
        if (!table)
                abort();
}

void map_thread_begin(void)
{
        if (memory_thread_begin())
                abort();
}

void map_thread_end(void)
{
        memory_thread_end();
}

void map_turn(void)
{
        memory_turn();
}

uint64_t map_look_up(uint64_t key)
{
        struct cds_lfht_iter at;
        cds_lfht_lookup(table, map_hash(key), matches, &key, &at);
        struct cds_lfht_node *node = cds_lfht_iter_get_node(&at);
        return node ? content_sum(&caa_container_of(node, struct entry, node)->content) : 0;
}

void map_set(uint64_t key, uint64_t nwords)
{
        struct entry *entry = malloc(sizeof *entry + nwords * sizeof(uint64_t));
        if (!entry)
                abort();
        cds_lfht_node_init(&entry->node);
        content_fill(&entry->content, key, nwords);
        struct cds_lfht_node *old =
            cds_lfht_add_replace(table, map_hash(key), matches, &key, &entry->node);
        if (old)
                memory_retire(caa_container_of(old, struct entry, node));
}

void map_erase(uint64_t key)
{
        struct cds_lfht_iter at;
        cds_lfht_lookup(table, map_hash(key), matches, &key, &at);
        struct cds_lfht_node *node = cds_lfht_iter_get_node(&at);
        if (node && cds_lfht_del(table, node) == 0)
                memory_retire(caa_container_of(node, struct entry, node));
}
