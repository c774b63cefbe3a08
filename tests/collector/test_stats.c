#include "tests/collector/collector_test.h"


#include <ctype.h>

enum {
        NFIGURES = (sizeof(struct polder_stats) - sizeof(size_t)) / 8,
        BEFORE_NODE_FIGURES = offsetof(struct polder_node_stats, tier),
        NNODE_FIGURES = (sizeof(struct polder_node_stats) - BEFORE_NODE_FIGURES) / 8,
        NTIME_FIGURES = (sizeof(struct polder_histogram) - sizeof(size_t)) / 8
};

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
        make_and_collect(allocate_2_mib);
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
        cr_expect_eq(n, NFIGURES + pld_machine.nnodes * NNODE_FIGURES +
                            POLDER_HISTOGRAMS * NTIME_FIGURES);
        free(text);
}

/* A flat object of numbers, which ends in an array of such. */
static unsigned parse_json(const char **text)
{
        const char *at = *text;
        unsigned n = 0, used;
        char name[64];
        unsigned long long value;
        cr_assert_eq(*at++, '{');
        for (;; n++) {
                int pos = -1;
                if (!strncmp(at, " \"nodes\": [", 11)) {
                        *text = at + 11;
                        return n;
                }
                cr_assert_eq(sscanf(at, " \"%63[a-z_0-9]\": %llu%n", name, &value, &pos), 2, "%s",
                             at);
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
        *text = at + 1;
        return n + 1;
}

static void expect_histograms_in_json(const char *at)
{
        static const char start[] = "], \"histograms\": [";
        cr_assert_eq(strncmp(at, start, sizeof start - 1), 0, "%s", at);
        at += sizeof start - 1;
        for (int kind = 0; kind < POLDER_HISTOGRAMS; kind++) {
                char name[64];
                unsigned long long count = 0, sum, upto, n;
                int used = 0;
                sscanf(at, "{ \"name\": \"%63[a-z_]\", \"count\": %llu,%n", name, &count, &used);
                cr_assert_gt(used, 0, "%s", at);
                cr_expect_str_eq(name, polder_histogram_name((enum polder_histogram_kind)kind));
                at = strchr(at, '[') + 1;
                for (sum = 0; sscanf(at, "[%llu, %llu]%n", &upto, &n, &used) == 2; sum += n)
                        at += used + (at[used] == ',' ? 2 : 0);
                cr_expect_eq(sum, count, "%s", name);
                cr_assert_eq(strncmp(at, "] }", 3), 0, "%s", at);
                at += 3 + (at[3] == ',' ? 2 : 0);
        }
        cr_expect_str_eq(at, "] }\n");
}

Test(stats, json_is_an_object_of_numbers_with_one_of_each_node)
{
        collected_start();
        collect_both_ways();
        char *text = print("json");
        const char *at = text;
        cr_expect_eq(parse_json(&at), NFIGURES);
        for (unsigned i = 0; i < pld_machine.nnodes; i++) {
                at += strspn(at, " ,");
                cr_expect_eq(parse_json(&at), NNODE_FIGURES + 1);
        }
        expect_histograms_in_json(at);
        free(text);
}

/* As the format wants it: bounds rise, counts add up, and the last is all. Returns that. */
static unsigned long long expect_histograms_in_prometheus(const char *text, const char *label,
                                                          const char *family)
{
        char start[128], rest[128];
        unsigned long long count, last = 0;
        double bound, before = 0;
        unsigned n = 0;
        snprintf(start, sizeof start, "# TYPE polder_%s_seconds histogram\n", family);
        const char *at = strstr(text, start);
        cr_assert_not_null(at, "%s", start);
        snprintf(start, sizeof start, "polder_%s_seconds_bucket{%s%sle=\"", family, label,
                 *label ? "," : "");
        at = strstr(at, start);
        cr_assert_not_null(at, "%s", start);
        for (; !strncmp(at, start, strlen(start)); at = strchr(at, '\n') + 1, n++) {
                const char *value = at + strlen(start);
                if (!strncmp(value, "+Inf", 4))
                        bound = 1e300, sscanf(value, "+Inf\"} %llu", &count);
                else
                        cr_assert_eq(sscanf(value, "%lf\"} %llu", &bound, &count), 2, "%s", at);
                cr_assert_gt(bound, before);
                cr_assert_geq(count, last);
                before = bound;
                last = count;
        }
        cr_expect_gt(n, 10);
        cr_expect_eq(before, 1e300);
        snprintf(rest, sizeof rest, *label ? "polder_%s_seconds_sum{%s} " : "polder_%s_seconds_sum%s ",
                 family, label);
        cr_assert_eq(strncmp(at, rest, strlen(rest)), 0, "%s", at);
        at = strchr(at, '\n') + 1;
        snprintf(rest, sizeof rest,
                 *label ? "polder_%s_seconds_count{%s} %llu\n" : "polder_%s_seconds_count%s %llu\n",
                 family, label, last);
        cr_assert_eq(strncmp(at, rest, strlen(rest)), 0, "%s", at);
        return last;
}

Test(stats, prometheus_has_a_type_and_a_sample_each)
{
        collected_start();
        collect_both_ways();
        char *text = print("prometheus"), *rest = text, name[64], type[16], again[64];
        unsigned long long value;
        unsigned n = 0;
        int used;
        for (; n < NFIGURES &&
               sscanf(rest, "# TYPE %63s %15s\n%63s %llu\n%n", name, type, again, &value, &used) == 4;
             rest += used, n++) {
                cr_expect_str_eq(name, again);
                cr_expect_eq(strncmp(name, "polder_", 7), 0);
                cr_expect(!strcmp(type, "counter") || !strcmp(type, "gauge"), "%s", type);
                if (!strcmp(name, "polder_cycles"))
                        cr_expect_eq(value, 2);
        }
        cr_expect_eq(n, NFIGURES);
        for (n = 0; n < NNODE_FIGURES &&
                    sscanf(rest, "# TYPE %63s %15s\n%n", name, type, &used) == 2; n++) {
                rest += used;
                cr_expect_eq(strncmp(name, "polder_node_", 12), 0);
                for (unsigned i = 0; i < pld_machine.nnodes; i++) {
                        int id;
                        used = 0;
                        sscanf(rest, "%63[a-z_0-9]{node=\"%d\"} %llu\n%n", again, &id, &value,
                               &used);
                        cr_assert_gt(used, 0, "%s", rest);
                        cr_expect_str_eq(name, again);
                        cr_expect_eq(id, pld_machine.node[i].id);
                        rest += used;
                }
        }
        cr_expect_eq(n, NNODE_FIGURES);
        cr_expect_eq(expect_histograms_in_prometheus(rest, "", "stop"), stats_now().stops);
        for (int kind = POLDER_STALL + 1; kind < POLDER_HISTOGRAMS; kind++) {
                char label[64];
                snprintf(label, sizeof label, "cause=\"%s\"",
                         polder_histogram_name((enum polder_histogram_kind)kind) + 6);
                expect_histograms_in_prometheus(rest, label, "stall_cause");
        }
        free(text);
}

/* ---- Of one node */

static void start_on_two_nodes(void)
{
        pld_fake_reset();
        pld_fake_add_node(3, 2, PLD_GIB);
        pld_fake_add_node(5, 2, PLD_GIB);
        pld_fake_add_node(8, 0, PLD_GIB);
        pld_fake_install();
        collected_start();
}

static struct polder_node_stats node_now(int node)
{
        struct polder_node_stats stats = { .struct_size = sizeof stats };
        cr_assert_eq(polder_node_stats_read(node, &stats), 0);
        return stats;
}

static size_t backed_on(const struct polder_node_stats *stats)
{
        return stats->backed_1g_bytes + stats->backed_2m_bytes + stats->backed_thp_bytes +
               stats->backed_base_bytes;
}

Test(stats, an_unknown_node_is_an_error)
{
        struct polder_node_stats stats = { .struct_size = sizeof stats };
        cr_expect_eq(polder_node_stats_read(3, &stats), -ENOENT, "not started");
        start_on_two_nodes();
        cr_expect_eq(polder_node_stats_read(4, &stats), -ENOENT);
        cr_expect_eq(polder_node_stats_read(-1, &stats), -ENOENT);
        stats.struct_size = 0;
        cr_expect_eq(polder_node_stats_read(3, &stats), -EINVAL);
        stats.struct_size = sizeof stats + 1;
        cr_expect_eq(polder_node_stats_read(3, &stats), -EINVAL);
}

Test(stats, what_is_allocated_shows_on_its_node)
{
        start_on_two_nodes();
        struct polder_node_stats before = node_now(5);
        cr_expect_eq(before.node, 5);
        cr_expect_eq(before.tier, 0);
        cr_expect_eq(node_now(8).tier, 1);
        cr_expect_eq(before.allowed, 1);
        cr_expect_eq(before.total_bytes, PLD_GIB);
        void *p = polder_malloc_onnode(5 << 20, 5);
        struct polder_node_stats after = node_now(5);
        cr_expect_eq(after.used_bytes, before.used_bytes + (5 << 20));
        cr_expect_eq(after.allocated_bytes, before.allocated_bytes + (5 << 20));
        cr_expect_geq(backed_on(&after), after.used_bytes + after.idle_bytes);
        cr_expect_eq(after.foreign_bytes, 0);
        polder_free(p);
        after = node_now(5);
        cr_expect_eq(after.used_bytes, before.used_bytes);
        cr_expect_geq(after.idle_bytes, 5 << 20);
        cr_expect_eq(node_now(8).allocated_bytes, 0, "nobody asked for it");
}

Test(stats, what_a_full_node_had_not_is_counted_on_both)
{
        start_on_two_nodes();
        polder_free(polder_malloc(16));
        pld_fake_set_free(3, 0);
        void *p = polder_malloc(20 << 20);
        cr_assert_eq(polder_node_of(p), 5);
        cr_expect_eq(node_now(3).missed_bytes, 20 << 20);
        cr_expect_eq(node_now(5).foreign_bytes, 20 << 20);
        polder_free(p);
        pld_fake_set_free(5, 0);
        polder_release();
        pld_fake_set_free(5, 0);
        p = polder_malloc(20 << 20);
        cr_expect_eq(polder_node_of(p), 8, "the slower tier is the last");
        polder_free(p);
}

Test(stats, moves_and_frees_from_abroad_are_counted)
{
        enum { N = 2000 };
        void *blocks[N];
        start_on_two_nodes();
        for (int i = 0; i < N; i++)
                blocks[i] = polder_malloc(1000);
        pld_fake_run_on(2);
        polder_free(polder_malloc(1000));
        cr_expect_eq(node_now(5).arrivals, 1);
        for (int i = 0; i < N; i++)
                polder_free(blocks[i]);
        cr_expect_geq(node_now(3).freed_abroad_bytes, N / 2 * 1000, "some are on their way");
        cr_expect_eq(node_now(5).freed_abroad_bytes, 0);
}

Test(stats, a_node_that_was_taken_says_so)
{
        start_on_two_nodes();
        pld_fake_unplug(5);
        pld_machine_reread();
        cr_expect_eq(node_now(5).allowed, 0);
        cr_expect_eq(node_now(3).allowed, 1);
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
