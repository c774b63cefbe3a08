/* ties.c: ephemerons and weak tables under stress.
 *
 * What is tied to a key is a *bond*: it knows the key's id, may refer to the key, and has a leaf
 * that only it leads to. Some are chained: keys themselves, of a bond that has its own id.
 * Threads put, add, remove and look up for keys that all of them know. From one table nothing
 * is ever removed: what has been seen there must be found again for as long as its key lives.
 * What was removed or looked up is kept in roots now and then, where a collection that is
 * verified must have marked it. Some tables are dropped with all that is in them. */
#include "tests/stress/ties.h"

#include <stdatomic.h>

enum { TABLES = 4, KEPT = 128 }; /* of the tables the first is the fixed one */

struct bond {
        void *key; /* or NULL */
        uint64_t *leaf;
        uint64_t id, check;
        uint64_t is_chained; /* const: it has an entry in the fixed table */
};

static const struct polder_layout *bond_layout;
static struct polder_weak_table *tables[TABLES]; /* a registered root */
static struct bond *kept[KEPT];                  /* another */

void ties_start(void)
{
        bond_layout = POLDER_LAYOUT(struct bond, key, leaf);
        polder_root_add(tables, sizeof tables);
        polder_root_add(kept, sizeof kept);
        for (int i = 0; i < TABLES; i++)
                polder_store(&tables[i], polder_weak_table_new());
}

static struct bond *new_bond(struct pld_random *random, void *key, uint64_t id, bool may_chain)
{
        uint64_t *leaf = polder_new_leaf(sizeof *leaf);
        if (leaf)
                *leaf = check_of(id);
        struct bond *next = may_chain && pld_random_below(random, 4) == 0
                                ? new_bond(random, NULL, id, false)
                                : NULL;
        struct bond *bond = leaf ? polder_new(bond_layout) : NULL;
        if (!bond)
                return NULL;
        *bond = (struct bond){ .key = pld_random_below(random, 2) ? key : NULL,
                               .leaf = leaf,
                               .id = id,
                               .check = check_of(id) };
        if (next && !polder_weak_table_put(tables[0], bond, next))
                bond->is_chained = 1;
        return bond;
}

static void look_at_bond(const struct bond *bond, uint64_t id)
{
        while (bond) {
                uint64_t *leaf = polder_load(&bond->leaf);
                if (bond->check != check_of(bond->id))
                        fail("a tied value was lost", bond);
                else if (bond->id != id)
                        fail("a value is tied to another key", bond);
                else if (*leaf != check_of(id))
                        fail("what a tied value refers to was lost", leaf);
                if (!bond->is_chained)
                        return;
                bond = polder_weak_table_get(tables[0], bond);
                if (!bond)
                        fail("an entry of a live key is gone", bond);
        }
}

static void keep(struct pld_random *random, struct bond *bond)
{
        struct bond **slot = &kept[pld_random_below(random, KEPT)];
        struct bond *former = polder_load(slot);
        if (former)
                look_at_bond(former, former->id);
        polder_store(slot, bond);
}

/* The fixed table: an entry that is there stays there. */
static void use_fixed(struct pld_random *random, void *key, uint64_t id, _Atomic uint32_t *is_fixed)
{
        bool was = atomic_load_explicit(is_fixed, memory_order_acquire);
        struct bond *found = polder_weak_table_get(tables[0], key);
        look_at_bond(found, id);
        if (was && !found)
                fail("an entry of a live key is gone", key);
        if (was)
                return;
        struct bond *bond = new_bond(random, key, id, true);
        struct bond *there = bond ? polder_weak_table_add(tables[0], key, bond) : NULL;
        look_at_bond(there, id);
        if (there)
                atomic_store_explicit(is_fixed, 1, memory_order_release);
}

void ties_use(struct pld_random *random, void *key, uint64_t id, _Atomic uint32_t *is_fixed)
{
        struct polder_weak_table **slot = &tables[1 + pld_random_below(random, TABLES - 1)];
        struct polder_weak_table *table = polder_load(slot);
        struct bond *bond = NULL;
        switch (pld_random_below(random, 16)) {
        case 0 ... 2:
                polder_weak_table_put(table, key, new_bond(random, key, id, true));
                break;
        case 3 ... 4:
                bond = new_bond(random, key, id, true);
                bond = bond ? polder_weak_table_add(table, key, bond) : NULL;
                break;
        case 5 ... 6:
                bond = polder_weak_table_remove(table, key);
                keep(random, bond);
                break;
        case 7 ... 8:
                use_fixed(random, key, id, is_fixed);
                break;
        case 9:
                if (pld_random_below(random, 256) == 0)
                        polder_store(slot, polder_weak_table_new());
                break;
        default:
                bond = polder_weak_table_get(table, key);
                if (bond && pld_random_below(random, 8) == 0)
                        keep(random, bond);
        }
        look_at_bond(bond, id);
}

void ties_expect_none(struct pld_random *random, const void *key)
{
        struct polder_weak_table *table = polder_load(&tables[pld_random_below(random, TABLES)]);
        if (polder_weak_table_get(table, key))
                fail("a new object has the entry of a dead one", key);
}

struct polder_ephemeron *ties_ephemeron_new(struct pld_random *random, void *key, uint64_t id)
{
        struct bond *bond = new_bond(random, key, id, true);
        return bond ? polder_ephemeron_new(key, bond) : NULL;
}

void ties_look_at_ephemeron(struct polder_ephemeron *ephemeron, const void *key, uint64_t id)
{
        struct bond *bond = polder_ephemeron_get(ephemeron, key);
        if (!bond)
                fail("an ephemeron of a live key is empty", key);
        look_at_bond(bond, id);
}

void ties_drop_values(void)
{
        polder_clear(kept, sizeof kept);
        polder_root_remove(kept);
}

void ties_drop_tables(void)
{
        polder_clear(tables, sizeof tables);
        polder_root_remove(tables);
}

size_t ties_count(void)
{
        size_t n = 0;
        for (int i = 0; i < TABLES; i++)
                n += polder_weak_table_count(polder_load(&tables[i]));
        return n;
}
