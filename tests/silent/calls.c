/* calls.c: what is allowed, who counts it, and what is told of it.
 *
 * A seccomp filter over all threads stops each call and notifies a thread of ours
 * (Linux 5.7), which counts it by the caller and lets it go on: a forbidden one too,
 * so that the program lives to tell. Where there can't be such a listener, because of
 * an older kernel or of one that is there already, what is allowed passes uncounted,
 * though a tracepoint may count all of it together; what is not is trapped.
 *
 * C1  the counting thread makes no call but to receive and to answer: each other one
 *     would wait for an answer of its own. So it spins until there is something to
 *     receive.
 * C2  a call is counted when its answer has been taken: one that a signal interrupts
 *     before is made, and notified, again. */
#include "tests/silent/calls.h"

#include "tests/silent/threads.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        NOTICE_BYTES = 1024,
        STACK_BYTES = 64 << 10,
        MAX_TOLD = 16,
        COUNT_WIDTH = 16,
        NO_LISTENER = -1,
        GIVEN_UP = -2
};

static const struct {
        const char *name;
        int number;
} allowed[NCALLS] = {
        [CALL_WAIT] = { "futex: wait", SYS_futex },
        [CALL_TIMED_WAIT] = { "futex: timed wait", SYS_futex },
        [CALL_WAKE] = { "futex: wake", SYS_futex },
        [CALL_NAP] = { "clock_nanosleep", SYS_clock_nanosleep },
        [CALL_RESTART] = { "restart_syscall", SYS_restart_syscall },
        [CALL_YIELD] = { "sched_yield", SYS_sched_yield },
        [CALL_SIGNAL] = { "rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo },
        [CALL_BARE_SIGNAL] = { "tgkill", SYS_tgkill },
        [CALL_SIGNAL_RETURN] = { "rt_sigreturn", SYS_rt_sigreturn },
        [CALL_BARRIER] = { "membarrier", SYS_membarrier },
        [CALL_USAGE] = { "getrusage", SYS_getrusage },
        [CALL_READ] = { "read", SYS_read },
        [CALL_WRITE] = { "write", SYS_write },
};

static _Atomic int listener = NO_LISTENER;
static _Atomic bool ready, over;
static pthread_t counter;
static _Atomic long counts[MAX_THREADS + 1][NCALLS]; /* the last: threads without a number */
static int event_of_all = -1, event_of_main = -1;
static long by_event; /* before calls_forbid(), negative; then the difference */

static struct {
        long number;
        int thread;
        void *at;
} forbidden[MAX_TOLD];
static _Atomic long nforbidden;

/* As large as this and any later kernel's; written by the counting thread. */
static union {
        struct seccomp_notif notice;
        char bytes[NOTICE_BYTES];
} received;
static union {
        struct seccomp_notif_resp answer;
        char bytes[NOTICE_BYTES];
} sent;

/* ---- Counting --------------------------------------------------------------------------- */

static void note_forbidden(long number, int thread, void *at)
{
        long i = nforbidden++;
        if (i >= MAX_TOLD)
                return;
        forbidden[i].number = number;
        forbidden[i].thread = thread;
        forbidden[i].at = at;
}

static enum call kind_of(const struct seccomp_data *data)
{
        enum call call = CALL_WAIT;
        if (data->nr == SYS_futex && ((int)data->args[1] & FUTEX_CMD_MASK) == FUTEX_WAKE)
                return CALL_WAKE;
        if (data->nr == SYS_futex && data->args[3])
                return CALL_TIMED_WAIT;
        while (call < NCALLS && allowed[call].number != data->nr)
                call++;
        return call;
}

static void count(const struct seccomp_notif *notice)
{
        int thread = thread_number((pid_t)notice->pid);
        enum call call = kind_of(&notice->data);
        if (over)
                return;
        if (call != NCALLS)
                counts[thread < 0 ? MAX_THREADS : thread][call]++;
        if (call >= CALL_USAGE && (call == NCALLS || thread != 0))
                note_forbidden(notice->data.nr, thread,
                               (void *)(uintptr_t)notice->data.instruction_pointer);
}

static void serve_one(void)
{
        memset(&received, 0, sizeof received);
        memset(&sent, 0, sizeof sent);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &received))
                return;
        sent.answer.id = received.notice.id;
        sent.answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        if (!ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &sent)) /* C2 */
                count(&received.notice);
}

/* Nothing is touched for the first time when others are measured already. */
static __attribute__((noinline)) void touch(void)
{
        volatile char stack[STACK_BYTES];
        for (size_t i = 0; i < sizeof stack; i += 1024)
                stack[i] = 0;
        serve_one(); /* of no listener */
        for (int i = 0; i <= MAX_THREADS; i++)
                counts[i][0] = 0;
}

static void *count_calls(void *unused)
{
        prctl(PR_SET_NAME, "counter");
        touch();
        ready = true;
        while (listener == NO_LISTENER)
                ; /* C1 */
        while (listener != GIVEN_UP)
                serve_one();
        return unused;
}

int calls_start(void)
{
        int error = pthread_create(&counter, NULL, count_calls, NULL);
        while (!error && !ready)
                sched_yield();
        return -error;
}

/* ---- Forbidding ------------------------------------------------------------------------- */

static void on_trap(int number, siginfo_t *info, void *context)
{
        (void)number;
        (void)context;
        note_forbidden(info->si_syscall, -1, info->si_call_addr);
}

static int install(unsigned flags, unsigned when_allowed, unsigned when_not)
{
        struct sock_filter filter[2 * NCALLS + 8];
        size_t n = 0;
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                   offsetof(struct seccomp_data, nr));
        for (size_t i = 0; i < NCALLS; i++) {
                filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                           (unsigned)allowed[i].number, 0, 1);
                filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, when_allowed);
        }
        const struct sock_filter rest[] = {
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 4, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4), /* C1 */
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)SECCOMP_IOCTL_NOTIF_RECV, 1, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)SECCOMP_IOCTL_NOTIF_SEND, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, when_not),
        };
        memcpy(filter + n, rest, sizeof rest);
        n += sizeof rest / sizeof rest[0];
        struct sock_fprog program = { .len = (unsigned short)n, .filter = filter };
        int made = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                flags | SECCOMP_FILTER_FLAG_TSYNC, &program);
        return made < 0 ? -errno : made;
}

/* A call that has been received is not interrupted, where the kernel can (5.19). */
static int install_listener(void)
{
        unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
        unsigned patient = flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        int made = install(patient, SECCOMP_RET_USER_NOTIF, SECCOMP_RET_USER_NOTIF);
        return made < 0 ? install(flags, SECCOMP_RET_USER_NOTIF, SECCOMP_RET_USER_NOTIF) : made;
}

static long read_event(int event)
{
        uint64_t value;
        return event >= 0 && read(event, &value, sizeof value) == sizeof value ? (long)value : 0;
}

int calls_forbid(void)
{
        struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
        sigaction(SIGSYS, &action, NULL);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
                return -errno;
        int made = install_listener();
        if (made >= 0) {
                listener = made;
                return 0;
        }
        listener = GIVEN_UP;
        pthread_join(counter, NULL);
        by_event = -(read_event(event_of_all) - read_event(event_of_main));
        made = install(0, SECCOMP_RET_ALLOW, SECCOMP_RET_TRAP);
        return made > 0 ? -ESRCH : made; /* a thread that could not be brought under it */
}

long calls_forbidden(void)
{
        return nforbidden;
}

/* ---- The kernel's counter ---------------------------------------------------------------- */

static int open_event(uint64_t tracepoint, bool inherit)
{
        struct perf_event_attr event = { .type = PERF_TYPE_TRACEPOINT,
                                         .size = sizeof event,
                                         .config = tracepoint,
                                         .inherit = inherit };
        return (int)syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);
}

void calls_watch(void)
{
        char text[16] = "";
        FILE *file = fopen("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", "r");
        if (!file)
                file = fopen("/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id", "r");
        if (!file)
                return;
        if (fgets(text, sizeof text, file)) {
                event_of_all = open_event(strtoull(text, NULL, 10), true);
                event_of_main = open_event(strtoull(text, NULL, 10), false);
        }
        fclose(file);
}

void calls_end(void)
{
        over = true;
        by_event += read_event(event_of_all) - read_event(event_of_main);
}

/* ---- Telling ----------------------------------------------------------------------------- */

static long sum_of(int thread, enum call call)
{
        long sum = 0;
        for (int i = 0; i < NCALLS; i++)
                sum += call == ANY_CALL || (int)call == i ? counts[thread][i] : 0;
        return sum;
}

long calls_of(const char *name, enum call call)
{
        long sum = 0;
        if (listener < 0)
                return name || call != ANY_CALL || event_of_all < 0 || event_of_main < 0 ? -1
                                                                                         : by_event;
        for (int i = 1; i <= MAX_THREADS; i++)
                if (!name || !strncmp(thread_name(i), name, strlen(name)))
                        sum += sum_of(i, call);
        return sum;
}

static void print_row(const char *name, enum call call, long ncycles)
{
        long all = calls_of(NULL, call);
        printf("%-18s", name);
        for (int i = 0; i <= MAX_THREADS; i++)
                if (sum_of(i, ANY_CALL) > 0)
                        printf("%*ld", COUNT_WIDTH, sum_of(i, call));
        printf("%10ld%10.1f\n", all, (double)all / (double)(ncycles > 0 ? ncycles : 1));
}

static void print_table(long ncycles)
{
        printf("%-18s", "call");
        for (int i = 0; i <= MAX_THREADS; i++)
                if (sum_of(i, ANY_CALL) > 0)
                        printf("%*s", COUNT_WIDTH, thread_name(i));
        printf("%10s%10s\n", "all*", "a cycle");
        for (enum call call = 0; call < NCALLS; call++)
                print_row(allowed[call].name, call, ncycles);
        print_row("all", ANY_CALL, ncycles);
        printf("* but for the main thread, which is outside of Polder\n");
}

void calls_print(long ncycles)
{
        for (long i = 0; i < nforbidden && i < MAX_TOLD; i++)
                printf("forbidden: system call %ld by thread %s, at %p\n", forbidden[i].number,
                       thread_name(forbidden[i].thread), forbidden[i].at);
        if (listener >= 0)
                print_table(ncycles);
        else if (calls_of(NULL, ANY_CALL) >= 0)
                printf("waits and wakes, counted by a tracepoint: %ld\n", calls_of(NULL, ANY_CALL));
        else
                printf("waits and wakes could not be counted: neither a seccomp listener nor "
                       "tracepoints here\n");
}
