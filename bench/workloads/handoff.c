/* handoff.c: one thread allocates, the other frees. Threads come in pairs, and each pair has
 * a ring between the two; either spins a little and then yields when it has to wait. */
#include "bench/workloads/workload.h"

#include <sched.h>
#include <stdatomic.h>

enum { RING = 256, PATIENCE = 200 };

struct ring {
        _Alignas(128) _Atomic uint64_t written; /* producer writes */
        _Alignas(128) _Atomic uint64_t read;    /* consumer writes */
        _Alignas(128) void *blocks[RING];
};

static struct ring *rings;

/* Waits until the counter is no longer what it was. */
static uint64_t await_change(_Atomic uint64_t *counter, uint64_t was)
{
        for (unsigned tries = 0;; tries++) {
                uint64_t now = atomic_load_explicit(counter, memory_order_acquire);
                if (now != was)
                        return now;
                if (tries >= PATIENCE)
                        sched_yield();
        }
}

static void produce(struct ring *ring, uint64_t count, size_t nbytes)
{
        uint64_t read = 0;
        for (uint64_t i = 0; i < count; i++) {
                void *block = get(nbytes);
                if (i - read == RING)
                        read = await_change(&ring->read, read);
                ring->blocks[i % RING] = block;
                atomic_store_explicit(&ring->written, i + 1, memory_order_release);
        }
}

static void consume(struct ring *ring, uint64_t count)
{
        uint64_t written = 0;
        for (uint64_t i = 0; i < count; i++) {
                if (i == written)
                        written = await_change(&ring->written, written);
                put(ring->blocks[i % RING]);
                atomic_store_explicit(&ring->read, i + 1, memory_order_release);
        }
}

static void either(const struct setting *setting, unsigned index)
{
        struct ring *ring = &rings[index / 2];
        uint64_t count = setting->operations / (setting->threads / 2);
        if (index % 2)
                consume(ring, count);
        else
                produce(ring, count, setting->nbytes);
}

/* An operation: malloc here, free there. */
uint64_t run_handoff(const struct setting *setting)
{
        if (setting->threads % 2)
                give_up("a hand-off takes an even number of threads");
        rings = own_array(setting->threads / 2, sizeof *rings);
        in_threads(setting, either);
        return setting->operations;
}
