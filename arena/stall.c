#include "arena/stall.h"

struct pld_histogram pld_stall_times[PLD_STALLS];
struct pld_histogram pld_stall_sums;
_Thread_local uint64_t pld_stalled_ns;

void pld_stall_note(enum pld_stall cause, uint64_t ns)
{
        pld_histogram_add(&pld_stall_times[cause], ns);
        pld_stalled_ns += ns;
}
