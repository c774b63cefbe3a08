/* shelf.h: malloc's spans that are nobody's, by slice and class.
 *
 * Their owners have ended, or have moved to another node. What may be done with them when
 * is in manual.c (M5, M6). */
#ifndef PLD_ARENA_SHELF_H
#define PLD_ARENA_SHELF_H

#include "arena/manual.h"

int pld_shelf_start(void); /* after the page heap */
/* The caller owns the span, and it is on none of its lists. True: it was released. */
bool pld_shelf_abandon(struct pld_span *span);
/* The same for all that are on the list. */
void pld_shelf_abandon_list(struct pld_list *list);
/* An abandoned span of the cache's slice becomes the cache's; NULL. */
struct pld_span *pld_shelf_adopt(struct pld_cache *cache, unsigned class);
/* This one does; false: it is somebody's. The caller has a block of it. */
bool pld_shelf_claim(struct pld_span *span, struct pld_cache *cache);
/* Releases those of whose blocks none is out any more. */
void pld_shelf_reclaim(void);
void pld_shelf_fork_prepare(void);
void pld_shelf_fork_done(void);

#endif
