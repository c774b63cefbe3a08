/* journal.h: which slots of old objects lead to young ones.
 *
 * Between cycles that keep the marks, a marked object is old, and a cycle may leave it
 * untraced: then a store of a reference to a young object into an old one notes the
 * slot down. While a young cycle runs what is born is to be young after it, so references to
 * that are noted down, too: for the next cycle. */
#ifndef PLD_COLLECTOR_JOURNAL_H
#define PLD_COLLECTOR_JOURNAL_H

#include "collector/mark.h"

enum { PLD_JOURNAL_SEEN = 256 };

/* A thread's part of it: the owner's, or whoever does a step for it. */
struct pld_journal {
        struct pld_grey_chunk *slots;       /* being filled; NULL: none yet */
        uintptr_t newest;                   /* the thread's newest object at the flip; 0: none */
        bool later;                         /* what is noted is for the cycle after the running one */
        uintptr_t seen[PLD_JOURNAL_SEEN];   /* slots noted lately, by their address */
};

/* After a store, inside Polder: notes the slot down if it has to be. */
void pld_journal_note(struct pld_journal *journal, void **slot, void *value);
/* The same, while a young cycle runs and the thread is armed. */
void pld_journal_note_birth(struct pld_journal *journal, void **slot, void *value);
/* In a young cycle, when the thread is scanned: its newest object, which was there before. */
void pld_journal_note_whole(struct pld_journal *journal, const void *newest);
/* In a young cycle, any marker: has found a reference to the object in another one. */
void pld_journal_want(uintptr_t object);
/* The same, by a thread that has no journal: all of it is void then, and while a cycle runs
 * that of the next as well. */
void pld_journal_note_nowhere(bool in_cycle);
/* In the flip: the object is old from now on, and may still be filled with plain stores. */
void pld_journal_flip(struct pld_journal *journal, const void *newest);
/* When the thread is armed, or ends: what it has noted is everybody's. */
void pld_journal_hand_over(struct pld_journal *journal);

/* Something could not be noted down: the next cycle should be a full one, or has to look
 * at every old object. Valid again once it is emptied. */
bool pld_journal_is_void(void);

/* The cycle: shades what the slots lead to, once all threads are scanned, and empties the
 * journal. How many slots. */
size_t pld_journal_shade(struct pld_marker *marker);
/* The same without a look, for a full cycle. */
void pld_journal_drop(void);
/* In the flip: what was for later is for the next cycle. */
void pld_journal_turn(void);

void pld_journal_fork_prepare(void);
void pld_journal_fork_done(void);
void pld_journal_fork_child(void);

#endif
