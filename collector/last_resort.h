/* last_resort.h: what is tried before a collected allocation is NULL. */
#ifndef PLD_COLLECTOR_LAST_RESORT_H
#define PLD_COLLECTOR_LAST_RESORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One allocation's; begins as zero. */
struct pld_last_resort {
        unsigned nsteps;
        bool has_turn;
        uint64_t swept; /* by the last look */
};

/* Outside of Polder, after nbytes were refused. True: something has become free since.
 * False: the try after this one is the last. May take as long as several collections. */
bool pld_last_resort_try(struct pld_last_resort *resort, size_t nbytes);
/* After the last try, whatever came of it. */
void pld_last_resort_end(struct pld_last_resort *resort);
/* For malloc, after `nbefore` collections in vain for the same block. */
bool pld_last_resort_for_malloc(unsigned nbefore);
void pld_last_resort_fork_child(void);

#endif
