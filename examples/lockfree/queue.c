/* queue.c: Michael and Scott's queue.
 *
 * A list whose first node is a dummy: the node whose value was taken last. `tail` is its
 * last node or, between the two steps of a put, the last but one; whoever finds it so
 * moves it on.
 *
 * A collector asks for one thing that the paper need not think of. A taken node leads to
 * the next one, and so to all that were ever put after it: one stale word on the stack of a
 * thread that sleeps would keep them all. So a node that was taken is cut off.
 *
 * Q1  `next` is set once, from NULL, and is then const until the node is cut.
 * Q2  A cut node's next is the node itself, never NULL: a thread that has long been
 *     asleep over a put would else link its node there.
 * Q3  `tail` leaves a node before `head` does, and `head` before it is cut. Neither comes
 *     back. So who has read a cut can exchange nothing: he is behind, and tries again. */
#include "examples/lockfree/queue.h"

#include <errno.h>
#include <polder/polder.h>

struct node {
        struct node *next; /* slot; Q1 */
        void *value;       /* slot; NULL once taken */
};

struct queue {
        struct node *head; /* slot: the dummy */
        char apart[120];   /* takers and putters write different lines */
        struct node *tail; /* slot */
};

static struct node *node_new(void *value)
{
        static const struct polder_layout *_Atomic layout;
        if (!layout)
                layout = POLDER_LAYOUT(struct node, next, value);
        struct node *node = layout ? polder_new(layout) : NULL;
        if (node)
                node->value = value; /* plainly: it is the newest object */
        return node;
}

struct queue *queue_new(void)
{
        const struct polder_layout *layout = POLDER_LAYOUT(struct queue, head, tail);
        struct node *dummy = node_new(NULL);
        struct queue *queue = layout && dummy ? polder_new(layout) : NULL;
        if (queue)
                queue->head = queue->tail = dummy;
        return queue;
}

int queue_put(struct queue *queue, void *value)
{
        struct node *node = node_new(value), *tail, *next;
        if (!node)
                return -ENOMEM;
        for (;;) {
                tail = polder_load(&queue->tail);
                next = polder_load(&tail->next);
                if (next)
                        polder_compare_exchange(&queue->tail, &tail, next);
                else if (polder_compare_exchange(&tail->next, &next, node))
                        break;
        }
        polder_compare_exchange(&queue->tail, &tail, node);
        return 0;
}

void *queue_take(struct queue *queue)
{
        struct node *head, *tail, *next;
        for (;;) {
                head = polder_load(&queue->head);
                tail = polder_load(&queue->tail);
                next = polder_load(&head->next);
                if (!next)
                        return NULL;
                if (head == tail) { /* Q3 */
                        polder_compare_exchange(&queue->tail, &tail, next);
                        continue;
                }
                if (polder_compare_exchange(&queue->head, &head, next))
                        break;
        }
        void *value = polder_load(&next->value); /* our own now */
        polder_store(&next->value, NULL);        /* the dummy now, which may stay for long */
        polder_store(&head->next, head);         /* Q2 */
        return value;
}
