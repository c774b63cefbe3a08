/* silent: after prefault, no page fault and no system call but the collector's own.
 *
 * Ten million malloc/free pairs on two threads, some freed by the other one, and
 * ten million look-ups in a table in the collected heap, with allocation beside
 * them so that cycles run all the while. Page faults are the process's, of every
 * thread, by getrusage(). System calls are counted twice: a seccomp filter over all
 * threads traps every call that is not one of those with which the collector waits
 * and wakes, and, where perf events are allowed, the kernel counts all calls.
 * The kernel may take a page of the program's text and give it back: a round in
 * which there was a fault is repeated, and one of three must be without.
 *
 * usage: silent [PAIRS [LOOKUPS]] */
#include <polder/polder.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 1 << 16, RESERVE = 512 << 20, RING = 1024, WARM_CYCLES = 4, ROUNDS = 3,
       STACK_BYTES = 64 << 10 };

struct entry {
        struct entry *next;
        struct value *value;
        uint64_t key;
};

struct value { /* a leaf */
        uint64_t key;
        char byte[56];
};

static struct entry **table; /* a collected array; the slot is a root */
static const struct polder_layout *entry_layout, *slot_layout;
static void *_Atomic ring[RING];
static _Atomic int phase; /* 0: warm up; then the measured round */
static _Atomic long at_barrier, ntrapped, last_trapped;
static _Atomic long pairs_done, lookups_done, wrong;
static long pairs = 10000000, lookups = 10000000;

static struct value *new_value(uint64_t key)
{
        struct value *value = polder_new_leaf(sizeof *value);
        if (value)
                value->key = key;
        return value;
}

static void fill(void)
{
        table = NULL;
        struct entry **made = polder_new_array(slot_layout, KEYS);
        polder_store(&table, made);
        for (uint64_t key = 0; key < KEYS; key++) {
                struct value *value = new_value(key);
                struct entry *entry = polder_new(entry_layout);
                *entry = (struct entry){ .value = value, .key = key };
                polder_store(&made[key], entry);
        }
}

static void look_up(uint64_t key)
{
        struct entry *entry = polder_load(&polder_load(&table)[key]);
        if (entry->key != key || polder_load(&entry->value)->key != key)
                wrong++;
}

static void malloc_pairs(long n, unsigned seed)
{
        for (long i = 0; i < n; i++) {
                seed = seed * 1664525 + 1013904223;
                size_t nbytes = 16 + (seed >> 16) % 2000;
                char *block = polder_malloc(nbytes);
                block[0] = 1;
                if (i % 4 == 0) /* freed by whoever comes by next */
                        block = atomic_exchange(&ring[(seed >> 8) % RING], block);
                polder_free(block);
        }
        pairs_done += n;
}

static void gets_and_sets(long n, unsigned seed)
{
        for (long i = 0; i < n; i++) {
                seed = seed * 1664525 + 1013904223;
                uint64_t key = (seed >> 8) % KEYS;
                look_up(key);
                if (i % 8 == 0) {
                        struct value *value = new_value(key);
                        polder_store(&polder_load(&polder_load(&table)[key])->value, value);
                }
        }
        lookups_done += n;
}

/* Waits without a system call: the main thread says when. */
static void await_phase(int wanted)
{
        at_barrier++;
        while (phase < wanted)
                polder_safepoint();
}

/* A signal's frame lies on the stack of the thread, below whatever it uses itself. */
static __attribute__((noinline)) void touch_stack(void)
{
        volatile char stack[STACK_BYTES];
        for (size_t i = 0; i < sizeof stack; i += 1024)
                stack[i] = 0;
}

static void *work(void *arg)
{
        unsigned seed = (unsigned)(uintptr_t)arg;
        touch_stack();
        malloc_pairs(300000, seed);
        gets_and_sets(3000000, seed);
        for (int round = 1; round <= ROUNDS; round++) {
                await_phase(round);
                for (int i = 0; i < 10; i++) {
                        malloc_pairs(pairs / 20, seed + (unsigned)i);
                        gets_and_sets(lookups / 20, seed + (unsigned)i);
                }
        }
        await_phase(ROUNDS + 1);
        return NULL;
}

static void on_trap(int number, siginfo_t *info, void *context)
{
        (void)number;
        (void)context;
        ntrapped++;
        last_trapped = info->si_syscall;
}

/* Allows waiting, waking, a signal and its return; traps everything else. */
static int forbid_calls(void)
{
        static const int allowed[] = { SYS_futex,  SYS_clock_nanosleep, SYS_sched_yield,
                                       SYS_rt_tgsigqueueinfo, SYS_tgkill, SYS_rt_sigreturn,
                                       /* this program's own, from its main thread */
                                       SYS_getrusage, SYS_read, SYS_write, SYS_exit_group };
        enum { N = sizeof allowed / sizeof allowed[0] };
        struct sock_filter filter[N + 3];
        size_t n = 0;
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                   offsetof(struct seccomp_data, nr));
        for (size_t i = 0; i < N; i++)
                filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                           (unsigned)allowed[i],
                                                           (unsigned char)(N - i), 0);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        struct sock_fprog program = { .len = (unsigned short)n, .filter = filter };
        struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
        sigaction(SIGSYS, &action, NULL);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
                return -errno;
        return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

/* A counter of every system call of the calling thread and those it makes; -1. */
static int count_calls(void)
{
        char text[16] = "";
        FILE *file = fopen("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", "r");
        if (!file)
                file = fopen("/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id", "r");
        if (!file)
                return -1;
        if (!fgets(text, sizeof text, file))
                text[0] = '\0';
        fclose(file);
        struct perf_event_attr event = { .type = PERF_TYPE_TRACEPOINT,
                                         .size = sizeof event,
                                         .config = strtoull(text, NULL, 10),
                                         .inherit = 1 };
        return (int)syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);
}

static long read_count(int counter)
{
        uint64_t value;
        return counter >= 0 && read(counter, &value, sizeof value) == sizeof value ? (long)value : -1;
}

static long faults(void)
{
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_minflt + usage.ru_majflt;
}

static void check_that(bool holds, const char *what, int *npassed, int *nfailed)
{
        printf("%s: %s\n", holds ? "ok" : "FAILED", what);
        ++*(holds ? npassed : nfailed);
}

static void nap(void)
{
        clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

int main(int argc, char **argv)
{
        if (argc > 1)
                pairs = atol(argv[1]);
        if (argc > 2)
                lookups = atol(argv[2]);
        int counter = count_calls(); /* before any thread is made: they inherit it */
        struct polder_options options;
        polder_options_init(&options);
        options.reserve = RESERVE;
        options.prefault = true;
        if (polder_init(&options) || polder_prefault_wait()) {
                fprintf(stderr, "silent: %d MiB could not be reserved\n", RESERVE >> 20);
                return 1;
        }
        entry_layout = POLDER_LAYOUT(struct entry, next, value);
        slot_layout = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        polder_root_add(&table, sizeof table);
        fill();
        for (int i = 0; i < WARM_CYCLES; i++)
                polder_collect(POLDER_CONCURRENT);

        pthread_t threads[2];
        for (uintptr_t i = 0; i < 2; i++)
                pthread_create(&threads[i], NULL, work, (void *)(i + 1));
        struct polder_stats before = { .struct_size = sizeof before }, after = before;
        while (at_barrier < 2)
                nap();
        for (int i = 0; i < WARM_CYCLES; i++)
                polder_collect(POLDER_CONCURRENT);
        polder_stats_read(&before);
        polder_thread_detach();
        printf("measuring\n"); /* the stream has its buffer now */
        long before_pairs = pairs_done, before_lookups = lookups_done;
        nap();
        long calls_before = read_count(counter);
        if (forbid_calls()) {
                fprintf(stderr, "silent: seccomp is not to be had: %s\n", strerror(errno));
                return 1;
        }
        long naps = 0, faulted = 1;
        int round = 0;
        while (faulted > 0 && round < ROUNDS) {
                long at_start = faults();
                phase = ++round;
                for (; at_barrier < 2 + 2 * round; naps++)
                        nap();
                faulted = faults() - at_start;
        }
        long called = counter < 0 ? -1 : read_count(counter) - calls_before - naps - 2 * round - 2;
        long trapped = ntrapped;
        polder_stats_read(&after);
        long ncycles = (long)(after.cycles - before.cycles);
        printf("rounds=%d pairs=%ld lookups=%ld cycles=%ld page_faults=%ld calls_trapped=%ld (last: %ld) "
               "waits_and_wakes=%ld\n",
               round, pairs_done - before_pairs, lookups_done - before_lookups, ncycles, faulted, trapped,
               last_trapped, called);
        int npassed = 0, nfailed = 0;
        check_that(wrong == 0, "every look-up found its value", &npassed, &nfailed);
        check_that(ncycles > 0, "cycles ran beside it", &npassed, &nfailed);
        check_that(faulted == 0, "there was a round in which no thread took a page fault", &npassed, &nfailed);
        check_that(trapped == 0, "no thread made a system call but to wait or to wake", &npassed,
                   &nfailed);
        /* A few waits and wakes a cycle for each thread: none for an allocation. */
        if (called >= 0)
                check_that(called < 2000 * (ncycles + 1),
                           "waits and wakes are the collector's: some for each cycle", &npassed,
                           &nfailed);
        else
                printf("waits and wakes could not be counted: no perf tracepoints here\n");
        printf("%d passed, %d failed\n", npassed, nfailed);
        fflush(stdout);
        _exit(nfailed > 0);
}
