/* test_governor.c: the pacer's law under simulated loads.
 *
 * After Go's mgcpacer_test.go. A program of some CPUs allocates, a part of what it allocates
 * lives, and cycles run beside it as the governor says. Time goes in steps of a fifth of a
 * millisecond; in each the workers have their share of the CPUs, or a whole CPU where the cycle is
 * late, the mutators the rest, less what they owe. What the pacer adds to the law is here,
 * too: credit, assists that are short, mutators that give way. All of it is arithmetic with
 * numbers from a seed, so that facts of time can be asserted: nothing is measured. */
#include "base/bits.h"
#include "base/random.h"
#include "collector/governor.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

enum { WINDOW_MS = 10 };
static const double step_ms = 0.2, update_ms = 1;
static const double MIB = 1 << 20;

/* A load at one time; MiB and ms. */
struct load {
        double rate;   /* MiB that one CPU of the mutators allocates in a ms, when let */
        double live;   /* MiB that should be alive */
};

struct world {
        /* The machine and the program. */
        const char *name;
        double ncpus;
        double scan_rate;   /* MiB that one CPU scans in a ms */
        double density;     /* of what lives, the part that has to be scanned */
        double noise;       /* of the rates and of what lives, each cycle */
        double latency_ms;  /* of handshakes, before marking begins */
        struct load (*load)(double ms);
        double seconds;
        struct pld_heap_facts facts;
        uint64_t seed;
};

struct run {
        struct pld_governor governor;
        struct pld_aim aim;
        struct pld_random random;
        double ms, heap, live, begin_ms, last_end_ms, next_update_ms;
        double alive;           /* really, of the heap: bytes */
        double at_begin, scanned, work, debt, credit, owed;
        double cycle_cpu, born, allocated, window_cpu, window_ms;
        bool in_cycle, late;
        double noise_rate, noise_live;
        /* What is looked at, once `warm` cycles are over. */
        unsigned ncycles, warm, nover;
        double worst_over;      /* of goals: the heap at a cycle's end, and anywhere */
        double least_reached;   /* of the room: how much of it a cycle used */
        double share_sum, share_max; /* of CPUs, while a cycle runs */
        unsigned nshares;
        double gc_cpu, all_cpu, assist_cpu;
        double least_window;    /* mutators' part of a window of 10 ms */
        double worst_of_limit;  /* the heap and the rest, of the limit */
        unsigned pressed_late;  /* cycles that ended too full and were not told */
};

/* ---- The simulation ------------------------------------------------------------------ */

static void set_aim(const struct world *world, struct run *run)
{
        struct pld_heap_facts facts = world->facts;
        facts.live = (size_t)run->live;
        facts.full_live = facts.live;
        facts.certain = (size_t)(run->live - run->born);
        run->aim = pld_governor_aim(&run->governor, &facts);
        cr_assert_leq(facts.full_live, run->aim.trigger, "%s: L1", world->name);
        cr_assert_leq(run->aim.trigger, run->aim.goal, "%s: L1", world->name);
        cr_assert_leq(run->aim.goal, run->aim.bound, "%s: L1", world->name);
        bool full = run->live + (double)facts.other > 0.97 * (double)facts.limit && facts.limit;
        if (full && !pld_governor_is_pressed(&run->governor, &facts))
                run->pressed_late++;
}

static struct pld_progress progress_of(const struct run *run)
{
        return (struct pld_progress){ .heap = (size_t)run->heap,
                                      .at_begin = (size_t)run->at_begin,
                                      .scanned = run->scanned };
}

static double noisy(const struct world *world, struct run *run)
{
        double part = (double)(pld_random_next(&run->random) % 2001) / 1000 - 1;
        return 1 + world->noise * part;
}

static void begin(const struct world *world, struct run *run)
{
        run->in_cycle = true;
        run->begin_ms = run->ms;
        run->at_begin = run->heap;
        run->scanned = run->cycle_cpu = run->credit = run->owed = run->born = 0;
        run->next_update_ms = run->ms + world->latency_ms;
        run->debt = 0;
        run->late = false;
        run->noise_rate = noisy(world, run);
        run->noise_live = noisy(world, run);
        double wanted = world->load(run->ms).live * MIB * run->noise_live;
        run->alive = fmin(wanted, run->heap);
        run->work = run->alive * world->density;
}

static void look_at(const struct world *world, struct run *run, double span_ms)
{
        double share = run->cycle_cpu / (span_ms * world->ncpus);
        run->share_sum += share;
        run->share_max = fmax(run->share_max, share);
        run->nshares++;
        double room = (double)run->aim.goal - run->live;
        run->least_reached = fmin(run->least_reached, (run->heap - run->live) / room);
}

static void end(const struct world *world, struct run *run)
{
        double span_ms = run->ms - run->begin_ms, since_ms = run->ms - run->last_end_ms;
        if (run->ncycles++ >= run->warm)
                look_at(world, run, span_ms);
        struct pld_cycle_facts facts = {
                .by_floor = run->aim.by_floor,
                .scanned = run->scanned,
                .marked = run->alive,
                .born = run->born,
                .allocated = run->allocated,
                .mark_cpu = run->cycle_cpu * 1e6,
                .mark_span = span_ms * world->ncpus * 1e6,
                .span = run->last_end_ms > 0 ? since_ms * world->ncpus * 1e6 : 0,
                .second = 1e9 * world->ncpus,
        };
        pld_governor_learn(&run->governor, &facts);
        run->last_end_ms = run->ms;
        run->allocated = 0;
        run->live = run->heap = run->alive + run->born;
        run->in_cycle = false;
        set_aim(world, run);
        run->born = 0;
}

static void update(struct run *run)
{
        if (run->ms < run->next_update_ms)
                return;
        struct pld_progress progress = progress_of(run);
        run->debt = pld_governor_debt(&run->governor, &run->aim, &progress);
        run->late = pld_governor_is_late(&run->governor, &run->aim, &progress);
        run->next_update_ms = run->ms + update_ms;
}

static void work(const struct world *world, struct run *run, double cpu_ms)
{
        double done = fmin(cpu_ms * world->scan_rate * MIB, run->work - run->scanned);
        run->scanned += done;
        run->credit += done;
        run->cycle_cpu += cpu_ms;
}

/* In bites, so that who owes does not allocate meanwhile: as the pacer does it, an assist
 * comes before each refill, and is not longer than its time. */
static double allocate(const struct world *world, struct run *run, double cpu_ms)
{
        enum { BITES = 8 };
        double rate = world->load(run->ms).rate * run->noise_rate * MIB, assisted = 0;
        for (unsigned i = 0; i < BITES; i++) {
                double left_ms = cpu_ms / BITES;
                if (run->owed > 0) {
                        double pays = fmax(0, fmin(run->credit, run->owed));
                        run->credit -= pays;
                        run->owed -= pays;
                        double need_ms = run->owed / (world->scan_rate * MIB);
                        double took_ms = fmin(left_ms, need_ms);
                        run->owed -= took_ms * world->scan_rate * MIB;
                        work(world, run, took_ms);
                        run->credit -= took_ms * world->scan_rate * MIB;
                        assisted += took_ms;
                        left_ms -= took_ms;
                }
                if (pld_governor_is_far_over(&run->aim, (size_t)run->heap))
                        left_ms *= 0.05; /* it gives way */
                double nbytes = left_ms * rate;
                run->heap += nbytes;
                run->allocated += nbytes;
                run->owed += run->in_cycle ? nbytes * run->debt : 0;
                if (run->in_cycle)
                        run->born += nbytes;
        }
        return assisted;
}

static void watch(const struct world *world, struct run *run, double gc_ms)
{
        if (run->ncycles < run->warm)
                return;
        run->gc_cpu += gc_ms;
        run->all_cpu += step_ms * world->ncpus;
        run->worst_over = fmax(run->worst_over, run->heap / (double)run->aim.goal);
        if (world->facts.limit)
                run->worst_of_limit = fmax(run->worst_of_limit,
                                           (run->heap + (double)world->facts.other) /
                                                   (double)world->facts.limit);
        run->window_cpu += step_ms * world->ncpus - gc_ms;
        run->window_ms += step_ms;
        if (run->window_ms < 10 - step_ms / 2)
                return;
        run->least_window = fmin(run->least_window,
                                 run->window_cpu / (run->window_ms * world->ncpus));
        run->window_cpu = run->window_ms = 0;
}

static void go_on(const struct world *world, struct run *run)
{
        double gc_ms = 0, workers = 0;
        if (!run->in_cycle && run->heap >= (double)run->aim.trigger)
                begin(world, run);
        bool marks = run->in_cycle && run->ms >= run->begin_ms + world->latency_ms;
        if (marks) {
                update(run);
                workers = fmax(floor(world->ncpus / 4), run->late ? 1 : world->ncpus / 4);
                work(world, run, workers * step_ms);
                gc_ms += workers * step_ms;
        }
        double assisted = allocate(world, run, (world->ncpus - workers) * step_ms);
        run->assist_cpu += assisted;
        run->ms += step_ms;
        watch(world, run, gc_ms + assisted);
        if (marks && run->scanned >= run->work - 1)
                end(world, run);
}

static struct run simulate(const struct world *world, unsigned warm)
{
        struct run run = { .warm = warm, .least_reached = DBL_MAX, .least_window = 1 };
        run.random = pld_random_seeded(world->seed);
        run.noise_rate = run.noise_live = 1;
        set_aim(world, &run);
        while (run.ms < world->seconds * 1e3)
                go_on(world, &run);
        return run;
}

/* ---- Loads --------------------------------------------------------------------------------- */

static struct load steady(double ms)
{
        (void)ms;
        return (struct load){ .rate = 0.3, .live = 500 };
}

static struct load ramp(double ms)
{
        return (struct load){ .rate = 0.3, .live = 100 + fmin(ms * 0.05, 1900) };
}

static struct load burst(double ms)
{
        bool bursts = fmod(ms, 4000) > 3000;
        return (struct load){ .rate = bursts ? 1.5 : 0.05, .live = 400 };
}

static struct load step_down(double ms)
{
        return (struct load){ .rate = 0.3, .live = ms < 15000 ? 1500 : 150 };
}

static struct load step_up(double ms)
{
        return (struct load){ .rate = 0.3, .live = ms < 15000 ? 200 : 1500 };
}

static struct load sawtooth(double ms)
{
        return (struct load){ .rate = 0.3, .live = 300 + fmod(ms, 5000) * 0.12 };
}

static struct world world_of(const char *name, struct load (*load)(double))
{
        return (struct world){
                .name = name,
                .ncpus = 2,
                .scan_rate = 0.8,
                .density = 1,
                .latency_ms = 0.4,
                .load = load,
                .seconds = 30,
                .facts = { .percent = 100, .floor = 32 << 20 },
        };
}

/* It grows to its size, which may shrink again. */
static double grown_to, shrinks_to;

static struct load grown(double rate, double ms)
{
        double live = ms > 50000 && shrinks_to > 0 ? shrinks_to : grown_to;
        return (struct load){ .rate = rate, .live = fmin(live, 50 + ms * 0.2) };
}

static struct load busy(double ms)
{
        return grown(0.3, ms);
}

static struct load calm(double ms)
{
        return grown(0.05, ms);
}

/* ---- Facts ---------------------------------------------------------------------------------- */

static const double scan_rates[] = { 0.6, 1.8, 4 }, noises[] = { 0, 0.15 };
static const unsigned cpus[] = { 2, 8, 64 };

#define EACH(i, of) (size_t i = 0; i < PLD_COUNT_OF(of); i++)

static void each_machine(struct world world, unsigned warm,
                         void (*look)(const struct world *, const struct run *))
{
        for EACH(c, cpus)
                for EACH(s, scan_rates)
                        for EACH(n, noises) {
                                world.ncpus = cpus[c];
                                world.scan_rate = scan_rates[s];
                                world.noise = noises[n];
                                struct run run = simulate(&world, warm);
                                look(&world, &run);
                        }
}

/* Under every load but that which grows at once. */
static void each_load(void (*look)(const struct world *, const struct run *))
{
        each_machine(world_of("steady", steady), 5, look);
        each_machine(world_of("ramp", ramp), 5, look);
        each_machine(world_of("burst", burst), 5, look);
        each_machine(world_of("step down", step_down), 5, look);
        each_machine(world_of("sawtooth", sawtooth), 5, look);
}

#define SAYS(world, format, ...)                                                            \
        "%s, %.0f CPUs, scanning %.1f, noise %.2f: " format, (world)->name, (world)->ncpus, \
                (world)->scan_rate, (world)->noise, __VA_ARGS__

static void expect_no_overshoot(const struct world *world, const struct run *run)
{
        cr_expect_geq(run->ncycles, run->warm + 5);
        cr_expect_leq(run->worst_over, 1.10, SAYS(world, "%.3f of the goal", run->worst_over));
}

Test(governor, no_load_overshoots_its_goal_by_more_than_a_tenth, .timeout = 60)
{
        each_load(expect_no_overshoot);
        each_machine(world_of("step up", step_up), 5, expect_no_overshoot);
}

/* A program that allocates five times as fast as it did before has to wait for the marking
 * that this brings about. */
static void expect_no_starvation(const struct world *world, const struct run *run)
{
        double least = world->load == burst ? 0.08 : 0.25;
        if (world->scan_rate > 1)
                cr_expect_geq(run->least_window, least, SAYS(world, "%.3f in a window",
                                                             run->least_window));
}

Test(governor, in_every_window_of_ten_milliseconds_mutators_go_on, .timeout = 60)
{
        each_load(expect_no_starvation);
}

/* Where it can be enough: marking is fast enough for the rate of allocation. */
static void expect_a_quarter(const struct world *world, const struct run *run)
{
        if (world->scan_rate < 3)
                return;
        double share = run->share_sum / run->nshares;
        cr_expect(share > 0.22 && share < 0.28, SAYS(world, "share %.3f", share));
        cr_expect_leq(run->assist_cpu, 0.02 * run->all_cpu,
                      SAYS(world, "assists %.4f", run->assist_cpu / run->all_cpu));
        double reached = world->noise > 0 ? 0.75 : 0.85;
        cr_expect_geq(run->least_reached, reached, SAYS(world, "%.2f of the room",
                                                        run->least_reached));
}

Test(governor, a_steady_load_is_collected_by_a_quarter_of_the_cpus_and_not_too_early, .timeout = 60)
{
        each_machine(world_of("steady", steady), 5, expect_a_quarter);
}

Test(governor, the_percentage_says_how_large_a_heap_gets, .timeout = 60)
{
        static const int percents[] = { 25, 50, 100, 300 };
        for EACH(i, percents) {
                struct world world = world_of("steady", steady);
                world.facts.percent = percents[i];
                world.scan_rate = 4;
                struct run run = simulate(&world, 5);
                double most = 500 * MIB * (1 + percents[i] / 100.0);
                double goal = (double)run.aim.goal;
                cr_expect(goal > 0.98 * most && goal < 1.02 * most, SAYS(&world, "%d: goal %.0f",
                                                                        percents[i], goal / MIB));
        }
}

static struct load tiny(double ms)
{
        (void)ms;
        return (struct load){ .rate = 0.5, .live = 0.5 };
}

Test(governor, a_tiny_heap_is_collected_once_a_floor, .timeout = 60)
{
        struct world world = world_of("tiny", tiny);
        struct run run = simulate(&world, 0);
        double each = 0.5 * 2 * 30e3 / run.ncycles; /* MiB */
        cr_expect(each > 24 && each < 34, SAYS(&world, "%.1f MiB a cycle", each));
}

static struct load hasty(double ms)
{
        return (struct load){ .rate = ms < 10000 ? 1.2 : 0.01, .live = 16 };
}

Test(governor, a_floor_is_stretched_while_collecting_takes_much_and_goes_back, .timeout = 60)
{
        struct world world = world_of("hasty", hasty);
        world.seconds = 10;
        struct run plain = simulate(&world, 0);
        cr_expect_lt((double)plain.aim.goal, 80 * MIB);
        world.facts.most_floor = 256 << 20;
        struct run stretched = simulate(&world, 0);
        cr_expect_gt((double)stretched.aim.goal, 128 * MIB);
        cr_expect_lt(stretched.gc_cpu, 0.6 * plain.gc_cpu,
                     SAYS(&world, "%.0f of %.0f ms", stretched.gc_cpu, plain.gc_cpu));
        world.seconds = 120;
        struct run calmed = simulate(&world, 0);
        cr_expect_lt((double)calmed.aim.goal, 52 * MIB);
}

static void have_cycles(struct pld_governor *governor, unsigned n, double part, bool young)
{
        struct pld_cycle_facts cycle = { .young = young, .by_floor = true, .mark_cpu = part * 1e9,
                                         .mark_span = 1e9, .span = 1e9, .second = 1e9 };
        while (n-- > 0)
                pld_governor_learn(governor, &cycle);
}

/* What an empty heap may grow to. */
static double goal_of(const struct pld_governor *governor, size_t most_floor)
{
        struct pld_heap_facts facts = { .percent = 100, .floor = 32 << 20,
                                        .most_floor = most_floor };
        return (double)pld_governor_aim(governor, &facts).goal / MIB;
}

Test(governor, a_floor_is_stretched_within_bounds_and_after_full_cycles)
{
        struct pld_governor governor = { 0 };
        have_cycles(&governor, 20, 0.05, false);
        cr_expect_float_eq(goal_of(&governor, 1 << 30), 32, 1, "that is not much");
        have_cycles(&governor, 20, 0.2, true);
        cr_expect_float_eq(goal_of(&governor, 1 << 30), 32, 1, "young cycles alone");
        struct pld_cycle_facts asked = { .asked = true, .by_floor = true, .mark_cpu = 1e9,
                                         .mark_span = 1e9, .span = 1e9, .second = 1e9 };
        pld_governor_learn(&governor, &asked);
        cr_expect_float_eq(goal_of(&governor, 1 << 30), 32, 1, "one that the program wanted");
        have_cycles(&governor, 1, 0.2, false);
        cr_expect_float_eq(goal_of(&governor, 1 << 30), 48, 1);
        have_cycles(&governor, 20, 0.2, false);
        cr_expect_float_eq(goal_of(&governor, 1 << 30), 512, 1);
        cr_expect_float_eq(goal_of(&governor, 64 << 20), 64, 1, "so much there may be");
        cr_expect_float_eq(goal_of(&governor, 16 << 20), 32, 1, "never less than itself");
        have_cycles(&governor, 5, 0, false);
        cr_expect_lt(goal_of(&governor, 1 << 30), 511, "what was long ago is forgotten");
}

static struct load growing(double ms)
{
        return (struct load){ .rate = ms < 1500 ? 1.2 : 0.2, .live = fmin(1 + 0.3 * ms, 400) };
}

Test(governor, a_heap_that_has_outgrown_the_floor_grows_by_the_percentage, .timeout = 60)
{
        struct world world = world_of("growing", growing);
        world.facts.percent = 50;
        world.facts.most_floor = 512 << 20;
        world.seconds = 20;
        struct run run = simulate(&world, 0);
        cr_expect_gt(run.gc_cpu, 0.02 * run.all_cpu, "it has to collect: %.3f",
                     run.gc_cpu / run.all_cpu);
        cr_expect_not(run.aim.by_floor);
        cr_expect_lt((double)run.aim.goal, 1.55 * 400 * MIB, "%.0f", (double)run.aim.goal / MIB);
}

Test(governor, a_stretched_floor_that_a_heap_has_outgrown_goes_back)
{
        struct pld_governor governor = { 0 };
        have_cycles(&governor, 10, 0.2, false);
        struct pld_heap_facts facts = { .percent = 100, .live = 600 << 20, .full_live = 600 << 20,
                                        .certain = 600 << 20, .floor = 32 << 20,
                                        .most_floor = 512 << 20 };
        cr_expect_not(pld_governor_aim(&governor, &facts).by_floor);
        facts.certain = facts.live = facts.full_live = 100 << 20;
        struct pld_aim stretched = pld_governor_aim(&governor, &facts);
        cr_expect(stretched.by_floor);
        cr_expect_eq(stretched.goal, 512 << 20);
        struct pld_cycle_facts outgrown = { .mark_cpu = 0.2e9, .mark_span = 1e9, .span = 1e9,
                                            .second = 1e9 };
        for (unsigned i = 0; i < 20; i++)
                pld_governor_learn(&governor, &outgrown);
        struct pld_aim aim = pld_governor_aim(&governor, &facts);
        cr_expect_not(aim.by_floor);
        cr_expect_eq(aim.goal, 200 << 20);
}

Test(governor, a_floor_is_stretched_to_a_part_of_the_memory)
{
        cr_expect_eq(pld_governor_most_floor((size_t)4 << 30), 128 << 20);
        cr_expect_eq(pld_governor_most_floor((size_t)1 << 40), 512 << 20);
        cr_expect_eq(pld_governor_most_floor(0), 0);
}

/* ---- With a limit ---------------------------------------------------------------------------- */

static struct world limited(struct load (*load)(double), double live, double ncpus,
                            double scan_rate, int percent)
{
        struct world world = world_of("limited", load);
        world.ncpus = ncpus;
        world.scan_rate = scan_rate;
        world.seconds = 100;
        world.facts.percent = percent;
        world.facts.limit = 1000 << 20;
        world.facts.other = 20 << 20;
        grown_to = live;
        shrinks_to = 0;
        return world;
}

Test(governor, a_limit_is_held_within_two_percent_while_that_takes_less_than_half, .timeout = 60)
{
        for EACH(c, cpus)
                for (int percent = -1; percent <= 200; percent += 201) {
                        struct world worlds[] = {
                                limited(calm, 880, cpus[c], 1.8, percent),
                                limited(calm, 850, cpus[c], 4, percent),
                                limited(busy, 750, cpus[c], 4, percent),
                                limited(busy, 600, cpus[c], 1.8, percent),
                        };
                        static const double lives[] = { 880, 850, 750, 600 };
                        for EACH(i, worlds) {
                                grown_to = lives[i];
                                struct run run = simulate(&worlds[i], 3);
                                cr_expect_leq(run.worst_of_limit, 1.02,
                                              SAYS(&worlds[i], "%.3f of the limit, live %.0f",
                                                   run.worst_of_limit, grown_to));
                                cr_expect_geq(run.worst_of_limit, 0.95, "it is made use of");
                        }
                }
}

Test(governor, a_limit_that_cannot_be_held_takes_half_of_the_cpus_at_most, .timeout = 60)
{
        static const double lives[] = { 850, 1450 };
        for EACH(c, cpus)
                for EACH(i, lives) {
                        int percent = cpus[c] == 8 ? 100 : -1;
                        double scan_rate = cpus[c] == 64 ? 1.8 : 0.6;
                        struct world world = limited(busy, lives[i], cpus[c], scan_rate, percent);
                        struct run run = simulate(&world, 15);
                        double part = run.gc_cpu / run.all_cpu;
                        cr_expect_leq(part, 0.52, SAYS(&world, "%.3f, live %.0f", part, lives[i]));
                        cr_expect_lt(run.aim.goal, SIZE_MAX, "L2");
                        cr_expect_eq(run.pressed_late, 0, "told within a cycle");
                }
}

Test(governor, a_limit_gives_way_by_no_more_than_that_takes, .timeout = 60)
{
        struct world world = limited(calm, 1200, 2, 4, -1);
        struct run run = simulate(&world, 15);
        cr_expect_leq(run.worst_of_limit, 1.3, SAYS(&world, "%.3f", run.worst_of_limit));
}

Test(governor, a_limit_is_held_again_when_it_can_be, .timeout = 60)
{
        struct world world = limited(busy, 1200, 2, 1.8, -1);
        shrinks_to = 500;
        struct run run = simulate(&world, 15);
        cr_expect_gt(run.worst_of_limit, 1.2);
        cr_expect_leq(run.aim.bound + world.facts.other, world.facts.limit);
        cr_expect(!pld_governor_is_pressed(&run.governor,
                                           &(struct pld_heap_facts){
                                                   .live = (size_t)run.live,
                                                   .other = world.facts.other,
                                                   .limit = world.facts.limit }));
}

/* ---- What is not known yet -------------------------------------------------------------- */

Test(governor, in_the_first_cycle_all_there_is_may_have_to_be_scanned)
{
        struct pld_governor governor = { 0 };
        struct pld_heap_facts facts = { .percent = 100, .floor = 32 << 20 };
        struct pld_aim aim = pld_governor_aim(&governor, &facts);
        struct pld_progress progress = { .heap = aim.trigger, .at_begin = aim.trigger };
        double debt = pld_governor_debt(&governor, &aim, &progress);
        double room = (double)(aim.bound - aim.trigger);
        cr_expect_float_eq(debt * room, (double)aim.trigger, 1e-3 * (double)aim.trigger);
}

Test(governor, without_a_goal_nobody_owes)
{
        struct pld_governor governor = { 0 };
        struct pld_heap_facts facts = { .percent = -1, .live = 1 << 30, .full_live = 1 << 30 };
        struct pld_aim aim = pld_governor_aim(&governor, &facts);
        cr_expect_eq(aim.goal, SIZE_MAX);
        cr_expect_eq(aim.trigger, SIZE_MAX);
        struct pld_progress progress = { .heap = 1 << 30, .at_begin = 1 << 30 };
        cr_expect_eq(pld_governor_debt(&governor, &aim, &progress), 0);
        cr_expect(!pld_governor_is_late(&governor, &aim, &progress));
        cr_expect(!pld_governor_is_far_over(&aim, 1 << 30));
}

Test(governor, young_cycles_come_at_parts_of_the_way_and_not_where_a_limit_reigns)
{
        struct pld_governor governor = { 0 };
        struct pld_heap_facts facts = { .percent = 100, .live = 1 << 30, .full_live = 1 << 30,
                                        .certain = 1 << 30, .floor = 32 << 20 };
        struct pld_aim aim = pld_governor_aim(&governor, &facts);
        cr_expect_eq(aim.young_room, (aim.trigger - facts.full_live) / 4);
        facts.limit = 1500 << 20;
        aim = pld_governor_aim(&governor, &facts);
        cr_expect_eq(aim.young_room, SIZE_MAX);
        cr_expect_lt(aim.goal, facts.limit);
}

/* ---- What it learns --------------------------------------------------------------------- */

static const struct pld_cycle_facts quarter = {
        .scanned = 100e6, .marked = 100e6, .born = 30e6, .allocated = 100e6,
        .mark_cpu = 25e6, .mark_span = 100e6, .span = 300e6, .second = 2e9,
};

Test(governor, a_cycle_that_took_more_than_its_share_begins_the_earlier)
{
        struct pld_governor governor = { 0 }, hasty = { 0 };
        struct pld_cycle_facts half = quarter;
        half.mark_cpu = 2 * quarter.mark_cpu;
        pld_governor_learn(&governor, &quarter);
        pld_governor_learn(&hasty, &half);
        /* With its share alone it would have taken twice as long, and left mutators three
         * quarters of the CPUs instead of two. */
        cr_expect_float_eq(hasty.runway[0], 3 * governor.runway[0], 1);
}

Test(governor, a_cycle_that_falls_behind_its_plan_is_late)
{
        struct pld_governor governor = { 0 };
        struct pld_heap_facts facts = { .percent = 100, .live = 100e6, .full_live = 100e6,
                                        .certain = 100e6, .floor = 32 << 20 };
        pld_governor_learn(&governor, &quarter);
        struct pld_aim aim = pld_governor_aim(&governor, &facts);
        struct pld_progress progress = { .heap = aim.trigger, .at_begin = aim.trigger };
        cr_expect_not(pld_governor_is_late(&governor, &aim, &progress), "when it begins");
        progress.heap = (aim.trigger + aim.goal) / 2;
        progress.scanned = 50e6;
        cr_expect_not(pld_governor_is_late(&governor, &aim, &progress), "half of it, halfway");
        progress.scanned = 20e6;
        cr_expect(pld_governor_is_late(&governor, &aim, &progress), "a fifth, halfway");
        progress.heap = aim.goal + 1;
        progress.scanned = 99e6;
        cr_expect(pld_governor_is_late(&governor, &aim, &progress), "anything past the goal");
}
