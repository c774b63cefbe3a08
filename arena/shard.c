/* shard.c: the parts of a heap: caches behind locks, whose malloc spans are a heap's.
 *
 * Nearly always a thread finds the shard that it had last time free; when it is not, it goes
 * on to another one, and when none is, the heap gets one more, up to a bound (arenas of
 * ptmalloc: Gloger, 2001). heap.c has the invariants. */
#include "arena/heap_inside.h"

#include "arena/meta.h"
#include "numa/machine.h"

static struct pld_list spare = PLD_LIST_INIT(spare); /* heaps' lock */
static _Thread_local unsigned favourite; /* the index of the shard that was free last time */

static struct pld_shard *find_locked(void)
{
        struct pld_list *item = pld_list_pop(&spare);
        if (item)
                return pld_container_of(item, struct pld_shard, link);
        struct pld_shard *shard = pld_meta_alloc(sizeof *shard);
        if (shard) {
                pld_lock_init(&shard->lock, PLD_RANK_CACHE);
                pld_list_init(&shard->link);
        }
        return shard;
}

bool pld_shard_add_locked(struct polder_heap *heap)
{
        unsigned n = pld_load_relaxed(&heap->nshards);
        if (n == PLD_SHARDS_MOST || (n > 0 && n >= pld_machine.ncpus))
                return false;
        struct pld_shard *shard = find_locked();
        if (!shard)
                return false;
        shard->heap = heap;
        pld_list_init(&shard->large);
        pld_manual_init(&shard->cache.manual);
        shard->cache.manual.in_heap = true;
        shard->cache.manual.strict = heap->strict;
        shard->cache.slice = heap->slice;
        heap->shards[n] = shard;
        pld_store_release(&heap->nshards, n + 1); /* with pld_shard_lock() */
        return true;
}

void pld_shard_spare_locked(struct pld_shard *shard)
{
        pld_list_push(&spare, &shard->link);
}

static PLD_NOINLINE struct pld_shard *lock_slow(struct polder_heap *heap, unsigned first)
{
        unsigned n = pld_load_acquire(&heap->nshards);
        for (unsigned i = 1; i < n; i++) {
                struct pld_shard *shard = heap->shards[(first + i) % n];
                if (pld_lock_try(&shard->lock)) {
                        favourite = (first + i) % n;
                        return shard;
                }
        }
        pld_lock(&pld_heaps_lock);
        if (n == pld_load_relaxed(&heap->nshards) && pld_shard_add_locked(heap))
                first = favourite = n;
        pld_unlock(&pld_heaps_lock);
        pld_lock(&heap->shards[first]->lock);
        return heap->shards[first];
}

struct pld_shard *pld_shard_lock(struct polder_heap *heap)
{
        unsigned n = pld_load_acquire(&heap->nshards),
                 i = favourite < n ? favourite : favourite % n;
        struct pld_shard *shard = heap->shards[i];
        return pld_likely(pld_lock_try(&shard->lock)) ? shard : lock_slow(heap, i);
}

unsigned pld_shard_take(struct polder_heap *heap, unsigned class, struct pld_block **to,
                        unsigned most)
{
        struct pld_shard *shard = pld_shard_lock(heap);
        unsigned n = pld_manual_take(&shard->cache, class, to, most, true);
        pld_unlock(&shard->lock);
        return n;
}

bool pld_shard_put_back(struct pld_block *const blocks[], size_t n)
{
        bool released = false;
        for (size_t i = 0, end; i < n; i = end) {
                struct pld_span *span = pld_span_of((uintptr_t)blocks[i]);
                struct pld_shard *shard = pld_shard_of(span);
                for (end = i + 1; end < n; end++) /* those of one shard together */
                        if (pld_shard_of(pld_span_of((uintptr_t)blocks[end])) != shard)
                                break;
                pld_lock(&shard->lock);
                released |= pld_manual_put_back(&shard->cache, span->class, blocks + i, end - i);
                pld_unlock(&shard->lock);
        }
        return released;
}
