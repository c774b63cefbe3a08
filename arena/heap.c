/* heap.c: heaps that are freed at once.
 *
 * A heap is made of *shards*. A shard is a cache behind a lock, whose malloc spans are
 * its own, and a list of large spans (shard.c). In front of them each thread has a *stash*
 * in each heap that it uses: some free blocks, so that most calls take no lock (stash.c).
 *
 * To malloc.c blocks of a heap are blocks of another thread's: a shard owns the
 * span, and never is a thread's cache. So polder_free() finds out that a block is a
 * heap's where it has left the fast path already.
 *
 * H1  all spans of a shard are on its lists, those of full spans included; it neither
 *     abandons nor adopts spans. So destroying a heap is a walk over spans.
 * H2  blocks of a heap, and its large spans, are kept in its stashes only. A stash is a
 *     block of the heap itself and goes with it; a thread finds it by the heap's serial
 *     number, which is never used again: so what a thread remembers of a destroyed
 *     heap it never looks at.
 * H3  a stash's bins belong to its owner, and stashes of a heap only become more: whoever
 *     has read the first one may follow `next`.
 * H4  shards are never unmapped and never anything else (as caches, cache.c, K1), and
 *     those of a heap become more, under the heaps' lock, until it is destroyed.
 * Called with no lock held. A shard's lock is held while pages are taken. */
#include "arena/heap.h"

#include "arena/arena.h"
#include "arena/decay.h"
#include "arena/extent.h"
#include "arena/heap_inside.h"
#include "arena/large.h"
#include "arena/malloc.h"

#include <errno.h>
#include <string.h>

struct pld_lock pld_heaps_lock = PLD_LOCK_INIT(PLD_RANK_HEAPS);
static struct pld_list heaps = PLD_LIST_INIT(heaps); /* heaps' lock */
static uint64_t last_serial;                         /* likewise */

/* ---- Allocation ------------------------------------------------------------------ */

static void *refuse(int error)
{
        errno = error;
        return NULL;
}

static void *small_try(struct polder_heap *heap, unsigned class)
{
        struct pld_block *blocks[PLD_STASH_BLOCKS];
        struct pld_stash_bin *bin = pld_stash_bin(heap, class);
        unsigned n = pld_shard_take(heap, class, blocks, bin && bin->most > 1 ? bin->most / 2 : 1);
        if (n == 0)
                return NULL;
        while (n > 1)
                pld_stash_push(bin, blocks[--n]);
        blocks[0]->key = 0;
        return blocks[0];
}

static PLD_NOINLINE void *small_slow(struct polder_heap *heap, unsigned class)
{
        int saved = errno;
        unsigned step = 0;
        void *p;
        pld_extent_check_outside();
        do
                p = small_try(heap, class);
        while (!p && pld_malloc_find_memory(&step));
        pld_decay_chance();
        errno = p ? saved : ENOMEM;
        return p;
}

static inline void *small(struct polder_heap *heap, unsigned class)
{
        struct pld_stash_bin *bin = pld_stash_bin(heap, class);
        if (pld_unlikely(!bin || !bin->first))
                return small_slow(heap, class);
        struct pld_block *block = pld_stash_pop(bin);
        block->key = 0;
        return block;
}

static struct pld_span *large_try(struct polder_heap *heap, size_t nbytes, size_t align)
{
        struct pld_span *span = pld_large_new(nbytes, align, heap->slice, heap->strict);
        if (!span)
                return NULL;
        struct pld_shard *shard = pld_shard_lock(heap);
        span->manual.in_heap = true;
        pld_store_relaxed(&span->manual.owner, &shard->cache);
        pld_list_push(&shard->large, &span->link);
        pld_unlock(&shard->lock);
        return span;
}

static struct pld_span *large(struct polder_heap *heap, size_t nbytes, size_t align)
{
        int saved = errno;
        unsigned step = 0;
        struct pld_span *span;
        pld_extent_check_outside();
        do
                span = large_try(heap, nbytes, align);
        while (!span && nbytes <= PTRDIFF_MAX && pld_malloc_find_memory(&step));
        pld_decay_chance();
        errno = span ? saved : ENOMEM;
        return span;
}

static void *start_of(const struct pld_span *span)
{
        return span ? (void *)span->start : NULL;
}

void *polder_heap_malloc(struct polder_heap *heap, size_t nbytes)
{
        if (pld_unlikely(nbytes > PLD_MANUAL_MAX))
                return start_of(large(heap, nbytes, 0));
        return small(heap, pld_class_of_block(nbytes));
}

void *polder_heap_calloc(struct polder_heap *heap, size_t count, size_t nbytes)
{
        size_t total;
        if (__builtin_mul_overflow(count, nbytes, &total))
                return refuse(ENOMEM);
        if (total <= PLD_MANUAL_MAX) {
                void *p = polder_heap_malloc(heap, total);
                return p ? memset(p, 0, total) : NULL;
        }
        struct pld_span *span = large(heap, total, 0);
        return !span || span->zeroed ? start_of(span) : memset((void *)span->start, 0, total);
}

void *polder_heap_aligned_alloc(struct polder_heap *heap, size_t align, size_t nbytes)
{
        if (!pld_is_pow2(align))
                return refuse(EINVAL);
        if (nbytes > PTRDIFF_MAX || align > PTRDIFF_MAX)
                return refuse(ENOMEM);
        unsigned class = pld_class_of_aligned(align, nbytes);
        if (class != PLD_CLASS_LARGE)
                return small(heap, class);
        return start_of(large(heap, nbytes > PLD_MANUAL_MAX ? nbytes : PLD_MANUAL_MAX + 1, align));
}

void *polder_heap_realloc(struct polder_heap *heap, void *p, size_t nbytes)
{
        if (!p)
                return polder_heap_malloc(heap, nbytes);
        struct pld_place place = pld_place_of((uintptr_t)p);
        struct pld_span *span = pld_place_span(place);
        if (pld_place_kind(place) == PLD_KIND_MANUAL &&
            (!span->manual.in_heap || pld_shard_of(span)->heap != heap))
                pld_die("realloc of %p, which is not from heap %p", p, (void *)heap);
        return polder_realloc(p, nbytes); /* dies of all else that is wrong */
}

/* ---- What malloc.c hands on ------------------------------------------------------ */

bool pld_heap_free(struct pld_span *span, struct pld_block *block)
{
        struct pld_stash_bin *bin = pld_stash_bin(pld_shard_of(span)->heap, span->class);
        if (pld_unlikely(!bin))
                return pld_shard_put_back(&block, 1);
        bool released = bin->n == bin->most && pld_stash_flush(bin, bin->most / 2);
        pld_stash_push(bin, block);
        return released;
}

void pld_heap_free_large(struct pld_span *span)
{
        struct pld_shard *shard = pld_shard_of(span);
        pld_lock(&shard->lock);
        pld_list_remove(&span->link);
        pld_unlock(&shard->lock);
        pld_large_free(span);
}

bool pld_heap_resize_try(struct pld_span *span, size_t nbytes)
{
        struct pld_shard *shard = pld_shard_of(span);
        pld_lock(&shard->lock); /* its size is looked at under it */
        bool done = pld_large_resize_try(span, nbytes);
        pld_unlock(&shard->lock);
        return done;
}

void *pld_heap_alloc_beside(struct pld_span *span, size_t nbytes)
{
        return polder_heap_malloc(pld_shard_of(span)->heap, nbytes);
}

/* ---- Heaps ----------------------------------------------------------------------- */

/* 0, or what errno is to be. */
static int find_slice(int node, unsigned *out)
{
        int error = pld_arena_start(NULL);
        if (error && error != -EALREADY)
                return ENOMEM;
        if (node == -1) {
                *out = pld_machine_here();
                return 0;
        }
        int index = node < 0 ? -1 : pld_machine_index_of(node);
        if (index < 0)
                return EINVAL;
        *out = (unsigned)index;
        return 0;
}

struct polder_heap *polder_heap_create(int node)
{
        int saved = errno;
        unsigned slice;
        int error = find_slice(node, &slice);
        if (error)
                return refuse(error);
        struct polder_heap *heap = polder_calloc(1, sizeof *heap);
        if (!heap)
                return NULL;
        heap->slice = slice;
        heap->strict = node >= 0;
        pld_lock(&pld_heaps_lock);
        bool done = pld_shard_add_locked(heap);
        heap->serial = ++last_serial; /* H2 */
        if (done)
                pld_list_push(&heaps, &heap->link);
        pld_unlock(&pld_heaps_lock);
        if (!done) {
                polder_free(heap);
                return refuse(ENOMEM);
        }
        errno = saved;
        return heap;
}

size_t polder_heap_bytes(struct polder_heap *heap)
{
        size_t nbytes = 0;
        unsigned n = pld_load_acquire(&heap->nshards);
        for (unsigned i = 0; i < n; i++) {
                struct pld_shard *shard = heap->shards[i];
                pld_lock(&shard->lock);
                nbytes += pld_manual_cache_bytes(&shard->cache);
                pld_list_each(item, &shard->large) nbytes +=
                    pld_large_room(pld_container_of(item, struct pld_span, link));
                pld_unlock(&shard->lock);
        }
        return nbytes;
}

static void empty_shard(struct pld_shard *shard) /* H1 */
{
        struct pld_list *item;
        pld_manual_destroy(&shard->cache);
        while ((item = pld_list_pop(&shard->large)))
                pld_large_free(pld_container_of(item, struct pld_span, link));
}

void polder_heap_destroy(struct polder_heap *heap)
{
        if (!heap)
                return;
        int saved = errno;
        unsigned n = pld_load_acquire(&heap->nshards);
        pld_lock(&pld_heaps_lock); /* nobody else finds the heap any more */
        pld_list_remove(&heap->link);
        pld_unlock(&pld_heaps_lock);
        for (unsigned i = 0; i < n; i++)
                empty_shard(heap->shards[i]);
        pld_lock(&pld_heaps_lock);
        for (unsigned i = 0; i < n; i++)
                pld_shard_spare_locked(heap->shards[i]);
        pld_unlock(&pld_heaps_lock);
        polder_free(heap);
        pld_decay_notice();
        errno = saved;
}

size_t pld_heaps_reclaim(void)
{
        size_t before = pld_manual_bytes();
        pld_lock(&pld_heaps_lock);
        pld_list_each(item, &heaps)
        {
                struct polder_heap *heap = pld_container_of(item, struct polder_heap, link);
                pld_stash_empty(heap);
                for (unsigned i = 0; i < pld_load_relaxed(&heap->nshards); i++) {
                        struct pld_shard *shard = heap->shards[i];
                        pld_lock(&shard->lock);
                        pld_manual_tidy(&shard->cache, NULL);
                        pld_unlock(&shard->lock);
                }
        }
        pld_unlock(&pld_heaps_lock);
        size_t after = pld_manual_bytes();
        return before > after ? before - after : 0;
}

/* ---- Threads that end, and fork() ------------------------------------------------ */

void pld_heaps_leave(void)
{
        if (!pld_stash_is_there())
                return;
        pld_lock(&pld_heaps_lock);
        pld_list_each(item, &heaps)
                pld_stash_leave(pld_container_of(item, struct polder_heap, link));
        pld_unlock(&pld_heaps_lock);
        pld_stash_forget_seats();
}

void pld_heap_fork_child(void)
{
        pld_list_each(item, &heaps)
                pld_stash_forget_others(pld_container_of(item, struct polder_heap, link));
}

static void each_lock(void (*seize_or_cede)(struct pld_lock *))
{
        pld_list_each(item, &heaps)
        {
                struct polder_heap *heap = pld_container_of(item, struct polder_heap, link);
                for (unsigned i = 0; i < pld_load_relaxed(&heap->nshards); i++)
                        seize_or_cede(&heap->shards[i]->lock);
        }
}

void pld_heap_fork_prepare(void)
{
        pld_lock_seize(&pld_heaps_lock);
        each_lock(pld_lock_seize);
}

void pld_heap_fork_done(void)
{
        each_lock(pld_lock_cede);
        pld_lock_cede(&pld_heaps_lock);
}
