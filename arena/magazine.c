/* magazine.c: the common part of a pool: batches of objects that no thread has in its hands.
 *
 * Three stacks of magazines, Treiber's, with a tag against ABA; pool.c says what they are for.
 *
 * P3  magazines on `full` have a batch, those on `partial` fewer, but some, and those
 *     on `empty` none. A magazine on no stack is in one function's hands.
 * P4  there are more magazines than batches of objects: so of those that are not full
 *     some are empty, partial, or in hands that will soon put them on a stack, and
 *     pld_magazines_put() finds one.
 * P5  a stack's head is a magazine's number + 1, and above it a tag that each push and
 *     pop counts up. A pop may read `next` of a magazine that is not on the stack
 *     any more; then its CAS fails.
 * Called by pool.c, with no lock held. */
#include "arena/pool_inside.h"

#include <string.h>

static struct pld_magazine *pop(struct polder_pool *pool, struct pld_stack *stack)
{
        /* Acquire: what is in the magazine, with push(). */
        uint64_t head = pld_load_acquire(&stack->head);
        while ((uint32_t)head) {
                struct pld_magazine *magazine = pld_magazine_at(pool, (uint32_t)head - 1);
                uint64_t tag = (head >> 32) + 1;
                uint64_t below = pld_load_relaxed(&magazine->next);
                if (pld_cas_acquire(&stack->head, &head, tag << 32 | below)) /* P5 */
                        return magazine;
        }
        return NULL;
}

static void push(struct polder_pool *pool, struct pld_stack *stack, struct pld_magazine *magazine)
{
        uint64_t number = (uint64_t)((char *)magazine - pool->magazines) / pool->magazine_bytes;
        uint64_t head = pld_load_relaxed(&stack->head), tag;
        do {
                pld_store_relaxed(&magazine->next, (uint32_t)head);
                tag = (head >> 32) + 1;
        } while (!pld_cas_weak_release(&stack->head, &head, tag << 32 | (number + 1)));
}

void pld_magazine_stow(struct polder_pool *pool, struct pld_magazine *magazine, uint32_t n)
{
        pld_store_relaxed(&magazine->n, n);
        push(pool,
             n == 0             ? &pool->empty
             : n == pool->batch ? &pool->full
                                : &pool->partial,
             magazine);
}

/* One that has room; few: one that has objects already, so that few are partial. */
static struct pld_magazine *find_room(struct polder_pool *pool, bool few)
{
        for (;;) {
                struct pld_magazine *magazine = few ? pop(pool, &pool->partial) : NULL;
                if (!magazine)
                        magazine = pop(pool, &pool->empty);
                if (!magazine)
                        magazine = pop(pool, &pool->partial);
                if (magazine)
                        return magazine;
                pld_pause(); /* P4 */
        }
}

void pld_magazines_put(struct polder_pool *pool, void *const objects[], size_t n)
{
        while (n > 0) {
                struct pld_magazine *magazine = find_room(pool, n < pool->batch);
                uint32_t has = pld_load_relaxed(&magazine->n);
                uint32_t k = n < pool->batch - has ? (uint32_t)n : pool->batch - has;
                memcpy(magazine->object + has, objects, k * sizeof *objects);
                pld_magazine_stow(pool, magazine, has + k);
                objects += k;
                n -= k;
        }
}

struct pld_magazine *pld_magazine_find(struct polder_pool *pool)
{
        struct pld_magazine *magazine = pop(pool, &pool->full);
        return magazine ? magazine : pop(pool, &pool->partial);
}

bool pld_magazines_get(struct polder_pool *pool, void *objects[], size_t n)
{
        size_t got = 0;
        while (got < n) {
                struct pld_magazine *magazine = pld_magazine_find(pool);
                if (!magazine) {
                        pld_magazines_put(pool, objects, got);
                        return false;
                }
                uint32_t has = pld_load_relaxed(&magazine->n);
                uint32_t k = n - got < has ? (uint32_t)(n - got) : has;
                memcpy(objects + got, magazine->object + (has - k), k * sizeof *objects);
                pld_magazine_stow(pool, magazine, has - k);
                got += k;
        }
        return true;
}
