/* check_linear: does the checker tell histories apart? By hand, and against trying all orders. */
#include "tests/lockfree/linear.h"

#include "base/random.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 6, HISTORIES = 30000 };

static int npassed, nfailed;

static void expect(const char *what, bool want, linear_spec spec, const struct operation *given,
                   size_t count)
{
        struct operation operations[MOST];
        const struct operation *wrong;
        memcpy(operations, given, count * sizeof *given);
        if (linear_check(spec, operations, count, &wrong) == (want ? LINEAR : NOT_LINEAR)) {
                npassed++;
                return;
        }
        nfailed++;
        fprintf(stderr, "check_linear: %s: should %sbe linearizable\n", what, want ? "" : "not ");
        linear_print(given, count);
}

static void by_hand(void)
{
        expect("a look-up that follows a put finds nothing", false, linear_map_spec,
               (struct operation[]){ { 1, 2, 0, PUT, .in = 1 }, { 3, 4, 1, GET, .out = 0 } }, 2);
        expect("a look-up beside a put finds nothing", true, linear_map_spec,
               (struct operation[]){ { 1, 4, 0, PUT, .in = 1 }, { 2, 3, 1, GET, .out = 0 } }, 2);
        expect("new, then old", false, linear_map_spec,
               (struct operation[]){ { 1, 2, 0, PUT, .in = 1 },
                                     { 3, 8, 0, PUT, .in = 2, .out = 1 },
                                     { 4, 5, 1, GET, .out = 2 },
                                     { 6, 7, 1, GET, .out = 1 } },
               4);
        expect("two remove one", false, linear_map_spec,
               (struct operation[]){ { 1, 2, 0, PUT, .in = 1 },
                                     { 3, 5, 0, REMOVE, .out = 1 },
                                     { 4, 6, 1, REMOVE, .out = 1 } },
               3);
        expect("two puts replace one", false, linear_map_spec,
               (struct operation[]){ { 1, 2, 0, ADD, .in = 1 },
                                     { 3, 5, 0, PUT, .in = 2, .out = 1 },
                                     { 4, 6, 1, PUT, .in = 3, .out = 1 } },
               3);
        expect("a replacement of what was there is refused", false, linear_map_spec,
               (struct operation[]){ { 1, 2, 0, ADD, .in = 1 },
                                     { 3, 4, 0, REPLACE, .in = 2, .old = 1, .out = 0 } },
               2);
        expect("puts that overlap, taken the other way round", true, linear_queue_spec,
               (struct operation[]){ { 1, 3, 0, PUT, .in = 1 },
                                     { 2, 4, 1, PUT, .in = 2 },
                                     { 5, 6, 0, TAKE, .out = 2 },
                                     { 7, 8, 0, TAKE, .out = 1 } },
               4);
        expect("puts in a row, taken the other way round", false, linear_queue_spec,
               (struct operation[]){ { 1, 2, 0, PUT, .in = 1 },
                                     { 3, 4, 1, PUT, .in = 2 },
                                     { 5, 6, 0, TAKE, .out = 2 },
                                     { 7, 8, 0, TAKE, .out = 1 } },
               4);
        expect("the same of a stack", true, linear_stack_spec,
               (struct operation[]){ { 1, 2, 0, PUT, .in = 1 },
                                     { 3, 4, 1, PUT, .in = 2 },
                                     { 5, 6, 0, TAKE, .out = 2 },
                                     { 7, 8, 0, TAKE, .out = 1 } },
               4);
        expect("a queue that holds something is empty", false, linear_queue_spec,
               (struct operation[]){ { 1, 2, 0, PUT, .in = 1 },
                                     { 3, 6, 0, PUT, .in = 2 },
                                     { 4, 5, 1, TAKE, .out = 0 } },
               3);
}

/* Whether some order of what is left fits: each operation comes after all that had returned
 * before it was called. */
static bool tried(linear_spec spec, struct linear_state state, const struct operation *operations,
                  size_t count, unsigned left)
{
        if (!left)
                return true;
        for (size_t i = 0; i < count; i++) {
                bool first = left >> i & 1;
                for (size_t j = 0; j < count; j++)
                        first = first &&
                                !(left >> j & 1 && operations[j].returned < operations[i].called);
                struct linear_state after = state;
                if (first && spec(&after, &operations[i]) &&
                    tried(spec, after, operations, count, left & ~(1u << i)))
                        return true;
        }
        return false;
}

/* What comes out when it is done now; now and then something else. */
static void happen(linear_spec spec, struct pld_random *random, struct linear_state *state,
                   struct operation *operation)
{
        struct linear_state before = *state;
        for (operation->out = 0; operation->out < MOST; operation->out++) {
                *state = before;
                if (spec(state, operation))
                        break;
        }
        if (operation->kind != PUT && pld_random_below(random, 8) == 0)
                operation->out =
                    (uint16_t)pld_random_below(random, operation->kind == REPLACE ? 2 : 4);
}

/* Three threads, whose operations happen when they are called or when they return. */
static size_t any_history(linear_spec spec, bool map, struct pld_random *random,
                          struct operation *operations)
{
        struct operation *pending[3] = { NULL };
        struct linear_state state = { 0 };
        bool happened[3];
        size_t count = 0;
        for (uint64_t when = 1; when < 6 * MOST; when++) {
                unsigned thread = pld_random_below(random, 3);
                struct operation *operation = pending[thread];
                if (operation) {
                        if (!happened[thread])
                                happen(spec, random, &state, operation);
                        operation->returned = when;
                        pending[thread] = NULL;
                } else if (count < MOST) {
                        operation = pending[thread] = &operations[count++];
                        *operation = (struct operation){ .called = when,
                                                         .returned = 1000 + when,
                                                         .thread = (uint8_t)thread,
                                                         .kind = TAKE };
                        if (map)
                                operation->kind = (uint8_t)pld_random_below(random, TAKE);
                        else if (pld_random_below(random, 2))
                                operation->kind = PUT;
                        if (operation->kind == PUT || operation->kind == ADD ||
                            operation->kind == REPLACE)
                                operation->in = (uint16_t)count;
                        if (operation->kind == REPLACE)
                                operation->old =
                                    (uint16_t)pld_random_below(random, (uint32_t)count);
                        happened[thread] = pld_random_below(random, 2);
                        if (happened[thread])
                                happen(spec, random, &state, operation);
                }
        }
        return count;
}

static void against_all_orders(linear_spec spec, bool map, struct pld_random *random)
{
        int nlinear = 0;
        for (int i = 0; i < HISTORIES && !nfailed; i++) {
                struct operation operations[MOST];
                size_t count = any_history(spec, map, random, operations);
                bool is =
                    tried(spec, (struct linear_state){ 0 }, operations, count, (1u << count) - 1);
                nlinear += is;
                expect("any history", is, spec, operations, count);
        }
        if (nlinear < HISTORIES / 10 || nlinear > HISTORIES - HISTORIES / 10) {
                fprintf(stderr, "check_linear: %d of %d were linearizable: no choice\n", nlinear,
                        HISTORIES);
                nfailed++;
        }
}

int main(void)
{
        struct pld_random random = pld_random_seeded(1);
        by_hand();
        against_all_orders(linear_map_spec, true, &random);
        against_all_orders(linear_queue_spec, false, &random);
        against_all_orders(linear_stack_spec, false, &random);
        printf("%d passed, %d failed\n", npassed, nfailed);
        return nfailed != 0;
}
