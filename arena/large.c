#include "arena/large.h"

#include "arena/manual.h"

/* Pages given back by a resize must be worth it: this share of the span. */
enum { TRIM_SHARE = 4 };

struct pld_span *pld_large_new(size_t nbytes, size_t align, unsigned slice, bool strict)
{
        if (nbytes > PTRDIFF_MAX)
                return NULL;
        struct pld_span *span = pld_span_new(&(struct pld_span_wish){ .kind = PLD_KIND_MANUAL,
                                                                      .class = PLD_CLASS_LARGE,
                                                                      .nbytes = nbytes,
                                                                      .align = align,
                                                                      .slice = slice,
                                                                      .strict = strict });
        if (!span)
                return NULL;
        pld_manual_count((ptrdiff_t)pld_large_room(span));
        pld_span_publish(span);
        return span;
}

void pld_large_free(struct pld_span *span)
{
        pld_manual_count(-(ptrdiff_t)pld_large_room(span));
        pld_span_release(span);
}

static void trim(struct pld_span *span, size_t npages)
{
        struct pld_run tail = { .at = span->start + (npages << PLD_PAGE_SHIFT),
                                .npages = span->npages - npages };
        pld_page_map_set(tail.at, tail.npages, NULL, PLD_KIND_NONE);
        span->npages = npages;
        pld_manual_count(-(ptrdiff_t)(tail.npages << PLD_PAGE_SHIFT));
        pld_page_heap_free(tail);
}

static bool extend_try(struct pld_span *span, size_t npages)
{
        struct pld_run run = { .at = span->start, .npages = span->npages };
        size_t more = npages - span->npages;
        if (!pld_page_heap_extend_try(&run, more))
                return false;
        pld_page_map_set(span->start + pld_large_room(span), more, span, PLD_KIND_MANUAL);
        span->npages = npages;
        pld_manual_count((ptrdiff_t)(more << PLD_PAGE_SHIFT));
        return true;
}

bool pld_large_resize_try(struct pld_span *span, size_t nbytes)
{
        if (nbytes > PTRDIFF_MAX)
                return false;
        size_t npages = pld_pages_for(nbytes);
        if (npages > span->npages && !extend_try(span, npages))
                return false;
        if (span->npages - npages > span->npages / TRIM_SHARE)
                trim(span, npages);
        span->nbytes = pld_round_up(nbytes, 16);
        return true;
}
