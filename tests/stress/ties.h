/* ties.h: the stress's ephemerons and weak tables, of whatever objects have an id. */
#ifndef STRESS_TIES_H
#define STRESS_TIES_H

#include "base/random.h"

#include <polder/polder.h>
#include <stdbool.h>

/* In stress.c. */
void fail(const char *what, const void *at);
uint64_t check_of(uint64_t id);

void ties_start(void);
/* The calling thread holds the key. is_fixed is in the key: it has an entry in the table from
 * which nothing is ever taken. */
void ties_use(struct pld_random *random, void *key, uint64_t id, _Atomic uint32_t *is_fixed);
/* Of a key just born: nothing is tied to it, whatever was before at its address. */
void ties_expect_none(struct pld_random *random, const void *key);
struct polder_ephemeron *ties_ephemeron_new(struct pld_random *random, void *key, uint64_t id);
/* The key is the ephemeron's. */
void ties_look_at_ephemeron(struct polder_ephemeron *ephemeron, const void *key, uint64_t id);

/* Everything but the tables; the tables. */
void ties_drop_values(void);
void ties_drop_tables(void);
/* Entries of all tables, while the tables are there. */
size_t ties_count(void);

#endif
