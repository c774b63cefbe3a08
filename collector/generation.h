/* generation.h: old and young objects.
 *
 * A flip either clears the marks or keeps them. If it keeps them, what is marked is *old*
 * until the next full cycle, everything else is *young*, and the next cycle may be a young
 * one: it begins with the marks as they are, so old objects are never queued, and their
 * references to young ones come from the journal. */
#ifndef PLD_COLLECTOR_GENERATION_H
#define PLD_COLLECTOR_GENERATION_H

#include <polder/stats.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The flip kept the marks: old objects are told from young ones. The cycle's. */
bool pld_generation_has_marks(void);
/* And the next cycle need not clear them. */
bool pld_generation_may_be_young(void);

/* What a cycle has found, in bytes. */
struct pld_survey {
        bool young;       /* the cycle was */
        size_t before;    /* young when the cycle began, */
        size_t before_large; /* of that, in large objects */
        size_t marked;    /* newly, by the cycle, */
        size_t marked_large; /* the same */
        size_t scanned;   /* of what was marked, and roots */
        size_t live;      /* after it, with what was old and what was born */
        size_t unaged;    /* of that, what is young still */
        size_t nslots;    /* that were in the journal */
        bool is_full_due; /* the next cycle had better be a full one */
        double reference; /* bytes that a full cycle frees for each byte that it marks */
};
/* In the flip: are the marks kept? */
bool pld_generation_flip(const struct pld_survey *survey);

/* Any thread: with so much allocated, and that much of it in large objects, what a young
 * cycle would free is what it should free, as the objects of either kind use to live. */
bool pld_generation_is_due(size_t allocated, size_t large, size_t nbytes);

void pld_generation_read(struct polder_stats *stats);

#endif
