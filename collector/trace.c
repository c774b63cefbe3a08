#include "collector/trace.h"

#include "arena/stall.h"
#include "base/check.h"
#include "base/clock.h"
#include "collector/worker.h"

static double ms(uint64_t from_ns, uint64_t to_ns)
{
        return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

static double mib(size_t nbytes)
{
        return nbytes == SIZE_MAX ? -1 : (double)nbytes / (double)PLD_MIB;
}

/* Since the line before. */
static void look_at_stalls(struct pld_histogram_copy *out)
{
        static struct pld_histogram_copy before; /* the cycle's */
        struct pld_histogram_copy now;
        pld_histogram_copy(&pld_stall_sums, &now);
        *out = now;
        pld_histogram_subtract(out, &before);
        before = now;
}

static double us(uint64_t ns)
{
        return (double)ns / 1e3;
}

void pld_trace_print(const struct pld_trace *trace)
{
        struct pld_histogram_copy stalls;
        look_at_stalls(&stalls);
        static uint64_t first_ns;
        if (!first_ns)
                first_ns = trace->begin_ns;
        pld_say("gc %u @%.3fs %s: handshakes %.3f ms, mark %.3f ms, stop %.3f ms, sweep %.3f ms; "
                "heap %.1f->%.1f MiB, goal %.1f MiB; mark cpu %.3f ms, %u workers, %llu assists, "
                "%llu sent; %llu stalls, p99 %.0f us, max %.0f us",
                trace->number, (double)(trace->begin_ns - first_ns) / (double)PLD_NS_PER_S,
                trace->stopped ? "stopped" : trace->young ? "young" : "concurrent",
                ms(trace->begin_ns, trace->mark_ns),
                ms(trace->mark_ns, trace->stop_ns), ms(0, trace->stopped_ns),
                ms(trace->sweep_ns, trace->end_ns), mib(trace->heap_before.heap),
                mib(trace->heap_after.live), mib(trace->heap_before.goal),
                (double)trace->heap_after.cycle_mark_ns / 1e6, pld_workers_count(),
                (unsigned long long)(trace->heap_after.assists - trace->heap_before.assists),
                (unsigned long long)pld_workers_sent(),
                (unsigned long long)stalls.count, us(pld_histogram_at(&stalls, 0.99)),
                us(stalls.max));
        if (trace->young)
                pld_say("gc %u young: %.3f of %.3f MiB lived, of that %.3f of %.3f MiB large; "
                        "%zu slots noted; old now %.1f MiB",
                        trace->number, mib(trace->survey.marked), mib(trace->survey.before),
                        mib(trace->survey.marked_large), mib(trace->survey.before_large),
                        trace->survey.nslots, mib(trace->survey.live));
}
