#include "base/random.h"

#include <criterion/criterion.h>

Test(random, equal_seeds_give_equal_numbers)
{
        struct pld_random a = pld_random_seeded(5), b = pld_random_seeded(5);
        for (int i = 0; i < 100; i++)
                cr_assert(pld_random_next(&a) == pld_random_next(&b));
}

Test(random, different_seeds_give_different_numbers)
{
        struct pld_random a = pld_random_seeded(5), b = pld_random_seeded(6);
        int same = 0;
        for (int i = 0; i < 100; i++)
                same += pld_random_next(&a) == pld_random_next(&b);
        cr_expect(same == 0);
}

Test(random, no_seed_gets_stuck_at_zero)
{
        for (uint64_t seed = 0; seed < 1000; seed++) {
                struct pld_random random = pld_random_seeded(seed);
                cr_assert(random.state != 0);
                pld_random_next(&random);
                cr_assert(random.state != 0);
        }
}

Test(random, below_is_below_and_even)
{
        enum { N = 10, DRAWS = 100000 };
        struct pld_random random = pld_random_seeded(1);
        int seen[N] = { 0 };
        for (int i = 0; i < DRAWS; i++) {
                uint32_t n = pld_random_below(&random, N);
                cr_assert(n < N);
                seen[n]++;
        }
        for (int i = 0; i < N; i++) /* expected 10000, deviation 95 */
                cr_expect(seen[i] > 9400 && seen[i] < 10600, "%d: %d", i, seen[i]);
        cr_expect(pld_random_below(&random, 1) == 0);
}
