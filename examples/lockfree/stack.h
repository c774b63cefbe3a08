/* stack.h: a stack that any number of threads push to and pop from, without locks.
 *
 * Treiber's (R. K. Treiber, Systems Programming: Coping with Parallelism, IBM 1986), word
 * for word. Where memory is freed by hand it needs a tag beside the pointer, or hazard
 * pointers, because a popped node may come back while somebody still compares with it.
 * Here a node that anybody holds is not reused, so that a pointer is enough.
 *
 * A stack is a collected object: keep it in a slot or on a thread's stack. */
#ifndef LOCKFREE_STACK_H
#define LOCKFREE_STACK_H

struct stack;

struct stack *stack_new(void); /* NULL: no memory */
/* value: a collected object, not NULL. 0, or -ENOMEM. */
int stack_push(struct stack *stack, void *value);
void *stack_pop(struct stack *stack); /* NULL: empty */

#endif
