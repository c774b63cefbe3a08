/* room.h: whether there is memory for what is to be backed. For backing.c, which has the
 * invariants. */
#ifndef PLD_NUMA_ROOM_H
#define PLD_NUMA_ROOM_H

#include "numa/kind.h"

#include <stdbool.h>
#include <stddef.h>

/* Counts bytes in that are granted and not yet populated, until they are settled; all that
 * are pending on the node now. */
size_t pld_room_pend(unsigned node, size_t nbytes);
void pld_room_settle(unsigned node, size_t nbytes);

bool pld_room_on_node(unsigned node, size_t nbytes);
bool pld_room_in_cgroup(void); /* for all that is pending */
enum pld_reason pld_room_why_not(unsigned node); /* NODE_LOW, or it is there no more */
/* For what is touched later, if ever (B5). Asks the kernel seldom where it can. */
bool pld_room_grant_try(unsigned node, size_t nbytes);

#endif
