/* clock.h: monotonic time in nanoseconds. */
#ifndef PLD_BASE_CLOCK_H
#define PLD_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define PLD_NS_PER_US UINT64_C(1000)
#define PLD_NS_PER_MS UINT64_C(1000000)
#define PLD_NS_PER_S UINT64_C(1000000000)

static inline uint64_t pld_clock_read(clockid_t clock)
{
        struct timespec now;
        clock_gettime(clock, &now);
        return (uint64_t)now.tv_sec * PLD_NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline uint64_t pld_now_ns(void)
{
        return pld_clock_read(CLOCK_MONOTONIC);
}

/* The same clock, some milliseconds behind and several times cheaper. */
static inline uint64_t pld_now_coarse_ns(void)
{
        return pld_clock_read(CLOCK_MONOTONIC_COARSE);
}

/* CPU time of the calling thread. */
static inline uint64_t pld_thread_cpu_ns(void)
{
        return pld_clock_read(CLOCK_THREAD_CPUTIME_ID);
}

static inline struct timespec pld_timespec(uint64_t ns)
{
        return (struct timespec){ .tv_sec = (time_t)(ns / PLD_NS_PER_S),
                                  .tv_nsec = (long)(ns % PLD_NS_PER_S) };
}

#endif
