#include "arena/shared.h"

#include "arena/cache.h"
#include "arena/meta.h"
#include "base/lock.h"

#include <errno.h>

struct shared { /* a cache for whoever has the lock */
        struct pld_lock lock;
        bool ready;             /* lock */
        struct pld_cache cache; /* lock */
};

struct slice {
        struct shared shared[2]; /* by strictness */
};

static struct slice *slices; /* const after start: one a slice */

struct pld_block *pld_shared_take(unsigned slice, unsigned class, bool strict)
{
        struct shared *shared = &slices[slice].shared[strict];
        struct pld_cache *cache = &shared->cache;
        pld_lock(&shared->lock);
        if (!shared->ready) {
                pld_manual_init(&cache->manual);
                cache->manual.strict = strict;
                cache->slice = slice;
                shared->ready = true;
        }
        struct pld_block *block = NULL;
        if (pld_manual_take(cache, class, &block, 1, true))
                block->key = 0;
        pld_unlock(&shared->lock);
        return block;
}

static void tidy(struct shared *shared)
{
        pld_lock(&shared->lock);
        if (shared->ready)
                pld_manual_tidy(&shared->cache, NULL);
        pld_unlock(&shared->lock);
}

static unsigned nslices(void)
{
        return slices ? pld_page_heap_slices() : 0;
}

void pld_shared_tidy(void)
{
        for (unsigned i = 0; i < nslices(); i++) {
                tidy(&slices[i].shared[false]);
                tidy(&slices[i].shared[true]);
        }
}

int pld_shared_start(void)
{
        slices = pld_meta_alloc(pld_page_heap_slices() * sizeof *slices);
        for (unsigned i = 0; i < nslices(); i++) {
                pld_lock_init(&slices[i].shared[false].lock, PLD_RANK_CACHE);
                pld_lock_init(&slices[i].shared[true].lock, PLD_RANK_CACHE);
        }
        return slices ? 0 : -ENOMEM;
}

void pld_shared_fork_prepare(void)
{
        for (unsigned i = 0; i < nslices(); i++) {
                pld_lock_seize(&slices[i].shared[false].lock);
                pld_lock_seize(&slices[i].shared[true].lock);
        }
}

void pld_shared_fork_done(void)
{
        for (unsigned i = nslices(); i-- > 0;) {
                pld_lock_cede(&slices[i].shared[true].lock);
                pld_lock_cede(&slices[i].shared[false].lock);
        }
}
