#include "collector/start.h"

#include "arena/arena.h"
#include "arena/malloc.h"
#include "base/check.h"
#include "base/lock.h"
#include "collector/last_resort.h"
#include "collector/layout.h"
#include "collector/pacer.h"
#include "collector/pressure.h"
#include "collector/records.h"
#include "collector/request.h"
#include "collector/roots.h"
#include "collector/rules.h"
#include "collector/settings.h"
#include "collector/thread.h"
#include "collector/tie.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

_Atomic bool pld_started;

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_COLLECTOR_START);

static void fork_prepare(void)
{
        pld_request_fork_prepare();
        pld_thread_fork_prepare();
        pld_roots_fork_prepare();
        pld_records_fork_prepare();
        pld_ties_fork_prepare();
        pld_layout_fork_prepare();
        pld_grey_fork_prepare();
        pld_journal_fork_prepare();
        pld_pacer_fork_prepare();
        pld_pressure_fork_prepare();
}

static void fork_parent(void)
{
        pld_pressure_fork_parent();
        pld_pacer_fork_done();
        pld_journal_fork_done();
        pld_grey_fork_done();
        pld_layout_fork_done();
        pld_ties_fork_done();
        pld_records_fork_done();
        pld_roots_fork_done();
        pld_thread_fork_parent();
        pld_request_fork_parent();
}

static void fork_child(void)
{
        pld_pressure_fork_child();
        pld_pacer_fork_done();
        pld_journal_fork_child();
        pld_grey_fork_child();
        pld_layout_fork_done();
        pld_ties_fork_done();
        pld_records_fork_child();
        pld_roots_fork_done();
        pld_thread_fork_child();
        pld_last_resort_fork_child();
        pld_request_fork_child();
}

static int start_locked(const struct pld_arena_settings *arena)
{
        int error = pld_arena_start(arena);
        if (error && error != -EALREADY)
                return error;
        error = pld_layout_start();
        if (error)
                return error;
        error = pld_ties_start();
        if (error)
                return error;
        pld_manual_last_resort = pld_last_resort_for_malloc;
        pld_grey_start();
        pld_records_start();
        pld_roots_start();
        error = pld_thread_start();
        if (error)
                return error;
        pld_rules_start();
        pld_pacer_start();
        if (pthread_atfork(fork_prepare, fork_parent, fork_child))
                return -ENOMEM;
        pld_store_release(&pld_started, true);
        return 0;
}

static int start_with(const struct polder_options *options)
{
        struct pld_arena_settings arena;
        struct pld_collector_settings collector;
        int error = pld_options_apply(options, &arena, &collector);
        if (error)
                return error;
        pld_lock(&lock);
        if (pld_load_relaxed(&pld_started)) {
                error = -EALREADY;
        } else {
                pld_settings = collector;
                error = start_locked(&arena);
        }
        pld_unlock(&lock);
        return error;
}

int pld_start_slow(void)
{
        struct polder_options options;
        pld_options_from_environment(&options);
        int error = start_with(&options);
        return error == -EALREADY ? 0 : error;
}

void polder_options_init(struct polder_options *options)
{
        pld_options_from_environment(options);
}

int polder_init(const struct polder_options *options)
{
        struct polder_options whole;
        if (pld_load_acquire(&pld_started) || pld_arena_is_started())
                return -EALREADY;
        if (options && (options->struct_size == 0 || options->struct_size > sizeof whole)) {
                pld_say("polder_init: the options were not set up by polder_options_init()");
                return -EINVAL;
        }
        if (!options || options->struct_size < sizeof whole)
                pld_options_from_environment(&whole);
        if (options)
                memcpy(&whole, options, options->struct_size);
        return start_with(&whole);
}

int polder_prefault_wait(void)
{
        int error = pld_start();
        return error ? error : pld_arena_prefault_wait();
}
