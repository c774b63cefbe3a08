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
};

struct pld_page_heap_options {
        int64_t decay_ms;   /* idle huge pages go back after this; -1 never, 0 at once */
        size_t limit_bytes; /* backed bytes over all slices; 0: none */
};

int pld_page_heap_start(const struct pld_page_heap_options *options); /* after the page map */
/* npages > 0; align: bytes, a power of two. 0, or -ENOMEM: this slice has no
 * memory to give, or the limit is reached. */
int pld_page_heap_alloc(unsigned slice, size_t npages, size_t align, struct pld_run *out);
void pld_page_heap_free(struct pld_run run);
/* Takes the pages right behind the run, if they are free and backed. */
bool pld_page_heap_extend_try(struct pld_run *run, size_t npages);
/* Backs nbytes more, idle, for allocations to come; keep: for ever. Bytes backed. */
size_t pld_page_heap_grow(unsigned slice, size_t nbytes, bool keep);
/* The next span of small objects may have to wait for the kernel. A hint. */
bool pld_page_heap_is_dry(unsigned slice);
/* Gives idle huge pages back that have been idle since before `before_ns`; bytes given. */
size_t pld_page_heap_release(uint64_t before_ns);
void pld_page_heap_set_limit(size_t limit_bytes);

unsigned pld_page_heap_slices(void);
/* Home node (index) of an address that is backed; -ENOENT elsewhere. */
int pld_page_heap_node_of(uintptr_t at);
size_t pld_page_heap_backed_bytes(void); /* over all slices */
size_t pld_page_heap_idle_bytes(void);   /* backed, but in no run's huge page */
size_t pld_page_heap_spare_bytes(void);  /* idle, and beyond what is kept for ever */
size_t pld_page_heap_used_bytes(void);   /* in runs */
size_t pld_page_heap_huge_bytes(void);   /* backed by huge pages */
void pld_page_heap_verify(void);         /* dies where an invariant does not hold */
void pld_page_heap_fork_prepare(void);
void pld_page_heap_fork_done(void);

#endif
