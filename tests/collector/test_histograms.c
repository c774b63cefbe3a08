#include "tests/collector/collector_test.h"

#include "arena/stall.h"
#include "arena/sweep.h"
#include "collector/settings.h"

static struct polder_histogram read_kind(enum polder_histogram_kind kind)
{
        struct polder_histogram now = { .struct_size = sizeof now };
        cr_assert_eq(polder_histogram_read(kind, &now), 0);
        return now;
}

static void expect_ordered(const char *name, const struct polder_histogram *now)
{
        cr_expect_leq(now->p50_ns, now->p90_ns, "%s", name);
        cr_expect_leq(now->p90_ns, now->p99_ns, "%s", name);
        cr_expect_leq(now->p99_ns, now->p999_ns, "%s", name);
        cr_expect_leq(now->p999_ns, now->p9999_ns, "%s", name);
        cr_expect_leq(now->p9999_ns, now->max_ns, "%s", name);
        cr_expect_leq(now->max_ns, now->sum_ns, "%s", name);
}

Test(histograms, each_kind_has_a_name_and_is_empty_before_the_start, .timeout = 20)
{
        for (int kind = 0; kind < POLDER_HISTOGRAMS; kind++) {
                cr_expect_not_null(polder_histogram_name((enum polder_histogram_kind)kind));
                cr_expect_eq(read_kind((enum polder_histogram_kind)kind).count, 0);
        }
        cr_expect_str_eq(polder_histogram_name(POLDER_STALL_SWEEP), "stall_sweep");
}

Test(histograms, an_unknown_kind_or_size_is_invalid, .timeout = 20)
{
        struct polder_histogram now = { .struct_size = sizeof now };
        cr_expect_eq(polder_histogram_read(POLDER_HISTOGRAMS, &now), -EINVAL);
        cr_expect_eq(polder_histogram_read((enum polder_histogram_kind)-1, &now), -EINVAL);
        cr_expect_null(polder_histogram_name(POLDER_HISTOGRAMS));
        cr_expect_eq(polder_histogram_buckets(POLDER_HISTOGRAMS, NULL, 0), 0);
        now.struct_size = 0;
        cr_expect_eq(polder_histogram_read(POLDER_STOP, &now), -EINVAL);
        now.struct_size = sizeof now + 1;
        cr_expect_eq(polder_histogram_read(POLDER_STOP, &now), -EINVAL);
}

Test(histograms, an_older_program_gets_what_it_has_room_for, .timeout = 20)
{
        struct polder_histogram now;
        memset(&now, 0xaa, sizeof now);
        now.struct_size = offsetof(struct polder_histogram, p50_ns);
        cr_expect_eq(polder_histogram_read(POLDER_STOP, &now), 0);
        cr_expect_eq(now.count, 0);
        cr_expect_eq(now.p50_ns, UINT64_C(0xaaaaaaaaaaaaaaaa), "not touched");
}

Test(histograms, stops_and_handshakes_are_those_of_the_figures, .timeout = 60)
{
        collected_start();
        collect_both_ways();
        cr_expect_eq(read_kind(POLDER_STOP_CPU).count, 0, "to read that clock is a system call");
        size_t before = read_kind(POLDER_STOP).count;
        pld_settings.gctrace = true;
        for (int i = 0; i < 4; i++)
                collect_both_ways();
        struct polder_stats stats = stats_now();
        struct polder_histogram stops = read_kind(POLDER_STOP);
        struct polder_histogram cpu = read_kind(POLDER_STOP_CPU);
        struct polder_histogram handshakes = read_kind(POLDER_HANDSHAKE);
        cr_expect_geq(stops.count, 10);
        cr_expect_eq(stops.count, stats.stops);
        cr_expect_eq(stops.sum_ns, stats.stop_ns_total);
        cr_expect_eq(stops.max_ns, stats.stop_ns_max);
        cr_expect_eq(cpu.count, stops.count - before);
        cr_expect_gt(cpu.sum_ns, 0);
        cr_expect_geq(handshakes.count, 3 * 5, "arm, scan and a flush each");
        cr_expect_eq(handshakes.max_ns, stats.handshake_ns_max);
        expect_ordered("stops", &stops);
        expect_ordered("handshakes", &handshakes);
}

static void *allocate_some(void *nbytes)
{
        for (size_t left = *(size_t *)nbytes; left > 0; left -= 1024)
                cr_assert_not_null(polder_new_leaf(1024));
        return NULL;
}

Test(histograms, what_an_allocation_waits_for_is_told_by_cause, .timeout = 60)
{
        collected_start();
        on_a_thread(allocate_some, &(size_t){ 8 << 20 });
        struct polder_histogram refills = read_kind(POLDER_STALL_REFILL);
        cr_expect_geq(refills.count, (8 << 20) / (64 << 10));
        cr_expect_gt(read_kind(POLDER_STALL_GROW).count, 0);
        cr_expect_eq(read_kind(POLDER_STALL_SWEEP).count, 0);
        cr_expect_eq(read_kind(POLDER_STALL_COLLECT).count, 0);
        pld_sweep_flip(); /* all of it is garbage that nobody has swept */
        on_a_thread(allocate_some, &(size_t){ 1 << 20 });
        cr_expect_gt(read_kind(POLDER_STALL_SWEEP).count, 0);
        uint64_t sum = 0, longest = 0;
        for (int kind = POLDER_STALL + 1; kind < POLDER_HISTOGRAMS; kind++) {
                struct polder_histogram cause = read_kind((enum polder_histogram_kind)kind);
                sum += cause.sum_ns;
                longest = cause.max_ns > longest ? cause.max_ns : longest;
        }
        struct polder_histogram all = read_kind(POLDER_STALL);
        cr_expect_geq(sum, all.sum_ns, "%lu < %lu: causes do not overlap", (unsigned long)sum,
                      (unsigned long)all.sum_ns);
        cr_expect_eq(stats_now().stall_ns_max, all.max_ns);
        cr_expect_geq(all.max_ns * 2, longest, "and make up the stall");
}

Test(histograms, a_large_object_and_a_wait_for_memory_have_causes_of_their_own, .timeout = 60)
{
        setenv("POLDER_MEMORY_LIMIT", "24M,hard", 1);
        collected_start();
        cr_assert_not_null(polder_new_leaf(4 << 20));
        cr_expect_eq(read_kind(POLDER_STALL_LARGE).count, 1);
        cr_expect_eq(read_kind(POLDER_STALL_COLLECT).count, 0);
        cr_expect_null(polder_new_leaf(64 << 20));
        cr_expect_gt(read_kind(POLDER_STALL_COLLECT).count, 0);
}

Test(histograms, times_in_times_are_not_counted_twice, .timeout = 20)
{
        pld_stall_start_sum();
        struct pld_stall_span outer = pld_stall_begin();
        pld_stall_note(PLD_STALL_SWEEP, UINT64_C(3600) * PLD_NS_PER_S);
        pld_stall_end(outer, PLD_STALL_REFILL);
        pld_stall_sum_up();
        cr_expect_eq(read_kind(POLDER_STALL_REFILL).max_ns, 0);
        cr_expect_eq(read_kind(POLDER_STALL).max_ns, UINT64_C(3600) * PLD_NS_PER_S);
}

Test(histograms, buckets_add_up, .timeout = 60)
{
        struct polder_histogram_bucket bucket[600];
        collected_start();
        for (int i = 0; i < 5; i++)
                collect_both_ways();
        size_t n = polder_histogram_buckets(POLDER_STOP, NULL, 0);
        cr_assert(n > 0 && n <= 592);
        cr_expect_eq(polder_histogram_buckets(POLDER_STOP, bucket, 600), n);
        uint64_t count = 0;
        for (size_t i = 0; i < n; i++) {
                cr_expect_gt(bucket[i].count, 0);
                cr_expect(i == 0 || bucket[i].upto_ns > bucket[i - 1].upto_ns);
                count += bucket[i].count;
        }
        cr_expect_eq(count, read_kind(POLDER_STOP).count);
        cr_expect_geq(bucket[n - 1].upto_ns, read_kind(POLDER_STOP).max_ns);
}
