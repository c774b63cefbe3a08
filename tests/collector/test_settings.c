#include "tests/collector/collector_test.h"

#include "collector/settings.h"
#include "collector/start.h"

static const char *variable, *value;
static struct polder_options wanted;

static void start_with_variable(void)
{
        struct polder_options options;
        setenv(variable, value, 1);
        polder_options_init(&options);
        if (polder_init(&options))
                _exit(2);
        if (!polder_new_leaf(16))
                _exit(3);
        if (pld_settings.gc != wanted.gc || pld_settings.gc_percent != wanted.gc_percent ||
            pld_settings.memory_limit != wanted.memory_limit ||
            pld_settings.workers_per_node != wanted.workers_per_node || pld_settings.gctrace ||
            pld_settings.verify)
                _exit(4);
        if (options.decay_ms != wanted.decay_ms || options.max_spans != wanted.max_spans ||
            options.max_caches != wanted.max_caches || options.reserve != wanted.reserve ||
            options.prefault != wanted.prefault)
                _exit(5);
}

static void start_on_first_use(void)
{
        setenv(variable, value, 1);
        if (!polder_new_leaf(16))
                _exit(3);
}

static void expect_complaint(const char *name, const char *bad)
{
        char said[2048];
        static void (*const ways[])(void) = { start_with_variable, start_on_first_use };
        variable = name;
        value = bad;
        wanted = (struct polder_options){ .gc_percent = 100, .decay_ms = 10000 };
        for (size_t i = 0; i < PLD_COUNT_OF(ways); i++) {
                int status = in_a_child(ways[i], said, sizeof said);
                cr_expect_eq(status, 0, "%s=%s: %x: %s", name, bad, status, said);
                cr_expect_eq(count_lines(said), 1, "%s=%s: %s", name, bad, said);
                cr_expect_not_null(strstr(said, name), "%s=%s: %s", name, bad, said);
        }
}

Test(settings, each_malformed_one_is_one_line_that_names_it_and_the_default)
{
        static const char *const bad[][2] = {
                { "POLDER_GC", "often" },
                { "POLDER_GC", "0" },
                { "POLDER_GC_PERCENT", "-2" },
                { "POLDER_GC_PERCENT", "many" },
                { "POLDER_GC_PERCENT", "100%" },
                { "POLDER_GC_FLOOR", "much" },
                { "POLDER_WORKERS", "-1" },
                { "POLDER_WORKERS", "1.5" },
                { "POLDER_MEMORY_LIMIT", "lots" },
                { "POLDER_MEMORY_LIMIT", "4G,soft" },
                { "POLDER_MEMORY_LIMIT", ",hard" },
                { "POLDER_MAX_SPANS", "-1" },
                { "POLDER_MAX_SPANS", "x" },
                { "POLDER_MAX_CACHES", "1 2" },
                { "POLDER_DEBUG", "gctrace=2" },
                { "POLDER_DEBUG", "everything" },
                { "POLDER_DEBUG", "verify,gctrace=yes" },
                { "POLDER_PAGES", "3M" },
                { "POLDER_NODES", "9000" },
                { "POLDER_NODES", "a" },
                { "POLDER_RESERVE", "-1" },
                { "POLDER_PREFAULT", "perhaps" },
                { "POLDER_LOCK", "mlock" },
                { "POLDER_DECAY_MS", "-2" },
                { "POLDER_DECAY_MS", "soon" },
        };
        for (size_t i = 0; i < PLD_COUNT_OF(bad); i++)
                expect_complaint(bad[i][0], bad[i][1]);
}

static void expect_silence(const char *name, const char *good)
{
        char said[2048];
        variable = name;
        value = good;
        int status = in_a_child(start_on_first_use, said, sizeof said);
        cr_expect_eq(status, 0, "%s=%s: %x", name, good, status);
        cr_expect_str_eq(said, "", "%s=%s: %s", name, good, said);
}

Test(settings, a_good_one_and_an_empty_one_are_silent)
{
        static const char *const good[][2] = {
                { "POLDER_GC", "stw" },          { "POLDER_GC", "OFF" },
                { "POLDER_GC", "concurrent" },   { "POLDER_GC_PERCENT", "-1" },
                { "POLDER_GC_PERCENT", "0" },    { "POLDER_WORKERS", "2" },
                { "POLDER_MEMORY_LIMIT", "1G" }, { "POLDER_MEMORY_LIMIT", "1.5GiB,hard" },
                { "POLDER_MAX_SPANS", "1000" },  { "POLDER_DEBUG", "gctrace=0,verify=1" },
                { "POLDER_DEBUG", "verify" },    { "POLDER_NODES", "0" },
                { "POLDER_PAGES", "base" },      { "POLDER_DECAY_MS", "0" },
                { "POLDER_PREFAULT", "off" },    { "POLDER_LOCK", "off" },
                { "POLDER_DEBUG", "report=0" },
        };
        for (size_t i = 0; i < PLD_COUNT_OF(good); i++) {
                expect_silence(good[i][0], good[i][1]);
                expect_silence(good[i][0], "");
        }
}

Test(settings, the_environment_sets_the_options)
{
        struct polder_options options;
        setenv("POLDER_GC", "stw", 1);
        setenv("POLDER_GC_PERCENT", "33", 1);
        setenv("POLDER_GC_FLOOR", "5M", 1);
        setenv("POLDER_WORKERS", "3", 1);
        setenv("POLDER_MEMORY_LIMIT", "64M,hard", 1);
        setenv("POLDER_MAX_SPANS", "7", 1);
        setenv("POLDER_MAX_CACHES", "8", 1);
        setenv("POLDER_DECAY_MS", "9", 1);
        setenv("POLDER_RESERVE", "4M", 1);
        setenv("POLDER_PREFAULT", "on", 1);
        setenv("POLDER_LOCK", "on", 1);
        setenv("POLDER_DEBUG", "verify", 1);
        polder_options_init(&options);
        cr_expect_eq(options.struct_size, sizeof options);
        cr_expect_eq(options.gc, POLDER_GC_STW);
        cr_expect_eq(options.gc_percent, 33);
        cr_expect_eq(options.gc_floor, 5 << 20);
        cr_expect_eq(options.workers_per_node, 3);
        cr_expect_eq(options.memory_limit, 64 << 20);
        cr_expect(options.memory_limit_hard);
        cr_expect_eq(options.max_spans, 7);
        cr_expect_eq(options.max_caches, 8);
        cr_expect_eq(options.decay_ms, 9);
        cr_expect_eq(options.reserve, 4 << 20);
        cr_expect(options.prefault);
        cr_expect(options.lock);
        cr_expect_str_eq(options.debug, "verify");
}

Test(settings, without_an_environment_the_defaults_are_as_documented)
{
        struct polder_options options;
        polder_options_init(&options);
        cr_expect_eq(options.gc, POLDER_GC_CONCURRENT);
        cr_expect_eq(options.gc_percent, 100);
        cr_expect_eq(options.gc_floor, 0);
        cr_expect_eq(options.workers_per_node, 0);
        cr_expect_eq(options.memory_limit, 0);
        cr_expect_not(options.memory_limit_hard);
        cr_expect_eq(options.max_spans, 0);
        cr_expect_eq(options.max_caches, 0);
        cr_expect_eq(options.decay_ms, 10000);
        cr_expect_eq(options.reserve, 0);
        cr_expect_not(options.prefault);
        cr_expect_not(options.lock);
        cr_expect_null(options.nodes);
        cr_expect_null(options.debug);
}

static void apply(const struct polder_options *options, int expected)
{
        struct pld_arena_settings arena;
        struct pld_collector_settings collector;
        cr_expect_eq(pld_options_apply(options, &arena, &collector), expected);
}

Test(settings, an_option_that_cannot_be_is_refused)
{
        struct polder_options good, bad;
        polder_options_init(&good);
        apply(&good, 0);
        bad = good, bad.gc = (enum polder_gc)7;
        apply(&bad, -EINVAL);
        bad = good, bad.workers_per_node = -1;
        apply(&bad, -EINVAL);
        bad = good, bad.decay_ms = -2;
        apply(&bad, -EINVAL);
        bad = good, bad.debug = "nonsense";
        apply(&bad, -EINVAL);
}

Test(settings, a_soft_limit_is_no_wall_of_the_arena)
{
        struct pld_arena_settings arena;
        struct pld_collector_settings collector;
        struct polder_options options;
        polder_options_init(&options);
        options.memory_limit = 1 << 30;
        cr_assert_eq(pld_options_apply(&options, &arena, &collector), 0);
        cr_expect_eq(arena.limit, 0);
        cr_expect_eq(collector.memory_limit, 1 << 30);
        options.memory_limit_hard = true;
        cr_assert_eq(pld_options_apply(&options, &arena, &collector), 0);
        cr_expect_eq(arena.limit, 1 << 30);
        cr_expect_eq(collector.memory_limit, 1 << 30);
}

Test(settings, what_is_the_arenas_gets_there)
{
        struct pld_arena_settings arena;
        struct pld_collector_settings collector;
        struct polder_options options;
        polder_options_init(&options);
        cr_assert_eq(pld_options_apply(&options, &arena, &collector), 0);
        cr_expect(!arena.lock && !arena.report);
        options.lock = true;
        options.debug = "report";
        cr_assert_eq(pld_options_apply(&options, &arena, &collector), 0);
        cr_expect(arena.lock && arena.report);
}

static void be_run_again(void)
{
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
        execl("/proc/self/exe", "self", "--list", (char *)NULL);
}

Test(settings, an_unknown_variable_is_one_line_at_the_start)
{
        char said[2048];
        setenv("POLDER_GC_PERCENTAGE", "50", 1);
        in_a_child(be_run_again, said, sizeof said);
        cr_expect_eq(count_lines(said), 1, "%s", said);
        cr_expect_not_null(strstr(said, "POLDER_GC_PERCENTAGE is not a setting"), "%s", said);
}
