/* linear.c: Wing and Gong's search (JPDC 1993) as Lowe does it (Testing for
 * Linearizability, 2017): just in time, and no configuration twice.
 *
 * The history is read in the order of time. Kept is the set of all configurations that it
 * allows so far: a state, and which of the pending operations have been done in it. When an
 * operation returns, those configurations in which it has not been done are extended, by
 * other pending operations and it at last, in every order; those in which it can't be done
 * are dropped. If none is left there is no order. To do nothing before somebody returns
 * loses no order, since what is done later could have been done then.
 *
 * Configurations are compared whole, so that two that are equal become one; as no more than
 * a handful of operations are pending, few are left. */
#include "tests/lockfree/linear.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE = 1 << 19, MOST = TABLE / 2 };

struct configuration {
        struct linear_state state; /* what is beyond nitems is 0 */
        uint16_t done;             /* a bit for each thread whose pending operation is */
};

struct set {
        struct configuration *at;
        size_t count;
        uint32_t *table; /* index + 1, by hash */
};

struct event {
        uint64_t when;
        const struct operation *operation;
        bool is_return;
};

static struct set now, next;

static void *allocate(size_t nbytes)
{
        void *p = calloc(1, nbytes);
        if (!p)
                abort();
        return p;
}

static uint32_t hash_of(const struct configuration *configuration)
{
        uint64_t hash = configuration->done;
        for (int i = 0; i < configuration->state.nitems; i++)
                hash = (hash + configuration->state.item[i] + 1) * UINT64_C(0x9e3779b97f4a7c15);
        return (uint32_t)((hash * UINT64_C(0xff51afd7ed558ccd)) >> 40);
}

/* False: the set is full. */
static bool set_add(struct set *set, const struct configuration *configuration)
{
        uint32_t place = hash_of(configuration) & (TABLE - 1);
        for (; set->table[place]; place = (place + 1) & (TABLE - 1))
                if (memcmp(&set->at[set->table[place] - 1], configuration, sizeof *configuration) ==
                    0)
                        return true;
        if (set->count == MOST)
                return false;
        set->at[set->count++] = *configuration;
        set->table[place] = (uint32_t)set->count;
        return true;
}

static void set_clear(struct set *set)
{
        if (!set->at) {
                set->at = allocate(MOST * sizeof *set->at);
                set->table = allocate(TABLE * sizeof *set->table);
        }
        for (size_t i = 0; i < set->count; i++) /* chains are whole: all places of each go */
                for (uint32_t place = hash_of(&set->at[i]) & (TABLE - 1); set->table[place];
                     place = (place + 1) & (TABLE - 1))
                        set->table[place] = 0;
        set->count = 0;
}

/* That thread's operation has returned. False: there is no room for what may be. */
static bool extend(linear_spec spec, const struct operation *const *pending, unsigned thread)
{
        set_clear(&next);
        for (size_t i = 0; i < now.count; i++) {
                struct configuration configuration = now.at[i];
                if (configuration.done >> thread & 1) {
                        configuration.done &= (uint16_t) ~(1u << thread);
                        if (!set_add(&next, &configuration))
                                return false;
                        continue;
                }
                for (unsigned other = 0; other < LINEAR_THREADS; other++) {
                        configuration = now.at[i];
                        if (!pending[other] || configuration.done >> other & 1 ||
                            !spec(&configuration.state, pending[other]))
                                continue;
                        configuration.done |= (uint16_t)(1u << other);
                        if (!set_add(&now, &configuration))
                                return false;
                }
        }
        struct set swap = now;
        now = next;
        next = swap;
        return true;
}

static int by_time(const void *a, const void *b)
{
        const struct event *x = a, *y = b;
        return (x->when > y->when) - (x->when < y->when);
}

static int by_call(const void *a, const void *b)
{
        const struct operation *x = a, *y = b;
        return (x->called > y->called) - (x->called < y->called);
}

enum linear_verdict linear_check(linear_spec spec, struct operation *operations, size_t count,
                                 const struct operation **wrong)
{
        const struct operation *pending[LINEAR_THREADS] = { NULL };
        enum linear_verdict verdict = LINEAR;
        struct event *events = allocate((2 * count + 1) * sizeof *events);
        struct configuration empty;
        qsort(operations, count, sizeof *operations, by_call);
        for (size_t i = 0; i < count; i++) {
                const struct operation *operation = &operations[i];
                events[2 * i] = (struct event){ operation->called, operation, false };
                events[2 * i + 1] = (struct event){ operation->returned, operation, true };
        }
        qsort(events, 2 * count, sizeof *events, by_time);

        memset(&empty, 0, sizeof empty);
        set_clear(&now);
        set_add(&now, &empty);
        for (size_t i = 0; i < 2 * count && verdict == LINEAR; i++) {
                const struct operation *operation = events[i].operation;
                if (events[i].is_return) {
                        *wrong = operation;
                        if (!extend(spec, pending, operation->thread))
                                verdict = TOO_WIDE;
                        else if (now.count == 0)
                                verdict = NOT_LINEAR;
                }
                pending[operation->thread] = events[i].is_return ? NULL : operation;
        }
        free(events);
        return verdict;
}

/* ---- What structures do when nobody disturbs them ------------------------------------ */

static void push(struct linear_state *state, uint16_t item)
{
        if (state->nitems == LINEAR_ITEMS)
                abort();
        state->item[state->nitems++] = item;
}

bool linear_map_spec(struct linear_state *state, const struct operation *operation)
{
        uint16_t was = state->item[0], is = was;
        switch (operation->kind) {
        case PUT:
                is = operation->in;
                break;
        case ADD:
                is = was ? was : operation->in;
                break;
        case REMOVE:
                is = 0;
                break;
        case REPLACE:
                if (operation->out != (was == operation->old))
                        return false;
                is = operation->out ? operation->in : was;
                was = operation->out;
                break;
        }
        state->item[0] = is;
        state->nitems = is != 0;
        return operation->out == was || operation->kind == REPLACE;
}

bool linear_queue_spec(struct linear_state *state, const struct operation *operation)
{
        if (operation->kind == PUT) {
                push(state, operation->in);
                return true;
        }
        uint16_t first = state->item[0]; /* 0 where there is none */
        if (state->nitems) {
                state->nitems--;
                memmove(&state->item[0], &state->item[1], state->nitems * sizeof *state->item);
                state->item[state->nitems] = 0;
        }
        return operation->out == first;
}

bool linear_stack_spec(struct linear_state *state, const struct operation *operation)
{
        if (operation->kind == PUT) {
                push(state, operation->in);
                return true;
        }
        uint16_t top = 0;
        if (state->nitems) {
                state->nitems--;
                top = state->item[state->nitems];
                state->item[state->nitems] = 0;
        }
        return operation->out == top;
}

void linear_print(const struct operation *operations, size_t count)
{
        static const char *const name[] = { "get", "put", "add", "replace", "remove", "take" };
        for (size_t i = 0; i < count; i++) {
                const struct operation *at = &operations[i];
                fprintf(stderr, "  %6" PRIu64 " - %-6" PRIu64 " thread %d %-7s", at->called,
                        at->returned, at->thread, name[at->kind]);
                if (at->kind == REPLACE)
                        fprintf(stderr, " %d by", at->old);
                if (at->in)
                        fprintf(stderr, " %d", at->in);
                fprintf(stderr, " -> %d\n", at->out);
        }
}
