/* blocks.c: the free blocks of one small span of malloc's.
 *
 * Three ways to know them, by how many the span has. Of many small ones, a list through the
 * blocks, last in first out, as what was freed last is in the nearest cache. Of few, a bit
 * each: they are large, and to look into one that has been out of use is a cache miss, or a
 * page that was never touched. Of the fewest and largest, a bit each in a word that
 * others may change, too: their blocks can be *lent*. The decay (shed_spans.c) takes what has
 * been free for long out of the word, has the kernel take the pages, and puts it back. The
 * owner sees blocks that are not there, as if they were out, and goes on with others.
 *
 * B1  a block that is free in the span, or was never out, is in the list or has its bit, or
 *     it is lent. One of a span of bits that was never out, or was lent, holds no key.
 * B2  the word has three bits a block: free; of the free ones `clean`: not in memory, as far
 *     as is known; and `warm`: freed since the last pass looked. It changes by atomic
 *     operations only, and is 0 in all other spans and in released descriptors, which
 *     keep their type: so who lends needs not know that the span is still there.
 * B3  a block is lent by one who cleared its free bit in a word that was not 0. Until it is
 *     returned the span is not released, as that takes all free bits at once (claim), and so
 *     it stays the same span. Blocks that are lent are not in `used` (manual.c, M2).
 * B4  spans of heaps are never lent from: they are released with their blocks out.
 * B5  clean blocks are taken last, after what others freed: they cost page faults. */
#include "arena/blocks.h"

#include <string.h>

enum {
        CARVE_BYTES = 4096, /* so many bytes of new blocks are linked at a time */
        FEW = 64,           /* blocks of a span that has a bit for each free one */
        FEWEST = 10,        /* blocks of one that can lend them */
        CLEAN_SHIFT = FEWEST, WARM_SHIFT = 2 * FEWEST,
        POISON = 0xdf
};

#define ALL ((UINT32_C(1) << FEWEST) - 1)
#define KEEP (UINT32_C(1) << 31) /* B4 */

static_assert(3 * FEWEST < 31, "the word has room for them");

_Atomic bool pld_blocks_have_news;

static bool has_few(const struct pld_span *span)
{
        return span->count <= FEW;
}

static bool can_lend(const struct pld_span *span)
{
        return span->count <= FEWEST;
}

static uint32_t all_of(const struct pld_span *span)
{
        return (UINT32_C(1) << span->count) - 1;
}

static uint64_t bit_of(const struct pld_span *span, const struct pld_block *block)
{
        return UINT64_C(1) << pld_span_index(span, (uintptr_t)block);
}

void pld_blocks_begin(struct pld_span *span, bool keep)
{
        if (!can_lend(span))
                return;
        uint32_t all = all_of(span), clean = span->manual.absent ? all << CLEAN_SHIFT : 0;
        span->manual.fresh = (uint16_t)span->count;
        pld_store_relaxed(&span->idle, all | clean | (keep ? KEEP : 0));
}

/* ---- Putting ---------------------------------------------------------------------------- */

static PLD_NOINLINE void die_free_already(const struct pld_span *span, uint64_t bits)
{
        pld_die("double free of %p",
                (const void *)pld_span_object(span, pld_lowest_bit(bits)));
}

static void put_bits(struct pld_span *span, uint64_t bits)
{
        uint64_t before = span->manual.free_bits;
        if (can_lend(span)) {
                uint32_t few = (uint32_t)bits;
                /* Release: what was written to the blocks, with pld_blocks_lend(). */
                before = pld_or_release(&span->idle, few | few << WARM_SHIFT) & ALL;
                if (!pld_load_relaxed(&pld_blocks_have_news))
                        pld_store_relaxed(&pld_blocks_have_news, true);
        } else {
                span->manual.free_bits |= bits;
        }
        if (pld_unlikely(before & bits)) /* it held no key: B1 */
                die_free_already(span, before & bits);
}

static size_t link_some(struct pld_span *span, struct pld_block *const blocks[], size_t n)
{
        struct pld_block *first = span->manual.free;
        uintptr_t start = span->start, nbytes = span->npages << PLD_PAGE_SHIFT;
        size_t i = 0;
        for (; i < n && (uintptr_t)blocks[i] - start < nbytes; i++) {
                if (i + PLD_BLOCKS_AHEAD < n)
                        __builtin_prefetch(blocks[i + PLD_BLOCKS_AHEAD], 1);
                blocks[i]->next = first;
                first = blocks[i];
        }
        span->manual.free = first;
        return i;
}

static size_t mark_some(struct pld_span *span, struct pld_block *const blocks[], size_t n)
{
        uint64_t bits = 0;
        uintptr_t nbytes = span->npages << PLD_PAGE_SHIFT;
        size_t i = 0;
        for (; i < n && (uintptr_t)blocks[i] - span->start < nbytes; i++) {
                uint64_t bit = bit_of(span, blocks[i]);
                if (pld_unlikely(bits & bit))
                        die_free_already(span, bit);
                bits |= bit;
        }
        put_bits(span, bits);
        return i;
}

size_t pld_blocks_put(struct pld_span *span, struct pld_block *const blocks[], size_t n)
{
        size_t i = has_few(span) ? mark_some(span, blocks, n) : link_some(span, blocks, n);
        span->manual.used -= (uint32_t)i;
        return i;
}

/* Both chains may be long; the first is walked through, if the second is not empty. */
static struct pld_block *join(struct pld_block *first, struct pld_block *second)
{
        struct pld_block *last = first;
        if (!second)
                return first;
        while (last->next)
                last = last->next;
        last->next = second;
        return first;
}

bool pld_blocks_collect(struct pld_span *span)
{
        struct pld_span_manual *manual = &span->manual;
        if (!pld_blocks_first(pld_load_relaxed(&manual->remote)))
                return false;
        /* Acquire: the freers' writes to their blocks, with push_remote(). */
        uintptr_t remote = pld_exchange_acquire(&manual->remote, 0);
        struct pld_block *first = pld_blocks_first(remote);
        if (has_few(span)) {
                uint64_t bits = 0;
                for (struct pld_block *block = first; block; block = block->next)
                        bits |= bit_of(span, block);
                put_bits(span, bits);
        } else {
                manual->free = join(first, manual->free);
        }
        manual->used -= (uint32_t)(remote >> PLD_REMOTE_SHIFT);
        return true;
}

/* ---- Taking ------------------------------------------------------------------------------ */

static void link_fresh(struct pld_span *span, uint32_t n)
{
        struct pld_block *next = span->manual.free;
        for (uint32_t i = span->manual.fresh + n; i-- > span->manual.fresh;) {
                struct pld_block *block = (struct pld_block *)pld_span_object(span, i);
                *block = (struct pld_block){ .next = next, .key = pld_manual_key_of(block) };
                next = block;
        }
        span->manual.free = next;
}

/* Makes blocks of memory that was in none yet; false: all is in blocks. */
static bool carve(struct pld_span *span)
{
        uint32_t n = CARVE_BYTES / (uint32_t)span->nbytes;
        uint32_t left = span->count - span->manual.fresh;
        if (n == 0)
                n = 1;
        if (n > left)
                n = left;
        if (n == 0)
                return false;
        if (has_few(span))
                span->manual.free_bits |= UINT64_MAX >> (FEW - n) << span->manual.fresh;
        else
                link_fresh(span, n);
        span->manual.fresh = (uint16_t)(span->manual.fresh + n);
        return true;
}

bool pld_blocks_replenish(struct pld_span *span) /* B5 */
{
        if (!can_lend(span)) /* or `free`: one word */
                return span->manual.free_bits || pld_blocks_collect(span) || carve(span);
        uint32_t word = pld_load_relaxed(&span->idle);
        return (word & ~(word >> CLEAN_SHIFT) & ALL) || pld_blocks_collect(span) || (word & ALL);
}

static unsigned spread(struct pld_span *span, uint64_t bits, struct pld_block **to)
{
        unsigned n = 0;
        for (; bits; bits &= bits - 1, n++) {
                to[n] = (struct pld_block *)pld_span_object(span, pld_lowest_bit(bits));
                if (PLD_DEBUG)
                        to[n]->key = pld_manual_key_of(to[n]); /* B1 */
        }
        return n;
}

static uint64_t lowest_of(uint64_t bits, unsigned most)
{
        uint64_t rest = bits;
        for (unsigned n = 0; rest && n < most; n++)
                rest &= rest - 1;
        return bits & ~rest;
}

static uint64_t take_plain(struct pld_span *span, unsigned most)
{
        uint64_t bits = lowest_of(span->manual.free_bits, most);
        span->manual.free_bits &= ~bits;
        return bits;
}

static uint64_t take_lendable(struct pld_span *span, unsigned most)
{
        uint32_t word = pld_load_relaxed(&span->idle), bits, fresh;
        do {
                uint32_t dirty = word & ~(word >> CLEAN_SHIFT) & ALL; /* B5 */
                bits = (uint32_t)lowest_of(dirty ? dirty : word & ALL, most);
                fresh = word & ~(bits | bits << CLEAN_SHIFT);
                /* Acquire: its pages are gone, with pld_blocks_return(). */
        } while (!pld_cas_acquire(&span->idle, &word, fresh));
        return bits;
}

unsigned pld_blocks_take(struct pld_span *span, struct pld_block **to, unsigned most)
{
        unsigned n = 0;
        if (has_few(span)) {
                uint64_t bits = can_lend(span) ? take_lendable(span, most) : take_plain(span, most);
                n = spread(span, bits, to);
        } else {
                struct pld_block *block = span->manual.free;
                for (; block && n < most; block = block->next)
                        to[n++] = block;
                span->manual.free = block;
        }
        span->manual.used += n;
        return n;
}

bool pld_blocks_claim(struct pld_span *span)
{
        if (span->manual.used > 0 || !can_lend(span))
                return span->manual.used == 0;
        uint32_t word = pld_load_relaxed(&span->idle);
        do
                if ((word & ALL) != all_of(span))
                        return false;
        /* Acquire: as in take_lendable(). */
        while (!pld_cas_acquire(&span->idle, &word, 0));
        return true;
}

void pld_blocks_drop(struct pld_span *span)
{
        uint32_t word = pld_load_relaxed(&span->idle); /* nobody else changes it: B4 */
        uint32_t clean = word & word >> CLEAN_SHIFT & ALL;
        for (uint32_t i = 0; PLD_DEBUG && i < span->manual.fresh; i++)
                if (!(can_lend(span) && clean >> i & 1)) /* it may not be backed */
                        memset((void *)pld_span_object(span, i), POISON, span->nbytes);
        pld_store_relaxed(&span->idle, 0);
}

bool pld_blocks_are_all_free(const struct pld_span *span)
{
        return can_lend(span) && (pld_load_relaxed(&span->idle) & ALL) == all_of(span);
}

bool pld_blocks_are_lent(const struct pld_span *span)
{
        return span->manual.used < span->count + 1; /* M2; a span of lists has none left here */
}

size_t pld_blocks_count(const struct pld_span *span)
{
        size_t n = 0;
        if (can_lend(span))
                return pld_popcount(pld_load_relaxed(&span->idle) & ALL);
        if (has_few(span))
                return pld_popcount(span->manual.free_bits);
        for (struct pld_block *block = span->manual.free; block; block = block->next, n++) {
                PLD_CHECK(pld_manual_is_block(span, (uintptr_t)block));
                PLD_CHECK(block->key == pld_manual_key_of(block)); /* M7 */
                PLD_CHECK(n < span->count);
        }
        return n;
}

/* ---- Lending (B3) ------------------------------------------------------------------------ */

static uint32_t idle_of(uint32_t word, bool old)
{
        uint32_t idle = word & ~(word >> CLEAN_SHIFT) & ALL;
        return word & KEEP ? 0 : old ? idle & ~(word >> WARM_SHIFT) : idle;
}

size_t pld_blocks_idle(const struct pld_span *span, bool old)
{
        return pld_popcount(idle_of(pld_load_relaxed(&span->idle), old));
}

uint32_t pld_blocks_lend(struct pld_span *span, bool old)
{
        uint32_t word = pld_load_relaxed(&span->idle), bits;
        do {
                if (!idle_of(word, old))
                        return 0;
                /* The clean ones, too: they may share a page with the others. */
                bits = idle_of(word, old) | (word & (word >> CLEAN_SHIFT) & ALL);
                /* Acquire: the span's fields, with the owner's puts and pld_blocks_begin(). */
        } while (!pld_cas_acquire(&span->idle, &word, word & ~bits));
        return bits;
}

void pld_blocks_return(struct pld_span *span, uint32_t lent)
{
        /* Release: with take_lendable() and pld_blocks_claim(). */
        pld_or_release(&span->idle, lent | lent << CLEAN_SHIFT);
}

bool pld_blocks_age(struct pld_span *span)
{
        uint32_t word = pld_load_relaxed(&span->idle);
        uint32_t warm = word & word >> WARM_SHIFT & ALL;
        if (warm && !(word & KEEP)) /* one that is freed anew meanwhile grows old too soon */
                pld_and_relaxed(&span->idle, ~(warm << WARM_SHIFT));
        return warm && !(word & KEEP);
}

bool pld_blocks_can_be_lent(unsigned class)
{
        return pld_classes[class].manual_count <= FEWEST;
}
