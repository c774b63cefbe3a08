/* lists.c: list values, and commands on them.
 *
 * A list is linked both ways, each node holding one string. Everything that walks or
 * changes it holds the lock of the shard its key is in, LRANGE too: a range is the
 * picture of one moment. LLEN alone takes no lock.
 *
 * The two directions are told apart by an index, so that LPUSH and RPUSH are one.
 *
 * L1  A list in the store is not empty.
 * L2  ends[LEFT] is the leftmost node, whose links[LEFT] is NULL; RIGHT likewise.
 * L3  A node that has been popped names no neighbour, so that it keeps none alive. */
#include "examples/kvd/lists.h"

#include "examples/kvd/command.h"
#include "examples/kvd/memory.h"
#include "examples/kvd/store.h"

enum side { LEFT, RIGHT };

struct node {
        struct node *links[2]; /* slots: the neighbours; shard's lock */
        struct value *value;   /* slot: const */
};

struct list {
        struct value value;
        struct node *ends[2]; /* slots: shard's lock */
        _Atomic size_t count; /* set under the shard's lock */
        size_t nbytes;        /* shard's lock: all nodes */
};

static struct memory_layouts node_layouts = {
        .slots = MEMORY_SLOT(struct node, links[LEFT]) | MEMORY_SLOT(struct node, links[RIGHT]) |
                 MEMORY_SLOT(struct node, value),
};
static struct memory_layouts list_layouts = {
        .slots = MEMORY_SLOT(struct list, ends[LEFT]) | MEMORY_SLOT(struct list, ends[RIGHT]),
};

static enum side opposite(enum side side)
{
        return side == LEFT ? RIGHT : LEFT;
}

static struct list *value_list(struct value *value)
{
        return (struct list *)value;
}

static struct list *list_new(void)
{
        struct list *list = memory_new(&list_layouts, sizeof *list);
        if (list)
                list->value.kind = VALUE_LIST;
        return list;
}

static size_t list_count(const struct list *list)
{
        return atomic_load_explicit(&list->count, memory_order_relaxed);
}

static void set_count(struct list *list, size_t count)
{
        atomic_store_explicit(&list->count, count, memory_order_relaxed);
}

size_t list_nbytes(const struct value *value)
{
        return sizeof(struct list) + ((const struct list *)value)->nbytes;
}

void list_drop(struct value *value)
{
        struct node *node = memory_load(&value_list(value)->ends[LEFT]);
        while (node) {
                struct node *next = memory_load(&node->links[RIGHT]);
                value_drop(memory_load(&node->value));
                memory_retire(node);
                node = next;
        }
}

/* --- Nodes ------------------------------------------------------------------------------ */

static struct node *node_new(struct arg data)
{
        struct string *string = string_new(data.data, data.len);
        if (string == NULL)
                return NULL;
        struct node *node = memory_new(&node_layouts, sizeof *node);
        if (node == NULL) {
                value_drop(&string->value);
                return NULL;
        }
        node->value = &string->value;
        return node;
}

static size_t node_nbytes(const struct node *node)
{
        return sizeof *node + value_nbytes(memory_load(&node->value));
}

static bool push(struct list *list, enum side side, struct arg data)
{
        struct node *node = node_new(data);
        if (node == NULL)
                return false;
        struct node *neighbour = memory_load(&list->ends[side]);
        memory_store(&node->links[opposite(side)], neighbour);
        if (neighbour)
                memory_store(&neighbour->links[side], node);
        else
                memory_store(&list->ends[opposite(side)], node);
        memory_store(&list->ends[side], node);
        set_count(list, list_count(list) + 1);
        list->nbytes += node_nbytes(node);
        return true;
}

/* The node at that end, unlinked; the list is not empty. */
static struct node *pop(struct list *list, enum side side)
{
        struct node *node = memory_load(&list->ends[side]);
        struct node *neighbour = memory_load(&node->links[opposite(side)]);
        memory_store(&list->ends[side], neighbour);
        if (neighbour)
                memory_store(&neighbour->links[side], (struct node *)NULL);
        else
                memory_store(&list->ends[opposite(side)], (struct node *)NULL);
        memory_store(&node->links[opposite(side)], (struct node *)NULL); /* L3 */
        set_count(list, list_count(list) - 1);
        list->nbytes -= node_nbytes(node);
        return node;
}

static void node_drop(struct node *node)
{
        value_drop(memory_load(&node->value));
        memory_retire(node);
}

static void reply_node(struct reply *reply, const struct node *node)
{
        struct value *value = memory_load(&node->value);
        reply_bulk(reply, value_string(value)->bytes, value->len);
}

/* --- Commands --------------------------------------------------------------------------- */

static bool as_list(struct call *call, struct value *value, struct list **out)
{
        if (value && value->kind != VALUE_LIST) {
                reply_wrong_type(call->reply);
                return false;
        }
        *out = value ? value_list(value) : NULL;
        return true;
}

static bool push_all(struct call *call, struct list *list, enum side side)
{
        for (size_t i = 2; i < call->argc; i++) {
                if (!push(list, side, call->args[i]))
                        return false;
        }
        return true;
}

static bool push_old_locked(struct call *call, struct shard *shard, struct list *list,
                            enum side side)
{
        size_t before = list->nbytes;
        bool done = push_all(call, list, side);
        store_charge_locked(shard, (ptrdiff_t)(list->nbytes - before));
        return done;
}

static bool push_new_locked(struct call *call, struct shard *shard, struct name key,
                            struct list *list, enum side side)
{
        if (push_all(call, list, side) && store_put_locked(shard, key, &list->value) == 0)
                return true;
        value_drop(&list->value);
        return false;
}

static void push_locked(struct call *call, struct shard *shard, struct name key, enum side side)
{
        struct list *list;
        bool done = false;
        if (!as_list(call, store_get_locked(shard, key), &list))
                return;
        if (list)
                done = push_old_locked(call, shard, list, side);
        else if ((list = list_new()))
                done = push_new_locked(call, shard, key, list, side);
        if (done)
                reply_integer(call->reply, (int64_t)list_count(list));
        else
                reply_heap_full(call->reply);
}

static void push_command(struct call *call, enum side side)
{
        struct name key = call_name(call, 1);
        struct shard *shard = store_lock(key);
        push_locked(call, shard, key, side);
        store_unlock(shard);
}

void command_lpush(struct call *call)
{
        push_command(call, LEFT);
}

void command_rpush(struct call *call)
{
        push_command(call, RIGHT);
}

/* Pops as many as asked for and replies them one after the other. */
static void pop_locked(struct call *call, struct shard *shard, struct name key, struct list *list,
                       enum side side, size_t count)
{
        size_t before = list->nbytes;
        for (size_t i = 0; i < count; i++) {
                struct node *node = pop(list, side);
                reply_node(call->reply, node);
                node_drop(node);
        }
        store_charge_locked(shard, (ptrdiff_t)(list->nbytes - before));
        if (list_count(list) == 0)
                store_remove_locked(shard, key); /* L1 */
}

/* With a count the reply is an array, without it is the one string. */
static void pop_command(struct call *call, enum side side)
{
        bool counted = call->argc == 3;
        int64_t asked = 1;
        if (counted && !call_integer(call, 2, &asked))
                return;
        if (asked < 0) {
                reply_error(call->reply, "ERR value is out of range, must be positive");
                return;
        }
        struct name key = call_name(call, 1);
        struct list *list;
        struct shard *shard = store_lock(key);
        if (as_list(call, store_get_locked(shard, key), &list)) {
                size_t count = list ? list_count(list) : 0;
                if (count > (uint64_t)asked)
                        count = (size_t)asked;
                if (list && counted)
                        reply_array(call->reply, count);
                if (list)
                        pop_locked(call, shard, key, list, side, count);
                else if (counted)
                        reply_nil_array(call->reply);
                else
                        reply_nil(call->reply);
        }
        store_unlock(shard);
}

void command_lpop(struct call *call)
{
        pop_command(call, LEFT);
}

void command_rpop(struct call *call)
{
        pop_command(call, RIGHT);
}

/* Indexes below 0 count from the right end, -1 being the last. */
static int64_t index_from_left(int64_t index, int64_t count)
{
        if (index >= 0)
                return index;
        return index + count < 0 ? 0 : index + count;
}

static struct node *node_at(const struct list *list, int64_t index, int64_t count)
{
        enum side from = index < count / 2 ? LEFT : RIGHT;
        struct node *node = memory_load(&list->ends[from]);
        for (int64_t steps = from == LEFT ? index : count - 1 - index; steps > 0; steps--)
                node = memory_load(&node->links[opposite(from)]);
        return node;
}

static void reply_range(struct reply *reply, const struct list *list, int64_t first, int64_t last)
{
        int64_t count = list ? (int64_t)list_count(list) : 0;
        first = index_from_left(first, count);
        last = last < -count ? -1 : index_from_left(last, count);
        if (last >= count)
                last = count - 1;
        if (first > last) {
                reply_array(reply, 0);
                return;
        }
        reply_array(reply, (size_t)(last - first + 1));
        struct node *node = node_at(list, first, count);
        for (; first <= last; first++, node = memory_load(&node->links[RIGHT]))
                reply_node(reply, node);
}

void command_lrange(struct call *call)
{
        int64_t first, last;
        if (!call_integer(call, 2, &first) || !call_integer(call, 3, &last))
                return;
        struct name key = call_name(call, 1);
        struct list *list;
        struct shard *shard = store_lock(key);
        if (as_list(call, store_get_locked(shard, key), &list))
                reply_range(call->reply, list, first, last);
        store_unlock(shard);
}

void command_llen(struct call *call)
{
        struct list *list;
        if (as_list(call, store_get(call_name(call, 1)), &list))
                reply_integer(call->reply, list ? (int64_t)list_count(list) : 0);
}
