/* form.h: what marking must know of a collected span, by a small number.
 *
 * The page map's entries for collected spans carry the number of the span's form, and
 * which page of the span they are of: so from a pointer to its mark bit it is the entry,
 * a line of this table that is always at hand, and the bit. The span's descriptor is not
 * looked at. Numbers are given out by the collector, one for each pattern of pointers;
 * when there are no more, one that stands for all of a size class serves, and marking
 * asks the span. */
#ifndef PLD_ARENA_FORM_H
#define PLD_ARENA_FORM_H

#include "arena/size_class.h"

enum pld_form_kind {
        PLD_FORM_LEAF,         /* no pointers */
        PLD_FORM_CONSERVATIVE, /* any word may be one */
        PLD_FORM_PRECISE,
        PLD_FORM_KINDS
};

enum { PLD_NFORMS = 2048, PLD_FORM_SHIFT = 40 };

struct pld_form {
        uint64_t pattern; /* of small precise objects, when its first 64 words have all
                           * pointers that there are; 0: ask the span */
        uint32_t nbytes;  /* of an object; 0: a large one's, ask the span */
        uint16_t reach;   /* bytes up to the last pointer of the pattern */
        uint8_t kind;     /* enum pld_form_kind */
        uint8_t run;      /* pointers in the pattern, if they follow each other; else 0 */
};

/* Both are const once a form's number is out. */
extern struct pld_form pld_forms[PLD_NFORMS] PLD_HIDDEN;
/* Offset in the span * magic >> PLD_FORM_SHIFT is an object's index. Apart, as it is looked up
 * most often: for each pointer that is found. */
extern uint64_t pld_form_magic[PLD_NFORMS] PLD_HIDDEN;

void pld_form_start(void); /* after the size classes are known */
/* One for all of a class and a kind. */
unsigned pld_form_for(unsigned class, enum pld_form_kind kind);
/* A new one for precise objects of a small class with that pattern, or, when there are
 * none left, the one for all. The caller sees to it that calls don't overlap. */
unsigned pld_form_new(unsigned class, uint64_t pattern);

#endif
