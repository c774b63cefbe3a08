/* bypass: a heap that is reserved and populated at the start, and afterwards no system
 * call and no page fault at all: not one, in any thread.
 *
 * Four threads allocate and free blocks of mixed sizes; each fourth block goes to
 * another thread, which frees it. They hand over through bounded queues and never wait:
 * who finds a queue full frees the block, who finds nothing to free goes on with its own.
 *
 * A seccomp filter over all threads traps every system call. The handler counts it,
 * if we are measuring, and makes it then, with a mark in its sixth argument that the
 * filter lets pass: so what should not have been called is named, and the program goes
 * on. (A sixth argument that matters is lost: it is the offset of mmap(), where the mark
 * does no harm to memory without a file.) Page faults
 * are counted by the kernel (faults.c). That both are seen if there are any is tried first.
 *
 * B1  between the start of the measurement and its end nothing here makes a call, and
 *     what is the program's own was touched before: stacks, queues, the handler. What is
 *     Polder's was not: each thread's first allocation is measured, too, unless told otherwise.
 *
 * usage: bypass [OPERATIONS [WARM_UP]]   both in malloc and free, over all threads
 * POLDER_RESERVE, POLDER_PAGES and the others are obeyed. */
#include <polder/polder.h>

#include "tests/silent/faults.h"
#include "tests/silent/threads.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum {
        NTHREADS = 4,
        SLOTS = 1024, /* blocks that a thread has at a time */
        QUEUE = 4096, /* blocks on their way from one thread to another */
        RECEIVE = 32, /* freed at a time */
        SEND_EVERY = 4,
        STACK_BYTES = 64 << 10,
        MAX_TOLD = 16,
        RESERVE = 512 << 20
};

#define PASS UINT64_C(0x706f6c646000) /* the mark of a call that may pass */

struct queue { /* one thread puts, another takes */
        _Alignas(64) _Atomic unsigned put;
        _Alignas(64) _Atomic unsigned taken;
        void *block[QUEUE];
};

struct worker {
        struct queue from[NTHREADS];
        void *slot[SLOTS];
        uint64_t random;
        long sent, received, large, refused;
};

static struct worker workers[NTHREADS];
static _Atomic int ready, started, done;
static _Atomic bool measuring;
static long operations = 50000000, warm_up;

/* ---- Trapping calls (B1) -------------------------------------------------------------------- */

static struct {
        long number;
        pid_t thread;
        void *at;
} seen[MAX_TOLD];
static _Atomic long nseen;

static void note_call(const siginfo_t *info)
{
        long i = nseen++;
        if (i >= MAX_TOLD)
                return;
        seen[i].number = info->si_syscall;
        seen[i].thread = (pid_t)syscall(SYS_gettid, 0, 0, 0, 0, 0, PASS);
        seen[i].at = info->si_call_addr;
}

static void on_call(int number, siginfo_t *info, void *context)
{
        ucontext_t *at = context;
        (void)number;
        if (measuring)
                note_call(info);
#if defined(__x86_64__)
        greg_t *r = at->uc_mcontext.gregs;
        long result = syscall(info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10],
                              r[REG_R8], PASS);
        r[REG_RAX] = result < 0 ? -errno : result;
#elif defined(__aarch64__)
        unsigned long long *r = at->uc_mcontext.regs;
        long result = syscall(info->si_syscall, r[0], r[1], r[2], r[3], r[4], PASS);
        r[0] = (unsigned long long)(result < 0 ? -errno : result);
#endif
}

static int trap_calls(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 4, 0),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)PASS, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]) + 4),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(PASS >> 32), 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        };
        struct sock_fprog program = { .len = sizeof filter / sizeof *filter, .filter = filter };
        struct sigaction action = { .sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER };
        sigaction(SIGSYS, &action, NULL);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
                return -errno;
        return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                            &program);
}

static const struct {
        long number;
        const char *name;
} likely[] = {
        { SYS_futex, "futex" },       { SYS_sched_yield, "sched_yield" },
        { SYS_mmap, "mmap" },         { SYS_munmap, "munmap" },
        { SYS_mprotect, "mprotect" }, { SYS_madvise, "madvise" },
        { SYS_mbind, "mbind" },       { SYS_clock_gettime, "clock_gettime" },
        { SYS_getcpu, "getcpu" },
};

static const char *name_of(long number)
{
        for (size_t i = 0; i < sizeof likely / sizeof *likely; i++)
                if (likely[i].number == number)
                        return likely[i].name;
        return "another";
}

static void print_calls(void)
{
        for (long i = 0; i < nseen && i < MAX_TOLD; i++)
                printf("system call %ld (%s) by thread %d (%s), at %p\n", seen[i].number,
                       name_of(seen[i].number), seen[i].thread,
                       thread_name(thread_number(seen[i].thread)), seen[i].at);
        if (nseen > MAX_TOLD)
                printf("and %ld more\n", nseen - MAX_TOLD);
}

/* ---- The work ------------------------------------------------------------------------------ */

static uint32_t draw(struct worker *worker)
{
        worker->random = worker->random * UINT64_C(6364136223846793005) + 1442695040888963407;
        return (uint32_t)(worker->random >> 32);
}

/* Mostly small; some of several pages, few so large that each is a span of its own. */
static size_t draw_size(struct worker *worker)
{
        uint32_t kind = draw(worker) & 4095, any = draw(worker);
        if (kind < 3600)
                return 16 + any % 512;
        if (kind < 4060)
                return 512 + any % 8192;
        if (kind < 4093)
                return 8192 + any % (200 << 10);
        worker->large++;
        return (256 << 10) + any % (1 << 20);
}

static void *make(struct worker *worker)
{
        size_t nbytes = draw_size(worker);
        char *block = polder_malloc(nbytes);
        if (!block) {
                worker->refused++;
                return NULL;
        }
        block[0] = block[nbytes - 1] = 1;
        return block;
}

static bool send(struct queue *queue, void *block)
{
        unsigned put = atomic_load_explicit(&queue->put, memory_order_relaxed);
        if (put - atomic_load_explicit(&queue->taken, memory_order_acquire) == QUEUE)
                return false;
        queue->block[put % QUEUE] = block;
        atomic_store_explicit(&queue->put, put + 1, memory_order_release);
        return true;
}

static long receive(struct worker *worker, struct queue *queue)
{
        unsigned taken = atomic_load_explicit(&queue->taken, memory_order_relaxed);
        unsigned n = atomic_load_explicit(&queue->put, memory_order_acquire) - taken;
        if (n > RECEIVE)
                n = RECEIVE;
        for (unsigned i = 0; i < n; i++)
                polder_free(queue->block[(taken + i) % QUEUE]);
        atomic_store_explicit(&queue->taken, taken + n, memory_order_release);
        worker->received += n;
        return n;
}

/* A block of its own is freed or sent, a new one takes its place; others' are freed. */
static long turn(struct worker *worker, unsigned self, unsigned i)
{
        uint32_t at = draw(worker);
        void **slot = &worker->slot[at % SLOTS];
        unsigned to = (self + 1 + at / SLOTS % (NTHREADS - 1)) % NTHREADS;
        long n = 2;
        if (i % SEND_EVERY == 0 && *slot && send(&workers[to].from[self], *slot)) {
                worker->sent++;
                n--;
        } else {
                polder_free(*slot);
        }
        *slot = make(worker);
        if (i % SEND_EVERY == 0)
                n += receive(worker, &worker->from[to]);
        return n;
}

static void turn_many(unsigned self, long n)
{
        struct worker *worker = &workers[self];
        for (unsigned i = 0; n > 0; i++)
                n -= turn(worker, self, i);
}

static __attribute__((noinline)) void touch_stack(void)
{
        volatile char stack[STACK_BYTES];
        for (size_t i = 0; i < sizeof stack; i += 1024)
                stack[i] = 0;
}

static void yield(void)
{
        syscall(SYS_sched_yield, 0, 0, 0, 0, 0, PASS);
}

/* No thread waits for another while it is measured: one that has done its share ends,
 * without the calls of an orderly end. */
static void *work(void *arg)
{
        unsigned self = (unsigned)(uintptr_t)arg;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "worker-%u", self);
        prctl(PR_SET_NAME, name);
        touch_stack();
        if (warm_up)
                turn_many(self, warm_up / NTHREADS);
        ready++;
        while (!started)
                yield();
        turn_many(self, operations / NTHREADS);
        done++;
        syscall(SYS_exit, 0, 0, 0, 0, 0, PASS);
        return NULL;
}

static int start_threads(void)
{
        memset(workers, 0, sizeof workers);
        for (unsigned i = 0; i < NTHREADS; i++)
                workers[i].random = 12345 + i;
        for (uintptr_t i = 1; i < NTHREADS; i++) {
                pthread_t thread;
                int error = pthread_create(&thread, NULL, work, (void *)i);
                if (error)
                        return -error;
        }
        touch_stack();
        if (warm_up)
                turn_many(0, warm_up / NTHREADS);
        while (ready < NTHREADS - 1)
                yield();
        return 0;
}

/* ---- Measuring ----------------------------------------------------------------------------- */

static int npassed, nfailed;

static void check_that(bool holds, const char *what)
{
        printf("%s: %s\n", holds ? "ok" : "FAILED", what);
        ++*(holds ? &npassed : &nfailed);
}

/* Maps a page and touches it: a call and a fault, which must be seen. */
static void prove_the_instruments(void)
{
        long before = faults_count();
        measuring = true;
        volatile char *page =
            mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page != MAP_FAILED)
                page[0] = 1;
        measuring = false;
        check_that(nseen == 1 && seen[0].number == SYS_mmap, "a system call is seen");
        check_that(faults_count() > before, "a page fault is seen");
        nseen = 0;
}

static double seconds_now(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The main thread is a worker, too: one that waits beside them would take a processor. */
static double measure(long *faults)
{
        double from = seconds_now();
        faults_begin();
        measuring = true;
        started = true;
        turn_many(0, operations / NTHREADS);
        while (done < NTHREADS - 1)
                yield();
        measuring = false;
        *faults = faults_count();
        return seconds_now() - from;
}

/* Those that populated the reserve are on their way out, with signals blocked: their
 * last calls would be the end of the process. */
static bool is_populating(void)
{
        for (int i = 0, n = threads_note(); i < n; i++)
                if (!strcmp(thread_name(i), "polder-each"))
                        return true;
        return false;
}

static int prepare(void)
{
        struct polder_options options;
        polder_options_init(&options);
        if (!options.reserve)
                options.reserve = RESERVE;
        options.prefault = options.lock = true;
        int error = polder_init(&options);
        return error ? error : polder_prefault_wait();
}

static void report(double seconds, long faults)
{
        long sent = 0, received = 0, large = 0, refused = 0;
        for (unsigned i = 0; i < NTHREADS; i++) {
                sent += workers[i].sent;
                received += workers[i].received;
                large += workers[i].large;
                refused += workers[i].refused;
        }
        printf("threads=%d operations=%ld freed_by_others=%ld large=%ld seconds=%.2f "
               "ns_per_operation=%.2f system_calls=%ld page_faults=%ld\n",
               NTHREADS, operations, received, large, seconds, seconds * 1e9 / (double)operations,
               nseen, faults);
        print_calls();
        if (faults > 0)
                faults_print();
        check_that(refused == 0, "no allocation was refused");
        check_that(received > sent / 2, "threads freed what others allocated");
        check_that(nseen == 0, "no thread made a system call");
        check_that(faults == 0, "no thread took a page fault");
}

int main(int argc, char **argv)
{
        long faults;
        if (argc > 1)
                operations = atol(argv[1]);
        if (argc > 2)
                warm_up = atol(argv[2]);
        faults_watch();
        int error = prepare();
        if (!error)
                error = start_threads();
        while (is_populating())
                yield();
        printf("measuring\n");
        if (!error)
                error = trap_calls();
        if (error) {
                fprintf(stderr, "bypass: could not be prepared: %s\n", strerror(-error));
                return 1;
        }
        prove_the_instruments();
        double seconds = measure(&faults);
        report(seconds, faults);
        printf("%d passed, %d failed\n", npassed, nfailed);
        fflush(stdout);
        _exit(nfailed > 0);
}
