/* size_class.h: which sizes objects come in.
 *
 * Steps of 16 bytes up to 128, then eight classes a doubling, so that no more
 * than an eighth of an object (or 15 bytes) is waste. Class 0 is the 8-byte
 * object, for collected objects below 16 bytes only. */
#ifndef PLD_ARENA_SIZE_CLASS_H
#define PLD_ARENA_SIZE_CLASS_H

#include "base/bits.h"

#define PLD_PAGE_SHIFT 13
#define PLD_PAGE_BYTES ((size_t)1 << PLD_PAGE_SHIFT)
/* The largest size that comes in spans of several objects: of the collected heap's,
 * and of malloc's. */
#define PLD_SMALL_MAX  ((size_t)32 * PLD_KIB)
#define PLD_MANUAL_MAX ((size_t)256 * PLD_KIB)
/* The largest for which one table has the class. */
#define PLD_LEAST_MAX  ((size_t)1024)

enum {
        PLD_NCLASSES_SMALL = 73, /* the last one's size is PLD_SMALL_MAX */
        PLD_NCLASSES = 97,
        PLD_CLASS_LARGE = PLD_NCLASSES, /* one object a span, any size */
        PLD_SPAN_OBJECTS_MAX = 1024
};

struct pld_class {
        uint32_t nbytes; /* of an object */
        uint32_t npages; /* of a span of collected objects */
        uint32_t count;  /* objects in it */
        uint32_t manual_npages, manual_count; /* the same of a span of malloc's */
        uint64_t magic;  /* pld_mul_high(offset, magic) == offset / nbytes */
};


extern struct pld_class pld_classes[PLD_NCLASSES] PLD_HIDDEN;   /* const after start */
extern uint8_t pld_class_small[PLD_LEAST_MAX / 8 + 1] PLD_HIDDEN;        /* by (nbytes + 7) / 8 */
extern uint8_t pld_class_manual[PLD_LEAST_MAX / 8 + 1] PLD_HIDDEN;       /* the same for malloc: no 8-byte objects */
extern uint8_t pld_class_medium[PLD_SMALL_MAX / 128 + 1] PLD_HIDDEN; /* by (nbytes + 127) / 128 */

void pld_size_class_start(void);

/* The smallest class that holds nbytes <= PLD_SMALL_MAX; nbytes 0 is 1. */
static inline unsigned pld_class_of(size_t nbytes)
{
        return nbytes <= PLD_LEAST_MAX ? pld_class_small[(nbytes + 7) / 8]
                              : pld_class_medium[(nbytes + 127) / 128];
}

/* For PLD_SMALL_MAX < nbytes <= PLD_MANUAL_MAX: eight classes a doubling. */
static inline unsigned pld_class_beyond(size_t nbytes)
{
        unsigned shift = pld_log2(nbytes - 1) - 3;
        return PLD_NCLASSES_SMALL + 8 * (shift - 12) + (unsigned)((nbytes - 1) >> shift) - 8;
}

/* The smallest class of malloc's that holds nbytes <= PLD_LEAST_MAX. */
static inline unsigned pld_class_of_least(size_t nbytes)
{
        return pld_class_manual[(nbytes + 7) / 8];
}

/* The same for nbytes <= PLD_MANUAL_MAX. */
static inline unsigned pld_class_of_block(size_t nbytes)
{
        if (pld_likely(nbytes <= PLD_LEAST_MAX))
                return pld_class_of_least(nbytes);
        return nbytes <= PLD_SMALL_MAX ? pld_class_of(nbytes) : pld_class_beyond(nbytes);
}

/* The same for blocks that are aligned, align: a power of two; PLD_CLASS_LARGE: there
 * is none. Sum and both are <= PTRDIFF_MAX. */
unsigned pld_class_of_aligned(size_t align, size_t nbytes);

static inline size_t pld_pages_for(size_t nbytes)
{
        return (nbytes + PLD_PAGE_BYTES - 1) >> PLD_PAGE_SHIFT;
}

#endif
