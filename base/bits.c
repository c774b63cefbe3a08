#include "base/bits.h"

void pld_bits_fill(uint64_t *words, size_t from, size_t to, bool value)
{
        while (from < to) {
                uint64_t *word = &words[from / 64], mask = pld_mask_next(&from, to);
                if (value)
                        *word |= mask;
                else
                        *word &= ~mask;
        }
}

size_t pld_bits_find(const uint64_t *words, size_t from, size_t nbits, bool value)
{
        uint64_t flip = value ? 0 : ~UINT64_C(0);
        while (from < nbits) {
                uint64_t rest = (words[from / 64] ^ flip) >> (from % 64);
                if (rest) {
                        size_t at = from + pld_lowest_bit(rest);
                        return at < nbits ? at : nbits;
                }
                from = (from / 64 + 1) * 64;
        }
        return nbits;
}

size_t pld_bits_find_run(const uint64_t *words, size_t from, size_t nbits, size_t n)
{
        for (;;) {
                size_t start = pld_bits_find(words, from, nbits, false);
                if (start + n > nbits)
                        return nbits;
                size_t end = pld_bits_find(words, start, start + n, true);
                if (end == start + n)
                        return start;
                from = end + 1;
        }
}

size_t pld_bits_run_around(const uint64_t *words, size_t at, size_t nbits)
{
        size_t word = at / 64;
        uint64_t below = words[word] & ~(UINT64_MAX << at % 64);
        while (!below && word > 0)
                below = words[--word];
        size_t start = below ? word * 64 + pld_log2(below) + 1 : 0;
        return pld_bits_find(words, at, nbits, true) - start;
}

size_t pld_bits_longest_run(const uint64_t *words, size_t nbits)
{
        size_t longest = 0;
        for (size_t start = pld_bits_find(words, 0, nbits, false); start < nbits;) {
                size_t end = pld_bits_find(words, start, nbits, true);
                if (end - start > longest)
                        longest = end - start;
                start = pld_bits_find(words, end, nbits, false);
        }
        return longest;
}
