/* list.h: a doubly linked ring with a head; O(1) insert, remove and splice. */
#ifndef PLD_BASE_LIST_H
#define PLD_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct pld_list {
        struct pld_list *next, *prev;
};

#define PLD_LIST_INIT(head) { &(head), &(head) }
#define pld_container_of(at, type, member) ((type *)((char *)(at) - offsetof(type, member)))

static inline void pld_list_init(struct pld_list *head)
{
        head->next = head->prev = head;
}

static inline bool pld_list_is_empty(const struct pld_list *head)
{
        return head->next == head;
}

static inline void pld_list_insert(struct pld_list *after, struct pld_list *item)
{
        item->prev = after;
        item->next = after->next;
        after->next->prev = item;
        after->next = item;
}

static inline void pld_list_push(struct pld_list *head, struct pld_list *item)
{
        pld_list_insert(head, item);
}

static inline void pld_list_append(struct pld_list *head, struct pld_list *item)
{
        pld_list_insert(head->prev, item);
}

static inline void pld_list_remove(struct pld_list *item)
{
        item->prev->next = item->next;
        item->next->prev = item->prev;
        item->next = item->prev = item;
}

/* The first item, removed; NULL when there is none. */
static inline struct pld_list *pld_list_pop(struct pld_list *head)
{
        struct pld_list *item = head->next;
        if (item == head)
                return NULL;
        pld_list_remove(item);
        return item;
}

/* All of `from` to the end of `to`; `from` is empty afterwards. */
static inline void pld_list_splice(struct pld_list *to, struct pld_list *from)
{
        if (pld_list_is_empty(from))
                return;
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        pld_list_init(from);
}

#define pld_list_each(item, head)                                                              \
        for (struct pld_list *item = (head)->next; item != (head); item = item->next)

#endif
