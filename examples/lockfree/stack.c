#include "examples/lockfree/stack.h"

#include <errno.h>
#include <polder/polder.h>

struct node {
        struct node *next; /* slot; const once pushed */
        void *value;       /* slot; const */
};

struct stack {
        struct node *top; /* slot */
};

struct stack *stack_new(void)
{
        const struct polder_layout *layout = POLDER_LAYOUT(struct stack, top);
        return layout ? polder_new(layout) : NULL;
}

int stack_push(struct stack *stack, void *value)
{
        static const struct polder_layout *_Atomic layout;
        if (!layout)
                layout = POLDER_LAYOUT(struct node, next, value);
        struct node *node = layout ? polder_new(layout) : NULL;
        if (!node)
                return -ENOMEM;
        node->value = value; /* plainly: it is the newest object, and nobody knows it yet */

        struct node *top = polder_load(&stack->top);
        do
                polder_store(&node->next, top); /* not plainly: the comparison was a call */
        while (!polder_compare_exchange(&stack->top, &top, node));
        return 0;
}

void *stack_pop(struct stack *stack)
{
        struct node *top = polder_load(&stack->top);
        while (top && !polder_compare_exchange(&stack->top, &top, polder_load(&top->next)))
                ;
        return top ? polder_load(&top->value) : NULL;
}
