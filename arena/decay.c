#include "arena/decay.h"

#include "arena/cache.h"
#include "arena/manual.h"
#include "arena/shed_spans.h"
#include "arena/visit.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/lock.h"
#include "numa/node_thread.h"

#include <limits.h>
#include <sys/single_threaded.h>

/* Passes in a decay time, so that nothing is idle for much longer; and those without news
 * after which all that was idle has been given. */
enum {
        PASSES = 4, QUIET_PASSES = PASSES + 2, TICKS = 256, TICK_BYTES = 8 << 20,
        /* With so much to spare, and so large a part of what is used, the freeing thread purges. */
        PURGE_BYTES = 4 << 20, PURGE_SHARE = 8
};

static uint64_t next_look_ns; /* of who is `awake`: at the spans */
/* Of who is `awake`: what may be purged until then. */
static uint64_t purge_until_ns;
static size_t purge_bytes;
static _Atomic size_t purge_at_bytes; /* relaxed: with so much to spare it is worth a look */
static uint64_t decay_ns; /* const after start; 0: no thread needed */
static bool discreet;     /* const after start */
/* Relaxed: a notice that is overlooked is made good by the next one. */
static _Atomic bool news;
static _Atomic uint32_t awake;    /* futex; 1: the thread looks after what is idle */
static _Atomic bool made;         /* there is a thread */
static _Atomic bool wanted;       /* a discreet free saw work for one */
static _Atomic bool ticking;      /* allocations look, one in TICKS of them */
static _Atomic uint64_t retry_ns; /* after a refused one: when to ask again */

/* What has been free in its span for half the decay time goes, before a whole one is over.
 * True: there will be more to go next time. */
static bool look_at_spans(uint64_t now)
{
        if (now < next_look_ns || !pld_spans_are_worth_a_look())
                return false;
        next_look_ns = now + decay_ns / 2;
        pld_spans_shed(true);
        return pld_spans_are_worth_a_look();
}

/* Blocks in spans in use, or whole spans of threads that may be asleep. */
static bool something_waits(void)
{
        return pld_spans_are_worth_a_look() ||
               (pld_load_relaxed(&pld_manual_has_news) && pld_page_heap_mortal_bytes() > 0);
}

/* at_leisure: there is time for what takes long. */
static bool pass(bool at_leisure)
{
        bool fresh = pld_exchange_relaxed(&news, false);
        uint64_t now = pld_now_ns();
        uint64_t before = now > decay_ns ? now - decay_ns : 0;
        pld_page_heap_release(before);
        pld_page_heap_shed(before, false);
        size_t npromoted = pld_page_heap_promote(before, at_leisure);
        bool young = look_at_spans(now);
        return pld_manual_reclaim_idle() || npromoted > 0 || young || fresh;
}

static void *run(void *unused)
{
        _Atomic uint32_t never = 0;
        for (;;) {
                while (!pld_load_relaxed(&awake))
                        pld_futex_wait(&awake, 0, 0);
                for (int quiet = 0; quiet < QUIET_PASSES;) {
                        pld_futex_wait(&never, 0, decay_ns / PASSES);
                        quiet = pass(true) ? 0 : quiet + 1;
                }
                pld_store_relaxed(&awake, 0);
        }
        return unused;
}

/* Without a thread the freeing one does it, now and then. */
static void stand_in(uint64_t now)
{
        pld_store_relaxed(&retry_ns, now + decay_ns / PASSES);
        pass(false);
        pld_store_relaxed(&awake, 0);
}

/* Where nobody but the program's one thread gives memory back, and it goes to sleep when it
 * has freed the most of it, that would stay for ever. So what it frees goes at once, in
 * steps, so that each is worth its cost; but in a decay time no more than there was at its
 * beginning, and nothing at first, as most programs that free and take by turns do so
 * in shorter ones. `awake` is ours. */
static bool purge_try(uint64_t now)
{
        size_t spare = pld_page_heap_spare_bytes();
        if (spare > purge_bytes && now < purge_until_ns)
                return false;
        size_t least = pld_page_heap_used_bytes() / PURGE_SHARE;
        pld_store_relaxed(&purge_at_bytes, least > PURGE_BYTES ? least : PURGE_BYTES);
        if (spare < pld_load_relaxed(&purge_at_bytes))
                return false;
        if (now >= purge_until_ns) {
                purge_until_ns = now + decay_ns;
                purge_bytes = pld_page_heap_backed_bytes();
        }
        purge_bytes -= spare;
        pld_manual_reclaim();
        pld_spans_shed(false);
        pld_page_heap_release(UINT64_MAX);
        pld_page_heap_shed(UINT64_MAX, false);
        return true;
}

/* `awake` is ours. */
static void hire(uint64_t now)
{
        pthread_t thread;
        if (pld_node_thread_start(&thread, 0, "polder-decay", run, NULL)) {
                stand_in(now);
                return;
        }
        pthread_detach(thread);
        pld_store_relaxed(&made, true);
}

/* A little is not worth a slower malloc. Where there are threads the next one to allocate
 * makes ours, and that is all. */
static void choose_ticking(void)
{
        bool tick = __libc_single_threaded ? pld_page_heap_spare_bytes() >= TICK_BYTES
                                           : pld_load_relaxed(&wanted);
        if (pld_load_relaxed(&ticking) == tick)
                return;
        pld_store_relaxed(&ticking, tick);
        pld_cache_make_tick(tick);
}

static PLD_NOINLINE void wake_slow(void)
{
        uint32_t asleep = 0;
        bool shy = discreet && !pld_load_relaxed(&made);
        bool ripe = (!shy && pld_page_heap_is_ripe()) || something_waits();
        if ((pld_page_heap_spare_bytes() == 0 && !ripe) || pld_locks_held())
                return;
        uint64_t now = pld_now_coarse_ns();
        if (shy) {
                pld_store_relaxed(&wanted, true);
                choose_ticking();
        }
        bool due = now >= pld_load_relaxed(&retry_ns);
        bool much = shy && pld_page_heap_spare_bytes() >= pld_load_relaxed(&purge_at_bytes);
        if ((!due && !much) || !pld_cas_relaxed(&awake, &asleep, 1))
                return;
        if (pld_load_relaxed(&made))
                pld_futex_wake(&awake, INT_MAX);
        else if (shy && ((much && purge_try(now)) || !due))
                pld_store_relaxed(&awake, 0);
        else if (shy)
                stand_in(now);
        else
                hire(now);
}

static PLD_NOINLINE void chance_slow(void)
{
        uint32_t asleep = 0;
        uint64_t now = pld_now_coarse_ns();
        bool alone = __libc_single_threaded;
        bool nothing = pld_page_heap_spare_bytes() == 0 && !something_waits();
        if (nothing)
                pld_store_relaxed(&wanted, false);
        choose_ticking();
        if (nothing)
                return;
        if (pld_locks_held() || (alone && now < pld_load_relaxed(&retry_ns)) ||
            !pld_cas_relaxed(&awake, &asleep, 1))
                return;
        if (alone) {
                stand_in(now);
                return;
        }
        pld_store_relaxed(&wanted, false);
        choose_ticking();
        if (pld_load_relaxed(&made))
                pld_futex_wake(&awake, INT_MAX);
        else
                hire(now);
}

void pld_decay_chance(void)
{
        if (pld_unlikely(pld_load_relaxed(&wanted)))
                chance_slow();
}

void pld_decay_tick(void)
{
        static _Atomic uint32_t nticks; /* relaxed: there is one thread, or nothing to do */
        if (pld_likely(!pld_load_relaxed(&ticking)))
                return;
        uint32_t n = pld_load_relaxed(&nticks) + 1;
        pld_store_relaxed(&nticks, n);
        if (n % TICKS == 0 || !__libc_single_threaded)
                chance_slow();
}

void pld_decay_be_discreet(void)
{
        discreet = true;
}

void pld_decay_notice(void)
{
        if (!decay_ns)
                return;
        if (!pld_load_relaxed(&news))
                pld_store_relaxed(&news, true);
        if (!pld_load_relaxed(&awake))
                wake_slow();
}

void pld_decay_start(int64_t decay_ms)
{
        decay_ns = decay_ms > 0 ? (uint64_t)decay_ms * PLD_NS_PER_MS : 0;
        purge_until_ns = pld_now_coarse_ns() + decay_ns / PASSES;
        pld_store_relaxed(&purge_at_bytes, PURGE_BYTES);
}

void pld_decay_fork_child(void)
{
        pld_store_relaxed(&awake, 0);
        pld_store_relaxed(&made, false);
        pld_store_relaxed(&wanted, false);
        pld_store_relaxed(&ticking, false);
        pld_cache_make_tick(false);
        pld_store_relaxed(&retry_ns, 0);
}
