/* map.c: a split-ordered list.
 *
 * All entries are in one list, sorted by the bits of their hash in reverse. A bucket is the
 * part of that list whose hashes end alike, so that twice the table has each bucket's part
 * cut in two, and no entry need move (Shalev and Shavit). The cut is a *bridge*: a node put
 * where the new bucket begins. From then on its bucket's slot leads to what is behind, and the
 * part before ends at the bridge. In the paper the bucket's slot leads to the cut itself, a
 * dummy node; a slot that leads past it spares each look-up a cache miss.
 *
 * To take an entry out, the successor is first made unchangeable, then the entry is unlinked
 * (Harris). Harris has a bit in the pointer for that. A slot of a precise object holds an
 * object's first byte and nothing else, so it is a *marker* here, a node of its own between
 * the entry and its successor, as in Lea's ConcurrentSkipListMap. To replace an entry the new
 * one goes behind the marker, and one exchange unlinks the old and links the new.
 *
 * L1  An entry is in the map as long as one gets to it from its bucket's slot. So a look-up
 *     takes what it finds, and need not know of markers: what it found was there at some
 *     moment of the call. A writer returns when what it took out cannot be reached.
 * L2  A node whose next is no marker can be reached. So an exchange in it does what it should.
 * L3  A marker's next is const, and no marker, until the marker is cut.
 * L4  Entries of one hash are in the order in which their keys came. A new one goes to the
 *     end of them, past all that might have its key.
 * L5  A slot of the table is NULL or open. It opens once, from the next of its bridge, which
 *     is const until then and NULL afterwards. An open slot leads to a node: the list ends in
 *     a bridge that is behind every bucket.
 * L6  An entry is LEAVING before a marker is put behind it, and an entry that is not LEAVING
 *     has none. So a writer need not touch the successor, which may be in no cache, to know.
 *     One may be LEAVING and stay: its successor changed, and then somebody else was quicker.
 * L7  Once an entry is unlinked its marker is cut, which then leads to itself: who still
 *     stands there starts again. Else an old entry, perhaps kept by a stale word on some
 *     stack, would keep each later version of itself. */
#include "examples/lockfree/map.h"

#include <errno.h>
#include <polder/polder.h>
#include <stdatomic.h>

/* The low bits of an order. A bridge comes before its bucket's entries; a marker has to
 * come before the entries of its hash, or a look-up for one of them would end there. */
enum { BRIDGE = 0, MARKER = 2, ENTRY = 4, LEAVING = 5, END = 7, KIND = 7, LEAVES = 1 };
enum { SEGMENTS = 48, STRIPES = 16, LEAST_BITS = 4 };

struct stripe {
        char apart[56];
        _Atomic int64_t count;
};

struct map {
        struct map_entry *
            *segment[SEGMENTS]; /* slots; the last half, a quarter, ... of the table */
        map_match match;        /* const */
        unsigned first_bits;    /* const: segment 0 has 2^first_bits slots */
        _Atomic uint64_t size;  /* buckets, a power of two */
        _Atomic bool growing;
        struct stripe stripe[STRIPES]; /* of the count: writers of one map write different lines */
};

/* Where an entry of that hash is or would be: *slot was `node`, whose next was `next`. */
struct place {
        struct map_entry **slot, *node, *next;
        uint64_t hash, order;
};

static uint64_t order_at(const struct map_entry *node)
{
        return atomic_load_explicit(&node->order, memory_order_relaxed);
}

static unsigned kind_of(const struct map_entry *node)
{
        return order_at(node) & KIND;
}

static uint64_t reversed(uint64_t bits)
{
        bits = __builtin_bswap64(bits);
        bits = (bits >> 4 & 0x0f0f0f0f0f0f0f0f) | (bits & 0x0f0f0f0f0f0f0f0f) << 4;
        bits = (bits >> 2 & 0x3333333333333333) | (bits & 0x3333333333333333) << 2;
        return (bits >> 1 & 0x5555555555555555) | (bits & 0x5555555555555555) << 1;
}

static uint64_t order_of(uint64_t hash)
{
        return (reversed(hash) & ~(uint64_t)KIND) | ENTRY;
}

static struct map_entry *node_new(uint64_t order)
{
        static const struct polder_layout *_Atomic layout;
        if (!layout)
                layout = POLDER_LAYOUT(struct map_entry, next);
        struct map_entry *node = layout ? polder_new(layout) : NULL;
        if (node)
                atomic_init(&node->order, order);
        return node;
}

static struct map_entry **slots_new(size_t count)
{
        static const size_t first = 0;
        const struct polder_layout *slot = polder_layout_of(sizeof(void *), &first, 1);
        return slot ? polder_new_array(slot, count) : NULL;
}

/* ---- The list --------------------------------------------------------------------- */

static struct map_entry **slot_of(struct map *map, uint64_t index)
{
        uint64_t beyond = index >> map->first_bits;
        if (!beyond)
                return &polder_load(&map->segment[0])[index];
        unsigned top = 63 - (unsigned)__builtin_clzll(index);
        return &polder_load(&map->segment[top - map->first_bits + 1])[index ^ (uint64_t)1 << top];
}

/* The bucket's slot that a bridge leads to, open. */
static struct map_entry **cross(struct map *map, struct map_entry *bridge)
{
        struct map_entry **slot = slot_of(map, reversed(order_at(bridge)));
        struct map_entry *first = polder_load(&bridge->next), *closed = NULL;
        if (first) { /* L5 */
                polder_compare_exchange(slot, &closed, first);
                polder_store(&bridge->next, NULL);
        }
        return slot;
}

/* at->next, a marker, says that at->node is out. False: somebody has been here. */
static bool unlink_node(struct place *at)
{
        struct map_entry *marker = at->next, *next = polder_load(&marker->next);
        if (next == marker || !polder_compare_exchange(at->slot, &at->node, next))
                return false;
        polder_store(&marker->next, marker); /* L7 */
        at->node = next;
        return true;
}

/* From an open slot on: the entry of that order and key, else where it would be put (L4);
 * or the bridge of that order. Unlinks what is out on its way. */
static bool search(struct map *map, struct map_entry **from, const void *key, struct place *at)
{
        uint64_t last = at->order | LEAVES, order;
again:
        at->slot = from;
        at->node = polder_load(from);
        while ((order = order_at(at->node)) <= last) {
                if ((order & KIND) == BRIDGE) {
                        if (order == at->order)
                                return true;
                        at->slot = cross(map, at->node);
                        at->node = polder_load(at->slot);
                        continue;
                }
                at->next = polder_load(&at->node->next);
                if (kind_of(at->node) == LEAVING && kind_of(at->next) == MARKER) { /* L6 */
                        if (!unlink_node(at))
                                goto again;
                        continue;
                }
                if ((order | LEAVES) == last && map->match(at->node, key))
                        return true;
                at->slot = &at->node->next;
                at->node = at->next;
        }
        return false;
}

/* ---- Buckets ---------------------------------------------------------------------- */

static struct map_entry **bucket(struct map *map, uint64_t index);

/* Puts the bucket's bridge where it belongs. Without memory for it the bucket that it is a
 * part of does as well. */
__attribute__((noinline)) static struct map_entry **open_bucket(struct map *map, uint64_t index)
{
        unsigned top = 63 - (unsigned)__builtin_clzll(index);
        struct map_entry **whole = bucket(map, index ^ (uint64_t)1 << top);
        struct map_entry *bridge = node_new(reversed(index));
        struct place at = { .order = reversed(index) };
        if (!bridge)
                return whole;
        for (;;) {
                if (search(map, whole, NULL, &at)) {
                        bridge = at.node;
                        break;
                }
                polder_store(&bridge->next, at.node);
                if (polder_compare_exchange(at.slot, &at.node, bridge))
                        break;
        }
        return cross(map, bridge);
}

static struct map_entry **bucket(struct map *map, uint64_t index)
{
        struct map_entry **slot = slot_of(map, index);
        return __builtin_expect(polder_load(slot) != NULL, 1) ? slot : open_bucket(map, index);
}

static struct map_entry **bucket_of(struct map *map, uint64_t hash)
{
        return bucket(map, hash & (atomic_load_explicit(&map->size, memory_order_acquire) - 1));
}

/* One thread doubles the table; the others need not wait for it. */
__attribute__((noinline)) static void grow(struct map *map, uint64_t size)
{
        if (atomic_exchange(&map->growing, true))
                return;
        unsigned segment = (unsigned)__builtin_ctzll(size) - map->first_bits + 1;
        struct map_entry **half = NULL;
        if (size == atomic_load(&map->size) && segment < SEGMENTS)
                half = slots_new(size);
        if (half) {
                polder_store(&map->segment[segment], half);
                atomic_store(&map->size, size * 2);
        }
        atomic_store(&map->growing, false);
}

static void count(struct map *map, uint64_t hash, int change)
{
        _Atomic int64_t *stripe = &map->stripe[hash >> 32 & (STRIPES - 1)].count;
        int64_t n = atomic_fetch_add_explicit(stripe, change, memory_order_relaxed) + change;
        uint64_t size = atomic_load_explicit(&map->size, memory_order_relaxed);
        if (change > 0 && n > (int64_t)(size / STRIPES))
                grow(map, size);
}

/* ---- The map ------------------------------------------------------------------------ */

struct map *map_new(size_t expected, map_match match)
{
        static const uint64_t slots[sizeof(struct map) / 512 + 1] = { ((uint64_t)1 << SEGMENTS) - 1 };
        const struct polder_layout *layout = polder_layout(sizeof(struct map), slots);
        unsigned bits = LEAST_BITS;
        while (bits < 40 && expected >> bits > 1)
                bits++;
        struct map_entry **first = slots_new((size_t)1 << bits), *end = node_new(UINT64_MAX);
        struct map *map = layout && first && end ? polder_new(layout) : NULL;
        if (!map)
                return NULL;
        map->segment[0] = first;
        map->match = match;
        map->first_bits = bits;
        atomic_init(&map->size, (uint64_t)1 << bits);
        polder_store(&first[0], end);
        return map;
}

struct map_entry *map_get(struct map *map, uint64_t hash, const void *key)
{
        uint64_t last = order_of(hash) | LEAVES, order;
        struct map_entry *node = polder_load(bucket_of(map, hash)), *next;
        while ((order = order_at(node)) <= last) {
                if ((order | LEAVES) == last && map->match(node, key))
                        return node;
                if ((order & KIND) == BRIDGE)
                        next = polder_load(cross(map, node));
                else
                        next = polder_load(&node->next);
                node = next != node ? next : polder_load(bucket_of(map, hash)); /* L7 */
        }
        return NULL;
}

static bool find(struct map *map, const void *key, struct place *at)
{
        return search(map, bucket_of(map, at->hash), key, at);
}

static struct place place_of(uint64_t hash)
{
        return (struct place){ .hash = hash, .order = order_of(hash) };
}

/* Where its key has not been found. False: somebody was quicker. */
static bool put_in(struct map *map, struct place *at, struct map_entry *entry)
{
        polder_store(&entry->next, at->node);
        if (!polder_compare_exchange(at->slot, &at->node, entry))
                return false;
        count(map, at->hash, 1);
        return true;
}

/* Takes the entry at that place out, and has `next` follow upon it. False: somebody was
 * quicker. Else one can't get to it any more afterwards (L1). */
static bool take_out(struct map *map, const void *key, struct place *at, struct map_entry *marker,
                     struct map_entry *next)
{
        polder_store(&marker->next, next);
        atomic_store_explicit(&at->node->order, at->order | LEAVES, memory_order_relaxed); /* L6 */
        if (!polder_compare_exchange(&at->node->next, &at->next, marker))
                return false;
        at->next = marker;
        if (!unlink_node(at))
                find(map, key, at);
        return true;
}

/* The same where another entry takes its place. */
static bool put_over(struct map *map, const void *key, struct place *at, struct map_entry *marker,
                     struct map_entry *entry)
{
        polder_store(&entry->next, at->next);
        return take_out(map, key, at, marker, entry);
}

/* Made at the first need; false: no memory. */
static bool have_marker(struct map_entry **marker, const struct place *at)
{
        if (!*marker)
                *marker = node_new((at->order & ~(uint64_t)KIND) | MARKER);
        return *marker != NULL;
}

void map_add(struct map *map, uint64_t hash, const void *key, struct map_entry *entry,
             struct map_entry **old)
{
        struct place at = place_of(hash);
        atomic_init(&entry->order, at.order);
        *old = NULL;
        do {
                if (find(map, key, &at)) {
                        *old = at.node;
                        return;
                }
        } while (!put_in(map, &at, entry));
}

int map_put(struct map *map, uint64_t hash, const void *key, struct map_entry *entry,
            struct map_entry **old)
{
        struct map_entry *marker = NULL, *former;
        struct place at = place_of(hash);
        bool done;
        atomic_init(&entry->order, at.order);
        do {
                former = find(map, key, &at) ? at.node : NULL;
                if (former && !have_marker(&marker, &at))
                        return -ENOMEM;
                done = former ? put_over(map, key, &at, marker, entry) : put_in(map, &at, entry);
        } while (!done);
        *old = former;
        return 0;
}

int map_replace(struct map *map, uint64_t hash, const void *key, struct map_entry *old,
                struct map_entry *entry)
{
        struct map_entry *marker = NULL;
        struct place at = place_of(hash);
        atomic_init(&entry->order, at.order);
        do {
                if (!find(map, key, &at) || at.node != old)
                        return -ENOENT;
                if (!have_marker(&marker, &at))
                        return -ENOMEM;
        } while (!put_over(map, key, &at, marker, entry));
        return 0;
}

int map_remove(struct map *map, uint64_t hash, const void *key, struct map_entry **old)
{
        struct map_entry *marker = NULL, *former;
        struct place at = place_of(hash);
        do {
                if (!find(map, key, &at))
                        return -ENOENT;
                if (!have_marker(&marker, &at))
                        return -ENOMEM;
                former = at.node;
        } while (!take_out(map, key, &at, marker, at.next));
        count(map, hash, -1);
        *old = former;
        return 0;
}

size_t map_count(struct map *map)
{
        int64_t n = 0;
        for (int i = 0; i < STRIPES; i++)
                n += atomic_load_explicit(&map->stripe[i].count, memory_order_relaxed);
        return n > 0 ? (size_t)n : 0;
}

void map_each(struct map *map, void (*visit)(struct map_entry *entry, void *arg), void *arg)
{
        struct map_entry *node = polder_load(bucket(map, 0)), *next;
        uint64_t last = 0;
        while (kind_of(node) != END) {
                next = polder_load(kind_of(node) == BRIDGE ? cross(map, node) : &node->next);
                if (next == node) { /* L7 */
                        next = polder_load(bucket_of(map, reversed(last)));
                } else if ((kind_of(node) | LEAVES) == LEAVING &&
                           (order_at(node) | LEAVES) >= last) {
                        last = order_at(node) | LEAVES;
                        visit(node, arg);
                }
                node = next;
        }
}
