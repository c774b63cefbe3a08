#include "base/parse.h"

#include <criterion/criterion.h>

#include "base/bits.h"

#include <errno.h>

Test(parse, int_takes_what_is_in_bounds)
{
        int64_t n = 99;
        cr_expect(pld_parse_int("-1", -1, 10, &n) == 0 && n == -1);
        cr_expect(pld_parse_int("10", -1, 10, &n) == 0 && n == 10);
}

Test(parse, int_refuses_and_leaves_the_output)
{
        static const char *const bad[] = { "", "x", "1x", "0x10", "1 ", "--1" };
        int64_t n = 99;
        for (size_t i = 0; i < PLD_COUNT_OF(bad); i++)
                cr_expect(pld_parse_int(bad[i], -100, 100, &n) == -EINVAL, "%s", bad[i]);
        cr_expect(pld_parse_int("11", 0, 10, &n) == -ERANGE);
        cr_expect(pld_parse_int("-1", 0, 10, &n) == -ERANGE);
        cr_expect(pld_parse_int("99999999999999999999", 0, INT64_MAX, &n) == -ERANGE);
        cr_expect(n == 99);
}

Test(parse, int_keeps_errno)
{
        int64_t n;
        errno = EDOM;
        pld_parse_int("99999999999999999999", 0, 1, &n);
        cr_expect(errno == EDOM);
}

Test(parse, sizes_have_binary_suffixes)
{
        static const struct {
                const char *text;
                size_t nbytes;
        } good[] = { { "0", 0 },
                     { "4096", 4096 },
                     { "64K", 64 * PLD_KIB },
                     { "64k", 64 * PLD_KIB },
                     { "64KB", 64 * PLD_KIB },
                     { "2MiB", 2 * PLD_MIB },
                     { "2mib", 2 * PLD_MIB },
                     { "3G", 3 * PLD_GIB },
                     { "1T", 1024 * PLD_GIB },
                     { "7B", 7 } };
        for (size_t i = 0; i < PLD_COUNT_OF(good); i++) {
                size_t n = 1;
                cr_expect(pld_parse_size(good[i].text, &n) == 0, "%s", good[i].text);
                cr_expect(n == good[i].nbytes, "%s is %zu", good[i].text, n);
        }
}

Test(parse, fractions_of_a_size_are_close)
{
        size_t n;
        cr_assert(pld_parse_size("1.5G", &n) == 0);
        cr_expect(n <= PLD_GIB * 3 / 2 && n > PLD_GIB * 3 / 2 - PLD_MIB);
        cr_assert(pld_parse_size("0.25M", &n) == 0);
        cr_expect(n <= 256 * PLD_KIB && n > 255 * PLD_KIB);
}

Test(parse, malformed_sizes_are_refused)
{
        static const char *const bad[] = { "",   "K",   "-1",  "1X",  "1KX", "1 K",
                                           "1.", "1.K", "1KBB", "1iB", " 1",  "1e3" };
        size_t n = 77;
        for (size_t i = 0; i < PLD_COUNT_OF(bad); i++)
                cr_expect(pld_parse_size(bad[i], &n) == -EINVAL, "%s", bad[i]);
        cr_expect(pld_parse_size("99999999999999999999", &n) == -ERANGE);
        cr_expect(pld_parse_size("99999999999T", &n) == -ERANGE);
        cr_expect(n == 77);
}

Test(parse, bools_are_said_in_four_ways)
{
        bool b;
        cr_expect(pld_parse_bool("1", &b) == 0 && b);
        cr_expect(pld_parse_bool("ON", &b) == 0 && b);
        cr_expect(pld_parse_bool("yes", &b) == 0 && b);
        cr_expect(pld_parse_bool("true", &b) == 0 && b);
        cr_expect(pld_parse_bool("0", &b) == 0 && !b);
        cr_expect(pld_parse_bool("off", &b) == 0 && !b);
        cr_expect(pld_parse_bool("No", &b) == 0 && !b);
        cr_expect(pld_parse_bool("false", &b) == 0 && !b);
        cr_expect(pld_parse_bool("", &b) == -EINVAL);
        cr_expect(pld_parse_bool("2", &b) == -EINVAL);
}

Test(parse, sets_are_numbers_and_ranges)
{
        uint64_t words[2] = { 1, 1 };
        cr_assert(pld_parse_set("3,60-66,127", words, 128) == 0);
        for (size_t i = 0; i < 128; i++)
                cr_expect(pld_bit_get(words, i) == (i == 3 || (i >= 60 && i <= 66) || i == 127));
}

Test(parse, malformed_sets_change_nothing)
{
        static const char *const bad[] = { "",   ",",  "1,",  ",1",  "a",
                                           "1-", "-1", "3-1", "1 2", "1--2" };
        uint64_t words[1] = { 42 };
        for (size_t i = 0; i < PLD_COUNT_OF(bad); i++)
                cr_expect(pld_parse_set(bad[i], words, 64) == -EINVAL, "%s", bad[i]);
        cr_expect(pld_parse_set("64", words, 64) == -ERANGE);
        cr_expect(pld_parse_set("1-99999999999999999999999", words, 64) == -ERANGE);
        cr_expect(words[0] == 42);
}
