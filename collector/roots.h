/* roots.h: registered root memory, and pinned objects. */
#ifndef PLD_COLLECTOR_ROOTS_H
#define PLD_COLLECTOR_ROOTS_H

#include "collector/mark.h"

void pld_roots_start(void);
/* A new cycle: all of it is to be scanned. One credit is taken for it. */
void pld_roots_begin(void);
/* Scans the next piece; false when there is none left. Any marker. */
bool pld_roots_scan_some(struct pld_marker *marker);
/* All ranges and pins, for verification; mutators are held. */
void pld_roots_each(void (*visit)(uintptr_t word, bool exact, void *arg), void *arg);
size_t pld_roots_bytes(void);
/* The end of a range that the address lies in; 0: it lies in none. */
uintptr_t pld_roots_end_of(uintptr_t at);
/* The object stays until it is freed by polder_free(). 0 or -ENOMEM. */
int pld_pin_uncollectable(const void *object);
void pld_roots_fork_prepare(void);
void pld_roots_fork_done(void);

#endif
