/* load: how do programs fare under this collector?
 *
 * usage: load KIND [NAME=VALUE…]
 *
 * A program of its own for Polder, for bdwgc and for malloc, from the same sources (memory.h);
 * load.go is the same in Go. It prints lines of NAME=VALUE: the last is the result, and
 * what the process and its collector say of themselves.
 *
 * L1  A load checks what it did, and fails if anything was lost.
 * L2  The same arguments give the same work: seeds are fixed.
 * L3  The program's own arrays come from mmap, and are small beside what is measured.
 * L4  No time is left out but where a load says so: filling a cache before it serves. */
#include "bench/collectors/load.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static void run_touch(const struct setting *setting);

static const struct load loads[] = {
        { "trees", run_trees }, { "mix", run_mix },       { "cache", run_cache },
        { "graph", run_graph }, { "die", run_die },       { "old", run_old },
        { "stops", run_stops }, { "stores", run_stores }, { "touch", run_touch },
        { "halts", run_halts },
};

static char line[8192];
static size_t line_length;

_Noreturn void give_up(const char *what)
{
        fflush(stdout);
        fprintf(stderr, "load: %s\n", what);
        _exit(1);
}

void say(const char *format, ...)
{
        va_list more;
        va_start(more, format);
        int length = vsnprintf(line + line_length, sizeof line - line_length, format, more);
        va_end(more);
        if (length < 0 || (size_t)length + 2 > sizeof line - line_length)
                give_up("too much to say");
        line_length += (size_t)length;
        line[line_length++] = ' ';
}

void say_line(const char *format, ...)
{
        char text[512];
        va_list more;
        va_start(more, format);
        int length = vsnprintf(text, sizeof text, format, more);
        va_end(more);
        if (length > 0)
                (void)!write(1, text, (size_t)length < sizeof text ? (size_t)length : sizeof text);
}

void fill_sizes(uint32_t sizes[static SIZES], size_t low, size_t high, uint64_t seed)
{
        struct random random = random_of(seed);
        for (size_t i = 0; i < SIZES; i++) {
                double part = (double)(random_next(&random) >> 11) / 9007199254740992.0;
                double size = (double)low * pow((double)high / (double)low, part);
                sizes[i] = (uint32_t)size & ~7u;
        }
}

/* Touches so many MiB and ends: where a host has to find memory for that, it is found before the
 * next program is measured, and not by the first one that wants it. In huge pages, and then in
 * base pages: a guest's kernel takes each from another part of what is free. */
static void run_touch(const struct setting *setting)
{
        static const int advice[] = { MADV_HUGEPAGE, MADV_NOHUGEPAGE };
        size_t nbytes = (size_t)setting->count << 20;
        for (unsigned i = 0; i < 2; i++) {
                void *all = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                 -1, 0);
                if (all == MAP_FAILED)
                        give_up("no memory to touch");
                madvise(all, nbytes, advice[i]);
                memset(all, 1, nbytes);
                munmap(all, nbytes);
        }
}

/* --- Clocks and counters ------------------------------------------------------------------- */

static uint64_t ns_of(clockid_t clock)
{
        struct timespec now;
        clock_gettime(clock, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t process_cpu_ns(void)
{
        return ns_of(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t thread_cpu_ns(void)
{
        return ns_of(CLOCK_THREAD_CPUTIME_ID);
}

static size_t read_text(const char *path, char *text, size_t nbytes)
{
        int file = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = file < 0 ? -1 : read(file, text, nbytes - 1);
        if (file >= 0)
                close(file);
        text[length > 0 ? length : 0] = 0;
        return length > 0 ? (size_t)length : 0;
}

static size_t status_kib(const char *key)
{
        char text[8192];
        read_text("/proc/self/status", text, sizeof text);
        const char *found = strstr(text, key);
        return found ? strtoul(found + strlen(key), NULL, 10) : 0;
}

/* By the kernel's counters, which are cheap to read; they may lag behind by a few pages. */
size_t resident_kib(void)
{
        return status_kib("\nVmRSS:") + status_kib("\nHugetlbPages:");
}

static double steal_ms(void)
{
        char text[512];
        unsigned long long field[8] = { 0 };
        read_text("/proc/stat", text, sizeof text);
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &field[0], &field[1], &field[2],
               &field[3], &field[4], &field[5], &field[6], &field[7]);
        return (double)field[7] * 1e3 / (double)sysconf(_SC_CLK_TCK);
}

/* Of all threads there are now. */
static double queued_ms(void)
{
        double sum = 0;
        DIR *tasks = opendir("/proc/self/task");
        for (struct dirent *task; tasks && (task = readdir(tasks));) {
                char path[300], text[128];
                unsigned long long ran, queued;
                snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
                if (task->d_name[0] != '.' && read_text(path, text, sizeof text) &&
                    sscanf(text, "%llu %llu", &ran, &queued) == 2)
                        sum += (double)queued / 1e6;
        }
        if (tasks)
                closedir(tasks);
        return sum;
}

/* --- Threads ------------------------------------------------------------------------------- */

struct body {
        const struct setting *setting;
        void (*call)(const struct setting *, unsigned);
        unsigned index;
};

static unsigned running;
static uint64_t cpu_of_mutators;
static pthread_mutex_t met_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t met = PTHREAD_COND_INITIALIZER;
static unsigned expected, waiting, meetings;

uint64_t mutator_cpu_ns(void)
{
        return __atomic_load_n(&cpu_of_mutators, __ATOMIC_RELAXED);
}

void meet(void (*all)(void))
{
        memory_wait_begin();
        pthread_mutex_lock(&met_lock);
        unsigned mine = meetings;
        if (++waiting == expected) {
                waiting = 0;
                meetings++;
                if (all)
                        all();
                pthread_cond_broadcast(&met);
        }
        while (meetings == mine)
                pthread_cond_wait(&met, &met_lock);
        pthread_mutex_unlock(&met_lock);
        memory_wait_end();
}

static void *enter(void *argument)
{
        const struct body *body = argument;
        memory_thread_begin();
        body->call(body->setting, body->index);
        __atomic_fetch_add(&cpu_of_mutators, thread_cpu_ns(), __ATOMIC_RELAXED);
        __atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
        return NULL;
}

void in_threads(const struct setting *setting, unsigned n,
                void (*body)(const struct setting *, unsigned), void (*meanwhile)(void))
{
        static struct body bodies[MAX_THREADS];
        pthread_t threads[MAX_THREADS];
        running = expected = n;
        for (unsigned i = 0; i < n; i++) {
                bodies[i] = (struct body){ setting, body, i };
                if (pthread_create(&threads[i], NULL, enter, &bodies[i]))
                        give_up("pthread_create");
        }
        memory_wait_begin();
        while (meanwhile && __atomic_load_n(&running, __ATOMIC_ACQUIRE)) {
                meanwhile();
                usleep(20000);
        }
        for (unsigned i = 0; i < n; i++)
                pthread_join(threads[i], NULL);
        memory_wait_end();
}

/* --- The command line ---------------------------------------------------------------------- */

static bool take(struct setting *setting, const char *name, const char *value)
{
        uint64_t number = strtoull(value, NULL, 0);
        if (!strcmp(name, "count"))
                setting->count = number;
        else if (!strcmp(name, "bytes"))
                setting->nbytes = number;
        else if (!strcmp(name, "depth"))
                setting->depth = (unsigned)number;
        else if (!strcmp(name, "threads"))
                setting->threads = (unsigned)number;
        else if (!strcmp(name, "seconds"))
                setting->seconds = strtod(value, NULL);
        else if (!strcmp(name, "rate"))
                setting->rate = strtod(value, NULL);
        else if (!strcmp(name, "spin"))
                setting->spin = (unsigned)number;
        else if (!strcmp(name, "cycles"))
                setting->cycles = (unsigned)number;
        else if (!strcmp(name, "operations"))
                setting->operations = (unsigned)number;
        else if (!strcmp(name, "shape"))
                setting->shape = value;
        else if (!strcmp(name, "mode"))
                setting->mode = value;
        else
                return false;
        return true;
}

static struct setting setting_of(int count, char **words)
{
        struct setting setting = { .shape = "random",
                                   .mode = "concurrent",
                                   .count = 1000000,
                                   .nbytes = 64,
                                   .depth = 16,
                                   .threads = 1,
                                   .seconds = 5,
                                   .cycles = 0 };
        for (int i = 0; i < count; i++) {
                char *value = strchr(words[i], '=');
                if (!value)
                        give_up("arguments are NAME=VALUE");
                *value++ = 0;
                if (!take(&setting, words[i], value))
                        give_up("there is no such argument");
        }
        if (!setting.count || !setting.threads || setting.threads > MAX_THREADS ||
            setting.nbytes < 16 || setting.depth > 26)
                give_up("an argument is out of its range");
        return setting;
}

#ifdef MEMORY_POLDER
/* Median, the hundredth from above, and the highest, of those that anything is in. */
static void say_histograms(void)
{
        struct polder_histogram found = { .struct_size = sizeof found };
        for (unsigned kind = 0; kind < POLDER_HISTOGRAMS; kind++)
                if (!polder_histogram_read(kind, &found) && found.count)
                        say("%s_us=%.0f/%.0f/%.0f", polder_histogram_name(kind),
                            (double)found.p50_ns / 1e3, (double)found.p99_ns / 1e3,
                            (double)found.max_ns / 1e3);
}
#endif

static void report(double wall, double cpu, double steal)
{
        struct memory_figures found = memory_figures();
        struct rusage used;
        getrusage(RUSAGE_SELF, &used);
        say("memory=" MEMORY_NAME " wall_s=%.3f cpu_s=%.3f", wall, cpu);
        say("peak_kib=%zu end_kib=%zu", status_kib("\nVmHWM:") + status_kib("\nHugetlbPages:"),
            resident_kib());
        say("steal_ms=%.0f queued_ms=%.0f switches=%ld", steal_ms() - steal, queued_ms(),
            used.ru_nivcsw);
        if (!MEMORY_IS_MANUAL)
                say("collections=%llu stops=%llu stop_us_max=%.1f stop_ms_total=%.3f",
                    (unsigned long long)found.cycles, (unsigned long long)found.stops,
                    found.stop_us_max, found.stop_ms_total);
#ifdef MEMORY_POLDER
        say("handshake_us_max=%.1f stall_us_max=%.1f mark_ms=%.1f", found.handshake_us_max,
            found.stall_us_max, found.mark_ms);
        say_histograms();
#endif
        line[line_length - 1] = '\n';
        (void)!write(1, line, line_length);
}

int main(int argc, char **argv)
{
        for (size_t i = 0; argc > 1 && i < sizeof loads / sizeof *loads; i++) {
                if (strcmp(argv[1], loads[i].name))
                        continue;
                struct setting setting = setting_of(argc - 2, argv + 2);
                memory_start();
                say("load=%s", argv[1]);
                double steal = steal_ms();
                uint64_t cpu = process_cpu_ns(), wall = now_ns();
                loads[i].run(&setting);
                report((double)(now_ns() - wall) / 1e9, (double)(process_cpu_ns() - cpu) / 1e9,
                       steal);
                return 0;
        }
        give_up("name a load");
}
