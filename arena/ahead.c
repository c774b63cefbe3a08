/* ahead.c: see ahead.h.
 *
 * To populate a huge page takes the kernel a good part of a millisecond, and some in a
 * virtual machine whose host has to find the memory first. So a thread for each slice keeps
 * some idle ones ready. How many goes by demand alone: none until an allocation has found
 * nothing; twice as many each time that happens again; half of them after a second in which
 * nothing was taken. (What is not taken then decays like all that is idle.) A program that
 * has reserved enough, or does not grow, never has such a thread.
 *
 * A1  what is ready is at most a small share of what is backed, and nothing as long as the
 *     heap is small: it counts as memory of the process.
 * A2  only taking wakes the thread, never giving back: so that it does not fetch again
 *     what has decayed.
 * A3  a limit on memory is left to those who allocate.
 * A4  of those who found nothing at the same time as many fetch as there are processors; the
 *     others wait for what comes, for a huge page holds the next spans of many. */
#include "arena/ahead.h"

#include "arena/page_heap_inside.h"
#include "base/clock.h"
#include "base/futex.h"
#include "numa/machine.h"
#include "numa/node_thread.h"
#include "numa/os.h"

enum {
        LEAST_BACKED = 8, /* huge pages, A1 */
        SHARE = 128,      /* of what is backed */
        MOST = 16,        /* huge pages */
        PIECE = 2         /* the same, at a time */
};

static struct ahead {
        unsigned slice;          /* const once made */
        _Atomic uint32_t bell;   /* futex */
        _Atomic uint32_t made;   /* 1: there is a thread */
        _Atomic uint32_t wanted; /* huge pages; relaxed: a hint */
        _Atomic uint32_t ndrawn;
        _Atomic uint32_t nfetching; /* A4 */
        _Atomic uint32_t nfetched;  /* futex: times that one of them was done */
        _Atomic bool in_vain;       /* the last one */
} aheads[PLD_MAX_SLICES];

static _Atomic size_t limit_bytes; /* 0: none */
static _Atomic uint64_t grown_bytes;

static size_t wanted_now(struct ahead *ahead, unsigned slice)
{
        size_t nbacked = pld_load_relaxed(&pld_page_heaps.of[slice]->nbacked);
        size_t wanted = pld_load_relaxed(&ahead->wanted), most = 1 + nbacked / SHARE;
        if (nbacked < LEAST_BACKED) /* A1 */
                return 0;
        return wanted < most ? wanted : most;
}

static size_t missing_now(struct ahead *ahead)
{
        struct pld_page_heap *heap = pld_page_heaps.of[ahead->slice];
        size_t wanted = wanted_now(ahead, ahead->slice);
        pld_lock(&heap->lock);
        size_t nidle = heap->nidle;
        pld_unlock(&heap->lock);
        return wanted > nidle ? wanted - nidle : 0;
}

static bool has_room_for(size_t nbytes) /* A3 */
{
        size_t backed = pld_load_relaxed(&pld_page_heaps.backed_bytes) + nbytes;
        size_t soft = pld_load_relaxed(&limit_bytes);
        size_t hard = pld_load_relaxed(&pld_page_heaps.limit_bytes);
        return (!soft || backed <= soft) && (!hard || backed <= hard - hard / SHARE);
}

static void fill(struct ahead *ahead)
{
        for (size_t n; (n = missing_now(ahead)) > 0;) {
                size_t nbytes = (n < PIECE ? n : PIECE) << PLD_HUGE_SHIFT;
                size_t got = has_room_for(nbytes) ? pld_page_heap_grow(ahead->slice, nbytes, false)
                                                  : 0;
                if (got == 0)
                        return;
                pld_add_relaxed(&grown_bytes, got);
        }
}

static void *run(void *arg)
{
        struct ahead *ahead = arg;
        pld_os->thread_be_prompt();
        for (;;) {
                uint32_t seen = pld_load_acquire(&ahead->bell);
                fill(ahead);
                uint32_t drawn = pld_load_relaxed(&ahead->ndrawn);
                uint32_t wanted = pld_load_relaxed(&ahead->wanted);
                pld_futex_wait(&ahead->bell, seen, wanted > 1 ? PLD_NS_PER_S : 0);
                bool quiet = pld_load_acquire(&ahead->bell) == seen &&
                             pld_load_relaxed(&ahead->ndrawn) == drawn;
                if (quiet && wanted > 1)
                        pld_cas_relaxed(&ahead->wanted, &wanted, wanted / 2);
        }
        return NULL;
}

static void ring(struct ahead *ahead)
{
        pld_add_release(&ahead->bell, 1);
        pld_futex_wake(&ahead->bell, 1);
}

/* Where no thread can be made, allocations go on waiting for themselves. */
static void hire(struct ahead *ahead, unsigned slice)
{
        pthread_t thread;
        uint32_t none = 0;
        if (pld_load_relaxed(&ahead->made) || !pld_cas_acquire(&ahead->made, &none, 1))
                return;
        ahead->slice = slice;
        unsigned node = slice < pld_machine.nnodes ? slice : 0;
        if (pld_node_thread_start(&thread, node, "polder-ahead", run, ahead) == 0)
                pthread_detach(thread);
}

void pld_ahead_was_dry(unsigned slice)
{
        struct ahead *ahead = &aheads[slice];
        size_t nbacked = pld_load_relaxed(&pld_page_heaps.of[slice]->nbacked);
        if (nbacked < LEAST_BACKED) /* A1 */
                return;
        uint32_t wanted = pld_load_relaxed(&ahead->wanted);
        if (wanted < MOST)
                pld_cas_relaxed(&ahead->wanted, &wanted, wanted ? 2 * wanted : 1);
        hire(ahead, slice);
        ring(ahead);
}

static void fetch(struct ahead *ahead, unsigned slice)
{
        size_t got = pld_page_heap_grow(slice, PLD_HUGE_BYTES, false);
        pld_store_relaxed(&ahead->in_vain, got == 0);
        pld_sub_relaxed(&ahead->nfetching, 1);
        pld_add_release(&ahead->nfetched, 1);
        pld_futex_wake(&ahead->nfetched, INT_MAX);
}

static bool may_fetch(struct ahead *ahead)
{
        uint32_t n = pld_load_relaxed(&ahead->nfetching);
        while (n < pld_machine.ncpus)
                if (pld_cas_relaxed(&ahead->nfetching, &n, n + 1))
                        return true;
        return false;
}

void pld_ahead_make_room(unsigned slice)
{
        struct ahead *ahead = &aheads[slice];
        do {
                uint32_t seen = pld_load_acquire(&ahead->nfetched);
                if (!pld_page_heap_is_dry(slice))
                        return;
                if (may_fetch(ahead)) {
                        pld_ahead_was_dry(slice);
                        fetch(ahead, slice);
                        return;
                }
                pld_futex_wait(&ahead->nfetched, seen, 0); /* those who may are at it */
        } while (!pld_load_relaxed(&ahead->in_vain));
}

void pld_ahead_drawn(unsigned slice, size_t nidle)
{
        struct ahead *ahead = &aheads[slice];
        if (pld_likely(!pld_load_relaxed(&ahead->made)))
                return;
        pld_add_relaxed(&ahead->ndrawn, 1);
        if (nidle < wanted_now(ahead, slice)) /* A2; else there is nothing to fetch */
                ring(ahead);
}

void pld_ahead_set_limit(size_t nbytes)
{
        pld_store_relaxed(&limit_bytes, nbytes);
}

uint32_t pld_ahead_rung(unsigned slice)
{
        return pld_load_relaxed(&aheads[slice].bell);
}

uint64_t pld_ahead_grown(void)
{
        return pld_load_relaxed(&grown_bytes);
}

void pld_ahead_fork_child(void)
{
        for (unsigned i = 0; i < PLD_MAX_SLICES; i++) {
                pld_store_relaxed(&aheads[i].made, 0);
                pld_store_relaxed(&aheads[i].wanted, 0);
                pld_store_relaxed(&aheads[i].nfetching, 0);
        }
}
