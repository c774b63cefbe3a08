/* extent.h: telling which ranges are backed, and when they change. Thread-safe. */
#ifndef PLD_ARENA_EXTENT_H
#define PLD_ARENA_EXTENT_H

#include "base/bits.h"
#include "numa/backing.h"

#include <stdbool.h>
#include <stdint.h>

int pld_extent_start(void); /* after the range is reserved */

/* Whole huge pages of one kind, on the node of that index: they are backed from now on,
 * or for a last moment. The caller's alone, and neither used yet nor any more; no lock of
 * PLD_RANK_EXTENT's or a later rank is held, since this may wait for a program's callback. */
void pld_extent_added(uintptr_t at, size_t nbytes, unsigned node, enum pld_backing kind);
void pld_extent_removed(uintptr_t at, size_t nbytes);
/* Somebody may have registered what is backed: its physical pages must stay what they
 * are until it was removed. A hint. */
bool pld_extent_is_watched(void);
/* Calls alter(arg), which changes the pages of what stays backed, unless there is a
 * listener, and none comes meanwhile; what it returned, or false. */
bool pld_extent_unless_watched(bool (*alter)(void *arg), void *arg);
void pld_extent_split_locked(uintptr_t at); /* in alter(): a huge page has base pages now */

extern _Thread_local bool pld_extent_telling; /* this thread is in a callback */
void pld_extent_die(void);
/* Where memory is taken or given back: not inside of a callback. */
static inline void pld_extent_check_outside(void)
{
        if (pld_unlikely(pld_extent_telling))
                pld_extent_die();
}

void pld_extent_fork_prepare(void);
void pld_extent_fork_done(void);
void pld_extent_fork_child(void);

#endif
