/* mark.c: from a pointer to its mark bit, and through an object's pointers.
 *
 * An object's mark bit is tested before it is set, and set before the object is
 * queued; objects without pointers are never queued and never touched. Marking goes by
 * batches in three steps, each of which asks for the memory that the next one needs, so
 * that many loads are in flight (prefetching is after OCaml 5's and Boehm's): objects
 * from the end of the chunk are asked for; those asked for one batch ago are scanned, and
 * the mark bits of all they refer to are asked for; then it is seen which are white, and
 * those are marked and queued. Large objects are scanned in pieces, so that several markers share
 * one (Go's oblets). A reference to another node's object is not followed: it is
 * sent to that node's workers, who mark it (NumaGiC: Gidra et al., ASPLOS 2015).
 *
 * M1  a marked object with pointers is scanned, in a chunk, in a batch, or, after
 *     an overflow, found again by pld_mark_recover().
 *     Between calls there are no candidates.
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

#include <string.h>

/* Of a large object in one go: an assist that meets one is over soon. */
enum { PIECE_BYTES = 4 << 10 };

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

static inline const struct pld_form *form_of(uintptr_t item)
{
        return &pld_forms[pld_place_form((struct pld_place){ item })];
}

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

/* Where a word leads that cannot lead to an object: its mark bits are always set. */
static struct {
        struct pld_span span;
        uint64_t bits[1];
} nowhere = { .bits = { ~UINT64_C(0) } };
static const uintptr_t no_entry = (uintptr_t)&nowhere;

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

/* Finds a pointer's mark bit without a look at the span (M3), and returns whether there is
 * one: the word may be no pointer to a collected object. No branches: half of all pointers
 * in a tree are NULL. */
static inline bool find_mark(struct sight sight, uintptr_t word, struct pld_candidate *out)
{
        uintptr_t offset = word - sight.base;
        const _Atomic uintptr_t *at = &sight.map[offset >> PLD_PAGE_SHIFT];
        at = offset < sight.nbytes ? at : (const _Atomic uintptr_t *)&no_entry;
        struct pld_place place = { pld_load_acquire(at) };
        const struct pld_form *form = &pld_forms[pld_place_form(place)];
        uint64_t i = pld_place_offset(place, word) * form->magic >> PLD_FORM_SHIFT;
        struct pld_span *span = pld_place_span(place);
        out->word = &pld_span_marked(span)[i / 64];
        out->index = i;
        out->pointer = word;
        out->place = place;
        bool found = place.bits / PLD_KIND_COLLECTED & 1;
        PLD_ASSERT(!found || (i == pld_span_index(span, word) && pld_span_has_object(span, i)));
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
        if (find_mark(sight_now(), word, &found) && !is_marked(&found) && mark_one(&found))
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
                struct pld_candidate *found = &marker->candidate[white[k]];
                if ((found->pointer & PLD_GREY_CANDIDATE) ||
                    !send_home(marker, pld_place_span(found->place), found->pointer))
                        white[left++] = white[k];
        }
        return left;
}

/* Marks those of the candidates from `at` on that share a word with it, by one atomic
 * operation, and leaves in white[] from `to` on those that this marker has marked. */
static PLD_NOINLINE unsigned mark_word(const struct pld_candidate candidate[], uint8_t white[],
                                       unsigned *at, unsigned nwhite, unsigned to)
{
        _Atomic uint64_t *word = candidate[white[*at]].word;
        uint64_t bits = 0;
        unsigned end = *at;
        do {
                bits |= bit_of(&candidate[white[end++]]);
        } while (end < nwhite && candidate[white[end]].word == word);
        bits &= ~pld_or_relaxed(word, bits);
        for (; *at < end; ++*at) {
                uint64_t bit = bit_of(&candidate[white[*at]]);
                white[to] = white[*at];
                to += (bits & bit) != 0;
                bits &= ~bit; /* it may be there twice */
        }
        return to;
}

/* What was allocated together is often found together. */
static unsigned mark_white(const struct pld_candidate candidate[], uint8_t white[], unsigned nwhite)
{
        unsigned n = 0;
        for (unsigned k = 0; k < nwhite;) {
                const struct pld_candidate *found = &candidate[white[k]];
                if (k + 1 < nwhite && candidate[white[k + 1]].word == found->word) {
                        n = mark_word(candidate, white, &k, nwhite, n);
                        continue;
                }
                white[n] = white[k++];
                n += mark_one(found);
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
static void settle_all(struct pld_marker *marker)
{
        uint8_t white[PLD_MARK_CANDIDATES];
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

/* Shades a pointer later, when its mark bit is at hand. Returns where the next candidate is
 * to be written. */
static inline struct pld_candidate *consider(struct sight sight, uintptr_t word,
                                             struct pld_candidate *to)
{
        bool found = find_mark(sight, word, to);
        __builtin_prefetch((void *)to->word);
        return to + found;
}

static inline unsigned count_of(const struct pld_marker *marker, const struct pld_candidate *to)
{
        return (unsigned)(to - marker->candidate);
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

/* ---- Scanning ------------------------------------------------------------------------ */

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

static inline void shade_slot(uintptr_t *slot, bool exact, void *arg)
{
        struct pld_marker *marker = arg;
        /* Acquire: pairs with polder_store's release; what the pointer leads to is there. */
        uintptr_t word = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        if (!exact)
                shade_word(marker, word);
        else {
                if (pld_unlikely(marker->ncandidates == PLD_MARK_CANDIDATES))
                        settle_all(marker);
                struct pld_candidate *to = &marker->candidate[marker->ncandidates];
                marker->ncandidates = count_of(marker, consider(sight_now(), word, to));
        }
}

static PLD_NOINLINE void scan_slow(struct pld_marker *marker, uintptr_t item)
{
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
                push(&marker->grey, marker->node, to | PLD_GREY_REST);
        }
        visit_part(span->shape, object, from, to, shade_slot, marker);
        marker->scanned_bytes += to - from;
}

/* Considers all that a small object refers to; returns where the next candidate is to be
 * written. */
static inline struct pld_candidate *scan_small(struct sight sight, uintptr_t object,
                                               uint64_t pattern, struct pld_candidate *to)
{
        const uintptr_t *words = (const uintptr_t *)object;
        for (; pattern; pattern &= pattern - 1) /* acquire: as in shade_slot() */
                to = consider(
                    sight, __atomic_load_n(&words[pld_lowest_bit(pattern)], __ATOMIC_ACQUIRE), to);
        return to;
}

/* Asks for what will be scanned of an object: of small ones that is two lines at most,
 * mostly. */
static inline void ask_for(uintptr_t item)
{
        char *object = (char *)(item & PLD_GREY_ADDRESS);
        __builtin_prefetch(object);
        __builtin_prefetch(object + form_of(item)->reach);
}

/* Of a reference that was sent (M4). */
static void recall(struct pld_marker *marker, uintptr_t word)
{
        struct pld_candidate *to = &marker->candidate[marker->ncandidates];
        if (marker->ncandidates == PLD_MARK_CANDIDATES) {
                settle_all(marker);
                to = marker->candidate;
        }
        marker->ncandidates = count_of(marker, consider(sight_now(), word, to));
        to->pointer |= PLD_GREY_CANDIDATE;
}

/* The next batch comes from the end of the chunk. */
static unsigned ask(struct pld_marker *marker, uintptr_t batch[])
{
        unsigned n = 0;
        for (struct pld_grey_chunk *grey = marker->grey; n < PLD_MARK_BATCH && grey && grey->n > 0;) {
                uintptr_t item = grey->item[--grey->n];
                if (pld_unlikely((item & PLD_GREY_TAGS) == PLD_GREY_CANDIDATE)) {
                        recall(marker, item & PLD_GREY_ADDRESS);
                        grey = marker->grey; /* it may have been full */
                        continue;
                }
                ask_for(item);
                batch[n++] = item;
        }
        return n;
}

/* Scans the batch; false: the budget is used up. */
static bool scan_batch(struct pld_marker *marker, uint64_t until)
{
        const uintptr_t *batch = marker->batch[marker->now];
        unsigned at = marker->batch_at, n = marker->nbatch[marker->now];
        struct sight sight = sight_now();
        struct pld_candidate *const end = &marker->candidate[PLD_MARK_CANDIDATES - 64];
        struct pld_candidate *to = &marker->candidate[marker->ncandidates];
        uint64_t scanned_bytes = marker->scanned_bytes;
        while (at < n && scanned_bytes < until) {
                uintptr_t item = batch[at++];
                const struct pld_form *form = form_of(item);
                bool slow = !form->pattern || item & PLD_GREY_TAGS;
                if (pld_unlikely(slow || to > end)) {
                        marker->ncandidates = count_of(marker, to);
                        marker->scanned_bytes = scanned_bytes;
                        if (slow)
                                scan_slow(marker, item);
                        else
                                settle_all(marker);
                        at -= !slow;
                        scanned_bytes = marker->scanned_bytes;
                        to = &marker->candidate[marker->ncandidates];
                        continue;
                }
                to = scan_small(sight, item & PLD_GREY_ADDRESS, form->pattern, to);
                scanned_bytes += form->nbytes;
        }
        marker->ncandidates = count_of(marker, to);
        marker->scanned_bytes = scanned_bytes;
        marker->batch_at = at;
        return at == n;
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

void pld_marker_take_credit(struct pld_marker *marker)
{
        if (marker->has_credit)
                return;
        pld_add_relaxed(&pld_grey_credits, 1);
        marker->has_credit = true;
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

static bool has_grey(const struct pld_marker *marker)
{
        return marker->grey && marker->grey->n > 0;
}

bool pld_mark_some(struct pld_marker *marker, uint64_t budget)
{
        uint64_t until = marker->scanned_bytes + budget;
        bool more = true;
        do {
                unsigned next = !marker->now;
                if (marker->nbatch[next] == 0)
                        marker->nbatch[next] = ask(marker, marker->batch[next]);
                settle_all(marker);
                if (!scan_batch(marker, until))
                        break;
                marker->nbatch[marker->now] = 0;
                marker->batch_at = 0;
                marker->now = next;
                more = marker->nbatch[next] > 0 || marker->ncandidates > 0 || has_grey(marker) ||
                       fetch_chunk(marker);
        } while (more && marker->scanned_bytes < until);
        settle_all(marker);
        share(marker);
        return more;
}

static unsigned in_batches(const struct pld_marker *marker)
{
        return marker->nbatch[0] + marker->nbatch[1] - marker->batch_at;
}

bool pld_marker_is_empty(const struct pld_marker *marker)
{
        if (in_batches(marker) > 0 || has_grey(marker))
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
        bool any = in_batches(marker) > 0;
        for (unsigned half = 0; half < 2; half++)
                for (unsigned i = half == marker->now ? marker->batch_at : 0;
                     i < marker->nbatch[half]; i++)
                        push(&marker->grey, marker->node, marker->batch[half][i]);
        marker->nbatch[0] = marker->nbatch[1] = marker->batch_at = 0;
        any |= flush_chunk(&marker->grey, marker->node);
        for (unsigned i = 0; marker->at_home && i < pld_machine.nnodes; i++)
                any |= flush_chunk(&marker->away[i], i);
        if (marker->has_credit) {
                marker->has_credit = false;
                pld_grey_done();
        }
        return any;
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
                settle_all(marker);
                pld_ties_shade_marked(marker);
        }
}
