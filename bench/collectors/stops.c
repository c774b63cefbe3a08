/* stops.c: do stops grow with the heap? And what does a store cost? */
#include "bench/collectors/load.h"

#include <string.h>
#include <unistd.h>

/* --- Stops: the heap grows from 64 MiB by doubling, and is collected some times at each size,
 * while 64 threads are attached that hold nothing. Half of them are in blocking sections, half
 * wait in a system call and have to be interrupted. None of them runs otherwise: so what a stop
 * takes is the time of those that do it, as far as a clock can tell ------------------------- */

enum { FIRST_MIB = 64, BLOCK = 1024 };

struct block {
        struct block *left, *right;
        uint64_t number;
};

static struct {
        struct block **blocks;
} root;

static memory_kind block_kind;
static bool ended;

static struct block *blocks_of(uint64_t count)
{
        if (!count)
                return NULL;
        struct block *left = blocks_of((count - 1) / 2),
                     *right = blocks_of(count - 1 - (count - 1) / 2);
        struct block *block = memory_new(block_kind);
        if (!block)
                give_up("no memory");
        memory_fill(&block->left, left);
        memory_fill(&block->right, right);
        block->number = count;
        return block;
}

static uint64_t count_blocks(struct block *block)
{
        if (!block)
                return 0;
        return 1 + count_blocks(memory_load(&block->left)) +
               count_blocks(memory_load(&block->right));
}

static void sleep_until_the_end(bool blocking)
{
        while (!__atomic_load_n(&ended, __ATOMIC_RELAXED)) {
                if (blocking)
                        memory_wait_begin();
                usleep(200000);
                if (blocking)
                        memory_wait_end();
        }
}

static void collect_and_say(uint64_t mib, unsigned cycles)
{
        for (unsigned i = 0; i < cycles; i++) {
                struct memory_figures before = memory_figures();
                uint64_t began = now_ns();
                memory_collect(MEMORY_CONCURRENT);
                struct memory_figures after = memory_figures();
                if (after.stops == before.stops)
                        give_up("a collection did not stop anybody");
                double cpu_ms = after.stop_cpu_ms_total - before.stop_cpu_ms_total;
                say_line("stop mib=%llu us=%.2f stops=%llu cycle_ms=%.1f cpu_us=%.2f\n",
                         (unsigned long long)mib,
                         (after.stop_ms_total - before.stop_ms_total) * 1e3 /
                             (double)(after.stops - before.stops),
                         (unsigned long long)(after.stops - before.stops),
                         (double)(now_ns() - began) / 1e6,
                         cpu_ms * 1e3 / (double)(after.stops - before.stops));
        }
}

static void grow(const struct setting *setting, unsigned index)
{
        if (index) {
                sleep_until_the_end(index % 2);
                return;
        }
        uint64_t made = 0, steps = 0;
        for (uint64_t mib = FIRST_MIB; mib <= setting->count && steps < 64; mib *= 2) {
                uint64_t wanted = (mib << 20) / BLOCK - made;
                memory_store(&root.blocks[steps++], blocks_of(wanted));
                made += wanted;
                collect_and_say(mib, setting->cycles ? setting->cycles : 16);
        }
        uint64_t found = 0;
        for (uint64_t i = 0; i < steps; i++)
                found += count_blocks(memory_load(&root.blocks[i]));
        if (found != made)
                give_up("a block was lost");
        __atomic_store_n(&ended, true, __ATOMIC_RELAXED);
}

void run_stops(const struct setting *setting)
{
        block_kind = memory_kind_of(BLOCK, 2);
        memory_root(&root, sizeof root);
        memory_store(&root.blocks, (struct block **)memory_new_pointers(64));
        in_threads(setting, setting->threads, grow, NULL);
}

/* --- Stores: into the slots of some thousand objects, without a collection; with
 * `mode=plain` without the barrier, to count instructions by --------------- */

enum { SLOTS = 4096 };

static void store(const struct setting *setting, unsigned index)
{
        struct block **slots = memory_new_pointers(SLOTS);
        struct block *block = memory_new(block_kind);
        bool plain = !strcmp(setting->mode, "plain");
        (void)index;
        uint64_t began = now_ns();
        if (plain)
                for (uint64_t i = 0; i < setting->count; i++)
                        __atomic_store_n(&slots[i % SLOTS], block, __ATOMIC_RELEASE);
        else
                for (uint64_t i = 0; i < setting->count; i++)
                        memory_store(&slots[i % SLOTS], block);
        say("ns=%.3f", (double)(now_ns() - began) / (double)setting->count);
        for (uint64_t i = 0; i < SLOTS && i < setting->count; i++)
                if (memory_load(&slots[i]) != block)
                        give_up("a store was lost");
}

void run_stores(const struct setting *setting)
{
        block_kind = memory_kind_of(BLOCK, 2);
        in_threads(setting, 1, store, NULL);
}
