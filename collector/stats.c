#include "base/check.h"
#include "collector/cycle.h"
#include "collector/pacer.h"
#include "collector/start.h"

#include <errno.h>
#include <polder/stats.h>
#include <stdio.h>
#include <string.h>

enum kind { COUNTER, GAUGE };

struct figure {
        const char *name; /* with its unit */
        enum kind kind;
        size_t offset;    /* of a 64-bit field */
};

#define FIGURE(name, kind) { #name, kind, offsetof(struct polder_stats, name) }
static const struct figure figures[] = {
        FIGURE(cycles, COUNTER),          FIGURE(stops, COUNTER),
        FIGURE(stop_ns_total, COUNTER),   FIGURE(stop_ns_max, GAUGE),
        FIGURE(handshake_ns_max, GAUGE),  FIGURE(stall_ns_max, GAUGE),
        FIGURE(mark_ns_total, COUNTER),   FIGURE(swept_bytes, COUNTER),
        FIGURE(allocated_bytes, COUNTER), FIGURE(assists, COUNTER),
        FIGURE(live_bytes, GAUGE),        FIGURE(heap_bytes, GAUGE),
        FIGURE(goal_bytes, GAUGE),        FIGURE(resident_bytes, GAUGE),
        FIGURE(huge_bytes, GAUGE),        FIGURE(fallbacks, COUNTER),
        FIGURE(misplaced_pages, COUNTER),
};
static_assert(sizeof(size_t) == sizeof(uint64_t), "figures are read as 64-bit fields");

int polder_stats_read(struct polder_stats *stats)
{
        size_t room = stats->struct_size;
        if (room == 0 || room > sizeof *stats)
                return -EINVAL;
        struct polder_stats now = { .struct_size = room };
        if (pld_load_acquire(&pld_started)) {
                struct pld_cycle_times times = pld_cycle_read();
                struct pld_pace pace = pld_pacer_read();
                now.cycles = times.cycles;
                now.stops = times.stops;
                now.stop_ns_total = times.stop_ns_total;
                now.stop_ns_max = times.stop_ns_max;
                now.handshake_ns_max = times.handshake_ns_max;
                now.stall_ns_max = pace.stall_ns_max;
                now.mark_ns_total = pace.mark_ns;
                now.swept_bytes = pld_load_relaxed(&pld_swept_bytes);
                now.allocated_bytes = pace.allocated;
                now.assists = pace.assists;
                now.live_bytes = pace.live;
                now.heap_bytes = pace.heap;
                now.goal_bytes = pace.goal;
        }
        now.resident_bytes = pld_page_heap_backed_bytes();
        now.huge_bytes = pld_page_heap_huge_bytes();
        now.fallbacks = pld_backing_fallbacks_total();
        now.misplaced_pages = pld_backing_misplaced();
        memcpy(stats, &now, room);
        return 0;
}

static uint64_t value_of(const struct polder_stats *stats, const struct figure *figure)
{
        uint64_t value;
        memcpy(&value, (const char *)stats + figure->offset, sizeof value);
        return value;
}

static void print_text(FILE *to, const struct polder_stats *stats)
{
        for (size_t i = 0; i < PLD_COUNT_OF(figures); i++)
                fprintf(to, "%-18s %20llu\n", figures[i].name,
                        (unsigned long long)value_of(stats, &figures[i]));
}

static void print_json(FILE *to, const struct polder_stats *stats)
{
        for (size_t i = 0; i < PLD_COUNT_OF(figures); i++)
                fprintf(to, "%s\"%s\": %llu", i ? ", " : "{ ", figures[i].name,
                        (unsigned long long)value_of(stats, &figures[i]));
        fputs(" }\n", to);
}

static void print_prometheus(FILE *to, const struct polder_stats *stats)
{
        for (size_t i = 0; i < PLD_COUNT_OF(figures); i++) {
                const char *kind = figures[i].kind == COUNTER ? "counter" : "gauge";
                fprintf(to, "# TYPE polder_%s %s\npolder_%s %llu\n", figures[i].name, kind,
                        figures[i].name, (unsigned long long)value_of(stats, &figures[i]));
        }
}

int polder_stats_print(FILE *to, const char *format)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        polder_stats_read(&stats);
        if (!strcmp(format, "text"))
                print_text(to, &stats);
        else if (!strcmp(format, "json"))
                print_json(to, &stats);
        else if (!strcmp(format, "prometheus"))
                print_prometheus(to, &stats);
        else
                return -EINVAL;
        return ferror(to) ? -EIO : 0;
}
