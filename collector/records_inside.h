/* records_inside.h: what the pieces of records share, and nobody else includes.
 *
 * records.c has the invariants (D1 to D7), what hangs on spans, and the walk of a cycle; weak.c
 * has the weak references; finalizer.c what is due, and the thread that calls it. */
#ifndef PLD_COLLECTOR_RECORDS_INSIDE_H
#define PLD_COLLECTOR_RECORDS_INSIDE_H

#include "base/list.h"
#include "base/lock.h"
#include "collector/records.h"
#include "collector/scan.h"
#include "collector/thread.h"

enum { PLD_RECORDS_PIECE = 64 }; /* that are looked at while the lock is held once */

enum pld_record_kind { PLD_RECORD_WEAK, PLD_RECORD_FINALIZER, PLD_RECORD_CURSOR };

struct pld_record {
        struct pld_record *next; /* on its span, or on the list of what is due or of spare ones */
        struct pld_list link;    /* of all that are on spans */
        uintptr_t target;
        enum pld_record_kind kind;
        bool is_loaded; /* fn is code of the program's or of a library's */
        polder_finalizer fn;
        uintptr_t value; /* the weak object, or the finalizer's argument */
};

extern struct pld_lock pld_records_lock PLD_HIDDEN;
extern struct pld_list pld_records_hanging PLD_HIDDEN; /* lock: on spans */

/* What is taken out of a record has to be shaded (D4). */
static inline bool pld_records_are_walked(const struct pld_thread *self)
{
        return self && (self->tls->shading & (PLD_SHADE_OLD | PLD_SHADE_NEW));
}

/* ---- records.c: with the lock held ----------------------------------------------------- */

struct pld_record *pld_record_new_locked(void); /* NULL: no memory */
void pld_record_free_locked(struct pld_record *record);
struct pld_record *pld_record_find_locked(struct pld_span *span, uintptr_t target,
                                          enum pld_record_kind kind);
void pld_record_hang_locked(struct pld_span *span, struct pld_record *record);
void pld_record_take_down_locked(struct pld_span *span, struct pld_record *record);

/* ---- weak.c ------------------------------------------------------------------------------ */

/* Its target is dead, */
void pld_weak_clear_locked(const struct pld_record *record);
/* or lives in this epoch, too (D6). */
void pld_weak_renew_locked(const struct pld_record *record);

/* ---- finalizer.c -------------------------------------------------------------------------- */

/* From now on the record is on the list of what is due. Who has let go of the lock wakes. */
void pld_finalizer_is_due_locked(struct pld_record *record);
void pld_finalizers_wake(void);
void pld_finalizers_each_due_locked(pld_root_visit visit, void *arg);
/* A cycle's walk of what is due (D7), which begins with the lock held. */
void pld_finalizers_begin_walk_locked(void);
void pld_finalizers_walk(pld_root_visit visit, void *arg);
void pld_finalizers_fork_child(void);

#endif
