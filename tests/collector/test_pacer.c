#include "tests/collector/collector_test.h"

#include "base/futex.h"
#include "collector/pacer.h"
#include "collector/request.h"

#include <inttypes.h>

/* So that heaps of a few MiB are no small ones. */
static void start_with_floor(const char *floor)
{
        setenv("POLDER_GC_FLOOR", floor, 1);
        collected_start_as("concurrent", "");
}

static void *hold_bytes(void *nbytes)
{
        for (size_t left = *(size_t *)nbytes; left > 0; left -= 1024) {
                struct node *node = polder_new_conservative(1024);
                polder_store(&node->next, roots[0]);
                polder_store(&roots[0], node);
        }
        return NULL;
}

static void hold(size_t nbytes)
{
        on_a_thread(hold_bytes, &nbytes);
}

static void *churn_bytes(void *nbytes)
{
        for (size_t left = *(size_t *)nbytes; left > 0; left -= 1024)
                cr_assert_not_null(polder_new_conservative(1024));
        return NULL;
}

static size_t goal(void)
{
        return pld_pacer_read().goal;
}

static void expect_near(size_t value, size_t wanted, const char *what)
{
        cr_expect(value >= wanted - wanted / 8 && value <= wanted + wanted / 8, "%s: %zu, not %zu",
                  what, value, wanted);
}

Test(pacer, the_goal_is_what_lives_and_the_percentage_of_it)
{
        start_with_floor("4M");
        hold(20 << 20);
        collect_both_ways();
        expect_near(stats_now().live_bytes, 20 << 20, "live");
        expect_near(goal(), 40 << 20, "at 100");
        cr_expect_eq(polder_set_gc_percent(50), 100);
        expect_near(goal(), 30 << 20, "at 50");
        cr_expect_eq(polder_set_gc_percent(300), 50);
        expect_near(goal(), 80 << 20, "at 300");
}

static void *hold_odd_bytes(void *nbytes)
{
        const struct polder_layout *layout = polder_layout_of(264, (const size_t[]){ 0 }, 1);
        for (size_t left = *(size_t *)nbytes; left > 264; left -= 264) {
                struct node *node = left / 264 % 2 ? polder_new_conservative(264)
                                                   : polder_new(layout);
                polder_store(&node->next, roots[0]);
                polder_store(&roots[0], node);
        }
        return NULL;
}

/* Objects of 264 bytes are in cells of 288. */
Test(pacer, the_goal_goes_by_what_was_asked_for)
{
        start_with_floor("4M");
        size_t nbytes = 40 << 20;
        on_a_thread(hold_odd_bytes, &nbytes);
        collect_both_ways();
        double cells = (double)stats_now().live_bytes, asked = 40 * 1048576.0;
        cr_expect(cells > 1.08 * asked && cells < 1.11 * asked, "%.3f", cells / asked);
        cr_expect((double)goal() > 1.92 * asked && (double)goal() < 1.97 * asked, "%.3f",
                  (double)goal() / asked);
}

Test(pacer, a_small_heap_grows_by_the_floor)
{
        start_with_floor("6M");
        collect_both_ways();
        expect_near(goal(), 6 << 20, "at 100");
        polder_set_gc_percent(200);
        expect_near(goal(), 12 << 20, "at 200");
        polder_set_gc_percent(50);
        hold(4 << 20);
        collect_both_ways();
        expect_near(goal(), 7 << 20, "at 50, beside 4 MiB");
}

Test(pacer, a_heap_above_the_floor_knows_nothing_of_it)
{
        start_with_floor("16M");
        hold(20 << 20);
        collect_both_ways();
        expect_near(goal(), 40 << 20, "at 100");
        polder_set_gc_percent(50);
        expect_near(goal(), 30 << 20, "at 50");
}

static void *attach_and_wait(void *arg)
{
        struct gang *gang = arg;
        polder_thread_attach();
        pld_add_release(&gang->nready, 1);
        polder_blocking_begin();
        await(&gang->done);
        polder_blocking_end();
        return NULL;
}

Test(pacer, the_floor_goes_by_the_threads_that_can_run)
{
        struct gang gang;
        pld_fake_reset();
        pld_fake_add_node(0, 64, 4 * PLD_GIB);
        pld_fake_install();
        collected_start_as("concurrent", "");
        collect_both_ways();
        expect_near(goal(), 32 << 20, "one thread");
        gang_start(&gang, 8, attach_and_wait);
        collect_both_ways();
        expect_near(goal(), 8 * (16 << 20), "eight");
        gang_stop(&gang);
        collect_both_ways();
        expect_near(goal(), 32 << 20, "one again");
}

Test(pacer, a_program_that_allocates_little_grows_little)
{
        collected_start_as("concurrent", "");
        hold(100 << 10);
        for (int i = 0; i < 20; i++)
                on_a_thread(churn_bytes, &(size_t){ 100 << 10 });
        /* Two huge pages, and one that may be ready ahead. */
        cr_expect_leq(stats_now().resident_bytes, 6 << 20);
        cr_expect_eq(stats_now().cycles, 0);
}

Test(pacer, a_memory_limit_comes_before_the_floor)
{
        start_with_floor("64M");
        collect_both_ways();
        expect_near(goal(), 64 << 20, "without");
        polder_set_memory_limit(24 << 20);
        cr_expect_lt(goal(), 24 << 20);
}

Test(pacer, the_trigger_is_between_what_lives_and_the_goal)
{
        start_with_floor("1M");
        for (int i = 0; i < 5; i++) {
                hold(3 << 20);
                collect_both_ways();
                struct pld_pace pace = pld_pacer_read();
                cr_expect_leq(pace.live, pace.trigger);
                cr_expect_lt(pace.trigger, pace.goal);
        }
}

Test(pacer, negative_is_off_and_positive_on_again)
{
        start_with_floor("4M");
        cr_expect_eq(polder_set_gc_percent(-1), 100);
        cr_expect_eq(goal(), SIZE_MAX);
        uint64_t cycles = stats_now().cycles;
        on_a_thread(churn_bytes, &(size_t){ 64 << 20 });
        cr_expect_eq(stats_now().cycles, cycles);
        cr_expect_eq(polder_set_gc_percent(100), -1);
        on_a_thread(churn_bytes, &(size_t){ 64 << 20 });
        cr_expect_gt(stats_now().cycles, cycles);
}

Test(pacer, a_percentage_from_the_environment_counts)
{
        setenv("POLDER_GC_PERCENT", "25", 1);
        start_with_floor("4M");
        hold(20 << 20);
        collect_both_ways();
        expect_near(goal(), 25 << 20, "at 25");
        cr_expect_eq(polder_set_gc_percent(100), 25);
}

/* ---- Automatic cycles --------------------------------------------------------------------
 * How far a heap gets past its goal is a matter of time: while the marker has no
 * processor, mutators are slowed down but go on. What is a fact is where a cycle is
 * asked for, and what it leaves when nobody allocates meanwhile; and that memory is
 * backed for the highest heap there was, however high that came to be. */

enum {
        TOLD_LATE = 32 << 10, /* of each thread: pacer.c, K1 */
        RUN = 2 << 10,        /* reserved at once, or one object */
        LAST_PAGE = 2 << 20   /* the huge page that the heap ends in */
};

/* Allocates, but waits for the end of each cycle that it brings about. The heap grows
 * when this thread tells what it allocated, and then asks for a cycle if one is due. */
static void *churn_in_step(void *arg)
{
        size_t *figures = arg, object = figures[1];
        for (size_t left = figures[0]; left > 0; left -= object) {
                uint64_t cycles = stats_now().cycles;
                size_t before = pld_pacer_read().heap;
                cr_assert_not_null(polder_new_leaf(object));
                struct pld_pace pace = pld_pacer_read();
                cr_assert_leq(pace.heap, pace.trigger + 2 * TOLD_LATE + RUN + object);
                if (pace.heap < before || (pace.heap > before && pace.heap >= pace.trigger)) {
                        while (stats_now().cycles == cycles) {
                                polder_safepoint();
                                sched_yield();
                        }
                }
        }
        return NULL;
}

Test(pacer, a_cycle_is_asked_for_at_the_trigger_and_leaves_what_lives, .timeout = 120)
{
        enum { HELD = 16 << 20, ROUNDS = 20 };
        setenv("POLDER_GENERATIONS", "0", 1); /* else what young cycles leave lives, too */
        start_with_floor("4M");
        hold(HELD);
        collect_both_ways();
        uint64_t cycles = stats_now().cycles;
        for (int i = 0; i < ROUNDS; i++) {
                on_a_thread(churn_in_step, (size_t[]){ 16 << 20, 1024 });
                struct polder_stats stats = stats_now();
                cr_assert_geq(stats.live_bytes, HELD);
                cr_assert_leq(stats.live_bytes, HELD + 4 * (TOLD_LATE + RUN), "%d: %zu", i,
                              stats.live_bytes);
                cr_assert_leq(stats.heap_bytes, stats.goal_bytes);
                cr_assert_leq(stats.resident_bytes, stats.goal_bytes + LAST_PAGE, "%d: %zu", i,
                              stats.resident_bytes);
        }
        /* Each was due when as much as lives had been allocated, or up to 60 % earlier. */
        cycles = stats_now().cycles - cycles;
        cr_expect(cycles >= ROUNDS - 1 && cycles <= ROUNDS * 5 / 2, "%" PRIu64, cycles);
}

static void *churn_and_look(void *arg)
{
        size_t *highest = arg;
        for (size_t left = 16 << 20; left > 0; left -= 1024) {
                size_t heap = pld_pacer_read().heap;
                *highest = heap > *highest ? heap : *highest;
                cr_assert_not_null(polder_new_conservative(1024));
        }
        return NULL;
}

Test(pacer, memory_is_backed_for_the_highest_heap_and_no_more, .timeout = 120)
{
        /* New spans, taken after 64 of the unswept ones turned out to be full; and the huge
         * page that is ready for the next (ahead.c, A1). */
        enum { UNSWEPT = 2 << 20, AHEAD = 2 << 20 };
        size_t highest = 0;
        start_with_floor("4M");
        hold(16 << 20);
        collect_both_ways();
        for (int i = 0; i < 20; i++) {
                on_a_thread(churn_and_look, &highest);
                struct polder_stats stats = stats_now();
                cr_assert_leq(stats.resident_bytes,
                              highest + TOLD_LATE + RUN + UNSWEPT + AHEAD + LAST_PAGE,
                              "round %d: %zu resident, %zu at most, %zu live", i,
                              stats.resident_bytes, highest, stats.live_bytes);
        }
        cr_expect_gt(stats_now().cycles, 2);
}

Test(pacer, a_memory_limit_pulls_the_goal_down)
{
        start_with_floor("4M");
        hold(20 << 20);
        collect_both_ways();
        size_t before = goal();
        cr_expect_eq(polder_set_memory_limit(32 << 20), 0);
        cr_expect_lt(goal(), 32 << 20);
        cr_expect_lt(goal(), before);
        cr_expect_gt(goal(), 20 << 20, "never below what lives");
        cr_expect_eq(polder_set_memory_limit(0), 32 << 20);
        cr_expect_eq(goal(), before);
}

Test(pacer, with_percent_off_the_limit_alone_makes_cycles, .timeout = 60)
{
        setenv("POLDER_GC_PERCENT", "-1", 1);
        setenv("POLDER_MEMORY_LIMIT", "24M", 1);
        start_with_floor("4M");
        hold(4 << 20);
        on_a_thread(churn_in_step, (size_t[]){ 100 << 20, 1024 });
        cr_expect_gt(stats_now().cycles, 4);
        cr_expect_leq(stats_now().resident_bytes, 24 << 20);
}

/* ---- A process with a limit: objects of all sizes, replaced at random by several threads.
 * While a cycle runs nobody allocates, as how far they get is a matter of time. */

#if !defined(__SANITIZE_ADDRESS__) /* whose own memory is the process's, too */
enum { LIMIT = 256 << 20, NTHREADS = 3 };

static size_t each_holds; /* bytes, a thread */
static _Atomic size_t most_resident;

static size_t any_size(struct pld_random *random)
{
        uint32_t kind = pld_random_below(random, 1000);
        uint32_t most = kind < 900 ? 1024 : kind < 995 ? 32 << 10 : 1 << 20;
        return 16 + pld_random_below(random, most);
}

static size_t resident_now(void)
{
        unsigned long pages = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        cr_assert_not_null(file);
        cr_assert_eq(fscanf(file, "%*u %lu", &pages), 1);
        fclose(file);
        return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void let_cycles_end_and_look(size_t start)
{
        while (pld_pacer_wants_cycle()) {
                size_t now = resident_now() - start;
                if (now > pld_load_relaxed(&most_resident))
                        pld_store_relaxed(&most_resident, now);
                pld_request_automatic();
                polder_safepoint();
                sched_yield();
        }
}

/* The object is written to, so that it is resident. */
static size_t replace_one(void **slot, size_t nbytes, size_t start)
{
        char *object = polder_new_leaf(nbytes);
        cr_assert_not_null(object);
        memset(object, 1, nbytes);
        polder_store(slot, (void *)object);
        let_cycles_end_and_look(start);
        return nbytes;
}

static void *hold_and_replace(void *arg)
{
        enum { MOST = 1 << 16 };
        static _Atomic unsigned ncome;
        unsigned self = pld_add_relaxed(&ncome, 1) % NTHREADS;
        struct pld_random random = pld_random_seeded(self);
        const struct polder_layout *slot = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        uint32_t *sizes = calloc(MOST, sizeof *sizes), n = 0;
        polder_store(&roots[self], polder_new_array(slot, MOST));
        void **table = (void **)polder_load(&roots[self]);
        for (size_t held = 0; held < each_holds && n < MOST; n++) {
                sizes[n] = (uint32_t)any_size(&random);
                held += replace_one(&table[n], sizes[n], *(size_t *)arg);
        }
        cr_assert_lt(n, MOST);
        for (size_t left = LIMIT; left > sizes[0];) {
                uint32_t i = pld_random_below(&random, n);
                left -= replace_one(&table[i], sizes[i], *(size_t *)arg);
                left = left < (2 << 20) ? 0 : left;
        }
        free(sizes);
        return NULL;
}

static void expect_within_limit(double part, const char *percent)
{
        pthread_t thread[NTHREADS];
        setenv("POLDER_MEMORY_LIMIT", "256M", 1);
        setenv("POLDER_GC_PERCENT", percent, 1);
        collected_start_as("concurrent", "");
        collect_both_ways();
        size_t start = resident_now();
        each_holds = (size_t)(part * LIMIT / NTHREADS);
        for (unsigned i = 0; i < NTHREADS; i++)
                cr_assert_eq(pthread_create(&thread[i], NULL, hold_and_replace, &start), 0);
        for (unsigned i = 0; i < NTHREADS; i++)
                cr_assert_eq(pthread_join(thread[i], NULL), 0);
        cr_expect_gt(stats_now().cycles, 5);
        cr_expect_leq(most_resident, LIMIT + LIMIT / 50, "%.3f of the limit",
                      (double)most_resident / LIMIT);
        cr_expect_geq(most_resident, LIMIT / 10 * 8, "it is made use of: %.3f",
                      (double)most_resident / LIMIT);
}

Test(pacer, a_process_stays_within_its_limit_with_half_of_it_live, .timeout = 120)
{
        expect_within_limit(0.5, "-1");
}

Test(pacer, a_process_stays_within_its_limit_with_most_of_it_live, .timeout = 120)
{
        expect_within_limit(0.8, "100");
}
#endif

Test(pacer, the_limit_is_no_wall)
{
        setenv("POLDER_MEMORY_LIMIT", "8M", 1);
        start_with_floor("4M");
        hold(32 << 20);
        collect_both_ways();
        cr_expect_geq(stats_now().live_bytes, 32 << 20);
}

static size_t told_live, told_limit;
static _Atomic unsigned ntold;

static void be_told(size_t live, size_t limit, void *arg)
{
        cr_assert_eq(arg, &told_live);
        told_live = live;
        told_limit = limit;
        pld_add_release(&ntold, 1);
}

Test(pacer, the_program_is_told_when_the_limit_cannot_be_held, .timeout = 60)
{
        collected_start();
        cr_assert_eq(polder_on_pressure(be_told, &told_live), 0);
        hold(20 << 20);
        collect_both_ways();
        cr_expect_eq(ntold, 0, "no limit, no pressure");
        polder_set_memory_limit(1 << 30);
        collect_both_ways();
        cr_expect_eq(ntold, 0, "it can be held");
        polder_set_memory_limit(10 << 20);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_expect_eq(ntold, 1, "when collect returns");
        cr_expect_eq(told_limit, 10 << 20);
        cr_expect_geq(told_live, 20 << 20);
        cr_assert_eq(polder_collect(POLDER_STOP_THE_WORLD), 0);
        cr_expect_eq(ntold, 2, "once a cycle");
}

static struct {
        _Atomic bool is_in, may_leave, has_left, is_forgotten;
} pressure;

static void stay_a_while(size_t live, size_t limit, void *arg)
{
        (void)live, (void)limit, (void)arg;
        pld_store_release(&pressure.is_in, true);
        await(&pressure.may_leave);
        pld_nap(20000000); /* who does not wait is seen not to */
        pld_store_release(&pressure.has_left, true);
}

static void *forget_pressure(void *unused)
{
        cr_assert_eq(polder_on_pressure(NULL, NULL), 0);
        cr_expect(pld_load_acquire(&pressure.has_left));
        pld_store_release(&pressure.is_forgotten, true);
        return unused;
}

Test(pacer, who_forgets_the_callback_waits_for_a_call_that_is_under_way, .timeout = 60)
{
        pthread_t thread;
        collected_start();
        cr_assert_eq(polder_on_pressure(stay_a_while, NULL), 0);
        hold(20 << 20);
        polder_set_memory_limit(10 << 20);
        cr_assert_eq(polder_collect_start(), 0);
        await(&pressure.is_in);
        cr_assert_eq(pthread_create(&thread, NULL, forget_pressure, NULL), 0);
        pld_store_release(&pressure.may_leave, true);
        await(&pressure.is_forgotten);
        pthread_join(thread, NULL);
        pld_store_release(&pressure.is_in, false);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_expect_not(pld_load_acquire(&pressure.is_in));
}

static void forget_within(size_t live, size_t limit, void *arg)
{
        (void)live, (void)limit, (void)arg;
        cr_expect_eq(polder_on_pressure(NULL, NULL), 0);
        pld_store_release(&pressure.is_forgotten, true);
}

Test(pacer, a_callback_on_pressure_may_forget_itself, .timeout = 60)
{
        collected_start();
        cr_assert_eq(polder_on_pressure(forget_within, NULL), 0);
        hold(20 << 20);
        polder_set_memory_limit(10 << 20);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_expect(pld_load_acquire(&pressure.is_forgotten));
}

Test(pacer, what_was_allocated_is_counted)
{
        collected_start();
        polder_collect(POLDER_CONCURRENT);
        uint64_t before = stats_now().allocated_bytes;
        on_a_thread(churn_bytes, &(size_t){ 8 << 20 });
        on_a_thread(churn_bytes, &(size_t){ 8 << 20 });
        uint64_t n = stats_now().allocated_bytes - before;
        cr_expect_geq(n, 16 << 20);
        cr_expect_leq(n, (16 << 20) + (64 << 10));
}

Test(pacer, large_objects_count, .timeout = 60)
{
        start_with_floor("4M");
        on_a_thread(churn_in_step, (size_t[]){ 200 << 20, 1 << 20 });
        cr_expect_geq(stats_now().cycles, 40);
        size_t least_goal = 4 << 20, one_more = 1 << 20;
        cr_expect_leq(stats_now().resident_bytes, least_goal + one_more + LAST_PAGE);
}
