/* worker.c: the marking threads.
 *
 * A worker marks in bites, for its share of the time, until the phase says that
 * there is no more to do; then it sleeps until the next cycle. A worker with less than
 * one CPU sleeps the rest of each period, but not once mutators have to help.
 *
 * W1  a worker that has anything in hand holds a credit (mark.c, M2): so no one
 *     needs to wait for workers at the flip.
 * W2  a worker reads `generation` before it looks for work, and sleeps on what it
 *     read: a wake-up in between is not lost.
 * W3  what a worker did is reported before its credit goes back: who sees no credit
 *     knows how much was marked.
 * Workers hold no lock of theirs; only whoever runs the cycle makes and wakes them. */
#include "collector/worker.h"

#include "base/clock.h"
#include "base/check.h"
#include "base/futex.h"
#include "collector/cycle.h"
#include "collector/pacer.h"
#include "collector/roots.h"
#include "collector/scan.h"
#include "collector/settings.h"
#include "numa/node_thread.h"
#include "numa/os.h"

#include <stdio.h>
#include <time.h>

enum {
        QUANTUM_BYTES = 64 << 10,
        LEAST_QUANTUM = 4 << 10, /* what is taken for one of roots, and one that finds little */
        SHARE_PERIOD_NS = 1000000,
        IDLE_NS = 1000000,
        MAX_WORKERS = 256
};

struct worker {
        struct pld_marker marker;
        double share; /* of one CPU that it may use while mutators run */
};

static struct worker workers[MAX_WORKERS];
static unsigned nworkers; /* the cycle's */
static bool tried;        /* the cycle's */
static _Atomic uint32_t generation;
static _Atomic uint64_t nsent;

/* Reports what the marker did since the last time. Elapsed time stands for CPU
 * time, which only a system call would tell. */
static void report(struct pld_marker *marker, uint64_t took_ns)
{
        pld_pacer_add_work(marker, took_ns);
        pld_add_relaxed(&nsent, marker->sent);
        marker->sent = 0;
}

/* One bite; false when nothing could be taken. */
static bool mark_quantum(struct pld_marker *marker)
{
        if (pld_mark_some(marker, QUANTUM_BYTES))
                return true;
        return pld_roots_scan_some(marker);
}

bool pld_mark_dry_try(struct pld_marker *marker, uint64_t most)
{
        uint64_t start_ns = pld_now_ns(), spent = 0;
        bool more;
        pld_marker_take_pen_try(marker);
        do {
                uint64_t before = marker->scanned_bytes;
                more = mark_quantum(marker) || pld_marker_flush(marker);
                spent += LEAST_QUANTUM + marker->scanned_bytes - before;
        } while (more && spent < most);
        pld_marker_lay_down_pen(marker);
        pld_marker_flush(marker);
        report(marker, pld_now_ns() - start_ns);
        return !more;
}

void pld_mark_dry(struct pld_marker *marker)
{
        pld_mark_dry_try(marker, UINT64_MAX);
}

static void nap(uint64_t ns)
{
        struct timespec time = pld_timespec(ns);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

/* A worker that may use a part of a CPU only sleeps the rest of the time, unless
 * mutators already have to help. */
static void mark_shared(struct worker *worker)
{
        uint64_t since_ns = pld_now_ns();
        pld_marker_take_pen_try(&worker->marker);
        while (pld_cycle_has_work()) {
                bool more = mark_quantum(&worker->marker);
                uint64_t used_ns = pld_now_ns() - since_ns;
                if (more && used_ns < SHARE_PERIOD_NS)
                        continue;
                report(&worker->marker, used_ns); /* W3 */
                if (!more) {
                        pld_marker_flush(&worker->marker);
                        pld_grey_wait(IDLE_NS, worker->share >= 1 || !pld_cycle_is_marking());
                } else if (worker->share < 1 && pld_cycle_is_marking() && !pld_pacer_is_late()) {
                        nap((uint64_t)((double)used_ns * (1 / worker->share - 1)));
                }
                since_ns = pld_now_ns();
        }
        pld_marker_lay_down_pen(&worker->marker);
        pld_marker_flush(&worker->marker);
}

static void *run_worker(void *arg)
{
        struct worker *worker = arg;
        pld_os->thread_be_patient(); /* mutators that wake go first */
        for (;;) {
                uint32_t seen = pld_load_acquire(&generation);
                mark_shared(worker);
                pld_futex_wait(&generation, seen, 0);
        }
        return NULL;
}

static bool start_one(unsigned node, double share)
{
        if (nworkers == MAX_WORKERS)
                return false;
        struct worker *worker = &workers[nworkers];
        pthread_t thread;
        char name[16];
        snprintf(name, sizeof name, "polder-mark-%u", node % 1000);
        pld_marker_init(&worker->marker, node, pld_machine.nnodes > 1);
        worker->share = share;
        if (pld_node_thread_start(&thread, node, name, run_worker, worker))
                return false;
        nworkers++;
        return true;
}

/* Per node: the setting's number, or a quarter of the CPUs, a part of one at least. */
void pld_workers_start(void)
{
        if (tried)
                return;
        tried = true;
        bool some_have_cpus = false;
        for (unsigned node = 0; node < pld_machine.nnodes; node++)
                some_have_cpus |= pld_machine.node[node].ncpus > 0;
        for (unsigned node = 0; node < pld_machine.nnodes; node++) {
                unsigned ncpus = pld_machine.node[node].ncpus;
                if (ncpus == 0 && some_have_cpus)
                        continue; /* marked by the workers of other nodes */
                int wanted = pld_settings.workers_per_node;
                double quarter = ncpus / 4.0;
                int n = wanted > 0 ? wanted : quarter < 1 ? 1 : (int)quarter;
                double share = wanted > 0 || quarter >= 1 ? 1 : quarter;
                for (int i = 0; i < n; i++)
                        if (!start_one(node, share))
                                return;
        }
}

void pld_workers_wake(void)
{
        pld_add_release(&generation, 1);
        pld_futex_wake(&generation, INT_MAX);
        pld_grey_wake();
}

unsigned pld_workers_count(void)
{
        return nworkers;
}

uint32_t pld_workers_woken(void)
{
        return pld_load_relaxed(&generation);
}

uint64_t pld_workers_sent(void)
{
        return pld_load_relaxed(&nsent);
}

void pld_workers_fork_child(void)
{
        nworkers = 0;
        tried = false;
        pld_markers_fork_child(); /* a worker had the pen */
}
