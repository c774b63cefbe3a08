/* cache.h: what a thread keeps to itself, so that it seldom meets another.
 *
 * One cache a thread, made at its first slow path and given back when it ends.
 * Caches are never unmapped: a thread that frees another's block may look at
 * the owner's cache at any time. */
#ifndef PLD_ARENA_CACHE_H
#define PLD_ARENA_CACHE_H

#include "arena/bin.h"
#include "arena/bump.h"
#include "arena/manual.h"
#include "arena/region.h"

struct pld_cache {
        struct pld_bins bins;     /* malloc's, in front of the spans (bin.h) */
        struct pld_manual manual; /* malloc's spans (manual.h) */
        struct pld_bump bump;     /* the collector's half */
        struct polder_region *scratch; /* the thread's scratch stack */
        /* In one line: looked at for each block where threads move between nodes (K3). */
        _Alignas(32) const _Atomic uint32_t *cpu_at; /* where the thread is: never NULL */
        uint32_t cpu;             /* where it was when this was found out: */
        unsigned slice;           /* where its memory comes from */
        struct pld_list link;     /* cache lock: of all, or of those to reuse */
};

/* malloc's blocks below this size need not ask where the thread is, nor look after what is
 * idle: those whose class one table tells, or none where threads move between nodes.
 * Relaxed. */
extern _Atomic size_t pld_cache_rooted_end PLD_HIDDEN;
/* Until told otherwise every small block takes the longer way, which ticks (decay.h). */
void pld_cache_make_tick(bool on);

/* The calling thread's, or pld_cache_none, which is empty and gives nothing (so
 * that fast paths need no test): then pld_cache_get() is the slow way in. */
extern _Thread_local struct pld_cache *pld_cache_mine PLD_HIDDEN;
extern struct pld_cache pld_cache_none PLD_HIDDEN; /* owns nothing, never written */

/* The calling thread's cache, made now if need be; NULL: no memory, the limit
 * on caches is reached, or the thread is past its end. */
struct pld_cache *pld_cache_get(void);
/* The calling thread's cache gives up what it has of another node than the thread is on
 * now. */
void pld_cache_follow(struct pld_cache *cache);
/* Called, if not NULL, when a thread ends, before its cache goes back. */
extern void (*pld_cache_before_end)(void);
/* Says what happened, and how to avoid it. */
void pld_die_of_end_inside(void) __attribute__((noreturn, cold));
/* Gives the calling thread's cache back. */
void pld_cache_drop(void);
/* The thread has something of Polder's although it has no cache: what
 * pld_scratch_drop(), pld_pools_leave() and pld_heaps_leave() give back is given back when
 * it ends. False: that cannot be promised, or it is past its end. */
bool pld_cache_watch(void);
int pld_cache_start(size_t max_caches); /* 0: no limit */
size_t pld_caches_live(void);
/* Each thread's, with the lock held that they come and go under; who comes or goes is let
 * through in between. A thread that comes meanwhile may be left out. */
void pld_caches_visit(void (*visit)(struct pld_cache *cache, void *arg), void *arg);
bool pld_caches_are_awaited(void); /* someone waits for that lock */
void pld_cache_fork_prepare(void);
void pld_cache_fork_done(void);
/* In the child: the caches of threads that do not exist there are given back. */
void pld_cache_fork_child(void);

/* Has the thread been on another CPU since? Always where that can't be read. */
static inline bool pld_cache_may_have_moved(const struct pld_cache *cache)
{
        return pld_load_relaxed(cache->cpu_at) != cache->cpu;
}

/* Is its thread changing malloc's lists? (visit.h) */
static inline bool pld_cache_is_inside(const struct pld_cache *cache)
{
        return pld_load_acquire(&cache->manual.entries) % 2 != 0; /* what it did before */
}

/* Before memory of the cache is handed out. */
static inline void pld_cache_settle(struct pld_cache *cache)
{
        if (pld_unlikely(pld_cache_may_have_moved(cache)))
                pld_cache_follow(cache);
}

#endif
