/* queue.h: first in, first out, for any number of threads at both ends, without locks.
 *
 * Michael and Scott's (Simple, Fast, and Practical Non-Blocking and Blocking Concurrent
 * Queue Algorithms, PODC 1996), without what is there because nodes come back: the counters
 * beside the pointers, the second looks at head and tail, the value that is read before one knows whose it is,
 * the free list.
 *
 * A queue is a collected object: keep it in a slot or on a thread's stack. */
#ifndef LOCKFREE_QUEUE_H
#define LOCKFREE_QUEUE_H

struct queue;

struct queue *queue_new(void); /* NULL: no memory */
/* value: a collected object, not NULL. 0, or -ENOMEM. */
int queue_put(struct queue *queue, void *value);
void *queue_take(struct queue *queue); /* NULL: empty */

#endif
