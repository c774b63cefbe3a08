#include "tests/collector/collector_test.h"

#include <ctype.h>

enum { NFIGURES = (sizeof(struct polder_stats) - sizeof(size_t)) / 8 };

Test(stats, before_the_start_all_is_zero)
{
        struct polder_stats stats = { .struct_size = sizeof stats, .cycles = 7 };
        cr_expect_eq(polder_stats_read(&stats), 0);
        cr_expect_eq(stats.cycles, 0);
        cr_expect_eq(stats.resident_bytes, 0);
        cr_expect_eq(stats.struct_size, sizeof stats);
}

Test(stats, a_size_that_cannot_be_is_invalid)
{
        struct polder_stats stats = { .struct_size = 0 };
        cr_expect_eq(polder_stats_read(&stats), -EINVAL);
        stats.struct_size = sizeof stats + 1;
        cr_expect_eq(polder_stats_read(&stats), -EINVAL);
}

Test(stats, an_older_program_gets_what_it_has_room_for)
{
        collected_start();
        collect_both_ways();
        struct polder_stats stats;
        memset(&stats, 0xaa, sizeof stats);
        stats.struct_size = offsetof(struct polder_stats, stops);
        cr_expect_eq(polder_stats_read(&stats), 0);
        cr_expect_eq(stats.struct_size, offsetof(struct polder_stats, stops));
        cr_expect_eq(stats.cycles, 2);
        cr_expect_eq(stats.stops, UINT64_C(0xaaaaaaaaaaaaaaaa), "not touched");
}

static void *allocate_2_mib(void *unused)
{
        (void)unused;
        for (int i = 0; i < 2048; i++)
                cr_assert_not_null(polder_new_leaf(1024));
        return NULL;
}

Test(stats, the_figures_fit_together)
{
        collected_start();
        on_a_thread(allocate_2_mib, NULL);
        collect_both_ways();
        collect_both_ways();
        struct polder_stats stats = stats_now();
        cr_expect_eq(stats.cycles, 4);
        cr_expect_geq(stats.stops, stats.cycles);
        cr_expect_geq(stats.stop_ns_total, stats.stop_ns_max);
        cr_expect_gt(stats.stop_ns_max, 0);
        cr_expect_gt(stats.handshake_ns_max, 0);
        cr_expect_geq(stats.allocated_bytes, 2 << 20);
        cr_expect_geq(stats.swept_bytes, 2 << 20);
        cr_expect_leq(stats.swept_bytes + stats.live_bytes, stats.allocated_bytes + (256 << 10));
        cr_expect_geq(stats.heap_bytes, stats.live_bytes);
        cr_expect_geq(stats.resident_bytes, 2 << 20);
        cr_expect_leq(stats.huge_bytes, stats.resident_bytes);
}

static char *print(const char *format)
{
        char *text = NULL;
        size_t nbytes;
        FILE *to = open_memstream(&text, &nbytes);
        cr_assert_eq(polder_stats_print(to, format), 0);
        fclose(to);
        return text;
}

Test(stats, text_is_a_name_and_a_number_a_line)
{
        collected_start();
        collect_both_ways();
        char *text = print("text"), *rest = text, name[64];
        unsigned long long value;
        unsigned n = 0;
        int used;
        for (; sscanf(rest, "%63s %llu\n%n", name, &value, &used) == 2; rest += used, n++)
                if (!strcmp(name, "cycles"))
                        cr_expect_eq(value, 2);
        cr_expect_eq(*rest, '\0', "rest: %s", rest);
        cr_expect_eq(n, NFIGURES);
        free(text);
}

/* A flat object of numbers. */
static unsigned parse_json(const char *at)
{
        unsigned n = 0, used;
        char name[64];
        unsigned long long value;
        cr_assert_eq(*at++, '{');
        for (;; n++) {
                int pos = -1;
                cr_assert_eq(sscanf(at, " \"%63[a-z_]\": %llu%n", name, &value, &pos), 2, "%s", at);
                used = (unsigned)pos;
                at += used;
                if (!strcmp(name, "cycles"))
                        cr_expect_eq(value, 2);
                while (isspace((unsigned char)*at))
                        at++;
                if (*at == '}')
                        break;
                cr_assert_eq(*at++, ',', "%s", at);
        }
        cr_expect_str_eq(at, "}\n");
        return n + 1;
}

Test(stats, json_is_a_flat_object_of_numbers)
{
        collected_start();
        collect_both_ways();
        char *text = print("json");
        cr_expect_eq(parse_json(text), NFIGURES);
        free(text);
}

Test(stats, prometheus_has_a_type_and_a_sample_each)
{
        collected_start();
        collect_both_ways();
        char *text = print("prometheus"), *rest = text, name[64], type[16], again[64];
        unsigned long long value;
        unsigned n = 0;
        int used;
        for (;
             sscanf(rest, "# TYPE %63s %15s\n%63s %llu\n%n", name, type, again, &value, &used) == 4;
             rest += used, n++) {
                cr_expect_str_eq(name, again);
                cr_expect_eq(strncmp(name, "polder_", 7), 0);
                cr_expect(!strcmp(type, "counter") || !strcmp(type, "gauge"), "%s", type);
                if (!strcmp(name, "polder_cycles"))
                        cr_expect_eq(value, 2);
        }
        cr_expect_eq(*rest, '\0', "rest: %s", rest);
        cr_expect_eq(n, NFIGURES);
        free(text);
}

Test(stats, another_format_is_invalid)
{
        collected_start();
        cr_expect_eq(polder_stats_print(stdout, "xml"), -EINVAL);
        cr_expect_eq(polder_stats_print(stdout, ""), -EINVAL);
}

Test(stats, an_output_that_fails_is_an_error)
{
        FILE *full = fopen("/dev/full", "w");
        cr_assert_not_null(full);
        setvbuf(full, NULL, _IONBF, 0);
        cr_expect_eq(polder_stats_print(full, "text"), -EIO);
        fclose(full);
}
