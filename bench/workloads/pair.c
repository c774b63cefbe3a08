/* pair.c: a block and its end at once, and a thousand blocks and then their ends. */
#include "bench/workloads/workload.h"

#include <string.h>

/* The pair's loop without the pair: what callgrind is to subtract. */
uint64_t run_nothing(const struct setting *setting)
{
        static uint32_t block[1 << 20];
        for (uint64_t i = 0; i < setting->operations; i++) {
                touch(block, setting->nbytes);
                if (!*(volatile uint32_t *)block)
                        give_up("a block lost its content");
        }
        return setting->operations;
}

/* An operation: malloc, free. */
uint64_t run_pair(const struct setting *setting)
{
        for (uint64_t i = 0; i < setting->operations; i++)
                put(get(setting->nbytes));
        return setting->operations;
}

/* Which block ends as the i-th. */
static void fill_order(const char *pattern, uint32_t *order, size_t count)
{
        struct random random = random_of(7);
        bool last_first = !strcmp(pattern, "lifo");
        for (size_t i = 0; i < count; i++)
                order[i] = (uint32_t)(last_first ? count - 1 - i : i);
        if (strcmp(pattern, "random"))
                return;
        for (size_t i = count; i > 1; i--) {
                size_t other = random_below(&random, i);
                uint32_t swapped = order[i - 1];
                order[i - 1] = order[other];
                order[other] = swapped;
        }
}

/* An operation: malloc, free. Pattern: fifo, lifo or random. */
uint64_t run_batch(const struct setting *setting)
{
        size_t count = setting->blocks;
        void **batch = own_array(count, sizeof *batch);
        uint32_t *order = own_array(count, sizeof *order);
        fill_order(setting->pattern, order, count);
        uint64_t rounds = setting->operations / count;
        for (uint64_t round = 0; round < rounds; round++) {
                for (size_t i = 0; i < count; i++)
                        batch[i] = get(setting->nbytes);
                for (size_t i = 0; i < count; i++)
                        put(batch[order[i]]);
        }
        return rounds * count;
}

/* An operation: calloc, a look at each 4 KiB, a write of all, free; a batch at a time. */
uint64_t run_calloc(const struct setting *setting)
{
        size_t count = setting->blocks, nbytes = setting->nbytes;
        void **batch = own_array(count, sizeof *batch);
        uint64_t rounds = setting->operations / count;
        for (uint64_t round = 0; round < rounds; round++) {
                for (size_t i = 0; i < count; i++) {
                        batch[i] = calloc(1, nbytes);
                        if (!batch[i])
                                give_up("calloc");
                        for (size_t at = 0; at + 4 <= nbytes; at += TOUCH_STRIDE)
                                if (*(volatile uint32_t *)((char *)batch[i] + at))
                                        give_up("calloc's memory is not zero");
                        memset(batch[i], 0x5a, nbytes);
                }
                for (size_t i = 0; i < count; i++)
                        put(batch[i]);
        }
        return rounds * count;
}
