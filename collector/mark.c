/* mark.c: from a pointer to its mark bit, and through an object's pointers.
 *
 * An object's mark bit is tested before it is set, and set before the object is
 * queued; objects without pointers are never queued and never touched. Between
 * the queue and the scan lies a short ring of objects whose first line has been
 * asked for, so that several loads are in flight (after OCaml 5's prefetching and
 * Boehm's). Large objects are scanned in pieces, so that several markers share
 * one (Go's oblets). A reference to another node's object is not followed: it is
 * sent to that node's workers, who mark it (NumaGiC: Gidra et al., ASPLOS 2015).
 *
 * M1  a marked object with pointers is scanned, in a chunk, in a ring, or, after
 *     an overflow, found again by pld_mark_recover().
 * M2  a marker with anything in hand has a credit, but for mutators, whose partial
 *     chunks handshakes flush, and whoever runs the cycle. A credit comes with a chunk
 *     from the queues, or is taken while the roots still hold theirs: who merely
 *     looks for work takes none. */
#include "collector/mark.h"

#include "base/check.h"

#include <string.h>

/* Of a large object in one go: an assist that meets one is over soon. */
enum { PIECE_BYTES = 16 << 10 };

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
        if (span->shape->kind != PLD_SHAPE_LEAF)
                push(&marker->grey, marker->node, pld_span_object(span, i));
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

static inline void shade_exact(struct pld_marker *marker, uintptr_t word)
{
        struct pld_place place = pld_place_of(word);
        if (pld_place_kind(place) != PLD_KIND_COLLECTED)
                return;
        struct pld_span *span = pld_place_span(place);
        size_t i = pld_span_index(span, word);
        PLD_ASSERT(pld_span_has_object(span, i));
        if (!send_home(marker, span, pld_span_object(span, i)))
                shade(marker, span, i);
}

void pld_shade_exact(struct pld_marker *marker, uintptr_t word)
{
        shade_exact(marker, word);
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
__attribute__((no_sanitize("address", "thread"))) void
pld_shade_stack(struct pld_marker *marker, uintptr_t from, uintptr_t to)
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

static inline void visit_pattern(uintptr_t *words, uint64_t pattern, pld_slot_visit visit, void *arg)
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
        if (exact)
                shade_exact(marker, word);
        else
                shade_word(marker, word);
}

static void scan(struct pld_marker *marker, uintptr_t item)
{
        uintptr_t from = item & ~(uintptr_t)PLD_GREY_TAGS;
        struct pld_span *span = pld_span_of(from);
        size_t i = pld_span_index(span, from);
        uintptr_t object = pld_span_object(span, i);
        if ((item & PLD_GREY_TAGS) == PLD_GREY_CANDIDATE) {
                shade(marker, span, i);
                return;
        }
        uintptr_t end = end_of(span, object);
        uintptr_t to = end;
        if (end - from > PIECE_BYTES && (span->shape->period || span->shape->kind == PLD_SHAPE_CONSERVATIVE)) {
                to = from + PIECE_BYTES;
                push(&marker->grey, marker->node, to | PLD_GREY_REST);
        }
        visit_part(span->shape, object, from, to, shade_slot, marker);
        marker->scanned_bytes += to - from;
}

/* The next item to work on, its first line asked for some items ago; 0: none. */
static uintptr_t next_item(struct pld_marker *marker)
{
        while (marker->ring_n < PLD_MARK_RING && marker->grey && marker->grey->n > 0) {
                uintptr_t item = marker->grey->item[--marker->grey->n];
                __builtin_prefetch((void *)(item & ~(uintptr_t)PLD_GREY_TAGS));
                marker->ring[(marker->ring_at + marker->ring_n++) % PLD_MARK_RING] = item;
        }
        if (marker->ring_n == 0)
                return 0;
        uintptr_t item = marker->ring[marker->ring_at];
        marker->ring_at = (marker->ring_at + 1) % PLD_MARK_RING;
        marker->ring_n--;
        return item;
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

bool pld_mark_some(struct pld_marker *marker, uint64_t budget)
{
        uint64_t until = marker->scanned_bytes + budget;
        while (marker->scanned_bytes < until) {
                uintptr_t item = next_item(marker);
                if (item)
                        scan(marker, item);
                else if (!fetch_chunk(marker))
                        return false;
        }
        return true;
}

bool pld_marker_is_empty(const struct pld_marker *marker)
{
        if (marker->ring_n > 0 || (marker->grey && marker->grey->n > 0))
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
        bool any = marker->ring_n > 0;
        while (marker->ring_n > 0) {
                push(&marker->grey, marker->node, marker->ring[marker->ring_at]);
                marker->ring_at = (marker->ring_at + 1) % PLD_MARK_RING;
                marker->ring_n--;
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

static void requeue(struct pld_span *span, void *arg)
{
        struct pld_marker *marker = arg;
        for (size_t i = 0; i < span->count; i++)
                if (pld_span_is_marked(span, i))
                        visit_part(span->shape, pld_span_object(span, i), pld_span_object(span, i),
                                   end_of(span, pld_span_object(span, i)), shade_slot, marker);
}

void pld_mark_recover(struct pld_marker *marker)
{
        while (pld_exchange_relaxed(&pld_grey_overflow, false))
                pld_collected_each(requeue, marker);
}
