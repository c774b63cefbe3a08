#include "arena/visit.h"

#include "arena/cache.h"
#include "arena/shared.h"
#include "arena/shelf.h"
#include "base/futex.h"
#include "numa/os.h"

enum guest { NOBODY, HERE, AWAITED }; /* of a cache */

struct round {
        bool idle_only;
        bool more; /* is left to do, for the next one */
};

/* ---- For threads (V1, V3) ----------------------------------------------------------------- */

static void wait_for(_Atomic uint32_t *guest)
{
        uint32_t seen;
        while ((seen = pld_load_acquire(guest)) != NOBODY)
                if (seen == AWAITED || pld_cas_relaxed(guest, &seen, AWAITED))
                        pld_futex_wait(guest, AWAITED, 0);
}

void pld_visit_wait(struct pld_cache *cache)
{
        struct pld_manual *manual = &cache->manual;
        do {
                uint32_t odd = pld_load_relaxed(&manual->entries);
                pld_store_release(&manual->entries, odd + 1);
                wait_for(&manual->guest);
                pld_store_relaxed(&manual->entries, odd + 2);
                pld_fence_signal();
        } while (pld_load_acquire(&manual->guest));
}

/* ---- For guests --------------------------------------------------------------------------- */

static bool may_stay(struct pld_cache *cache)
{
        return pld_load_relaxed(&cache->manual.guest) != AWAITED && !pld_caches_are_awaited();
}

static bool begin_visit_try(struct pld_cache *cache)
{
        pld_store_relaxed(&cache->manual.guest, HERE);
        return !pld_os->barrier_everywhere() && !pld_cache_is_inside(cache);
}

static void end_visit(struct pld_cache *cache)
{
        if (pld_exchange_acq_rel(&cache->manual.guest, NOBODY) == AWAITED)
                pld_futex_wake(&cache->manual.guest, INT_MAX);
}

static bool is_idle(struct pld_cache *cache)
{
        uint32_t entries = pld_load_relaxed(&cache->manual.entries);
        uint32_t seen = cache->manual.seen_entries;
        cache->manual.seen_entries = entries;
        return entries == seen;
}

/* With the lock of the caches (V2). */
static void visit(struct pld_cache *cache, void *arg)
{
        struct round *round = arg;
        if (cache == pld_cache_mine || (round->idle_only && !pld_load_relaxed(&cache->manual.news)))
                return;
        if (round->idle_only && !is_idle(cache)) {
                round->more = true;
                return;
        }
        if (begin_visit_try(cache)) {
                pld_store_relaxed(&cache->manual.news, false); /* V4 */
                if (!pld_manual_tidy(cache, may_stay)) {
                        pld_store_relaxed(&cache->manual.news, true);
                        round->more = true;
                }
        }
        end_visit(cache);
}

/* ---- All that waits ----------------------------------------------------------------------- */

static size_t reclaim(struct round *round)
{
        size_t before = pld_manual_bytes();
        pld_store_relaxed(&pld_manual_has_news, false);
        pld_shelf_reclaim();
        pld_shared_tidy();
        pld_manual_tidy_mine();
        pld_caches_visit(visit, round);
        if (round->more)
                pld_store_relaxed(&pld_manual_has_news, true);
        size_t after = pld_manual_bytes();
        return before > after ? before - after : 0;
}

size_t pld_manual_reclaim(void)
{
        struct round round = { .idle_only = false };
        return reclaim(&round);
}

bool pld_manual_reclaim_idle(void)
{
        struct round round = { .idle_only = true };
        return reclaim(&round) > 0 || round.more;
}
