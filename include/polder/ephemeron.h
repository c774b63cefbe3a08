/* ephemeron.h: values that live as long as their keys.
 *
 * Both kinds are collected objects, kept and stored like any other. A key is an object by
 * its identity: its address, or any inside it. Keys are held weakly; a value is kept as long
 * as its ephemeron or table *and* its key are reached by other ways, so a value that
 * refers to its own key does not keep it. */
#ifndef POLDER_EPHEMERON_H
#define POLDER_EPHEMERON_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct polder_ephemeron;
/* NULL with ENOMEM, or EINVAL where key is no collected object. value: anything. */
struct polder_ephemeron *polder_ephemeron_new(void *key, void *value);
/* The value; NULL where key is not the ephemeron's, which is weaker than it. */
void *polder_ephemeron_get(const struct polder_ephemeron *ephemeron, const void *key);

/* Maps objects to values. Any number of threads may use a table at once; reading takes no lock.
 * What takes a key that is no collected object refuses it with EINVAL. */
struct polder_weak_table;
struct polder_weak_table *polder_weak_table_new(void); /* NULL with ENOMEM */
/* NULL: there is none. */
void *polder_weak_table_get(const struct polder_weak_table *table, const void *key);
/* In place of what was there; NULL: removes. 0, -ENOMEM, -EINVAL. */
int polder_weak_table_put(struct polder_weak_table *table, void *key, void *value);
/* Puts a value where there is none. Returns what is in the table then: of several threads that
 * add, all get the same. NULL with ENOMEM or EINVAL (also for a value of NULL). */
void *polder_weak_table_add(struct polder_weak_table *table, void *key, void *value);
/* Returns what was there. */
void *polder_weak_table_remove(struct polder_weak_table *table, const void *key);
/* Entries, with those whose keys have died and are not yet swept. */
size_t polder_weak_table_count(const struct polder_weak_table *table);

#ifdef __cplusplus
}
#endif

#endif
