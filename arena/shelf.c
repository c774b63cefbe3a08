#include "arena/shelf.h"

#include "arena/blocks.h"
#include "arena/cache.h"
#include "arena/meta.h"
#include "base/lock.h"

#include <errno.h>

struct shelf { /* abandoned spans of one class (M5) */
        struct pld_lock lock;
        _Atomic uint32_t nspans; /* lock to write */
        struct pld_list spans;   /* lock */
};

struct slice {
        struct shelf shelves[PLD_NCLASSES];
};

static struct slice *slices; /* const after start: one a slice */
/* Owns spans while they are looked at. */
static struct pld_cache reclaimer;

static struct shelf *shelf_of(const struct pld_span *span)
{
        return &slices[span->slice].shelves[span->class];
}

bool pld_shelf_abandon(struct pld_span *span)
{
        pld_blocks_collect(span);
        span->manual.where = PLD_MANUAL_NOWHERE;
        if (pld_blocks_claim(span)) {
                pld_manual_release(span);
                return true;
        }
        struct shelf *shelf = shelf_of(span);
        pld_lock(&shelf->lock);
        pld_list_append(&shelf->spans, &span->link);
        pld_add_relaxed(&shelf->nspans, 1);
        pld_store_release(&span->manual.owner, NULL); /* with claim() */
        pld_unlock(&shelf->lock);
        return false;
}

void pld_shelf_abandon_list(struct pld_list *list)
{
        struct pld_list *item;
        while ((item = pld_list_pop(list)))
                pld_shelf_abandon(pld_container_of(item, struct pld_span, link));
}

static bool claim(struct pld_span *span, struct pld_cache *cache)
{
        struct pld_cache *nobody = NULL;
        return pld_cas_acquire(&span->manual.owner, &nobody, cache);
}

static void unshelve_locked(struct shelf *shelf, struct pld_span *span)
{
        pld_list_remove(&span->link);
        pld_sub_relaxed(&shelf->nspans, 1);
}

struct pld_span *pld_shelf_adopt(struct pld_cache *cache, unsigned class)
{
        struct shelf *shelf = &slices[cache->slice].shelves[class];
        struct pld_span *found = NULL;
        if (pld_load_relaxed(&shelf->nspans) == 0)
                return NULL;
        pld_lock(&shelf->lock);
        pld_list_each(item, &shelf->spans) {
                struct pld_span *span = pld_container_of(item, struct pld_span, link);
                if (claim(span, cache)) { /* else a freer has it, and waits for the lock */
                        unshelve_locked(shelf, span);
                        found = span;
                        break;
                }
        }
        pld_unlock(&shelf->lock);
        return found;
}

bool pld_shelf_claim(struct pld_span *span, struct pld_cache *cache)
{
        if (!claim(span, cache))
                return false;
        struct shelf *shelf = shelf_of(span);
        pld_lock(&shelf->lock);
        unshelve_locked(shelf, span);
        pld_unlock(&shelf->lock);
        return true;
}

/* Others freed into it, or what was lent when it was abandoned has come back. */
static bool has_news(const struct pld_span *span)
{
        return pld_load_relaxed(&span->manual.remote) || pld_blocks_are_all_free(span);
}

static void reclaim(struct shelf *shelf)
{
        struct pld_list found = PLD_LIST_INIT(found);
        if (pld_load_relaxed(&shelf->nspans) == 0)
                return;
        pld_lock(&shelf->lock);
        for (struct pld_list *item = shelf->spans.next, *next; item != &shelf->spans; item = next) {
                struct pld_span *span = pld_container_of(item, struct pld_span, link);
                next = item->next;
                if (has_news(span) && claim(span, &reclaimer)) {
                        unshelve_locked(shelf, span);
                        pld_list_push(&found, &span->link);
                }
        }
        pld_unlock(&shelf->lock);
        pld_shelf_abandon_list(&found);
}

void pld_shelf_reclaim(void)
{
        for (unsigned i = 0; slices && i < pld_page_heap_slices(); i++)
                for (unsigned class = 0; class < PLD_NCLASSES; class++)
                        reclaim(&slices[i].shelves[class]);
}

/* ---- Start and fork ---------------------------------------------------------------------- */

int pld_shelf_start(void)
{
        unsigned n = pld_page_heap_slices();
        slices = pld_meta_alloc(n * sizeof *slices);
        for (unsigned i = 0; slices && i < n; i++) {
                for (unsigned class = 0; class < PLD_NCLASSES; class++) {
                        pld_lock_init(&slices[i].shelves[class].lock, PLD_RANK_CENTRAL);
                        pld_list_init(&slices[i].shelves[class].spans);
                }
        }
        return slices ? 0 : -ENOMEM;
}

void pld_shelf_fork_prepare(void)
{
        for (unsigned i = 0; slices && i < pld_page_heap_slices(); i++)
                for (unsigned class = 0; class < PLD_NCLASSES; class++)
                        pld_lock_seize(&slices[i].shelves[class].lock);
}

void pld_shelf_fork_done(void)
{
        for (unsigned i = slices ? pld_page_heap_slices() : 0; i-- > 0;)
                for (unsigned class = PLD_NCLASSES; class-- > 0;)
                        pld_lock_cede(&slices[i].shelves[class].lock);
}
