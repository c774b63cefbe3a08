/* mlock.c: memory that is to stay in memory, if the program asked for that. */
#include "numa/mlock.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "numa/os.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static _Atomic bool is_on, said;

void pld_mlock_start(bool on)
{
        pld_store_relaxed(&is_on, on);
}

/* Once: what could not be locked, and what to do about it. */
static void say_refused(int error)
{
        char limit[64] = "";
        size_t most = pld_os->lock_limit();
        if (pld_exchange_acquire(&said, true))
                return;
        if (most != SIZE_MAX)
                snprintf(limit, sizeof limit, "; the limit (RLIMIT_MEMLOCK) is %zu KiB",
                         most / PLD_KIB);
        pld_say("POLDER_LOCK: the kernel refuses to lock memory (%s)%s; raise it with ulimit -l, "
                "LimitMEMLOCK= or CAP_IPC_LOCK; going on with memory that is not locked",
                strerror(-error), limit);
}

bool pld_mlock_is_on(void)
{
        return pld_load_relaxed(&is_on);
}

int pld_mlock_try(void *at, size_t nbytes)
{
        int error = pld_os->lock(at, nbytes);
        if (error)
                say_refused(error);
        return error;
}
