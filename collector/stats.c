/* stats.c: the figures, and how they are written down.
 *
 * A table names each figure with its unit and its place in the struct; all are 64 bits
 * wide. The three formats walk the tables, so a figure that is added to one of them is
 * in all three. Those of a node are read in node_stats.c, times in histograms.c. Nothing
 * here is locked: figures are read one by one while the program runs. */
#include "arena/arena.h"
#include "arena/stall.h"
#include "base/check.h"
#include "collector/cycle.h"
#include "collector/generation.h"
#include "collector/histograms.h"
#include "collector/pacer.h"
#include "collector/finalizer.h"
#include "collector/request.h"
#include "collector/start.h"

#include <errno.h>
#include <polder/stats.h>
#include <stdio.h>
#include <string.h>

enum kind { COUNTER, GAUGE };

struct figure {
        const char *name; /* with its unit */
        enum kind kind;
        size_t offset; /* of a 64-bit field */
};

#define FIGURE(name, kind)                                                                         \
        {                                                                                          \
#name, kind, offsetof(struct polder_stats, name)                                   \
        }
static const struct figure figures[] = {
        FIGURE(cycles, COUNTER),          FIGURE(stops, COUNTER),
        FIGURE(stop_ns_total, COUNTER),   FIGURE(stop_ns_max, GAUGE),
        FIGURE(handshake_ns_max, GAUGE),  FIGURE(stall_ns_max, GAUGE),
        FIGURE(mark_ns_total, COUNTER),   FIGURE(swept_bytes, COUNTER),
        FIGURE(allocated_bytes, COUNTER), FIGURE(assists, COUNTER),
        FIGURE(live_bytes, GAUGE),        FIGURE(heap_bytes, GAUGE),
        FIGURE(goal_bytes, GAUGE),        FIGURE(resident_bytes, GAUGE),
        FIGURE(huge_bytes, GAUGE),        FIGURE(fallbacks, COUNTER),
        FIGURE(misplaced_pages, COUNTER), FIGURE(young_cycles, COUNTER),
        FIGURE(young_bytes, COUNTER),     FIGURE(promoted_bytes, COUNTER),
        FIGURE(noted_slots, COUNTER),     FIGURE(old_bytes, GAUGE),
        FIGURE(finalizers_called, COUNTER), FIGURE(finalizers_pending, GAUGE),
};

#define NODE_FIGURE(name, kind)                                                                    \
        {                                                                                          \
#name, kind, offsetof(struct polder_node_stats, name)                              \
        }
static const struct figure node_figures[] = {
        NODE_FIGURE(tier, GAUGE),
        NODE_FIGURE(allowed, GAUGE),
        NODE_FIGURE(total_bytes, GAUGE),
        NODE_FIGURE(backed_1g_bytes, GAUGE),
        NODE_FIGURE(backed_2m_bytes, GAUGE),
        NODE_FIGURE(backed_thp_bytes, GAUGE),
        NODE_FIGURE(backed_base_bytes, GAUGE),
        NODE_FIGURE(locked_bytes, GAUGE),
        NODE_FIGURE(used_bytes, GAUGE),
        NODE_FIGURE(idle_bytes, GAUGE),
        NODE_FIGURE(allocated_bytes, COUNTER),
        NODE_FIGURE(foreign_bytes, COUNTER),
        NODE_FIGURE(missed_bytes, COUNTER),
        NODE_FIGURE(freed_abroad_bytes, COUNTER),
        NODE_FIGURE(arrivals, COUNTER),
};
static_assert(sizeof(size_t) == sizeof(uint64_t), "figures are read as 64-bit fields");

int polder_stats_read(struct polder_stats *stats)
{
        size_t room = stats->struct_size;
        if (room == 0 || room > sizeof *stats)
                return -EINVAL;
        struct polder_stats now = { .struct_size = room };
        if (pld_load_acquire(&pld_started)) {
                struct pld_pace pace = pld_pacer_read();
                struct pld_histogram_copy stops;
                pld_histogram_copy(&pld_stop_times, &stops);
                now.cycles = pld_requests_done();
                now.stops = stops.count;
                now.stop_ns_total = stops.sum;
                now.stop_ns_max = stops.max;
                now.handshake_ns_max = pld_load_relaxed(&pld_handshake_times.max);
                now.stall_ns_max = pld_load_relaxed(&pld_stall_sums.max);
                now.mark_ns_total = pace.mark_ns;
                now.swept_bytes = pld_load_relaxed(&pld_swept_bytes);
                now.allocated_bytes = pace.allocated;
                now.assists = pace.assists;
                now.live_bytes = pace.live;
                now.heap_bytes = pace.heap;
                now.goal_bytes = pace.goal;
                now.finalizers_called = pld_finalizers_called();
                now.finalizers_pending = pld_finalizers_pending();
                pld_generation_read(&now);
        }
        now.resident_bytes = pld_page_heap_backed_bytes();
        now.huge_bytes = pld_page_heap_huge_bytes();
        now.fallbacks = pld_backing_fallbacks_total();
        now.misplaced_pages = pld_backing_misplaced();
        memcpy(stats, &now, room);
        return 0;
}

static unsigned long long value_of(const void *stats, const struct figure *figure)
{
        uint64_t value;
        memcpy(&value, (const char *)stats + figure->offset, sizeof value);
        return value;
}

/* Of all nodes in use; how many. */
static unsigned read_nodes(struct polder_node_stats out[PLD_MAX_NODES])
{
        unsigned n = pld_arena_is_started() ? pld_machine.nnodes : 0;
        for (unsigned i = 0; i < n; i++) {
                out[i].struct_size = sizeof out[i];
                polder_node_stats_read(pld_machine.node[i].id, &out[i]);
        }
        return n;
}

static void print_text(FILE *to, const struct polder_stats *stats,
                       const struct polder_node_stats *nodes, unsigned nnodes)
{
        for (size_t i = 0; i < PLD_COUNT_OF(figures); i++)
                fprintf(to, "%-26s %20llu\n", figures[i].name, value_of(stats, &figures[i]));
        for (unsigned n = 0; n < nnodes; n++)
                for (size_t i = 0; i < PLD_COUNT_OF(node_figures); i++) {
                        char name[64];
                        snprintf(name, sizeof name, "node%d_%s", nodes[n].node,
                                 node_figures[i].name);
                        fprintf(to, "%-26s %20llu\n", name, value_of(&nodes[n], &node_figures[i]));
                }
}

static void print_json(FILE *to, const struct polder_stats *stats,
                       const struct polder_node_stats *nodes, unsigned nnodes)
{
        fputs("{ ", to);
        for (size_t i = 0; i < PLD_COUNT_OF(figures); i++)
                fprintf(to, "\"%s\": %llu, ", figures[i].name, value_of(stats, &figures[i]));
        fputs("\"nodes\": [", to);
        for (unsigned n = 0; n < nnodes; n++) {
                fprintf(to, "%s{ \"node\": %d", n ? ", " : "", nodes[n].node);
                for (size_t i = 0; i < PLD_COUNT_OF(node_figures); i++)
                        fprintf(to, ", \"%s\": %llu", node_figures[i].name,
                                value_of(&nodes[n], &node_figures[i]));
                fputs(" }", to);
        }
        fputs("], ", to);
        pld_histograms_print_json(to);
        fputs(" }\n", to);
}

static const char *type_of(const struct figure *figure)
{
        return figure->kind == COUNTER ? "counter" : "gauge";
}

static void print_prometheus(FILE *to, const struct polder_stats *stats,
                             const struct polder_node_stats *nodes, unsigned nnodes)
{
        for (size_t i = 0; i < PLD_COUNT_OF(figures); i++)
                fprintf(to, "# TYPE polder_%s %s\npolder_%s %llu\n", figures[i].name,
                        type_of(&figures[i]), figures[i].name, value_of(stats, &figures[i]));
        for (size_t i = 0; nnodes && i < PLD_COUNT_OF(node_figures); i++) {
                const char *name = node_figures[i].name;
                fprintf(to, "# TYPE polder_node_%s %s\n", name, type_of(&node_figures[i]));
                for (unsigned n = 0; n < nnodes; n++)
                        fprintf(to, "polder_node_%s{node=\"%d\"} %llu\n", name, nodes[n].node,
                                value_of(&nodes[n], &node_figures[i]));
        }
}

int polder_stats_print(FILE *to, const char *format)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        struct polder_node_stats nodes[PLD_MAX_NODES];
        polder_stats_read(&stats);
        unsigned nnodes = read_nodes(nodes);
        if (!strcmp(format, "text"))
                print_text(to, &stats, nodes, nnodes), pld_histograms_print_text(to);
        else if (!strcmp(format, "json"))
                print_json(to, &stats, nodes, nnodes);
        else if (!strcmp(format, "prometheus"))
                print_prometheus(to, &stats, nodes, nnodes), pld_histograms_print_prometheus(to);
        else
                return -EINVAL;
        return ferror(to) ? -EIO : 0;
}
