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
/* To be called by allocations that are slow anyway, with no lock held: see below. */
void pld_decay_chance(void);
/* The same by those that are not: a program of one thread may have all it needs in its bins,
 * and never come to a slow one, while much is idle (pld_cache_make_tick()). */
void pld_decay_tick(void);
/* Before the start, by a library whose free() is the C library's own. That may be
 * called with locks of the C library's held that making a thread takes, too
 * (pthread_join() frees what was the thread's under the lock of the stacks), and a
 * program with one thread may count on having one. So a free never makes the
 * thread: it looks after what is idle itself, now and then, as does an allocation
 * while the program has one thread; in one with more, an allocation makes it. */
void pld_decay_be_discreet(void);
void pld_decay_fork_child(void);

#endif
