/* malloc.c: the calls that people make. What most of them come to is in malloc_paths.h.
 *
 * A1  no lock is held here, so that limits can be answered by giving back what
 *     is free, and by a last collection.
 * A2  errno changes only where a call fails, and then to what the call promises.
 * A3  what would corrupt memory is found before anything is written.
 * A4  a block is of the node that the thread is on when it is asked for. Where threads
 *     can move between nodes, every block takes a second path, some instructions longer,
 *     that looks at the thread's CPU first (cache.c, K3); so that the shortest path has
 *     no test for it, that path is for sizes below a limit, and the limit is 0 there. */
#include "arena/malloc.h"

#include "arena/arena.h"
#include "arena/cache.h"
#include "arena/decay.h"
#include "arena/heap.h"
#include "arena/large.h"
#include "arena/malloc_paths.h"
#include "arena/shared.h"
#include "arena/shed_spans.h"
#include "arena/visit.h"
#include "base/check.h"

#include <errno.h>
#include <string.h>

/* realloc() asks for this share more when a block has to move, so that one that
 * grows step by step moves seldom. */
enum { GROW_SHARE = 8 };

void (*pld_free_collected)(void *object);
size_t (*pld_stranger_room)(const void *p);

/* ---- Allocation, slowly ------------------------------------------------------------- */

static void *small_try(unsigned class)
{
        struct pld_cache *cache = pld_cache_get();
        if (pld_unlikely(!cache))
                return pld_arena_is_started() ? pld_shared_take(pld_machine_here(), class, false)
                                              : NULL;
        pld_cache_settle(cache); /* A4 */
        struct pld_block *block = pld_bin_pop(&cache->bins.bin[class]);
        return block ? block : pld_bin_refill(cache, class);
}

static struct pld_span *large_try(size_t nbytes, size_t align)
{
        struct pld_cache *cache = pld_cache_get();
        if (cache)
                pld_cache_settle(cache); /* A4 */
        struct pld_span *kept = align <= PLD_PAGE_BYTES ? pld_bins_reuse_large(nbytes) : NULL;
        if (kept)
                return kept;
        if (cache)
                pld_bins_narrow(cache, PLD_NCLASSES);
        unsigned slice = cache ? cache->slice : pld_machine_here();
        return pld_arena_is_started() ? pld_large_new(nbytes, align, slice, false) : NULL;
}

bool pld_malloc_find_memory(unsigned *step) /* A1 */
{
        if (!pld_arena_is_started())
                return false;
        if (*step == 0) {
                *step = 1;
                if (pld_manual_reclaim() + pld_heaps_reclaim() > 0)
                        return true;
        }
        return pld_manual_last_resort && pld_manual_last_resort((*step)++ - 1);
}

static void *refuse(int error)
{
        errno = error;
        return NULL;
}

PLD_NOINLINE void *pld_malloc_slow(size_t nbytes)
{
        int saved = errno;
        unsigned step = 0;
        void *p;
        pld_cache_get(); /* starts the arena, and so the classes */
        do
                p = small_try(pld_class_of_block(nbytes));
        while (!p && pld_malloc_find_memory(&step));
        if (!p)
                return refuse(ENOMEM);
        pld_decay_chance();
        errno = saved;
        return p;
}

static PLD_NOINLINE struct pld_span *large_slow(size_t nbytes, size_t align)
{
        int saved = errno;
        unsigned step = 0;
        struct pld_span *span;
        do
                span = large_try(nbytes, align);
        while (!span && nbytes <= PTRDIFF_MAX && pld_malloc_find_memory(&step));
        pld_decay_chance();
        errno = span ? saved : ENOMEM; /* A2 */
        return span;
}

static void *large(size_t nbytes)
{
        struct pld_span *span = large_slow(nbytes, 0);
        return span ? (void *)span->start : NULL;
}

/* ---- Looking at what comes back --------------------------------------------------------- */

static PLD_NOINLINE void die_misused(const char *call, const void *p, struct pld_place place)
{
        struct pld_span *span = pld_place_span(place);
        switch (pld_place_kind(place)) {
        case PLD_KIND_MANUAL:
                pld_die("%s of %p, which points inside a block or behind the last one of its span"
                        " (of %zu-byte blocks from %p)",
                        call, p, span->nbytes, (void *)span->start);
        case PLD_KIND_COLLECTED:
                pld_die("%s of collected object %p", call, p);
        case PLD_KIND_REGION:
                pld_die("%s of %p, which is a region's", call, p);
        case PLD_KIND_POOL:
                pld_die("%s of %p, which is a pool's", call, p);
        default:
                pld_die("%s of %p, which is not from Polder, or was freed", call, p);
        }
}

/* p is the first byte of a block; its span. */
static struct pld_span *span_of_block(const char *call, const void *p)
{
        struct pld_place place = pld_place_of((uintptr_t)p);
        struct pld_span *span = pld_place_span(place);
        if (pld_place_kind(place) != PLD_KIND_MANUAL)
                die_misused(call, p, place);
        if (span->class == PLD_CLASS_LARGE ? span->start != (uintptr_t)p
                                           : !pld_manual_is_block(span, (uintptr_t)p))
                die_misused(call, p, place);
        if (span->class == PLD_CLASS_LARGE && span->manual.where == PLD_MANUAL_KEPT)
                pld_die("double free of %p", p);
        return span;
}

static size_t room_of(const struct pld_span *span)
{
        return span->class == PLD_CLASS_LARGE ? pld_large_room(span) : span->nbytes;
}

void pld_die_free_already(const struct pld_block *block)
{
        pld_die("double free of %p", (const void *)block);
}

static bool is_stranger(const void *p)
{
        return !pld_range_has((uintptr_t)p) && pld_stranger_room && pld_stranger_room(p) > 0;
}

static void free_collected(void *p)
{
        if (!pld_free_collected)
                pld_die("free of collected object %p", p);
        pld_free_collected(p);
}

static void free_large(void *p)
{
        struct pld_span *span = span_of_block("free", p);
        if (span->manual.in_heap)
                pld_heap_free_large(span);
        else if (pld_bins_keep_large(span))
                return;
        else
                pld_large_free(span);
        pld_decay_notice();
}

PLD_NOINLINE void pld_free_slow(void *p)
{
        if (!p)
                return;
        int saved = errno;
        if (pld_place_kind(pld_place_of((uintptr_t)p)) == PLD_KIND_COLLECTED)
                free_collected(p);
        else if (!is_stranger(p))
                free_large(p);
        errno = saved;
}

PLD_NOINLINE void pld_free_full(struct pld_span *span, struct pld_block *block)
{
        int saved = errno;
        if (pld_bin_free_full(pld_cache_mine, span->class, block))
                pld_decay_notice();
        errno = saved;
}

PLD_NOINLINE void pld_free_remote(struct pld_span *span, struct pld_block *block)
{
        int saved = errno;
        bool released;
        if (span->manual.in_heap) {
                released = pld_heap_free(span, block);
        } else {
                pld_cache_get(); /* a thread that only frees has an outbox, too */
                released = pld_bin_free_remote(span, block);
        }
        if (released)
                pld_decay_notice();
        errno = saved;
}

/* ---- The calls ------------------------------------------------------------------------------ */

/* A4: on machines where threads move between nodes, and where somebody has to look after
 * what is idle. */
static PLD_NOINLINE void *malloc_watched(size_t nbytes)
{
        pld_decay_tick();
        struct pld_cache *cache = pld_cache_mine;
        if (pld_unlikely(pld_cache_may_have_moved(cache)))
                return pld_malloc_slow(nbytes);
        struct pld_block *block = pld_bin_pop(&cache->bins.bin[pld_class_of_block(nbytes)]);
        return pld_likely(block) ? block : pld_malloc_slow(nbytes);
}

PLD_NOINLINE void *pld_malloc_beyond(size_t nbytes)
{
        if (pld_unlikely(nbytes > PLD_MANUAL_MAX))
                return large(nbytes);
        if (pld_unlikely(pld_load_relaxed(&pld_cache_rooted_end) == 0))
                return malloc_watched(nbytes);
        struct pld_block *block = pld_bin_pop(&pld_cache_mine->bins.bin[pld_class_of_block(nbytes)]);
        return pld_likely(block) ? block : pld_malloc_slow(nbytes);
}

void *polder_malloc(size_t nbytes)
{
        return pld_malloc(nbytes);
}

void polder_free(void *p)
{
        pld_free(p);
}

void polder_free_sized(void *p, size_t nbytes)
{
        if (PLD_DEBUG && p && room_of(span_of_block("sized free", p)) < nbytes)
                pld_die("sized free of %p with %zu bytes, but it has %zu", p, nbytes,
                        polder_malloc_usable_size(p));
        polder_free(p);
}

void *polder_calloc(size_t count, size_t nbytes)
{
        size_t total;
        if (__builtin_mul_overflow(count, nbytes, &total))
                return refuse(ENOMEM);
        if (total <= PLD_SMALL_MAX) { /* beyond, pages may be known to be zero */
                void *p = polder_malloc(total);
                return p ? memset(p, 0, total) : NULL;
        }
        struct pld_span *span = large_slow(total, 0);
        if (!span)
                return NULL;
        return span->zeroed ? (void *)span->start : memset((void *)span->start, 0, total);
}

/* In place where that is no waste. */
static bool resize_try(struct pld_span *span, size_t nbytes)
{
        if (span->class != PLD_CLASS_LARGE)
                return nbytes <= span->nbytes && nbytes >= span->nbytes / 2;
        if (nbytes <= PLD_MANUAL_MAX)
                return false;
        return span->manual.in_heap ? pld_heap_resize_try(span, nbytes)
                                    : pld_large_resize_try(span, nbytes);
}

/* In the heap that the span is of, or in none. */
static void *alloc_beside(struct pld_span *span, size_t nbytes)
{
        return span->manual.in_heap ? pld_heap_alloc_beside(span, nbytes) : polder_malloc(nbytes);
}

/* One that grows begins with a huge page, so that it has what is behind it (straddle.c). */
static void *alloc_growing(struct pld_span *span, size_t nbytes)
{
        if (span->manual.in_heap || nbytes <= PLD_HUGE_BYTES)
                return alloc_beside(span, nbytes);
        struct pld_span *grown = large_slow(nbytes, PLD_HUGE_BYTES);
        return grown ? (void *)grown->start : NULL;
}

static void *alloc_to_grow(struct pld_span *span, size_t nbytes)
{
        size_t more = nbytes + nbytes / GROW_SHARE;
        if (nbytes > PLD_SMALL_MAX && nbytes > room_of(span) && more > nbytes) {
                void *p = alloc_growing(span, more);
                if (p)
                        return p;
        }
        return alloc_beside(span, nbytes);
}

/* A stranger stays where it is: nobody here could free it. */
static PLD_NOINLINE void *realloc_stranger(const void *p, size_t nbytes)
{
        size_t room = pld_stranger_room(p);
        void *to = nbytes ? polder_malloc(nbytes) : NULL;
        return to ? memcpy(to, p, nbytes < room ? nbytes : room) : NULL;
}

void *polder_realloc(void *p, size_t nbytes)
{
        if (!p)
                return polder_malloc(nbytes);
        if (pld_unlikely(is_stranger(p)))
                return realloc_stranger(p, nbytes);
        struct pld_span *span = span_of_block("realloc", p);
        if (span->class != PLD_CLASS_LARGE)
                pld_check_not_free(p);
        if (nbytes == 0) {
                polder_free(p);
                return NULL;
        }
        if (resize_try(span, nbytes))
                return p;
        size_t room = room_of(span);
        void *to = alloc_to_grow(span, nbytes);
        if (!to)
                return NULL;
        memcpy(to, p, nbytes < room ? nbytes : room);
        polder_free(p);
        return to;
}

void *polder_reallocarray(void *p, size_t count, size_t nbytes)
{
        size_t total;
        if (__builtin_mul_overflow(count, nbytes, &total))
                return refuse(ENOMEM);
        return polder_realloc(p, total);
}

/* align: a power of two. */
static void *alloc_aligned(size_t align, size_t nbytes)
{
        if (nbytes > PTRDIFF_MAX || align > PTRDIFF_MAX)
                return refuse(ENOMEM);
        pld_cache_get(); /* the classes are there from now on */
        unsigned class = pld_class_of_aligned(align, nbytes);
        if (class != PLD_CLASS_LARGE && pld_classes[class].nbytes)
                return polder_malloc(pld_classes[class].nbytes);
        /* Not smaller than the least large one: free() tells by the span's class,
         * but realloc() by the size. */
        struct pld_span *span = large_slow(nbytes > PLD_MANUAL_MAX ? nbytes : PLD_MANUAL_MAX + 1, align);
        return span ? (void *)span->start : NULL;
}

void *polder_aligned_alloc(size_t align, size_t nbytes)
{
        return pld_is_pow2(align) ? alloc_aligned(align, nbytes) : refuse(EINVAL);
}

int polder_posix_memalign(void **out, size_t align, size_t nbytes)
{
        if (!pld_is_pow2(align) || align % sizeof(void *))
                return EINVAL;
        int saved = errno;
        void *p = alloc_aligned(align, nbytes);
        errno = saved;
        if (!p)
                return ENOMEM;
        *out = p;
        return 0;
}

/* The thread's own cache may have a block of that slice. */
static void *own_on_slice(size_t nbytes, unsigned slice)
{
        struct pld_cache *cache = pld_cache_get();
        if (!cache || cache->slice != slice)
                return NULL;
        void *p = polder_malloc(nbytes);
        if (!p || pld_span_of((uintptr_t)p)->slice == slice)
                return p;
        polder_free(p);
        return NULL;
}

static void *onnode_try(size_t nbytes, unsigned slice)
{
        if (nbytes <= PLD_MANUAL_MAX) {
                void *p = own_on_slice(nbytes, slice);
                return p ? p : pld_shared_take(slice, pld_class_of_block(nbytes), true);
        }
        struct pld_span *span = pld_large_new(nbytes, 0, slice, true);
        return span ? (void *)span->start : NULL;
}

void *polder_malloc_onnode(size_t nbytes, int node)
{
        int saved = errno;
        unsigned step = 0;
        pld_cache_get(); /* starts the arena */
        if (!pld_arena_is_started())
                return refuse(ENOMEM);
        int slice = pld_machine_index_of(node);
        if (slice < 0)
                return refuse(EINVAL);
        void *p;
        do
                p = onnode_try(nbytes, (unsigned)slice);
        while (!p && nbytes <= PTRDIFF_MAX && pld_malloc_find_memory(&step));
        if (!p)
                return refuse(ENOMEM);
        errno = saved;
        return p;
}

size_t polder_malloc_usable_size(const void *p)
{
        if (!p)
                return 0;
        struct pld_place place = pld_place_of((uintptr_t)p);
        if (pld_place_kind(place) == PLD_KIND_COLLECTED)
                return pld_place_span(place)->nbytes;
        return room_of(span_of_block("usable size", p));
}

int polder_node_of(const void *p)
{
        int index = pld_page_heap_node_of((uintptr_t)p);
        return index < 0 ? index : pld_machine.node[index].id;
}

size_t polder_release(void)
{
        if (!pld_arena_is_started())
                return 0;
        int saved = errno;
        pld_manual_reclaim();
        size_t nbytes = pld_page_heap_release(UINT64_MAX) + pld_page_heap_shed(UINT64_MAX, true);
        nbytes += pld_spans_shed(false);
        errno = saved;
        return nbytes;
}
