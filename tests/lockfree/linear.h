/* linear.h: is a history linearizable?
 *
 * A history is what threads did and when: for each operation its call, its return, and
 * what came out. It is linearizable if each operation can be given a moment between call
 * and return such that, done one at a time in that order, all give what they gave. */
#ifndef LOCKFREE_LINEAR_H
#define LOCKFREE_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINEAR_THREADS = 8, LINEAR_ITEMS = 32 };

/* Things are numbered from 1; 0 is none. */
struct operation {
        uint64_t called, returned; /* all different */
        uint8_t thread, kind;
        uint16_t key;     /* of a map; each key is a history of its own */
        uint16_t in, old; /* what was put; what was to be replaced */
        uint16_t out;     /* what came out; of a REPLACE whether it was done */
};

enum operation_kind { GET, PUT, ADD, REPLACE, REMOVE, TAKE };

/* What the structure holds: of a map's key, item[0] or nothing. */
struct linear_state {
        uint16_t nitems, item[LINEAR_ITEMS];
};

/* Does the operation to the state; false if it would not have given what it gave. */
typedef bool (*linear_spec)(struct linear_state *state, const struct operation *operation);

bool linear_map_spec(struct linear_state *state, const struct operation *operation);
bool linear_queue_spec(struct linear_state *state, const struct operation *operation);
bool linear_stack_spec(struct linear_state *state, const struct operation *operation);

enum linear_verdict { LINEAR, NOT_LINEAR, TOO_WIDE };

/* Of a structure that is empty at first. Sorts the operations by their calls. *wrong: the
 * one at whose return it ceased to be linearizable. TOO_WIDE: too many orders would do, as
 * far as could be seen. Not thread-safe. */
enum linear_verdict linear_check(linear_spec spec, struct operation *operations, size_t count,
                                 const struct operation **wrong);

void linear_print(const struct operation *operations, size_t count);

#endif
