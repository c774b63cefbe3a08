/* report.h: what Polder's memory is really made of, node by node and kind by kind, and
 * why it is not what was asked for. The public calls are in polder/stats.h. */
#ifndef PLD_ARENA_REPORT_H
#define PLD_ARENA_REPORT_H

#include <stddef.h>

/* The reserve: bytes asked for, and bytes of it that could not be had. Thread-safe. */
void pld_report_asked(size_t nbytes);
void pld_report_missing(size_t nbytes);
/* The table on standard error, a line a write. */
void pld_report_say(void);

#endif
