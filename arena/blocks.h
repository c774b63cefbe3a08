/* blocks.h: the free blocks of one small span of malloc's.
 *
 * All but the lending is for the span's owner (manual.c, M1). */
#ifndef PLD_ARENA_BLOCKS_H
#define PLD_ARENA_BLOCKS_H

#include "arena/manual.h"

enum { PLD_REMOTE_SHIFT = 48 /* addresses are below, and no span has 2^16 blocks */ };

/* `remote` is one word: the first block, how many there are, and `full`. */
static inline struct pld_block *pld_blocks_first(uintptr_t remote)
{
        return (struct pld_block *)(remote & (((uintptr_t)1 << PLD_REMOTE_SHIFT) - 1) &
                                    ~(uintptr_t)PLD_MANUAL_FULL);
}

/* The span's first owner, before it is published; keep: none of its blocks is ever lent. */
void pld_blocks_begin(struct pld_span *span, bool keep);
/* There are blocks to take, or there were a moment ago, if some can be lent. */
bool pld_blocks_replenish(struct pld_span *span);
/* Up to `most`, which are out from then on. */
unsigned pld_blocks_take(struct pld_span *span, struct pld_block **to, unsigned most);
/* The first of the blocks, which were out, and those behind it that are of the same span; how
 * many, at most n. */
size_t pld_blocks_put(struct pld_span *span, struct pld_block *const blocks[], size_t n);
/* Takes over what others freed; false: nothing. `full` is clear. */
bool pld_blocks_collect(struct pld_span *span);
/* None is out: none is free any more, and the span can go. False: some are lent, or out. */
bool pld_blocks_claim(struct pld_span *span);
/* The span is released whatever is out; it is a heap's. */
void pld_blocks_drop(struct pld_span *span);
/* None is out, on `remote` or lent; only known of spans that can lend. Anyone may ask. */
bool pld_blocks_are_all_free(const struct pld_span *span);
/* None can be taken and not all are out: some are lent. For a span that is CURRENT. */
bool pld_blocks_are_lent(const struct pld_span *span);
size_t pld_blocks_count(const struct pld_span *span); /* the free ones; checks them */

/* ---- Lending (B3): for anyone ------------------------------------------------------- */

/* How many are free and may be in memory; old: and have been free since a pass before. */
size_t pld_blocks_idle(const struct pld_span *span, bool old);
/* The free ones, if some of them are idle: a bit each, 0: none. The span stays meanwhile. */
uint32_t pld_blocks_lend(struct pld_span *span, bool old);
/* They are not in memory, as far as whole base pages go. */
void pld_blocks_return(struct pld_span *span, uint32_t lent);
/* What is free now is old for the next pass. True: there was some that was not. */
bool pld_blocks_age(struct pld_span *span);
/* Blocks that can be lent have been put into their spans. Relaxed: a hint. */
extern _Atomic bool pld_blocks_have_news;
/* Can the blocks of such spans be lent? */
bool pld_blocks_can_be_lent(unsigned class);

#endif
