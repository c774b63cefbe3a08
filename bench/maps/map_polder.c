/* map_polder.c: the example's map on the collected heap. */
#include "bench/maps/map.h"

#include "examples/lockfree/map.h"

#include <polder/polder.h>
#include <stdlib.h>

struct entry {
        struct map_entry entry;
        struct content content;
};

const char *const map_name = "polder";

static struct map *map; /* a registered root; const after start */
static const struct polder_layout *layout[MOST_WORDS + 1];

static bool matches(const struct map_entry *entry, const void *key)
{
        return ((const struct entry *)entry)->content.key == *(const uint64_t *)key;
}

void map_start(size_t expected)
{
        static const size_t next = offsetof(struct entry, entry.next);
        for (size_t i = 0; i <= MOST_WORDS; i++)
                layout[i] = polder_layout_of(sizeof(struct entry) + i * sizeof(uint64_t), &next, 1);
        if (polder_root_add(&map, sizeof map))
                abort();
        polder_store(&map, map_new(expected, matches));
        if (!map)
                abort();
}

void map_thread_begin(void)
{
        if (polder_thread_attach())
                abort();
}

void map_thread_end(void)
{
        polder_thread_detach();
}

void map_turn(void)
{
}

uint64_t map_look_up(uint64_t key)
{
        struct map_entry *entry = map_get(map, map_hash(key), &key);
        return entry ? content_sum(&((struct entry *)entry)->content) : 0;
}

void map_set(uint64_t key, uint64_t nwords)
{
        struct entry *entry = polder_new(layout[nwords]);
        struct map_entry *old;
        if (!entry)
                abort();
        content_fill(&entry->content, key, nwords);
        if (map_put(map, map_hash(key), &key, &entry->entry, &old))
                abort();
}

void map_erase(uint64_t key)
{
        struct map_entry *old;
        map_remove(map, map_hash(key), &key, &old);
}
