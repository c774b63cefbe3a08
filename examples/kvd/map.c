/* map.c: names to values; any number of readers, one writer at a time.
 *
 * A hash table with chains. A reader loads a bucket and follows pointers; it
 * writes nothing, and no writer can make it wait. A growing table moves a bucket
 * or two with each write, as ConcurrentHashMap does (Doug Lea): the moved entries
 * are copied into the next table, and the old bucket is forwarded, so a reader
 * anywhere in the old chain still sees that chain as it was. The old entries are
 * then dropped: whose they are to free, and when, is nobody's business here.
 *
 * P1  An entry's name never changes, and an entry never changes chains.
 * P2  An entry that has been unlinked keeps its next, so who stands on it gets on.
 * P3  A forwarded bucket names its own table, and stays so; that table's next is set.
 * P4  A bucket of the next table is filled before the bucket it came from is forwarded,
 *     and is reached only through it: each name is in one chain at a time.
 * P5  The map's table is not forwarded as a whole: the next table takes its place when
 *     the last bucket has moved.
 * Tables grow and never shrink. */
#include "examples/kvd/map.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "examples/kvd/memory.h"

enum { FIRST_BUCKETS = 4, MOVES_PER_WRITE = 2 };

struct table {
        struct table *next;     /* slot: P3 */
        struct entry **buckets; /* slot: const */
        uint32_t mask;          /* const */
        uint32_t moved;         /* writer: buckets below are forwarded */
};

static struct memory_layouts entry_layouts = {
        .slots = MEMORY_SLOT(struct entry, next) | MEMORY_SLOT(struct entry, value),
};
static struct memory_layouts table_layouts = {
        .slots = MEMORY_SLOT(struct table, next) | MEMORY_SLOT(struct table, buckets),
};

/* --- Names ---------------------------------------------------------------------- */

static uint64_t seed[2];

__attribute__((constructor)) static void seed_choose(void)
{
        if (getrandom(seed, sizeof seed, 0) != sizeof seed)
                seed[0] = (uintptr_t)&seed;
        seed[1] |= 1;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t word_at(const char *data, size_t nbytes)
{
        uint64_t word = 0;
        memcpy(&word, data, nbytes);
        return word;
}

/* Multiply and fold, 16 bytes a step, as wyhash does; seeded, against chosen names. */
struct name map_name(const char *data, size_t len)
{
        const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
        uint64_t hash = seed[0] ^ len;
        const char *at = data;
        size_t left = len;

        for (; left >= 16; at += 16, left -= 16)
                hash = mix(word_at(at, 8) ^ seed[1], word_at(at + 8, 8) ^ hash);
        if (left > 8)
                hash = mix(word_at(at, 8) ^ seed[1], word_at(at + 8, left - 8) ^ hash);
        else if (left > 0)
                hash = mix(word_at(at, left) ^ seed[1], hash);
        return (struct name){ .data = data, .len = len, .hash = mix(hash ^ seed[1], odd) };
}

static bool entry_has(const struct entry *entry, struct name name)
{
        return entry->hash == (uint32_t)name.hash && entry->len == name.len &&
               memcmp(entry->key, name.data, name.len) == 0;
}

/* --- Readers ---------------------------------------------------------------------- */

static struct entry *forwarded(const struct table *table)
{
        return (struct entry *)table;
}

static struct entry *chain(const struct table *table, uint32_t hash)
{
        while (table) {
                struct entry *entry = memory_load(&table->buckets[hash & table->mask]);
                if (entry != forwarded(table))
                        return entry;
                table = memory_load(&table->next);
        }
        return NULL;
}

struct value *map_find(const struct map *map, struct name name)
{
        struct entry *entry = chain(memory_load(&map->table), (uint32_t)name.hash);
        while (entry && !entry_has(entry, name))
                entry = memory_load(&entry->next);
        return entry ? memory_load(&entry->value) : NULL;
}

size_t map_sample(const struct map *map, uint32_t position, size_t nbuckets, struct entry **found,
                  size_t max)
{
        const struct table *table = memory_load(&map->table);
        size_t count = 0;

        if (table && nbuckets > 2 * ((size_t)table->mask + 1))
                nbuckets = 2 * ((size_t)table->mask + 1); /* once around, growing or not */
        for (; table && nbuckets > 0 && count < max; nbuckets--, position++) {
                struct entry *entry = chain(table, position);
                for (; entry && count < max; entry = memory_load(&entry->next))
                        found[count++] = entry;
        }
        return count;
}

/* --- Growing ------------------------------------------------------------------------ */

static struct table *table_new(size_t nbuckets)
{
        struct entry **buckets = memory_new_slots(nbuckets);
        if (buckets == NULL)
                return NULL;
        struct table *table = memory_new(&table_layouts, sizeof *table);
        if (table == NULL) {
                memory_retire(buckets);
                return NULL;
        }
        table->buckets = buckets;
        table->mask = (uint32_t)(nbuckets - 1);
        return table;
}

static struct entry *entry_new(struct name name, struct value *value, struct entry *next)
{
        struct entry *entry = memory_new(&entry_layouts, sizeof *entry + name.len);
        if (entry == NULL)
                return NULL;
        entry->next = next;
        entry->value = value;
        entry->hash = (uint32_t)name.hash;
        entry->len = (uint32_t)name.len;
        memcpy(entry->key, name.data, name.len);
        return entry;
}

static void chain_drop(struct entry *entry)
{
        while (!MEMORY_COLLECTS && entry) {
                struct entry *next = memory_load(&entry->next);
                memory_retire(entry);
                entry = next;
        }
}

/* Copies the chain into the two that it becomes in a table of twice the size. False
 * when the heap is full: then nothing has been made. */
static bool chain_split(struct entry *entry, uint32_t bit, struct entry *halves[2])
{
        halves[0] = halves[1] = NULL;
        for (; entry; entry = memory_load(&entry->next)) {
                struct entry **half = &halves[(entry->hash & bit) != 0];
                struct name name = { entry->key, entry->len, entry->hash };
                struct entry *copy = entry_new(name, memory_load(&entry->value), *half);
                if (copy == NULL) {
                        chain_drop(halves[0]);
                        chain_drop(halves[1]);
                        return false;
                }
                *half = copy;
        }
        return true;
}

static bool move_bucket(struct table *table, struct table *next, uint32_t at)
{
        uint32_t bit = table->mask + 1;
        struct entry *old = memory_load(&table->buckets[at]), *halves[2];
        if (!chain_split(old, bit, halves))
                return false;
        memory_store(&next->buckets[at], halves[0]);
        memory_store(&next->buckets[at | bit], halves[1]);
        memory_store(&table->buckets[at], forwarded(table)); /* P4 */
        chain_drop(old);
        return true;
}

/* Moves on by some buckets. If the heap is full a later write tries again, and until
 * then chains are long. */
static void map_move(struct map *map, struct table *table, struct table *next)
{
        for (int i = 0; i < MOVES_PER_WRITE && table->moved <= table->mask; i++) {
                if (!move_bucket(table, next, table->moved))
                        return;
                table->moved++;
        }
        if (table->moved > table->mask) {
                memory_store(&map->table, next); /* P5 */
                memory_retire(table->buckets);
                memory_retire(table);
        }
}

/* Before each write. False only when there is no table at all. */
static bool map_prepare(struct map *map)
{
        struct table *table = memory_load(&map->table);
        if (table == NULL) {
                table = table_new(FIRST_BUCKETS);
                memory_store(&map->table, table);
                return table != NULL;
        }
        struct table *next = memory_load(&table->next);
        if (next == NULL && map_count(map) > table->mask) {
                next = table_new(((size_t)table->mask + 1) * 2);
                memory_store(&table->next, next);
        }
        if (next)
                map_move(map, table, next);
        return true;
}

/* --- Writers ------------------------------------------------------------------------ */

static struct entry **bucket(struct map *map, uint32_t hash)
{
        struct table *table = memory_load(&map->table);
        struct entry **slot = &table->buckets[hash & table->mask];
        if (memory_load(slot) != forwarded(table))
                return slot;
        table = memory_load(&table->next);
        return &table->buckets[hash & table->mask];
}

/* The slot that names the entry of this name, or NULL ends the chain. */
static struct entry **find_slot(struct entry **slot, struct name name)
{
        struct entry *entry;
        while ((entry = memory_load(slot)) && !entry_has(entry, name))
                slot = &entry->next;
        return slot;
}

static void set_count(struct map *map, size_t count)
{
        atomic_store_explicit(&map->count, count, memory_order_relaxed);
}

int map_put(struct map *map, struct name name, struct value *value, struct value **old)
{
        if (!map_prepare(map))
                return -ENOMEM;

        struct entry **head = bucket(map, (uint32_t)name.hash);
        struct entry *entry = memory_load(find_slot(head, name));
        if (entry) {
                *old = memory_exchange(&entry->value, value);
                return 0;
        }
        entry = entry_new(name, value, memory_load(head));
        if (entry == NULL)
                return -ENOMEM;
        memory_store(head, entry);
        set_count(map, map_count(map) + 1);
        *old = NULL;
        return 0;
}

struct value *map_remove(struct map *map, struct name name)
{
        if (memory_load(&map->table) == NULL)
                return NULL;
        map_prepare(map);

        struct entry **slot = find_slot(bucket(map, (uint32_t)name.hash), name);
        struct entry *entry = memory_load(slot);
        if (entry == NULL)
                return NULL;
        memory_store(slot, memory_load(&entry->next)); /* P2 */
        set_count(map, map_count(map) - 1);
        struct value *value = memory_load(&entry->value);
        memory_retire(entry);
        return value;
}

void map_each(const struct map *map, void (*visit)(struct entry *entry, void *arg), void *arg)
{
        const struct table *table = memory_load(&map->table);
        for (; table; table = memory_load(&table->next)) {
                for (size_t i = 0; i <= table->mask; i++) {
                        struct entry *entry = memory_load(&table->buckets[i]);
                        if (entry == forwarded(table))
                                continue;
                        for (; entry; entry = memory_load(&entry->next))
                                visit(entry, arg);
                }
        }
}

struct map map_take(struct map *map)
{
        struct map taken = { .table = memory_load(&map->table) };
        memory_store(&map->table, (struct table *)NULL);
        set_count(map, 0);
        return taken;
}

void map_drop(const struct map *map, void (*drop)(struct value *value))
{
        struct table *table = MEMORY_COLLECTS ? NULL : map->table;
        while (table) {
                struct table *next = memory_load(&table->next);
                for (size_t i = table->moved; i <= table->mask; i++) {
                        struct entry *entries = memory_load(&table->buckets[i]);
                        for (struct entry *at = entries; at; at = memory_load(&at->next))
                                drop(memory_load(&at->value));
                        chain_drop(entries);
                }
                memory_retire(table->buckets);
                memory_retire(table);
                table = next;
        }
}
