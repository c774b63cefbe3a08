/* memory.c: what the collector that is measured tells of itself. */
#include "bench/collectors/memory.h"

#include <time.h>

#if defined MEMORY_POLDER

struct memory_figures memory_figures(void)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        struct polder_histogram cpu = { .struct_size = sizeof cpu };
        if (polder_stats_read(&stats) || polder_histogram_read(POLDER_STOP_CPU, &cpu))
                abort();
        return (struct memory_figures){
                .cycles = stats.cycles,
                .stops = stats.stops,
                .stop_us_max = (double)stats.stop_ns_max / 1e3,
                .stop_ms_total = (double)stats.stop_ns_total / 1e6,
                .stop_cpu_ms_total = (double)cpu.sum_ns / 1e6,
                .handshake_us_max = (double)stats.handshake_ns_max / 1e3,
                .stall_us_max = (double)stats.stall_ns_max / 1e3,
                .mark_ms = (double)stats.mark_ns_total / 1e6,
                .freed_mib = (double)stats.swept_bytes / 1048576,
                .allocated_mib = (double)stats.allocated_bytes / 1048576,
        };
}

#elif defined MEMORY_BDWGC

static struct memory_figures figures;
static double stopped_at;

static double now_us(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void on_event(GC_EventType event) /* called with the collector's lock held */
{
        if (event == GC_EVENT_PRE_STOP_WORLD) {
                stopped_at = now_us();
        } else if (event == GC_EVENT_POST_START_WORLD) {
                double stop = now_us() - stopped_at;
                figures.stops++;
                figures.stop_ms_total += stop / 1e3;
                if (stop > figures.stop_us_max)
                        figures.stop_us_max = stop;
        }
}

/* Its strongest form: objects of a heap that does not recognize pointers into their middles
 * have their own size, where else each is one byte longer, and 16 bytes take 32. */
void memory_start(void)
{
        GC_set_all_interior_pointers(0);
        GC_INIT();
        GC_allow_register_threads();
        GC_set_on_collection_event(on_event);
}

struct memory_figures memory_figures(void)
{
        figures.cycles = GC_get_gc_no();
        figures.allocated_mib = (double)GC_get_total_bytes() / 1048576;
        return figures;
}

#else

struct memory_figures memory_figures(void)
{
        return (struct memory_figures){ 0 };
}

#endif
