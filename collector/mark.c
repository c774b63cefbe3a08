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
 *     node, too: were it sent on, two nodes could send it to and fro for ever.
 * M5  what a mutator's barrier noted is shaded when there is a group of it, so that the misses on
 *     the way to the mark bits overlap, or when the marker is flushed. Nothing is swept before
 *     the flip, and each thread is flushed in the stop before that: so the word means then what
 *     it meant when it was noted. (Go's write barrier buffer.)
 * M6  one marker at a time may have the *pen*, and sets mark bits in words that nobody else
 *     writes (struct pld_marks), by plain stores: an atomic instruction for each object holds up
 *     the misses of those behind it. That it and another mark the same object at once can be:
 *     then it is queued twice, scanned twice and counted twice, and nothing else. Who takes the
 *     pen sees what the one before has written. */
#include "collector/mark.h"

#include "arena/sweep.h"
#include "base/check.h"
#include "base/prefetch.h"
#include "collector/journal.h"
#include "collector/tie.h"

#include <stddef.h>
#include <string.h>

void pld_marker_init(struct pld_marker *marker, unsigned node, bool at_home)
{
        memset(marker, 0, sizeof *marker);
        marker->node = node;
        marker->at_home = at_home;
}

static _Atomic bool pen_is_taken;

void pld_marker_take_pen_try(struct pld_marker *marker)
{
        bool is_taken = false;
        PLD_ASSERT(!marker->has_pen);
        marker->has_pen = pld_cas_acquire(&pen_is_taken, &is_taken, true);
}

void pld_marker_lay_down_pen(struct pld_marker *marker)
{
        if (marker->has_pen)
                pld_store_release(&pen_is_taken, false);
        marker->has_pen = false;
}

void pld_markers_fork_child(void)
{
        pld_store_relaxed(&pen_is_taken, false);
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
static inline bool make_room(struct pld_marker *marker, size_t n)
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

/* Where the marks of a place's span are. It may have no span: then nobody looks there. */
static inline struct pld_marks *marks_at(struct pld_place place)
{
        uintptr_t span = (uintptr_t)pld_place_span(place);
        return (struct pld_marks *)(span + offsetof(struct pld_span, bits));
}

struct candidate { /* one of pld_candidates */
        struct pld_marks *marks;
        uint64_t index;
        struct pld_place place;
};

/* The word, which is in the range, may be no pointer to a collected object. */
static inline bool is_found(struct pld_place place)
{
        return place.bits / PLD_KIND_COLLECTED & 1;
}

/* Finds a pointer's mark bit without a look at the span (M3); at: how far from the range's
 * beginning. */
static inline struct candidate find_mark(const _Atomic uintptr_t *map, uintptr_t at)
{
        struct pld_place place = { pld_load_acquire(&map[at >> PLD_PAGE_SHIFT]) };
        uint64_t index = pld_place_offset(place, at) * pld_form_magic[pld_place_form(place)];
        PLD_ASSERT(!is_found(place) ||
                   (index >> PLD_FORM_SHIFT ==
                            pld_span_index(pld_place_span(place), pld_range.base + at) &&
                    pld_span_has_object(pld_place_span(place), index >> PLD_FORM_SHIFT)));
        return (struct candidate){ marks_at(place) + (index >> PLD_FORM_SHIFT) / 64, index, place };
}

static inline bool is_set(uint64_t word, uint64_t index)
{
        return word >> (index >> PLD_FORM_SHIFT) % 64 & 1;
}

/* Sets the bit; false: somebody did so before. */
static inline bool mark_one(struct pld_marks *marks, uint64_t index, bool has_pen)
{
        uint64_t pen = pld_load_relaxed(&marks->pen), all = pld_load_relaxed(&marks->all);
        uint64_t bit = UINT64_C(1) << (index >> PLD_FORM_SHIFT) % 64;
        if (pld_unlikely((pen | all) & bit))
                return false;
        if (has_pen) { /* M6 */
                pld_store_relaxed(&marks->pen, pen | bit);
                return true;
        }
        return !(pld_or_relaxed(&marks->all, bit) & bit);
}

static PLD_NOINLINE void count_large(struct pld_marker *marker, struct pld_place place)
{
        marker->marked_bytes += pld_place_span(place)->nbytes;
        marker->large_bytes += pld_place_span(place)->nbytes;
}

static inline uintptr_t item_of(uintptr_t at, struct pld_place place)
{
        return ((pld_range.base + at) & PLD_GREY_ADDRESS) | (place.bits & FORM_BITS);
}

/* Counts and queues what was just marked. */
static PLD_NOINLINE void enqueue(struct pld_marker *marker, uintptr_t at, struct pld_place place)
{
        const struct pld_form *form = &pld_forms[pld_place_form(place)];
        marker->marked_bytes += form->nbytes;
        if (!form->nbytes)
                count_large(marker, place);
        if (form->kind != PLD_FORM_LEAF)
                push(&marker->grey, marker->node, item_of(at, place));
        if (pld_span_is_tied(pld_place_span(place)))
                push(&marker->grey, marker->node,
                     ((pld_range.base + at) & PLD_GREY_ADDRESS) | PLD_GREY_TIED);
}

void pld_shade_exact(struct pld_marker *marker, uintptr_t word)
{
        if (!pld_range_has(word))
                return;
        uintptr_t at = word - pld_range.base;
        struct candidate found = find_mark(pld_page_map, at);
        if (is_found(found.place) && mark_one(found.marks, found.index, marker->has_pen))
                enqueue(marker, at, found.place);
}

/* In a young cycle: what leads to something that was born in it is noted down (journal, J2). */
static void note_if_born(struct pld_span *span, size_t i)
{
        if (pld_span_is_born(span, i))
                pld_journal_want(pld_span_object(span, i));
}

static PLD_NOINLINE void note_births(const struct pld_candidates *all, size_t n)
{
        for (size_t k = 0; k < n; k++)
                if (is_set(pld_marks_read(all->marks[k]), all->index[k]))
                        note_if_born(pld_place_span(all->place[k]), all->index[k] >> PLD_FORM_SHIFT);
}

/* Of the candidates the white ones, in order: without branches, so that the processor need
 * not guess which they are. */
static size_t find_white(const struct pld_candidates *all, size_t n, uint8_t white[])
{
        size_t nwhite = 0;
        for (size_t k = 0; k < n; k++) {
                white[nwhite] = (uint8_t)k;
                nwhite += !is_set(pld_marks_read(all->marks[k]), all->index[k]);
        }
        return nwhite;
}

static size_t leave_to_others(struct pld_marker *marker, uint8_t white[], size_t nwhite)
{
        const struct pld_candidates *all = &marker->candidates;
        size_t left = 0;
        for (size_t k = 0; k < nwhite; k++) {
                uintptr_t pointer = pld_range.base + all->at[white[k]];
                if ((pointer & PLD_GREY_CANDIDATE) ||
                    !send_home(marker, pld_place_span(all->place[white[k]]), pointer))
                        white[left++] = white[k];
        }
        return left;
}

/* The same as mark_white(), where there may be ties, or no memory for a chunk (M1). */
static PLD_NOINLINE void mark_white_slow(struct pld_marker *marker, const uint8_t white[],
                                         size_t nwhite)
{
        const struct pld_candidates *all = &marker->candidates;
        for (size_t i = 0; i < nwhite; i++)
                if (mark_one(all->marks[white[i]], all->index[white[i]], marker->has_pen))
                        enqueue(marker, all->at[white[i]], all->place[white[i]]);
}

/* Marks, counts and queues what is white, and leaves out what is not any more: somebody else was
 * faster, or it is in the group twice. There is room for all of it. */
static inline __attribute__((always_inline)) void
mark_white(struct pld_marker *marker, const uint8_t white[], size_t nwhite, bool has_pen)
{
        const struct pld_candidates *all = &marker->candidates;
        uintptr_t *to = marker->grey->item + marker->grey->n;
        uint64_t nbytes = 0;
        for (size_t i = 0; i < nwhite; i++) {
                size_t k = white[i];
                if (pld_unlikely(!mark_one(all->marks[k], all->index[k], has_pen)))
                        continue;
                struct pld_place place = all->place[k];
                const struct pld_form *form = &pld_forms[pld_place_form(place)];
                *to = item_of(all->at[k], place);
                to += form->kind != PLD_FORM_LEAF;
                nbytes += form->nbytes;
                if (pld_unlikely(!form->nbytes))
                        count_large(marker, place);
        }
        marker->marked_bytes += nbytes;
        marker->grey->n = (size_t)(to - marker->grey->item);
        PLD_ASSERT(marker->grey->n <= PLD_GREY_ITEMS);
}

/* Marks the candidates, and queues them. */
static void settle(struct pld_marker *marker)
{
        uint8_t white[PLD_MARK_WORDS];
        if (pld_unlikely(pld_load_relaxed(&pld_sweep_births_are_young)))
                note_births(&marker->candidates, marker->ncandidates);
        size_t nwhite = find_white(&marker->candidates, marker->ncandidates, white);
        if (pld_unlikely(marker->at_home))
                nwhite = leave_to_others(marker, white, nwhite);
        marker->ncandidates = 0;
        if (nwhite == 0)
                return;
        if (pld_unlikely(!make_room(marker, nwhite) || pld_load_relaxed(&pld_ties_exist)))
                mark_white_slow(marker, white, nwhite);
        else if (marker->has_pen)
                mark_white(marker, white, nwhite, true);
        else
                mark_white(marker, white, nwhite, false);
}

/* Leaves out what is no pointer to a collected object. */
static PLD_NOINLINE size_t leave_out(struct pld_candidates *all, size_t nwords)
{
        size_t n = 0;
        for (size_t k = 0; k < nwords; k++) {
                all->marks[n] = all->marks[k];
                all->index[n] = all->index[k];
                all->at[n] = all->at[k];
                all->place[n] = all->place[k];
                n += is_found(all->place[k]);
        }
        return n;
}

void pld_mark_turn(struct pld_marker *marker)
{
        settle(marker);
        struct pld_candidates *all = &marker->candidates;
        const _Atomic uintptr_t *map = pld_page_map; /* loaded once */
        struct pld_place every = { ~(uintptr_t)0 };
        size_t nwords = marker->nwords;
        for (size_t k = 0; k < nwords; k++) {
                struct candidate found = find_mark(map, marker->words[k]);
                /* As one that may be written to, which most are not: but a marker that reads a
                 * line first, and then sets a bit, waits for another to let go of it. */
                pld_prefetch_write(found.marks);
                all->marks[k] = found.marks;
                all->index[k] = found.index;
                all->at[k] = marker->words[k];
                all->place[k] = found.place;
                every.bits &= found.place.bits;
        }
        marker->ncandidates = pld_likely(is_found(every)) ? nwords : leave_out(all, nwords);
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

/* Asks for the spans of all, then for the mark bits of all, and only then looks at them. */
PLD_NOINLINE void pld_shade_noted(struct pld_marker *marker)
{
        struct pld_span *spans[PLD_MARK_GROUP];
        size_t index[PLD_MARK_GROUP], n = 0;
        for (size_t k = 0; k < marker->nnoted; k++) {
                struct pld_place place = pld_place_of_word(marker->noted[k]);
                if (pld_place_kind(place) != PLD_KIND_COLLECTED)
                        continue;
                spans[n] = pld_place_span(place);
                __builtin_prefetch(spans[n]);
                __builtin_prefetch(&spans[n]->shape);
                marker->noted[n++] = marker->noted[k];
        }
        marker->nnoted = 0;
        for (size_t k = 0; k < n; k++) {
                index[k] = pld_span_index(spans[k], marker->noted[k]);
                pld_prefetch_write(&pld_span_marks(spans[k])[index[k] / 64]);
                __builtin_prefetch((const void *)&pld_span_allocated(spans[k])[index[k] / 64]);
        }
        for (size_t k = 0; k < n; k++)
                if (pld_span_has_object(spans[k], index[k]))
                        shade(marker, spans[k], index[k]);
}

void pld_shade_found(struct pld_marker *marker, uintptr_t word)
{
        struct pld_found found = pld_find_object(word);
        if (!found.span)
                return;
        if (pld_load_relaxed(&pld_sweep_births_are_young))
                note_if_born(found.span, found.index);
        shade(marker, found.span, found.index);
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
        if (marker->nasked > 0 || marker->nnoted > 0 || pld_marker_has_grey(marker))
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
        if (marker->nnoted > 0)
                pld_shade_noted(marker); /* M5 */
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
