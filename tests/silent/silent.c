/* silent: after prefault, no page fault and no system call but the collector's own.
 *
 * Ten million malloc/free pairs on two threads, some freed by the other one, and
 * ten million look-ups in a table in the collected heap, with allocation beside
 * them so that cycles run all the while. Page faults are the process's, of every
 * thread (faults.c). A seccomp filter over all threads finds every call that is not
 * one of those with which the collector waits and wakes, and those are counted
 * (calls.c). What is the program's own is touched beforehand: its table, its
 * stacks, its stream; not what is Polder's.
 *
 * usage: silent [PAIRS [LOOKUPS]] */
#include <polder/polder.h>

#include "tests/silent/calls.h"
#include "tests/silent/faults.h"
#include "tests/silent/threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
        KEYS = 1 << 16,
        RESERVE = 512 << 20,
        RING = 1024,
        WARM_CYCLES = 4,
        STACK_BYTES = 64 << 10,
        STRAYS = 64,
        MUTATORS = 2,
        /* See judge_mutators() and judge_collector(). */
        GIVE_WAY_NS = 100000,
        GIVE_WAY_CALLS = 2,
        CYCLE_CALLS = 32,
        STOP_CALLS = 8,
        SIGNAL_NS = 200000,
        COLLECTOR_CALLS = 250
};

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
static _Atomic int phase; /* 0: warm up; 1: measured; 2: over */
static _Atomic long at_barrier;
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

/* Words that look like addresses of Polder's and are none: so do a stale address whose
 * lower half something else has been written over, and many a float. */
static void scatter(volatile uintptr_t stray[STRAYS], unsigned seed)
{
        void *block = polder_malloc(16);
        for (uintptr_t i = 0; i < STRAYS; i++) {
                seed = seed * 1664525 + 1013904223;
                stray[i] = ((uintptr_t)block & ~(uintptr_t)UINT32_MAX) + (i << 33) + seed;
        }
        polder_free(block);
}

static void *work(void *arg)
{
        volatile uintptr_t stray[STRAYS]; /* where the collector looks at every word */
        unsigned seed = (unsigned)(uintptr_t)arg;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "mutator-%u", seed);
        prctl(PR_SET_NAME, name);
        touch_stack();
        malloc_pairs(300000, seed);
        gets_and_sets(3000000, seed);
        await_phase(1);
        for (int i = 0; i < 10; i++) {
                scatter(stray, seed + (unsigned)i);
                malloc_pairs(pairs / 10 / MUTATORS, seed + (unsigned)i);
                gets_and_sets(lookups / 10 / MUTATORS, seed + (unsigned)i);
        }
        await_phase(2);
        return NULL;
}

static void check_that(bool holds, const char *what, int *npassed, int *nfailed)
{
        printf("%s: %s\n", holds ? "ok" : "FAILED", what);
        ++*(holds ? npassed : nfailed);
}

static uint64_t now_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void nap(void)
{
        clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

struct measured {
        long pairs, lookups, cycles, stops, faults;
        uint64_t took_ns;
};

/* What the protocol has threads wait and wake for; nothing of it is for an operation.
 *   A signal is handled once at most.
 *   A thread that leaves the processor to the collector is away for GIVE_WAY_NS; it
 *   may wake whoever asks for a step when it goes, and wait for that step's end.
 *   Of each step it wakes whoever asked for it, and waits where the step is a stop. A
 *   cycle has two steps before it marks; each attempt to stop comes after some to
 *   flush, mostly one.
 *   A lock that another has is waited for and woken for once, if its owner lost the
 *   processor: that happens in time, not for so many operations. For this and for
 *   assists, which wake workers, a cycle has some calls to spare. */
static void judge_mutators(const struct measured *measured, int *npassed, int *nfailed)
{
        long signals = calls_of(NULL, CALL_SIGNAL) + calls_of(NULL, CALL_BARE_SIGNAL);
        long handled = calls_of("mutator", CALL_SIGNAL_RETURN);
        long given = calls_of("mutator", CALL_TIMED_WAIT);
        long others = calls_of("mutator", ANY_CALL) - given - handled;
        long most = MUTATORS * (CYCLE_CALLS * measured->cycles + STOP_CALLS * measured->stops) +
                    GIVE_WAY_CALLS * given;
        printf("mutators: waits_and_wakes=%ld at_most=%ld signals_handled=%ld gave_way=%ld\n",
               others, most, handled, given);
        check_that(handled <= signals, "a signal was handled once", npassed, nfailed);
        check_that((uint64_t)given * GIVE_WAY_NS <= MUTATORS * measured->took_ns,
                   "a thread that left the processor to the collector was away for a while",
                   npassed, nfailed);
        check_that(others <= most, "threads waited and woke for cycles, not for operations",
                   npassed, nfailed);
}

/* The collector's threads do some for each cycle, and send each thread a signal once in
 * SIGNAL_NS at most while they wait for it, which takes as long as it has no processor. */
static void judge_collector(const struct measured *measured, int *npassed, int *nfailed)
{
        long by_mutators = calls_of("mutator", ANY_CALL);
        long n = calls_of(NULL, ANY_CALL) - (by_mutators > 0 ? by_mutators : 0);
        long most = COLLECTOR_CALLS * (measured->cycles + 1) +
                    (1 + MUTATORS) * (long)(measured->took_ns / SIGNAL_NS);
        printf("collector: waits_and_wakes=%ld at_most=%ld\n", n, most);
        check_that(n <= most, "the collector waited and woke for cycles", npassed, nfailed);
}

static int judge(const struct measured *measured)
{
        int npassed = 0, nfailed = 0;
        check_that(wrong == 0, "every look-up found its value", &npassed, &nfailed);
        check_that(measured->cycles > 0, "cycles ran beside it", &npassed, &nfailed);
        check_that(measured->faults == 0, "no thread took a page fault", &npassed, &nfailed);
        check_that(calls_forbidden() == 0, "no thread made a system call but to wait or to wake",
                   &npassed, &nfailed);
        if (calls_of(NULL, ANY_CALL) >= 0)
                judge_collector(measured, &npassed, &nfailed);
        if (calls_of("mutator", ANY_CALL) >= 0)
                judge_mutators(measured, &npassed, &nfailed);
        printf("%d passed, %d failed\n", npassed, nfailed);
        return nfailed;
}

static int prepare(void)
{
        struct polder_options options;
        polder_options_init(&options);
        options.reserve = RESERVE;
        options.prefault = true;
        int error = polder_init(&options);
        if (!error)
                error = polder_prefault_wait();
        if (error)
                return error;
        entry_layout = POLDER_LAYOUT(struct entry, next, value);
        slot_layout = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        polder_root_add(&table, sizeof table);
        fill();
        for (int i = 0; i < WARM_CYCLES; i++)
                polder_collect(POLDER_CONCURRENT);
        return 0;
}

/* Two threads that have done a little of everything, and cycles with them. */
static int start_threads(void)
{
        pthread_t threads[MUTATORS];
        for (uintptr_t i = 0; i < MUTATORS; i++) {
                int error = pthread_create(&threads[i], NULL, work, (void *)(i + 1));
                if (error)
                        return -error;
        }
        while (at_barrier < MUTATORS)
                nap();
        for (int i = 0; i < WARM_CYCLES; i++)
                polder_collect(POLDER_CONCURRENT);
        polder_thread_detach();
        return 0;
}

static struct measured measure(void)
{
        struct polder_stats before = { .struct_size = sizeof before }, after = before;
        struct measured measured;
        polder_stats_read(&before);
        long before_pairs = pairs_done, before_lookups = lookups_done;
        nap();
        faults_begin();
        int error = calls_forbid();
        if (error) {
                fprintf(stderr, "silent: seccomp is not to be had: %s\n", strerror(-error));
                exit(1);
        }
        measured.took_ns = now_ns();
        phase = 1;
        while (at_barrier < 2 * MUTATORS)
                nap();
        measured.faults = faults_count();
        calls_end();
        measured.took_ns = now_ns() - measured.took_ns;
        polder_stats_read(&after);
        measured.pairs = pairs_done - before_pairs;
        measured.lookups = lookups_done - before_lookups;
        measured.cycles = (long)(after.cycles - before.cycles);
        measured.stops = (long)(after.stops - before.stops);
        return measured;
}

int main(int argc, char **argv)
{
        if (argc > 1)
                pairs = atol(argv[1]);
        if (argc > 2)
                lookups = atol(argv[2]);
        faults_watch();
        calls_watch();
        int error = prepare();
        if (!error)
                error = start_threads();
        if (!error)
                error = calls_start();
        if (error) {
                fprintf(stderr, "silent: could not be prepared: %s\n", strerror(-error));
                return 1;
        }
        threads_note();
        printf("measuring\n"); /* the stream has its buffer now */
        struct measured measured = measure();
        printf("pairs=%ld lookups=%ld cycles=%ld stops=%ld page_faults=%ld calls_forbidden=%ld "
               "waits_and_wakes=%ld\n",
               measured.pairs, measured.lookups, measured.cycles, measured.stops, measured.faults,
               calls_forbidden(), calls_of(NULL, ANY_CALL));
        if (measured.faults > 0)
                faults_print();
        calls_print(measured.cycles);
        int nfailed = judge(&measured);
        fflush(stdout);
        _exit(nfailed > 0);
}
