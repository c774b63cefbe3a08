#include "collector/grey.h"

#include "arena/meta.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/lock.h"
#include "numa/machine.h"

enum { SPIN_NS = 20000, SPINS = 20 };

struct queue {
        struct pld_lock lock;
        struct pld_grey_chunk *first; /* lock */
        _Atomic size_t n;             /* lock to write */
} __attribute__((aligned(PLD_CACHE_LINE)));

_Atomic int64_t pld_grey_credits;
_Atomic bool pld_grey_overflow;

static struct queue queues[PLD_MAX_NODES];
static struct pld_lock spare_lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
static struct pld_grey_chunk *spare; /* spare_lock */
static _Atomic uint32_t news;        /* changes when something is queued */
static _Atomic uint32_t nhungry;     /* wait for something to be queued; of those */
static _Atomic uint32_t nsleeping;
static _Atomic bool to_be_woken;     /* some went to sleep since they were last woken */
static _Atomic uint32_t ndry;        /* times that the credits came to 0 */

struct pld_grey_chunk *pld_grey_chunk_new(void)
{
        pld_lock(&spare_lock);
        struct pld_grey_chunk *chunk = spare;
        if (chunk)
                spare = chunk->next;
        pld_unlock(&spare_lock);
        if (!chunk)
                chunk = pld_meta_alloc(sizeof *chunk);
        if (chunk)
                chunk->n = 0;
        return chunk;
}

void pld_grey_chunk_free(struct pld_grey_chunk *chunk)
{
        pld_lock(&spare_lock);
        chunk->next = spare;
        spare = chunk;
        pld_unlock(&spare_lock);
}

void pld_grey_put(unsigned node, struct pld_grey_chunk *chunk)
{
        struct queue *queue = &queues[node];
        pld_add_relaxed(&pld_grey_credits, 1);
        pld_lock(&queue->lock);
        chunk->next = queue->first;
        queue->first = chunk;
        pld_store_relaxed(&queue->n, pld_load_relaxed(&queue->n) + 1);
        pld_unlock(&queue->lock);
        /* Once: who is woken may be long in coming, where there is no processor. */
        if (pld_load_relaxed(&nsleeping) && pld_load_relaxed(&to_be_woken) &&
            pld_exchange_relaxed(&to_be_woken, false))
                pld_grey_wake();
}

static struct pld_grey_chunk *take_from(struct queue *queue)
{
        if (!pld_load_relaxed(&queue->n))
                return NULL;
        pld_lock(&queue->lock);
        struct pld_grey_chunk *chunk = queue->first;
        if (chunk) {
                queue->first = chunk->next;
                pld_store_relaxed(&queue->n, pld_load_relaxed(&queue->n) - 1);
        }
        pld_unlock(&queue->lock);
        return chunk;
}

struct pld_grey_chunk *pld_grey_take(unsigned node)
{
        for (unsigned i = 0; i < pld_machine.nnodes; i++) {
                struct pld_grey_chunk *chunk = take_from(&queues[pld_machine.order[node][i]]);
                if (chunk)
                        return chunk;
        }
        return NULL;
}

void pld_grey_done(void)
{
        if (pld_sub_acq_rel(&pld_grey_credits, 1) > 1)
                return;
        pld_add_release(&ndry, 1);
        pld_futex_wake(&ndry, INT_MAX);
        pld_grey_wake();
}

void pld_grey_await_dry(uint64_t timeout_ns)
{
        uint32_t seen = pld_load_acquire(&ndry);
        if (pld_load_acquire(&pld_grey_credits) != 0)
                pld_futex_wait(&ndry, seen, timeout_ns);
}

static bool some_queued(void)
{
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                if (pld_load_relaxed(&queues[i].n))
                        return true;
        return false;
}

/* To be woken takes longer than what is shared lasts. So it looks for a while, as long as
 * somebody else has anything that could be shared. */
static bool comes_soon(uint32_t seen)
{
        uint64_t until_ns = pld_now_ns() + SPIN_NS;
        while (pld_load_relaxed(&news) == seen && pld_load_relaxed(&pld_grey_credits) > 0) {
                for (unsigned i = 0; i < SPINS; i++)
                        pld_pause();
                if (some_queued())
                        return true;
                if (pld_now_ns() >= until_ns)
                        return false;
        }
        return false;
}

void pld_grey_wait(uint64_t timeout_ns, bool may_spin)
{
        uint32_t seen = pld_load_acquire(&news);
        if (some_queued())
                return;
        pld_add_acq_rel(&nhungry, 1);
        if (!may_spin || !comes_soon(seen)) {
                pld_add_acq_rel(&nsleeping, 1);
                pld_store_relaxed(&to_be_woken, true);
                pld_futex_wait(&news, seen, timeout_ns);
                pld_sub_acq_rel(&nsleeping, 1);
        }
        pld_sub_acq_rel(&nhungry, 1);
}

bool pld_grey_is_wanted(unsigned node)
{
        return pld_load_relaxed(&nhungry) && !pld_load_relaxed(&queues[node].n);
}

void pld_grey_wake(void)
{
        pld_add_release(&news, 1);
        pld_futex_wake(&news, INT_MAX);
}

void pld_grey_start(void)
{
        for (unsigned i = 0; i < PLD_MAX_NODES; i++)
                pld_lock_init(&queues[i].lock, PLD_RANK_MARK);
}

void pld_grey_fork_prepare(void)
{
        pld_lock_seize(&spare_lock);
        for (unsigned i = 0; i < PLD_MAX_NODES; i++)
                pld_lock_seize(&queues[i].lock);
}

/* No cycle is under way; a worker that is not there may have had a credit for the
 * moment of a look into the queues. */
void pld_grey_fork_child(void)
{
        pld_store_relaxed(&pld_grey_credits, 0);
        pld_store_relaxed(&nhungry, 0);
        pld_store_relaxed(&nsleeping, 0);
        pld_grey_fork_done();
}

void pld_grey_fork_done(void)
{
        for (unsigned i = PLD_MAX_NODES; i-- > 0;)
                pld_lock_cede(&queues[i].lock);
        pld_lock_cede(&spare_lock);
}
