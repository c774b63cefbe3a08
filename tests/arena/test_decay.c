#include "tests/arena/arena_test.h"

#include "arena/decay.h"
#include "base/clock.h"

#include <polder/arena.h>

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DECAY_MS = 20, PATIENCE_MS = 20000 };

static void start(int64_t decay_ms)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.decay_ms = decay_ms;
        pld_bins_are_used = false; /* what is freed is idle at once */
        arena_test_start_as(1, &settings);
}

/* Patience is long: only what never happens is an error. */
static bool becomes_empty(void)
{
        for (unsigned i = 0; i < PATIENCE_MS && pld_page_heap_idle_bytes() > 0; i++)
                usleep(1000);
        return pld_page_heap_idle_bytes() == 0;
}

static void leave_idle(void)
{
        void *p = polder_malloc(PLD_HUGE_BYTES);
        polder_free(p);
}

Test(decay, idle_huge_pages_go_back_after_a_while)
{
        start(DECAY_MS);
        leave_idle();
        cr_expect(becomes_empty());
        leave_idle();
        cr_expect(becomes_empty(), "again, after the thread was asleep or not");
}

Test(decay, a_thread_that_went_to_sleep_is_woken)
{
        start(DECAY_MS);
        leave_idle();
        cr_expect(becomes_empty());
        usleep(20 * DECAY_MS * 1000);
        leave_idle();
        cr_expect(becomes_empty());
}

Test(decay, a_process_that_frees_nothing_has_no_thread)
{
        start(DECAY_MS);
        polder_malloc(PLD_HUGE_BYTES);
        polder_malloc(10);
        cr_expect_eq(pld_fake_calls(PLD_FAKE_THREAD_CREATE), 0);
}

Test(decay, without_a_decay_time_idle_memory_is_kept)
{
        start(-1);
        leave_idle();
        cr_expect_eq(pld_fake_calls(PLD_FAKE_THREAD_CREATE), 0);
        cr_expect_eq(pld_page_heap_idle_bytes(), PLD_HUGE_BYTES);
        cr_expect_eq(polder_release(), PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_heap_idle_bytes(), 0);
        cr_expect_eq(polder_release(), 0);
}

Test(decay, at_once_is_at_once)
{
        start(0);
        leave_idle();
        cr_expect_eq(pld_page_heap_idle_bytes(), 0);
        cr_expect_eq(pld_fake_calls(PLD_FAKE_THREAD_CREATE), 0);
}

Test(decay, a_refused_thread_is_stood_in_for)
{
        start(DECAY_MS);
        pld_fake_forbid(PLD_FAKE_THREAD_CREATE, EAGAIN);
        leave_idle();
        void *p[2] = { polder_malloc(3 * PLD_HUGE_BYTES), polder_malloc(1) };
        usleep(3 * DECAY_MS * 1000); /* what leave_idle() left is old by now, but p's not */
        polder_free(p[0]);
        usleep(3 * DECAY_MS * 1000);
        leave_idle();
        cr_expect_leq(pld_page_heap_idle_bytes(), PLD_HUGE_BYTES);
        polder_free(p[1]);
}

Test(decay, a_forked_child_has_a_thread_of_its_own)
{
        start(DECAY_MS);
        leave_idle();
        cr_expect(becomes_empty());
        pid_t pid = fork();
        if (pid == 0) {
                leave_idle();
                _exit(!becomes_empty());
        }
        int status;
        waitpid(pid, &status, 0);
        cr_expect_eq(status, 0);
}

static void *leave_blocks(void *arg)
{
        void **blocks = arg;
        for (unsigned i = 0; i < 100; i++)
                blocks[i] = polder_malloc(4000);
        return NULL;
}

Test(decay, what_ended_threads_left_goes_back_too)
{
        void *blocks[100];
        start(DECAY_MS);
        arena_test_thread(leave_blocks, blocks);
        for (unsigned i = 0; i < 100; i++)
                polder_free(blocks[i]);
        pld_cache_drop();
        leave_idle();
        cr_expect(becomes_empty());
}
