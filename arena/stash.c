/* stash.c: what a thread keeps of a heap: some free blocks of each of the smaller classes, so
 * that most calls take no lock. heap.c has the invariants; H2 and H3 are about this. */
#include "arena/heap_inside.h"

#include "arena/size_class.h"

#include <string.h>

enum { STASH_BYTES = 8 << 10 /* of a class, beside PLD_STASH_BLOCKS */ };

static _Thread_local char me;        /* its address names the thread */
static _Thread_local bool has_stash; /* in some heap, perhaps destroyed by now */
_Thread_local struct pld_seat pld_seats[PLD_SEATS];

static struct pld_stash *own(struct polder_heap *heap)
{
        /* Acquire: what is in them, with make(). */
        struct pld_stash *stash = pld_load_acquire(&heap->stashes);
        while (stash && pld_load_relaxed(&stash->owner) != &me)
                stash = stash->next;
        return stash;
}

static struct pld_stash *claim(struct polder_heap *heap)
{
        struct pld_stash *stash = pld_load_acquire(&heap->stashes);
        for (; stash; stash = stash->next) {
                const void *nobody = NULL;
                /* Acquire: the bins, with pld_stash_leave(). */
                if (!pld_load_relaxed(&stash->owner) &&
                    pld_cas_acquire(&stash->owner, &nobody, &me))
                        break;
        }
        return stash;
}

static struct pld_stash *make(struct polder_heap *heap)
{
        struct pld_block *block;
        if (!pld_shard_take(heap, pld_class_of_block(sizeof(struct pld_stash)), &block, 1))
                return NULL;
        struct pld_stash *stash = memset(block, 0, sizeof *stash), *head;
        for (unsigned i = PLD_MANUAL_CLASS_MIN; i < PLD_NCLASSES_SMALL; i++) {
                uint32_t most = STASH_BYTES / pld_classes[i].nbytes;
                stash->bin[i].most = most < PLD_STASH_BLOCKS ? most : PLD_STASH_BLOCKS;
        }
        pld_store_relaxed(&stash->owner, &me);
        head = pld_load_relaxed(&heap->stashes);
        do
                stash->next = head;
        while (!pld_cas_weak_release(&heap->stashes, &head, stash));
        return stash;
}

PLD_NOINLINE struct pld_stash *pld_stash_find_slow(struct polder_heap *heap, struct pld_seat *seat)
{
        struct pld_stash *stash = own(heap);
        if (!stash && pld_cache_watch()) {
                stash = claim(heap);
                if (!stash)
                        stash = make(heap);
                has_stash |= stash != NULL;
        }
        *seat = (struct pld_seat){ .serial = heap->serial, .stash = stash };
        return stash;
}

bool pld_stash_flush(struct pld_stash_bin *bin, uint32_t left)
{
        struct pld_block *blocks[PLD_STASH_BLOCKS], **last = &bin->first;
        uint32_t n = 0;
        for (uint32_t i = 0; i < left && *last; i++)
                last = &(*last)->next;
        for (struct pld_block *block = *last; block; block = block->next)
                blocks[n++] = block;
        *last = NULL;
        bin->n -= n;
        return pld_shard_put_back(blocks, n);
}

static void flush_all(struct pld_stash *stash)
{
        for (unsigned i = 0; i < PLD_NCLASSES_SMALL; i++)
                if (stash->bin[i].n)
                        pld_stash_flush(&stash->bin[i], 0);
}

/* What others had in a stash may be half changed: it is out until the heap goes. */
static void forget(struct pld_stash *stash)
{
        for (unsigned i = 0; i < PLD_NCLASSES_SMALL; i++)
                stash->bin[i] = (struct pld_stash_bin){ .most = stash->bin[i].most };
        pld_store_relaxed(&stash->owner, NULL);
}

void pld_stash_empty(struct polder_heap *heap)
{
        struct pld_stash *stash = own(heap);
        if (stash)
                flush_all(stash);
}

void pld_stash_leave(struct polder_heap *heap)
{
        struct pld_stash *stash = own(heap);
        if (!stash)
                return;
        flush_all(stash);
        pld_store_release(&stash->owner, NULL); /* with claim() */
}

bool pld_stash_is_there(void)
{
        return has_stash;
}

void pld_stash_forget_seats(void)
{
        has_stash = false;
        memset(pld_seats, 0, sizeof pld_seats);
}

void pld_stash_forget_others(struct polder_heap *heap)
{
        struct pld_stash *stash = pld_load_relaxed(&heap->stashes);
        for (; stash; stash = stash->next)
                if (pld_load_relaxed(&stash->owner) != &me)
                        forget(stash);
}
