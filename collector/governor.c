/* governor.c: see governor.h.
 *
 * After Go's pacer (mgcpacer.go) and its limiter (mgclimit.go). The *goal* is the heap at
 * which a cycle should have ended: what was live plus a share of it, and of the roots. The
 * *trigger* is below the goal by the *runway*: what mutators allocate while a cycle runs that
 * has its share of the CPUs, as learnt from the cycles before.
 *
 * If they allocate more, they *assist*: each byte owes so much scanning that the work that
 * is expected is done at the goal. A cycle that finds more than was expected might have to
 * scan all that was there when it began: it has to be done at the *bound*, which is past
 * the goal by a tenth, or what a memory limit leaves if that is less.
 *
 * What was born while a cycle marked is taken for live without being looked at, and much of
 * it may be dead already. So the goal goes by what was marked: at a steady live heap the
 * process stays at a fixed multiple of it, however long the cycles take. What was born has
 * to fit in the growth, of which it leaves a half.
 *
 * A cycle costs handshakes, roots and wakes however little lives: so a small heap grows by a
 * *floor* in any case. While cycles take more than a tenth of the CPUs, where much is
 * allocated and little lives, the floor is stretched, a little after each; and it goes
 * back when they take next to nothing (as the JVM's collectors size their heaps by GCTimeRatio), or
 * when the heap has outgrown it: for heaps that are larger the percentage means what it says.
 *
 * A limit pulls the goal down, until collecting has taken more than half of the CPUs for a
 * while (a leaky bucket, as Go's): a program that only collects is of no use. From then on
 * the limit gives way, by as much as it takes for that half and no more.
 *
 * L1  live <= trigger <= goal <= bound, but that live may be above the trigger if young
 *     cycles have promoted more.
 * L2  a limit never makes the goal higher, and a goal that gives way to it is finite. */
#include "collector/governor.h"

#include "base/bits.h"

enum {
        LEAST_ROOM = 1 << 20,      /* that a limit leaves */
        YOUNG_PART = 4,            /* of the room, to be allocated between young cycles */
        LEAST_YOUNG_ROOM = 4 << 20,
        LEAST_SLACK = 2 << 20,     /* past the goal, before the heap is too far */
        MOST_STRETCH = 16,         /* of the floor, */
        MOST_FLOOR = 512 << 20,    /* but not to more, */
        FLOOR_SHARE = 32           /* nor to a larger part of the memory */
};

static const double share = 0.25;          /* of the CPUs, for a cycle */
static const double overshoot = 0.10;      /* of the goal, up to the bound */
static const double least_runway = 0.1, most_runway = 0.6; /* of the room */
static const double margin = 1.1;          /* of a runway, for what cannot be known */
static const double patience = 1.25;       /* the debt, over the planned one, that is late */
static const double much = 0.1, little = 0.025; /* of the CPUs, that cycles take lately */
static const double memory = 0.5;          /* of what was lately, a full cycle later */

static double at_most(double value, double most)
{
        return value < most ? value : most;
}

static double at_least(double value, double least)
{
        return value > least ? value : least;
}

static size_t larger(size_t a, size_t b)
{
        return a > b ? a : b;
}

static size_t smaller(size_t a, size_t b)
{
        return a < b ? a : b;
}

/* ---- Goal and trigger ------------------------------------------------------------------ */

/* Stretched it is for all of the heap: the more lives, the less is left to grow by. */
static size_t floor_now(const struct pld_governor *governor, const struct pld_heap_facts *facts)
{
        double stretched = at_least(governor->stretch, 1) * (double)facts->floor;
        size_t heap = (size_t)at_most(stretched, (double)facts->most_floor);
        return larger(facts->floor, heap > facts->certain ? heap - facts->certain : 0);
}

size_t pld_governor_most_floor(size_t there_is)
{
        return smaller(there_is / FLOOR_SHARE, MOST_FLOOR);
}

static bool is_by_floor(const struct pld_governor *governor, const struct pld_heap_facts *facts)
{
        return facts->certain + facts->roots < floor_now(governor, facts);
}

static size_t goal_by_percent(const struct pld_governor *governor, const struct pld_heap_facts *facts)
{
        if (facts->percent < 0)
                return SIZE_MAX;
        size_t grows = larger(facts->certain + facts->roots, floor_now(governor, facts));
        size_t growth = (size_t)((double)grows * facts->percent / 100);
        return larger(facts->certain + growth, facts->full_live + growth / 2);
}

size_t pld_governor_headroom(size_t limit)
{
        return smaller(larger(limit / 32, PLD_MIB), limit);
}

/* The highest heap that keeps the process within the limit. */
static size_t goal_by_limit(const struct pld_governor *governor, const struct pld_heap_facts *facts)
{
        if (!facts->limit)
                return SIZE_MAX;
        size_t taken = facts->other + pld_governor_headroom(facts->limit);
        size_t most = facts->limit > taken ? facts->limit - taken : 0;
        double room = LEAST_ROOM;
        if (governor->limit_gives_way)
                room = at_least(room, governor->room_for_half);
        return larger(most, facts->live + (size_t)room);
}

/* What may be allocated until a young cycle is due. */
static size_t young_room(size_t room)
{
        return larger(room / YOUNG_PART, smaller(room / 2, LEAST_YOUNG_ROOM));
}

static size_t bound_of(const struct pld_heap_facts *facts, size_t goal)
{
        size_t bound = goal + (size_t)(overshoot * (double)goal);
        if (!facts->limit)
                return bound;
        size_t most = facts->limit > facts->other ? facts->limit - facts->other : 0;
        return larger(goal, smaller(bound, most));
}

struct pld_aim pld_governor_aim(const struct pld_governor *governor,
                                const struct pld_heap_facts *facts)
{
        size_t base = facts->full_live;
        size_t by_percent = goal_by_percent(governor, facts), by_limit = goal_by_limit(governor, facts);
        size_t goal = larger(smaller(by_percent, by_limit), base); /* L1 */
        if (goal == SIZE_MAX)
                return (struct pld_aim){ SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, false };
        double room = (double)(goal - base);
        double runway = at_most(governor->runway[false], most_runway * room);
        runway = at_least(runway, least_runway * room);
        size_t trigger = goal - (size_t)runway;
        return (struct pld_aim){
                .goal = goal,
                .trigger = trigger,
                .young_room = by_percent <= by_limit ? young_room(trigger - base) : SIZE_MAX,
                .bound = bound_of(facts, goal),
                .by_floor = is_by_floor(governor, facts),
        };
}

bool pld_governor_is_pressed(const struct pld_governor *governor,
                             const struct pld_heap_facts *facts)
{
        size_t takes = facts->live + facts->other + larger(facts->limit / 32, PLD_MIB);
        return facts->limit && (governor->limit_gives_way || takes > facts->limit);
}

/* ---- While a cycle marks ---------------------------------------------------------------- */

/* All that was there, if it lives. */
static double most_of(const struct pld_governor *governor, const struct pld_progress *progress)
{
        bool young = progress->young;
        double density = governor->knows[young] ? governor->density[young] : 1;
        return density * (double)progress->at_begin;
}

double pld_governor_debt(const struct pld_governor *governor, const struct pld_aim *aim,
                         const struct pld_progress *progress)
{
        if (aim->goal == SIZE_MAX)
                return 0;
        double expected = governor->scan[progress->young], heap = (double)progress->heap;
        double left = at_least(expected - progress->scanned, 0.05 * expected);
        double room = (double)aim->goal - heap;
        if (progress->scanned >= expected || room <= 0) {
                left = at_least(most_of(governor, progress) - progress->scanned, left);
                room = (double)aim->bound - heap;
        }
        return left / at_least(room, 0.02 * (double)aim->goal);
}

bool pld_governor_is_late(const struct pld_governor *governor, const struct pld_aim *aim,
                          const struct pld_progress *progress)
{
        double expected = governor->scan[progress->young];
        double runway = governor->runway[progress->young];
        if (progress->heap >= aim->goal || runway <= 0)
                return progress->heap > aim->trigger + (aim->goal - aim->trigger) / 2;
        return pld_governor_debt(governor, aim, progress) > patience * expected / runway;
}

bool pld_governor_is_far_over(const struct pld_aim *aim, size_t heap)
{
        size_t slack = larger((aim->bound - aim->goal) / 2, LEAST_SLACK);
        return aim->goal < SIZE_MAX && heap > aim->goal + slack;
}

/* ---- After it ------------------------------------------------------------------------------ */

static double smoothed(double old, double fresh)
{
        return old == 0 ? fresh : 0.5 * old + 0.5 * fresh;
}

/* What would have been born, had the cycle had its share and no more. */
static double runway_of(const struct pld_cycle_facts *facts)
{
        double used = facts->mark_span > 0 ? at_most(facts->mark_cpu / facts->mark_span, 0.9) : 0;
        if (used <= share)
                return margin * facts->born; /* it waited, for others or for a CPU */
        return margin * facts->born * (used / share) * ((1 - share) / (1 - used));
}

/* By what full cycles have taken, and the young ones between them. */
static void stretch_floor(struct pld_governor *governor, const struct pld_cycle_facts *facts)
{
        governor->spent += facts->mark_cpu;
        governor->passed += facts->span;
        if (facts->young)
                return;
        double part = governor->spent / at_least(governor->passed, 1);
        double stretch = at_least(governor->stretch, 1);
        if (part > much && facts->by_floor)
                stretch *= 1.5;
        else if (part < little || !facts->by_floor)
                stretch /= 1.25;
        governor->stretch = at_most(at_least(stretch, 1), MOST_STRETCH);
        governor->spent *= memory;
        governor->passed *= memory;
}

static void fill_bucket(struct pld_governor *governor, const struct pld_cycle_facts *facts)
{
        double bucket = governor->bucket + facts->mark_cpu - 0.5 * facts->span;
        governor->bucket = at_most(at_least(bucket, 0), facts->second);
        governor->limit_gives_way = governor->bucket >= 0.5 * facts->second;
}

void pld_governor_learn(struct pld_governor *governor, const struct pld_cycle_facts *facts)
{
        bool young = facts->young;
        governor->scan[young] = smoothed(governor->scan[young], facts->scanned);
        double density = facts->marked > 0 ? at_most(facts->scanned / facts->marked, 1) : 1;
        governor->density[young] = smoothed(governor->density[young], density);
        governor->knows[young] = true;
        governor->runway[young] = smoothed(governor->runway[young], runway_of(facts));
        if (facts->span > 0) {
                double rest = at_least(facts->span - facts->mark_cpu, 0.05 * facts->span);
                governor->room_for_half = smoothed(governor->room_for_half,
                                                   facts->allocated * facts->mark_cpu / rest);
                if (!facts->asked)
                        stretch_floor(governor, facts);
        }
        fill_bucket(governor, facts);
}
