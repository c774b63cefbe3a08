#include "arena/settings.h"

#include "base/bits.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdlib.h>

static struct pld_arena_settings with(const char *name, const char *value)
{
        struct pld_arena_settings settings;
        setenv(name, value, 1);
        pld_arena_settings_init(&settings);
        return settings;
}

TestSuite(settings, .init = cr_redirect_stderr);

Test(settings, without_variables_they_are_the_defaults)
{
        struct pld_arena_settings settings;
        pld_arena_settings_init(&settings);
        cr_expect_null(settings.pages);
        cr_expect_null(settings.nodes);
        cr_expect_eq(settings.reserve, 0);
        cr_expect_not(settings.prefault);
        cr_expect_not(settings.lock);
        cr_expect_not(settings.report);
        cr_expect_eq(settings.decay_ms, 10000);
        cr_expect_eq(settings.limit, 0);
        cr_expect_eq(settings.max_spans, 0);
        cr_expect_eq(settings.max_caches, 0);
        cr_expect_stderr_eq_str("");
}

Test(settings, every_variable_has_its_field)
{
        cr_expect_str_eq(with("POLDER_PAGES", "2M,thp").pages, "2M,thp");
        cr_expect_str_eq(with("POLDER_NODES", "0,2-3").nodes, "0,2-3");
        cr_expect_eq(with("POLDER_RESERVE", "1.5G").reserve, (size_t)3 << 29);
        cr_expect(with("POLDER_PREFAULT", "on").prefault);
        cr_expect(with("POLDER_LOCK", "1").lock);
        cr_expect_eq(with("POLDER_DECAY_MS", "-1").decay_ms, -1);
        cr_expect_eq(with("POLDER_DECAY_MS", "0").decay_ms, 0);
        cr_expect_eq(with("POLDER_MAX_SPANS", "1000").max_spans, 1000);
        cr_expect_eq(with("POLDER_MAX_CACHES", "7").max_caches, 7);
        cr_expect_stderr_eq_str("");
}

Test(settings, only_a_hard_limit_is_the_arenas)
{
        cr_expect_eq(with("POLDER_MEMORY_LIMIT", "64M").limit, 0);
        cr_expect_eq(with("POLDER_MEMORY_LIMIT", "64M,hard").limit, (size_t)64 << 20);
        cr_expect_stderr_eq_str("");
}

Test(settings, a_malformed_limit_is_one_line)
{
        cr_expect_eq(with("POLDER_MEMORY_LIMIT", "64M,soft").limit, 0);
        cr_expect_stderr_eq_str("polder: POLDER_MEMORY_LIMIT=\"64M,soft\" is not understood: takes a"
                                " size such as 4G, or 4G,hard for a wall; using what it was"
                                " before\n");
}

Test(settings, a_malformed_decay_is_one_line_and_the_default)
{
        cr_expect_eq(with("POLDER_DECAY_MS", "abc").decay_ms, 10000);
        cr_expect_stderr_eq_str("polder: POLDER_DECAY_MS=\"abc\" is not understood: takes"
                                " milliseconds, -1 (never) or 0 (at once); using 10000\n");
}

Test(settings, a_malformed_switch_is_one_line_and_the_default)
{
        cr_expect_not(with("POLDER_PREFAULT", "maybe").prefault);
        cr_expect_stderr_eq_str("polder: POLDER_PREFAULT=\"maybe\" is not understood: takes on or"
                                " off; using off\n");
}

Test(settings, a_malformed_size_is_one_line_and_the_default)
{
        cr_expect_eq(with("POLDER_RESERVE", "12 elephants").reserve, 0);
        cr_expect_stderr_eq_str("polder: POLDER_RESERVE=\"12 elephants\" is not understood: takes a"
                                " size such as 64M or 2G; using 0\n");
}

Test(settings, an_empty_variable_is_one_that_is_not_set)
{
        cr_expect_eq(with("POLDER_DECAY_MS", "").decay_ms, 10000);
        cr_expect_null(with("POLDER_PAGES", "").pages);
        cr_expect_stderr_eq_str("");
}

Test(settings, the_report_is_one_of_the_debugging_words)
{
        static const struct {
                const char *words;
                bool on;
        } cases[] = { { "report", true },          { "report=1", true }, { "report=0", false },
                      { "gctrace,report", true },  { "reports", false }, { "verify", false },
                      { "report,report=0", false } };
        for (size_t i = 0; i < PLD_COUNT_OF(cases); i++) {
                struct pld_arena_settings s = with("POLDER_DEBUG", cases[i].words);
                cr_expect_eq(s.report, cases[i].on, "%s", cases[i].words);
        }
}

Test(settings, a_malformed_lock_is_one_line_and_off)
{
        cr_expect_not(with("POLDER_LOCK", "mlock").lock);
        cr_expect_stderr_eq_str("polder: POLDER_LOCK=\"mlock\" is not understood: takes on or off; "
                                "using off\n");
}
