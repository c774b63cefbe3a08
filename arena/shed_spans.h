/* shed_spans.h: free blocks of malloc's spans that go back to the kernel while their spans
 * stay. */
#ifndef PLD_ARENA_SHED_SPANS_H
#define PLD_ARENA_SHED_SPANS_H

#include <stdbool.h>
#include <stddef.h>

/* Gives back the base pages that lie in free blocks alone, as far as those are large enough
 * (blocks.h); old: only those that were free in the pass before, and of huge pages only those
 * that are thin, which are base pages from then on. Bytes asked for. */
size_t pld_spans_shed(bool old);
/* Blocks were freed into spans since the last pass, or were not yet old then; and malloc has
 * so much memory that it is worth a look. A hint. */
bool pld_spans_are_worth_a_look(void);

#endif
