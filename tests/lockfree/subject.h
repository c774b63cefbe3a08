/* subject.h: what the stress does to a structure, whichever it is. */
#ifndef LOCKFREE_SUBJECT_H
#define LOCKFREE_SUBJECT_H

#include "examples/lockfree/map.h"
#include "tests/lockfree/linear.h"

/* What is put in. A map's entry, and a value for the others. */
struct thing {
        struct map_entry entry;
        uint64_t check; /* of all that follows, which is const but for `out` */
        uint64_t hash;
        uint32_t key, id, thread;
        _Atomic uint32_t out; /* how often it came out */
};

struct subject {
        const char *name;
        void *(*make)(void);
        /* Does the operation, `thing` being what is put in; *out is what came out. `old` is what
         * is to be replaced. 1: it was done. */
        int (*operate)(void *structure, int kind, uint32_t key, struct thing *thing,
                       struct thing *old, struct thing **out);
        /* Nobody else is there: everything comes out by this. */
        void (*drain)(void *structure, void (*taken)(struct thing *thing));
        linear_spec spec;
        bool has_keys, ordered; /* ordered: things of one thread come out in their order */
        int nkinds, kinds[8];   /* what a thread chooses from */
};

extern const struct subject subjects[];
extern const int nsubjects;

/* The hash of a key; the stress changes it from round to round. */
uint64_t hash_of_key(uint32_t key);

#endif
