/* sorted.h: a map from 64-bit keys in their order, without locks: deadlines, offsets, ids.
 *
 * A skip list (Pugh, CACM 1990) of Harris' lists, one above the other: Fraser's and Lea's
 * form (Fraser, Practical Lock-Freedom, 2004; Lea's ConcurrentSkipListMap): a value that is
 * NULL says that a key is gone, nodes follow later.
 *
 * Values are collected objects, not NULL. A map is a collected object: keep it in a slot or
 * on a thread's stack. Threads are attached (<polder/thread.h>). */
#ifndef LOCKFREE_SORTED_H
#define LOCKFREE_SORTED_H

#include <stdbool.h>
#include <stdint.h>

struct sorted;

struct sorted *sorted_new(void); /* NULL: no memory */

/* Linearizable: */
void *sorted_get(struct sorted *map, uint64_t key); /* or NULL */
/* *old: the former value, or NULL. 0, or -ENOMEM with nothing done. */
int sorted_put(struct sorted *map, uint64_t key, void *value, void **old);
/* As sorted_put, but if the key has a value that stays. */
int sorted_add(struct sorted *map, uint64_t key, void *value, void **old);
void *sorted_remove(struct sorted *map, uint64_t key); /* the former value, or NULL */

/* What these find was there at some moment of the call, and no key is passed by that was
 * there all the while. */

/* The first key that is >= from: *key, and its value; NULL: none. To walk, ask from
 * *key + 1 on. */
void *sorted_ceiling(struct sorted *map, uint64_t from, uint64_t *key);
/* Takes the first key <= most out, which no other thread gets then; or NULL. */
void *sorted_take_first(struct sorted *map, uint64_t most, uint64_t *key);

#endif
