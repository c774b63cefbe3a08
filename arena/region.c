/* region.c: regions, and the scratch stack that every thread has one of.
 *
 * A region is a stack of chunks, each a span of its own, each twice as large as
 * the one before, up to a bound. Allocation moves a pointer through the newest
 * one. (Hanson, "Fast allocation and deallocation of memory based on object
 * lifetimes", 1990.) A request that would waste most of a chunk gets one of its
 * own: below the newest, which then goes on being used, in a region; on top in a
 * scratch stack, where order is what release goes by.
 *
 * R1  next and end are in the newest chunk, `top`; all chunks are linked below it.
 * R2  a scratch mark is the `next` of its time. A chunk begins with its header,
 *     so that no two chunks can both have a mark in (start, end].
 * R3  `spare` is a chunk without anything allocated, kept so that a region that
 *     swings about the end of a chunk does not go to the page heap each time. */
#include "arena/region.h"

#include "arena/cache.h"
#include "arena/decay.h"
#include "base/check.h"

#include <polder/arena.h>

#include <errno.h>
#include <string.h>

enum { ALIGN = 16, CHUNK_LEAST = 32 << 10, CHUNK_MOST = 1 << 20, OWN_SHARE = 4, POISON = 0xdf };

struct chunk {
        _Alignas(ALIGN) struct chunk *below;
        struct pld_span *span;
};

struct polder_region {
        uintptr_t next, end; /* R1 */
        struct chunk *top;   /* NULL: none yet */
        struct chunk *spare; /* R3; NULL: none */
        size_t chunk_bytes;  /* of the next chunk */
        bool ordered;        /* const: a scratch stack */
};

/* A scratch stack for a thread that has no cache to keep it in. */
static _Thread_local struct polder_region *lone_scratch;
static _Atomic size_t nbytes_out; /* relaxed: a statistic */

static uintptr_t first_byte(const struct chunk *chunk)
{
        return (uintptr_t)(chunk + 1);
}

static uintptr_t end_of(const struct chunk *chunk)
{
        return chunk->span->start + (chunk->span->npages << PLD_PAGE_SHIFT);
}

static struct chunk *chunk_new(size_t nbytes)
{
        pld_cache_get(); /* starts the arena */
        unsigned slice = pld_machine_here();
        struct pld_span *span = pld_span_new(&(struct pld_span_wish){ .kind = PLD_KIND_REGION,
                                                                      .class = PLD_CLASS_LARGE,
                                                                      .nbytes = nbytes,
                                                                      .slice = slice });
        if (!span)
                return NULL;
        pld_add_relaxed(&nbytes_out, span->npages << PLD_PAGE_SHIFT);
        pld_span_publish(span);
        struct chunk *chunk = (struct chunk *)span->start;
        chunk->span = span;
        return chunk;
}

static void chunk_free(struct chunk *chunk)
{
        if (!chunk)
                return;
        pld_sub_relaxed(&nbytes_out, chunk->span->npages << PLD_PAGE_SHIFT);
        pld_span_release(chunk->span);
}

static void enter_chunk(struct polder_region *region, struct chunk *chunk)
{
        region->top = chunk;
        region->next = chunk ? first_byte(chunk) : 0;
        region->end = chunk ? end_of(chunk) : 0;
}

/* The top chunk is not needed; the largest one dropped so is kept. */
static void drop_top(struct polder_region *region)
{
        struct chunk *chunk = region->top, *spare = region->spare;
        region->top = chunk->below;
        size_t room = end_of(chunk) - first_byte(chunk);
        bool keep = room < CHUNK_MOST && (!spare || room > end_of(spare) - first_byte(spare));
        if (PLD_DEBUG)
                memset((void *)first_byte(chunk), POISON, room);
        if (keep)
                region->spare = chunk;
        chunk_free(keep ? spare : chunk);
}

static bool add_chunk(struct polder_region *region, size_t nbytes)
{
        struct chunk *chunk = region->spare;
        if (chunk && end_of(chunk) - first_byte(chunk) >= nbytes) {
                region->spare = NULL;
        } else {
                size_t want = nbytes + sizeof *chunk;
                if (want < region->chunk_bytes)
                        want = region->chunk_bytes;
                chunk = chunk_new(want);
                if (!chunk)
                        return false;
                if (region->chunk_bytes < CHUNK_MOST)
                        region->chunk_bytes *= 2;
        }
        chunk->below = region->top;
        enter_chunk(region, chunk);
        return true;
}

/* A chunk for this one alone, below the top. */
static void *alloc_own(struct polder_region *region, size_t nbytes)
{
        struct chunk *chunk = chunk_new(nbytes + sizeof *chunk);
        if (!chunk)
                return NULL;
        chunk->below = region->top->below;
        region->top->below = chunk;
        return (void *)first_byte(chunk);
}

static PLD_NOINLINE void *alloc_slow(struct polder_region *region, size_t nbytes)
{
        int saved = errno;
        if (nbytes > PTRDIFF_MAX)
                goto refuse;
        if (!region->ordered && region->top && nbytes > region->chunk_bytes / OWN_SHARE) {
                void *p = alloc_own(region, nbytes);
                if (!p)
                        goto refuse;
                errno = saved;
                return p;
        }
        if (!add_chunk(region, nbytes))
                goto refuse;
        uintptr_t at = region->next;
        region->next += nbytes;
        errno = saved;
        return (void *)at;
refuse:
        errno = ENOMEM;
        return NULL;
}

static inline void *alloc(struct polder_region *region, size_t nbytes)
{
        if (pld_unlikely(nbytes > PTRDIFF_MAX))
                return alloc_slow(region, nbytes);
        nbytes = nbytes ? pld_round_up(nbytes, ALIGN) : ALIGN;
        uintptr_t at = region->next;
        if (pld_unlikely(nbytes > region->end - at))
                return alloc_slow(region, nbytes);
        region->next = at + nbytes;
        return (void *)at;
}

static struct polder_region *create(bool ordered)
{
        struct polder_region *region = polder_malloc(sizeof *region);
        if (region)
                *region = (struct polder_region){ .chunk_bytes = CHUNK_LEAST, .ordered = ordered };
        return region;
}

struct polder_region *polder_region_create(void)
{
        return create(false);
}

void *polder_region_alloc(struct polder_region *region, size_t nbytes)
{
        return alloc(region, nbytes);
}

void polder_region_reset(struct polder_region *region)
{
        int saved = errno;
        while (region->top)
                drop_top(region);
        if (region->spare) {
                struct chunk *chunk = region->spare;
                region->spare = NULL;
                chunk->below = NULL;
                enter_chunk(region, chunk);
        } else {
                enter_chunk(region, NULL);
        }
        pld_decay_notice();
        errno = saved;
}

void polder_region_destroy(struct polder_region *region)
{
        if (!region)
                return;
        int saved = errno;
        while (region->top)
                drop_top(region);
        chunk_free(region->spare);
        polder_free(region);
        pld_decay_notice();
        errno = saved;
}

/* ---- The scratch stack ------------------------------------------------------------ */

static struct polder_region **scratch_slot(void)
{
        struct pld_cache *cache = pld_cache_get();
        if (cache)
                return &cache->scratch;
        pld_cache_watch();
        return &lone_scratch;
}

polder_scratch_mark polder_scratch_begin(void)
{
        struct polder_region *region = lone_scratch ? lone_scratch : pld_cache_mine->scratch;
        return region ? region->next : 0;
}

void *polder_scratch_alloc(size_t nbytes)
{
        struct polder_region *region = lone_scratch ? lone_scratch : pld_cache_mine->scratch;
        if (pld_unlikely(!region)) {
                struct polder_region **slot = scratch_slot();
                region = *slot = create(true);
                if (!region)
                        return NULL;
        }
        return alloc(region, nbytes);
}

void polder_scratch_end(polder_scratch_mark mark)
{
        struct polder_region *region = lone_scratch ? lone_scratch : pld_cache_mine->scratch;
        if (!region)
                return;
        if (pld_unlikely(!region->top || mark < first_byte(region->top) || mark > region->end)) {
                int saved = errno;
                while (region->top && (mark < first_byte(region->top) || mark > end_of(region->top)))
                        drop_top(region);
                enter_chunk(region, region->top);
                PLD_CHECK(mark == 0 || region->top); /* R2 */
                pld_decay_notice();
                errno = saved;
        }
        if (PLD_DEBUG && region->top && region->next > mark)
                memset((void *)mark, POISON, region->next - mark);
        if (region->top)
                region->next = mark;
}

void pld_scratch_drop(void)
{
        struct polder_region *lone = lone_scratch;
        lone_scratch = NULL;
        polder_region_destroy(lone);
        if (pld_cache_mine != &pld_cache_none) {
                struct polder_region *region = pld_cache_mine->scratch;
                pld_cache_mine->scratch = NULL;
                polder_region_destroy(region);
        }
}

size_t pld_region_bytes(void)
{
        return pld_load_relaxed(&nbytes_out);
}
