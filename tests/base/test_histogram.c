#include "base/histogram.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <pthread.h>

static struct pld_histogram times;

static struct pld_histogram_copy copy_now(void)
{
        struct pld_histogram_copy copy;
        pld_histogram_copy(&times, &copy);
        return copy;
}

Test(histogram, every_value_lies_in_its_bucket_and_in_no_other, .timeout = 20)
{
        uint64_t first = 0;
        for (unsigned i = 0; i < PLD_HISTOGRAM_BUCKETS; i++) {
                uint64_t last = pld_histogram_last(i);
                cr_assert_geq(last, first);
                cr_assert_eq(pld_histogram_bucket(first), i, "bucket %u", i);
                cr_assert_eq(pld_histogram_bucket(last), i, "bucket %u", i);
                cr_assert_leq(last - first, first / PLD_HISTOGRAM_FINE, "bucket %u is wide", i);
                first = last + 1;
        }
        cr_expect_eq(first, UINT64_C(1) << PLD_HISTOGRAM_BITS);
        cr_expect_eq(pld_histogram_bucket(UINT64_MAX), PLD_HISTOGRAM_BUCKETS - 1);
}

Test(histogram, an_empty_one_has_no_percentiles, .timeout = 20)
{
        struct pld_histogram_copy copy = copy_now();
        cr_expect_eq(copy.count, 0);
        cr_expect_eq(pld_histogram_at(&copy, 0.5), 0);
        cr_expect_eq(pld_histogram_at(&copy, 1), 0);
}

Test(histogram, percentiles_are_right_to_one_part_in_sixteen, .timeout = 20)
{
        enum { N = 100000 };
        for (uint64_t i = 1; i <= N; i++)
                pld_histogram_add(&times, i * 10);
        struct pld_histogram_copy copy = copy_now();
        cr_expect_eq(copy.count, N);
        cr_expect_eq(copy.max, N * 10);
        cr_expect_eq(copy.sum, UINT64_C(10) * N * (N + 1) / 2);
        for (unsigned percent = 1; percent <= 100; percent++) {
                uint64_t exact = (uint64_t)N * 10 * percent / 100;
                uint64_t told = pld_histogram_at(&copy, percent / 100.0);
                cr_expect(told >= exact && told <= exact + exact / 16, "%u %%: %lu, not %lu",
                          percent, (unsigned long)told, (unsigned long)exact);
        }
        cr_expect_eq(pld_histogram_at(&copy, 1), N * 10);
}

Test(histogram, one_that_is_rare_is_found_at_the_end_alone, .timeout = 20)
{
        for (int i = 0; i < 999; i++)
                pld_histogram_add(&times, 7);
        pld_histogram_add(&times, 5000);
        struct pld_histogram_copy copy = copy_now();
        cr_expect_eq(pld_histogram_at(&copy, 0.999), 7);
        cr_expect_eq(pld_histogram_at(&copy, 0.9991), 5000);
}

Test(histogram, counts_up_to_a_power_of_two_are_exact, .timeout = 20)
{
        for (uint64_t i = 0; i < 4096; i++)
                pld_histogram_add(&times, i);
        struct pld_histogram_copy copy = copy_now();
        for (unsigned bit = 0; bit <= 12; bit++)
                cr_expect_eq(pld_histogram_count_to(&copy, (UINT64_C(1) << bit) - 1),
                             UINT64_C(1) << bit);
}

Test(histogram, a_difference_has_what_came_between, .timeout = 20)
{
        pld_histogram_add(&times, 100000);
        struct pld_histogram_copy before = copy_now();
        pld_histogram_add(&times, 100);
        pld_histogram_add(&times, 3000);
        struct pld_histogram_copy after = copy_now();
        pld_histogram_subtract(&after, &before);
        cr_expect_eq(after.count, 2);
        cr_expect_eq(after.sum, 3100);
        cr_expect(after.max >= 3000 && after.max <= 3000 + 3000 / 16);
}

static void *add_some(void *arg)
{
        struct pld_random random = pld_random_seeded((uintptr_t)arg);
        for (int i = 0; i < 100000; i++)
                pld_histogram_add(&times, pld_random_below(&random, 1000));
        return NULL;
}

Test(histogram, threads_lose_nothing, .timeout = 60)
{
        pthread_t threads[4];
        for (uintptr_t i = 0; i < 4; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, add_some, (void *)i), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        cr_expect_eq(copy_now().count, 400000);
}
