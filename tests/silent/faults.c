/* faults.c: which thread touched what, and in which code.
 *
 * The kernel writes a record for each fault into a ring for each CPU, since an event
 * that threads inherit has no ring of its own. What is mapped where is looked up
 * when all is over: a file opened before is read then.
 *
 * F1  the rings and the file are there before faults_begin(): a report opens and maps
 *     nothing, which might be forbidden by then.
 * F2  a ring is read once, and is never emptied: when it is full, nothing more is
 *     written to it. */
#include "tests/silent/faults.h"

#include "tests/silent/threads.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_CPUS = 1024, RING_PAGES = 8, MAPS_BYTES = 1 << 18, MAX_TOLD = 20 };

struct fault { /* as PERF_SAMPLE_IP | TID | ADDR has it */
        struct perf_event_header header;
        uint64_t code;
        uint32_t process, thread;
        uint64_t address;
};

static struct {
        int event;
        struct perf_event_mmap_page *head; /* the ring follows it */
        uint64_t end;                      /* of what was written when faults were counted */
} rings[MAX_CPUS];
static int nrings;
static int maps_file = -1;
static char maps[MAPS_BYTES];
static long at_begin;

static size_t ring_bytes(void)
{
        return (size_t)(RING_PAGES * getpagesize());
}

static int open_event(int cpu, bool of_kernel)
{
        struct perf_event_attr event = {
                .type = PERF_TYPE_SOFTWARE,
                .size = sizeof event,
                .config = PERF_COUNT_SW_PAGE_FAULTS,
                .sample_period = 1,
                .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_ADDR,
                .disabled = 1,
                .inherit = 1,
                .exclude_kernel = !of_kernel, /* faults that a system call takes for us */
        };
        return (int)syscall(SYS_perf_event_open, &event, 0, cpu, -1, 0);
}

static bool watch_cpu(int cpu)
{
        int event = open_event(cpu, true);
        if (event < 0)
                event = open_event(cpu, false);
        if (event < 0)
                return false;
        void *head = mmap(NULL, (size_t)getpagesize() + ring_bytes(), PROT_READ | PROT_WRITE,
                          MAP_SHARED, event, 0);
        if (head == MAP_FAILED) {
                close(event);
                return false;
        }
        rings[nrings].event = event;
        rings[nrings++].head = head;
        return true;
}

bool faults_watch(void)
{
        long ncpus = sysconf(_SC_NPROCESSORS_CONF);
        maps_file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
        for (int cpu = 0; cpu < ncpus && cpu < MAX_CPUS; cpu++)
                watch_cpu(cpu); /* one that is off line has none */
        return nrings > 0;
}

static long faults_ever(void)
{
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_minflt + usage.ru_majflt;
}

void faults_begin(void)
{
        for (int i = 0; i < nrings; i++) {
                volatile char *at = (char *)rings[i].head;
                for (size_t j = 0; j < ring_bytes(); j += 1024)
                        (void)at[j]; /* mapped now */
                ioctl(rings[i].event, PERF_EVENT_IOC_ENABLE, 0);
        }
        at_begin = faults_ever();
}

long faults_count(void)
{
        long n = faults_ever() - at_begin;
        for (int i = 0; i < nrings; i++)
                rings[i].end = __atomic_load_n(&rings[i].head->data_head, __ATOMIC_ACQUIRE);
        return n;
}

static void read_maps(void)
{
        size_t n = 0;
        for (ssize_t got; n < sizeof maps - 1; n += (size_t)got)
                if ((got = read(maps_file, maps + n, sizeof maps - 1 - n)) <= 0)
                        break;
        maps[n] = '\0';
}

/* The mapping that an address lies in, and how far. */
static void print_place(const char *what, uint64_t at)
{
        printf(", %s %#lx", what, (unsigned long)at);
        for (const char *line = maps; line && *line; line = strchr(line, '\n')) {
                unsigned long from, to, offset;
                int name = 0;
                line += *line == '\n';
                if (sscanf(line, "%lx-%lx %*s %lx %*s %*s%*[ ]%n", &from, &to, &offset, &name) <
                        3 ||
                    at < from || at >= to)
                        continue;
                int length = name ? (int)strcspn(line + name, "\n") : 0;
                if (length > 0)
                        printf(" (%.*s + %#lx)", length, line + name,
                               (unsigned long)at - from + offset);
                else
                        printf(" (%#lx into %lu KiB without a name)", (unsigned long)at - from,
                               (to - from) >> 10);
                return;
        }
        printf(at >> 63 ? " (the kernel's)" : " (not mapped)");
}

static void copy_out(const struct perf_event_mmap_page *head, uint64_t from, void *to,
                     size_t nbytes)
{
        const char *ring = (const char *)head + getpagesize();
        for (size_t i = 0; i < nbytes; i++)
                ((char *)to)[i] = ring[(from + i) % ring_bytes()];
}

static void print_ring(const struct perf_event_mmap_page *head, uint64_t end, int *ntold)
{
        struct fault fault;
        for (uint64_t at = 0; at < end; at += fault.header.size) {
                copy_out(head, at, &fault.header, sizeof fault.header);
                if (fault.header.type != PERF_RECORD_SAMPLE || fault.header.size < sizeof fault ||
                    (*ntold)++ >= MAX_TOLD)
                        continue;
                copy_out(head, at, &fault, sizeof fault);
                printf("fault: thread %u (%s)", fault.thread,
                       thread_name(thread_number((pid_t)fault.thread)));
                print_place("address", fault.address);
                print_place("code", fault.code);
                printf("\n");
        }
}

void faults_print(void)
{
        int ntold = 0;
        read_maps();
        if (nrings == 0)
                printf("which faults there were could not be seen: no perf events here\n");
        for (int i = 0; i < nrings; i++)
                print_ring(rings[i].head, rings[i].end, &ntold);
        if (ntold > MAX_TOLD)
                printf("fault: and %d more\n", ntold - MAX_TOLD);
}
