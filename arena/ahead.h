/* ahead.h: populated huge pages, ready before they are needed.
 *
 * For the collected heap: who allocates there must not wait for the kernel. */
#ifndef PLD_ARENA_AHEAD_H
#define PLD_ARENA_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An allocation had to wait for the kernel, or will have to: more is to be ready from now
 * on. Makes the slice's thread the first time; with no lock held, in a blocking section. */
void pld_ahead_was_dry(unsigned slice);
/* The same, and waits until the next span needs no system call, or none can be had: there. */
void pld_ahead_make_room(unsigned slice);
/* A huge page was taken for populated runs, and so many idle ones are left. Cheap; no lock
 * of the page heap's held. */
void pld_ahead_drawn(unsigned slice, size_t nidle);
/* Nothing is prepared that would have more bytes backed than this, over all slices. */
void pld_ahead_set_limit(size_t nbytes);
uint32_t pld_ahead_rung(unsigned slice); /* how often its thread was woken */
uint64_t pld_ahead_grown(void); /* bytes made ready so far */
void pld_ahead_fork_child(void);

#endif
