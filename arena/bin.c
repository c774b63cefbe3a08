/* bin.c: what a thread keeps in front of malloc's spans.
 *
 * A cache has a *bin* for each class (the thread caches of tcmalloc and jemalloc; Bonwick
 * and Adams's magazines, USENIX 2001): malloc and free of the owner's blocks move a
 * pointer up and down in it and touch no span. A bin that runs out takes as many blocks
 * as half of it holds; one that is full first grows, then gives the older half back.
 *
 * Blocks of other owners' spans are taken into a bin, too, while it has room: threads that
 * share blocks would else send each other what they are about to ask for. Not so what is smaller
 * than a cache line (several threads would write in one) and large ones (many threads would
 * keep much of each other's). These, and what finds no room, are gathered, span by span, in an
 * *outbox*, and go home in one compare-and-swap for many (snmalloc: Lietar et al., ISMM 2019).
 *
 * N1  to their spans the blocks kept here are out (manual.c, M2), so none of those spans
 *     can go away; they hold their keys (M7).
 * N2  blocks in bins are of the cache's slice, whoever owns their spans, and of no heap's.
 *     A cache empties its bins before it abandons its spans.
 * N3  a kept large span is in nobody's hands: it is in the page map as before, and its
 *     `where` says KEPT.
 * N4  a cache keeps memory of its slice only: one whose thread has moved to another node
 *     gives everything back before it hands out the next block (cache.c, K3).
 * N5  a bin that is full and was refilled since it last grew may grow beyond its room, too,
 *     out of an *extra* that all threads share: so that who takes and frees many large blocks
 *     by turns does not make and release their spans each time. extra_bytes is the sum of what
 *     limits are beyond their bins' room. A cache gives up the extra of its other bins
 *     before it asks the page heap for pages: what it keeps so costs no memory that it needs.
 * N6  a bin's size is what frees may fill it to. Who only takes, as for what stays or what
 *     others free, would come back for every few: such a bin is lent more room at each refill,
 *     to hold what it then takes from one or two spans. The first time that frees
 *     fill it, that is over: blocks from anywhere would keep as many spans.
 * N7  a thread that has given back much without a refill of any bin is shrinking: bins of
 *     blocks whose pages could go back are less than what they were at first, from
 *     the next time on that they are full. They grow again as ever. */
#include "arena/bin.h"

#include "arena/blocks.h"
#include "arena/cache.h"
#include "arena/extent.h"
#include "arena/large.h"
#include "arena/meta.h"
#include "arena/node_stats.h"

#include <string.h>

enum {
        BIN_BYTES = 1 << 20, /* in the blocks of a bin, where that is within */
        WIDE_BYTES = 8 << 20, /* the same with what it has of the extra (N5) */
        EXTRA_BYTES = 32 << 20, /* the extra of all threads */
        BIN_LEAST = 4, BIN_MOST = 1024, WIDE_MOST = 8192,
        LENT_BYTES = 16 << 10, LENT_MOST = 256, /* in a bin with what it is lent (N6) */
        GROWN_BYTES = 2 << 20, /* in the blocks that all bins could hold, beyond a bin's first */
        SHRINK_BYTES = 128 << 20, SHRINK_SHARE = 4, /* given back; and of a bin's first limit (N7) */
        FIRST_BYTES = 64 << 10, FIRST_MOST = 8, /* a bin's limit before it has grown, at least 1 */
        SHARED_LEAST = 64, SHARED_MOST = 4096, /* bytes: other blocks of others are not kept */
        OUT_MOST = 64,        /* blocks of a span in an outbox, and bytes in them */
        OUT_BYTES = 64 << 10,
        KEEP_BYTES = 4 << 20, /* in large spans that a thread keeps */
        KEEP_SHARE = 8        /* so large a part of one may be left unused */
};

bool pld_bins_are_used = true;

static _Atomic size_t extra_bytes; /* relaxed: of all caches (N5) */

/* ---- The outbox ------------------------------------------------------------------------ */

static bool send_out(struct pld_cache *cache, struct pld_outgoing *out)
{
        struct pld_span *span = out->span;
        if (!span)
                return false;
        out->span = NULL;
        pld_node_count_freed(span->slice, cache->slice, (size_t)out->n * span->nbytes);
        return pld_manual_send_back(span, (struct pld_chain){ out->first, out->last, out->n });
}

/* Descriptors are two lines long, or three, or four: so that of each length all places have
 * their share, the higher bits count, too. */
static size_t place_in_outbox(const struct pld_span *span)
{
        uintptr_t line = (uintptr_t)span / PLD_CACHE_LINE;
        return (line + line / PLD_OUTBOX) % PLD_OUTBOX;
}

static bool post(struct pld_cache *cache, struct pld_span *span, struct pld_block *block)
{
        struct pld_bins *bins = &cache->bins;
        bool released = false;
        block->next = NULL;
        if (pld_unlikely(!bins->slots))
                return pld_manual_send_back(span, (struct pld_chain){ block, block, 1 });
        struct pld_outgoing *out = &bins->out[place_in_outbox(span)];
        if (out->span != span) {
                released = send_out(cache, out);
                *out = (struct pld_outgoing){ .span = span, .last = block };
        } else {
                block->next = out->first;
        }
        out->first = block;
        if (++out->n >= OUT_MOST || out->n * span->nbytes >= OUT_BYTES)
                released |= send_out(cache, out);
        return released;
}

bool pld_bin_free_remote(struct pld_span *span, struct pld_block *block)
{
        struct pld_cache *cache = pld_cache_mine;
        struct pld_bin *bin = &cache->bins.bin[span->class];
        if (span->nbytes < SHARED_LEAST || span->nbytes > SHARED_MOST ||
            span->slice != cache->slice || bin->top == bin->limit ||
            !pld_load_relaxed(&span->manual.owner)) /* it would not be adopted */
                return post(cache, span, block);
        *bin->top++ = block;
        return false;
}

/* ---- Bins ---------------------------------------------------------------------------- */

static size_t room_within(unsigned class, size_t nbytes, size_t most)
{
        size_t n = nbytes / pld_classes[class].nbytes;
        return n < BIN_LEAST ? BIN_LEAST : n > most ? most : n;
}

static size_t room_of(unsigned class)
{
        return room_within(class, BIN_BYTES, BIN_MOST);
}

static size_t wide_room_of(unsigned class)
{
        size_t of_small = room_within(class, BIN_BYTES, WIDE_MOST);
        size_t of_large = room_within(class, WIDE_BYTES, BIN_MOST);
        return of_small > of_large ? of_small : of_large;
}

static size_t lent_room_of(unsigned class)
{
        size_t n = LENT_BYTES / pld_classes[class].nbytes;
        return n > LENT_MOST ? LENT_MOST : n;
}

/* Of large blocks only one: sixteen threads that use many sizes would keep hundreds of MB. */
static size_t first_room_of(unsigned class)
{
        size_t n = FIRST_BYTES / pld_classes[class].nbytes;
        return n < 1 ? 1 : n > FIRST_MOST ? FIRST_MOST : n;
}

static size_t size_of(const struct pld_bins *bins, unsigned class)
{
        return (size_t)(bins->bin[class].limit - bins->bin[class].floor) - bins->lent[class];
}

static bool put_back_oldest(struct pld_cache *cache, unsigned class, size_t n)
{
        struct pld_bin *bin = &cache->bins.bin[class];
        if (n == 0)
                return false;
        size_t nown = 0;
        bool released = false;
        for (size_t i = 0; i < n; i++) {
                struct pld_block *block = bin->floor[i];
                struct pld_span *span = pld_span_of((uintptr_t)block);
                __builtin_prefetch(span->bits, 1);
                if (pld_likely(pld_load_relaxed(&span->manual.owner) == cache))
                        bin->floor[nown++] = block;
                else
                        released |= post(cache, span, block);
        }
        released |= pld_manual_put_back(cache, class, bin->floor, nown);
        size_t left = (size_t)(bin->top - bin->floor) - n;
        memmove(bin->floor, bin->floor + n, left * sizeof *bin->floor);
        bin->top = bin->floor + left;
        return released;
}

/* ---- The extra (N5) --------------------------------------------------------------------- */

static size_t extra_of(const struct pld_bins *bins, unsigned class)
{
        size_t size = size_of(bins, class), room = room_of(class);
        return size > room ? (size - room) * pld_classes[class].nbytes : 0;
}

static bool claim_extra(struct pld_bins *bins, size_t nbytes)
{
        if (pld_add_relaxed(&extra_bytes, nbytes) + nbytes > EXTRA_BYTES) {
                pld_sub_relaxed(&extra_bytes, nbytes);
                return false;
        }
        bins->extra_bytes += nbytes;
        return true;
}

static void return_extra(struct pld_bins *bins, size_t nbytes)
{
        bins->extra_bytes -= nbytes;
        pld_sub_relaxed(&extra_bytes, nbytes);
}

/* The bin's blocks lie there from now on. */
static void move_to(struct pld_bin *bin, struct pld_block **at)
{
        size_t held = (size_t)(bin->top - bin->floor);
        memcpy(at, bin->floor, held * sizeof *at);
        bin->floor = at;
        bin->top = at + held;
}

/* Wide bins are seldom, and many are a page of memory each: so they lie apart. */
static bool widen_try(struct pld_bins *bins, unsigned class)
{
        struct pld_block ***wide = &bins->wide[class];
        if (!*wide)
                *wide = pld_meta_alloc(wide_room_of(class) * sizeof **wide);
        if (*wide)
                move_to(&bins->bin[class], *wide);
        return *wide;
}

static struct pld_block **narrow_place(const struct pld_bins *bins, unsigned class)
{
        struct pld_block **at = bins->slots;
        for (unsigned i = 0; i < class; i++)
                at += room_of(i);
        return at;
}

static void narrow(struct pld_cache *cache, unsigned class)
{
        struct pld_bin *bin = &cache->bins.bin[class];
        size_t extra = extra_of(&cache->bins, class);
        if (extra == 0)
                return;
        size_t held = (size_t)(bin->top - bin->floor), room = room_of(class);
        put_back_oldest(cache, class, held > room ? held - room : 0);
        move_to(bin, narrow_place(&cache->bins, class));
        bin->limit = bin->floor + room;
        return_extra(&cache->bins, extra);
}

void pld_bins_narrow(struct pld_cache *cache, unsigned but)
{
        if (pld_likely(cache->bins.extra_bytes == 0))
                return;
        for (unsigned i = 0; i < PLD_NCLASSES; i++)
                if (i != but)
                        narrow(cache, i);
}

/* ---- Refilling and growing ------------------------------------------------------------- */

static unsigned take(struct pld_cache *cache, unsigned class, struct pld_block **to, unsigned most)
{
        struct pld_bins *bins = &cache->bins;
        if (pld_unlikely(bins->extra_bytes > extra_of(bins, class))) {
                unsigned n = pld_manual_take(cache, class, to, most, false);
                if (n > 0)
                        return n;
                pld_bins_narrow(cache, class);
        }
        return pld_manual_take(cache, class, to, most, true);
}

/* Of a bin of that size, in the sum of grown_bytes. */
static size_t grown_of(unsigned class, size_t size)
{
        size_t first = first_room_of(class);
        return size > first ? (size - first) * pld_classes[class].nbytes : 0;
}

static bool claim_grown(struct pld_bins *bins, size_t nbytes)
{
        if (bins->grown_bytes + nbytes > GROWN_BYTES)
                return false;
        bins->grown_bytes += nbytes;
        return true;
}

/* Blocks that are only freed are not worth keeping more of: a program that shrinks would
 * keep as much as it can. */
static bool grow_try(struct pld_bins *bins, unsigned class)
{
        struct pld_bin *bin = &bins->bin[class];
        size_t size = size_of(bins, class), room = room_of(class);
        size_t most = size < room ? room : wide_room_of(class);
        size_t to = 2 * size < most ? 2 * size : most;
        size_t nbytes = (to - size) * pld_classes[class].nbytes;
        if (to == size || !bins->refilled[class])
                return false;
        if (!(size < room ? claim_grown(bins, grown_of(class, to) - grown_of(class, size))
                          : claim_extra(bins, nbytes)))
                return false;
        if (size == room && !widen_try(bins, class)) {
                return_extra(bins, nbytes);
                return false;
        }
        bins->refilled[class] = false;
        bin->limit = bin->floor + to;
        return true;
}

static void lend(struct pld_bins *bins, unsigned class, size_t n)
{
        struct pld_bin *bin = &bins->bin[class];
        bin->limit = bin->limit - bins->lent[class] + n;
        bins->lent[class] = (uint16_t)n;
}

/* N6 */
static void lend_more(struct pld_bins *bins, unsigned class)
{
        size_t size = size_of(bins, class), room = lent_room_of(class);
        size_t n = size + 2 * bins->lent[class];
        if (bins->refilled[class] && size < room)
                lend(bins, class, n < room - size ? n : room - size);
}

struct pld_block *pld_bin_refill(struct pld_cache *cache, unsigned class)
{
        struct pld_bin *bin = &cache->bins.bin[class];
        struct pld_block *one, **to = size_of(&cache->bins, class) ? bin->floor : &one;
        pld_extent_check_outside();
        pld_cache_follow(cache); /* N4: a cpuset may change where nobody moves */
        lend_more(&cache->bins, class);
        size_t most = to == bin->floor ? (size_t)(bin->limit - bin->floor + 1) / 2 : 1;
        unsigned n = take(cache, class, to, (unsigned)most);
        if (n == 0)
                return NULL;
        if (to == bin->floor)
                bin->top = bin->floor + n - 1;
        to[n - 1]->key = 0;
        cache->bins.refilled[class] = true;
        cache->bins.given_bytes = 0;
        return to[n - 1];
}

/* N7. After what a full bin gave back; true: a span was released. */
static bool shrink_try(struct pld_cache *cache, unsigned class)
{
        struct pld_bins *bins = &cache->bins;
        struct pld_bin *bin = &bins->bin[class];
        size_t to = pld_div_up(first_room_of(class), SHRINK_SHARE);
        if (bins->given_bytes < SHRINK_BYTES || !pld_blocks_can_be_lent(class))
                return false;
        narrow(cache, class);
        size_t size = size_of(bins, class), held = (size_t)(bin->top - bin->floor);
        if (size <= to)
                return false;
        bool released = put_back_oldest(cache, class, held < to ? 0 : held - to + 1);
        bins->grown_bytes -= grown_of(class, size) - grown_of(class, to);
        bin->limit = bin->floor + to;
        return released;
}

bool pld_bin_free_full(struct pld_cache *cache, unsigned class, struct pld_block *block)
{
        struct pld_bin *bin = &cache->bins.bin[class];
        size_t size = size_of(&cache->bins, class), held = (size_t)(bin->top - bin->floor);
        bool released = false;
        pld_extent_check_outside();
        if (size == 0)
                return pld_manual_put_back(cache, class, &block, 1);
        lend(&cache->bins, class, 0);
        size_t most = grow_try(&cache->bins, class) ? size_of(&cache->bins, class) - 1 : size / 2;
        if (held > most) {
                released = put_back_oldest(cache, class, held - most);
                cache->bins.given_bytes += (held - most) * pld_classes[class].nbytes;
                released |= shrink_try(cache, class);
        }
        *bin->top++ = block;
        return released;
}

/* ---- Large spans (N3) -------------------------------------------------------------------- */

bool pld_bins_keep_large(struct pld_span *span)
{
        struct pld_cache *cache = pld_cache_mine;
        struct pld_bins *bins = &cache->bins;
        if (!bins->slots || span->slice != cache->slice ||
            pld_page_heap_is_abroad(span->start, span->npages) || /* N4 */
            bins->large_bytes + pld_large_room(span) > KEEP_BYTES)
                return false;
        for (unsigned i = 0; i < PLD_LARGE_KEPT; i++) {
                if (bins->large[i])
                        continue;
                span->manual.where = PLD_MANUAL_KEPT;
                span->zeroed = false;
                bins->large_bytes += pld_large_room(span);
                bins->large[i] = span;
                return true;
        }
        return false;
}

static struct pld_span *take_large(struct pld_bins *bins, unsigned i)
{
        struct pld_span *span = bins->large[i];
        bins->large[i] = NULL;
        bins->large_bytes -= pld_large_room(span);
        span->manual.where = PLD_MANUAL_NOWHERE;
        return span;
}

struct pld_span *pld_bins_reuse_large(size_t nbytes)
{
        struct pld_bins *bins = &pld_cache_mine->bins;
        for (unsigned i = 0; bins->large_bytes && i < PLD_LARGE_KEPT; i++) {
                if (!bins->large[i])
                        continue;
                size_t room = pld_large_room(bins->large[i]);
                if (room < nbytes || room - nbytes > room / KEEP_SHARE)
                        continue;
                struct pld_span *span = take_large(bins, i);
                span->nbytes = pld_round_up(nbytes, 16);
                return span;
        }
        return NULL;
}

/* ---- All of it ----------------------------------------------------------------------------- */

void pld_bins_empty(struct pld_cache *cache)
{
        struct pld_bins *bins = &cache->bins;
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                struct pld_bin *bin = &bins->bin[i];
                put_back_oldest(cache, i, (size_t)(bin->top - bin->floor));
                narrow(cache, i);
        }
        for (unsigned i = 0; i < PLD_OUTBOX; i++) /* after the bins, which post to it */
                send_out(cache, &bins->out[i]);
        for (unsigned i = 0; i < PLD_LARGE_KEPT; i++)
                if (bins->large[i])
                        pld_large_free(take_large(bins, i));
}

static struct pld_block **new_slots(void)
{
        size_t n = 0;
        for (unsigned i = 0; i < PLD_NCLASSES; i++)
                n += room_of(i);
        return pld_meta_alloc(n * sizeof(struct pld_block *));
}

void pld_bins_init(struct pld_bins *bins)
{
        if (pld_bins_are_used && !bins->slots)
                bins->slots = new_slots(); /* NULL: slower, not wrong */
        struct pld_block **at = bins->slots;
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                size_t room = at ? room_of(i) : 0;
                size_t first = at ? first_room_of(i) : 0;
                bins->bin[i] = (struct pld_bin){ .top = at, .floor = at, .limit = at + first };
                at += room;
        }
        memset(bins->refilled, false, sizeof bins->refilled);
        memset(bins->lent, 0, sizeof bins->lent);
        memset(bins->out, 0, sizeof bins->out);
        memset(bins->large, 0, sizeof bins->large);
        bins->large_bytes = bins->grown_bytes = bins->given_bytes = 0;
        return_extra(bins, bins->extra_bytes); /* of a thread that a fork left behind */
}
