#include "arena/arena.h"
#include "arena/node_stats.h"

#include <errno.h>
#include <polder/stats.h>
#include <string.h>

static size_t locked_bytes(unsigned node)
{
        size_t n = 0;
        for (enum pld_backing kind = PLD_BACKING_NONE + 1; kind < PLD_BACKING_KINDS; kind++)
                n += pld_backing_locked_bytes(node, kind);
        return n;
}

static struct polder_node_stats read_now(unsigned index)
{
        const struct pld_node *node = &pld_machine.node[index];
        struct pld_node_counts *counts = &pld_node_counts[index];
        struct polder_node_stats now = {
                .node = node->id,
                .tier = node->far,
                .allowed = pld_machine_is_allowed(index),
                .total_bytes = node->nbytes,
                .backed_1g_bytes = pld_backing_bytes(index, PLD_BACKING_1G),
                .backed_2m_bytes = pld_backing_bytes(index, PLD_BACKING_2M),
                .backed_thp_bytes = pld_backing_bytes(index, PLD_BACKING_THP),
                .backed_base_bytes = pld_backing_bytes(index, PLD_BACKING_BASE),
                .locked_bytes = locked_bytes(index),
                .allocated_bytes = pld_load_relaxed(&counts->allocated),
                .foreign_bytes = pld_load_relaxed(&counts->foreign),
                .missed_bytes = pld_load_relaxed(&counts->missed),
                .freed_abroad_bytes = pld_load_relaxed(&counts->freed_abroad),
                .arrivals = pld_load_relaxed(&counts->arrivals),
        };
        pld_page_heap_count_node(index, &now.used_bytes, &now.idle_bytes);
        return now;
}

int polder_node_stats_read(int node, struct polder_node_stats *stats)
{
        size_t room = stats->struct_size;
        if (room == 0 || room > sizeof *stats)
                return -EINVAL;
        int index = pld_arena_is_started() ? pld_machine_index_of(node) : -ENOENT;
        if (index < 0)
                return -ENOENT;
        struct polder_node_stats now = read_now((unsigned)index);
        now.struct_size = room;
        memcpy(stats, &now, room);
        return 0;
}
