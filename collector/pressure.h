/* pressure.h: telling the program that its memory limit cannot be held. */
#ifndef PLD_COLLECTOR_PRESSURE_H
#define PLD_COLLECTOR_PRESSURE_H

#include <stdbool.h>
#include <stddef.h>

/* What the cycle that has just ended has found; the cycle's. */
void pld_pressure_set(bool pressed, size_t live, size_t limit);
/* Outside of Polder and of all locks: tells the program, once a cycle. */
void pld_pressure_report(void);
/* The calling thread is in the program's callback. */
bool pld_pressure_is_reporting(void);

void pld_pressure_fork_prepare(void);
void pld_pressure_fork_parent(void);
void pld_pressure_fork_child(void);

#endif
