/* memory_polder.c: memory.h over Polder's collected heap. */
#include "examples/kvd/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

enum { STEP = 16, LONG_STEP = 1024 };

const char *const memory_name = "polder";

int memory_start(void)
{
        int err = polder_init(NULL);
        return err == -EALREADY ? 0 : err;
}

int memory_root(void *start, size_t nbytes)
{
        return polder_root_add(start, nbytes);
}

static size_t round_up(size_t nbytes, size_t step)
{
        return (nbytes + step - 1) / step * step;
}

/* Equal layouts are the same layout, so it does no harm that two threads ask at once. */
static const struct polder_layout *layout_of(struct memory_layouts *of, size_t nbytes)
{
        size_t rounded = round_up(nbytes, STEP), at = rounded / STEP;
        if (at >= MEMORY_LAYOUTS_CACHED)
                rounded = round_up(nbytes, LONG_STEP);

        size_t offsets[64], count = 0;
        for (size_t word = 0; word < 64; word++) {
                if (of->slots >> word & 1)
                        offsets[count++] = word * sizeof(void *);
        }
        const struct polder_layout *layout = polder_layout_of(rounded, offsets, count);
        if (at < MEMORY_LAYOUTS_CACHED)
                atomic_store_explicit(&of->cached[at], layout, memory_order_release);
        return layout;
}

void *memory_new(struct memory_layouts *of, size_t nbytes)
{
        size_t at = (nbytes + STEP - 1) / STEP;
        const struct polder_layout *layout = NULL;
        if (at < MEMORY_LAYOUTS_CACHED)
                layout = atomic_load_explicit(&of->cached[at], memory_order_acquire);
        if (layout == NULL)
                layout = layout_of(of, nbytes);
        return layout ? polder_new(layout) : NULL;
}

void *memory_new_bytes(size_t nbytes)
{
        return polder_new_leaf(nbytes);
}

void *memory_new_slots(size_t count)
{
        static const size_t first = 0;
        const struct polder_layout *slot = polder_layout_of(sizeof(void *), &first, 1);
        return slot ? polder_new_array(slot, count) : NULL;
}

int memory_thread_begin(void)
{
        return polder_thread_attach();
}

void memory_thread_end(void)
{
        polder_thread_detach();
}

void memory_wait_begin(void)
{
        polder_blocking_begin();
}

void memory_wait_end(void)
{
        polder_blocking_end();
}

void memory_turn(void)
{
        polder_safepoint();
}

void memory_purge(void)
{
        polder_collect(POLDER_CONCURRENT);
        polder_release();
}

void memory_collect(void)
{
        polder_collect_start();
}

int memory_describe(char *to, size_t nbytes)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        if (polder_stats_read(&stats) != 0)
                return snprintf(to, nbytes, "# Polder\r\n");
        return snprintf(to, nbytes,
                        "# Polder\r\n"
                        "polder_cycles:%" PRIu64 "\r\n"
                        "polder_stops:%" PRIu64 "\r\n"
                        "polder_stop_ns_total:%" PRIu64 "\r\n"
                        "polder_stop_ns_max:%" PRIu64 "\r\n"
                        "polder_handshake_ns_max:%" PRIu64 "\r\n"
                        "polder_stall_ns_max:%" PRIu64 "\r\n"
                        "polder_mark_ns_total:%" PRIu64 "\r\n"
                        "polder_assists:%" PRIu64 "\r\n"
                        "polder_allocated_bytes:%" PRIu64 "\r\n"
                        "polder_swept_bytes:%" PRIu64 "\r\n"
                        "polder_live_bytes:%zu\r\n"
                        "polder_heap_bytes:%zu\r\n"
                        "polder_goal_bytes:%zu\r\n"
                        "polder_resident_bytes:%zu\r\n"
                        "polder_huge_bytes:%zu\r\n"
                        "polder_fallbacks:%" PRIu64 "\r\n"
                        "polder_misplaced_pages:%" PRIu64 "\r\n",
                        stats.cycles, stats.stops, stats.stop_ns_total, stats.stop_ns_max,
                        stats.handshake_ns_max, stats.stall_ns_max, stats.mark_ns_total,
                        stats.assists, stats.allocated_bytes, stats.swept_bytes, stats.live_bytes,
                        stats.heap_bytes, stats.goal_bytes, stats.resident_bytes, stats.huge_bytes,
                        stats.fallbacks, stats.misplaced_pages);
}
