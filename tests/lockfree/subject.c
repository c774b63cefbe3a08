#include "tests/lockfree/subject.h"

#include "examples/lockfree/queue.h"
#include "examples/lockfree/sorted.h"
#include "examples/lockfree/stack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int fine(int err)
{
        if (err == -ENOMEM) {
                fputs("lockfree: no memory\n", stderr);
                exit(1);
        }
        return err == 0;
}

/* ---- The hash map ---------------------------------------------------------------------- */

static bool matches(const struct map_entry *entry, const void *key)
{
        return ((const struct thing *)entry)->key == *(const uint32_t *)key;
}

static void *make_map(void)
{
        return map_new(1, matches);
}

static int operate_map(void *map, int kind, uint32_t key, struct thing *thing, struct thing *old,
                       struct thing **out)
{
        struct map_entry **former = (struct map_entry **)out;
        uint64_t hash = hash_of_key(key);
        switch (kind) {
        case GET:
                *former = map_get(map, hash, &key);
                return 1;
        case PUT:
                return fine(map_put(map, hash, &key, &thing->entry, former));
        case ADD:
                map_add(map, hash, &key, &thing->entry, former);
                return 1;
        case REPLACE:
                return fine(map_replace(map, hash, &key, &old->entry, &thing->entry));
        default:
                return fine(map_remove(map, hash, &key, former));
        }
}

static void (*on_taken)(struct thing *thing);
static size_t nvisited;

static void visit(struct map_entry *entry, void *arg)
{
        (void)arg;
        nvisited++;
        on_taken((struct thing *)entry);
}

static void drain_map(void *map, void (*taken)(struct thing *thing))
{
        on_taken = taken;
        nvisited = 0;
        map_each(map, visit, NULL);
        if (nvisited != map_count(map)) {
                fprintf(stderr, "lockfree: a map counts %zu and shows %zu\n", map_count(map),
                        nvisited);
                exit(1);
        }
}

/* ---- The sorted map ---------------------------------------------------------------------- */

static void *make_sorted(void)
{
        return sorted_new();
}

static int operate_sorted(void *map, int kind, uint32_t key, struct thing *thing, struct thing *old,
                          struct thing **out)
{
        uint64_t found = 0;
        (void)old;
        switch (kind) {
        case GET:
                *out = sorted_get(map, key);
                return 1;
        case PUT:
                return fine(sorted_put(map, key, thing, (void **)out));
        case ADD:
                return fine(sorted_add(map, key, thing, (void **)out));
        case TAKE:
                *out = sorted_take_first(map, key, &found);
                if (*out && (found > key || found != (*out)->key)) {
                        fputs("lockfree: a sorted map gives what was not asked for\n", stderr);
                        exit(1);
                }
                return *out != NULL;
        default:
                *out = sorted_remove(map, key);
                return *out != NULL;
        }
}

static void drain_sorted(void *map, void (*taken)(struct thing *thing))
{
        uint64_t key = 0, last = 0, took = 0;
        size_t shown = 0;
        struct thing *thing;
        for (; (thing = sorted_ceiling(map, key, &key)); last = key, key++, shown++)
                if ((shown && key <= last) || thing->key != key) {
                        fputs("lockfree: a sorted map is not in order\n", stderr);
                        exit(1);
                }
        for (; (thing = sorted_take_first(map, UINT64_MAX, &took)); shown--)
                taken(thing);
        if (shown) {
                fputs("lockfree: a sorted map shows other things than it gives\n", stderr);
                exit(1);
        }
}

/* ---- Queue and stack ---------------------------------------------------------------------- */

static void *make_queue(void)
{
        return queue_new();
}

static int operate_queue(void *queue, int kind, uint32_t key, struct thing *thing,
                         struct thing *old, struct thing **out)
{
        (void)key, (void)old;
        if (kind == PUT)
                return fine(queue_put(queue, thing));
        *out = queue_take(queue);
        return *out != NULL;
}

static void drain_queue(void *queue, void (*taken)(struct thing *thing))
{
        struct thing *thing;
        while ((thing = queue_take(queue)))
                taken(thing);
}

static void *make_stack(void)
{
        return stack_new();
}

static int operate_stack(void *stack, int kind, uint32_t key, struct thing *thing,
                         struct thing *old, struct thing **out)
{
        (void)key, (void)old;
        if (kind == PUT)
                return fine(stack_push(stack, thing));
        *out = stack_pop(stack);
        return *out != NULL;
}

static void drain_stack(void *stack, void (*taken)(struct thing *thing))
{
        struct thing *thing;
        while ((thing = stack_pop(stack)))
                taken(thing);
}

const struct subject subjects[] = {
        { "stack",
          make_stack,
          operate_stack,
          drain_stack,
          linear_stack_spec,
          false,
          false,
          2,
          { PUT, TAKE } },
        { "queue",
          make_queue,
          operate_queue,
          drain_queue,
          linear_queue_spec,
          false,
          true,
          2,
          { PUT, TAKE } },
        { "map",
          make_map,
          operate_map,
          drain_map,
          linear_map_spec,
          true,
          false,
          7,
          { GET, GET, PUT, ADD, REPLACE, REMOVE, REMOVE } },
        { "sorted",
          make_sorted,
          operate_sorted,
          drain_sorted,
          linear_map_spec,
          true,
          false,
          5,
          { GET, PUT, ADD, REMOVE, REMOVE } },
};
const int nsubjects = sizeof subjects / sizeof subjects[0];
