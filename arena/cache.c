/* cache.c: the thread caches, and the end of threads.
 *
 * A thread's cache goes back when the destructor of a thread-specific value
 * runs. Other destructors may allocate after it did, so it puts itself off
 * until late in the rounds that POSIX promises; who allocates even later is
 * served by a shared cache.
 *
 * K1  a cache is in `all` while some thread has it, else in `spare`; it is
 *     never unmapped, and has no spans while it is in `spare`.
 * K2  pld_cache_none is never written: whoever may write to pld_cache_mine
 *     compares first.
 * K3  a cache's memory is of its slice, and its slice that of the node on which the
 *     thread was when it was on `cpu`. The kernel writes the thread's CPU where cpu_at
 *     points before the thread runs on, so a cache with both the same is of the node
 *     that the thread is on. Where nothing moves they always are; where the CPU can't
 *     be read they never are, and the kernel is asked for each block. */
#include "arena/cache.h"

#include "arena/arena.h"
#include "arena/decay.h"
#include "arena/heap.h"
#include "arena/meta.h"
#include "arena/node_stats.h"
#include "arena/pool.h"
#include "base/check.h"
#include "base/lock.h"
#include "numa/os.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

/* The destructor works in this round of PTHREAD_DESTRUCTOR_ITERATIONS. */
enum { LAST_ROUND = 3 };

#define FIRST_TO_LAST [0 ... PLD_NCLASSES - 1]
static const _Atomic uint32_t nowhere; /* 0 */
static const _Atomic uint32_t unknown; /* 0; caches say 1 */

void (*pld_cache_before_end)(void);
_Atomic size_t pld_cache_rooted_end = PLD_LEAST_MAX + 1;
struct pld_cache pld_cache_none = { .cpu_at = &nowhere,
                                    .manual.current = { FIRST_TO_LAST = &pld_span_none } };
_Thread_local struct pld_cache *pld_cache_mine = &pld_cache_none;

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_CACHE);
static struct pld_list all = PLD_LIST_INIT(all);     /* lock */
static struct pld_list spare = PLD_LIST_INIT(spare); /* lock */
static size_t nlive, max_caches;                     /* lock; const after start */
static _Atomic uint32_t nawaiting;                   /* relaxed: who waits for the lock */
static pthread_key_t key;                            /* const after start */
static _Thread_local unsigned round_no;              /* of destructors */

/* A visit may take long, but ends at once if it is in somebody's way. */
static void lock_caches(void)
{
        pld_add_relaxed(&nawaiting, 1);
        pld_lock(&lock);
        pld_sub_relaxed(&nawaiting, 1);
}

static bool is_past_end(void)
{
        return round_no >= LAST_ROUND;
}

void pld_die_of_end_inside(void)
{
        pld_die("a thread has ended inside of Polder: cancelled asynchronously, or by pthread_exit() "
                "in a callback that may not (man polder_thread)");
}

/* What it was at is half done. Better no process than a broken heap. */
static void check_outside(void)
{
        if (pld_unlikely(pld_locks_held() > 0 || pld_cache_is_inside(pld_cache_mine)))
                pld_die_of_end_inside();
}

static void thread_ends(void *value)
{
        check_outside();
        if (++round_no < LAST_ROUND && !pthread_setspecific(key, value))
                return;
        if (pld_cache_before_end)
                pld_cache_before_end();
        pld_scratch_drop();
        pld_pools_leave();
        pld_heaps_leave();
        pld_cache_drop();
        pld_decay_notice();
}

bool pld_cache_watch(void)
{
        /* On failure the cache stays with `all`. */
        return !is_past_end() && pthread_setspecific(key, &key) == 0;
}

/* ---- Where the thread is (K3) ----------------------------------------------------------- */

static void find_cpu(struct pld_cache *cache)
{
        const _Atomic uint32_t *at = pld_machine.roams ? pld_os->cpu_at() : &nowhere;
        cache->cpu_at = at ? at : &unknown;
}

static void find_slice(struct pld_cache *cache)
{
        /* First the CPU: a move in between is noticed the next time. */
        cache->cpu = cache->cpu_at == &unknown ? 1 : pld_load_relaxed(cache->cpu_at);
        cache->slice = pld_machine_here();
}

PLD_NOINLINE void pld_cache_follow(struct pld_cache *cache)
{
        unsigned old = cache->slice;
        find_slice(cache);
        if (pld_likely(cache->slice == old))
                return;
        unsigned now = cache->slice;
        cache->slice = old; /* what it has is of there */
        pld_bins_empty(cache);
        pld_manual_empty(cache);
        cache->slice = now;
        pld_node_count_arrival(now);
}

/* ---- Coming and going -------------------------------------------------------------------- */

static struct pld_cache *find(void)
{
        struct pld_cache *cache = NULL;
        lock_caches();
        if (max_caches && nlive >= max_caches)
                goto out;
        struct pld_list *item = pld_list_pop(&spare);
        cache = item ? pld_container_of(item, struct pld_cache, link) : pld_meta_alloc(sizeof *cache);
        if (!cache)
                goto out;
        pld_bins_init(&cache->bins);
        pld_manual_init(&cache->manual);
        find_cpu(cache);
        find_slice(cache);
        pld_list_push(&all, &cache->link);
        nlive++;
out:
        pld_unlock(&lock);
        return cache;
}

static PLD_NOINLINE struct pld_cache *get_slow(void)
{
        int saved = errno;
        struct pld_cache *cache = NULL;
        int error = pld_arena_start(NULL);
        if (is_past_end() || (error && error != -EALREADY))
                goto out;
        cache = find();
        if (cache) {
                pld_cache_mine = cache; /* first: what follows may allocate */
                pld_cache_watch();
        }
out:
        errno = saved;
        return cache;
}

struct pld_cache *pld_cache_get(void)
{
        struct pld_cache *cache = pld_cache_mine;
        return pld_likely(cache != &pld_cache_none) ? cache : get_slow();
}

static void put_back_locked(struct pld_cache *cache)
{
        pld_list_remove(&cache->link);
        pld_list_push(&spare, &cache->link);
        nlive--;
}

void pld_cache_drop(void)
{
        struct pld_cache *cache = pld_cache_mine;
        if (cache == &pld_cache_none)
                return;
        pld_scratch_drop();
        pld_bump_empty(&cache->bump);
        pld_bins_empty(cache);
        pld_manual_empty(cache);
        pld_cache_mine = &pld_cache_none;
        lock_caches();
        put_back_locked(cache);
        pld_unlock(&lock);
}

void pld_cache_make_tick(bool on)
{
        pld_store_relaxed(&pld_cache_rooted_end, on || pld_machine.roams ? 0 : PLD_LEAST_MAX + 1);
}

int pld_cache_start(size_t limit)
{
        max_caches = limit;
        pld_cache_make_tick(false);
        return -pthread_key_create(&key, thread_ends);
}

size_t pld_caches_live(void)
{
        lock_caches();
        size_t n = nlive;
        pld_unlock(&lock);
        return n;
}

bool pld_caches_are_awaited(void)
{
        return pld_load_relaxed(&nawaiting) > 0;
}

void pld_caches_visit(void (*visit)(struct pld_cache *cache, void *arg), void *arg)
{
        pld_lock(&lock);
        for (size_t n = nlive; n > 0 && !pld_list_is_empty(&all); n--) {
                struct pld_list *item = pld_list_pop(&all);
                pld_list_append(&all, item);
                visit(pld_container_of(item, struct pld_cache, link), arg);
                if (pld_caches_are_awaited()) {
                        pld_unlock(&lock);
                        sched_yield();
                        pld_lock(&lock);
                }
        }
        pld_unlock(&lock);
}

void pld_cache_fork_prepare(void)
{
        pld_add_relaxed(&nawaiting, 1);
        pld_lock_seize(&lock);
        pld_sub_relaxed(&nawaiting, 1);
}

void pld_cache_fork_done(void)
{
        pld_lock_cede(&lock);
}

void pld_cache_fork_child(void)
{
        struct pld_list orphans = PLD_LIST_INIT(orphans);
        pld_list_splice(&orphans, &all);
        struct pld_list *item;
        while ((item = pld_list_pop(&orphans))) {
                struct pld_cache *cache = pld_container_of(item, struct pld_cache, link);
                pld_list_push(&all, &cache->link);
                pld_store_relaxed(&cache->manual.news, false); /* no notice of it would come */
                if (cache == pld_cache_mine)
                        continue;
                cache->scratch = NULL; /* its chunks are lost: they may be half made */
                pld_bump_empty(&cache->bump);
                if (pld_manual_empty_orphan(cache))
                        put_back_locked(cache);
        }
}
