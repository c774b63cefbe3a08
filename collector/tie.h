/* tie.h: ties, of which ephemerons and weak tables are made.
 *
 * A *tie* is an owner, a key and a value: the value is kept while both owner and key are
 * reached by other ways. An *owner* is a collected object of a shape of its own, an
 * ephemeron or a table; behind it stands a record in metadata, struct pld_owner. */
#ifndef PLD_COLLECTOR_TIE_H
#define PLD_COLLECTOR_TIE_H

#include "collector/mark.h"

struct pld_owner;

struct pld_tie {
        /* Of the same key; of the same owner. Records lock to write; read without it by
         * who is inside Polder, or has a credit for marking (tie.c, T5). */
        struct pld_tie *_Atomic next;
        struct pld_tie *_Atomic next_owned;
        struct pld_tie *_Atomic *place_owned; /* ties lock: what leads to it there */
        uintptr_t key;                        /* const; the object's first byte */
        struct pld_owner *owner;              /* const */
        _Atomic uintptr_t value;              /* ties lock to write; in tables 0: none */
};

struct pld_owner {
        uintptr_t object;                   /* const */
        struct pld_tie *_Atomic first;      /* as next_owned */
        _Atomic size_t count;               /* ties lock to write: ties with a value */
        size_t nties;                       /* ties lock */
        _Atomic bool dead;                  /* ties lock to write: the object is no more */
};

int pld_ties_start(void);
/* A new owner object, and its record; NULL: no memory, errno is set. */
void *pld_owner_new(void);
/* The record behind an owner object. */
struct pld_owner *pld_owner_of(const void *object);

bool pld_is_owner(struct pld_found found);

struct pld_thread;
enum pld_tie_put { PLD_TIE_SET, PLD_TIE_ADD, PLD_TIE_REMOVE };
/* Inside Polder; key is found, owner and key are held by the caller. SET writes the value;
 * ADD does only where there is none, and *value becomes the one that was there; REMOVE takes it
 * out, and *value becomes that. 0; -ENOMEM. */
int pld_tie_change(struct pld_thread *self, struct pld_owner *owner, struct pld_found key,
                   enum pld_tie_put how, uintptr_t *value);
/* Inside Polder: the value, shaded if need be; 0: there is none. */
uintptr_t pld_tie_read(struct pld_thread *self, struct pld_owner *owner, struct pld_found key);
/* The same where the owner has one tie at most. */
uintptr_t pld_tie_read_only_one(struct pld_thread *self, struct pld_owner *owner,
                                struct pld_found key);

/* Whether any tie was ever made. Marking looks at `tied` of a span only then. */
extern _Atomic bool pld_ties_exist;

static inline bool pld_span_is_tied(struct pld_span *span)
{
        return pld_unlikely(pld_load_relaxed(&pld_ties_exist)) &&
               pld_load_relaxed(&span->collected.tied);
}

/* Tracing only (T1): works on an item with one of the tags of ties (grey.h). */
void pld_ties_trace(struct pld_marker *marker, uintptr_t item);
/* For a cycle that begins with marks, and after an overflow: the values of all ties whose
 * owner and key are marked. Tracing has begun, or mutators are held. */
void pld_ties_shade_marked(struct pld_marker *marker);
/* By who sweeps a tied span, before its marks are adopted. */
void pld_ties_settle(struct pld_span *span);
/* At the flip, all mutators held. */
void pld_ties_flip_locked(void);

/* Mutators are held: every tie that the object is the key or the owner of. */
typedef void (*pld_tie_visit)(const struct pld_tie *tie, void *arg);
void pld_ties_each(uintptr_t object, pld_tie_visit visit, void *arg);

void pld_ties_fork_prepare(void);
void pld_ties_fork_done(void);

#endif
