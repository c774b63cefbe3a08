/* journal.h: which slots of old objects lead to young ones.
 *
 * Between cycles that keep the marks, a marked object is old, and a cycle may leave it
 * untraced: then a store of a reference to a young object into an old one notes the
 * slot down. */
#ifndef PLD_COLLECTOR_JOURNAL_H
#define PLD_COLLECTOR_JOURNAL_H

#include "collector/mark.h"

enum { PLD_JOURNAL_SEEN = 256 };

/* A thread's part of it: the owner's, or whoever does a step for it. */
struct pld_journal {
        struct pld_grey_chunk *slots;       /* being filled; NULL: none yet */
        uintptr_t newest;                   /* the thread's newest object at the flip; 0: none */
        uintptr_t seen[PLD_JOURNAL_SEEN];   /* slots noted lately, by their address */
};

/* After a store, inside Polder: notes the slot down if it has to be. */
void pld_journal_note(struct pld_journal *journal, void **slot, void *value);
/* The same, by a thread that has no journal: all of it is void then. */
void pld_journal_note_nowhere(void);
/* In the flip: the object is old from now on, and may still be filled with plain stores. */
void pld_journal_flip(struct pld_journal *journal, const void *newest);
/* When the thread is scanned, or ends: what it has noted is everybody's. */
void pld_journal_hand_over(struct pld_journal *journal);

/* Something could not be noted down: the next cycle should be a full one, or has to look
 * at every old object. Valid again once it is emptied. */
bool pld_journal_is_void(void);

/* The cycle: shades what the slots lead to, once all threads are scanned, and empties the
 * journal. How many slots. */
size_t pld_journal_shade(struct pld_marker *marker);
/* The same without a look, for a full cycle. */
void pld_journal_drop(void);

void pld_journal_fork_prepare(void);
void pld_journal_fork_done(void);
void pld_journal_fork_child(void);

#endif
