/* visit.h: seeing to the spans of threads that are asleep, and finding all else that waits.
 *
 * What others free into a thread's spans waits until the thread comes by (manual.c). One
 * that sleeps for long, or for ever, would keep all of it. So whoever looks after what is idle
 * *visits* its cache: does there what the thread would do.
 *
 * V1  a cache's lists, and what they hold, are changed by its thread while `entries` is odd, if
 *     `guest` was 0 after that; or by the guest: it raises `guest`, has every processor pass
 *     a barrier, and then sees `entries` even. So one of them sees the other, and a thread
 *     pays no more than a load for it. (Asymmetric, as Dice and others' biased locks.) Where
 *     the kernel has no such barrier nobody visits.
 * V2  `guest` changes under the lock of the caches: none is given back, or to another thread,
 *     and nobody forks while it is visited.
 * V3  who finds a guest steps back and waits. A guest goes after the span that it is
 *     at, if somebody waits for it, or for the lock.
 * V4  `news` is raised after something was freed by others, and lowered before a guest
 *     looks. One may overlook the other: then the next free makes it good. */
#ifndef PLD_ARENA_VISIT_H
#define PLD_ARENA_VISIT_H

#include <stdbool.h>
#include <stddef.h>

struct pld_cache;

/* V3: for who has made `entries` odd and seen a guest. */
void pld_visit_wait(struct pld_cache *cache);
/* Gives back the free spans of malloc that only wait for someone to look: of dead threads, of
 * the shared caches, and of all threads. Bytes given back. No lock is held by the caller. */
size_t pld_manual_reclaim(void);
/* The same; of threads only those that have not come by since the last time. True: there was
 * something, or there will be. */
bool pld_manual_reclaim_idle(void);

#endif
