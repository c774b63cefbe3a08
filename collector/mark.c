/* mark.c: from a pointer to its mark bit.
 *
 * An object's mark bit is tested before it is set, and set before the object is
 * queued; objects without pointers are never queued and never touched. What scanning finds
 * (scan.c) is looked at in groups: the mark bits of a group are asked for all at once, and
 * when the next group is there it is seen which are white, without a branch that had to be
 * guessed, and those are marked and queued. A reference to another node's object is not
 * followed: it is sent to that node's workers, who mark it (NumaGiC: Gidra et al., ASPLOS
 * 2015).
 *
 * M1  a marked object with pointers is scanned, in a chunk, in a ring, or, after
 *     an overflow, found again by pld_mark_recover().
 *     Between calls there are no words and no candidates.
 * M2  a marker with anything in hand has a credit, but for mutators, whose partial
 *     chunks handshakes flush, and whoever runs the cycle. A credit comes with a chunk
 *     from the queues, or is taken while the roots still hold theirs: who merely
 *     looks for work takes none.
 * M3  from an exact pointer to its mark bit, the page map's entry and the form suffice
 *     (arena/form.h); the span is looked at for objects whose form has no pattern, and for
 *     words that may be anything.
 * M4  a reference that was sent home is marked by whoever takes it, a thief of another
 *     node, too: were it sent on, two nodes could send it to and fro for ever. */
#include "collector/mark.h"

#include "base/check.h"
#include "collector/tie.h"

#include <stddef.h>
#include <string.h>

void pld_marker_init(struct pld_marker *marker, unsigned node, bool at_home)
{
        memset(marker, 0, sizeof *marker);
        marker->node = node;
        marker->at_home = at_home;
}

/* ---- Shading -------------------------------------------------------------------- */

static PLD_NOINLINE bool exchange_chunk(struct pld_grey_chunk **chunk, unsigned node)
{
        if (*chunk)
                pld_grey_put(node, *chunk);
        *chunk = pld_grey_chunk_new();
        if (*chunk)
                return true;
        pld_store_relaxed(&pld_grey_overflow, true);
        return false;
}

static inline void push(struct pld_grey_chunk **chunk, unsigned node, uintptr_t item)
{
        if (pld_unlikely(!*chunk || (*chunk)->n == PLD_GREY_ITEMS))
                if (!exchange_chunk(chunk, node))
                        return;
        (*chunk)->item[(*chunk)->n++] = item;
}

/* Room for n items: a chunk that has less is given away as it is. */
static inline bool make_room(struct pld_marker *marker, unsigned n)
{
        if (pld_likely(marker->grey && PLD_GREY_ITEMS - marker->grey->n >= n))
                return true;
        return exchange_chunk(&marker->grey, marker->node);
}

#define FORM_BITS ((uintptr_t)(PLD_NFORMS - 1) << PLD_PLACE_FORM_SHIFT)

static unsigned home_of(const struct pld_span *span, uintptr_t object)
{
        if (pld_likely(span->slice < pld_machine.nnodes))
                return span->slice;
        int node = pld_page_heap_node_of(object);
        return node < 0 ? 0 : (unsigned)node;
}

static inline void shade(struct pld_marker *marker, struct pld_span *span, size_t i)
{
        if (!pld_span_mark(span, i))
                return;
        marker->marked_bytes += span->nbytes;
        if (pld_unlikely(span->class == PLD_CLASS_LARGE))
                marker->large_bytes += span->nbytes;
        if (span->shape->kind != PLD_SHAPE_LEAF)
                push(&marker->grey, marker->node,
                     pld_span_object(span, i) | (uintptr_t)span->form << PLD_PLACE_FORM_SHIFT);
        if (pld_span_is_tied(span))
                push(&marker->grey, marker->node, pld_span_object(span, i) | PLD_GREY_TIED);
}

void pld_marker_push(struct pld_marker *marker, uintptr_t item)
{
        push(&marker->grey, marker->node, item);
}

/* True when the reference was sent to the object's home. */
static inline bool send_home(struct pld_marker *marker, struct pld_span *span, uintptr_t object)
{
        if (pld_likely(!marker->at_home))
                return false;
        unsigned home = home_of(span, object);
        if (home == marker->node || pld_span_is_marked(span, pld_span_index(span, object)))
                return home != marker->node;
        push(&marker->away[home], home, object | PLD_GREY_CANDIDATE);
        marker->sent++;
        return true;
}

/* What does not change while objects are scanned, so that it is loaded once. */
struct sight {
        uintptr_t base;
        size_t nbytes;
        const _Atomic uintptr_t *map;
};

static inline struct sight sight_now(void)
{
        return (struct sight){ pld_range.base, pld_range.nbytes, pld_page_map };
}

/* Where the mark bits of a place's span are. It may have no span: then nobody looks there. */
static inline _Atomic uint64_t *marks_at(struct pld_place place)
{
        uintptr_t span = (uintptr_t)pld_place_span(place);
        return (_Atomic uint64_t *)(span + offsetof(struct pld_span, bits));
}

/* Finds a pointer's mark bit without a look at the span (M3), and returns whether there is
 * one: the word, which is in the range, may be no pointer to a collected object. */
static inline bool find_mark(struct sight sight, uintptr_t word, struct pld_candidate *out)
{
        struct pld_place place = { pld_load_acquire(&sight.map[(word - sight.base) >> PLD_PAGE_SHIFT]) };
        const struct pld_form *form = &pld_forms[pld_place_form(place)];
        uint64_t i = pld_place_offset(place, word) * form->magic >> PLD_FORM_SHIFT;
        out->word = marks_at(place) + i / 64;
        out->index = i;
        out->pointer = word;
        out->place = place;
        bool found = place.bits / PLD_KIND_COLLECTED & 1;
        PLD_ASSERT(!found || (i == pld_span_index(pld_place_span(place), word) &&
                              pld_span_has_object(pld_place_span(place), i)));
        return found;
}

static inline bool is_marked(const struct pld_candidate *found)
{
        return pld_load_relaxed(found->word) >> found->index % 64 & 1;
}

static inline uint64_t bit_of(const struct pld_candidate *found)
{
        return UINT64_C(1) << found->index % 64;
}

/* Sets the bit; false: somebody did so before. */
static inline bool mark_one(const struct pld_candidate *found)
{
        uint64_t bit = bit_of(found);
        return !(pld_or_relaxed(found->word, bit) & bit); /* one instruction: lock bts */
}

/* Counts what was just marked, and returns whether there is anything to scan in it. */
static inline bool count_marked(struct pld_marker *marker, const struct pld_candidate *found)
{
        const struct pld_form *form = &pld_forms[pld_place_form(found->place)];
        marker->marked_bytes += form->nbytes;
        if (pld_unlikely(!form->nbytes)) {
                marker->marked_bytes += pld_place_span(found->place)->nbytes;
                marker->large_bytes += pld_place_span(found->place)->nbytes;
        }
        return form->kind != PLD_FORM_LEAF;
}

static inline uintptr_t item_of(const struct pld_candidate *found)
{
        return (found->pointer & PLD_GREY_ADDRESS) | (found->place.bits & FORM_BITS);
}

static PLD_NOINLINE void enqueue_tied(struct pld_marker *marker, const struct pld_candidate *found)
{
        if (pld_span_is_tied(pld_place_span(found->place)))
                push(&marker->grey, marker->node,
                     (found->pointer & PLD_GREY_ADDRESS) | PLD_GREY_TIED);
}

/* Counts and queues what was just marked. */
static void enqueue(struct pld_marker *marker, const struct pld_candidate *found)
{
        if (count_marked(marker, found))
                push(&marker->grey, marker->node, item_of(found));
        enqueue_tied(marker, found);
}

void pld_shade_exact(struct pld_marker *marker, uintptr_t word)
{
        struct pld_candidate found;
        if (pld_range_has(word) && find_mark(sight_now(), word, &found) && !is_marked(&found) &&
            mark_one(&found))
                enqueue(marker, &found);
}

/* Of the candidates the white ones, in order: without branches, so that the processor need
 * not guess which they are. */
static unsigned find_white(struct pld_marker *marker, uint8_t white[])
{
        unsigned nwhite = 0, n = marker->ncandidates;
        for (unsigned k = 0; k < n; k++) {
                white[nwhite] = (uint8_t)k;
                nwhite += !is_marked(&marker->candidate[k]);
        }
        return nwhite;
}

static unsigned leave_to_others(struct pld_marker *marker, uint8_t white[], unsigned nwhite)
{
        unsigned left = 0;
        for (unsigned k = 0; k < nwhite; k++) {
                const struct pld_candidate *found = &marker->candidate[white[k]];
                if ((found->pointer & PLD_GREY_CANDIDATE) ||
                    !send_home(marker, pld_place_span(found->place), found->pointer))
                        white[left++] = white[k];
        }
        return left;
}

static unsigned mark_white(const struct pld_candidate candidate[], uint8_t white[], unsigned nwhite)
{
        unsigned n = 0;
        for (unsigned k = 0; k < nwhite; k++) {
                white[n] = white[k];
                n += mark_one(&candidate[white[k]]);
        }
        return n;
}

/* There is no memory for a chunk (M1). */
static void count_white(struct pld_marker *marker, const uint8_t white[], unsigned nwhite)
{
        for (unsigned k = 0; k < nwhite; k++)
                count_marked(marker, &marker->candidate[white[k]]);
}

static inline void queue_white(struct pld_marker *marker, const uint8_t white[], unsigned nwhite)
{
        struct pld_grey_chunk *grey = marker->grey;
        uintptr_t *to = grey->item + grey->n;
        for (unsigned k = 0; k < nwhite; k++) {
                const struct pld_candidate *found = &marker->candidate[white[k]];
                *to = item_of(found);
                to += count_marked(marker, found);
        }
        grey->n = (size_t)(to - grey->item);
        PLD_ASSERT(grey->n <= PLD_GREY_ITEMS);
}

/* Marks the candidates, and queues them. */
static void settle(struct pld_marker *marker)
{
        uint8_t white[PLD_MARK_WORDS];
        const struct pld_candidate *candidate = marker->candidate;
        unsigned nwhite = find_white(marker, white);
        if (pld_unlikely(marker->at_home))
                nwhite = leave_to_others(marker, white, nwhite);
        marker->ncandidates = 0;
        nwhite = mark_white(candidate, white, nwhite);
        if (pld_unlikely(pld_load_relaxed(&pld_ties_exist)))
                for (unsigned k = 0; k < nwhite; k++)
                        enqueue_tied(marker, &candidate[white[k]]);
        if (nwhite == 0 || pld_unlikely(!make_room(marker, nwhite)))
                count_white(marker, white, nwhite);
        else
                queue_white(marker, white, nwhite);
}

void pld_mark_turn(struct pld_marker *marker)
{
        settle(marker);
        struct sight sight = sight_now();
        struct pld_candidate *to = marker->candidate;
        for (unsigned k = 0; k < marker->nwords; k++) {
                bool found = find_mark(sight, marker->words[k], to);
                __builtin_prefetch((void *)to->word);
                to += found;
        }
        marker->ncandidates = (unsigned)(to - marker->candidate);
        marker->nwords = 0;
}

void pld_mark_settle(struct pld_marker *marker)
{
        pld_mark_turn(marker);
        settle(marker);
}

static inline void shade_word(struct pld_marker *marker, uintptr_t word)
{
        struct pld_found found = pld_find_object(word);
        if (found.span)
                shade(marker, found.span, found.index);
}

void pld_shade_word(struct pld_marker *marker, uintptr_t word)
{
        shade_word(marker, word);
}

void pld_marker_queue(struct pld_marker *marker, uintptr_t object)
{
        /* All of it is its rest: an item that says nothing of what it is. */
        if (pld_span_of(object)->shape->kind != PLD_SHAPE_LEAF)
                push(&marker->grey, marker->node, object | PLD_GREY_REST);
}

/* Reads words that belong to somebody else's frames: not for AddressSanitizer. */
__attribute__((no_sanitize("address", "thread"))) void pld_shade_stack(struct pld_marker *marker,
                                                                       uintptr_t from, uintptr_t to)
{
        for (uintptr_t at = from; at + sizeof(uintptr_t) <= to; at += sizeof(uintptr_t)) {
                uintptr_t word = *(volatile uintptr_t *)at;
                if (pld_likely(!pld_range_has(word)))
                        continue;
                shade_word(marker, word);
                shade_word(marker, word - 1); /* one past the end of another */
        }
}

/* ---- What a marker has in hand --------------------------------------------------------- */

void pld_marker_take_credit(struct pld_marker *marker)
{
        if (marker->has_credit)
                return;
        pld_add_relaxed(&pld_grey_credits, 1);
        marker->has_credit = true;
}

bool pld_marker_is_empty(const struct pld_marker *marker)
{
        if (marker->nasked > 0 || pld_marker_has_grey(marker))
                return false;
        for (unsigned i = 0; marker->at_home && i < pld_machine.nnodes; i++)
                if (marker->away[i] && marker->away[i]->n > 0)
                        return false;
        return true;
}

static bool flush_chunk(struct pld_grey_chunk **chunk, unsigned node)
{
        if (!*chunk)
                return false;
        bool any = (*chunk)->n > 0;
        if (any)
                pld_grey_put(node, *chunk);
        else
                pld_grey_chunk_free(*chunk);
        *chunk = NULL;
        return any;
}

bool pld_marker_flush(struct pld_marker *marker)
{
        bool any = marker->nasked > 0;
        for (; marker->nasked > 0; marker->nasked--) {
                push(&marker->grey, marker->node, marker->asked[marker->first]);
                marker->first = (marker->first + 1) % PLD_MARK_AHEAD;
        }
        any |= flush_chunk(&marker->grey, marker->node);
        for (unsigned i = 0; marker->at_home && i < pld_machine.nnodes; i++)
                any |= flush_chunk(&marker->away[i], i);
        if (marker->has_credit) {
                marker->has_credit = false;
                pld_grey_done();
        }
        return any;
}
