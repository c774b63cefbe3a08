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
        unsigned slice;           /* where its memory comes from, refreshed at refills */
        struct pld_list link;     /* cache lock: of all, or of those to reuse */
};

/* The calling thread's, or pld_cache_none, which is empty and gives nothing (so
 * that fast paths need no test): then pld_cache_get() is the slow way in. */
extern _Thread_local struct pld_cache *pld_cache_mine;
extern struct pld_cache pld_cache_none; /* owns nothing, never written */

/* The calling thread's cache, made now if need be; NULL: no memory, the limit
 * on caches is reached, or the thread is past its end. */
struct pld_cache *pld_cache_get(void);
/* Gives the calling thread's cache back. */
void pld_cache_drop(void);
/* The thread has something of Polder's although it has no cache: what
 * pld_scratch_drop() gives back is given back when it ends. */
void pld_cache_watch(void);
int pld_cache_start(size_t max_caches); /* 0: no limit */
size_t pld_caches_live(void);
void pld_cache_fork_prepare(void);
void pld_cache_fork_done(void);
/* In the child: the caches of threads that do not exist there are given back. */
void pld_cache_fork_child(void);

#endif
