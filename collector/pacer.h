/* pacer.h: when a cycle starts, and how hard mutators must help. */
#ifndef PLD_COLLECTOR_PACER_H
#define PLD_COLLECTOR_PACER_H

#include "collector/generation.h"
#include "collector/thread.h"

#include <polder/stats.h>

void pld_pacer_start(void);

/* Mutators, inside Polder: nbytes were reserved for objects. */
void pld_pacer_note(struct pld_thread *self, size_t nbytes);
/* The same, in cells, and the object that needed them was asked for with so many bytes. */
struct pld_reserved {
        size_t nbytes, cell, asked;
};
void pld_pacer_note_run(struct pld_thread *self, struct pld_reserved run);
void pld_pacer_note_large(struct pld_thread *self, size_t nbytes);
/* Tells what the thread has not told yet; its last words. */
void pld_pacer_flush(struct pld_thread *self);
/* Mutators, outside of Polder: pays the thread's debt while a cycle marks. */
void pld_pacer_assist(struct pld_thread *self);
/* The heap is so near the goal that mutators assist in earnest. */
bool pld_pacer_is_late(void);
/* A cycle is due, be it a young one. */
bool pld_pacer_wants_cycle(void);
bool pld_pacer_wants_full_cycle(void);

/* The cycle, in this order. */
void pld_pacer_cycle_begins(bool young, bool asked); /* asked: by the program alone */
void pld_pacer_marking_begins(void);
/* What the marker did since the last time, and how long that took. */
void pld_pacer_add_work(struct pld_marker *marker, uint64_t cpu_ns);
void pld_pacer_update(void); /* now and then while marking */
double pld_pacer_expects(void); /* to scan in the running cycle, bytes */
void pld_pacer_marking_ends(void);
/* After that, with all held: what a cycle that ends here has found. */
struct pld_survey pld_pacer_survey(size_t nslots);
void pld_pacer_cycle_ends(void);
void pld_pacer_fork_prepare(void);
void pld_pacer_fork_done(void);

struct pld_pace {
        size_t live, heap, goal, trigger;  /* bytes */
        uint64_t allocated;                /* bytes, ever */
        uint64_t assists, mark_ns, cycle_mark_ns;
};
struct pld_pace pld_pacer_read(void);

#endif
