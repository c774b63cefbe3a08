/* decay.h: the thread that gives idle huge pages back to the kernel.
 *
 * Made by the first notice that finds something to give; asleep, without
 * timer, while nothing is freed. */
#ifndef PLD_ARENA_DECAY_H
#define PLD_ARENA_DECAY_H

#include <stdint.h>

void pld_decay_start(int64_t decay_ms); /* -1: never; 0: the page heap does it at once */
/* To be called after spans were released, with no lock held; cheap. */
void pld_decay_notice(void);
void pld_decay_fork_child(void);

#endif
