/* blocks.c: the free blocks of one small span of malloc's.
 *
 * A bit each: to look into a block that has been out of use is a cache miss, or a page that was
 * never touched, and a list through the blocks is one miss after the other. (What was freed
 * last, and is in the nearest cache, is in the bins.) Where they are many, in words behind
 * the descriptor; where they are few, in one word of it. Of the fewest and largest, in a word
 * that others may change, too: their blocks can be *lent*. The decay (shed_spans.c) takes what
 * has been free for long out of the word, has the kernel take the pages, and puts it back.
 * The owner sees blocks that are not there, as if they were out, and goes on with others.
 *
 * What others freed comes as a chain, and to give it bits is to walk through it. Where there
 * are many blocks the owner does so only as far as it hands them out at once.
 *
 * B1  a block that is free in the span has its bit, or is in the chain `taken_over`, or it is
 *     lent. Of many blocks, free_bits has a bit for each word that is not 0. Blocks from `fresh`
 *     on were never out and have no bits yet. One that was never out, or was lent, holds no key.
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
        CARVE_BYTES = 4096, /* so many bytes of new blocks get their bits at a time */
        FEW = 64,           /* blocks of a span that has a bit for each free one */
        FEWEST = 10,        /* blocks of one that can lend them */
        CLEAN_SHIFT = FEWEST, WARM_SHIFT = 2 * FEWEST,
        POISON = 0xdf
};

#define ALL ((UINT32_C(1) << FEWEST) - 1)
#define KEEP (UINT32_C(1) << 31) /* B4 */

static_assert(3 * FEWEST < 31, "the word has room for them");
static_assert(PLD_SPAN_OBJECTS_MAX <= 64 * 64, "free_bits has a bit for each word");

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
        return UINT64_C(1) << pld_span_index(span, (uintptr_t)block) % 64;
}

static bool has_block(const struct pld_span *span, const struct pld_block *block)
{
        return (uintptr_t)block - span->start < span->npages << PLD_PAGE_SHIFT;
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

static PLD_NOINLINE void die_free_already(const struct pld_span *span, size_t word, uint64_t bits)
{
        pld_die("double free of %p",
                (const void *)pld_span_object(span, 64 * word + pld_lowest_bit(bits)));
}

/* The word: 0 but where there are many. */
static void put_bits(struct pld_span *span, size_t word, uint64_t bits)
{
        uint64_t before;
        if (!has_few(span)) {
                before = pld_load_relaxed(&span->bits[word]);
                pld_store_relaxed(&span->bits[word], before | bits);
                span->manual.free_bits |= UINT64_C(1) << word;
        } else if (can_lend(span)) {
                uint32_t few = (uint32_t)bits;
                /* Release: what was written to the blocks, with pld_blocks_lend(). */
                before = pld_or_release(&span->idle, few | few << WARM_SHIFT) & ALL;
                if (!pld_load_relaxed(&pld_blocks_have_news))
                        pld_store_relaxed(&pld_blocks_have_news, true);
        } else {
                before = span->manual.free_bits;
                span->manual.free_bits |= bits;
        }
        if (pld_unlikely(before & bits)) /* it held no key: B1 */
                die_free_already(span, word, before & bits);
}

/* The first of the blocks, and those behind it whose bits are in the same word. */
static size_t put_some(struct pld_span *span, struct pld_block *const blocks[], size_t n)
{
        size_t index = pld_span_index(span, (uintptr_t)blocks[0]), word = index / 64, i = 0;
        uint64_t bits = 0;
        do {
                uint64_t bit = UINT64_C(1) << index % 64;
                if (pld_unlikely(bits & bit))
                        die_free_already(span, word, bit);
                bits |= bit;
                if (++i == n || !has_block(span, blocks[i]))
                        break;
                index = pld_span_index(span, (uintptr_t)blocks[i]);
        } while (index / 64 == word);
        put_bits(span, word, bits);
        return i;
}

size_t pld_blocks_put(struct pld_span *span, struct pld_block *const blocks[], size_t n)
{
        size_t i = 0;
        do
                i += put_some(span, blocks + i, n - i);
        while (i < n && has_block(span, blocks[i]));
        span->manual.used -= (uint32_t)i;
        return i;
}

/* A word's bits at a time, as far as they follow each other. */
static void put_chain(struct pld_span *span, const struct pld_block *block)
{
        while (block) {
                size_t word = pld_span_index(span, (uintptr_t)block) / 64;
                uint64_t bits = 0;
                do {
                        bits |= bit_of(span, block);
                        block = block->next;
                } while (block && pld_span_index(span, (uintptr_t)block) / 64 == word);
                put_bits(span, word, bits);
        }
}

bool pld_blocks_collect(struct pld_span *span)
{
        struct pld_span_manual *manual = &span->manual;
        if (!pld_blocks_first(pld_load_relaxed(&manual->remote)))
                return false;
        /* Acquire: the freers' writes to their blocks, with push_remote(). */
        uintptr_t remote = pld_exchange_acquire(&manual->remote, 0);
        if (!has_few(span) && !manual->taken_over)
                manual->taken_over = pld_blocks_first(remote);
        else
                put_chain(span, pld_blocks_first(remote));
        manual->used -= (uint32_t)(remote >> PLD_REMOTE_SHIFT);
        return true;
}

/* ---- Taking ------------------------------------------------------------------------------ */

static void put_fresh(struct pld_span *span, size_t end)
{
        for (size_t at = span->manual.fresh; at < end;) {
                size_t word = at / 64;
                put_bits(span, word, pld_mask_next(&at, end));
        }
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
        put_fresh(span, span->manual.fresh + n);
        span->manual.fresh = (uint16_t)(span->manual.fresh + n);
        return true;
}

bool pld_blocks_replenish(struct pld_span *span) /* B5 */
{
        if (!can_lend(span))
                return span->manual.free_bits || span->manual.taken_over ||
                       pld_blocks_collect(span) || carve(span);
        uint32_t word = pld_load_relaxed(&span->idle);
        return (word & ~(word >> CLEAN_SHIFT) & ALL) || pld_blocks_collect(span) || (word & ALL);
}

/* The blocks of up to `most` of the word's bits; the others stay. */
static unsigned spread(const struct pld_span *span, size_t word, uint64_t *bits,
                       struct pld_block **to, unsigned most)
{
        uint64_t left = *bits;
        unsigned n = 0;
        for (; left && n < most; left &= left - 1, n++) {
                size_t index = 64 * word + pld_lowest_bit(left);
                to[n] = (struct pld_block *)pld_span_object(span, index);
                if (PLD_DEBUG)
                        to[n]->key = pld_manual_key_of(to[n]); /* B1 */
        }
        *bits = left;
        return n;
}

static uint64_t lowest_of(uint64_t bits, unsigned most)
{
        uint64_t rest = bits;
        for (unsigned n = 0; rest && n < most; n++)
                rest &= rest - 1;
        return bits & ~rest;
}

static unsigned take_chain(struct pld_span *span, struct pld_block **to, unsigned most)
{
        struct pld_block *block = span->manual.taken_over;
        unsigned n = 0;
        for (; block && n < most; block = block->next)
                to[n++] = block;
        span->manual.taken_over = block;
        return n;
}

static unsigned take_many(struct pld_span *span, struct pld_block **to, unsigned most)
{
        unsigned n = 0;
        while (span->manual.free_bits && n < most) {
                size_t word = pld_lowest_bit(span->manual.free_bits);
                uint64_t bits = pld_load_relaxed(&span->bits[word]);
                n += spread(span, word, &bits, to + n, most - n);
                pld_store_relaxed(&span->bits[word], bits);
                if (!bits)
                        span->manual.free_bits &= span->manual.free_bits - 1;
        }
        return n;
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
        unsigned n;
        if (can_lend(span)) {
                uint64_t bits = take_lendable(span, most);
                n = spread(span, 0, &bits, to, most);
        } else if (!has_few(span)) {
                n = span->manual.free_bits ? take_many(span, to, most)
                                           : take_chain(span, to, most);
        } else {
                n = spread(span, 0, &span->manual.free_bits, to, most);
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
        return span->manual.used < span->count + 1; /* M2 */
}

static size_t count_chain(const struct pld_span *span)
{
        size_t n = 0;
        for (const struct pld_block *block = span->manual.taken_over; block; block = block->next) {
                PLD_CHECK(pld_manual_is_block(span, (uintptr_t)block));
                PLD_CHECK(block->key == pld_manual_key_of(block)); /* M7 */
                PLD_CHECK(++n <= span->count);
        }
        return n;
}

size_t pld_blocks_count(const struct pld_span *span)
{
        size_t n = 0;
        if (can_lend(span))
                return pld_popcount(pld_load_relaxed(&span->idle) & ALL);
        if (has_few(span))
                return pld_popcount(span->manual.free_bits);
        for (size_t word = 0; word < pld_words_for(span->count); word++) {
                uint64_t bits = pld_load_relaxed(&span->bits[word]);
                PLD_CHECK((span->manual.free_bits >> word & 1) == (bits != 0)); /* B1 */
                n += pld_popcount(bits);
        }
        return n + count_chain(span);
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
