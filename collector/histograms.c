/* histograms.c: which times are kept as histograms, and how they are read.
 *
 * Who knows a time adds it to a histogram of its own (cycle.c, arena/stall.h); here are
 * their public names. Printing takes a copy of one at a time. */
#include "collector/histograms.h"

#include "arena/stall.h"
#include "collector/cycle.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <polder/stats.h>
#include <string.h>

#define STALL "stall_"

static const struct {
        const char *name;
        struct pld_histogram *times;
} kinds[] = {
        [POLDER_STOP] = { "stop", &pld_stop_times },
        [POLDER_STOP_CPU] = { "stop_cpu", &pld_stop_cpu_times },
        [POLDER_HANDSHAKE] = { "handshake", &pld_handshake_times },
        [POLDER_STALL] = { "stall", &pld_stall_sums },
        [POLDER_STALL_ASSIST] = { STALL "assist", &pld_stall_times[PLD_STALL_ASSIST] },
        [POLDER_STALL_PACE] = { STALL "pace", &pld_stall_times[PLD_STALL_PACE] },
        [POLDER_STALL_REFILL] = { STALL "refill", &pld_stall_times[PLD_STALL_REFILL] },
        [POLDER_STALL_SWEEP] = { STALL "sweep", &pld_stall_times[PLD_STALL_SWEEP] },
        [POLDER_STALL_GROW] = { STALL "grow", &pld_stall_times[PLD_STALL_GROW] },
        [POLDER_STALL_RELEASE] = { STALL "release", &pld_stall_times[PLD_STALL_RELEASE] },
        [POLDER_STALL_LARGE] = { STALL "large", &pld_stall_times[PLD_STALL_LARGE] },
        [POLDER_STALL_COLLECT] = { STALL "collect", &pld_stall_times[PLD_STALL_COLLECT] },
};
static_assert(PLD_COUNT_OF(kinds) == POLDER_HISTOGRAMS, "each has a name");

enum { FIRST_BIT = 10, LAST_BIT = 34, STEP_BITS = 1 }; /* of Prometheus' buckets, ns */

static bool is_kind(enum polder_histogram_kind kind)
{
        return (unsigned)kind < POLDER_HISTOGRAMS;
}

const char *polder_histogram_name(enum polder_histogram_kind kind)
{
        return is_kind(kind) ? kinds[kind].name : NULL;
}

static struct polder_histogram summary_of(const struct pld_histogram_copy *copy)
{
        return (struct polder_histogram){
                .count = copy->count,
                .sum_ns = copy->sum,
                .max_ns = copy->max,
                .p50_ns = pld_histogram_at(copy, 0.5),
                .p90_ns = pld_histogram_at(copy, 0.9),
                .p99_ns = pld_histogram_at(copy, 0.99),
                .p999_ns = pld_histogram_at(copy, 0.999),
                .p9999_ns = pld_histogram_at(copy, 0.9999),
        };
}

int polder_histogram_read(enum polder_histogram_kind kind, struct polder_histogram *out)
{
        size_t room = out->struct_size;
        struct pld_histogram_copy copy;
        if (!is_kind(kind) || room == 0 || room > sizeof *out)
                return -EINVAL;
        pld_histogram_copy(kinds[kind].times, &copy);
        struct polder_histogram now = summary_of(&copy);
        now.struct_size = room;
        memcpy(out, &now, room);
        return 0;
}

size_t polder_histogram_buckets(enum polder_histogram_kind kind,
                                struct polder_histogram_bucket *out, size_t n)
{
        struct pld_histogram_copy copy;
        size_t there = 0;
        if (!is_kind(kind))
                return 0;
        pld_histogram_copy(kinds[kind].times, &copy);
        for (unsigned i = 0; i < PLD_HISTOGRAM_BUCKETS; i++) {
                if (!copy.n[i])
                        continue;
                if (there < n)
                        out[there] = (struct polder_histogram_bucket){ pld_histogram_last(i),
                                                                       copy.n[i] };
                there++;
        }
        return there;
}

/* ---- Written down ------------------------------------------------------------------------ */

struct figure {
        const char *name;
        size_t offset;
};
#define FIGURE(name) { #name, offsetof(struct polder_histogram, name) }
static const struct figure figures[] = {
        FIGURE(count),  FIGURE(sum_ns), FIGURE(max_ns),  FIGURE(p50_ns),
        FIGURE(p90_ns), FIGURE(p99_ns), FIGURE(p999_ns), FIGURE(p9999_ns),
};

static uint64_t value_of(const struct polder_histogram *summary, const struct figure *figure)
{
        uint64_t value;
        memcpy(&value, (const char *)summary + figure->offset, sizeof value);
        return value;
}

static struct polder_histogram read_kind(unsigned kind)
{
        struct polder_histogram summary = { .struct_size = sizeof summary };
        polder_histogram_read((enum polder_histogram_kind)kind, &summary);
        return summary;
}

void pld_histograms_print_text(FILE *to)
{
        for (unsigned kind = 0; kind < POLDER_HISTOGRAMS; kind++) {
                struct polder_histogram summary = read_kind(kind);
                for (size_t i = 0; i < PLD_COUNT_OF(figures); i++) {
                        char name[64];
                        snprintf(name, sizeof name, "%s_%s", kinds[kind].name, figures[i].name);
                        fprintf(to, "%-26s %20" PRIu64 "\n", name, value_of(&summary, &figures[i]));
                }
        }
}

static void print_json_buckets(FILE *to, unsigned kind)
{
        struct polder_histogram_bucket buckets[PLD_HISTOGRAM_BUCKETS];
        size_t n = polder_histogram_buckets((enum polder_histogram_kind)kind, buckets,
                                            PLD_COUNT_OF(buckets));
        fputs("\"buckets\": [", to);
        for (size_t i = 0; i < n; i++)
                fprintf(to, "%s[%" PRIu64 ", %" PRIu64 "]", i ? ", " : "", buckets[i].upto_ns,
                        buckets[i].count);
        fputs("]", to);
}

void pld_histograms_print_json(FILE *to)
{
        fputs("\"histograms\": [", to);
        for (unsigned kind = 0; kind < POLDER_HISTOGRAMS; kind++) {
                struct polder_histogram summary = read_kind(kind);
                fprintf(to, "%s{ \"name\": \"%s\", ", kind ? ", " : "", kinds[kind].name);
                for (size_t i = 0; i < PLD_COUNT_OF(figures); i++)
                        fprintf(to, "\"%s\": %" PRIu64 ", ", figures[i].name,
                                value_of(&summary, &figures[i]));
                print_json_buckets(to, kind);
                fputs(" }", to);
        }
        fputs("]", to);
}

static double seconds(uint64_t ns)
{
        return (double)ns / (double)PLD_NS_PER_S;
}

/* label: such as `cause="sweep"`, or nothing. Bounds are the last values of buckets, so
 * that the counts are exact. */
static void print_prometheus_one(FILE *to, unsigned kind, const char *family, const char *label)
{
        struct pld_histogram_copy copy;
        const char *comma = *label ? "," : "";
        char braces[64] = "";
        if (*label)
                snprintf(braces, sizeof braces, "{%s}", label);
        pld_histogram_copy(kinds[kind].times, &copy);
        for (unsigned bit = FIRST_BIT; bit <= LAST_BIT; bit += STEP_BITS) {
                uint64_t last = (UINT64_C(1) << bit) - 1;
                fprintf(to, "polder_%s_seconds_bucket{%s%sle=\"%.9f\"} %" PRIu64 "\n", family, label,
                        comma, seconds(last), pld_histogram_count_to(&copy, last));
        }
        fprintf(to, "polder_%s_seconds_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", family, label, comma,
                copy.count);
        fprintf(to, "polder_%s_seconds_sum%s %.9f\n", family, braces, seconds(copy.sum));
        fprintf(to, "polder_%s_seconds_count%s %" PRIu64 "\n", family, braces, copy.count);
}

static bool is_cause(unsigned kind)
{
        return strncmp(kinds[kind].name, STALL, sizeof STALL - 1) == 0;
}

void pld_histograms_print_prometheus(FILE *to)
{
        char label[64];
        for (unsigned kind = 0; kind < POLDER_HISTOGRAMS; kind++) {
                if (is_cause(kind))
                        continue;
                fprintf(to, "# TYPE polder_%s_seconds histogram\n", kinds[kind].name);
                print_prometheus_one(to, kind, kinds[kind].name, "");
        }
        fputs("# TYPE polder_stall_cause_seconds histogram\n", to);
        for (unsigned kind = 0; kind < POLDER_HISTOGRAMS; kind++) {
                if (!is_cause(kind))
                        continue;
                snprintf(label, sizeof label, "cause=\"%s\"", kinds[kind].name + sizeof STALL - 1);
                print_prometheus_one(to, kind, "stall_cause", label);
        }
}
