/* sorted.c: a skip list.
 *
 * Level 0 is a sorted list of all keys with their values. One key in four has an *index* on
 * level 1, one in sixteen another on level 2, and so on: each level is a sorted list of its
 * own, and an index leads down to the one below it, at last to its key's node. A search goes
 * along the uppermost list, down one, along, ...
 *
 * A key is out as soon as its node's value is NULL: one compare-and-exchange decides it. The
 * nodes are then unlinked, on each level as Harris does (DISC 2001): the successor is first
 * made unchangeable. Harris has a bit in the pointer for that; a slot of a precise object
 * holds an object's first byte and nothing else, so it is a *marker* here, a node of its own
 * between the node and its successor, as in Lea's ConcurrentSkipListMap.
 *
 * S1  A value that is NULL stays so.
 * S2  A node is marked after its value became NULL, an index after its node.
 * S3  A node or index whose next is no marker is in its level's list.
 * S4  A marker's next is const, and no marker, until the marker is cut: once its node has
 *     been unlinked it leads to itself. A node that is long gone, but kept by a stale word on
 *     some stack, would else keep all that came after it: of timers, say, all there were.
 * S5  An index may survive its node for a while, as its thread had not linked it yet. Who goes
 *     down by it and finds what is below marked, marks it. */
#include "examples/lockfree/sorted.h"

#include <errno.h>
#include <polder/polder.h>
#include <stdatomic.h>

enum { LEVELS = 16 };
enum kind { NODE, INDEX, HEAD, END, MARKER };

struct node {
        struct node *next; /* slot */
        enum kind kind;    /* const from here on, but for `value` */
        uint64_t key;
        union {
                void *value;       /* slot of a NODE */
                struct node *down; /* of an INDEX */
        };
};

struct sorted {
        struct node *head[LEVELS]; /* slots; const */
        _Atomic int nlevels;       /* that are in use; grows */
};

/* Before a key on each level, unmarked; and on level 0 what follows, not before the key. */
struct place {
        struct node *before[LEVELS], *node;
        int nlevels; /* so many of `before` are set */
};

static struct node *node_new(enum kind kind, uint64_t key, struct node *next, void *value)
{
        static const struct polder_layout *_Atomic layout;
        if (!layout)
                layout = POLDER_LAYOUT(struct node, next, value);
        struct node *node = layout ? polder_new(layout) : NULL;
        if (node) /* plainly: it is the newest object */
                *node = (struct node){ .next = next, .kind = kind, .key = key, .value = value };
        return node;
}

struct sorted *sorted_new(void)
{
        static const uint64_t slots = ((uint64_t)1 << LEVELS) - 1;
        const struct polder_layout *layout = polder_layout(sizeof(struct sorted), &slots);
        struct node *end = node_new(END, UINT64_MAX, NULL, NULL);
        struct sorted *map = layout && end ? polder_new(layout) : NULL;
        for (int i = 0; map && i < LEVELS; i++) {
                struct node *head = node_new(HEAD, 0, end, NULL);
                if (!head)
                        return NULL;
                polder_store(&map->head[i], head);
        }
        if (map)
                atomic_init(&map->nlevels, 1);
        return map;
}

/* ---- Lists --------------------------------------------------------------------------- */

static bool is_out(const struct node *node)
{
        while (node->kind == INDEX)
                node = node->down;
        return polder_load(&node->value) == NULL;
}

/* Makes the node's successor unchangeable. False: no memory. */
static bool mark(struct node *node)
{
        struct node *next = polder_load(&node->next), *marker = NULL;
        while (next->kind != MARKER) {
                if (!marker && !(marker = node_new(MARKER, node->key, NULL, NULL)))
                        return false;
                polder_store(&marker->next, next);
                if (polder_compare_exchange(&node->next, &next, marker))
                        return true;
        }
        return true;
}

/* node, with that marker behind it, follows upon `before`. False: no longer. */
static bool unlink_node(struct node *before, struct node *node, struct node *marker)
{
        struct node *next = polder_load(&marker->next);
        if (next == marker || !polder_compare_exchange(&before->next, &node, next))
                return false;
        polder_store(&marker->next, marker); /* S4 */
        return true;
}

/* Goes along one level, from *before to the last one before the key, and unlinks what is
 * marked, the key's own node included. False: *before is marked itself now. */
static bool go_along(struct node **before, uint64_t key, struct node **found)
{
        for (;;) {
                struct node *node = polder_load(&(*before)->next), *next;
                if (node->kind == MARKER)
                        return false;
                *found = node;
                if (node->kind == END || node->key > key)
                        return true;
                next = polder_load(&node->next);
                if (next->kind == MARKER) {
                        if (!unlink_node(*before, node, next))
                                return false;
                } else if (node->key == key) {
                        return true;
                } else {
                        *before = node;
                }
        }
}

/* What is below; NULL if that is marked, and so is `node` now. */
static struct node *go_down(struct sorted *map, struct node *node, int level)
{
        if (node->kind == HEAD)
                return polder_load(&map->head[level - 1]);
        struct node *down = node->down;
        if (polder_load(&down->next)->kind != MARKER)
                return down;
        /* S5. Without memory for the marker: the long way. */
        return mark(node) ? NULL : polder_load(&map->head[level - 1]);
}

static void search(struct sorted *map, uint64_t key, struct place *at)
{
again:
        at->nlevels = atomic_load_explicit(&map->nlevels, memory_order_relaxed);
        int level = at->nlevels - 1;
        struct node *node = polder_load(&map->head[level]);
        for (;; level--) {
                if (!go_along(&node, key, &at->node))
                        goto again;
                at->before[level] = node;
                if (level == 0)
                        return;
                node = go_down(map, node, level);
                if (!node)
                        goto again;
        }
}

/* ---- Indexes --------------------------------------------------------------------------- */

static uint64_t random_bits(void)
{
        static __thread uint64_t state;
        if (!state)
                state = (uint64_t)(uintptr_t)&state;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state * UINT64_C(0x2545f4914f6cdd1d);
}

/* How many indexes a node gets, and no more than one level above those in use. */
static int height_of_new(struct sorted *map)
{
        int height = __builtin_ctzll(random_bits() | (uint64_t)1 << 2 * (LEVELS - 1)) / 2;
        int nlevels = atomic_load_explicit(&map->nlevels, memory_order_relaxed);
        return height < nlevels ? height : nlevels < LEVELS ? nlevels : LEVELS - 1;
}

/* The level is in use, and the place has it. */
static void use_level(struct sorted *map, struct place *at, int level)
{
        int nlevels = level;
        if (level < at->nlevels)
                return;
        atomic_compare_exchange_strong(&map->nlevels, &nlevels, level + 1);
        at->before[level] = polder_load(&map->head[level]);
        at->nlevels = level + 1;
}

/* Links an index to what is below it. False: it had better not. */
static bool index_level(struct sorted *map, struct place *at, int level, struct node **below)
{
        struct node *index = node_new(INDEX, (*below)->key, NULL, *below), *next;
        if (!index)
                return false;
        for (;;) {
                if (!go_along(&at->before[level], index->key, &next)) {
                        search(map, index->key, at);
                        continue;
                }
                if (is_out(index) || (next->kind == INDEX && next->key == index->key))
                        return false;
                polder_store(&index->next, next);
                if (polder_compare_exchange(&at->before[level]->next, &next, index))
                        break;
        }
        *below = index;
        return true;
}

/* Unlinks the node, whose value is NULL, and its indexes. at: from there to the node there is
 * no other key. False: no memory for the marker. */
static bool clear_away(struct sorted *map, struct node *node, struct place *at)
{
        if (!mark(node))
                return false;
        for (int level = at->nlevels - 1; level > 0; level--) {
                struct node *index = polder_load(&at->before[level]->next);
                if (index->kind == INDEX && index->key == node->key && is_out(index))
                        mark(index);
        }
        search(map, node->key, at);
        return true;
}

static void build_index(struct sorted *map, struct node *node, struct place *at)
{
        int height = height_of_new(map);
        struct node *top = node;
        for (int level = 1; level <= height; level++) {
                use_level(map, at, level);
                if (!index_level(map, at, level, &top))
                        break;
        }
        if (top != node && is_out(node)) { /* it was removed before it had all its indexes */
                search(map, node->key, at);
                clear_away(map, node, at);
        }
}

/* ---- The map ----------------------------------------------------------------------------- */

void *sorted_get(struct sorted *map, uint64_t key)
{
        struct place at;
        search(map, key, &at);
        if (at.node->kind == END || at.node->key != key)
                return NULL;
        return polder_load(&at.node->value);
}

static int put(struct sorted *map, uint64_t key, void *value, void **old, bool replace)
{
        struct place at;
        struct node *node = NULL;
        for (;;) {
                search(map, key, &at);
                if (at.node->kind != END && at.node->key == key) {
                        void *former = polder_load(&at.node->value);
                        if (!former) {
                                if (!clear_away(map, at.node, &at))
                                        return -ENOMEM;
                        } else if (!replace ||
                                   polder_compare_exchange(&at.node->value, &former, value)) {
                                *old = former;
                                return 0;
                        }
                        continue;
                }
                if (!node && !(node = node_new(NODE, key, NULL, value)))
                        return -ENOMEM;
                polder_store(&node->next, at.node);
                if (polder_compare_exchange(&at.before[0]->next, &at.node, node))
                        break;
        }
        build_index(map, node, &at);
        *old = NULL;
        return 0;
}

int sorted_put(struct sorted *map, uint64_t key, void *value, void **old)
{
        return put(map, key, value, old, true);
}

int sorted_add(struct sorted *map, uint64_t key, void *value, void **old)
{
        return put(map, key, value, old, false);
}

/* The value that was taken from the node, whom it makes out; NULL: it was so already. */
static void *take_value(struct node *node)
{
        void *value = polder_load(&node->value);
        while (value && !polder_compare_exchange(&node->value, &value, NULL))
                ;
        return value;
}

void *sorted_remove(struct sorted *map, uint64_t key)
{
        struct place at;
        search(map, key, &at);
        struct node *node = at.node;
        if (node->kind == END || node->key != key)
                return NULL;
        void *value = take_value(node);
        if (value)
                clear_away(map, node, &at);
        return value;
}

void *sorted_ceiling(struct sorted *map, uint64_t from, uint64_t *key)
{
        struct place at;
        for (;;) {
                search(map, from, &at);
                void *value = at.node->kind != END ? polder_load(&at.node->value) : NULL;
                if (value)
                        *key = at.node->key;
                if (value || at.node->kind == END || at.node->key == UINT64_MAX)
                        return value;
                from = at.node->key + 1; /* that one is out */
        }
}

void *sorted_take_first(struct sorted *map, uint64_t most, uint64_t *key)
{
        struct place at;
        for (uint64_t from = 0;; from = at.node->key + 1) {
                search(map, from, &at);
                struct node *node = at.node;
                if (node->kind == END || node->key > most)
                        return NULL;
                void *value = take_value(node);
                if (value) {
                        *key = node->key;
                        clear_away(map, node, &at);
                        return value;
                }
                if (node->key == UINT64_MAX)
                        return NULL;
        }
}
