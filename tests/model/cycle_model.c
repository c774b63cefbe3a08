/* cycle_model.c: does the collection cycle lose an object? Every interleaving is tried.
 *
 * The idea is explicit-state model checking (Holzmann's SPIN; Murphi's symmetry reduction, Ip and
 * Dill 1996): take a world of two or three threads and a few cells, let everything that could
 * happen next happen, and stop when no new state turns up. Nothing counts cycles, so the states
 * found are those of any number of cycles in a row. A protocol that is right at this size for
 * every interleaving is not proved for all sizes; but such protocols break small: each of the
 * mutants below, one broken rule each, loses its object with two threads, two cells and at most
 * twenty steps, far inside of what is exhausted. The mutants are also the measure of the model:
 * one that it could not kill would be a blind spot.
 *
 * What is asked of every state:
 * M1  an object in reach of a stack, the root or the heap is live: allocated, not ahead of a bump
 *     pointer, and not left unmarked by the last flip. Asked right after the flip, after every
 *     sweep, and during the next cycles, so that no cell in reach is ever handed out again.
 * M2  nothing that is no object is marked or traced as one; memory that nobody zeroed is not read.
 *     The value of a tie (an ephemeron, an entry of a weak table) is in reach of who can reach
 *     its owner and its key.
 * And of the right protocol, since its explanation rests on them:
 * M3  a live object points to live objects even when nobody reaches it: a stale word may.
 * M4  marks are on objects, and black ones on the run cells of scanned threads; while any thread
 *     is armed all is swept, and between cycles what is swept is white, or old before a young one.
 * M5  once all threads are scanned, a white object in reach is reached from something that is
 *     still to be traced, through white objects alone (the weak tricolour invariant).
 * M6  between cycles, if the next is a young one, a slot of an old object that leads to a young
 *     one is in the journal, or a thread inside a store is about to note it down.
 * M7  a word that a barrier has noted and not yet shaded is an object's, and its thread is armed:
 *     so no thread has any at the flip, and none is carried into the next cycle.
 *
 * The steps are those of collector/cycle.c: finish, arm, scan, mark, terminate, flip, sweep.
 * What is coarser here than there, and why nothing is lost by it:
 * - A span is one cell and a refill claims one: sweeping or claiming several cells is doing it
 *   one by one with nothing in between, which is among the interleavings. A run's cells may be
 *   born in any order. They hold poison until they are born, as if zeroing came that late.
 * - Marking and queueing are one step: until it is queued only the marking thread and its own
 *   handshakes could tell. A worker's read and its shading are two steps; every grey cell can be
 *   half traced at once, as with any number of workers, but one read value at a time is in flight.
 * - An object has one mark. In truth there are two, and who has the pen may set the one while
 *   somebody sets the other (M6 of mark.c); then the object is queued twice. To trace it again is
 *   to be half through with it for longer, which is among the interleavings.
 * - Where there are noted words (W5 of barrier.c, M5 of mark.c) a barrier notes what it would
 *   shade, and that is shaded one word at a time, whenever, as when there is a group of them, or
 *   all by the thread's flush. A cell has a bit for each thread that noted it, so there may be any
 *   number, in any order; those whose mark is set are passed over. Where there are none, each word
 *   is shaded as soon as it is noted, which is among the interleavings: most worlds have none,
 *   since they would be ten times as large.
 * - A thread that detaches and one that attaches are one step, where it is taken at all: the stack
 *   is empty, the run is given back, what it noted and shaded is flushed. Threads come and go
 *   between handshakes, when all have the same state, so the new one has that of the old. (It leads
 *   to no state that dropping, flushing and not refilling would not.)
 * - Buffers may be flushed at any time, as full ones are. Rounds of flushing only put the stop
 *   off, so most worlds have none; one does, and the mutant that trusts them.
 * - A scan is one step: its thread is held, and nothing is traced before it is over. Stale words
 *   are not kept anywhere: each scan is tried with every set of cells they could point to.
 * - An operation begins with its first access to shared memory; a shading that finds its mark
 *   set is passed over. Neither hides a state that others could see.
 * - Stores and loads are sequentially consistent. A store still in a store buffer behaves like a
 *   thread that stands before its write, which is a step of its own; a handshake must fence.
 * - The journal is one set of slots: threads hand over theirs when they are scanned, before anybody
 *   reads it. To look at the ages and to note the slot down is one step after the write.
 * - Ties (tie.c) are explored in worlds of their own, where objects have no fields, are born
 *   straight from free cells, and threads have neither stale words nor buffers; and in random
 *   walks where all of that is there. Owner and key are two objects.
 * - Filling in with plain stores may go on across loads, handshakes and flips; a birth, a refill
 *   and a barriered store end it, as calls into Polder do.
 * Not modelled: weak references, finalizers, root_add (shades like a store), large objects, and
 * faults of the machinery below (claiming a span, publishing an allocation bit). Bounded: the
 * sizes in the tables.
 *
 * What the model taught, beyond the faults that were known:
 * - A barrier that loads the old value, shades it and then writes loses objects when two threads
 *   store into one slot: one of them, stalled between load and write since before the other was
 *   armed, overwrites a value that nobody shaded. Right are: to swap, and shade what came out;
 *   or, after all have armed, to see each thread outside Polder once more before the first scan
 *   ("settled"); or to forbid such stores ("locked slots"). All three are explored.
 * - A swap may come before the shading of what it brought out: the stop waits for the barrier.
 *   The same steps are polder_exchange's.
 * - With the rule that nothing is traced before all are scanned, plain stores into *any* object
 *   not yet published, once over each zero, lose nothing ("plain into unpublished" below). The
 *   users' rule stays narrower: an unpublished object can grow old under generations, and such
 *   stores into it are then stores nobody saw.
 * - The root may be scanned late, even after tracing has begun, but not before all have armed.
 * - With generations the journal, the slots of old objects that lead to young ones, is read like
 *   the root, but not before all have been *scanned*: a thread's newest object may have grown old,
 *   is in the journal as a whole, and is filled from the stack with plain stores; read before
 *   such a store, and the stack scanned after its reference was dropped, the value is lost.
 * - A value that is put between a key and an owner is shaded by who puts it, whenever a cycle has
 *   been asked for, not only once its own thread is armed: both ends may be marked by then, and
 *   had nothing tied to them, or may have been born black.
 * - If neither what is looked up nor what is overwritten is shaded, a value is lost that somebody
 *   looked up after his scan. What is removed is looked up and taken out in one.
 * - Nothing needs to be noted down from the moment on at which a thread is armed: what is stored
 *   then is shaded, and old itself after the flip.
 * - Unless what is born in a young cycle is to be young after it. Then what leads to it from
 *   elsewhere has to be noted for the next cycle, and it does not suffice that armed threads note
 *   what they store, and that a thread's newest object is noted when it is scanned: a thread that
 *   is not yet scanned fills its newest object with what a scanned one has made, and makes another.
 *   Nor does it suffice to call young what is made from arming on: a thread that is not yet armed
 *   does the same. But such an object is traced after the last scan, or is in the journal as it
 *   was the newest at the last flip, so whoever reads the reference can note it. */
#include "tests/model/explore.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_STATES = 40000000, QUICK_STEPS = 300000, WALK_STEPS = 1500000, LONG_STEPS = 6000000 };

enum tier {
        QUICK,    /* always */
        ORDINARY, /* left out by -q */
        LONG      /* by -l alone: the largest, in which no mutant needs to be to lose its object */
};

struct world {
        const char *name;
        struct rules rules;
        enum tier tier;
};

struct fault {
        const char *name;
        struct rules rules;
};

/* bounds: threads, cells, fields, slots, run, ties, births, words */
#define TIED .bounds = { 2, 3, 0, 2, 0, 1 }, .lean = true
#define TIED_WORDS .bounds = { 2, 3, 0, 2, 0, 1, .words = 1 }, .lean = true

static const struct world worlds[] = {
        { "basic", { .bounds = { 2, 3, 1, 1, 1 } }, QUICK },
        { "run of two cells", { .bounds = { 2, 3, 1, 1, 2 } }, QUICK },
        { "two fields", { .bounds = { 2, 3, 2, 1, 1 } }, QUICK },
        { "four cells", { .bounds = { 2, 4, 1, 1, 1 } }, QUICK },
        { "three threads", { .bounds = { 3, 3, 1, 1, 1 } }, ORDINARY },
        { "two slots, two fields", { .bounds = { 2, 2, 2, 2, 1 } }, ORDINARY },
        { "two slots, three cells", { .bounds = { 2, 3, 1, 2, 1 } }, LONG },
        { "flush rounds", { .bounds = { 2, 3, 1, 1, 1 }, .rounds = true }, QUICK },
        { "compare-exchange", { .bounds = { 2, 2, 1, 1, 1 }, .cas = true }, QUICK },
        { "compare-exchange, three cells", { .bounds = { 2, 3, 1, 1, 1 }, .cas = true }, ORDINARY },
        { "locked slots", { .bounds = { 2, 3, 1, 1, 1 }, .store = STORE_LOCKED }, QUICK },
        { "settled", { .bounds = { 2, 2, 1, 1, 1 }, .store = STORE_LOADS, .settle = true }, QUICK },
        { "settled, three cells",
          { .bounds = { 2, 3, 1, 1, 1 }, .store = STORE_LOADS, .settle = true },
          ORDINARY },
        { "generations", { .bounds = { 2, 3, 1, 1, 1 }, .ages = true }, QUICK },
        { "generations, compare-exchange",
          { .bounds = { 2, 2, 1, 1, 1 }, .ages = true, .cas = true },
          QUICK },
        { "generations, two slots", { .bounds = { 2, 2, 1, 2, 1 }, .ages = true }, QUICK },
        { "generations, two fields", { .bounds = { 2, 2, 2, 1, 1 }, .ages = true }, QUICK },
        { "generations, four cells", { .bounds = { 2, 4, 1, 1, 1 }, .ages = true }, LONG },
        { "generations, three threads", { .bounds = { 3, 2, 1, 1, 1 }, .ages = true }, QUICK },
        { "young births", { .bounds = { 2, 3, 1, 1, 1, 0, 1 }, .ages = true }, LONG },
        { "young births, compare-exchange",
          { .bounds = { 2, 2, 1, 1, 1, 0, 1 }, .ages = true, .cas = true },
          ORDINARY },
        { "young births, two slots",
          { .bounds = { 2, 2, 1, 2, 1, 0, 1 }, .ages = true },
          QUICK },
        { "young births, two fields",
          { .bounds = { 2, 2, 2, 1, 1, 0, 1 }, .ages = true },
          QUICK },
        { "young births, three threads",
          { .bounds = { 3, 2, 1, 1, 1, 0, 1 }, .ages = true },
          ORDINARY },
        { "young births, four cells",
          { .bounds = { 2, 4, 1, 1, 1, 0, 1 }, .ages = true },
          LONG },
        { "ties", { TIED }, QUICK },
        { "ties, values that are keys", { TIED, .own_key = true }, ORDINARY },
        { "noted words", { .bounds = { 2, 3, 1, 1, 1, .words = 1 }, .leaves = true }, QUICK },
        { "noted words, two slots",
          { .bounds = { 2, 2, 1, 2, 1, .words = 1 }, .leaves = true },
          LONG },
        { "noted words, three threads",
          { .bounds = { 3, 2, 1, 1, 1, .words = 1 }, .leaves = true },
          LONG },
        { "noted words, compare-exchange",
          { .bounds = { 2, 2, 1, 1, 1, .words = 1 }, .cas = true },
          ORDINARY },
        { "noted words, flush rounds",
          { .bounds = { 2, 2, 1, 1, 1, .words = 1 }, .rounds = true, .leaves = true },
          QUICK },
        { "noted words, generations",
          { .bounds = { 2, 2, 1, 1, 1, .words = 1 }, .ages = true, .leaves = true },
          QUICK },
        { "noted words, generations, three cells",
          { .bounds = { 2, 3, 1, 1, 1, .words = 1 }, .ages = true },
          LONG },
        { "noted words, young births",
          { .bounds = { 2, 2, 1, 1, 1, 0, 1, .words = 1 }, .ages = true, .leaves = true },
          ORDINARY },
        { "noted words, young births, two slots",
          { .bounds = { 2, 2, 1, 2, 1, 0, 1, .words = 1 }, .ages = true, .lean = true },
          LONG },
        { "noted words, ties", { TIED_WORDS }, LONG },
        { "plain into unpublished",
          { .bounds = { 2, 3, 1, 1, 1 }, .mutant = MUTANT_PLAIN_OLDER },
          QUICK },
        { "plain into unpublished, two slots",
          { .bounds = { 2, 2, 2, 2, 1 }, .mutant = MUTANT_PLAIN_OLDER },
          LONG },
};

#define TWO_SLOTS .bounds = { 2, 2, 1, 2, 1 }
#define ONE_SLOT  .bounds = { 2, 2, 1, 1, 1 }
#define ALONE     .bounds = { 1, 2, 1, 2, 1 }
#define WORDS     .bounds = { 2, 2, 1, 2, 1, .words = 1 }
#define YOUNG     .bounds = { 2, 2, 1, 2, 1, 0, 1 }, .ages = true, .lean = true

/* Each differs in one rule from a world above that has no fault. */
static const struct fault mutants[] = {
        { "a barrier shades only what it overwrites while its thread is unscanned",
          { TWO_SLOTS, .mutant = MUTANT_DELETION_ONLY } },
        { "a barrier shades only what it stores", { TWO_SLOTS, .mutant = MUTANT_INSERTION_ONLY } },
        { "a barrier loads, shades and writes, and nobody waits for it after arming",
          { TWO_SLOTS, .store = STORE_LOADS } },
        { "births are black from arm", { TWO_SLOTS, .mutant = MUTANT_BLACK_FROM_ARM } },
        { "the scan leaves the rest of the run white",
          { TWO_SLOTS, .mutant = MUTANT_RUN_STAYS_WHITE } },
        { "births from a refill after the scan are white",
          { TWO_SLOTS, .mutant = MUTANT_REFILL_STAYS_WHITE } },
        { "a thread is scanned before all are armed", { TWO_SLOTS, .mutant = MUTANT_EARLY_SCAN } },
        { "the root is scanned before all are armed",
          { TWO_SLOTS, .mutant = MUTANT_EARLY_ROOT_SCAN } },
        { "objects are traced before all are scanned",
          { TWO_SLOTS, .mutant = MUTANT_EARLY_TRACE } },
        { "plain overwrites of the newest object",
          { TWO_SLOTS, .mutant = MUTANT_PLAIN_OVERWRITE } },
        { "plain overwrites of older unpublished objects",
          { TWO_SLOTS, .mutant = MUTANT_PLAIN_OLDER_OVERWRITE } },
        { "a stale word marks a free cell", { TWO_SLOTS, .mutant = MUTANT_JUNK_MARKS_FREE } },
        { "a stale word marks a cell ahead of a bump pointer",
          { TWO_SLOTS, .mutant = MUTANT_JUNK_MARKS_RUN } },
        { "a handshake cuts a barrier between check and store",
          { TWO_SLOTS, .mutant = MUTANT_CUT_BARRIER } },
        { "the stop does not wait for barriers",
          { TWO_SLOTS, .mutant = MUTANT_STOP_CUTS_BARRIER } },
        { "compare-exchange shades only the expected value",
          { ONE_SLOT, .cas = true, .mutant = MUTANT_CAS_EXPECTED_ONLY } },
        { "compare-exchange shades only the desired value",
          { ONE_SLOT, .cas = true, .mutant = MUTANT_CAS_DESIRED_ONLY } },
        { "the flip forgets the threads' own buffers",
          { TWO_SLOTS, .mutant = MUTANT_BUFFERS_FORGOTTEN } },
        { "the stop trusts the last round of flushes and looks no more",
          { .bounds = { 2, 2, 1, 2, 1 }, .rounds = true, .mutant = MUTANT_STOP_TRUSTS_ROUND } },
        { "the flip drops runs but leaves their cells allocated",
          { TWO_SLOTS, .mutant = MUTANT_RUN_NOT_CLEARED } },
        { "the flip clears the cells of runs but threads keep the runs",
          { TWO_SLOTS, .mutant = MUTANT_RUN_KEPT } },
        { "threads are armed before the last sweep is over",
          { TWO_SLOTS, .mutant = MUTANT_ARM_UNSWEPT } },
        { "a refill takes cells before sweeping them",
          { TWO_SLOTS, .mutant = MUTANT_REFILL_UNSWEPT } },
        { "generations: stores into old objects are not noted down",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_STORE_UNNOTED } },
        { "generations: compare-exchanges are not noted down",
          { ALONE, .ages = true, .cas = true, .mutant = MUTANT_CAS_UNNOTED } },
        { "generations: the newest object grows old, and nobody notes it down",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_NEWEST_UNNOTED } },
        { "generations: plain stores into older unpublished objects",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_PLAIN_OLDER } },
        { "generations: old values in young objects are noted down, and not the other way round",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_NOTES_VALUES_AGE } },
        { "generations: nobody notes down from when the first thread is armed",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_NOTES_END_WITH_FIRST_ARM } },
        { "generations: what the last journal had is taken for noted",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_FILTER_KEPT } },
        { "generations: the journal is read before all are scanned",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_EARLY_JOURNAL_SCAN } },
        { "generations: the journal is dropped unread",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_JOURNAL_DROPPED_AT_SCAN } },
        { "generations: the journal of before a full cycle is read after it",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_JOURNAL_KEPT_OVER_FULL } },
        { "generations: a full cycle begins before all marks are cleared",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_ARM_UNCLEARED } },
        { "generations: a handshake cuts a store before it notes down",
          { TWO_SLOTS, .ages = true, .mutant = MUTANT_CUT_BARRIER } },
        { "young births: stores of them are not noted down",
          { YOUNG, .mutant = MUTANT_BIRTH_UNNOTED } },
        { "young births: a thread notes them down once it is scanned, not before",
          { YOUNG, .mutant = MUTANT_BIRTH_UNNOTED_UNSCANNED } },
        { "young births: the newest object of a scanned thread is not noted down",
          { YOUNG, .mutant = MUTANT_NEWEST_UNNOTED_AT_SCAN } },
        { "young births: who traces a reference to one does not note it down",
          { YOUNG, .mutant = MUTANT_TRACED_BIRTH_UNNOTED } },
        { "young births: who reads the journal and finds one does not note it down",
          { YOUNG, .mutant = MUTANT_BIRTH_IN_JOURNAL_UNNOTED } },
        { "young births: what is noted while a cycle runs goes with its journal",
          { YOUNG, .mutant = MUTANT_LATER_IS_LOST } },
        { "young births: they are taken for old until they are swept",
          { YOUNG, .mutant = MUTANT_UNSWEPT_BIRTH_IS_OLD } },
        { "young births: a slot is read though its object has died",
          { YOUNG, .mutant = MUTANT_DEAD_HOLDER_READ } },
        { "words: a flush forgets what the barrier noted",
          { WORDS, .mutant = MUTANT_WORDS_LOST_AT_FLUSH } },
        { "words: those that wait at the stop are forgotten",
          { WORDS, .mutant = MUTANT_WORDS_LOST_AT_FLIP } },
        { "words: those that wait at the stop are shaded in the next cycle",
          { WORDS, .mutant = MUTANT_WORDS_KEPT_OVER_FLIP } },
        { "words: the stop shades them once it has seen that nobody has anything",
          { WORDS, .mutant = MUTANT_WORDS_LATE_AT_STOP } },
        { "words: a store notes what it overwrote after it has left Polder",
          { WORDS, .mutant = MUTANT_WORDS_NOTED_OUTSIDE } },
        { "words: when they are many they are let go",
          { WORDS, .mutant = MUTANT_WORDS_LOST_WHEN_FULL } },
        { "words: a thread's scan begins with none",
          { WORDS, .mutant = MUTANT_WORDS_LOST_AT_SCAN } },
        { "words: a thread takes them along when it detaches",
          { WORDS, .leaves = true, .mutant = MUTANT_WORDS_LOST_AT_DETACH } },
        { "a thread takes what it shaded along when it detaches",
          { TWO_SLOTS, .leaves = true, .mutant = MUTANT_BUFFER_LOST_AT_DETACH } },
        { "ties: a value that is put is not shaded",
          { TIED, .mutant = MUTANT_TIE_PUT_UNSHADED } },
        { "ties: a thread shades what it puts once it is armed itself, not before",
          { TIED, .mutant = MUTANT_TIE_PUT_ASKS_ITSELF } },
        { "ties: what is removed is not shaded", { TIED, .mutant = MUTANT_TIE_REMOVED_UNSHADED } },
        { "ties: neither what is looked up nor what is overwritten is shaded",
          { TIED, .own_key = true, .mutant = MUTANT_TIE_READ_UNSHADED } },
        { "ties: who puts looks at the phase before it tells owner and key",
          { TIED, .mutant = MUTANT_TIE_FLAGS_LATE } },
        { "ties: nobody is told that a key has some", { TIED, .mutant = MUTANT_TIE_KEY_UNTOLD } },
        { "ties: nobody is told that an owner has some",
          { TIED, .mutant = MUTANT_TIE_OWNER_UNTOLD } },
        { "ties: keys trigger nothing", { TIED, .mutant = MUTANT_TIE_KEYS_TRIGGER_NOTHING } },
        { "ties: owners trigger nothing", { TIED, .mutant = MUTANT_TIE_OWNERS_TRIGGER_NOTHING } },
        { "ties: a young cycle does not look at those of old keys",
          { TIED, .ages = true, .mutant = MUTANT_TIE_OLD_UNSEEN } },
        { "ties: a sweep that leaves some says that there are none",
          { TIED, .mutant = MUTANT_TIE_FLAG_LOST } },
        { "ties: those of dead keys stay", { TIED, .mutant = MUTANT_TIE_NOT_CUT } },
        { "ties: dead owners are not buried", { TIED, .mutant = MUTANT_TIE_OWNER_NOT_BURIED } },
};

struct options {
        bool verbose, quick, longest;
        uint64_t seed;
        const char *part; /* of a name */
};

static int npassed, nfailed;

static bool count(bool passed)
{
        npassed += passed;
        nfailed += !passed;
        return passed;
}

static bool is_wanted(const char *name, const struct options *o)
{
        return !o->part || strstr(name, o->part);
}

static bool is_in_tier(enum tier tier, const struct options *o)
{
        return o->longest ? tier == LONG : tier == QUICK || (tier == ORDINARY && !o->quick);
}

static void check_world(const struct world *w, const struct options *o)
{
        const struct bounds *b = &w->rules.bounds;
        struct verdict v;
        bool right;

        if (!is_in_tier(w->tier, o) || !is_wanted(w->name, o))
                return;
        v = explore_all(&w->rules, true, MAX_STATES, stdout);
        right = count(v.complete && v.nflips && !v.wrong);
        printf("world: %s (%d threads, %d cells, %d fields, %d slots, run %d): "
               "states=%zu steps=%zu depth=%d %s\n",
               w->name, b->threads, b->cells, b->fields, b->slots, b->run, v.nstates, v.nsteps,
               v.depth,
               right     ? "ok"
               : v.wrong ? v.wrong
                         : "FAILED: not exhausted");
        fflush(stdout);
}

static void check_mutant(const struct fault *w, const struct options *o)
{
        struct verdict v;

        if (!is_wanted(w->name, o))
                return;
        v = explore_all(&w->rules, false, MAX_STATES, o->verbose ? stdout : NULL);

        if (count(v.wrong != NULL))
                printf("mutant: %s: killed, states=%zu depth=%d %s\n", w->name, v.nstates, v.depth,
                       v.wrong);
        else
                printf("mutant: %s: FAILED: survives, states=%zu\n", w->name, v.nstates);
        fflush(stdout);
}

static size_t walk_steps(const struct options *o)
{
        return o->longest ? LONG_STEPS : o->quick ? QUICK_STEPS : WALK_STEPS;
}

/* Sizes that can't be exhausted; the seed tells a walk. */
static void check_walk(const struct fault *w, const struct options *o)
{
        struct rules rules = w->rules;
        struct verdict v;

        if (!is_wanted(w->name, o))
                return;
        rules.bounds = w->rules.bounds;
        rules.bounds.threads = 3;
        rules.bounds.cells = 6;
        rules.bounds.fields = rules.bounds.slots = rules.bounds.run = 2;
        v = explore_walk(&rules, o->seed, walk_steps(o));
        printf("walk: %s (3 threads, 6 cells, 2 fields, 2 slots, run 2), seed %llu: "
               "steps=%zu flips=%zu %s\n",
               w->name, (unsigned long long)o->seed, v.nsteps, v.nflips,
               count(v.nflips && !v.wrong) ? "ok"
               : v.wrong                   ? v.wrong
                                           : "FAILED: no flip");
        fflush(stdout);
}

static void usage(void)
{
        fprintf(stderr, "usage: cycle_model [-q | -l] [-v] [-s SEED] [-n PART]\n"
                        "  -q  leave out the large worlds; so does MODEL_QUICK in the environment\n"
                        "  -l  only the largest worlds, left out otherwise, and long walks\n"
                        "  -v  print how each mutant loses its object\n"
                        "  -s  seed of the random walks (1)\n"
                        "  -n  only what has PART in its name\n");
        exit(2);
}

static struct options read_options(int argc, char **argv)
{
        struct options o = { .seed = 1, .quick = getenv("MODEL_QUICK") != NULL };
        int letter;

        while ((letter = getopt(argc, argv, "qlvs:n:")) != -1) {
                switch (letter) {
                case 'q':
                        o.quick = true;
                        break;
                case 'l':
                        o.longest = true;
                        break;
                case 'v':
                        o.verbose = true;
                        break;
                case 'n':
                        o.part = optarg;
                        break;
                case 's':
                        o.seed = strtoull(optarg, NULL, 10);
                        break;
                default:
                        usage();
                }
        }
        return o;
}

int main(int argc, char **argv)
{
        static const struct fault walks[] = {
                { "stores", { .cas = false } },
                { "compare-exchange and flush rounds", { .cas = true, .rounds = true } },
                { "noted words",
                  { .bounds = { .words = 1 }, .cas = true, .rounds = true, .leaves = true } },
                { "settled", { .store = STORE_LOADS, .settle = true } },
                { "generations", { .cas = true, .ages = true } },
                { "young births", { .bounds = { .births = 1 }, .cas = true, .ages = true } },
                { "noted words, young births",
                  { .bounds = { .births = 1, .words = 1 }, .ages = true, .leaves = true } },
                { "ties", { .bounds = { .ties = 2 } } },
                { "ties, generations", { .bounds = { .ties = 2 }, .ages = true } },
                { "ties, young births",
                  { .bounds = { .ties = 2, .births = 1, .words = 1 }, .ages = true } },
        };
        struct options o = read_options(argc, argv);

        for (size_t i = 0; !o.longest && i < sizeof mutants / sizeof *mutants; i++)
                check_mutant(&mutants[i], &o);
        for (size_t i = 0; i < sizeof walks / sizeof *walks; i++)
                check_walk(&walks[i], &o);
        for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
                check_world(&worlds[i], &o);
        printf("%d passed, %d failed\n", npassed, nfailed);
        return nfailed != 0;
}
