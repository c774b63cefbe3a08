/* churn.c: many blocks of many sizes live, and a random one goes for each that comes. */
#include "bench/workloads/workload.h"

#include <stdatomic.h>

static uint32_t sizes[SIZES];
static _Atomic(void *) *slots;

/* Each thread has its own slots. */
static void replace_own(const struct setting *setting, unsigned index)
{
        struct random random = random_of(100 + index);
        size_t count = setting->blocks / setting->threads;
        _Atomic(void *) *mine = slots + index * count;
        for (uint64_t i = setting->operations / setting->threads; i; i--) {
                _Atomic(void *) *slot = &mine[random_below(&random, count)];
                put(atomic_load_explicit(slot, memory_order_relaxed));
                void *block = get(any_of(sizes, &random));
                atomic_store_explicit(slot, block, memory_order_relaxed);
        }
        for (size_t i = 0; i < count; i++)
                put(atomic_load_explicit(&mine[i], memory_order_relaxed));
}

/* All threads share all slots: with two, half of the blocks die in the other's hands. */
static void replace_anyones(const struct setting *setting, unsigned index)
{
        struct random random = random_of(200 + index);
        for (uint64_t i = setting->operations / setting->threads; i; i--) {
                void *block = get(any_of(sizes, &random));
                put(atomic_exchange_explicit(&slots[random_below(&random, setting->blocks)], block,
                                             memory_order_acq_rel));
        }
}

/* An operation: free, malloc. */
uint64_t run_churn(const struct setting *setting)
{
        fill_sizes(sizes, setting->low, setting->high, 13);
        slots = own_array(setting->blocks, sizeof *slots);
        in_threads(setting, replace_own);
        return setting->operations;
}

uint64_t run_shared(const struct setting *setting)
{
        fill_sizes(sizes, setting->low, setting->high, 17);
        slots = own_array(setting->blocks, sizeof *slots);
        in_threads(setting, replace_anyones);
        for (size_t i = 0; i < setting->blocks; i++)
                put(atomic_load_explicit(&slots[i], memory_order_relaxed));
        return setting->operations;
}
