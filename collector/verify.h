/* verify.h: is everything that can be reached marked? */
#ifndef PLD_COLLECTOR_VERIFY_H
#define PLD_COLLECTOR_VERIFY_H

/* With all mutators held and marking done, threads lock held: traces again from
 * scratch, names every object that is reachable and not marked, and dies if
 * there was one. */
void pld_verify_marks_locked(void);

#endif
