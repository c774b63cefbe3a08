/* chaos.h: included ahead of the structures under test: before each access of a slot a
 * thread now and then gives way, so that others come between any two steps. */
#ifndef LOCKFREE_CHAOS_H
#define LOCKFREE_CHAOS_H

#include <polder/polder.h>

void chaos(void);

#undef polder_store
#undef polder_load
#undef polder_compare_exchange
#define polder_store(slot, value)                                                                  \
        (chaos(), polder_store_(POLDER_SLOT_(slot, value), (void *)(value)))
#define polder_load(slot) (chaos(), (__typeof__(*(slot)))polder_load_((void *const *)(slot)))
#define polder_compare_exchange(slot, expected, desired)                                           \
        (chaos(), polder_compare_exchange_(POLDER_SLOT_(slot, desired),                            \
                                           POLDER_SLOT_(expected, desired), (void *)(desired)))

#endif
