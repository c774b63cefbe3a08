/* verify.c: a second opinion.
 *
 * A plain depth-first search with a bitmap and a stack of its own: it shares with
 * the marker the classification of words and the walk over an object's slots, and
 * nothing else. It runs in the terminating stop, so it sees exactly what the flip
 * will believe. Where memory for it can't be had it says so and is skipped.
 *
 * What is reachable from roots, records and the heap must be marked. A stack may
 * hold stale words that came into a frame after the thread was scanned, and point
 * to what was garbage then: an object that only stacks lead to is counted, not
 * complained of. */
#include "collector/verify.h"

#include "base/check.h"
#include "collector/records.h"
#include "collector/roots.h"
#include "collector/thread.h"
#include "collector/tie.h"

#include <string.h>

enum { NAMED = 10, STACK_BYTES = 1 << 20 };

struct search {
        _Atomic uint64_t **seen; /* a bitmap for each huge page of the range, made when needed */
        uintptr_t *stack;
        size_t n, room;
        uintptr_t holder, slot;  /* what is being looked at, for the report */
        size_t nmissed, nstale;
        bool on_stacks;
        size_t low, high;        /* of the bitmaps made */
        bool failed;             /* no memory */
};

static bool see(struct search *search, uintptr_t object)
{
        size_t huge = (object - pld_range.base) >> PLD_HUGE_SHIFT;
        if (!search->seen[huge]) {
                search->seen[huge] = pld_meta_map(PLD_HUGE_BYTES / 8 / 8);
                if (!search->seen[huge]) {
                        search->failed = true;
                        return false;
                }
                search->low = huge < search->low ? huge : search->low;
                search->high = huge > search->high ? huge : search->high;
        }
        size_t bit = (object & (PLD_HUGE_BYTES - 1)) / 8;
        _Atomic uint64_t *word = &search->seen[huge][bit / 64];
        uint64_t was = pld_load_relaxed(word);
        pld_store_relaxed(word, was | UINT64_C(1) << (bit % 64));
        return !(was >> (bit % 64) & 1);
}

static void push(struct search *search, uintptr_t object)
{
        if (search->n == search->room) {
                size_t nbytes = search->room * sizeof *search->stack;
                uintptr_t *more = pld_meta_map(2 * nbytes);
                if (!more) {
                        search->failed = true;
                        return;
                }
                memcpy(more, search->stack, nbytes);
                pld_meta_unmap(search->stack, nbytes);
                search->stack = more;
                search->room *= 2;
        }
        search->stack[search->n++] = object;
}

static const char *shape_name(const struct pld_span *span)
{
        static const char *const names[] = { "leaf", "conservative", "precise" };
        return names[span->shape->kind];
}

static void report(struct search *search, struct pld_span *span, uintptr_t object)
{
        if (search->on_stacks) {
                search->nstale++;
                return;
        }
        if (search->nmissed++ >= NAMED)
                return;
        pld_say("verify: the mark missed object %p (%s, %zu bytes); slot %p of %p refers to it",
                (void *)object, shape_name(span), span->nbytes, (void *)search->slot,
                (void *)search->holder);
}

static void reach_word(struct search *search, uintptr_t word)
{
        struct pld_found found = pld_find_object(word);
        if (!found.span)
                return;
        uintptr_t object = pld_span_object(found.span, found.index);
        if (!see(search, object))
                return;
        if (!pld_span_is_marked(found.span, found.index))
                report(search, found.span, object);
        push(search, object);
}

static void reach_slot(uintptr_t *slot, bool exact, void *arg)
{
        struct search *search = arg;
        search->slot = (uintptr_t)slot;
        (void)exact;
        reach_word(search, *slot);
}

static bool is_seen(const struct search *search, uintptr_t object)
{
        _Atomic uint64_t *bits = search->seen[(object - pld_range.base) >> PLD_HUGE_SHIFT];
        size_t bit = (object & (PLD_HUGE_BYTES - 1)) / 8;
        return bits && pld_load_relaxed(&bits[bit / 64]) >> (bit % 64) & 1;
}

/* The value, once owner and key have been reached; whichever came last. */
static void reach_tied(const struct pld_tie *tie, void *arg)
{
        struct search *search = arg;
        search->slot = (uintptr_t)&tie->value;
        if (is_seen(search, tie->owner->object) && is_seen(search, tie->key))
                reach_word(search, pld_load_relaxed(&tie->value));
}

static void drain(struct search *search)
{
        while (search->n > 0) {
                uintptr_t object = search->stack[--search->n];
                search->holder = object;
                pld_object_each(pld_span_of(object), object, reach_slot, search);
                pld_ties_each(object, reach_tied, search);
        }
}

static void reach_root(uintptr_t word, bool exact, void *arg)
{
        (void)exact;
        reach_word(arg, word);
}

__attribute__((no_sanitize("address", "thread"))) static void reach_stack(uintptr_t from,
                                                                          uintptr_t to, void *arg)
{
        struct search *search = arg;
        for (uintptr_t at = from; at + sizeof(uintptr_t) <= to; at += sizeof(uintptr_t)) {
                uintptr_t word = *(volatile uintptr_t *)at;
                search->slot = at;
                reach_word(search, word);
        }
}

static struct search *current; /* the threads lock's: for reach_thread() */

static void reach_thread(struct pld_thread *thread)
{
        current->holder = thread->stack_base;
        pld_thread_stack_each(thread, reach_stack, current);
}

void pld_verify_marks_locked(void)
{
        size_t nhuge = pld_range.nbytes >> PLD_HUGE_SHIFT;
        struct search search = { .room = STACK_BYTES / sizeof(uintptr_t), .low = nhuge };
        search.seen = pld_meta_map(nhuge * sizeof *search.seen);
        search.stack = pld_meta_map(STACK_BYTES);
        if (!search.seen || !search.stack) {
                pld_say("verify: no memory to verify with; skipped");
                return;
        }
        current = &search;
        pld_roots_each(reach_root, &search);
        pld_records_each(reach_root, &search);
        drain(&search);
        search.on_stacks = true;
        pld_threads_each_locked(reach_thread);
        drain(&search);

        for (size_t i = search.low; i <= search.high; i++)
                if (search.seen[i])
                        pld_meta_unmap(search.seen[i], PLD_HUGE_BYTES / 8 / 8);
        pld_meta_unmap(search.seen, nhuge * sizeof *search.seen);
        pld_meta_unmap(search.stack, search.room * sizeof *search.stack);
        if (search.nmissed)
                pld_die("verify: %zu reachable objects were not marked", search.nmissed);
        if (search.failed)
                pld_say("verify: no memory to verify all of the heap with");
}
