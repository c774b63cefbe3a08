/* page_heap.h: a slice's pages, handed out in runs and packed into huge pages.
 *
 * One page heap a slice of the reserved range: one for each node, and one for
 * the stripe that interleaved memory comes from. Thread-safe. */
#ifndef PLD_ARENA_PAGE_HEAP_H
#define PLD_ARENA_PAGE_HEAP_H

#include "arena/size_class.h"
#include "numa/backing.h"
#include "numa/machine.h"

enum {
        PLD_HUGE_PAGES = 256, /* pages in a huge page */
        PLD_MAX_SLICES = PLD_MAX_NODES + 1
};

struct pld_run {
        uintptr_t at;
        size_t npages;
        bool zeroed; /* every byte is zero */
        bool lazy;   /* some of it may fault at the first touch */
};

struct pld_page_heap_options {
        int64_t decay_ms;   /* idle huge pages go back after this; -1 never, 0 at once */
        size_t limit_bytes; /* backed bytes over all slices; 0: none */
        bool populate;      /* all that is backed is populated at once */
};

int pld_page_heap_start(const struct pld_page_heap_options *options); /* after the page map */
/* npages > 0; align: bytes, a power of two; populated: touching it will not fault.
 * 0, or -ENOMEM: this slice has no memory to give, or the limit is reached. */
int pld_page_heap_alloc(unsigned slice, size_t npages, size_t align, bool populated,
                        struct pld_run *out);
void pld_page_heap_free(struct pld_run run);
/* Takes the pages right behind the run, if they are free and backed. */
bool pld_page_heap_extend_try(struct pld_run *run, size_t npages);
/* Backs nbytes more, idle, for allocations to come; keep: for ever. Bytes backed. */
size_t pld_page_heap_grow(unsigned slice, size_t nbytes, bool keep);
/* The next span of small objects may have to wait for the kernel. A hint. */
bool pld_page_heap_is_dry(unsigned slice);
/* Gives idle huge pages back that have been idle since before `before_ns`; bytes given. */
size_t pld_page_heap_release(uint64_t before_ns);
/* Moves the huge pages that [from, end) reaches into, some run's, to the node with that
 * index. 0; -EBUSY: some stayed, because they hold other runs as well or the kernel
 * would not move them; or as pld_rehome() says, and what was moved before that stays. */
int pld_page_heap_migrate(uintptr_t from, uintptr_t end, unsigned node);
/* Some of the run has been moved away from its slice's node. */
bool pld_page_heap_is_abroad(uintptr_t at, size_t npages);
/* Gives free pages back, of huge pages of which some are taken, if those have been left
 * alone since before `before_ns`; the rest of such a huge page is base pages from then on.
 * all: else only of what is beyond a slack of free pages. Bytes given. */
size_t pld_page_heap_shed(uint64_t before_ns, bool all);
/* Has base pages that fill a huge page, left alone since before `before_ns`, made one: now,
 * which takes a millisecond each, or when the kernel comes to it. How many it was asked for. */
size_t pld_page_heap_promote(uint64_t before_ns, bool now);
bool pld_page_heap_is_ripe(void); /* there is something to promote; a hint */
void pld_page_heap_set_limit(size_t limit_bytes);

unsigned pld_page_heap_slices(void);
/* Home node (index) of an address that is backed; -ENOENT elsewhere. */
int pld_page_heap_node_of(uintptr_t at);
/* What lies on one node, of all slices: in runs, and in huge pages without any. */
void pld_page_heap_count_node(unsigned node, size_t *used, size_t *idle);
size_t pld_page_heap_backed_bytes(void); /* over all slices */
size_t pld_page_heap_idle_bytes(void);   /* backed, but in no run's huge page */
size_t pld_page_heap_mortal_bytes(void); /* what may ever go back: beyond the reserve */
size_t pld_page_heap_spare_bytes(void);  /* what a release and a shedding could give back */
size_t pld_page_heap_used_bytes(void);   /* in runs */
size_t pld_page_heap_huge_bytes(void);   /* backed by huge pages */
void pld_page_heap_verify(void);         /* dies where an invariant does not hold */
void pld_page_heap_fork_prepare(void);
void pld_page_heap_fork_done(void);

#endif
