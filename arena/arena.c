/* arena.c: starting the floors below and this one, once, and keeping them whole
 * over fork().
 *
 * S1  `started` is set last, with release: whoever sees it sees the rest.
 * S2  the thread that starts may come back here from below, through an
 *     allocation of the C library's: it is refused instead of waiting for itself.
 * S3  around fork() every lock of the floor is seized, in rising rank; the child
 *     has one thread, and whatever others had is orphaned. */
#include "arena/arena.h"

#include "arena/ahead.h"
#include "arena/cache.h"
#include "arena/decay.h"
#include "arena/extent.h"
#include "arena/form.h"
#include "arena/heap.h"
#include "arena/meta.h"
#include "arena/pool.h"
#include "arena/report.h"
#include "base/lock.h"
#include "numa/image.h"
#include "numa/mlock.h"
#include "numa/node_thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { META_SHARE = 32 }; /* descriptors take less than this part of what they describe */

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_START);
static _Atomic bool started;            /* S1 */
static _Thread_local bool starting;     /* S2 */
static struct pld_each prefault;        /* const but for its own fields */
static bool prefaulting;                /* const after start: there is a job */
static size_t reserve_share;            /* const after start: bytes a node */
static _Atomic size_t reserve_missing;  /* bytes that could not be backed */
static _Atomic unsigned shares_left;    /* nodes whose share is not there yet */
static bool reporting;                  /* const after start */

/* ---- The reserve --------------------------------------------------------------------- */

/* Interleaved memory comes from the stripe, whoever backs it. */
static void back_slice(unsigned node)
{
        unsigned slice = pld_machine.policy == PLD_POLICY_INTERLEAVE ? pld_machine.nnodes : node;
        size_t got = pld_page_heap_grow(slice, reserve_share, true);
        pld_page_map_touch(pld_range_slice_at(slice), got);
        if (got >= reserve_share)
                return;
        pld_add_relaxed(&reserve_missing, reserve_share - got);
        pld_report_missing(reserve_share - got);
}

/* The last one reports; it has seen what the others counted. */
static void back_share(unsigned node, void *unused)
{
        (void)unused;
        if (!pld_machine.node[node].far)
                back_slice(node);
        if (pld_sub_acq_rel(&shares_left, 1) == 1 && reporting)
                pld_report_say();
}

/* The slower tier has no part in the reserve. */
static unsigned count_near(void)
{
        unsigned n = 0;
        for (unsigned node = 0; node < pld_machine.nnodes; node++)
                n += !pld_machine.node[node].far;
        return n;
}

/* For programs that want neither a page fault nor a system call from now on. */
static void go_silent(void)
{
        pld_image_touch();
        pld_locks_be_patient();
}

static void start_reserve(const struct pld_arena_settings *settings)
{
        reporting = settings->report;
        if (!settings->reserve) {
                if (reporting)
                        pld_report_say();
                return;
        }
        if (settings->prefault)
                go_silent();
        reserve_share = pld_div_up(settings->reserve, count_near());
        prefaulting = true;
        pld_report_asked(settings->reserve);
        pld_store_relaxed(&shares_left, pld_machine.nnodes);
        pld_meta_touch(settings->reserve / META_SHARE);
        pld_each_node(back_share, NULL, &prefault);
}

int pld_arena_prefault_wait(void)
{
        if (!pld_arena_is_started() || !prefaulting)
                return 0;
        pld_each_wait(&prefault);
        return pld_load_relaxed(&reserve_missing) ? -ENOMEM : 0;
}

/* ---- fork() ----------------------------------------------------------------------------- */

static void fork_prepare(void) /* S3 */
{
        pld_lock_seize(&lock);
        pld_heap_fork_prepare();
        pld_cache_fork_prepare();
        pld_pool_fork_prepare();
        pld_manual_fork_prepare();
        pld_central_fork_prepare();
        pld_extent_fork_prepare();
        pld_page_heap_fork_prepare();
        pld_meta_fork_prepare();
        pld_span_fork_prepare();
}

static void fork_done(void)
{
        pld_span_fork_done();
        pld_meta_fork_done();
        pld_page_heap_fork_done();
        pld_extent_fork_done();
        pld_central_fork_done();
        pld_manual_fork_done();
        pld_pool_fork_done();
        pld_cache_fork_done();
        pld_heap_fork_done();
        pld_lock_cede(&lock);
}

static void fork_child(void)
{
        fork_done();
        pld_extent_fork_child();
        pld_decay_fork_child();
        pld_ahead_fork_child();
        pld_cache_fork_child();
        pld_pool_fork_child();
        pld_heap_fork_child();
}

/* ---- Start --------------------------------------------------------------------------------- */

static bool is_from_environment(const char *value, const char *name)
{
        return value && value == getenv(name);
}

/* A bad option is an error; a bad variable is one line (written below), and the
 * default. */
static int start_machine(const struct pld_arena_settings *settings)
{
        int error = pld_machine_start(settings->nodes);
        if (error == -EINVAL && is_from_environment(settings->nodes, "POLDER_NODES"))
                error = pld_machine_start(NULL);
        if (error)
                return error;
        error = pld_backing_start(settings->pages);
        if (error == -EINVAL && is_from_environment(settings->pages, "POLDER_PAGES"))
                error = pld_backing_start(NULL);
        pld_mlock_start(settings->lock);
        return error;
}

static int start_floor(const struct pld_arena_settings *settings)
{
        struct pld_page_heap_options options = { .decay_ms = settings->decay_ms,
                                                 .limit_bytes = settings->limit,
                                                 .populate = settings->prefault ||
                                                             settings->reserve > 0 };
        int error = start_machine(settings);
        bool striped = pld_machine.policy == PLD_POLICY_INTERLEAVE;
        if (!error)
                error = pld_range_reserve(pld_machine.nnodes + striped);
        if (!error)
                error = pld_page_map_start();
        if (!error)
                error = pld_extent_start();
        if (error)
                return error;
        pld_size_class_start();
        pld_form_start();
        pld_span_start(settings->max_spans);
        error = pld_page_heap_start(&options);
        if (!error)
                error = pld_manual_start();
        if (!error)
                error = pld_cache_start(settings->max_caches);
        if (!error)
                error = -pthread_atfork(fork_prepare, fork_done, fork_child);
        pld_decay_start(settings->decay_ms);
        return error;
}

static int start_locked(const struct pld_arena_settings *settings)
{
        if (pld_arena_is_started())
                return -EALREADY;
        int error = start_floor(settings);
        if (error)
                return error;
        pld_store_release(&started, true); /* S1 */
        start_reserve(settings);
        return 0;
}

bool pld_arena_is_started(void)
{
        return pld_load_acquire(&started);
}

int pld_arena_start(const struct pld_arena_settings *settings)
{
        if (pld_arena_is_started())
                return -EALREADY;
        if (starting) /* S2 */
                return -EAGAIN;
        struct pld_arena_settings defaults;
        starting = true;
        if (!settings) {
                pld_arena_settings_init(&defaults);
                settings = &defaults;
        }
        pld_lock(&lock);
        int error = start_locked(settings);
        pld_unlock(&lock);
        starting = false;
        if (!error && settings->prefault)
                pld_arena_prefault_wait();
        return error;
}
