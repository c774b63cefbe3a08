/* shed_spans.c: free blocks of malloc's spans that go back to the kernel while their spans
 * stay.
 *
 * After a time of plenty one block that survives keeps all of its span, which may be eight
 * times as large. So the pages of large blocks that have been free for long are given back
 * one by one. The spans are found by the page map, huge page by huge page, and nobody who
 * allocates or frees waits: what is on its way is lent (blocks.c, B3).
 *
 * F1  what is lent is returned before the lock of the extents is dropped, which fork()
 *     seizes: so in a forked child nothing is lent. A program that watches its extents may
 *     have registered the pages: then nothing goes.
 * F2  a span of which something is lent stays, and its pages are taken: so its huge pages
 *     are TAKEN, and only then is looked at what they are.
 * F3  pages that went are `lazy` from then on (page_heap.c, P5), though they be touched again
 *     before the span ends. A huge page of them is not promoted before some page of it has
 *     been given back.
 * Called by one thread now and then, with no lock held. */
#include "arena/shed_spans.h"

#include "arena/blocks.h"
#include "arena/extent.h"
#include "arena/page_heap_inside.h"

#include <unistd.h>

enum {
        WORTH_BYTES = 4 << 20,             /* in spans of malloc */
        THIN_BYTES = PLD_HUGE_BYTES / 2    /* idle in one that is huge, before it is broken */
};

struct place { /* a huge page that is looked at */
        uintptr_t at;
        size_t loose_bytes; /* what shed.c would give back */
        bool small;         /* of base pages, whatever the kernel may do */
};

struct loan {
        struct pld_span *span;
        bool old;
        size_t nbytes; /* given */
};

/* ---- One span ----------------------------------------------------------------------------- */

static struct pld_page_heap *heap_of(const struct pld_span *span)
{
        return pld_page_heaps.of[span->slice];
}

static uintptr_t end_of(const struct pld_span *span)
{
        return span->start + (span->npages << PLD_PAGE_SHIFT);
}

static bool can_shed_locked(const struct pld_page_heap *heap, const struct pld_huge *huge)
{
        uint8_t kind = pld_load_relaxed(&huge->backing);
        return heap->nreserved == 0 && huge->state == PLD_HUGE_TAKEN && !huge->abroad &&
               (kind == PLD_BACKING_THP || kind == PLD_BACKING_BASE);
}

static bool break_all_try(struct pld_span *span) /* F2 */
{
        struct pld_page_heap *heap = heap_of(span);
        struct pld_huge *first = pld_huge_at(span->start), *last = pld_huge_at(end_of(span) - 1);
        bool can = true;
        pld_lock(&heap->lock);
        for (struct pld_huge *huge = first; huge <= last; huge++) {
                can &= can_shed_locked(heap, huge);
                huge->growing = false; /* page_heap.c, P11 */
        }
        pld_unlock(&heap->lock);
        for (struct pld_huge *huge = first; can && huge <= last; huge++)
                can = pld_huge_break_try(huge);
        return can;
}

static void note_gone(struct pld_span *span, uintptr_t from, uintptr_t end) /* F3 */
{
        struct pld_page_heap *heap = heap_of(span);
        pld_lock(&heap->lock);
        for (from = pld_round_down(from, PLD_PAGE_BYTES); from < end; from += PLD_PAGE_BYTES) {
                struct pld_huge *huge = pld_huge_at(from);
                pld_bit_set(huge->lazy, (from & (PLD_HUGE_BYTES - 1)) >> PLD_PAGE_SHIFT);
                huge->asked = true;
                pld_page_heap_count_loose_locked(heap, huge);
        }
        pld_unlock(&heap->lock);
}

/* Blocks [first, end) are lent. */
static size_t drop_row(struct pld_span *span, size_t first, size_t end)
{
        size_t base = (size_t)sysconf(_SC_PAGESIZE);
        uintptr_t from = pld_round_up(pld_span_object(span, first), base);
        uintptr_t to = end == span->count ? end_of(span)
                                          : pld_round_down(pld_span_object(span, end), base);
        if (from >= to || pld_drop((void *)from, to - from))
                return 0;
        note_gone(span, from, to);
        return to - from;
}

static size_t drop_lent(struct pld_span *span, uint64_t lent)
{
        size_t nbytes = 0;
        for (size_t first = 0;;) {
                first = pld_bits_find(&lent, first, span->count, true);
                if (first == span->count)
                        return nbytes;
                size_t end = pld_bits_find(&lent, first, span->count, false);
                nbytes += drop_row(span, first, end);
                first = end;
        }
}

static bool shed_span(void *arg) /* F1 */
{
        struct loan *loan = arg;
        uint32_t lent = pld_blocks_lend(loan->span, loan->old);
        if (!lent)
                return false;
        if (break_all_try(loan->span))
                loan->nbytes += drop_lent(loan->span, lent);
        pld_blocks_return(loan->span, lent);
        return true;
}

/* ---- All spans ----------------------------------------------------------------------------- */

/* The next span that begins at *at or behind it and can lend, before end; NULL. */
static struct pld_span *next_span(uintptr_t *at, uintptr_t end)
{
        while (*at < end) {
                struct pld_place place = pld_place_of(*at);
                unsigned class = pld_place_class(place);
                struct pld_span *span = pld_place_span(place);
                uintptr_t here = *at;
                *at += PLD_PAGE_BYTES;
                if (pld_place_kind(place) != PLD_KIND_MANUAL || class >= PLD_NCLASSES ||
                    !pld_blocks_can_be_lent(class) || span->start != here)
                        continue;
                *at = here + ((size_t)pld_classes[class].manual_npages << PLD_PAGE_SHIFT);
                return span;
        }
        return NULL;
}

static bool is_thin(const struct place *place)
{
        struct pld_span *span;
        size_t nbytes = place->loose_bytes;
        for (uintptr_t at = place->at; (span = next_span(&at, place->at + PLD_HUGE_BYTES));)
                nbytes += pld_blocks_idle(span, true) * span->nbytes;
        return nbytes >= THIN_BYTES;
}

/* True: blocks of it will be old next time. */
static bool shed_place(const struct place *place, struct loan *loan)
{
        bool young = false, may = !loan->old || place->small || is_thin(place);
        for (uintptr_t at = place->at;
             (loan->span = next_span(&at, place->at + PLD_HUGE_BYTES));) {
                if (may && pld_blocks_idle(loan->span, loan->old) > 0)
                        pld_extent_unless_watched(shed_span, loan);
                young |= pld_blocks_age(loan->span);
        }
        return young;
}

static bool next_place(struct pld_page_heap *heap, size_t *cursor, struct place *out)
{
        struct pld_huge *huge = NULL;
        pld_lock(&heap->lock);
        while (!huge) {
                size_t i = pld_bits_find(heap->away, *cursor, heap->nhuge, true);
                if (i == heap->nhuge)
                        break;
                *cursor = i + 1;
                if (!can_shed_locked(heap, &heap->huge[i]))
                        continue;
                huge = &heap->huge[i];
                *out = (struct place){ .at = pld_huge_address(huge),
                                       .loose_bytes = (size_t)huge->nloose << PLD_PAGE_SHIFT,
                                       .small = pld_huge_kind(huge) == PLD_BACKING_BASE &&
                                                !huge->advised };
        }
        pld_unlock(&heap->lock);
        return huge != NULL;
}

size_t pld_spans_shed(bool old)
{
        struct loan loan = { .old = old };
        bool young = false;
        pld_store_relaxed(&pld_blocks_have_news, false);
        for (unsigned i = 0; i < pld_page_heaps.nslices && !pld_extent_is_watched(); i++) {
                struct place place;
                for (size_t cursor = 0; next_place(pld_page_heaps.of[i], &cursor, &place);)
                        young |= shed_place(&place, &loan);
        }
        if (young)
                pld_store_relaxed(&pld_blocks_have_news, true);
        return loan.nbytes;
}

bool pld_spans_are_worth_a_look(void)
{
        return pld_load_relaxed(&pld_blocks_have_news) && pld_manual_bytes() >= WORTH_BYTES &&
               pld_load_relaxed(&pld_page_heaps.reserved_bytes) == 0;
}
