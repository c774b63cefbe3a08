/* futex.h: waiting on a 32-bit word; safe in signal handlers. errno stays as it is. */
#ifndef PLD_BASE_FUTEX_H
#define PLD_BASE_FUTEX_H

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sleeps while *word == value, at most timeout_ns (0: for ever). May return early. */
static inline void pld_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
        struct timespec timeout = pld_timespec(timeout_ns);
        int saved = errno;
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns ? &timeout : NULL, NULL, 0);
        errno = saved;
}

/* Sleeps for so long; no cancellation point, as nanosleep() is. May return early. */
static inline void pld_nap(uint64_t ns)
{
        static _Atomic uint32_t never_woken;
        pld_futex_wait(&never_woken, 0, ns);
}

/* Wakes at most n waiters (INT_MAX: all). */
static inline void pld_futex_wake(_Atomic uint32_t *word, int n)
{
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

#endif
