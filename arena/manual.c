/* manual.c: the small spans of malloc.
 *
 * A span of malloc belongs to one cache, its owner. The owner allocates and
 * frees by bits that are nobody else's (blocks.c). Everybody else frees through one compare-and-swap on
 * the span's `remote` list, which the owner takes over whole when it has no bits
 * left (sharded free lists: Leijen, Zorn and de Moura, "Mimalloc", 2019; the
 * claim of abandoned spans by whoever frees into them is that of its version 3).
 *
 * What a thread keeps in front of its spans, so that it seldom comes here, is in bin.c.
 *
 * A thread finds blocks in three places: its current span, its list of spans with free
 * blocks, its list of full ones. So that a full span is not forgotten there, its
 * `full` bit (the low bit of `remote`) asks the next remote freer to send it back.
 *
 *          pop               exhausted, CAS sets full
 *   CURRENT <---- LISTED          CURRENT ----> FULLED
 *                   ^  ^                          |  |
 *                   |  '---- owner frees: CAS clears |
 *                   '---- arrives on `revived` <-----' remote free: CAS clears
 *
 * M1  the plain fields of a span's manual half, and its link, belong to its
 *     owner: the thread of the cache that `owner` names, or whoever visits that
 *     (visit.h), or holds the lock of that shared cache, or replaced NULL there.
 * M2  used is the number of blocks out, those on `remote` included; one more
 *     while the span is CURRENT, so that the owner's free never brings it to 0
 *     there; and 1 while it is FULLED, when count blocks are out, so that the first
 *     block that the owner puts back brings it to 0 and so into unused(). Blocks in
 *     bins and outboxes are out.
 * M3  a span is released by its owner only, when no block is out. So whoever
 *     holds a block may read and CAS the span; after its block is pushed it may
 *     not, for the span may be gone. (Descriptors keep their type, and caches are
 *     never unmapped: a read that comes late would read something, but a write
 *     would be a write into a stranger.)
 * M4  `full` is set by the owner, by CAS of an empty `remote`. Whoever clears it
 *     has the duty to revive the span. Until it has arrived on `revived` the
 *     owner neither releases nor abandons it, and stays its owner. That is the
 *     one exception to M3: who has the duty may touch the span until it has
 *     pushed it on `revived`.
 * M5  an abandoned span has owner NULL, is on a shelf, and has `full` clear.
 *     NULL is stored under the shelf's lock after the span is on the shelf, and
 *     is replaced by CAS, which makes the owner; the new owner then takes the
 *     span off under the lock. A freer tries that before it pushes, while its
 *     own block keeps the span from going away (M3).
 * M6  a shelf is of the slice that its spans' memory is from, and adopting caches
 *     look at the shelves of their own slice: a block freed from abroad is
 *     never handed out as local memory where it is not. A cache whose thread
 *     has moved to another node abandons its spans before it hands out a block.
 * M7  a freed block holds its key, in a bin and an outbox too; a block in use does not
 *     (but for a chance of one in 2^64).
 *     The free blocks of a span are in blocks.c, which says when one holds no key.
 * M8  of a span that can lend blocks (blocks.c, B3) those that are lent are not in `used`.
 *     Such a span does not retire, and is not released: it waits in the list.
 *
 * Lists are changed between enter() and leave(): a forked child leaves alone
 * what was being changed at that moment. No lock is held by callers. */
#include "arena/manual.h"

#include "arena/blocks.h"
#include "arena/cache.h"
#include "arena/shared.h"
#include "arena/shelf.h"
#include "arena/visit.h"

#include <sched.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        ADOPT_MOST = 4      /* abandoned spans looked at before a new one is made */
};

struct pld_span pld_span_none = { .class = PLD_CLASS_LARGE };
uintptr_t pld_manual_key;
bool (*pld_manual_last_resort)(unsigned nbefore);

_Atomic bool pld_manual_has_news;
static _Atomic size_t nbytes_out; /* relaxed: a statistic */
/* Owns spans in the hands of a thread that has no cache to put them in. */
static struct pld_cache borrower;

static void enter(struct pld_cache *cache) /* visit.h, V1 */
{
        struct pld_manual *manual = &cache->manual;
        pld_store_relaxed(&manual->entries, pld_load_relaxed(&manual->entries) + 1);
        pld_fence_signal();
        if (pld_unlikely(pld_load_acquire(&manual->guest)))
                pld_visit_wait(cache);
}

static void leave(struct pld_cache *cache)
{
        struct pld_manual *manual = &cache->manual;
        pld_store_release(&manual->entries, pld_load_relaxed(&manual->entries) + 1);
}

static struct pld_span *pop_span(struct pld_list *list)
{
        struct pld_list *item = pld_list_pop(list);
        return item ? pld_container_of(item, struct pld_span, link) : NULL;
}

void pld_manual_count(ptrdiff_t nbytes)
{
        pld_add_relaxed(&nbytes_out, (size_t)nbytes);
}

void pld_manual_release(struct pld_span *span)
{
        PLD_ASSERT(pld_load_relaxed(&span->idle) == 0);
        span->manual.where = PLD_MANUAL_NOWHERE;
        pld_manual_count(-(ptrdiff_t)(span->npages << PLD_PAGE_SHIFT));
        pld_span_release(span);
}

/* ---- A cache's lists --------------------------------------------------------------- */

/* The caller's span, on no list. One without a block out is kept only where
 * the cache has no other to go on with. True: it was released. */
static bool list_or_release(struct pld_cache *cache, struct pld_span *span)
{
        struct pld_list *list = &cache->manual.spans[span->class];
        if (span->manual.used == 0 && !pld_list_is_empty(list) && pld_blocks_claim(span)) {
                pld_manual_release(span);
                return true;
        }
        span->manual.where = PLD_MANUAL_LISTED;
        pld_list_push(list, &span->link);
        return false;
}

static void make_current(struct pld_cache *cache, struct pld_span *span)
{
        cache->manual.current[span->class] = span;
        span->manual.where = PLD_MANUAL_CURRENT;
        span->manual.used++; /* M2 */
}

static struct pld_span *take_current(struct pld_cache *cache, unsigned class)
{
        struct pld_span *span = cache->manual.current[class];
        if (span == &pld_span_none)
                return NULL;
        cache->manual.current[class] = &pld_span_none;
        span->manual.used--; /* M2 */
        return span;
}

/* The current span is exhausted, and no longer current; false: something was freed into it
 * meanwhile, and it is on no list. */
static bool retire(struct pld_cache *cache, struct pld_span *span)
{
        uintptr_t empty = 0;
        PLD_ASSERT(span->manual.used == span->count + 1);
        PLD_ASSERT(span->manual.where == PLD_MANUAL_CURRENT);
        span->manual.where = PLD_MANUAL_FULLED;
        span->manual.used = 1; /* M2 */
        pld_list_push(&cache->manual.full[span->class], &span->link);
        cache->manual.current[span->class] = &pld_span_none;
        /* Release: owner, for the one who clears it (revive()). */
        if (pld_cas_acq_rel(&span->manual.remote, &empty, PLD_MANUAL_FULL))
                return true;
        pld_list_remove(&span->link);
        span->manual.used = span->count;
        return false;
}

/* The owner's own way back from full; false: a remote freer was first (M4). */
static bool clear_full(struct pld_span *span)
{
        uintptr_t full = PLD_MANUAL_FULL;
        if (!pld_cas_relaxed(&span->manual.remote, &full, 0))
                return false;
        pld_list_remove(&span->link);
        return true;
}

/* Nobody else pops: M1. So what is next to the first one stays that. */
static struct pld_span *pop_revived(struct pld_cache *cache)
{
        /* Acquire: next_revived, with revive(). */
        struct pld_span *span = pld_load_acquire(&cache->manual.revived);
        while (span && !pld_cas_acquire(&cache->manual.revived, &span, span->manual.next_revived))
                ;
        return span;
}

/* What remote freers sent back goes to the lists. */
static void drain_revived(struct pld_cache *cache, pld_manual_may may_go_on)
{
        struct pld_span *span;
        while ((!may_go_on || may_go_on(cache)) && (span = pop_revived(cache))) {
                pld_list_remove(&span->link);
                if (span->manual.where == PLD_MANUAL_FULLED)
                        span->manual.used = span->count;
                pld_blocks_collect(span);
                list_or_release(cache, span);
        }
}

static struct pld_span *new_span(struct pld_cache *cache, unsigned class)
{
        struct pld_span_wish wish = { .kind = PLD_KIND_MANUAL, .class = class,
                                      .slice = cache->slice, .strict = cache->manual.strict };
        struct pld_span *span = pld_span_new(&wish);
        if (!span)
                return NULL;
        pld_manual_count((ptrdiff_t)(span->npages << PLD_PAGE_SHIFT));
        pld_store_relaxed(&span->manual.owner, cache);
        span->manual.in_heap = cache->manual.in_heap;
        pld_blocks_begin(span, cache->manual.in_heap);
        pld_span_publish(span);
        return span;
}

/* A span to be the current one, most likely with free blocks. */
static struct pld_span *next_span(struct pld_cache *cache, unsigned class, bool may_make,
                                  unsigned *nadopted)
{
        struct pld_span *span = pop_span(&cache->manual.spans[class]);
        if (span)
                return span;
        drain_revived(cache, NULL);
        span = pop_span(&cache->manual.spans[class]);
        if (span)
                return span;
        if ((*nadopted)++ < ADOPT_MOST && !cache->manual.in_heap) { /* heap.c, H1 */
                span = pld_shelf_adopt(cache, class);
                if (span)
                        return span;
        }
        return may_make ? new_span(cache, class) : NULL;
}

/* The current span has none to take, but some are lent (blocks.c, B3). It waits at the end of
 * the list, and the caller goes on with a new one. */
static void put_aside(struct pld_cache *cache, struct pld_span *span)
{
        take_current(cache, span->class);
        span->manual.where = PLD_MANUAL_LISTED;
        pld_list_append(&cache->manual.spans[span->class], &span->link);
}

/* The span to go on with when the current one is used up: that same one, if others freed into
 * it meanwhile. NULL: none, or enough is there. */
static struct pld_span *follow_up(struct pld_cache *cache, unsigned class, bool enough,
                                  bool may_make, unsigned *nadopted)
{
        struct pld_span *span = cache->manual.current[class];
        if (span != &pld_span_none && pld_blocks_are_lent(span)) {
                put_aside(cache, span);
                return enough || !may_make ? NULL : new_span(cache, class);
        }
        if (span != &pld_span_none && !retire(cache, span))
                return span;
        return enough ? pop_span(&cache->manual.spans[class])
                      : next_span(cache, class, may_make, nadopted);
}

static unsigned take_blocks(struct pld_cache *cache, unsigned class, struct pld_block **to,
                            unsigned most, bool may_make)
{
        unsigned n = 0, nadopted = 0;
        for (;;) {
                struct pld_span *span = cache->manual.current[class];
                while (n < most && pld_blocks_replenish(span))
                        n += pld_blocks_take(span, to + n, most - n);
                if (n == most)
                        return n;
                span = follow_up(cache, class, n > 0, may_make, &nadopted);
                if (!span)
                        return n;
                make_current(cache, span);
        }
}

unsigned pld_manual_take(struct pld_cache *cache, unsigned class, struct pld_block **to,
                         unsigned most, bool may_make)
{
        enter(cache);
        unsigned n = take_blocks(cache, class, to, most, may_make);
        leave(cache);
        return n;
}

/* ---- Frees --------------------------------------------------------------------------- */

/* The owner put a block back, and that brought span->manual.used to 0. */
static bool unused(struct pld_cache *cache, struct pld_span *span)
{
        switch (span->manual.where) {
        case PLD_MANUAL_FULLED: /* M2: its first block since it was full */
                span->manual.used = span->count - 1;
                if (!clear_full(span)) {
                        span->manual.where = PLD_MANUAL_REVIVING; /* it comes back by itself */
                        return false;
                }
                return list_or_release(cache, span);
        case PLD_MANUAL_LISTED:
                pld_list_remove(&span->link);
                return list_or_release(cache, span);
        default: /* a forked child's orphan: it is on no list of ours */
                return false;
        }
}

/* Only for the one who cleared `full`: M4. */
static void revive(struct pld_span *span)
{
        struct pld_manual *manual = &pld_load_relaxed(&span->manual.owner)->manual;
        struct pld_span *head = pld_load_relaxed(&manual->revived);
        do
                span->manual.next_revived = head;
        while (!pld_cas_weak_release(&manual->revived, &head, span));
}

/* True: the owner's cache had no news until now (visit.h, V4). */
static bool push_remote(struct pld_span *span, struct pld_cache *owner, struct pld_chain chain)
{
        uintptr_t more = (uintptr_t)chain.n << PLD_REMOTE_SHIFT;
        uintptr_t head = pld_load_relaxed(&span->manual.remote), fresh;
        do {
                chain.last->next = pld_blocks_first(head);
                fresh = head >> PLD_REMOTE_SHIFT << PLD_REMOTE_SHIFT;
                fresh = (uintptr_t)chain.first | (fresh + more);
        } while (!pld_cas_acq_rel(&span->manual.remote, &head, fresh));
        /* Release: the blocks, for collect(). Acquire: owner, with retire(). */
        if (head & PLD_MANUAL_FULL)
                revive(span);
        if (pld_load_relaxed(&owner->manual.news)) /* it may be another by now: caches stay */
                return false;
        pld_store_relaxed(&owner->manual.news, true);
        pld_store_relaxed(&pld_manual_has_news, true);
        return true;
}

static bool free_claimed(struct pld_span *span, struct pld_block *first, struct pld_cache *cache)
{
        pld_blocks_collect(span);
        for (struct pld_block *block = first, *next; block; block = next) {
                next = block->next;
                pld_blocks_put(span, &block, 1);
        }
        return cache == &borrower ? pld_shelf_abandon(span) : list_or_release(cache, span);
}

bool pld_manual_send_back(struct pld_span *span, struct pld_chain chain)
{
        struct pld_cache *owner = pld_load_relaxed(&span->manual.owner);
        if (owner)
                return push_remote(span, owner, chain);
        struct pld_cache *mine = pld_cache_mine;
        bool at_home = mine != &pld_cache_none && mine->slice == span->slice; /* M6 */
        struct pld_cache *cache = at_home ? mine : &borrower;
        bool has_work;
        enter(cache);
        if (pld_shelf_claim(span, cache))
                has_work = free_claimed(span, chain.first, cache);
        else
                has_work = push_remote(span, cache, chain);
        leave(cache);
        return has_work;
}

/* The first block, and those behind it that are of the same span; how many. */
static size_t put_some(struct pld_cache *cache, struct pld_block *const blocks[], size_t n,
                       bool *released)
{
        struct pld_span *span = pld_span_of((uintptr_t)blocks[0]);
        PLD_ASSERT(pld_load_relaxed(&span->manual.owner) == cache); /* M1 */
        if (span->manual.where == PLD_MANUAL_FULLED)
                n = 1; /* M2 */
        size_t nput = pld_blocks_put(span, blocks, n);
        *released |= span->manual.used == 0 && unused(cache, span);
        return nput;
}

bool pld_manual_put_back(struct pld_cache *cache, unsigned class,
                         struct pld_block *const blocks[], size_t n)
{
        bool released = n > 0 && pld_blocks_can_be_lent(class);
        enter(cache);
        for (size_t i = 0; i < n;)
                i += put_some(cache, blocks + i, n - i, &released);
        leave(cache);
        return released;
}

/* ---- Giving a cache up ----------------------------------------------------------------- */

static bool has_full(const struct pld_manual *manual)
{
        for (unsigned i = 0; i < PLD_NCLASSES; i++)
                if (!pld_list_is_empty(&manual->full[i]))
                        return true;
        return false;
}

static void abandon_full(struct pld_list *full, bool alone)
{
        for (struct pld_list *item = full->next, *next; item != full; item = next) {
                struct pld_span *span = pld_container_of(item, struct pld_span, link);
                next = item->next;
                bool ours = clear_full(span);
                if (!ours && alone) { /* who had the duty is not there any more */
                        pld_list_remove(&span->link);
                        ours = true;
                }
                if (!ours)
                        continue;
                if (span->manual.where == PLD_MANUAL_FULLED)
                        span->manual.used = span->count;
                pld_shelf_abandon(span);
        }
}

static void empty_lists(struct pld_cache *cache, bool alone)
{
        struct pld_manual *manual = &cache->manual;
        drain_revived(cache, NULL);
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                struct pld_span *span = take_current(cache, i);
                if (span)
                        pld_shelf_abandon(span);
                pld_shelf_abandon_list(&manual->spans[i]);
                abandon_full(&manual->full[i], alone);
        }
        while (has_full(manual)) { /* M4: they are on their way */
                sched_yield();
                drain_revived(cache, NULL);
                for (unsigned i = 0; i < PLD_NCLASSES; i++)
                        pld_shelf_abandon_list(&manual->spans[i]);
        }
}

void pld_manual_empty(struct pld_cache *cache)
{
        enter(cache);
        empty_lists(cache, false);
        leave(cache);
}

bool pld_manual_empty_orphan(struct pld_cache *cache)
{
        if (pld_cache_is_inside(cache))
                return false;
        empty_lists(cache, true);
        return true;
}

/* ---- Finding what waits ------------------------------------------------------------------- */

/* The list begins with the item from now on. */
static void turn_to(struct pld_list *list, struct pld_list *item)
{
        pld_list_remove(list);
        pld_list_append(item, list);
}

static bool tidy_class(struct pld_cache *cache, unsigned class, pld_manual_may may_go_on)
{
        struct pld_list *list = &cache->manual.spans[class];
        struct pld_span *span = take_current(cache, class);
        if (span)
                pld_list_push(list, &span->link);
        for (struct pld_list *item = list->next, *next; item != list; item = next) {
                span = pld_container_of(item, struct pld_span, link);
                next = item->next;
                span->manual.where = PLD_MANUAL_LISTED;
                if (may_go_on && !may_go_on(cache)) {
                        turn_to(list, item);
                        return false;
                }
                pld_blocks_collect(span);
                if (!pld_blocks_claim(span))
                        continue;
                pld_list_remove(&span->link);
                pld_manual_release(span);
        }
        return true;
}

bool pld_manual_tidy(struct pld_cache *cache, pld_manual_may may_go_on)
{
        uint8_t *class = &cache->manual.next_class;
        drain_revived(cache, may_go_on);
        bool all = true;
        for (unsigned i = 0; all && i < PLD_NCLASSES; i++) {
                all = tidy_class(cache, *class, may_go_on);
                *class = (uint8_t)((*class + 1) % PLD_NCLASSES);
        }
        return all;
}

void pld_manual_tidy_mine(void)
{
        struct pld_cache *mine = pld_cache_mine;
        if (mine == &pld_cache_none)
                return;
        pld_bins_empty(mine);
        enter(mine);
        pld_manual_tidy(mine, NULL);
        leave(mine);
}

size_t pld_manual_bytes(void)
{
        return pld_load_relaxed(&nbytes_out);
}

/* ---- The caches of heaps ---------------------------------------------------------------- */

static void destroy_span(struct pld_span *span)
{
        pld_blocks_drop(span);
        pld_manual_release(span);
}

void pld_manual_destroy(struct pld_cache *cache)
{
        struct pld_manual *manual = &cache->manual;
        struct pld_span *span;
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                if ((span = take_current(cache, i)))
                        destroy_span(span);
                while ((span = pop_span(&manual->spans[i])))
                        destroy_span(span);
                /* And those on their way to `revived`. */
                while ((span = pop_span(&manual->full[i])))
                        destroy_span(span);
        }
}

static size_t list_bytes(const struct pld_list *list)
{
        size_t nbytes = 0;
        for (const struct pld_list *item = list->next; item != list; item = item->next)
                nbytes += pld_container_of(item, struct pld_span, link)->npages << PLD_PAGE_SHIFT;
        return nbytes;
}

size_t pld_manual_cache_bytes(const struct pld_cache *cache)
{
        size_t nbytes = 0;
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                nbytes += cache->manual.current[i]->npages << PLD_PAGE_SHIFT; /* none: no pages */
                nbytes += list_bytes(&cache->manual.spans[i]) + list_bytes(&cache->manual.full[i]);
        }
        return nbytes;
}

/* ---- Checks ---------------------------------------------------------------------------------- */

static void verify_span(struct pld_cache *cache, struct pld_span *span, unsigned class,
                        enum pld_manual_where where)
{
        bool full = where == PLD_MANUAL_FULLED;
        size_t used = span->manual.used;
        if (where == PLD_MANUAL_CURRENT)
                used--; /* M2 */
        PLD_CHECK(span->class == class);
        PLD_CHECK(pld_load_relaxed(&span->manual.owner) == cache); /* M1 */
        PLD_CHECK(span->manual.where == where ||
                  (full && span->manual.where == PLD_MANUAL_REVIVING));
        if (!full) {
                bool may_lend = pld_blocks_can_be_lent(class);
                size_t there = pld_blocks_count(span) + used; /* M2 */
                PLD_CHECK(may_lend ? there <= span->manual.fresh : there == span->manual.fresh);
                PLD_CHECK(!(pld_load_relaxed(&span->manual.remote) & PLD_MANUAL_FULL)); /* M4 */
        }
}

void pld_manual_verify(struct pld_cache *cache)
{
        struct pld_manual *manual = &cache->manual;
        enter(cache);
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                if (manual->current[i] != &pld_span_none)
                        verify_span(cache, manual->current[i], i, PLD_MANUAL_CURRENT);
                pld_list_each(item, &manual->spans[i])
                        verify_span(cache, pld_container_of(item, struct pld_span, link), i,
                                    PLD_MANUAL_LISTED);
                pld_list_each(item, &manual->full[i])
                        verify_span(cache, pld_container_of(item, struct pld_span, link), i,
                                    PLD_MANUAL_FULLED);
        }
        leave(cache);
}

/* ---- Start and fork --------------------------------------------------------------------- */

void pld_manual_init(struct pld_manual *manual)
{
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                manual->current[i] = &pld_span_none;
                pld_list_init(&manual->spans[i]);
                pld_list_init(&manual->full[i]);
        }
        pld_store_relaxed(&manual->revived, NULL);
        pld_store_relaxed(&manual->news, false);
        manual->strict = false;
        manual->in_heap = false;
}

static void draw_key(void)
{
        /* getrandom() is a cancellation point, and the start is under a lock. */
        if (syscall(SYS_getrandom, &pld_manual_key, sizeof pld_manual_key, GRND_NONBLOCK) !=
            sizeof pld_manual_key) /* early in the system's life; the stack's place is random */
                pld_manual_key = (uintptr_t)&borrower * UINT64_C(0x9e3779b97f4a7c15);
        pld_manual_key |= 1; /* no address, and so no pointer of a program's, looks like it */
}

int pld_manual_start(void)
{
        int error = pld_shared_start();
        if (!error)
                error = pld_shelf_start();
        draw_key();
        return error;
}

void pld_manual_fork_prepare(void)
{
        pld_shared_fork_prepare();
        pld_shelf_fork_prepare();
}

void pld_manual_fork_done(void)
{
        pld_shelf_fork_done();
        pld_shared_fork_done();
}
