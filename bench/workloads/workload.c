/* workload: how long does a malloc take under this load, and how much memory does it keep?
 *
 * usage: workload KIND [operations=N] [bytes=N] [low=N] [high=N] [blocks=N] [threads=N]
 *                      [pattern=WORD] [seconds=N] [divide=N]
 *        workload where            names the objects that malloc, calloc, realloc, free are in
 *
 * A plain C program that calls malloc, calloc, realloc and free, and leaves to the dynamic
 * linker whose they are; so every allocator is measured in the form in which a user gets it.
 * It prints one line: the operations, nanoseconds for each (time on the wall, over all
 * threads), the CPU time, and the resident memory at its peak and at the end.
 *
 * B1  All that is got is written: a word in each 4 KiB.
 * B2  The same arguments give the same sequence of calls in each thread: seeds are fixed, and
 *     sizes and orders come out of tables that are made before.
 * B3  The program's own arrays come from mmap, so that the allocator has the workload alone;
 *     they count as resident with everyone alike.
 * B4  No time is left out: neither the first touch nor what the kernel does. */
#include "bench/workloads/workload.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct kind kinds[] = {
        { "nothing", run_nothing }, { "pair", run_pair },     { "batch", run_batch },
        { "build", run_build },     { "trees", run_trees },   { "churn", run_churn },
        { "shared", run_shared },   { "larson", run_larson }, { "handoff", run_handoff },
        { "realloc", run_realloc }, { "calloc", run_calloc }, { "scratch", run_scratch },
        { "lives", run_lives },     { "shift", run_shift },   { "shrink", run_shrink },
        { "tiny", run_tiny },
};

static double started;

static double seconds_of(clockid_t clock)
{
        struct timespec now;
        clock_gettime(clock, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

_Noreturn void give_up(const char *what)
{
        static const char prefix[] = "workload: ";
        (void)!write(2, prefix, sizeof prefix - 1);
        (void)!write(2, what, strlen(what));
        (void)!write(2, "\n", 1);
        _exit(1);
}

void fill_sizes(uint32_t sizes[static SIZES], size_t low, size_t high, uint64_t seed)
{
        struct random random = random_of(seed);
        for (size_t i = 0; i < SIZES; i++) {
                double part = (double)(random_next(&random) >> 32) / 4294967296.0;
                sizes[i] = (uint32_t)((double)low * pow((double)high / (double)low, part));
        }
}

/* --- Resident memory --------------------------------------------------------------------- */

/* The value of a line of a file of /proc/self, in KiB; no stdio, which would allocate. */
static size_t proc_kib(const char *path, const char *key)
{
        char text[8192];
        int file = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
        if (file >= 0)
                close(file);
        if (length <= 0)
                give_up(path);
        text[length] = 0;
        const char *line = strstr(text, key);
        return line ? strtoul(line + strlen(key), NULL, 10) : 0;
}

/* The roll-up is counted out of the page tables; the counters in status may lag behind. */
size_t resident_kib(void)
{
        return proc_kib("/proc/self/smaps_rollup", "\nRss:") +
               proc_kib("/proc/self/status", "\nHugetlbPages:");
}

static size_t peak_kib(size_t at_end_kib)
{
        size_t peak = proc_kib("/proc/self/status", "\nVmHWM:") +
                      proc_kib("/proc/self/status", "\nHugetlbPages:");
        return peak > at_end_kib ? peak : at_end_kib;
}

void sample(size_t live_nbytes)
{
        char line[128];
        int length =
            snprintf(line, sizeof line, "sample seconds=%.3f live_kib=%zu rss_kib=%zu\n",
                     seconds_of(CLOCK_MONOTONIC) - started, live_nbytes >> 10, resident_kib());
        (void)!write(1, line, (size_t)length);
}

/* --- Threads ----------------------------------------------------------------------------- */

struct body {
        const struct setting *setting;
        void (*call)(const struct setting *, unsigned);
        unsigned index;
};

static void *enter(void *argument)
{
        const struct body *body = argument;
        body->call(body->setting, body->index);
        return NULL;
}

void in_threads(const struct setting *setting, void (*body)(const struct setting *, unsigned))
{
        pthread_t threads[MAX_THREADS];
        struct body bodies[MAX_THREADS];
        for (unsigned i = 0; i < setting->threads; i++) {
                bodies[i] = (struct body){ setting, body, i };
                if (pthread_create(&threads[i], NULL, enter, &bodies[i]))
                        give_up("pthread_create");
        }
        for (unsigned i = 0; i < setting->threads; i++)
                pthread_join(threads[i], NULL);
}

/* --- The command line -------------------------------------------------------------------- */

static int where(void)
{
        static const char *const names[] = { "malloc", "calloc", "realloc", "free" };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                Dl_info info;
                void *function = dlsym(RTLD_DEFAULT, names[i]);
                if (!function || !dladdr(function, &info))
                        give_up(names[i]);
                printf("%s %s\n", names[i], info.dli_fname);
        }
        return 0;
}

static bool take(struct setting *setting, const char *name, const char *value, uint64_t *divide)
{
        uint64_t number = strtoull(value, NULL, 0);
        if (!strcmp(name, "operations"))
                setting->operations = number;
        else if (!strcmp(name, "bytes"))
                setting->nbytes = number;
        else if (!strcmp(name, "low"))
                setting->low = number;
        else if (!strcmp(name, "high"))
                setting->high = number;
        else if (!strcmp(name, "blocks"))
                setting->blocks = number;
        else if (!strcmp(name, "threads"))
                setting->threads = (unsigned)number;
        else if (!strcmp(name, "seconds"))
                setting->seconds = strtod(value, NULL);
        else if (!strcmp(name, "pattern"))
                setting->pattern = value;
        else if (!strcmp(name, "divide"))
                *divide = number;
        else
                return false;
        return true;
}

static struct setting setting_of(int count, char **words)
{
        struct setting setting = { .pattern = "",
                                   .operations = 1000000,
                                   .nbytes = 64,
                                   .low = 16,
                                   .high = 1024,
                                   .blocks = 1000,
                                   .threads = 1 };
        uint64_t divide = 1;
        for (int i = 0; i < count; i++) {
                char *value = strchr(words[i], '=');
                if (!value)
                        give_up("arguments are NAME=VALUE");
                *value++ = 0;
                if (!take(&setting, words[i], value, &divide))
                        give_up("there is no such argument");
        }
        if (!divide || !setting.threads || setting.threads > MAX_THREADS || setting.low < 4 ||
            setting.low > setting.high || setting.nbytes < 4 || !setting.blocks)
                give_up("an argument is out of its range");
        setting.operations /= divide;
        return setting;
}

static void report(const struct kind *kind, const struct setting *setting)
{
        double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        started = seconds_of(CLOCK_MONOTONIC);
        uint64_t operations = kind->run(setting);
        double wall = seconds_of(CLOCK_MONOTONIC) - started;
        cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        size_t end = resident_kib(), peak = peak_kib(end);
        printf(
            "kind=%s operations=%llu ns=%.3f wall_ms=%.1f cpu_ms=%.1f peak_kib=%zu end_kib=%zu\n",
            kind->name, (unsigned long long)operations,
            operations ? wall * 1e9 / (double)operations : 0.0, wall * 1e3, cpu * 1e3, peak, end);
}

int main(int argc, char **argv)
{
        if (argc == 2 && !strcmp(argv[1], "where"))
                return where();
        for (size_t i = 0; argc > 1 && i < sizeof kinds / sizeof *kinds; i++) {
                if (!strcmp(argv[1], kinds[i].name)) {
                        struct setting setting = setting_of(argc - 2, argv + 2);
                        report(&kinds[i], &setting);
                        return 0;
                }
        }
        give_up("name a kind of workload");
}
