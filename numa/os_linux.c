/* os_linux.c: the contract of os.h, by Linux: addresses, pages and threads. What the machine
 * is, os_machine.c finds out.
 *
 * O1  A piece of the reserved range is opened by mprotect() and closed by mapping
 *     an inaccessible piece over it. Neither can fail halfway: a MAP_FIXED mapping
 *     of writable or hugetlb memory unmaps what was there before it is refused,
 *     and leaves a hole for any other mmap() of the process to fall into.
 * O2  So hugetlb pages are mapped elsewhere, populated there and moved in, which
 *     the kernel does since 5.16; on an older one they are not supported.
 * O3  Nothing here touches hugetlb memory that is not populated: no SIGBUS.
 * O4  Under mlockall() the kernel populates what can be accessed, as soon as it can:
 *     so memory is mapped without access, bound, and opened last; and large tables
 *     are opened piece by piece. What can only be read gets no memory of its own. */
#include "numa/os.h"
#include "numa/os_cgroup.h"
#include "numa/os_machine.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"

#include <errno.h>
#include <numaif.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __has_include(<sys/rseq.h>) /* glibc 2.35 */
#include <sys/rseq.h>
#define HAS_RSEQ 1
#else
#define HAS_RSEQ 0
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

enum {
        POOL_SHIFT = 26,              /* mmap()'s flags hold the log2 of the page size */
        PROMPT_SLICE_NS = 100000,     /* the shortest that the kernel allows, */
        PATIENT_SLICE_NS = 100000000, /* and the longest */
        RESERVED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
};

const struct pld_os *pld_os = &pld_os_linux;

/* --- where it runs, and what there is ------------------------------------------------ */

static int pool_flags(enum pld_backing kind)
{
        int log2 = (int)pld_log2(pld_backing_unit_bytes(kind));
        return MAP_HUGETLB | log2 << POOL_SHIFT;
}

/* There are such hugetlb mappings, and they can be moved (O2); asked with one that
 * reserves no page. */
static bool pool_moves(enum pld_backing kind)
{
        size_t nbytes = pld_backing_unit_bytes(kind);
        void *from = mmap(NULL, nbytes, PROT_NONE, RESERVED | pool_flags(kind), -1, 0);
        if (from == MAP_FAILED)
                return false;
        char *room = mmap(NULL, 2 * nbytes, PROT_NONE, RESERVED, -1, 0);
        bool moved = false;
        if (room != MAP_FAILED) {
                void *to = (void *)pld_round_up((uintptr_t)room, nbytes);
                moved = mremap(from, nbytes, nbytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
                if (moved)
                        munmap(to, nbytes);
                munmap(room, 2 * nbytes);
        }
        if (!moved)
                munmap(from, nbytes);
        return moved;
}

static bool linux_supports(enum pld_backing kind)
{
        switch (kind) {
        case PLD_BACKING_1G:
        case PLD_BACKING_2M:
                return pool_moves(kind);
        case PLD_BACKING_THP:
                return pld_linux_has_thp();
        default:
                return kind == PLD_BACKING_BASE;
        }
}

/* glibc reads it from the thread's rseq area: one load. */
static int linux_cpu(void)
{
        return sched_getcpu();
}

/* The restartable-sequences area, which glibc registers for each thread and the kernel
 * brings up to date before the thread runs on. */
static const _Atomic uint32_t *linux_cpu_at(void)
{
#if HAS_RSEQ
        if (__rseq_size > 0) {
                char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
                _Atomic uint32_t *at = (_Atomic uint32_t *)(area + offsetof(struct rseq, cpu_id));
                if ((int32_t)pld_load_relaxed(at) >= 0)
                        return at;
        }
#endif
        return NULL;
}

static int linux_node_here(int *cpu)
{
        unsigned at, node;
        if (getcpu(&at, &node) != 0)
                return -errno;
        *cpu = (int)at;
        return (int)node;
}

/* --- addresses and pages ------------------------------------------------------------ */

static size_t linux_reserve_limit(void)
{
        struct rlimit limit;
        size_t most = SIZE_MAX;
        if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
                most = limit.rlim_cur / 4 * 3; /* the rest of the program wants some too */
#if PLD_TSAN
        if (most > 512 * PLD_GIB) /* what its shadow covers of where mmap() lands */
                most = 512 * PLD_GIB;
#endif
        return most;
}

static void *linux_reserve(size_t nbytes)
{
        void *at = mmap(NULL, nbytes, PROT_NONE, RESERVED, -1, 0);
        return at == MAP_FAILED ? NULL : at;
}

static int linux_unmap(void *at, size_t nbytes)
{
        return munmap(at, nbytes) == 0 ? 0 : -errno;
}

static int linux_open(void *at, size_t nbytes)
{
        return mprotect(at, nbytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

static int linux_close(void *at, size_t nbytes)
{
        return mmap(at, nbytes, PROT_NONE, RESERVED | MAP_FIXED, -1, 0) == at ? 0 : -errno;
}

/* Locked memory, by us or by the program's mlockall(), has to be asked for by another
 * name; before Linux 5.18 it has to be unlocked. */
static int linux_drop(void *at, size_t nbytes)
{
        if (madvise(at, nbytes, MADV_DONTNEED) == 0)
                return 0;
        if (errno != EINVAL)
                return -errno;
        if (madvise(at, nbytes, MADV_DONTNEED_LOCKED) == 0)
                return 0;
        munlock(at, nbytes);
        return madvise(at, nbytes, MADV_DONTNEED) == 0 ? 0 : -errno;
}

static void *linux_map(size_t nbytes)
{
        void *at = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, RESERVED, -1, 0);
        return at == MAP_FAILED ? NULL : at;
}

static void *linux_map_sparse(size_t nbytes)
{
        void *at = mmap(NULL, nbytes, PROT_READ, RESERVED, -1, 0);
        return at == MAP_FAILED ? NULL : at;
}

/* Reserves in the pool: so after a fork the copy on write of the parent succeeds,
 * at the child's cost, where an unreserved page would be a SIGBUS. */
static void *linux_map_pool(size_t nbytes, enum pld_backing kind)
{
        void *at = mmap(NULL, nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | pool_flags(kind),
                        -1, 0);
        return at == MAP_FAILED ? NULL : at;
}

static int linux_move(void *from, void *to, size_t nbytes)
{
        return mremap(from, nbytes, nbytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? 0 : -errno;
}

static int linux_bind(void *at, size_t nbytes, int id)
{
        unsigned long mask[PLD_NODE_IDS / 64] = { 0 };
        mask[id / 64] = 1ul << (id % 64);
        return mbind(at, nbytes, MPOL_BIND, mask, PLD_LINUX_MAXNODE, 0) == 0 ? 0 : -errno;
}

static int linux_rebind(void *at, size_t nbytes, int id)
{
        unsigned long mask[PLD_NODE_IDS / 64] = { 0 };
        mask[id / 64] = 1ul << (id % 64);
        unsigned flags = MPOL_MF_MOVE | MPOL_MF_STRICT;
        return mbind(at, nbytes, MPOL_BIND, mask, PLD_LINUX_MAXNODE, flags) == 0 ? 0 : -errno;
}

static int linux_advise(void *at, size_t nbytes, bool huge)
{
        return madvise(at, nbytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0 ? 0 : -errno;
}

/* Before Linux 5.14; never hugetlb memory, which O2 rules out there. */
static void touch(char *at, size_t nbytes)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        for (size_t i = 0; i < nbytes; i += page)
                *(volatile char *)(at + i) = 0;
}

static long faults_of_thread(void)
{
        struct rusage usage;
        getrusage(RUSAGE_THREAD, &usage);
        return usage.ru_minflt + usage.ru_majflt;
}

static int linux_populate(void *at, size_t nbytes, size_t *faults)
{
        int error = 0;
        long before = faults_of_thread();
        while (madvise(at, nbytes, MADV_POPULATE_WRITE) != 0) {
                if (errno == EINTR || errno == EAGAIN)
                        continue;
                if (errno == EINVAL)
                        touch(at, nbytes);
                else
                        error = -errno;
                break;
        }
        *faults = (size_t)(faults_of_thread() - before);
        return error;
}

static int linux_collapse(void *at, size_t nbytes)
{
        return madvise(at, nbytes, MADV_COLLAPSE) == 0 ? 0 : -errno;
}

/* Not by mlock(), which Address Sanitizer makes a promise without a deed. */
static int linux_lock(void *at, size_t nbytes)
{
        return syscall(SYS_mlock, at, nbytes) == 0 ? 0 : -errno;
}

static size_t linux_lock_limit(void)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
                return SIZE_MAX;
        return limit.rlim_cur;
}

static int linux_resident(void *at, size_t nbytes, size_t *out)
{
        unsigned char there[512];
        size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
        for (size_t done = 0; done < nbytes;) {
                size_t left = (nbytes - done) / page;
                size_t here = left < sizeof there ? left : sizeof there;
                if (here == 0)
                        break;
                if (mincore((char *)at + done, here * page, there) != 0)
                        return -errno;
                for (size_t i = 0; i < here; i++)
                        n += there[i] & 1;
                done += here * page;
        }
        *out = n * page;
        return 0;
}

/* Seccomp profiles that forbid move_pages() may allow this. */
static int nodes_one_by_one(void **pages, size_t n, int *ids)
{
        for (size_t i = 0; i < n; i++)
                if (get_mempolicy(&ids[i], NULL, 0, pages[i], MPOL_F_NODE | MPOL_F_ADDR) != 0)
                        return -errno;
        return 0;
}

static int linux_nodes_of(void **pages, size_t n, int *ids)
{
        if (move_pages(0, n, pages, NULL, ids, 0) == 0)
                return 0;
        return nodes_one_by_one(pages, n, ids);
}

/* --- threads --------------------------------------------------------------------------- */

static int create_with(pthread_attr_t *attr, pthread_t *out, void *(*fn)(void *), void *arg)
{
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &old); /* inherited: there is no moment with signals */
        int error = pthread_create(out, attr, fn, arg);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return -error;
}

static int linux_thread_create(pthread_t *out, size_t stack_bytes, void *(*fn)(void *), void *arg)
{
        pthread_attr_t attr;
        int error = pthread_attr_init(&attr);
        if (error)
                return -error;
        pthread_attr_setstacksize(&attr, stack_bytes);
        error = create_with(&attr, out, fn, arg);
        if (error == -EINVAL) /* a program with so much TLS that it fills the stack */
                error = create_with(NULL, out, fn, arg);
        pthread_attr_destroy(&attr);
        return error;
}

static void linux_thread_settle(const char *name, const cpu_set_t *cpus)
{
        char cut[16];
        snprintf(cut, sizeof cut, "%s", name);
        prctl(PR_SET_NAME, cut);
        if (CPU_COUNT(cpus) > 0)
                sched_setaffinity(0, sizeof *cpus, cpus);
}

/* sched_setattr(2)'s; glibc has no wrapper for it yet. */
struct scheduling {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
};

static void ask_for_slices(uint32_t policy, uint64_t slice_ns)
{
        struct scheduling mine = { .size = sizeof mine };
        if (syscall(SYS_sched_getattr, 0, &mine, sizeof mine, 0) || mine.policy != SCHED_OTHER)
                return; /* forbidden, or the program's own choice */
        mine.size = sizeof mine;
        mine.policy = policy;
        mine.runtime_ns = slice_ns;
        syscall(SYS_sched_setattr, 0, &mine, 0);
}

/* Asks for short slices: who wants a CPU for a moment only is due earlier (EEVDF with
 * slices of the thread's choice, Linux 6.12; nothing changes before). No privilege is
 * needed, and the share of the CPU stays the same. Timers are not rounded up, either. */
static void linux_thread_be_prompt(void)
{
        prctl(PR_SET_TIMERSLACK, 1);
        ask_for_slices(SCHED_OTHER, PROMPT_SLICE_NS);
}

/* The other way round: it is due late, so whoever wakes beside it goes first, and as a batch
 * thread it takes no CPU from others when it wakes. Its share stays the same here, too. */
static void linux_thread_be_patient(void)
{
        prctl(PR_SET_TIMERSLACK, 1);
        ask_for_slices(SCHED_BATCH, PATIENT_SLICE_NS);
}

/* Registered at the first use, and again in a child that was forked without. */
static int linux_barrier_everywhere(void)
{
        static _Atomic bool refused;
        enum { BARRIER = 1 << 3, REGISTER = 1 << 4 }; /* MEMBARRIER_CMD_PRIVATE_EXPEDITED… */
        int saved = errno, result = -ENOSYS;
        if (pld_load_relaxed(&refused))
                return result;
        if (!syscall(SYS_membarrier, BARRIER, 0, 0) ||
            (!syscall(SYS_membarrier, REGISTER, 0, 0) && !syscall(SYS_membarrier, BARRIER, 0, 0)))
                result = 0;
        else
                pld_store_relaxed(&refused, true);
        errno = saved;
        return result;
}

const struct pld_os pld_os_linux = {
        .nodes_with_memory = pld_linux_nodes_with_memory,
        .nodes_allowed = pld_linux_nodes_allowed,
        .policy = pld_linux_policy,
        .cpus_of_node = pld_linux_cpus_of_node,
        .cpus_allowed = pld_linux_cpus_allowed,
        .distances = pld_linux_distances,
        .weight = pld_linux_weight,
        .memory = pld_linux_memory,
        .cgroup_memory = pld_cgroup_memory,
        .pool_free = pld_linux_pool_free,
        .supports = linux_supports,
        .cpu = linux_cpu,
        .cpu_at = linux_cpu_at,
        .node_here = linux_node_here,
        .reserve_limit = linux_reserve_limit,
        .reserve = linux_reserve,
        .unmap = linux_unmap,
        .open = linux_open,
        .close = linux_close,
        .drop = linux_drop,
        .map = linux_map,
        .map_sparse = linux_map_sparse,
        .open_sparse = linux_open,
        .map_pool = linux_map_pool,
        .move = linux_move,
        .bind = linux_bind,
        .rebind = linux_rebind,
        .advise = linux_advise,
        .populate = linux_populate,
        .collapse = linux_collapse,
        .resident = linux_resident,
        .lock = linux_lock,
        .lock_limit = linux_lock_limit,
        .nodes_of = linux_nodes_of,
        .thread_create = linux_thread_create,
        .thread_settle = linux_thread_settle,
        .thread_be_prompt = linux_thread_be_prompt,
        .thread_be_patient = linux_thread_be_patient,
        .barrier_everywhere = linux_barrier_everywhere,
};
