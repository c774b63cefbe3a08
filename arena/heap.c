/* heap.c: heaps that are freed at once.
 *
 * A heap is made of *shards*. A shard is a cache behind a lock, whose malloc spans are
 * its own, and a list of large spans. Nearly always a thread finds the shard that it
 * had last time free; when it is not, it goes on to another one, and when none is, the
 * heap gets one more, up to a bound (arenas of ptmalloc: Gloger, 2001). In front of
 * them each thread has a *stash* in each heap that it uses: some free blocks of each of
 * the smaller classes, so that most calls take no lock.
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
 *     those of a heap become more, under `lock`, until it is destroyed.
 * Called with no lock held. A shard's lock is held while pages are taken. */
#include "arena/heap.h"

#include "arena/arena.h"
#include "arena/cache.h"
#include "arena/decay.h"
#include "arena/extent.h"
#include "arena/large.h"
#include "arena/malloc.h"
#include "arena/meta.h"
#include "base/lock.h"

#include <errno.h>
#include <string.h>

enum {
        SHARDS_MOST = 8,
        SEATS = 8,
        STASH_BLOCKS = 32, /* of a class, and in bytes: what a thread keeps in a heap */
        STASH_BYTES = 8 << 10
};

struct shard {
        struct pld_lock lock;
        struct polder_heap *heap; /* const while it has one */
        struct pld_list large;    /* lock: spans */
        struct pld_list link;     /* heaps' lock: of the spare ones */
        struct pld_cache cache;   /* lock, but for what others may do to its manual half */
};

struct bin {
        struct pld_block *first; /* the last that was freed */
        uint32_t n, most;
};

struct stash {                       /* H3 */
        _Atomic(const void *) owner; /* a thread's `me`; NULL: nobody's */
        struct stash *next;          /* const */
        struct bin bin[PLD_NCLASSES_SMALL];
};

struct polder_heap {
        unsigned slice;                    /* const */
        bool strict;                       /* const: that slice or none */
        uint64_t serial;                   /* const: H2 */
        _Atomic(struct stash *) stashes;   /* any thread pushes */
        struct pld_list link;              /* heaps' lock */
        _Atomic unsigned nshards;          /* heaps' lock to write; >= 1 */
        struct shard *shards[SHARDS_MOST]; /* the first nshards are const */
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_HEAPS);
static struct pld_list heaps = PLD_LIST_INIT(heaps); /* lock */
static struct pld_list spare = PLD_LIST_INIT(spare); /* lock: shards */
static uint64_t last_serial;                         /* lock */

struct seat { /* what a thread remembers of a heap */
        uint64_t serial;
        struct stash *stash; /* NULL: there can be none */
};

static _Thread_local unsigned favourite; /* the index of the shard that was free last time */
static _Thread_local char me;            /* its address names the thread */
static _Thread_local bool has_stash;     /* in some heap, perhaps destroyed by now */
static _Thread_local struct seat seats[SEATS];

/* ---- Shards ---------------------------------------------------------------------- */

static struct shard *shard_of(const struct pld_span *span)
{
        return pld_container_of(pld_load_relaxed(&span->manual.owner), struct shard, cache);
}

static struct shard *find_shard_locked(void)
{
        struct pld_list *item = pld_list_pop(&spare);
        if (item)
                return pld_container_of(item, struct shard, link);
        struct shard *shard = pld_meta_alloc(sizeof *shard);
        if (shard) {
                pld_lock_init(&shard->lock, PLD_RANK_CACHE);
                pld_list_init(&shard->link);
        }
        return shard;
}

/* False: there are enough, or no memory. */
static bool add_shard_locked(struct polder_heap *heap)
{
        unsigned n = pld_load_relaxed(&heap->nshards);
        if (n == SHARDS_MOST || (n > 0 && n >= pld_machine.ncpus))
                return false;
        struct shard *shard = find_shard_locked();
        if (!shard)
                return false;
        shard->heap = heap;
        pld_list_init(&shard->large);
        pld_manual_init(&shard->cache.manual);
        shard->cache.manual.in_heap = true;
        shard->cache.manual.strict = heap->strict;
        shard->cache.slice = heap->slice;
        heap->shards[n] = shard;
        pld_store_release(&heap->nshards, n + 1); /* with lock_shard() */
        return true;
}

static PLD_NOINLINE struct shard *lock_shard_slow(struct polder_heap *heap, unsigned first)
{
        unsigned n = pld_load_acquire(&heap->nshards);
        for (unsigned i = 1; i < n; i++) {
                struct shard *shard = heap->shards[(first + i) % n];
                if (pld_lock_try(&shard->lock)) {
                        favourite = (first + i) % n;
                        return shard;
                }
        }
        pld_lock(&lock);
        if (n == pld_load_relaxed(&heap->nshards) && add_shard_locked(heap))
                first = favourite = n;
        pld_unlock(&lock);
        pld_lock(&heap->shards[first]->lock);
        return heap->shards[first];
}

/* Some shard, locked. */
static struct shard *lock_shard(struct polder_heap *heap)
{
        unsigned n = pld_load_acquire(&heap->nshards),
                 i = favourite < n ? favourite : favourite % n;
        struct shard *shard = heap->shards[i];
        return pld_likely(pld_lock_try(&shard->lock)) ? shard : lock_shard_slow(heap, i);
}

static unsigned take_blocks(struct polder_heap *heap, unsigned class, struct pld_block **to,
                            unsigned most)
{
        struct shard *shard = lock_shard(heap);
        unsigned n = pld_manual_take(&shard->cache, class, to, most);
        pld_unlock(&shard->lock);
        return n;
}

/* True: a span was released. */
static bool put_back_blocks(struct pld_block *const blocks[], size_t n)
{
        bool released = false;
        for (size_t i = 0, end; i < n; i = end) {
                struct shard *shard = shard_of(pld_span_of((uintptr_t)blocks[i]));
                for (end = i + 1; end < n; end++) /* those of one shard together */
                        if (shard_of(pld_span_of((uintptr_t)blocks[end])) != shard)
                                break;
                pld_lock(&shard->lock);
                released |= pld_manual_put_back(&shard->cache, blocks + i, end - i);
                pld_unlock(&shard->lock);
        }
        return released;
}

/* ---- Stashes --------------------------------------------------------------------- */

static struct stash *own_stash(struct polder_heap *heap)
{
        /* Acquire: what is in them, with new_stash(). */
        struct stash *stash = pld_load_acquire(&heap->stashes);
        while (stash && pld_load_relaxed(&stash->owner) != &me)
                stash = stash->next;
        return stash;
}

static struct stash *claim_stash(struct polder_heap *heap)
{
        struct stash *stash = pld_load_acquire(&heap->stashes);
        for (; stash; stash = stash->next) {
                const void *nobody = NULL;
                /* Acquire: the bins, with let_go(). */
                if (!pld_load_relaxed(&stash->owner) &&
                    pld_cas_acquire(&stash->owner, &nobody, &me))
                        break;
        }
        return stash;
}

static struct stash *new_stash(struct polder_heap *heap)
{
        struct pld_block *block;
        if (!take_blocks(heap, pld_class_of_block(sizeof(struct stash)), &block, 1))
                return NULL;
        struct stash *stash = memset(block, 0, sizeof *stash), *head;
        for (unsigned i = PLD_MANUAL_CLASS_MIN; i < PLD_NCLASSES_SMALL; i++) {
                uint32_t most = STASH_BYTES / pld_classes[i].nbytes;
                stash->bin[i].most = most < STASH_BLOCKS ? most : STASH_BLOCKS;
        }
        pld_store_relaxed(&stash->owner, &me);
        head = pld_load_relaxed(&heap->stashes);
        do
                stash->next = head;
        while (!pld_cas_weak_release(&heap->stashes, &head, stash));
        return stash;
}

static PLD_NOINLINE struct stash *stash_slow(struct polder_heap *heap, struct seat *seat)
{
        struct stash *stash = own_stash(heap);
        if (!stash && pld_cache_watch()) {
                stash = claim_stash(heap);
                if (!stash)
                        stash = new_stash(heap);
                has_stash |= stash != NULL;
        }
        *seat = (struct seat){ .serial = heap->serial, .stash = stash };
        return stash;
}

static inline struct stash *stash_of(struct polder_heap *heap)
{
        struct seat *seat = &seats[heap->serial % SEATS];
        return pld_likely(seat->serial == heap->serial) ? seat->stash : stash_slow(heap, seat);
}

/* The calling thread's bin of the class in that heap; NULL: it has none, or one without room. */
static inline struct bin *bin_of(struct polder_heap *heap, unsigned class)
{
        struct stash *stash = class < PLD_NCLASSES_SMALL ? stash_of(heap) : NULL;
        return stash && stash->bin[class].most ? &stash->bin[class] : NULL;
}

static inline struct pld_block *pop(struct bin *bin)
{
        struct pld_block *block = bin->first;
        PLD_ASSERT(block->key == pld_manual_key_of(block));
        bin->first = block->next;
        bin->n--;
        return block;
}

static inline void push(struct bin *bin, struct pld_block *block)
{
        block->next = bin->first;
        bin->first = block;
        bin->n++;
}

/* All but the `left` that were freed last go back. True: a span was released. */
static bool flush(struct bin *bin, uint32_t left)
{
        struct pld_block *blocks[STASH_BLOCKS], **last = &bin->first;
        uint32_t n = 0;
        for (uint32_t i = 0; i < left && *last; i++)
                last = &(*last)->next;
        for (struct pld_block *block = *last; block; block = block->next)
                blocks[n++] = block;
        *last = NULL;
        bin->n -= n;
        return put_back_blocks(blocks, n);
}

static void flush_all(struct stash *stash)
{
        for (unsigned i = 0; i < PLD_NCLASSES_SMALL; i++)
                if (stash->bin[i].n)
                        flush(&stash->bin[i], 0);
}

/* ---- Allocation ------------------------------------------------------------------ */

static void *refuse(int error)
{
        errno = error;
        return NULL;
}

static void *small_try(struct polder_heap *heap, unsigned class)
{
        struct pld_block *blocks[STASH_BLOCKS];
        struct bin *bin = bin_of(heap, class);
        unsigned n = take_blocks(heap, class, blocks, bin && bin->most > 1 ? bin->most / 2 : 1);
        if (n == 0)
                return NULL;
        while (n > 1)
                push(bin, blocks[--n]);
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
        struct bin *bin = bin_of(heap, class);
        if (pld_unlikely(!bin || !bin->first))
                return small_slow(heap, class);
        struct pld_block *block = pop(bin);
        block->key = 0;
        return block;
}

static struct pld_span *large_try(struct polder_heap *heap, size_t nbytes, size_t align)
{
        struct pld_span *span = pld_large_new(nbytes, align, heap->slice, heap->strict);
        if (!span)
                return NULL;
        struct shard *shard = lock_shard(heap);
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
            (!span->manual.in_heap || shard_of(span)->heap != heap))
                pld_die("realloc of %p, which is not from heap %p", p, (void *)heap);
        return polder_realloc(p, nbytes); /* dies of all else that is wrong */
}

/* ---- What malloc.c hands on ------------------------------------------------------ */

bool pld_heap_free(struct pld_span *span, struct pld_block *block)
{
        struct bin *bin = bin_of(shard_of(span)->heap, span->class);
        if (pld_unlikely(!bin))
                return put_back_blocks(&block, 1);
        bool released = bin->n == bin->most && flush(bin, bin->most / 2);
        push(bin, block);
        return released;
}

void pld_heap_free_large(struct pld_span *span)
{
        struct shard *shard = shard_of(span);
        pld_lock(&shard->lock);
        pld_list_remove(&span->link);
        pld_unlock(&shard->lock);
        pld_large_free(span);
}

bool pld_heap_resize_try(struct pld_span *span, size_t nbytes)
{
        struct shard *shard = shard_of(span);
        pld_lock(&shard->lock); /* its size is looked at under it */
        bool done = pld_large_resize_try(span, nbytes);
        pld_unlock(&shard->lock);
        return done;
}

void *pld_heap_alloc_beside(struct pld_span *span, size_t nbytes)
{
        return polder_heap_malloc(shard_of(span)->heap, nbytes);
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
        pld_lock(&lock);
        bool done = add_shard_locked(heap);
        heap->serial = ++last_serial; /* H2 */
        if (done)
                pld_list_push(&heaps, &heap->link);
        pld_unlock(&lock);
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
                struct shard *shard = heap->shards[i];
                pld_lock(&shard->lock);
                nbytes += pld_manual_cache_bytes(&shard->cache);
                pld_list_each(item, &shard->large) nbytes +=
                    pld_large_room(pld_container_of(item, struct pld_span, link));
                pld_unlock(&shard->lock);
        }
        return nbytes;
}

static void empty_shard(struct shard *shard) /* H1 */
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
        pld_lock(&lock); /* nobody else finds the heap any more */
        pld_list_remove(&heap->link);
        pld_unlock(&lock);
        for (unsigned i = 0; i < n; i++)
                empty_shard(heap->shards[i]);
        pld_lock(&lock);
        for (unsigned i = 0; i < n; i++)
                pld_list_push(&spare, &heap->shards[i]->link);
        pld_unlock(&lock);
        polder_free(heap);
        pld_decay_notice();
        errno = saved;
}

size_t pld_heaps_reclaim(void)
{
        size_t before = pld_manual_bytes();
        pld_lock(&lock);
        pld_list_each(item, &heaps)
        {
                struct polder_heap *heap = pld_container_of(item, struct polder_heap, link);
                struct stash *stash = own_stash(heap);
                if (stash)
                        flush_all(stash);
                for (unsigned i = 0; i < pld_load_relaxed(&heap->nshards); i++) {
                        struct shard *shard = heap->shards[i];
                        pld_lock(&shard->lock);
                        pld_manual_tidy(&shard->cache);
                        pld_unlock(&shard->lock);
                }
        }
        pld_unlock(&lock);
        size_t after = pld_manual_bytes();
        return before > after ? before - after : 0;
}

/* ---- Threads that end, and fork() ------------------------------------------------ */

static void let_go(struct stash *stash)
{
        flush_all(stash);
        pld_store_release(&stash->owner, NULL); /* with claim_stash() */
}

void pld_heaps_leave(void)
{
        if (!has_stash)
                return;
        has_stash = false;
        pld_lock(&lock);
        pld_list_each(item, &heaps)
        {
                struct stash *stash = own_stash(pld_container_of(item, struct polder_heap, link));
                if (stash)
                        let_go(stash);
        }
        pld_unlock(&lock);
        memset(seats, 0, sizeof seats);
}

/* What others had in a stash may be half changed: it is out until the heap goes. */
static void forget(struct stash *stash)
{
        for (unsigned i = 0; i < PLD_NCLASSES_SMALL; i++)
                stash->bin[i] = (struct bin){ .most = stash->bin[i].most };
        pld_store_relaxed(&stash->owner, NULL);
}

void pld_heap_fork_child(void)
{
        pld_list_each(item, &heaps)
        {
                struct polder_heap *heap = pld_container_of(item, struct polder_heap, link);
                struct stash *stash = pld_load_relaxed(&heap->stashes);
                for (; stash; stash = stash->next)
                        if (pld_load_relaxed(&stash->owner) != &me)
                                forget(stash);
        }
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
        pld_lock_seize(&lock);
        each_lock(pld_lock_seize);
}

void pld_heap_fork_done(void)
{
        each_lock(pld_lock_cede);
        pld_lock_cede(&lock);
}
