/* generation.c: whether cycles are young, and what became of it.
 *
 * Sticky marks (Demers et al., POPL 1990; Whippet's): a young cycle is a cycle that does
 * not clear the marks first. It costs what young survivors cost, and frees young garbage
 * only; what is promoted and dies later waits for a full cycle. So it pays where few
 * young objects survive, and where marking them is cheaper for what it frees than marking
 * all. Where the setting leaves the choice to us, one young cycle in a while is tried, and
 * its *yield*, freed bytes for each marked one, is held against the full cycles'. To turn
 * on takes twice their yield, to stay on takes as much. After a trial that failed the
 * next is put off for twice as many full cycles, up to four: what a program does first,
 * as to build what stays, is not what it does all day.
 *
 * Large objects, which have a span each, are aged apart: often they are the tables and
 * buffers that stay where small objects die, or the other way round. So each kind has a
 * survival rate, by which it counts when a young cycle is due: what stays does not hurry
 * it. And a large object without pointers costs a mark bit, however large it is.
 *
 * G1  the marks are kept or cleared by the sweep after the flip that said so; all the
 *     threads note slots, or none does, from the same stop on.
 * G2  where full cycles come next the marks are cleared by the sweep, in passing. Only a
 *     full cycle that comes unexpectedly has to clear them all before it arms.
 * All of it is the cycle's, but for the counters. */
#include "collector/generation.h"

#include "base/atomic.h"
#include "collector/journal.h"
#include "collector/settings.h"

enum {
        TRIAL_LIVE_BYTES = 16 << 20, /* below that a full cycle costs next to nothing */
        FIRST_PAUSE = 2, LAST_PAUSE = 4, /* full cycles between two trials */
        SLOT_BYTES = 16              /* what a slot costs, in bytes marked */
};

enum kind { SMALL, LARGE };

static const double least_hope = 0.125; /* that a kind dies, so that a change is noticed */

static _Atomic bool has_marks;
static bool on;                      /* where the setting leaves it to us: it pays */
static unsigned pause = FIRST_PAUSE; /* full cycles to the next trial but one */
static unsigned left = 1;            /* full cycles to the next one */
static double yield;                 /* smoothed, of young cycles since on; 0: none yet */

static _Atomic double survival[2];   /* smoothed, of young cycles: the part that lived */

static _Atomic uint64_t nyoung, young_bytes, promoted_bytes, nslots;
static _Atomic size_t old_bytes;

bool pld_generation_has_marks(void)
{
        return pld_load_relaxed(&has_marks);
}

bool pld_generation_may_be_young(void)
{
        return pld_generation_has_marks() && !pld_journal_is_void();
}

static size_t less(size_t whole, size_t part)
{
        return whole > part ? whole - part : 0;
}

static double yield_of(const struct pld_survey *survey)
{
        size_t small = survey->marked - survey->marked_large, large = survey->marked_large;
        size_t freed = less(less(survey->before, survey->before_large), small) +
                       less(survey->before_large, large);
        if (large > survey->scanned)
                large = survey->scanned;
        size_t spent = small + large + SLOT_BYTES * survey->nslots;
        return (double)freed / (double)(spent + 4096);
}

static void age(enum kind kind, size_t before, size_t lived)
{
        if (before == 0)
                return;
        double part = lived < before ? (double)lived / (double)before : 1;
        double old = pld_load_relaxed(&survival[kind]);
        pld_store_relaxed(&survival[kind], 0.5 * old + 0.5 * part);
}

/* A full cycle came first: perhaps as a young one was put off by what used to live. */
static void forget(enum kind kind)
{
        pld_store_relaxed(&survival[kind], 0.5 * pld_load_relaxed(&survival[kind]));
}

static double hope(enum kind kind)
{
        double part = 1 - pld_load_relaxed(&survival[kind]);
        return part < least_hope ? least_hope : part;
}

/* What lives of both kinds alike makes no cycle late: there is less to be freed then, and
 * no less reason to free it. So hopes count by the higher one, of those that are there. */
bool pld_generation_is_due(size_t allocated, size_t large, size_t nbytes)
{
        double of_small = allocated > large ? hope(SMALL) : 0, of_large = large ? hope(LARGE) : 0;
        double highest = of_small > of_large ? of_small : of_large;
        double sum = of_small * (double)less(allocated, large) + of_large * (double)large;
        return sum >= highest * (double)nbytes;
}

static void look_at_young(const struct pld_survey *survey)
{
        double fresh = yield_of(survey);
        yield = yield == 0 ? fresh : 0.5 * yield + 0.5 * fresh;
        bool was = on;
        on = yield >= (on ? 1 : 2) * survey->reference;
        if (on) {
                pause = FIRST_PAUSE;
                return;
        }
        yield = 0;
        left = was ? FIRST_PAUSE : pause;
        pause = pause < LAST_PAUSE ? 2 * pause : LAST_PAUSE;
}

/* True: the next cycle is a trial. */
static bool is_trial_due(const struct pld_survey *survey)
{
        if (survey->live < TRIAL_LIVE_BYTES)
                return false;
        if (left > 0)
                left--;
        return left == 0;
}

static bool wants_marks(const struct pld_survey *survey)
{
        if (pld_settings.generations == 0)
                return false;
        if (pld_settings.generations > 0)
                return true;
        if (survey->young)
                look_at_young(survey);
        else if (!on)
                return is_trial_due(survey);
        return on;
}

bool pld_generation_flip(const struct pld_survey *survey)
{
        if (survey->young) {
                pld_add_relaxed(&nyoung, 1);
                pld_add_relaxed(&young_bytes, survey->before);
                pld_add_relaxed(&promoted_bytes, survey->marked);
                pld_add_relaxed(&nslots, survey->nslots);
                age(SMALL, less(survey->before, survey->before_large),
                    survey->marked - survey->marked_large);
                age(LARGE, survey->before_large, survey->marked_large);
        } else {
                forget(SMALL);
                forget(LARGE);
        }
        bool keep = wants_marks(survey) && !survey->is_full_due; /* G2 */
        pld_store_relaxed(&has_marks, keep);
        pld_store_relaxed(&old_bytes, keep ? survey->live - survey->unaged : 0);
        return keep;
}

void pld_generation_read(struct polder_stats *stats)
{
        stats->young_cycles = pld_load_relaxed(&nyoung);
        stats->young_bytes = pld_load_relaxed(&young_bytes);
        stats->promoted_bytes = pld_load_relaxed(&promoted_bytes);
        stats->noted_slots = pld_load_relaxed(&nslots);
        stats->old_bytes = pld_load_relaxed(&old_bytes);
}
