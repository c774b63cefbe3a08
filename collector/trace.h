/* trace.h: one line a cycle (POLDER_DEBUG=gctrace=1). */
#ifndef PLD_COLLECTOR_TRACE_H
#define PLD_COLLECTOR_TRACE_H

#include "collector/pacer.h"

struct pld_trace {
        uint32_t number;
        bool stopped, young;
        bool asked; /* by the program, and for no other reason */
        struct pld_survey survey;
        /* When each part began; the last one ended. */
        uint64_t begin_ns, mark_ns, stop_ns, sweep_ns, end_ns;
        uint64_t stopped_ns; /* all mutators held */
        struct pld_pace heap_before, heap_after;
};

void pld_trace_print(const struct pld_trace *trace);

#endif
