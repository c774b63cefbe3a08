/* memory_rcu.c: memory.h over jemalloc, with liburcu's quiescent states (QSBR).
 *
 * The honest baseline: what the same server looks like with the tools one has
 * today. QSBR is the flavour with the cheapest readers, nothing at all, and a
 * cache server fits it well: between two turns of the loop no object is held.
 * Read-write locks, one a shard, with objects freed on the spot, are the alternative.
 * On two processors they were a little cheaper for SET, whose memory comes back while
 * it is warm, and a little dearer for GET; QSBR's readers write no line that others
 * read, which is what more processors ask for.
 *
 * Retired objects are gathered into batches of some hundred, so that they need no
 * header and call_rcu is seldom called. When a batch's grace period is over, it is
 * handed back to the thread that filled it, which frees it into its own cache of
 * jemalloc's, where the next allocations take it out again: cheaper for SET than
 * freeing on call_rcu's thread.
 *
 * R1  A batch is in one place: filled by its owner, waiting in call_rcu, on its
 *     owner's ripe list, or with its owner again.
 * R2  A thread that waits for events is offline: it holds up no grace period.
 * R3  Nothing here calls what ends the process for want of memory: liburcu's barrier
 *     and the first call_rcu allocate, so batches are counted, and call_rcu's thread
 *     is made at the start. */
#include "examples/kvd/memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jemalloc/jemalloc.h>
#include <urcu/urcu-qsbr.h>

enum { BATCH = 252, BATCH_BYTES = 1 << 20, TURNS_PER_BATCH = 16 };

struct owner {
        struct batch *_Atomic ripe; /* pushed by call_rcu's thread, taken by the owner */
        struct batch *filling;      /* owner */
        unsigned turns;             /* owner: since filling became non-empty */
        _Atomic size_t waiting;     /* batches in call_rcu */
};

struct batch {
        struct rcu_head head;
        struct owner *owner;
        struct batch *next;
        size_t count, nbytes;
        void *objects[BATCH];
};

const char *const memory_name = "jemalloc";

/* Read by jemalloc at its start: huge pages, and purging on a thread of its own. */
const char *malloc_conf = "thp:always,metadata_thp:auto,background_thread:true";

static __thread struct owner *self;

int memory_start(void)
{
        return urcu_qsbr_get_default_call_rcu_data() ? 0 : -ENOMEM; /* R3 */
}

int memory_root(void *start, size_t nbytes)
{
        (void)start, (void)nbytes;
        return 0;
}

void *memory_new(struct memory_layouts *of, size_t nbytes)
{
        (void)of;
        return calloc(1, nbytes);
}

void *memory_new_bytes(size_t nbytes)
{
        return malloc(nbytes);
}

void *memory_new_slots(size_t count)
{
        return calloc(count, sizeof(void *));
}

/* --- Retiring ------------------------------------------------------------------- */

static void batch_free_objects(struct batch *batch)
{
        for (size_t i = 0; i < batch->count; i++)
                free(batch->objects[i]);
        batch->count = batch->nbytes = 0;
}

static void push_ripe(struct rcu_head *head)
{
        struct batch *batch = caa_container_of(head, struct batch, head);
        struct owner *owner = batch->owner;
        batch->next = atomic_load_explicit(&owner->ripe, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&owner->ripe, &batch->next, batch,
                                                      memory_order_release, memory_order_relaxed))
                ;
        /* The last touch: the owner may end now. Pairs with drain(). */
        atomic_fetch_sub_explicit(&owner->waiting, 1, memory_order_release);
}

/* Frees what is ripe; keeps one batch for filling. */
static void take_ripe(struct owner *owner)
{
        if (atomic_load_explicit(&owner->ripe, memory_order_relaxed) == NULL)
                return;
        struct batch *batch = atomic_exchange_explicit(&owner->ripe, NULL, memory_order_acquire);
        while (batch) {
                struct batch *next = batch->next;
                batch_free_objects(batch);
                if (owner->filling == NULL)
                        owner->filling = batch;
                else
                        free(batch);
                batch = next;
        }
}

static void hand_over(struct owner *owner)
{
        struct batch *batch = owner->filling;
        if (batch == NULL || batch->count == 0)
                return;
        owner->filling = NULL;
        owner->turns = 0;
        atomic_fetch_add_explicit(&owner->waiting, 1, memory_order_relaxed);
        urcu_qsbr_call_rcu(&batch->head, push_ripe);
}

void memory_retire(void *object)
{
        if (self->filling == NULL) {
                self->filling = malloc(sizeof *self->filling);
                if (self->filling == NULL)
                        return; /* no memory for a batch: lost, rather than freed too early */
                self->filling->owner = self;
                self->filling->count = self->filling->nbytes = 0;
        }
        struct batch *batch = self->filling;
        batch->objects[batch->count++] = object;
        batch->nbytes += malloc_usable_size(object);
        if (batch->count == BATCH || batch->nbytes >= BATCH_BYTES)
                hand_over(self);
}

/* Waits until all that this thread has retired is freed. */
static void drain(struct owner *owner)
{
        hand_over(owner);
        urcu_qsbr_thread_offline();
        while (atomic_load_explicit(&owner->waiting, memory_order_acquire))
                usleep(1000);
        urcu_qsbr_thread_online();
        take_ripe(owner);
}

/* --- Threads ---------------------------------------------------------------------- */

int memory_thread_begin(void)
{
        self = calloc(1, sizeof *self);
        if (self == NULL)
                return -ENOMEM;
        urcu_qsbr_register_thread();
        return 0;
}

void memory_thread_end(void)
{
        drain(self);
        free(self->filling);
        free(self);
        self = NULL;
        urcu_qsbr_unregister_thread();
}

void memory_wait_begin(void)
{
        urcu_qsbr_thread_offline(); /* R2 */
}

void memory_wait_end(void)
{
        urcu_qsbr_thread_online();
        take_ripe(self);
}

void memory_turn(void)
{
        urcu_qsbr_quiescent_state();
        take_ripe(self);
        if (self->filling && self->filling->count && ++self->turns >= TURNS_PER_BATCH)
                hand_over(self);
}

void memory_purge(void)
{
        drain(self);
        char purge_all[32];
        snprintf(purge_all, sizeof purge_all, "arena.%u.purge", MALLCTL_ARENAS_ALL);
        mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
        mallctl(purge_all, NULL, NULL, NULL, 0);
}

void memory_collect(void)
{
}

static size_t statistic(const char *name)
{
        size_t value = 0, nbytes = sizeof value;
        mallctl(name, &value, &nbytes, NULL, 0);
        return value;
}

int memory_describe(char *to, size_t nbytes)
{
        uint64_t epoch = 1;
        mallctl("epoch", NULL, NULL, &epoch, sizeof epoch); /* refreshes the statistics */
        return snprintf(to, nbytes,
                        "# Jemalloc\r\n"
                        "jemalloc_allocated_bytes:%zu\r\n"
                        "jemalloc_active_bytes:%zu\r\n"
                        "jemalloc_resident_bytes:%zu\r\n"
                        "jemalloc_retained_bytes:%zu\r\n",
                        statistic("stats.allocated"), statistic("stats.active"),
                        statistic("stats.resident"), statistic("stats.retained"));
}
