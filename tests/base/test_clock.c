#include "base/clock.h"

#include <criterion/criterion.h>

#include <time.h>

Test(clock, time_does_not_run_backwards)
{
        uint64_t last = pld_now_ns();
        for (int i = 0; i < 1000; i++) {
                uint64_t now = pld_now_ns();
                cr_assert(now >= last);
                last = now;
        }
}

Test(clock, now_agrees_with_the_system)
{
        struct timespec system;
        uint64_t before = pld_now_ns();
        clock_gettime(CLOCK_MONOTONIC, &system);
        uint64_t after = pld_now_ns();
        uint64_t ns = (uint64_t)system.tv_sec * PLD_NS_PER_S + (uint64_t)system.tv_nsec;
        cr_expect(before <= ns && ns <= after);
}

Test(clock, a_sleeping_thread_uses_little_cpu)
{
        struct timespec nap = pld_timespec(50 * PLD_NS_PER_MS);
        uint64_t cpu = pld_thread_cpu_ns(), wall = pld_now_ns();
        nanosleep(&nap, NULL);
        cr_expect(pld_now_ns() - wall >= 50 * PLD_NS_PER_MS);
        cr_expect(pld_thread_cpu_ns() - cpu < pld_now_ns() - wall);
}

Test(clock, timespec_splits_at_the_second)
{
        struct timespec t = pld_timespec(3 * PLD_NS_PER_S + 7);
        cr_expect(t.tv_sec == 3 && t.tv_nsec == 7);
        t = pld_timespec(PLD_NS_PER_S - 1);
        cr_expect(t.tv_sec == 0 && t.tv_nsec == 999999999);
}
