#include "base/bits.h"

#include <criterion/criterion.h>

#include "base/random.h"

#include <string.h>

enum { BITS = 300 };

/* The same questions, asked bit by bit. */
static size_t find_slowly(const uint64_t *words, size_t from, size_t n, bool value)
{
        while (from < n && pld_bit_get(words, from) != value)
                from++;
        return from;
}

static size_t run_from(const uint64_t *words, size_t at)
{
        return find_slowly(words, at, BITS, true) - at;
}

Test(bits, rounding_keeps_multiples_and_raises_others)
{
        cr_expect(pld_round_up(0, 8) == 0);
        cr_expect(pld_round_up(8, 8) == 8);
        cr_expect(pld_round_up(9, 8) == 16);
        cr_expect(pld_round_down(15, 8) == 8);
        cr_expect(pld_div_up(0, 3) == 0);
        cr_expect(pld_div_up(7, 3) == 3);
        cr_expect(pld_div_up(6, 3) == 2);
}

Test(bits, powers_of_two_are_recognized)
{
        cr_expect(!pld_is_pow2(0));
        for (unsigned i = 0; i < 64; i++) {
                cr_expect(pld_is_pow2((size_t)1 << i));
                cr_expect(pld_log2((size_t)1 << i) == i);
                cr_expect(pld_lowest_bit(UINT64_C(1) << i) == i);
        }
        cr_expect(!pld_is_pow2(6));
        cr_expect(pld_log2(1023) == 9);
}

Test(bits, mask_covers_exactly_its_range)
{
        for (unsigned from = 0; from < 64; from++)
                for (unsigned to = from + 1; to <= 64; to++)
                        for (unsigned i = 0; i < 64; i++)
                                cr_assert((pld_mask(from, to) >> i & 1) == (i >= from && i < to));
}

Test(bits, masks_of_words_in_turn_cover_exactly_their_range)
{
        for (size_t from = 0; from < 130; from++)
                for (size_t to = from + 1; to <= 200; to++) {
                        uint64_t words[4] = { 0 };
                        unsigned nsteps = 0;
                        for (size_t at = from; at < to; nsteps++) {
                                uint64_t *word = &words[at / 64];
                                *word |= pld_mask_next(&at, to);
                        }
                        cr_assert(nsteps == (to - 1) / 64 - from / 64 + 1);
                        for (size_t i = 0; i < 256; i++)
                                cr_assert(pld_bit_get(words, i) == (i >= from && i < to));
                }
}

Test(bits, fill_changes_no_bit_outside)
{
        static const size_t ends[] = { 0, 1, 63, 64, 65, 127, 128, 200, BITS };
        for (size_t a = 0; a < PLD_COUNT_OF(ends); a++) {
                for (size_t b = a; b < PLD_COUNT_OF(ends); b++) {
                        uint64_t zeros[5] = { 0 }, ones[5];
                        memset(ones, 0xff, sizeof ones);
                        pld_bits_fill(zeros, ends[a], ends[b], true);
                        pld_bits_fill(ones, ends[a], ends[b], false);
                        for (size_t i = 0; i < BITS; i++) {
                                bool inside = i >= ends[a] && i < ends[b];
                                cr_assert(pld_bit_get(zeros, i) == inside);
                                cr_assert(pld_bit_get(ones, i) == !inside);
                        }
                }
        }
}

Test(bits, searches_agree_with_a_slow_search)
{
        struct pld_random random = pld_random_seeded(7);
        for (int round = 0; round < 200; round++) {
                uint64_t words[5];
                for (int i = 0; i < 5; i++) /* sparse, even, dense */
                        words[i] = round % 3 == 0 ? pld_random_next(&random)
                                   : round % 3 == 1
                                           ? pld_random_next(&random) & pld_random_next(&random) &
                                                     pld_random_next(&random)
                                           : ~(pld_random_next(&random) & pld_random_next(&random) &
                                               pld_random_next(&random));
                size_t longest = 0;
                for (size_t at = 0; at < BITS; at++) {
                        cr_assert(pld_bits_find(words, at, BITS, true) ==
                                  find_slowly(words, at, BITS, true));
                        cr_assert(pld_bits_find(words, at, BITS, false) ==
                                  find_slowly(words, at, BITS, false));
                        longest = run_from(words, at) > longest ? run_from(words, at) : longest;
                }
                cr_assert(pld_bits_longest_run(words, BITS) == longest);
        }
}

Test(bits, the_set_bits_of_a_word_are_counted)
{
        uint64_t word = 1;
        cr_expect_eq(pld_popcount(0), 0);
        cr_expect_eq(pld_popcount(~UINT64_C(0)), 64);
        for (unsigned round = 0; round < 1000; round++) {
                unsigned n = 0;
                for (unsigned i = 0; i < 64; i++)
                        n += word >> i & 1;
                cr_assert_eq(pld_popcount(word), n);
                word = word * UINT64_C(6364136223846793005) + 1442695040888963407;
        }
}

Test(bits, the_first_long_enough_run_is_found)
{
        struct pld_random random = pld_random_seeded(8);
        for (int round = 0; round < 100; round++) {
                uint64_t words[5];
                for (int i = 0; i < 5; i++)
                        words[i] = pld_random_next(&random) & pld_random_next(&random) &
                                   pld_random_next(&random);
                for (size_t n = 1; n < 40; n++) {
                        size_t from = pld_random_below(&random, BITS), at = from;
                        while (at < BITS && run_from(words, at) < n)
                                at++;
                        cr_assert(pld_bits_find_run(words, from, BITS, n) == at);
                }
        }
}

Test(bits, the_run_around_a_bit_is_the_one_seen_bit_by_bit)
{
        struct pld_random random = pld_random_seeded(5);
        for (int round = 0; round < 200; round++) {
                uint64_t words[5];
                for (int i = 0; i < 5; i++)
                        words[i] = round % 8 ? pld_random_next(&random) & pld_random_next(&random) : 0;
                for (size_t start = find_slowly(words, 0, BITS, false), end; start < BITS;
                     start = find_slowly(words, end, BITS, false)) {
                        end = find_slowly(words, start, BITS, true);
                        for (size_t at = start; at < end; at++)
                                cr_assert(pld_bits_run_around(words, at, BITS) == end - start);
                }
        }
}

Test(bits, a_run_longer_than_the_map_is_not_found)
{
        uint64_t words[5] = { 0 };
        cr_expect(pld_bits_find_run(words, 0, BITS, BITS) == 0);
        cr_expect(pld_bits_find_run(words, 0, BITS, BITS + 1) == BITS);
        cr_expect(pld_bits_find_run(words, 1, BITS, BITS) == BITS);
}

Test(bits, a_map_without_bits_has_none)
{
        uint64_t words[1] = { 0 };
        cr_expect(pld_bits_find(words, 0, 0, true) == 0);
        cr_expect(pld_bits_longest_run(words, 0) == 0);
        cr_expect(pld_words_for(0) == 0);
        cr_expect(pld_words_for(64) == 1);
        cr_expect(pld_words_for(65) == 2);
}
