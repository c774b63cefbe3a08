/* rules.h: POLDER_DEBUG=rules, which catches plain stores where there should be a
 * polder_store().
 *
 * A shadow of the heap holds, for every slot of a precise object, what Polder knows
 * was written there: by a store of its own, or by the owner of the newest object,
 * as it stood when the owner next called Polder. In the stop, slot and shadow must
 * agree. */
#ifndef PLD_COLLECTOR_RULES_H
#define PLD_COLLECTOR_RULES_H

#include "collector/thread.h"

/* PLD_SHADE_RECORD when the rules are checked, else 0: a part of every thread's
 * shading, so that every store takes the slow path. Const after start. */
extern unsigned char pld_rules_shading;

/* Says so and leaves them unchecked where there is no address space for it. */
void pld_rules_start(void);

/* These cells are zero, and nobody has stored there yet. */
void pld_rules_clear(void *cells, size_t nbytes);
/* The thread calls into Polder: its newest object is taken as it stands. */
void pld_rules_settle_newest(struct pld_thread *self);
/* Around a store, so that slot and shadow change as one. */
void pld_rules_lock_slot(void **slot);
void pld_rules_unlock_slot(void **slot, void *value);
/* All mutators held, threads lock held; dies at the first slot that lies. */
void pld_rules_check_locked(void);

#endif
