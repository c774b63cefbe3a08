#include "arena/meta.h"

#include "base/bits.h"
#include "base/lock.h"
#include "numa/meta_map.h"

#include <string.h>

enum {
        CHUNK_BYTES = 4 << 20,
        CHUNK_LEAST = 64 << 10 /* where the process's limits don't allow more */
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_META);
static char *chunk;       /* lock */
static size_t chunk_left; /* lock */
static size_t taken;      /* lock */

static void *map_alone(size_t nbytes)
{
        void *at = pld_meta_map(nbytes);
        pld_lock(&lock);
        taken += at ? nbytes : 0;
        pld_unlock(&lock);
        return at;
}

static bool find_chunk_locked(size_t nbytes)
{
        for (size_t size = CHUNK_BYTES; size >= nbytes && size >= CHUNK_LEAST; size /= 2) {
                /* The first one does for most programs, who are not to pay for a huge page. */
                char *fresh = chunk ? pld_meta_map_huge(size) : pld_meta_map(size);
                if (!fresh)
                        continue;
                chunk = fresh;
                chunk_left = size;
                return true;
        }
        return false;
}

void *pld_meta_alloc(size_t nbytes)
{
        nbytes = pld_round_up(nbytes, PLD_CACHE_LINE);
        if (nbytes > CHUNK_BYTES / 4)
                return map_alone(nbytes);
        void *at = NULL;
        pld_lock(&lock);
        if (nbytes > chunk_left && !find_chunk_locked(nbytes))
                goto out;
        at = chunk;
        chunk += nbytes;
        chunk_left -= nbytes;
        taken += nbytes;
out:
        pld_unlock(&lock);
        return at;
}

void pld_meta_touch(size_t nbytes)
{
        nbytes = pld_round_up(nbytes, CHUNK_BYTES);
        char *fresh = pld_meta_map(nbytes);
        if (!fresh)
                return;
        memset(fresh, 0, nbytes);
        pld_meta_lock(fresh, nbytes);
        pld_lock(&lock);
        chunk = fresh;
        chunk_left = nbytes;
        pld_unlock(&lock);
}

size_t pld_meta_bytes(void)
{
        pld_lock(&lock);
        size_t nbytes = taken;
        pld_unlock(&lock);
        return nbytes;
}

void pld_meta_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_meta_fork_done(void)
{
        pld_lock_cede(&lock);
}
