#include "base/list.h"

#include <criterion/criterion.h>

struct item {
        int number;
        struct pld_list link;
};

static struct item items[5];
static struct pld_list head = PLD_LIST_INIT(head);

static struct item *item_of(struct pld_list *link)
{
        return pld_container_of(link, struct item, link);
}

/* The numbers in order, as decimal digits; and the ring is closed both ways. */
static int digits(struct pld_list *list)
{
        int forward = 0, backward = 0, unit = 1;
        pld_list_each(link, list) {
                forward = forward * 10 + item_of(link)->number;
                cr_assert(link->next->prev == link);
        }
        for (struct pld_list *link = list->prev; link != list; link = link->prev, unit *= 10)
                backward += item_of(link)->number * unit;
        cr_assert(forward == backward);
        return forward;
}

static void append_all(void)
{
        for (int i = 0; i < 5; i++) {
                items[i].number = i + 1;
                pld_list_append(&head, &items[i].link);
        }
}

Test(list, a_new_list_is_empty)
{
        struct pld_list fresh;
        pld_list_init(&fresh);
        cr_expect(pld_list_is_empty(&fresh));
        cr_expect(pld_list_pop(&fresh) == NULL);
}

Test(list, append_keeps_the_order_and_push_reverses_it)
{
        append_all();
        cr_expect(digits(&head) == 12345);
        struct pld_list other = PLD_LIST_INIT(other);
        struct pld_list *link;
        while ((link = pld_list_pop(&head)))
                pld_list_push(&other, link);
        cr_expect(digits(&other) == 54321);
        cr_expect(pld_list_is_empty(&head));
}

Test(list, remove_takes_from_the_middle)
{
        append_all();
        pld_list_remove(&items[2].link);
        cr_expect(digits(&head) == 1245);
        cr_expect(pld_list_is_empty(&items[2].link));
        pld_list_remove(&items[2].link); /* a removed item can be removed again */
        cr_expect(digits(&head) == 1245);
}

Test(list, insert_puts_behind_an_item)
{
        append_all();
        pld_list_remove(&items[4].link);
        pld_list_insert(&items[0].link, &items[4].link);
        cr_expect(digits(&head) == 15234);
}

Test(list, splice_moves_all_to_the_end)
{
        append_all();
        struct pld_list other = PLD_LIST_INIT(other);
        for (int i = 0; i < 2; i++)
                pld_list_append(&other, pld_list_pop(&head));
        pld_list_splice(&head, &other);
        cr_expect(digits(&head) == 34512);
        cr_expect(pld_list_is_empty(&other));
        pld_list_splice(&head, &other);
        cr_expect(digits(&head) == 34512);
}
