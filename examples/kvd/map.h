/* map.h: names to values; any number of readers, one writer at a time.
 *
 * The keyspace is made of maps, and each hash value holds one. */
#ifndef KVD_MAP_H
#define KVD_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct value;

/* Bytes that somebody else owns, and their hash. */
struct name {
        const char *data;
        size_t len;
        uint64_t hash;
};

struct entry {
        struct entry *next;  /* slot */
        struct value *value; /* slot */
        uint32_t hash, len;  /* const, as the key is */
        char key[];
};

/* All zero is an empty map. */
struct map {
        struct table *table;  /* slot */
        _Atomic size_t count; /* set by the writer */
};

struct name map_name(const char *data, size_t len);

/* Readers: no lock. What they return is whole until memory_turn(). */
struct value *map_find(const struct map *map, struct name name);
/* Up to max entries from the buckets around the given position; visits at most
 * nbuckets of them. Returns how many. */
size_t map_sample(const struct map *map, uint32_t position, size_t nbuckets, struct entry **found,
                  size_t max);
static inline size_t map_count(const struct map *map)
{
        return atomic_load_explicit(&map->count, memory_order_relaxed);
}

/* Writers: the caller keeps other writers out. */

/* 0, and the former value or NULL in *old; -ENOMEM: nothing has changed. */
int map_put(struct map *map, struct name name, struct value *value, struct value **old);
/* The value that was there, or NULL. */
struct value *map_remove(struct map *map, struct name name);
/* Visits every entry once; the visitor must not change the map. */
void map_each(const struct map *map, void (*visit)(struct entry *entry, void *arg), void *arg);
/* Leaves the map empty, and returns what was in it, out of new readers' reach. */
struct map map_take(struct map *map);
/* For a map that has been taken, or whose owner has been unlinked: retires the entries,
 * and hands the values to be dropped. */
void map_drop(const struct map *map, void (*drop)(struct value *value));

/* What an entry with such a name takes, its part of the table included. */
static inline size_t map_entry_nbytes(size_t len)
{
        return sizeof(struct entry) + len + 2 * sizeof(struct entry *);
}

#endif
