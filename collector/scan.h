/* scan.h: scanning what is queued. */
#ifndef PLD_COLLECTOR_SCAN_H
#define PLD_COLLECTOR_SCAN_H

#include "collector/mark.h"

/* Scans queued objects until about `budget` bytes are scanned or nothing is left
 * (false). */
bool pld_mark_some(struct pld_marker *marker, uint64_t budget);
/* After an overflow, with all mutators stopped: queues every marked object again. */
void pld_mark_recover(struct pld_marker *marker);

/* Every pointer-sized word of an object that may be a pointer. */
typedef void (*pld_slot_visit)(uintptr_t *slot, bool exact, void *arg);
void pld_object_each(struct pld_span *span, uintptr_t object, pld_slot_visit visit, void *arg);

#endif
