/* malloc.h: the hooks through which polder_free() takes what is not the arena's;
 * what malloc.c implements is declared in <polder/arena.h>. */
#ifndef PLD_ARENA_MALLOC_H
#define PLD_ARENA_MALLOC_H

#include <polder/arena.h>

#include <stdbool.h>

/* Memory is out: can trying again help? Each way is tried once; *step is 0 at first. No
 * lock is held. */
bool pld_malloc_find_memory(unsigned *step);

/* Set before the collector starts, which knows which collected objects may be
 * freed; NULL: none may. */
extern void (*pld_free_collected)(void *object);
/* How many bytes may be read at p, if p is a block that another malloc made before
 * ours took its place: its free is ignored, its realloc copies. 0: it is not, and
 * dies. NULL: there are none. */
extern size_t (*pld_stranger_room)(const void *p);

#endif
