/* malloc.h: the hook through which polder_free() takes collected objects; what
 * malloc.c implements is declared in <polder/arena.h>. */
#ifndef PLD_ARENA_MALLOC_H
#define PLD_ARENA_MALLOC_H

#include <polder/arena.h>

/* Set before the collector starts, which knows which collected objects may be
 * freed; NULL: none may. */
extern void (*pld_free_collected)(void *object);

#endif
