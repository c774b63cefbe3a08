/* keeps: what does a pointer to something that was taken out long ago keep alive?
 *
 * usage: keeps [-s SECONDS] [STRUCTURE]    (which it ignores: both are the stress's)
 *
 * Such pointers lie about on the stacks of sleeping threads. If what was taken out led to what
 * came after it, each would keep all of that: a leak without end. */
#include "examples/lockfree/map.h"
#include "examples/lockfree/queue.h"
#include "examples/lockfree/sorted.h"

#include <inttypes.h>
#include <polder/polder.h>
#include <stdio.h>
#include <stdlib.h>

enum {
        TIMES = 200000,
        BYTES = 128,
        MANY = TIMES * 8
}; /* MANY: half of what the smallest leak is */

static int npassed, nfailed;
static void *structure; /* a registered root */

void chaos(void)
{
}

static size_t live_bytes(void)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        polder_collect(POLDER_STOP_THE_WORLD);
        polder_collect(POLDER_STOP_THE_WORLD);
        polder_stats_read(&stats);
        return stats.live_bytes;
}

static void need(bool fine)
{
        if (!fine)
                abort();
}

/* A node of a structure, by the slots that lead to it. */
static void *node_at(size_t depth)
{
        void *node = structure;
        while (depth-- > 0)
                node = *(void **)node;
        return node;
}

static void expect_little(const char *what, size_t before, const void *stale)
{
        size_t after = live_bytes();
        polder_keep_alive(stale);
        if (after < before + MANY) {
                npassed++;
                return;
        }
        nfailed++;
        fprintf(stderr, "lockfree: %s keeps %zu bytes alive\n", what, after - before);
}

static bool matches(const struct map_entry *entry, const void *key)
{
        return ((const uint64_t *)(entry + 1))[0] == *(const uint64_t *)key;
}

static struct map_entry *entry_new(uint64_t key)
{
        static const size_t next = offsetof(struct map_entry, next);
        struct map_entry *entry = polder_new(polder_layout_of(BYTES, &next, 1));
        need(entry);
        ((uint64_t *)(entry + 1))[0] = key;
        return entry;
}

static void of_the_map(void)
{
        uint64_t key = 1;
        polder_store(&structure, map_new(1, matches));
        struct map_entry *first = entry_new(key), *old;
        need(map_put(structure, key, &key, first, &old) == 0);
        size_t before = live_bytes();
        for (int i = 0; i < TIMES; i++)
                need(map_put(structure, key, &key, entry_new(key), &old) == 0 && old);
        expect_little("an entry that was replaced", before, first);
}

static void of_the_queue(void)
{
        polder_store(&structure, queue_new());
        void *dummy = node_at(1);
        size_t before = live_bytes();
        for (int i = 0; i < TIMES; i++)
                need(queue_put(structure, polder_new_leaf(BYTES)) == 0 && queue_take(structure));
        expect_little("a node of a queue that was taken", before, dummy);
}

static void of_the_dummy(void)
{
        polder_store(&structure, queue_new());
        size_t before = live_bytes();
        need(queue_put(structure, polder_new_leaf(2 * MANY)) == 0 && queue_take(structure));
        need(queue_put(structure, polder_new_leaf(BYTES)) == 0 && queue_take(structure));
        need(queue_put(structure, polder_new_leaf(2 * MANY)) == 0 && queue_take(structure));
        expect_little("the dummy of a queue", before, NULL);
}

static void of_the_sorted_map(void)
{
        void *old;
        uint64_t key;
        polder_store(&structure, sorted_new());
        need(sorted_put(structure, 0, polder_new_leaf(BYTES), &old) == 0);
        void *first = node_at(2);
        size_t before = live_bytes();
        for (uint64_t i = 1; i < TIMES; i++)
                need(sorted_put(structure, i, polder_new_leaf(BYTES), &old) == 0 &&
                     sorted_take_first(structure, i, &key) && key == i - 1);
        expect_little("a node of a sorted map that was removed", before, first);
}

int main(void)
{
        need(polder_root_add(&structure, sizeof structure) == 0);
        of_the_map();
        of_the_queue();
        of_the_dummy();
        of_the_sorted_map();
        polder_root_remove(&structure);
        printf("%d passed, %d failed\n", npassed, nfailed);
        return nfailed != 0;
}
