/* waits.c: how long operations took, and when a thread did not get on.
 *
 * A thread that has work, or waits for a time that has come, reads the clock after each
 * operation. Where more than GAP_NS lie between two readings it did not get on: it was held by a
 * collection, worked for it, waited for memory, or had no CPU. That works for every contestant
 * alike and asks none of them (after Cheng and Blelloch, "A parallel, real-time garbage
 * collector", whose measure is the minimum mutator utilization).
 *
 * Two things are not the contestant's doing, and are subtracted in the net figures. A thread reads
 * its schedstat after a gap: the time for which it was runnable and had no CPU is one. Between
 * gaps it is less than GAP_NS at a time, so what has come up belongs to this gap. The time for
 * which the host ran something else is the other. Linux tells it for all of the machine and in
 * hundredths of a second; so it counts only as far as the thread's own clock says that it did not
 * run though it was not queued, which it may also have been because it waited for others. */
#include "bench/collectors/waits.h"

#include <fcntl.h>
#include <unistd.h>

enum { WINDOW_BINS = 10000000 / GAP_BIN_NS, TICK_NS = 10000000, TOLD_NS = 5000000, TOLD = 20 };

static uint64_t stolen_now, stolen_before;

static uint64_t read_stolen(void)
{
        char text[256];
        unsigned long long field[8] = { 0 };
        int file = open("/proc/stat", O_RDONLY | O_CLOEXEC);
        ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
        if (file >= 0)
                close(file);
        text[length > 0 ? length : 0] = 0;
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &field[0], &field[1], &field[2],
               &field[3], &field[4], &field[5], &field[6], &field[7]);
        return field[7] * TICK_NS;
}

/* What was stolen a moment before a gap is known by then: the reading before the last one is
 * at least one interval of the caller's old. */
void waits_look_at_host(void)
{
        __atomic_store_n(&stolen_before, stolen_now, __ATOMIC_RELAXED);
        __atomic_store_n(&stolen_now, read_stolen(), __ATOMIC_RELAXED);
}

struct account {
        uint64_t ran, queued;
};

static struct account read_account(const struct waits *waits)
{
        char text[96];
        unsigned long long ran = 0, queued = 0;
        ssize_t length = pread(waits->schedstat, text, sizeof text - 1, 0);
        text[length > 0 ? length : 0] = 0;
        sscanf(text, "%llu %llu", &ran, &queued);
        return (struct account){ ran, queued };
}

void waits_begin(struct waits *waits, double seconds)
{
        waits->nbins = (size_t)(seconds * 1e9 / GAP_BIN_NS) + WINDOW_BINS + 1;
        waits->lost = own_array(waits->nbins, sizeof *waits->lost);
        waits->taken = own_array(waits->nbins, sizeof *waits->taken);
        waits->cycle = own_array(waits->nbins, sizeof *waits->cycle);
        waits->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
        struct account account = read_account(waits);
        waits->ran_ns = account.ran;
        waits->queued_ns = account.queued;
        waits->stolen_ns = read_stolen();
        waits->start = waits->last = waits->read_at = now_ns();
}

/* [from, to), `share` of which counts, over the bins it touches. */
static void spread_over(uint32_t *bins, size_t nbins, uint64_t from, uint64_t to, double share)
{
        for (size_t bin = from / GAP_BIN_NS; bin < nbins && bin * GAP_BIN_NS < to; bin++) {
                uint64_t start = bin * GAP_BIN_NS, end = start + GAP_BIN_NS;
                uint64_t part = (to < end ? to : end) - (from > start ? from : start);
                bins[bin] += (uint32_t)((double)part * share);
        }
}

static uint64_t least(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

/* Of a gap that has just ended, what the kernel and the host took. */
static uint64_t taken_of(struct waits *waits, uint64_t gap, uint64_t now)
{
        struct account account = read_account(waits);
        uint64_t queued = account.queued - waits->queued_ns, ran = account.ran - waits->ran_ns;
        uint64_t passed = now - waits->read_at;
        uint64_t off = passed > ran + queued ? passed - ran - queued : 0, stolen = 0;
        if (off > GAP_NS && gap > TICK_NS / 10) {
                uint64_t before = __atomic_load_n(&stolen_before, __ATOMIC_RELAXED);
                uint64_t all = read_stolen();
                before = before > waits->stolen_ns ? before : waits->stolen_ns;
                stolen = all > before ? all - before : 0;
                waits->stolen_ns = all;
        }
        waits->read_at = now;
        waits->ran_ns = account.ran;
        waits->queued_ns = account.queued;
        static unsigned told;
        if (gap > TOLD_NS && __atomic_fetch_add(&told, 1, __ATOMIC_RELAXED) < TOLD)
                say_line("gap us=%.0f ran_us=%.0f queued_us=%.0f off_us=%.0f stolen_us=%.0f\n",
                         (double)gap / 1e3, (double)ran / 1e3, (double)queued / 1e3,
                         (double)off / 1e3, (double)stolen / 1e3);
        return least(gap, queued + least(off, stolen));
}

void waits_gap_slow(struct waits *waits, uint64_t now)
{
        uint64_t gap = now - waits->last, taken = taken_of(waits, gap, now);
        uint64_t from = waits->last < waits->start ? 0 : waits->last - waits->start;
        uint64_t to = now - waits->start;
        spread_over(waits->lost, waits->nbins, from, to, 1);
        spread_over(waits->taken, waits->nbins, from, to, (double)taken / (double)gap);
        if (gap > waits->gap_max_ns)
                waits->gap_max_ns = gap;
        if (gap - taken > waits->gap_net_max_ns)
                waits->gap_net_max_ns = gap - taken;
}

/* --- The report ----------------------------------------------------------------------------- */

static double cell_us(unsigned cell)
{
        if (cell < 1u << WAIT_BITS)
                return cell / 1e3;
        unsigned top = (cell >> WAIT_BITS) + WAIT_BITS - 1;
        unsigned below = cell & ((1u << WAIT_BITS) - 1);
        double width = (double)(UINT64_C(1) << (top - WAIT_BITS));
        return (((1u << WAIT_BITS) + below) * width + width / 2) / 1e3;
}

static double percentile(const uint64_t *cells, uint64_t all, double part)
{
        uint64_t below = 0, wanted = (uint64_t)((double)all * part);
        for (unsigned cell = 0; cell < WAIT_CELLS; cell++) {
                below += cells[cell];
                if (below > wanted)
                        return cell_us(cell);
        }
        return cell_us(WAIT_CELLS - 1);
}

double waits_percentile(const uint64_t cells[], double part)
{
        uint64_t all = 0;
        for (unsigned cell = 0; cell < WAIT_CELLS; cell++)
                all += cells[cell];
        return all ? percentile(cells, all, part) : 0;
}

/* Utilization of each window of ten milliseconds, at steps of a bin, in which a collection was
 * under way (where that is not known, of each): the lowest, and that of the worst hundredth. A gap
 * that a cycle began or ended in belongs to it, for the bins at its ends do. */
struct utilization {
        double lowest, hundredth, mean;
};

static struct utilization utilization(const struct waits *waits, unsigned n, bool net)
{
        uint64_t last = waits[0].last - waits[0].start;
        size_t nbins = last / GAP_BIN_NS < waits[0].nbins ? last / GAP_BIN_NS : waits[0].nbins;
        enum { STEPS = 1000 };
        static uint64_t windows[STEPS + 1];
        double sum = 0, all = (double)n * WINDOW_BINS * GAP_BIN_NS;
        struct utilization found = { 1, 1, 1 };
        for (unsigned i = 0; i <= STEPS; i++)
                windows[i] = 0;
        double lost = 0;
        size_t counted = 0, cycle = 0;
        for (size_t bin = 0; bin < nbins; bin++) {
                for (unsigned i = 0; i < n; i++) {
                        cycle = waits[i].cycle[bin] ? bin + WINDOW_BINS : cycle;
                        lost += waits[i].lost[bin] - (net ? waits[i].taken[bin] : 0.0);
                        if (bin >= WINDOW_BINS)
                                lost -= waits[i].lost[bin - WINDOW_BINS] -
                                        (net ? waits[i].taken[bin - WINDOW_BINS] : 0.0);
                }
                if (bin + 1 < WINDOW_BINS || bin >= cycle)
                        continue;
                double used = 1 - lost / all;
                used = used < 0 ? 0 : used > 1 ? 1 : used;
                windows[(size_t)(used * STEPS)]++;
                if (used < found.lowest)
                        found.lowest = used;
                sum += used;
                counted++;
        }
        uint64_t below = 0;
        for (unsigned i = 0; i <= STEPS && counted; i++) {
                below += windows[i];
                if (below * 100 >= counted) {
                        found.hundredth = (double)i / STEPS;
                        break;
                }
        }
        found.mean = counted ? sum / (double)counted : 1;
        return found;
}

void waits_say(struct waits *waits, unsigned n)
{
        static uint64_t cells[WAIT_CELLS];
        uint64_t all = 0, max = 0, gap = 0, net = 0;
        for (unsigned i = 0; i < n; i++) {
                for (unsigned cell = 0; cell < WAIT_CELLS; cell++) {
                        cells[cell] += waits[i].cells[cell];
                        all += waits[i].cells[cell];
                }
                max = waits[i].max_ns > max ? waits[i].max_ns : max;
                gap = waits[i].gap_max_ns > gap ? waits[i].gap_max_ns : gap;
                net = waits[i].gap_net_max_ns > net ? waits[i].gap_net_max_ns : net;
        }
        for (unsigned cell = 0; cell < WAIT_CELLS; cell++)
                if (cells[cell])
                        say_line("latency us=%.3f count=%llu\n", cell_us(cell),
                                 (unsigned long long)cells[cell]);
        say("p50_us=%.2f p99_us=%.2f p999_us=%.2f p9999_us=%.2f max_us=%.2f",
            percentile(cells, all, .5), percentile(cells, all, .99), percentile(cells, all, .999),
            percentile(cells, all, .9999), (double)max / 1e3);
        struct utilization raw = utilization(waits, n, false),
                           corrected = utilization(waits, n, true);
        say("gap_us_max=%.1f gap_net_us_max=%.1f", (double)gap / 1e3, (double)net / 1e3);
        say("util_min=%.3f util_p1=%.3f util_mean=%.4f", raw.lowest, raw.hundredth, raw.mean);
        say("util_net_min=%.3f util_net_p1=%.3f util_net_mean=%.4f", corrected.lowest,
            corrected.hundredth, corrected.mean);
}
