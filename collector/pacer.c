/* pacer.c: the heap's goal, the cycle's start, and the mutators' share.
 *
 * The governor has the law (governor.c); here is what it is told, and what becomes of what
 * it says. Threads tell what they allocated, and ask for a cycle when the heap is at the
 * trigger. While a cycle marks each reserved byte is a debt of scanning; what workers have
 * scanned is credit that pays first, and what is left the thread does itself, for a short
 * while at a time. Where that is not enough, as when the collector's threads do not get a
 * processor, mutators that allocate give way for a moment at a time.
 *
 * Young cycles come between: whenever a part of the room below the trigger has been
 * allocated. What they promote stays, so the next full cycle comes at the same heap as
 * without them, and later.
 *
 * K1  heap = live at the last flip + allocated since; both only approximate, as
 *     threads tell what they allocated a little late.
 * K2  trigger <= goal; and live <= trigger, unless young cycles have promoted more.
 * K3  goal and trigger are the last full cycle's, and do not move with young ones.
 * K4  the percentage is of what the program has asked for, and what it says is of memory: who
 *     sets 100 has twice the data in mind. A cell is up to an eighth larger than what was asked
 *     for, which is not kept; so of each run that is reserved the object that needed it stands for
 *     all. Beside the cells there are the ends of spans and huge pages, what is ready
 *     ahead of need, and tables: about a 32nd. */
#include "collector/pacer.h"

#include "arena/ahead.h"
#include "arena/stall.h"
#include "base/clock.h"
#include "base/check.h"
#include "base/futex.h"
#include "collector/cycle.h"
#include "collector/governor.h"
#include "collector/pressure.h"
#include "collector/request.h"
#include "collector/roots.h"
#include "collector/safepoint.h"
#include "collector/scan.h"
#include "collector/settings.h"
#include "collector/start.h"
#include "numa/os.h"

#include <errno.h>

enum {
        TELL_BYTES = 32 << 10,
        SAMPLE_HEAPS = 4,         /* as many times what lives are remembered, */
        BESIDE_SHARE = 32,        /* and of it, what there is beside cells (K4) */
        LEAST_FLOOR = 32 << 20, MOST_FLOOR = 256 << 20,
        FLOOR_OF_THREAD = 16 << 20,
        GIVE_WAY_NS = 100000,
        ASSIST_BYTES = 32 << 10,  /* of scanning in one assist, at most, */
        ASSIST_BITE = 2 << 10,    /* so much at a time, */
        ASSIST_NS = 100000,       /* until then */
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
static _Atomic size_t live;             /* marked by the last cycle */
static _Atomic size_t full_live;        /* K3: live after the last full cycle */
static _Atomic size_t grown_up;         /* of that, what was there before it */
static _Atomic size_t since;            /* allocated after the last flip, */
static _Atomic size_t since_large;      /* of that, in large objects, */
static _Atomic size_t since_unasked;    /* and what rounding to size classes took (K4) */
static _Atomic size_t goal, trigger, bound; /* see struct pld_aim */
static _Atomic size_t young_room;       /* the same */
static _Atomic size_t young_trigger;    /* of `since` */
static _Atomic uint64_t allocated_ever;
static _Atomic int percent;
static _Atomic size_t limit;
static _Atomic unsigned nmutators;      /* at the last flip */
static size_t most_floor;               /* const after start */
static _Atomic double debt_per_byte;    /* 0: nobody assists */
static _Atomic bool late;               /* the cycle is, and workers shall not rest */
static _Atomic int64_t credit;          /* scanned by workers, not yet used by assists */
static _Atomic uint64_t scanned, marked;  /* by this cycle, */
static _Atomic uint64_t marked_large;     /* of that, in large objects */
static _Atomic uint64_t cycle_cpu_ns, total_cpu_ns;
static _Atomic uint64_t nassists;

static struct pld_governor governor;    /* lock */
static double sampled, unasked;         /* lock: K4, of what was allocated lately: bytes */
static bool by_floor;                   /* lock: the goal is */
static bool young;                      /* the cycle's: it is one */
static bool asked;                      /* the cycle's: the program wanted it */
static size_t since_at_begin, large_at_begin; /* the cycle's */
static size_t unaged, unaged_large;     /* the cycle's: born in the last one, and young */
static size_t young_before, young_before_large; /* the cycle's: what it may free */
static uint64_t begin_ns, last_end_ns;  /* the cycle's */

/* ---- Goal and trigger ---------------------------------------------------------------- */

static size_t other_bytes(size_t heap)
{
        size_t backed = pld_page_heap_backed_bytes();
        size_t idle = pld_page_heap_idle_bytes();
        return backed > heap + idle ? backed - heap - idle : 0;
}

/* What a heap grows by, be it ever so small. How fast a program allocates goes by the
 * threads that run, and so does this. */
static size_t floor_bytes(void)
{
        if (pld_settings.gc_floor)
                return pld_settings.gc_floor;
        unsigned n = pld_load_relaxed(&nmutators);
        size_t running = n < pld_machine.ncpus ? n : pld_machine.ncpus;
        size_t wanted = running * FLOOR_OF_THREAD;
        return wanted < LEAST_FLOOR ? LEAST_FLOOR : wanted > MOST_FLOOR ? MOST_FLOOR : wanted;
}

/* What it is stretched to while collecting takes much of the CPUs: one that was set is not. */
static size_t most_floor_bytes(void)
{
        struct pld_os_memory group;
        size_t memory = 0;
        if (pld_settings.gc_floor)
                return pld_settings.gc_floor;
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                memory += pld_machine.node[i].nbytes;
        if (pld_os->cgroup_memory(&group) == 0 && group.total < memory)
                memory = group.total;
        return pld_governor_most_floor(memory);
}

/* Of bytes in cells, what was asked for, and less what comes beside (K4). */
static size_t asked_for(size_t nbytes)
{
        pld_lock(&lock);
        double part = sampled > 0 ? 1 - unasked / sampled : 1;
        pld_unlock(&lock);
        size_t wanted = (size_t)((double)nbytes * part);
        return wanted - wanted / BESIDE_SHARE;
}

static struct pld_heap_facts heap_facts(void)
{
        size_t now = pld_load_relaxed(&live);
        return (struct pld_heap_facts){
                .live = now,
                .full_live = pld_load_relaxed(&full_live),
                .certain = asked_for(pld_load_relaxed(&grown_up)),
                .roots = pld_roots_bytes(),
                .other = other_bytes(now),
                .floor = floor_bytes(),
                .most_floor = most_floor,
                .limit = pld_load_relaxed(&limit),
                .percent = pld_settings.gc == POLDER_GC_OFF ? -1 : pld_load_relaxed(&percent),
        };
}

static struct pld_aim aim_now(void)
{
        return (struct pld_aim){
                .goal = pld_load_relaxed(&goal),
                .trigger = pld_load_relaxed(&trigger),
                .young_room = pld_load_relaxed(&young_room),
                .bound = pld_load_relaxed(&bound),
        };
}

static void set_goal(void)
{
        struct pld_heap_facts facts = heap_facts();
        pld_lock(&lock);
        struct pld_aim aim = pld_governor_aim(&governor, &facts);
        pld_store_relaxed(&goal, aim.goal);
        pld_store_relaxed(&trigger, aim.trigger);
        pld_store_relaxed(&bound, aim.bound);
        pld_store_relaxed(&young_room, aim.young_room);
        by_floor = aim.by_floor;
        pld_store_relaxed(&young_trigger,
                          pld_generation_has_marks() ? aim.young_room : SIZE_MAX);
        pld_unlock(&lock);
}

bool pld_pacer_wants_full_cycle(void)
{
        size_t heap = pld_load_relaxed(&live) + pld_load_relaxed(&since);
        return heap >= pld_load_relaxed(&trigger);
}

bool pld_pacer_wants_cycle(void)
{
        if (pld_pacer_wants_full_cycle())
                return true;
        size_t room = pld_load_relaxed(&young_trigger), all = pld_load_relaxed(&since);
        return all >= room && pld_generation_is_due(all, pld_load_relaxed(&since_large), room);
}

static struct pld_progress progress_now(void)
{
        return (struct pld_progress){
                .young = young,
                .heap = pld_load_relaxed(&live) + pld_load_relaxed(&since),
                .at_begin = pld_load_relaxed(&live) + since_at_begin + pld_roots_bytes(),
                .scanned = (double)pld_load_relaxed(&scanned),
        };
}

bool pld_pacer_is_late(void)
{
        return pld_load_relaxed(&late);
}

/* ---- Mutators ---------------------------------------------------------------------------- */

static void tell(struct pld_thread *self)
{
        pld_add_relaxed(&since, self->allocated);
        pld_add_relaxed(&allocated_ever, self->allocated);
        pld_add_relaxed(&since_unasked, self->unasked);
        self->allocated = self->unasked = 0;
}

void pld_pacer_note(struct pld_thread *self, size_t nbytes)
{
        self->allocated += nbytes;
        self->assist_debt += (double)nbytes * pld_load_relaxed(&debt_per_byte);
        if (self->allocated < TELL_BYTES)
                return;
        tell(self);
        if (pld_pacer_wants_cycle())
                pld_request_automatic();
}

void pld_pacer_note_run(struct pld_thread *self, struct pld_reserved run)
{
        PLD_ASSERT(run.asked <= run.cell && run.nbytes % run.cell == 0);
        self->unasked += run.nbytes / run.cell * (run.cell - run.asked);
        pld_pacer_note(self, run.nbytes);
}

void pld_pacer_note_large(struct pld_thread *self, size_t nbytes)
{
        pld_add_relaxed(&since_large, nbytes);
        pld_pacer_note(self, nbytes);
}

void pld_pacer_flush(struct pld_thread *self)
{
        tell(self);
        pld_pacer_add_work(&self->marker, 0);
}

static bool pay_from_credit(struct pld_thread *self)
{
        int64_t there = pld_load_relaxed(&credit);
        while (there > 0) {
                int64_t want = (int64_t)self->assist_debt + ASSIST_BYTES; /* a little ahead */
                int64_t take = want < there ? want : there;
                if (!pld_cas_acq_rel(&credit, &there, there - take))
                        continue;
                self->assist_debt -= (double)take;
                return self->assist_debt <= 0;
        }
        return false;
}

/* The cycle is there, but does not get far enough. */
static bool is_far_over_goal(void)
{
        struct pld_aim aim = aim_now();
        return pld_governor_is_far_over(&aim, pld_load_relaxed(&live) + pld_load_relaxed(&since));
}

/* Leaves the processor to the collector for a moment, in a blocking section. */
static PLD_NOINLINE void give_way(struct pld_thread *self)
{
        uint64_t start_ns = pld_now_ns();
        pld_enter();
        pld_thread_block(self);
        pld_nap(GIVE_WAY_NS);
        pld_thread_unblock(self);
        pld_leave();
        pld_stall_note(PLD_STALL_PACE, pld_now_ns() - start_ns);
}

/* How long a byte takes depends on what it refers to: so the clock is looked at, too. */
static void mark_a_while(struct pld_thread *self, uint64_t until_ns)
{
        for (unsigned i = 0; i < ASSIST_BYTES / ASSIST_BITE; i++)
                if (!pld_mark_some(&self->marker, ASSIST_BITE) || pld_now_ns() >= until_ns)
                        break;
}

void pld_pacer_assist(struct pld_thread *self)
{
        pld_request_run_due(self);
        if (pld_unlikely(is_far_over_goal()))
                give_way(self);
        if (!pld_cycle_is_marking()) {
                self->assist_debt = 0;
                return;
        }
        if (self->assist_debt < ASSIST_BYTES || pay_from_credit(self))
                return;
        uint64_t start_ns = pld_now_ns();
        uint64_t before = self->marker.scanned_bytes;
        pld_enter();
        if (pld_cycle_is_marking()) { /* no flip can come now */
                mark_a_while(self, start_ns + ASSIST_NS);
                pld_marker_flush(&self->marker);
        }
        uint64_t done = self->marker.scanned_bytes - before;
        uint64_t took_ns = pld_now_ns() - start_ns;
        pld_pacer_add_work(&self->marker, took_ns);
        pld_leave();
        /* What is not paid by now is let go in part: an assist is short, whatever
         * the debt, and the goal may be passed. */
        self->assist_debt -= (double)done;
        if (self->assist_debt > 4 * ASSIST_BYTES)
                self->assist_debt = 4 * ASSIST_BYTES;
        if (done == 0)
                self->assist_debt = 0;
        pld_add_relaxed(&nassists, 1);
        pld_stall_note(PLD_STALL_ASSIST, took_ns);
}

/* ---- The cycle ------------------------------------------------------------------------------- */

void pld_pacer_cycle_begins(bool is_young, bool is_asked)
{
        young = is_young;
        asked = is_asked;
        begin_ns = pld_now_ns();
        since_at_begin = pld_load_relaxed(&since);
        large_at_begin = pld_load_relaxed(&since_large);
        young_before = since_at_begin + unaged;
        young_before_large = large_at_begin + unaged_large;
        pld_store_relaxed(&scanned, 0);
        pld_store_relaxed(&marked, 0);
        pld_store_relaxed(&marked_large, 0);
        pld_store_relaxed(&cycle_cpu_ns, 0);
        pld_store_relaxed(&credit, 0);
}

void pld_pacer_marking_begins(void)
{
        pld_pacer_update();
}

void pld_pacer_add_work(struct pld_marker *marker, uint64_t cpu_ns)
{
        pld_add_relaxed(&scanned, marker->scanned_bytes);
        pld_add_relaxed(&marked, marker->marked_bytes);
        pld_add_relaxed(&marked_large, marker->large_bytes);
        pld_add_relaxed(&cycle_cpu_ns, cpu_ns);
        pld_add_relaxed(&total_cpu_ns, cpu_ns);
        pld_add_relaxed(&credit, (int64_t)marker->scanned_bytes);
        marker->scanned_bytes = marker->marked_bytes = marker->large_bytes = 0;
}

void pld_pacer_update(void)
{
        struct pld_aim aim = aim_now();
        struct pld_progress progress = progress_now();
        pld_lock(&lock);
        pld_store_relaxed(&debt_per_byte, pld_governor_debt(&governor, &aim, &progress));
        pld_store_relaxed(&late, pld_governor_is_late(&governor, &aim, &progress));
        pld_unlock(&lock);
}

double pld_pacer_expects(void)
{
        pld_lock(&lock);
        double bytes = governor.scan[young];
        pld_unlock(&lock);
        return bytes;
}

static void remember_sample(double allocated, double not_asked) /* K4 */
{
        sampled += allocated;
        unasked += not_asked;
        if (sampled > SAMPLE_HEAPS * (double)pld_load_relaxed(&live)) {
                sampled /= 2;
                unasked /= 2;
        }
}

static void learn(size_t total, size_t born, size_t found)
{
        uint64_t now_ns = pld_now_ns();
        double ncpus = pld_machine.ncpus;
        struct pld_cycle_facts facts = {
                .young = young,
                .asked = asked,
                .scanned = (double)pld_load_relaxed(&scanned),
                .marked = (double)found,
                .born = (double)born,
                .allocated = (double)total,
                .mark_cpu = (double)pld_load_relaxed(&cycle_cpu_ns),
                .mark_span = (double)(now_ns - begin_ns) * ncpus,
                .span = last_end_ns ? (double)(now_ns - last_end_ns) * ncpus : 0,
                .second = (double)PLD_NS_PER_S * ncpus,
        };
        last_end_ns = now_ns;
        pld_lock(&lock);
        facts.by_floor = by_floor;
        remember_sample((double)total, (double)pld_exchange_relaxed(&since_unasked, 0));
        pld_governor_learn(&governor, &facts);
        pld_unlock(&lock);
}

void pld_pacer_marking_ends(void)
{
        /* Mutators are held. What was allocated while marking was born black. */
        pld_store_relaxed(&nmutators, pld_threads_count_locked());
        size_t total = pld_load_relaxed(&since);
        size_t born = total - since_at_begin;
        pld_store_relaxed(&debt_per_byte, 0);
        size_t found = pld_load_relaxed(&marked);
        pld_store_relaxed(&live, (young ? pld_load_relaxed(&live) - unaged : 0) + found + born);
        unaged = young ? born : 0;
        unaged_large = young ? pld_load_relaxed(&since_large) - large_at_begin : 0;
        if (!young) {
                pld_store_relaxed(&full_live, found + born);
                pld_store_relaxed(&grown_up, found);
        }
        pld_store_relaxed(&since, 0);
        pld_store_relaxed(&since_large, 0);
        learn(total, born, found);
}

/* What full cycles free for each byte that they mark: as the goal lets the heap grow. */
static double full_yield(void)
{
        double most = (double)pld_load_relaxed(&goal);
        double alive = (double)pld_load_relaxed(&grown_up) + 4096;
        double yield = most / alive - 1;
        return yield < 0.25 ? 0.25 : yield > 64 ? 64 : yield;
}

struct pld_survey pld_pacer_survey(size_t nslots)
{
        size_t end = pld_load_relaxed(&trigger), now = pld_load_relaxed(&live);
        size_t room = pld_load_relaxed(&young_room);
        return (struct pld_survey){
                .young = young,
                .before = young_before,
                .before_large = young_before_large,
                .marked = pld_load_relaxed(&marked),
                .marked_large = pld_load_relaxed(&marked_large),
                .scanned = pld_load_relaxed(&scanned),
                .live = now,
                .unaged = unaged,
                .nslots = nslots,
                .is_full_due = young && end != SIZE_MAX && (now >= end || room > end - now),
                .reference = full_yield(),
        };
}

void pld_pacer_cycle_ends(void)
{
        struct pld_heap_facts facts = heap_facts();
        set_goal();
        pld_lock(&lock);
        bool pressed = pld_governor_is_pressed(&governor, &facts);
        pld_unlock(&lock);
        pld_pressure_set(pressed, facts.live, facts.limit);
}

void pld_pacer_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_pacer_fork_done(void)
{
        pld_lock_cede(&lock);
}

/* ---- Settings and questions ------------------------------------------------------------- */

static size_t set_limit(size_t nbytes)
{
        size_t former = pld_exchange_relaxed(&limit, nbytes);
        pld_ahead_set_limit(nbytes ? nbytes - pld_governor_headroom(nbytes) + 1 : 0); /* 0: none */
        set_goal();
        return former;
}

void pld_pacer_start(void)
{
        pld_store_relaxed(&percent, pld_settings.gc_percent);
        most_floor = most_floor_bytes();
        set_limit(pld_settings.memory_limit);
}

int polder_set_gc_percent(int value)
{
        if (pld_start())
                return 100;
        int former = pld_exchange_relaxed(&percent, value);
        set_goal();
        return former;
}

size_t polder_set_memory_limit(size_t nbytes)
{
        if (pld_start())
                return 0;
        size_t former = set_limit(nbytes);
        if (pld_settings.memory_limit_hard)
                pld_page_heap_set_limit(nbytes);
        return former;
}

struct pld_pace pld_pacer_read(void)
{
        size_t base = pld_load_relaxed(&live);
        return (struct pld_pace){
                .live = base,
                .heap = base + pld_load_relaxed(&since),
                .goal = pld_load_relaxed(&goal),
                .trigger = pld_load_relaxed(&trigger),
                .allocated = pld_load_relaxed(&allocated_ever),
                .assists = pld_load_relaxed(&nassists),
                .mark_ns = pld_load_relaxed(&total_cpu_ns),
                .cycle_mark_ns = pld_load_relaxed(&cycle_cpu_ns),
        };
}
