/* weak_table.c: tables from objects to values, made of ties (tie.c).
 *
 * A table has no memory of its own that would have to be searched or grown: an entry hangs on
 * its key's span, so to find it is arithmetic on the key's address and a walk over the key's
 * entries in all tables, mostly one. What becomes of entries whose keys have died is the
 * sweeper's business, a span at a time. */
#include "collector/safepoint.h"
#include "collector/thread.h"
#include "collector/tie.h"


#include <errno.h>
#include <polder/ephemeron.h>

struct polder_weak_table *polder_weak_table_new(void)
{
        if (pld_thread_attach())
                return pld_owner_new();
        errno = ENOMEM;
        return NULL;
}

void *polder_weak_table_get(const struct polder_weak_table *table, const void *key)
{
        struct pld_thread *self = pld_thread_attach();
        struct pld_owner *owner = pld_owner_of(table);
        if (!self || !owner)
                return NULL;
        pld_enter();
        struct pld_found found = pld_find_object((uintptr_t)key);
        uintptr_t value = found.span ? pld_tie_read(self, owner, found) : 0;
        pld_leave();
        polder_keep_alive(table);
        polder_keep_alive(key);
        return (void *)value;
}

static int change(struct polder_weak_table *table, const void *key, enum pld_tie_put how,
                  uintptr_t *value)
{
        struct pld_thread *self = pld_thread_attach();
        struct pld_owner *owner = pld_owner_of(table);
        uintptr_t volatile kept = *value; /* on the stack, if it comes from there */
        if (!self)
                return -ENOMEM;
        if (!owner)
                return -EINVAL;
        pld_enter();
        struct pld_found found = pld_find_object((uintptr_t)key);
        int error = found.span ? pld_tie_change(self, owner, found, how, value) : -EINVAL;
        pld_leave();
        polder_keep_alive(table);
        polder_keep_alive(key);
        polder_keep_alive((void *)kept);
        return error;
}

int polder_weak_table_put(struct polder_weak_table *table, void *key, void *value)
{
        uintptr_t word = (uintptr_t)value;
        return change(table, key, PLD_TIE_SET, &word);
}

void *polder_weak_table_add(struct polder_weak_table *table, void *key, void *value)
{
        uintptr_t word = (uintptr_t)value;
        int error = value ? change(table, key, PLD_TIE_ADD, &word) : -EINVAL;
        if (!error)
                return (void *)word;
        errno = -error;
        return NULL;
}

void *polder_weak_table_remove(struct polder_weak_table *table, const void *key)
{
        uintptr_t word = 0;
        return change(table, key, PLD_TIE_REMOVE, &word) ? NULL : (void *)word;
}

size_t polder_weak_table_count(const struct polder_weak_table *table)
{
        struct pld_owner *owner = pld_owner_of(table);
        return owner ? pld_load_relaxed(&owner->count) : 0;
}
