/* span.c: descriptors, and the pages they describe.
 *
 * A descriptor lies apart from its pages and is made for a number of bitmap words;
 * a released one waits on the shelf of that number for the next span.
 *
 * S1  a descriptor is never anything else, and never unmapped: whoever holds one
 *     after its release reads a stale span or another one.
 * S2  between pld_span_new() and pld_span_publish() only the maker knows the span.
 * S3  a release clears the page map first, then gives the pages, then the
 *     descriptor, so that nothing of the next owner's is overwritten.
 * S4  no more than max_spans are live.
 * Called with no lock held; the shelves' lock is a leaf. */
#include "arena/span.h"

#include "arena/meta.h"
#include "arena/node_stats.h"
#include "base/check.h"
#include "base/lock.h"

#include <string.h>

/* Descriptors by the words of their bitmaps: 0, 1, 2, 4, 8, 16. */
enum { NSHELVES = 6 };

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
static struct pld_list shelves[NSHELVES]; /* lock: released descriptors */
static size_t max_spans;                  /* const after start */
static _Atomic size_t nlive;

static unsigned shelf_of(size_t nwords)
{
        return nwords ? pld_log2(nwords) + 1 : 0;
}

static size_t words_for(const struct pld_span_wish *wish, size_t count)
{
        size_t nwords = pld_words_for(count);
        if (wish->kind == PLD_KIND_MANUAL) /* one bitmap; a single word is in the descriptor */
                nwords = nwords > 1 ? pld_div_up(nwords, PLD_SPAN_BITMAPS) : 0;
        else if (wish->kind != PLD_KIND_COLLECTED)
                return 0;
        return nwords == 0 || pld_is_pow2(nwords) ? nwords : (size_t)1 << (pld_log2(nwords) + 1);
}

static struct pld_span *shell_new(size_t nwords)
{
        pld_lock(&lock);
        struct pld_list *item = pld_list_pop(&shelves[shelf_of(nwords)]);
        pld_unlock(&lock);
        if (item)
                return pld_container_of(item, struct pld_span, link);
        struct pld_span *span =
                pld_meta_alloc(sizeof *span + PLD_SPAN_BITMAPS * nwords * sizeof span->bits[0]);
        if (span)
                pld_list_init(&span->link);
        return span;
}

static void shell_free(struct pld_span *span)
{
        pld_lock(&lock);
        pld_list_push(&shelves[shelf_of(span->nwords)], &span->link);
        pld_unlock(&lock);
}

/* Pages from the slice, or from the nearest other one unless it must be this. */
static int find_pages(const struct pld_span_wish *wish, size_t npages, struct pld_run *out)
{
        size_t align = wish->align ? wish->align : PLD_PAGE_BYTES;
        bool populated = wish->kind == PLD_KIND_COLLECTED || wish->kind == PLD_KIND_POOL;
        int error = pld_page_heap_alloc(wish->slice, npages, align, populated, out);
        if (!error || wish->strict)
                return error;
        unsigned from = wish->slice < pld_machine.nnodes ? wish->slice : 0;
        for (unsigned i = 0; error && i < pld_machine.nnodes; i++) {
                unsigned slice = pld_machine.order[from][i];
                if (slice != wish->slice)
                        error = pld_page_heap_alloc(slice, npages, align, populated, out);
        }
        return error;
}

static bool claim_span(void)
{
        if (pld_add_relaxed(&nlive, 1) < max_spans || !max_spans)
                return true;
        pld_sub_relaxed(&nlive, 1);
        return false;
}

static void fill_in(struct pld_span *span, const struct pld_span_wish *wish, struct pld_run run,
                    size_t count, size_t nwords)
{
        bool large = wish->class == PLD_CLASS_LARGE;
        span->start = run.at;
        span->npages = run.npages;
        span->magic = large ? 0 : pld_classes[wish->class].magic;
        span->nbytes = large ? pld_round_up(wish->nbytes, 16) : pld_classes[wish->class].nbytes;
        span->count = (uint32_t)count;
        span->nwords = (uint16_t)nwords;
        span->class = (uint8_t)wish->class;
        span->kind = (uint8_t)wish->kind;
        span->slice = (uint8_t)pld_range_slice_of(run.at);
        span->zeroed = run.zeroed;
        span->shape = wish->shape;
        span->form = (uint16_t)(wish->form ? wish->form
                                           : pld_form_for(wish->class, PLD_FORM_LEAF));
        memset(&span->collected, 0, sizeof span->collected);
        memset(&span->manual, 0, sizeof span->manual);
        if (wish->kind == PLD_KIND_MANUAL)
                span->manual.absent = run.zeroed && run.lazy;
        for (size_t i = 0; i < PLD_SPAN_BITMAPS * nwords; i++)
                pld_store_relaxed(&span->bits[i], 0);
        if (wish->kind == PLD_KIND_COLLECTED)
                pld_store_relaxed(&span->collected.dirty, !run.zeroed);
}

static size_t pages_for(const struct pld_span_wish *wish, size_t *count)
{
        *count = 1;
        if (wish->class == PLD_CLASS_LARGE)
                return pld_pages_for(wish->nbytes);
        const struct pld_class *class = &pld_classes[wish->class];
        bool manual = wish->kind == PLD_KIND_MANUAL;
        *count = manual ? class->manual_count : class->count;
        return manual ? class->manual_npages : class->npages;
}

struct pld_span *pld_span_new(const struct pld_span_wish *wish)
{
        size_t count, npages = pages_for(wish, &count);
        size_t nwords = words_for(wish, count);
        struct pld_run run;

        if (!claim_span())
                return NULL;
        struct pld_span *span = shell_new(nwords);
        if (!span)
                goto unclaim;
        if (find_pages(wish, npages, &run))
                goto unshell;
        pld_node_count_run(wish->slice, &run);
        fill_in(span, wish, run, count, nwords);
        return span;
unshell:
        span->nwords = (uint16_t)nwords;
        shell_free(span);
unclaim:
        pld_sub_relaxed(&nlive, 1);
        return NULL;
}

void pld_span_publish(struct pld_span *span)
{
        pld_page_map_set(span->start, span->npages, span, span->kind);
}

void pld_span_release(struct pld_span *span)
{
        pld_page_map_set(span->start, span->npages, NULL, PLD_KIND_NONE);
        pld_page_heap_free((struct pld_run){ .at = span->start, .npages = span->npages });
        shell_free(span);
        pld_sub_relaxed(&nlive, 1);
}

size_t pld_spans_live(void)
{
        return pld_load_relaxed(&nlive);
}

void pld_span_start(size_t limit)
{
        max_spans = limit;
        for (unsigned i = 0; i < NSHELVES; i++)
                pld_list_init(&shelves[i]);
}

void pld_span_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_span_fork_done(void)
{
        pld_lock_cede(&lock);
}
