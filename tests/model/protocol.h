/* protocol.h: the collection cycle's protocol as a relation between states.
 *
 * protocol_steps() names every step that may come next, the program's and the collector's;
 * protocol_loss() and protocol_breach() tell what is wrong with a state. */
#ifndef MODEL_PROTOCOL_H
#define MODEL_PROTOCOL_H

#include "tests/model/state.h"

#include <stddef.h>

/* How a barrier gets hold of the value it overwrites. */
enum store_form {
        STORE_SWAPS,  /* shade the new value, swap, shade what came out */
        STORE_LOADS,  /* load, shade it, shade the new value, write */
        STORE_LOCKED, /* as STORE_LOADS, where no two threads store into a slot at once */
};

/* One broken rule each; the table in cycle_model.c says in words what it stands for. */
enum mutant {
        MUTANT_NONE,
        MUTANT_DELETION_ONLY,
        MUTANT_INSERTION_ONLY,
        MUTANT_BLACK_FROM_ARM,
        MUTANT_RUN_STAYS_WHITE,
        MUTANT_REFILL_STAYS_WHITE,
        MUTANT_EARLY_SCAN,
        MUTANT_EARLY_ROOT_SCAN,
        MUTANT_EARLY_TRACE,
        MUTANT_PLAIN_OVERWRITE,
        MUTANT_PLAIN_OLDER, /* harmless in this protocol: see the essay */
        MUTANT_PLAIN_OLDER_OVERWRITE,
        MUTANT_JUNK_MARKS_FREE,
        MUTANT_JUNK_MARKS_RUN,
        MUTANT_CUT_BARRIER,
        MUTANT_STOP_CUTS_BARRIER,
        MUTANT_CAS_EXPECTED_ONLY,
        MUTANT_CAS_DESIRED_ONLY,
        MUTANT_BUFFERS_FORGOTTEN,
        MUTANT_STOP_TRUSTS_ROUND,
        MUTANT_RUN_NOT_CLEARED,
        MUTANT_RUN_KEPT,
        MUTANT_ARM_UNSWEPT,
        MUTANT_REFILL_UNSWEPT,
        /* of the generations */
        MUTANT_STORE_UNNOTED,
        MUTANT_CAS_UNNOTED,
        MUTANT_NEWEST_UNNOTED,
        MUTANT_NOTES_VALUES_AGE,
        MUTANT_NOTES_END_WITH_FIRST_ARM,
        MUTANT_FILTER_KEPT,
        MUTANT_EARLY_JOURNAL_SCAN,
        MUTANT_JOURNAL_DROPPED_AT_SCAN,
        MUTANT_JOURNAL_KEPT_OVER_FULL,
        MUTANT_ARM_UNCLEARED,
        /* of births that are young */
        MUTANT_BIRTH_UNNOTED,
        MUTANT_BIRTH_UNNOTED_UNSCANNED,
        MUTANT_NEWEST_UNNOTED_AT_SCAN,
        MUTANT_TRACED_BIRTH_UNNOTED,
        MUTANT_BIRTH_IN_JOURNAL_UNNOTED,
        MUTANT_LATER_IS_LOST,
        MUTANT_UNSWEPT_BIRTH_IS_OLD,
        MUTANT_DEAD_HOLDER_READ,
        /* of what barriers note */
        MUTANT_WORDS_LOST_AT_FLUSH,
        MUTANT_WORDS_LOST_AT_FLIP,
        MUTANT_WORDS_KEPT_OVER_FLIP,
        MUTANT_WORDS_NOTED_OUTSIDE,
        MUTANT_WORDS_LOST_WHEN_FULL,
        MUTANT_WORDS_LOST_AT_SCAN,
        MUTANT_WORDS_LOST_AT_DETACH,
        MUTANT_BUFFER_LOST_AT_DETACH,
        MUTANT_WORDS_LATE_AT_STOP,
        /* of ties */
        MUTANT_TIE_PUT_UNSHADED,
        MUTANT_TIE_PUT_ASKS_ITSELF,
        MUTANT_TIE_READ_UNSHADED,
        MUTANT_TIE_REMOVED_UNSHADED,
        MUTANT_TIE_FLAGS_LATE,
        MUTANT_TIE_KEY_UNTOLD,
        MUTANT_TIE_OWNER_UNTOLD,
        MUTANT_TIE_KEYS_TRIGGER_NOTHING,
        MUTANT_TIE_OWNERS_TRIGGER_NOTHING,
        MUTANT_TIE_OLD_UNSEEN,
        MUTANT_TIE_FLAG_LOST,
        MUTANT_TIE_NOT_CUT,
        MUTANT_TIE_OWNER_NOT_BURIED,
};

struct rules {
        struct bounds bounds;
        enum store_form store;
        bool settle; /* between arm and scan each thread is seen outside Polder once more */
        bool cas;    /* the program uses compare-exchange */
        bool ages;   /* generations: some cycles are young */
        bool lean;   /* no stale words, and no buffers of threads' own: other worlds have them */
        bool own_key; /* a tie's value may be its key */
        bool leaves;  /* threads detach, and others attach in their place */
        bool rounds; /* the stop comes after a round of flushes in which nobody had any */
        enum mutant mutant;
};

/* What a step does. Of a, b, c: LOAD and FILL: value, object, field; STORE and CAS: target,
 * field, value; TIE_PUT: owner, key, value; the shadings and writes: value; the collector's:
 * what they are done to. */
enum verb {
        /* a thread's */
        DO_DROP,
        DO_LOAD,
        DO_LOAD_ROOT,
        DO_REFILL,
        DO_NEW,
        DO_FILL,
        DO_STORE,
        DO_SHADE_OLD,
        DO_SHADE_NEW,
        DO_WRITE,
        DO_SWAP,
        DO_SHADE_SWAPPED,
        DO_CAS,
        DO_SHADE_EXPECTED,
        DO_SHADE_DESIRED,
        DO_COMPARE,
        DO_FLUSH,
        DO_SHADE_WORD,
        DO_DETACH,
        DO_NOTE,
        DO_TIE_PUT,
        DO_TIE_FLAGS,
        DO_TIE_SHADE,
        DO_TIE_GET,
        DO_TIE_GOT,
        /* the collector's */
        DO_SWEEP,
        DO_ARM,
        DO_SETTLE,
        DO_SCAN,
        DO_SCAN_ROOT,
        DO_TRACE,
        DO_SHADE_TRACED,
        DO_FLUSH_ROUND,
        DO_FLIP,
        DO_FLIP_YOUNG,
        DO_TURN_FULL,
        DO_CLEAR,
        DO_SCAN_SLOT,
        DO_SCAN_WANTED,
        DO_BEGIN,
        DO_TIE_TRACE,
        DO_TIE_OLD,
};

/* A step's name. actor: the thread, or COLLECTOR. */
enum { COLLECTOR = MAX_THREADS };
struct step {
        uint8_t verb, actor, a, b, c;
};

typedef void (*protocol_visit)(void *arg, const struct state *next, struct step step);

void protocol_steps(const struct rules *rules, const struct state *state, protocol_visit visit,
                    void *arg);

/* What the program or the collector has lost here, or NULL. */
const char *protocol_loss(const struct rules *rules, const struct state *state);

/* Which invariant of the correct protocol does not hold here, or NULL. */
const char *protocol_breach(const struct rules *rules, const struct state *state);

void protocol_name(struct step step, char *buffer, size_t nbytes);

#endif
