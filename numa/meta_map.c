/* meta_map.c: memory for Polder's own structures. errno is kept, for the sake of free(). */
#include "numa/meta_map.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "numa/chain.h"
#include "numa/mlock.h"
#include "numa/os.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

static _Atomic size_t mapped_bytes;

static void *map_meta(void *(*map)(size_t), size_t nbytes)
{
        int saved = errno;
        void *at = map(nbytes);
        errno = saved;
        if (at)
                pld_add_relaxed(&mapped_bytes, nbytes);
        return at;
}

void *pld_meta_map(size_t nbytes)
{
        return map_meta(pld_os->map, nbytes);
}

void *pld_meta_map_huge(size_t nbytes)
{
        int saved = errno;
        void *at = pld_meta_map(nbytes);
        if (at && pld_chain_has(pld_chain_now(), PLD_BACKING_THP))
                pld_os->advise(at, nbytes, true);
        errno = saved;
        return at;
}

void *pld_meta_map_sparse(size_t nbytes)
{
        return map_meta(pld_os->map_sparse, nbytes);
}

void pld_meta_lock(void *at, size_t nbytes)
{
        if (pld_mlock_is_on())
                pld_mlock_try(at, nbytes);
}

int pld_meta_open(void *at, size_t nbytes)
{
        int saved = errno;
        uintptr_t page = (uintptr_t)getpagesize();
        uintptr_t from = pld_round_down((uintptr_t)at, page);
        uintptr_t end = pld_round_up((uintptr_t)at + nbytes, page);
        int error = pld_os->open_sparse((void *)from, end - from);
        if (!error)
                pld_meta_lock((void *)from, end - from);
        errno = saved;
        return error;
}

void pld_meta_unmap(void *at, size_t nbytes)
{
        int saved = errno;
        pld_os->unmap(at, nbytes);
        errno = saved;
        pld_sub_relaxed(&mapped_bytes, nbytes);
}

size_t pld_meta_mapped_bytes(void)
{
        return pld_load_relaxed(&mapped_bytes);
}
