#include "tests/collector/collector_test.h"

#include "arena/span.h"
#include "arena/sweep.h"
#include "collector/cycle.h"
#include "collector/mark.h"
#include "collector/request.h"
#include "collector/thread.h"

/* ---- What dies and what it gives back ---------------------------------------------------- */

enum { MANY = 50000 };

static void *make_garbage(void *unused)
{
        (void)unused;
        for (uintptr_t i = 0; i < MANY; i++)
                node_new(NULL, i);
        for (int i = 0; i < 10; i++)
                cr_assert_not_null(polder_new_leaf(1 << 20));
        return NULL;
}

static void expect_garbage_goes(enum polder_collect_mode mode)
{
        collected_start();
        cr_assert_eq(polder_collect(mode), 0);
        size_t spans = pld_spans_live();
        uint64_t swept = stats_now().swept_bytes;
        on_a_thread(make_garbage, NULL);
        cr_expect_gt(pld_spans_live(), spans + 20);
        cr_assert_eq(polder_collect(mode), 0);
        cr_assert_eq(polder_collect(mode), 0); /* the first took what was told late for live */
        struct polder_stats stats = stats_now();
        cr_expect_geq(stats.swept_bytes - swept, MANY * sizeof(struct node) + (10 << 20));
        cr_expect_lt(stats.live_bytes, 100 << 10);
        cr_expect_leq(pld_spans_live(), spans + 2, "%zu, was %zu", pld_spans_live(), spans);
}

Test(cycle, a_concurrent_cycle_frees_garbage_and_gives_its_spans_back)
{
        expect_garbage_goes(POLDER_CONCURRENT);
}

Test(cycle, a_stopped_cycle_frees_garbage_and_gives_its_spans_back)
{
        expect_garbage_goes(POLDER_STOP_THE_WORLD);
}

static void *make_ring(void *unused)
{
        (void)unused;
        struct node *one = node_new(NULL, 1), *two = node_new(one, 2);
        polder_store(&one->next, two);
        watch(0, one);
        watch(1, two);
        return NULL;
}

Test(cycle, rings_of_garbage_go)
{
        collected_start();
        make_and_collect(make_ring);
        cr_expect_not(is_alive(0) || is_alive(1));
}

static void *make_overwritten(void *unused)
{
        (void)unused;
        struct node *holder = node_new(node_new(NULL, 1), 2);
        watch(0, holder->next);
        watch(1, holder);
        polder_store(&roots[0], holder);
        polder_store(&holder->next, NULL);
        return NULL;
}

Test(cycle, what_was_overwritten_goes)
{
        collected_start();
        make_and_collect(make_overwritten);
        cr_expect_not(is_alive(0));
        cr_expect(is_alive(1));
}

/* ---- Asking for cycles --------------------------------------------------------------------- */

Test(cycle, each_collect_runs_a_cycle_of_its_kind)
{
        collected_start();
        uint64_t cycles = stats_now().cycles, stops = stats_now().stops;
        cr_expect_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_expect_eq(stats_now().cycles, cycles + 1);
        cr_expect_eq(polder_collect(POLDER_STOP_THE_WORLD), 0);
        cr_expect_eq(stats_now().cycles, cycles + 2);
        cr_expect_geq(stats_now().stops, stops + 2);
        cr_expect_eq(pld_load_relaxed(&pld_phase), PLD_PHASE_IDLE);
}

Test(cycle, another_mode_is_invalid)
{
        collected_start();
        cr_expect_eq(polder_collect((enum polder_collect_mode)3), -EINVAL);
        cr_expect_eq(polder_collect((enum polder_collect_mode) - 1), -EINVAL);
}

Test(cycle, start_begins_one_and_returns, .timeout = 60)
{
        collected_start();
        uint64_t cycles = stats_now().cycles;
        cr_expect_eq(polder_collect_start(), 0);
        while (stats_now().cycles == cycles)
                polder_safepoint();
}

Test(cycle, what_the_heap_asks_for_no_more_is_not_begun, .timeout = 60)
{
        collected_start_as("concurrent", "");
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        uint64_t cycles = stats_now().cycles;
        for (int i = 0; i < 20; i++) {
                pld_request_automatic(); /* as by a trigger of before */
                usleep(2000);
                cr_assert_eq(stats_now().cycles, cycles + (uint64_t)i);
                cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        }
}

static void *collect_often(void *arg)
{
        struct gang *gang = arg;
        enum polder_collect_mode mode =
            pld_add_release(&gang->nready, 1) % 2 ? POLDER_STOP_THE_WORLD : POLDER_CONCURRENT;
        for (int i = 0; i < 30; i++) {
                struct node *node = node_new(polder_load(&roots[0]), 9);
                polder_store(&roots[0], node);
                cr_assert_eq(polder_collect(mode), 0);
                cr_assert_eq(node->value, 9);
        }
        return NULL;
}

Test(cycle, several_threads_may_collect_at_once, .timeout = 120)
{
        struct gang gang;
        collected_start();
        gang_start(&gang, 6, collect_often);
        gang_stop(&gang);
        unsigned n = 0;
        for (struct node *node = roots[0]; node; node = node->next, n++)
                cr_assert_eq(node->value, 9);
        cr_expect_gt(n, 0);
}

static _Atomic int finalizer_saw;

static void collect_in_finalizer(void *object, void *arg)
{
        (void)object, (void)arg;
        int error = polder_collect(POLDER_CONCURRENT);
        if (!error)
                error = polder_collect(POLDER_STOP_THE_WORLD);
        pld_store_release(&finalizer_saw, error ? error : 1);
}

static void *make_finalizable(void *unused)
{
        (void)unused;
        cr_assert_eq(polder_finalizer_set(node_new(NULL, 1), collect_in_finalizer, NULL), 0);
        return NULL;
}

Test(cycle, a_finalizer_may_collect, .timeout = 60)
{
        collected_start();
        make_and_collect(make_finalizable);
        await(&finalizer_saw);
        cr_expect_eq(finalizer_saw, 1);
}

/* ---- Mutators beside the cycle ---------------------------------------------------- */

/* Each keeps a tree of its own, rebuilt bottom up and passed through a root. */
static struct node *make_tree(unsigned depth)
{
        struct node *node = polder_new(node_layout);
        cr_assert_not_null(node);
        node->value = depth;
        if (depth > 0) {
                struct node *left = make_tree(depth - 1);
                polder_store(&node->next, left);
                struct node *right = make_tree(depth - 1);
                polder_store(&node->other, right);
        }
        return node;
}

static unsigned count_tree(struct node *node, unsigned depth)
{
        if (!node)
                return 0;
        cr_assert_eq(node->value, depth);
        return 1 + count_tree(polder_load(&node->next), depth - 1) +
               count_tree(polder_load(&node->other), depth - 1);
}

static void *grow_trees(void *arg)
{
        struct gang *gang = arg;
        unsigned self = pld_add_release(&gang->nready, 1);
        struct node *mine = make_tree(8);
        while (!pld_load_acquire(&gang->done)) {
                struct node *theirs = polder_exchange(&roots[self], mine);
                mine = polder_exchange(&roots[(self + 1) % 4], theirs ? theirs : make_tree(8));
                if (!mine)
                        mine = make_tree(8);
                cr_assert_eq(count_tree(mine, 8), 511);
                /* Hide a half of it on the stack for a while. */
                struct node *half = polder_exchange(&mine->next, NULL);
                struct node *fresh = node_new(half, 99);
                half = NULL;
                polder_store(&mine->next, polder_exchange(&fresh->next, NULL));
                cr_assert_eq(count_tree(mine, 8), 511);
                if (self % 2)
                        mine = make_tree(8);
        }
        return NULL;
}

Test(cycle, mutators_lose_nothing_while_cycles_run, .timeout = 120)
{
        struct gang gang;
        collected_start();
        gang_start(&gang, 4, grow_trees);
        for (int i = 0; i < 60; i++)
                cr_assert_eq(polder_collect(i % 4 ? POLDER_CONCURRENT : POLDER_STOP_THE_WORLD), 0);
        gang_stop(&gang);
}

static void *make_long_list(void *unused)
{
        (void)unused;
        for (uintptr_t i = 0; i < 300000; i++)
                polder_store(&roots[0], node_new(roots[0], i));
        return NULL;
}

/* From what was left of the runs as well as from new ones. */
Test(cycle, what_is_born_while_a_cycle_marks_is_marked_at_once, .timeout = 120)
{
        unsigned nborn = 0;
        collected_start();
        on_a_thread(make_long_list, NULL);
        for (unsigned i = 0; i < 12; i++) {
                uint64_t cycles = stats_now().cycles;
                cr_assert_not_null(node_new(NULL, 0));
                cr_assert_eq(polder_collect_start(), 0);
                while (pld_load_acquire(&pld_phase) != PLD_PHASE_MARKING &&
                       stats_now().cycles == cycles)
                        polder_safepoint();
                for (unsigned k = 0; k < 200; k++) {
                        struct node *fresh = polder_new(node_layout);
                        struct pld_found found = pld_find_object((uintptr_t)fresh);
                        polder_enter_(); /* no flip comes in between */
                        if (pld_load_acquire(&pld_phase) == PLD_PHASE_MARKING) {
                                cr_assert(pld_span_is_marked(found.span, found.index),
                                          "cycle %u, object %u", i, k);
                                nborn++;
                        }
                        polder_leave_();
                }
                while (stats_now().cycles == cycles)
                        polder_safepoint();
        }
        cr_expect_gt(nborn, 0);
}

static _Atomic unsigned nlooked;

static void *attach_and_look(void *unused)
{
        (void)unused;
        cr_assert_eq(polder_thread_attach(), 0);
        polder_enter_();
        if (pld_load_acquire(&pld_phase) == PLD_PHASE_MARKING) {
                cr_assert_eq(polder_thread_.shading, PLD_SHADE_OLD);
                cr_assert(pld_thread_self()->black);
                pld_add_relaxed(&nlooked, 1);
        }
        polder_leave_();
        return NULL;
}

/* Y1 */
Test(cycle, a_thread_that_attaches_while_a_cycle_marks_is_as_all_the_others, .timeout = 120)
{
        collected_start();
        on_a_thread(make_long_list, NULL);
        for (unsigned i = 0; i < 12; i++) {
                uint64_t cycles = stats_now().cycles;
                cr_assert_eq(polder_collect_start(), 0);
                while (stats_now().cycles == cycles) {
                        polder_safepoint();
                        if (pld_load_acquire(&pld_phase) == PLD_PHASE_MARKING)
                                on_a_thread(attach_and_look, NULL);
                }
        }
        cr_expect_gt(nlooked, 0);
}

Test(cycle, mutators_lose_nothing_when_handshakes_take_long, .timeout = 120)
{
        struct gang gang;
        collected_start_as("off", "verify,stagger");
        gang_start(&gang, 4, grow_trees);
        for (int i = 0; i < 60; i++)
                cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        gang_stop(&gang);
}

Test(cycle, mutators_lose_nothing_in_automatic_cycles, .timeout = 120)
{
        struct gang gang;
        collected_start_as("concurrent", "verify");
        gang_start(&gang, 3, grow_trees);
        while (stats_now().cycles < 20)
                sched_yield();
        gang_stop(&gang);
}

/* Allocates until some automatic cycles have run. */
static void *churn(void *until)
{
        while (stats_now().cycles < *(uint64_t *)until)
                node_new(NULL, 1);
        return NULL;
}

Test(cycle, gc_stw_makes_automatic_cycles_stop_the_world, .timeout = 60)
{
        char said[4096];
        int keep = dup(STDERR_FILENO), ends[2];
        cr_assert_eq(pipe(ends), 0);
        collected_start_as("stw", "gctrace=1");
        dup2(ends[1], STDERR_FILENO);
        on_a_thread(churn, &(uint64_t){ 3 });
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        dup2(keep, STDERR_FILENO);
        close(ends[1]);
        ssize_t n = read(ends[0], said, sizeof said - 1);
        cr_assert_gt(n, 0);
        said[n] = '\0';
        unsigned nstopped = 0, nconcurrent = 0;
        for (char *at = said; (at = strstr(at, " stopped:")); at++)
                nstopped++;
        for (char *at = said; (at = strstr(at, " concurrent:")); at++)
                nconcurrent++;
        cr_expect_geq(nstopped, 3, "%s", said);
        cr_expect_leq(nconcurrent, 1, "only what was asked for: %s", said);
}

static void *allocate_64_mib(void *unused)
{
        (void)unused;
        for (int i = 0; i < 64 << 10; i++)
                cr_assert_not_null(polder_new_leaf(1024));
        return NULL;
}

Test(cycle, gc_off_makes_no_automatic_cycle_but_collects_when_asked)
{
        collected_start_as("off", "");
        on_a_thread(allocate_64_mib, NULL);
        cr_expect_eq(stats_now().cycles, 0);
        cr_expect_geq(stats_now().heap_bytes, (64 << 20) - (64 << 10));
        cr_expect_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_expect_eq(stats_now().cycles, 1);
        cr_expect_geq(stats_now().swept_bytes, 64 << 20);
}

/* ---- No threads to be had -------------------------------------------------------------------- */

static void forbid_threads(void)
{
        pld_fake_reset();
        pld_fake_add_node(0, 2, 4 * PLD_GIB);
        pld_fake_install();
        pld_fake_forbid(PLD_FAKE_THREAD_CREATE, EAGAIN);
}

Test(cycle, without_threads_the_caller_runs_the_cycle, .timeout = 60)
{
        struct gang gang;
        forbid_threads();
        collected_start();
        on_a_thread(make_garbage, NULL);
        uint64_t swept = stats_now().swept_bytes;
        collect_both_ways();
        cr_expect_geq(stats_now().swept_bytes - swept, MANY * sizeof(struct node));
        cr_expect_eq(polder_collect_start(), 0);
        gang_start(&gang, 3, collect_often);
        gang_stop(&gang);
}

Test(cycle, without_threads_automatic_cycles_run_all_the_same, .timeout = 60)
{
        forbid_threads();
        collected_start_as("concurrent", "verify");
        on_a_thread(churn, &(uint64_t){ 5 });
}

Test(cycle, without_threads_mutators_lose_nothing, .timeout = 120)
{
        forbid_threads();
        collected_start_as("concurrent", "verify");
        collect_beside(3, grow_trees, 20);
}

/* ---- The pressure callback ------------------------------------------------------------------- */

static _Atomic unsigned npressure;
static _Atomic int pressure_collect;

/* What a program does to a cache when memory is short. */
static void drop_cache(size_t live, size_t limit, void *arg)
{
        cr_assert_gt(live + 32 * PLD_MIB, limit);
        cr_assert_eq(arg, &npressure);
        polder_store(&roots[0], NULL);
        cr_assert_not_null(node_new(NULL, 1));
        pld_store_release(&pressure_collect, polder_collect(POLDER_CONCURRENT));
        pld_add_release(&npressure, 1);
}

static void *fill_cache(void *unused)
{
        (void)unused;
        for (int i = 0; i < 24; i++) {
                struct node *node = polder_new_conservative(1 << 20);
                polder_store(&node->next, roots[0]);
                polder_store(&roots[0], node);
        }
        return NULL;
}

static void expect_pressure(void)
{
        polder_set_memory_limit(8 << 20);
        cr_assert_eq(polder_on_pressure(drop_cache, (void *)&npressure), 0);
        make_and_collect(fill_cache);
        cr_expect_geq(npressure, 1);
        cr_expect_eq(pressure_collect, -EDEADLK);
        for (int i = 0; i < 3; i++)
                collect_both_ways();
        cr_expect_lt(stats_now().live_bytes, 8 << 20);
        unsigned n = npressure;
        cr_assert_eq(polder_on_pressure(NULL, NULL), 0);
        make_and_collect(fill_cache);
        cr_expect_eq(npressure, n, "no callback, no call");
}

Test(cycle, the_pressure_callback_may_use_the_heap, .timeout = 60)
{
        collected_start();
        expect_pressure();
}

Test(cycle, without_threads_the_pressure_callback_may_use_the_heap, .timeout = 60)
{
        forbid_threads();
        collected_start();
        expect_pressure();
}

/* ---- fork() ---------------------------------------------------------------------------------- */

static int fork_and(void (*fn)(void))
{
        fflush(NULL);
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) {
                fn();
                _exit(0);
        }
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        return status;
}

/* In the child; its exit status tells. */
static void use_everything(void)
{
        unsigned n = 0;
        for (struct node *node = polder_load(&roots[0]); node; node = polder_load(&node->next))
                n++;
        if (n != 1000)
                _exit(2);
        for (int i = 0; i < 3; i++) {
                polder_store(&roots[1], node_new(polder_load(&roots[1]), 1));
                if (polder_collect(POLDER_CONCURRENT) || polder_collect(POLDER_STOP_THE_WORLD))
                        _exit(3);
        }
        polder_set_gc_percent(50);
        polder_store(&roots[0], NULL);
        if (polder_collect(POLDER_CONCURRENT))
                _exit(4);
}

static void *make_thousand(void *unused)
{
        (void)unused;
        for (uintptr_t i = 0; i < 1000; i++)
                polder_store(&roots[0], node_new(roots[0], i));
        return NULL;
}

Test(cycle, a_forked_child_allocates_and_collects, .timeout = 60)
{
        collected_start();
        make_and_collect(make_thousand);
        int status = fork_and(use_everything);
        cr_expect_eq(status, 0, "%x", status);
        collect_both_ways();
        cr_expect_not_null(roots[0]);
}

/* AddressSanitizer's allocator is not whole in a child of several threads. */
#if !defined(__SANITIZE_ADDRESS__)
static void *trouble(void *arg)
{
        struct gang *gang = arg;
        unsigned self = pld_add_release(&gang->nready, 1);
        while (!pld_load_acquire(&gang->done)) {
                polder_store(&roots[8 + self], node_new(polder_load(&roots[9 + self]), 1));
                if (self == 0)
                        polder_set_gc_percent(100);
                if (self == 1)
                        polder_collect_start();
                struct node *node = polder_load(&roots[9 + self]);
                if (node)
                        polder_store(&node->next, NULL);
                usleep(20); /* fork() copies what is there */
        }
        return NULL;
}

Test(cycle, a_fork_in_the_middle_of_anything_gives_a_whole_child, .timeout = 120)
{
        struct gang gang;
        collected_start();
        on_a_thread(make_thousand, NULL);
        gang_start(&gang, 3, trouble);
        for (int i = 0; i < 40; i++) {
                int status = fork_and(use_everything);
                cr_assert_eq(status, 0, "%x", status);
        }
        gang_stop(&gang);
}

static void churn_in_child(void)
{
        uint64_t until = stats_now().cycles + 3;
        alarm(200); /* on the busiest machine it is less */
        churn(&until);
}

Test(cycle, automatic_cycles_go_on_in_the_child, .timeout = 240)
{
        struct gang gang;
        collected_start_as("concurrent", "");
        gang_start(&gang, 2, grow_trees);
        for (int i = 0; i < 20; i++) {
                int status = fork_and(churn_in_child);
                cr_assert_eq(status, 0, "%x", status);
        }
        gang_stop(&gang);
}
#endif

static _Atomic int nfinalized;

static void count_finalized(void *object, void *unused)
{
        (void)object;
        (void)unused;
        pld_add_relaxed(&nfinalized, 1);
}

static void *make_inheritable(void *unused)
{
        polder_store(&roots[0], node_new(NULL, 1));
        cr_assert_eq(polder_finalizer_set(roots[0], count_finalized, NULL), 0);
        return unused;
}

/* The thread that calls finalizers stayed in the parent. */
static void drop_and_wait(void)
{
        polder_store(&roots[0], NULL);
        for (int i = 0; i < 20000 && !pld_load_relaxed(&nfinalized); i++) {
                polder_collect(POLDER_CONCURRENT);
                usleep(1000);
        }
        _exit(pld_load_relaxed(&nfinalized) == 1 ? 0 : 1);
}

Test(cycle, a_forked_child_calls_the_finalizers_that_it_inherited, .timeout = 60)
{
        collected_start();
        on_a_thread(make_inheritable, NULL);
        int status = fork_and(drop_and_wait);
        cr_expect_eq(status, 0, "%x", status);
        collect_both_ways();
        cr_expect_eq(pld_load_relaxed(&nfinalized), 0, "here it is still reachable");
}
