/* verify.c: a second opinion.
 *
 * A search of its own (reach.c), which shares with the marker the classification of words
 * and the walk over an object's slots, and nothing else. It runs in the terminating stop,
 * so it sees exactly what the flip will believe. Where memory for it can't be had it says
 * so and is skipped.
 *
 * What is reachable from roots, records and the heap must be marked. A stack may
 * hold stale words that came into a frame after the thread was scanned, and point
 * to what was garbage then: an object that only stacks lead to is counted, not
 * complained of. */
#include "collector/verify.h"

#include "base/check.h"
#include "collector/reach.h"
#include "collector/records.h"

enum { NAMED = 10 };

struct opinion {
        size_t nmissed, nstale;
        bool on_stacks;
};

static void look_at(struct pld_reach *reach, struct pld_found found)
{
        struct opinion *opinion = reach->arg;
        if (pld_span_is_marked(found.span, found.index))
                return;
        if (opinion->on_stacks) {
                opinion->nstale++;
                return;
        }
        if (opinion->nmissed++ >= NAMED)
                return;
        pld_say("verify: the mark missed object %p (%s, %zu bytes); slot %p of %p refers to it",
                (void *)pld_span_object(found.span, found.index), pld_shape_name(found.span->shape),
                found.span->nbytes, (void *)reach->slot, (void *)reach->holder);
}

static void reach_root(const struct pld_root *root, void *arg)
{
        pld_reach_root(arg, root);
}

void pld_verify_marks_locked(void)
{
        struct opinion opinion = { 0 };
        struct pld_reach reach;
        if (pld_reach_init(&reach, look_at, &opinion)) {
                pld_say("verify: no memory to verify with; skipped");
                return;
        }
        pld_roots_each(reach_root, &reach);
        pld_records_each(reach_root, &reach);
        pld_reach_rest(&reach);
        opinion.on_stacks = true;
        pld_threads_roots_each_locked(reach_root, &reach);
        pld_reach_rest(&reach);
        if (opinion.nmissed)
                pld_die("verify: %zu reachable objects were not marked", opinion.nmissed);
        if (reach.failed)
                pld_say("verify: no memory to verify all of the heap with");
        pld_reach_free(&reach);
}
