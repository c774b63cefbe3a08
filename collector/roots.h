/* roots.h: registered root memory, and pinned objects. */
#ifndef PLD_COLLECTOR_ROOTS_H
#define PLD_COLLECTOR_ROOTS_H

#include "collector/mark.h"

#include <sys/types.h>

/* What keeps an object without being one. */
enum pld_root_kind {
        PLD_ROOT_RANGE,         /* a word of registered memory */
        PLD_ROOT_PIN,
        PLD_ROOT_UNCOLLECTABLE,
        PLD_ROOT_WEAK,          /* a weak reference, which stays as long as its target */
        PLD_ROOT_ARGUMENT,      /* a finalizer's */
        PLD_ROOT_READY,         /* its finalizer is to be called */
        PLD_ROOT_FINALIZABLE,   /* a slot of an object that has a finalizer */
        PLD_ROOT_STACK,         /* a thread's */
        PLD_ROOT_OTHER_STACK,   /* that a thread stands on: a fiber's, a signal's */
        PLD_ROOT_REGISTER,
        PLD_ROOT_NEWEST         /* a thread's newest object: exact */
};

struct pld_root {
        enum pld_root_kind kind;
        bool exact;       /* the word is NULL or an object's first byte */
        uint32_t count;   /* PIN: how often */
        pid_t thread;     /* from STACK on: whose */
        uintptr_t word;
        uintptr_t slot;   /* RANGE, FINALIZABLE, and from STACK on: where the word is */
        uintptr_t holder; /* RANGE: its start; WEAK to FINALIZABLE: the record's target */
        size_t nbytes;    /* RANGE: its size */
};

typedef void (*pld_root_visit)(const struct pld_root *root, void *arg);

void pld_roots_start(void);
/* A new cycle: all of it is to be scanned. One credit is taken for it. */
void pld_roots_begin(void);
/* Scans the next piece; false when there is none left. Any marker. */
bool pld_roots_scan_some(struct pld_marker *marker);
/* All ranges and pins, for searches beside the cycle; mutators are held. */
void pld_roots_each(pld_root_visit visit, void *arg);
size_t pld_roots_bytes(void);
/* The end of a range that the address lies in; 0: it lies in none. */
uintptr_t pld_roots_end_of(uintptr_t at);
/* The object stays until it is freed by polder_free(). 0 or -ENOMEM. */
int pld_pin_uncollectable(const void *object);
void pld_roots_fork_prepare(void);
void pld_roots_fork_done(void);

#endif
