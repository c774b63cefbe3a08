#include "tests/collector/collector_test.h"

#include "collector/settings.h"
#include "collector/start.h"

Test(start, init_starts_once)
{
        struct polder_options options;
        polder_options_init(&options);
        options.gc_percent = 42;
        options.gc = POLDER_GC_OFF;
        cr_expect_eq(polder_init(&options), 0);
        cr_expect_eq(pld_settings.gc_percent, 42);
        cr_expect_eq(pld_settings.gc, POLDER_GC_OFF);
        cr_expect_eq(polder_init(&options), -EALREADY);
        cr_expect_eq(polder_init(NULL), -EALREADY);
        cr_expect_not_null(polder_new_leaf(8));
}

Test(start, init_without_options_takes_the_environment)
{
        setenv("POLDER_GC_PERCENT", "17", 1);
        cr_expect_eq(polder_init(NULL), 0);
        cr_expect_eq(pld_settings.gc_percent, 17);
}

Test(start, init_comes_too_late_after_the_first_use)
{
        cr_assert_not_null(polder_new_leaf(8));
        cr_expect_eq(polder_init(NULL), -EALREADY);
}

Test(start, init_comes_too_late_after_malloc)
{
        polder_free(polder_malloc(8));
        cr_expect_eq(polder_init(NULL), -EALREADY);
        cr_expect_not_null(polder_new_leaf(8), "the collector starts all the same");
}

static struct polder_options bad;

static void init_badly(void)
{
        int error = polder_init(&bad);
        if (error != -EINVAL)
                _exit(2);
        struct polder_options good;
        polder_options_init(&good);
        if (polder_init(&good)) /* nothing was started by halves */
                _exit(3);
        if (!polder_new_leaf(8))
                _exit(4);
}

static void expect_refusal(const char *words)
{
        char said[2048];
        int status = in_a_child(init_badly, said, sizeof said);
        cr_expect_eq(status, 0, "%s: %x", words, status);
        cr_expect_eq(count_lines(said), 1, "%s: %s", words, said);
        cr_expect_not_null(strstr(said, words), "%s: %s", words, said);
}

Test(start, an_option_that_cannot_be_is_one_line_that_names_it)
{
        polder_options_init(&bad);
        bad.gc = (enum polder_gc)3;
        expect_refusal("gc");
        polder_options_init(&bad);
        bad.workers_per_node = -1;
        expect_refusal("workers_per_node");
        polder_options_init(&bad);
        bad.decay_ms = -5;
        expect_refusal("decay_ms");
        polder_options_init(&bad);
        bad.debug = "all";
        expect_refusal("debug");
        polder_options_init(&bad);
        bad.pages = "3M";
        expect_refusal("3M");
        polder_options_init(&bad);
        bad.nodes = "4000";
        expect_refusal("4000");
        polder_options_init(&bad);
        bad.struct_size = 0;
        expect_refusal("polder_options_init");
        polder_options_init(&bad);
        bad.struct_size = sizeof bad + 8;
        expect_refusal("polder_options_init");
}

Test(start, options_of_an_older_program_are_shorter)
{
        struct polder_options options;
        setenv("POLDER_GC_PERCENT", "17", 1);
        polder_options_init(&options);
        options.struct_size = offsetof(struct polder_options, gc_percent);
        options.gc_percent = 99; /* not there, for that program */
        options.max_spans = 500;
        cr_expect_eq(polder_init(&options), 0);
        cr_expect_eq(pld_settings.gc_percent, 17);
}

static void *use_first(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        while (pld_load_acquire(&gang->nready) < 8)
                ;
        cr_assert_not_null(polder_new_leaf(100));
        return NULL;
}

Test(start, threads_may_start_it_at_once, .timeout = 60)
{
        struct gang gang;
        gang_start(&gang, 8, use_first);
        gang_stop(&gang);
        cr_expect(pld_load_relaxed(&pld_started));
        collect_both_ways();
}

static void first_gc_percent(void)
{
        if (polder_set_gc_percent(50) != 100)
                _exit(2);
}

static void first_limit(void)
{
        if (polder_set_memory_limit(1 << 30) != 0)
                _exit(2);
}

static void first_root(void)
{
        if (polder_root_add(weaks, sizeof weaks) || polder_root_remove(weaks))
                _exit(2);
}

static void first_pin(void)
{
        if (polder_pin(&bad) != -EINVAL || polder_unpin(&bad) != -ENOENT)
                _exit(2);
}

static void first_weak(void)
{
        if (polder_weak_new(&bad) || errno != EINVAL || polder_weak_get(NULL))
                _exit(2);
}

static void first_store(void)
{
        void *slot = NULL, *expected = &bad;
        polder_store(&slot, (void *)&bad);
        if (polder_load(&slot) != &bad || !polder_compare_exchange(&slot, &expected, NULL))
                _exit(2);
        polder_safepoint();
        polder_clear(&slot, sizeof slot);
}

static void first_others(void)
{
        polder_blocking_begin();
        polder_blocking_end();
        polder_thread_detach();
        polder_safepoint();
        if (polder_size_of(&bad) || polder_collect_start() || polder_prefault_wait())
                _exit(2);
}

Test(start, any_function_may_come_first)
{
        static void (*const firsts[])(void) = { first_gc_percent, first_limit, first_root,
                                                first_pin,        first_weak,  first_store,
                                                first_others };
        char said[512];
        for (size_t i = 0; i < PLD_COUNT_OF(firsts); i++) {
                int status = in_a_child(firsts[i], said, sizeof said);
                cr_expect_eq(status, 0, "%zu: %x: %s", i, status, said);
        }
}
