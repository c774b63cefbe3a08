/* scan.c: through an object's pointers.
 *
 * The steps of many objects are interleaved, so that as many loads are in flight at any
 * time as the processor can have, and not many more (prefetching is after OCaml 5's and
 * Boehm's). An object is taken from the end of the chunk, asked for, and put into a ring; when
 * it has become the first there, it is scanned, and another is asked for in its place. What it
 * refers to goes on as a word (mark.c). Large objects are scanned in pieces, so that several
 * markers share one (Go's oblets).
 * M1 to M4 are mark.c's. */
#include "collector/scan.h"

#include "base/check.h"
#include "collector/tie.h"

#include <string.h>

/* Of a large object in one go: an assist that meets one is over soon. */
enum { PIECE_BYTES = 4 << 10 };

static inline void visit_pattern(uintptr_t *words, uint64_t pattern, pld_slot_visit visit,
                                 void *arg)
{
        for (; pattern; pattern &= pattern - 1)
                visit(&words[pld_lowest_bit(pattern)], true, arg);
}

static void visit_once(const struct pld_shape *shape, uintptr_t *words, pld_slot_visit visit,
                       void *arg)
{
        for (size_t i = 0; i < shape->nwords; i += 64)
                visit_pattern(words + i, shape->pattern[i / 64], visit, arg);
}

/* Slots of [from, to) inside the object, both multiples of 8 bytes. */
static inline __attribute__((always_inline)) void visit_part(const struct pld_shape *shape,
                                                             uintptr_t object, uintptr_t from,
                                                             uintptr_t to, pld_slot_visit visit,
                                                             void *arg)
{
        if (shape->kind == PLD_SHAPE_CONSERVATIVE) {
                for (uintptr_t at = from; at < to; at += sizeof(uintptr_t))
                        visit((uintptr_t *)at, false, arg);
        } else if (shape->period == 0) {
                if (from == object)
                        visit_once(shape, (uintptr_t *)object, visit, arg);
        } else if (shape->period == 1) {
                for (uintptr_t at = from; at < to; at += sizeof(uintptr_t))
                        visit((uintptr_t *)at, true, arg);
        } else {
                /* Elements that start in the part and end in the object. */
                size_t step = shape->period * sizeof(uintptr_t);
                size_t first = pld_div_up(from - object, step);
                for (uintptr_t at = object + first * step; at < to; at += step)
                        visit_once(shape, (uintptr_t *)at, visit, arg);
        }
}

/* The end of what is scanned of an array: whole elements only. */
static uintptr_t end_of(const struct pld_span *span, uintptr_t object)
{
        size_t nbytes = pld_round_down(span->nbytes, sizeof(uintptr_t));
        if (span->shape->period)
                nbytes -= nbytes % (span->shape->period * sizeof(uintptr_t));
        return object + nbytes;
}

void pld_object_each(struct pld_span *span, uintptr_t object, pld_slot_visit visit, void *arg)
{
        if (span->shape->kind != PLD_SHAPE_LEAF)
                visit_part(span->shape, object, object, end_of(span, object), visit, arg);
}

/* Shades a pointer later, when its mark bit is at hand. */
static inline void consider(struct pld_marker *marker, uintptr_t word)
{
        if (marker->nwords >= PLD_MARK_GROUP)
                pld_mark_turn(marker);
        marker->words[marker->nwords] = word - pld_range.base;
        marker->nwords += pld_range_has(word);
}

static inline void shade_slot(uintptr_t *slot, bool exact, void *arg)
{
        struct pld_marker *marker = arg;
        /* Acquire: pairs with polder_store's release; what the pointer leads to is there. */
        uintptr_t word = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        if (!exact)
                pld_shade_found(marker, word);
        else
                consider(marker, word);
}

static PLD_NOINLINE void scan_slow(struct pld_marker *marker, uintptr_t item)
{
        if ((item & PLD_GREY_TAGS) == PLD_GREY_CANDIDATE) {
                consider(marker, item & (PLD_GREY_ADDRESS | PLD_GREY_TAGS)); /* M4 */
                return;
        }
        if ((item & PLD_GREY_TAGS) >= PLD_GREY_TIED) {
                pld_ties_trace(marker, item);
                return;
        }
        uintptr_t from = item & PLD_GREY_ADDRESS;
        struct pld_span *span = pld_span_of(from);
        uintptr_t object = pld_span_object(span, pld_span_index(span, from));
        uintptr_t end = end_of(span, object);
        uintptr_t to = end;
        if (end - from > PIECE_BYTES &&
            (span->shape->period || span->shape->kind == PLD_SHAPE_CONSERVATIVE)) {
                to = from + PIECE_BYTES;
                pld_marker_push(marker, to | PLD_GREY_REST);
        }
        visit_part(span->shape, object, from, to, shade_slot, marker);
        marker->scanned_bytes += to - from;
}

/* Whatever the word is, it is written; if it leads nowhere the next one takes its place. No
 * branches: half of all pointers in a tree are NULL. */
static inline size_t put_word(struct pld_range range, const uintptr_t *slot, uintptr_t to[],
                              size_t n)
{
        /* Acquire: as in shade_slot(). */
        to[n] = __atomic_load_n(slot, __ATOMIC_ACQUIRE) - range.base;
        return n + (to[n] < range.nbytes);
}

/* Finds all that a small object refers to; returns how many those are. */
static inline size_t scan_small(struct pld_range range, uintptr_t object,
                                const struct pld_form *form, uintptr_t to[])
{
        const uintptr_t *words = (const uintptr_t *)object;
        size_t n = 0;
        if (pld_likely(form->run)) {
                const uintptr_t *end = words + form->reach / sizeof *words + 1;
                for (const uintptr_t *slot = end - form->run; slot < end; slot++)
                        n = put_word(range, slot, to, n);
        } else {
                for (uint64_t pattern = form->pattern; pattern; pattern &= pattern - 1)
                        n = put_word(range, words + pld_lowest_bit(pattern), to, n);
        }
        return n;
}

static inline const struct pld_form *form_of(uintptr_t item)
{
        return &pld_forms[pld_place_form((struct pld_place){ item })];
}

/* Asks for what will be scanned of an object: of small ones that is two lines at most,
 * mostly. */
static inline void ask_for(uintptr_t item)
{
        char *object = (char *)(item & PLD_GREY_ADDRESS);
        __builtin_prefetch(object);
        __builtin_prefetch(object + form_of(item)->reach);
}

/* Takes from the end of the chunk until the ring is full. */
static void ask(struct pld_marker *marker)
{
        struct pld_grey_chunk *grey = marker->grey;
        if (!grey)
                return;
        while (grey->n > 0 && marker->nasked < PLD_MARK_AHEAD) {
                uintptr_t item = grey->item[--grey->n];
                ask_for(item);
                marker->asked[(marker->first + marker->nasked++) % PLD_MARK_AHEAD] = item;
        }
}

/* Takes the first out of the ring, and has another in its place if there is one. */
static inline uintptr_t next_asked(struct pld_marker *marker)
{
        struct pld_grey_chunk *grey = marker->grey;
        uintptr_t *first = &marker->asked[marker->first], item = *first;
        marker->first = (marker->first + 1) % PLD_MARK_AHEAD;
        if (pld_likely(marker->nasked == PLD_MARK_AHEAD && grey && grey->n > 0)) {
                *first = grey->item[--grey->n];
                ask_for(*first);
        } else {
                marker->nasked--;
                ask(marker);
        }
        return item;
}

/* Large, conservative, or with a tag: what has one says nothing of a form, and form 0 is one of
 * leaves. */
static_assert(PLD_FORM_LEAF == 0, "form 0 has no pattern");
static inline bool is_slow(const struct pld_form *form)
{
        return pld_unlikely(!form->pattern);
}

/* Scans as long as there is one in the chunk to be asked for instead, and room for the words; but
 * no more than a ring, so that the budget is looked at now and then. Marking spends its time here
 * and in pld_mark_turn(), and most of that in instructions. */
static void scan_round(struct pld_marker *marker)
{
        const struct pld_range range = pld_range;
        struct pld_grey_chunk *grey = marker->grey;
        uintptr_t *end = &grey->item[grey->n];
        uintptr_t *least = grey->n < PLD_MARK_AHEAD ? grey->item : end - PLD_MARK_AHEAD;
        size_t nwords = marker->nwords, first = marker->first;
        uint64_t scanned = 0;
        while (end > least && nwords < PLD_MARK_GROUP) {
                uintptr_t item = marker->asked[first];
                const struct pld_form *form = form_of(item);
                if (is_slow(form))
                        break;
                marker->asked[first] = *--end;
                ask_for(*end);
                first = (first + 1) % PLD_MARK_AHEAD;
                scanned += form->nbytes;
                nwords += scan_small(range, item & PLD_GREY_ADDRESS, form, &marker->words[nwords]);
        }
        grey->n = (size_t)(end - grey->item);
        marker->nwords = nwords;
        marker->first = (unsigned)first;
        marker->scanned_bytes += scanned;
}

/* Any item, and with whatever there is to be asked for. There is room for its words. */
static void scan_next(struct pld_marker *marker)
{
        uintptr_t item = next_asked(marker);
        const struct pld_form *form = form_of(item);
        if (is_slow(form)) {
                scan_slow(marker, item);
                return;
        }
        PLD_ASSERT(!(item & PLD_GREY_TAGS));
        marker->nwords += scan_small(pld_range, item & PLD_GREY_ADDRESS, form,
                                     &marker->words[marker->nwords]);
        marker->scanned_bytes += form->nbytes;
}

/* Scans what has been asked for until nothing is left of it, or the budget is used up. */
static void scan_asked(struct pld_marker *marker, uint64_t until)
{
        while (marker->nasked > 0 && marker->scanned_bytes < until) {
                if (marker->nwords >= PLD_MARK_GROUP)
                        pld_mark_turn(marker);
                if (marker->nasked == PLD_MARK_AHEAD && marker->grey)
                        scan_round(marker);
                if (marker->nwords < PLD_MARK_GROUP)
                        scan_next(marker);
        }
}

/* Takes a chunk from the queues; its credit is the marker's now, once (M2). */
static bool fetch_chunk(struct pld_marker *marker)
{
        struct pld_grey_chunk *chunk = pld_grey_take(marker->node);
        if (!chunk)
                return false;
        if (marker->has_credit)
                pld_grey_done();
        marker->has_credit = true;
        if (marker->grey)
                pld_grey_chunk_free(marker->grey);
        marker->grey = chunk;
        return true;
}

/* The older half of its chunk, for a worker that has nothing to do. */
static void share(struct pld_marker *marker)
{
        struct pld_grey_chunk *grey = marker->grey;
        if (!grey || grey->n < 2 || !pld_grey_is_wanted(marker->node))
                return;
        struct pld_grey_chunk *half = pld_grey_chunk_new();
        if (!half)
                return;
        half->n = grey->n / 2;
        grey->n -= half->n;
        memcpy(half->item, grey->item, half->n * sizeof half->item[0]);
        memmove(grey->item, grey->item + half->n, grey->n * sizeof half->item[0]);
        pld_grey_put(marker->node, half);
}

bool pld_mark_some(struct pld_marker *marker, uint64_t budget)
{
        uint64_t until = marker->scanned_bytes + budget;
        bool more;
        do {
                ask(marker);
                scan_asked(marker, until);
                pld_mark_settle(marker);
                more = marker->nasked > 0 || pld_marker_has_grey(marker) || fetch_chunk(marker);
        } while (more && marker->scanned_bytes < until);
        share(marker);
        return more;
}

static void requeue(struct pld_span *span, void *arg)
{
        struct pld_marker *marker = arg;
        for (size_t i = 0; i < span->count; i++)
                /* A cell that will be born black may hold anything yet. */
                if (pld_span_is_marked(span, i) && pld_span_has_object(span, i))
                        visit_part(span->shape, pld_span_object(span, i), pld_span_object(span, i),
                                   end_of(span, pld_span_object(span, i)), shade_slot, marker);
}

void pld_mark_recover(struct pld_marker *marker)
{
        while (pld_exchange_relaxed(&pld_grey_overflow, false)) {
                pld_collected_each(requeue, marker);
                pld_mark_settle(marker);
                pld_ties_shade_marked(marker);
        }
}
