/* map.h: a hash map without locks: any number of threads read and write.
 *
 * A split-ordered list (Shalev and Shavit, JACM 2006) over Harris' and Michael's list
 * (DISC 2001, SPAA 2002). A look-up loads a bucket and follows pointers; it writes nothing,
 * announces nothing and is never sent back by writers elsewhere. The table grows by doubling,
 * and no entry moves.
 *
 * Entries are the caller's own collected objects, whose first member is a struct map_entry
 * (its `next` is a slot of their layout); one entry is in one map, once. Key and whatever
 * else the map is asked for by do not change while it is there: to change a value is to put
 * a new entry in place of the old one. An entry that was removed or replaced stays whole
 * for whoever still looks at it.
 *
 * A map is a collected object: keep it in a slot or on a thread's stack. All calls are
 * linearizable but for map_count() and map_each(). Threads are attached (<polder/thread.h>). */
#ifndef LOCKFREE_MAP_H
#define LOCKFREE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map;

struct map_entry {
        struct map_entry *next; /* slot; the map's own */
        _Atomic uint64_t order; /* the map's own */
};

typedef bool (*map_match)(const struct map_entry *entry, const void *key);

/* expected: for so many entries there is room before the table grows. NULL: no memory. */
struct map *map_new(size_t expected, map_match match);

/* hash: of the key; its low bits choose the bucket, so they should be good. */

/* The entry of that key, or NULL. */
struct map_entry *map_get(struct map *map, uint64_t hash, const void *key);
/* Puts entry, whose key it is, in place of the entry of that key, if there is one: *old,
 * else NULL. 0, or -ENOMEM with nothing done. */
int map_put(struct map *map, uint64_t hash, const void *key, struct map_entry *entry,
            struct map_entry **old);
/* Puts entry there unless the key is in the map: then *old is its entry, else NULL. */
void map_add(struct map *map, uint64_t hash, const void *key, struct map_entry *entry,
             struct map_entry **old);
/* Puts entry in place of `old`, of the same key, if that is still in the map: then 0, else
 * -ENOENT, or -ENOMEM. So a value is changed by what it was: get, make, replace. */
int map_replace(struct map *map, uint64_t hash, const void *key, struct map_entry *old,
                struct map_entry *entry);
/* Takes the key's entry out: *old. 0, -ENOENT, or -ENOMEM (removing takes 16 bytes). */
int map_remove(struct map *map, uint64_t hash, const void *key, struct map_entry **old);

/* Right when nobody writes. */
size_t map_count(struct map *map);
/* Visits each entry that is in the map all the while; if others write, some twice. */
void map_each(struct map *map, void (*visit)(struct map_entry *entry, void *arg), void *arg);

#endif
