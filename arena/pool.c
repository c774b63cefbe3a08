/* pool.c: pools of objects of one size.
 *
 * A pool is one span: the objects, and behind them everything that the pool itself
 * needs, so that nothing is allocated later. A thread that uses a pool has one of its
 * *hands*, which holds two batches of objects: getting and putting moves a number up
 * and down. When a hand is empty or full a whole batch goes through the *common* part: a
 * *magazine* with a batch of objects in it, taken from one stack of magazines and put on
 * another by one compare-and-swap each (Bonwick and Adams, "Magazines and Vmem", USENIX
 * 2001; Treiber's stack, with a tag against ABA). Threads for which there was no hand
 * use the common part for each call.
 *
 *      hand --batch--> empty magazine --> full (or partial) --batch--> hand
 *                          ^                    |
 *                          '--------------------'
 *
 * Whether an address is an object's is one multiplication: times the inverse of the odd
 * part of the stride, modulo 2^64, multiples of the stride become their quotients, and
 * all else becomes something larger than any quotient (Granlund and Montgomery,
 * "Division by invariant integers using multiplication", 1994).
 *
 * P1  an object is in one place: out, in one hand, or in one magazine. In the pool its
 *     first word is its key; out, it is not (but for a chance of one in 2^64).
 * P2  a hand is used by its owner alone; others read only n. n goes down before
 *     its objects are handed on and up after they were put there, so that in a forked
 *     child, too, no object is in two places. (It may be in none, and is out then.)
 * P6  serial numbers of pools are never used again, so that a thread's seat that
 *     remembers a destroyed pool is never taken for another's.
 * P3 to P5 are in magazine.c. No lock is held by callers; `lock` guards the list of pools
 * alone, and a pool on that list is not unmapped. */
#include "arena/pool.h"

#include "arena/arena.h"
#include "arena/cache.h"
#include "arena/decay.h"
#include "arena/pool_inside.h"
#include "base/check.h"
#include "base/lock.h"

#include <errno.h>
#include <string.h>

enum {
        ALIGN = 16,
        BATCH_MOST = 64, /* objects */
        BATCH_LEAST = 2, /* a pool whose batches would be smaller has no hands */
        BATCH_HANDLESS = 8,
        HANDS_MORE = 4, /* hands beyond two a CPU */
        HANDS_MOST = 512,
        MAGAZINES_MORE = 64, /* P4: as many threads may be between two stacks at once */
        SEATS = 8
};

#define COUNT_MOST ((size_t)1 << 31)

struct hand {
        _Atomic(const void *) owner; /* a thread's `me`; NULL: nobody's */
        _Atomic uint32_t n;          /* owner (P2); read by anyone */
        void *object[];              /* owner */
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_CACHE);
static struct pld_list pools = PLD_LIST_INIT(pools); /* lock */
static uint64_t last_serial;                         /* lock */

struct seat { /* what a thread remembers of a pool */
        uint64_t serial;
        struct hand *hand; /* NULL: there was none for it */
};

static _Thread_local char me;       /* its address names the thread */
static _Thread_local bool has_hand; /* of some pool, perhaps destroyed by now */
static _Thread_local struct seat seats[SEATS];

static struct hand *hand_at(const struct polder_pool *pool, uint32_t i)
{
        return (struct hand *)(pool->hands + (size_t)i * pool->hand_bytes);
}

/* ---- Hands ----------------------------------------------------------------------- */

static struct hand *find_hand(struct polder_pool *pool)
{
        for (uint32_t i = 0; i < pool->nhands; i++)
                if (pld_load_relaxed(&hand_at(pool, i)->owner) == &me)
                        return hand_at(pool, i);
        if (pool->nhands == 0 || !pld_cache_watch())
                return NULL;
        for (uint32_t i = 0; i < pool->nhands; i++) {
                struct hand *hand = hand_at(pool, i);
                const void *nobody = NULL;
                /* Acquire: n, with let_go(). */
                if (!pld_load_relaxed(&hand->owner) &&
                    pld_cas_acquire(&hand->owner, &nobody, &me)) {
                        has_hand = true;
                        return hand;
                }
        }
        return NULL;
}

static PLD_NOINLINE struct hand *hand_slow(struct polder_pool *pool, struct seat *seat)
{
        *seat = (struct seat){ .serial = pool->serial, .hand = find_hand(pool) };
        return seat->hand;
}

static inline struct hand *hand_of(struct polder_pool *pool)
{
        struct seat *seat = &seats[pool->serial % SEATS];
        return pld_likely(seat->serial == pool->serial) ? seat->hand : hand_slow(pool, seat);
}

static void set_n(struct hand *hand, uint32_t n) /* P2 */
{
        pld_fence_signal();
        pld_store_relaxed(&hand->n, n);
        pld_fence_signal();
}

static void let_go(struct polder_pool *pool, struct hand *hand)
{
        uint32_t n = pld_load_relaxed(&hand->n);
        set_n(hand, 0);
        pld_magazines_put(pool, hand->object, n);
        pld_store_release(&hand->owner, NULL);
}

/* A batch from the common part; false: it has nothing. */
static bool refill(struct polder_pool *pool, struct hand *hand)
{
        struct pld_magazine *magazine = pld_magazine_find(pool);
        if (!magazine)
                return false;
        uint32_t n = pld_load_relaxed(&hand->n), more = pld_load_relaxed(&magazine->n);
        PLD_ASSERT(n + more <= 2 * pool->batch);
        memcpy(hand->object + n, magazine->object, more * sizeof *hand->object);
        set_n(hand, n + more);
        pld_magazine_stow(pool, magazine, 0);
        return true;
}

/* What was put last, a batch. */
static void flush(struct polder_pool *pool, struct hand *hand)
{
        uint32_t left = pld_load_relaxed(&hand->n) - pool->batch;
        set_n(hand, left);
        pld_magazines_put(pool, hand->object + left, pool->batch);
}

/* ---- Looking at what goes out and comes back ------------------------------------- */

static uintptr_t *key_of(const void *object)
{
        return (uintptr_t *)object;
}

static inline uint64_t index_of(const struct polder_pool *pool, const void *p)
{
        uint64_t product = ((uintptr_t)p - pool->start) * pool->inverse;
        return product >> pool->shift | product << (64 - pool->shift); /* 0 < shift: ALIGN */
}

static PLD_NOINLINE void die_foreign(const struct polder_pool *pool, const void *p)
{
        uintptr_t offset = (uintptr_t)p - pool->start;
        if (offset < pool->count * pool->stride)
                pld_die("put of %p, which points inside an object of pool %p (of %zu-byte objects"
                        " from %p)",
                        p, (const void *)pool, pool->stride, (void *)pool->start);
        pld_die("put of %p, which is not from pool %p", p, (const void *)pool);
}

static inline void take_in(const struct polder_pool *pool, void *object)
{
        uintptr_t key = pld_manual_key ^ (uintptr_t)object;
        if (pld_unlikely(index_of(pool, object) >= pool->count))
                die_foreign(pool, object);
        if (pld_unlikely(*key_of(object) == key)) /* P1 */
                pld_die("double put of %p into pool %p", object, (const void *)pool);
        *key_of(object) = key;
}

static inline void *hand_out(void *object)
{
        if (PLD_DEBUG && *key_of(object) != (pld_manual_key ^ (uintptr_t)object))
                pld_die("%p was written to while it was in its pool", object);
        *key_of(object) = 0;
        return object;
}

/* ---- Getting and putting --------------------------------------------------------- */

static void *take_last(struct hand *hand)
{
        uint32_t n = pld_load_relaxed(&hand->n) - 1;
        set_n(hand, n);
        return hand_out(hand->object[n]);
}

static PLD_NOINLINE void *get_slow(struct polder_pool *pool, struct hand *hand)
{
        void *object;
        if (hand && refill(pool, hand))
                return take_last(hand);
        if (!hand && pld_magazines_get(pool, &object, 1))
                return hand_out(object);
        errno = ENOMEM;
        return NULL;
}

void *polder_pool_get(struct polder_pool *pool)
{
        struct hand *hand = hand_of(pool);
        if (pld_likely(hand && pld_load_relaxed(&hand->n)))
                return take_last(hand);
        return get_slow(pool, hand);
}

static PLD_NOINLINE void put_slow(struct polder_pool *pool, struct hand *hand,
                                  void *const objects[], size_t n)
{
        if (!hand || n > pool->batch) {
                pld_magazines_put(pool, objects, n);
                return;
        }
        flush(pool, hand);
        uint32_t has = pld_load_relaxed(&hand->n);
        memcpy(hand->object + has, objects, n * sizeof *objects);
        set_n(hand, has + (uint32_t)n);
}

void polder_pool_put(struct polder_pool *pool, void *object)
{
        if (!object)
                return;
        take_in(pool, object);
        struct hand *hand = hand_of(pool);
        uint32_t n = hand ? pld_load_relaxed(&hand->n) : 0;
        if (pld_unlikely(!hand || n == 2 * pool->batch)) {
                put_slow(pool, hand, &object, 1);
                return;
        }
        hand->object[n] = object;
        set_n(hand, n + 1);
}

/* The hand has fewer than n. */
static PLD_NOINLINE int get_bulk_slow(struct polder_pool *pool, struct hand *hand, void *objects[],
                                      size_t n)
{
        while (hand && n <= pool->batch && pld_load_relaxed(&hand->n) < n && refill(pool, hand))
                ;
        size_t from_hand = hand ? pld_load_relaxed(&hand->n) : 0;
        if (from_hand > n)
                from_hand = n;
        if (n > pool->count || !pld_magazines_get(pool, objects, n - from_hand))
                return -ENOMEM;
        if (from_hand) {
                uint32_t left = pld_load_relaxed(&hand->n) - (uint32_t)from_hand;
                set_n(hand, left);
                memcpy(objects + (n - from_hand), hand->object + left, from_hand * sizeof *objects);
        }
        for (size_t i = 0; i < n; i++)
                hand_out(objects[i]);
        return 0;
}

int polder_pool_get_bulk(struct polder_pool *pool, void *objects[], size_t n)
{
        struct hand *hand = hand_of(pool);
        uint32_t has = hand ? pld_load_relaxed(&hand->n) : 0;
        if (pld_unlikely(!hand || n > has))
                return get_bulk_slow(pool, hand, objects, n);
        set_n(hand, has - (uint32_t)n);
        for (size_t i = 0; i < n; i++)
                objects[i] = hand_out(hand->object[has - n + i]);
        return 0;
}

void polder_pool_put_bulk(struct polder_pool *pool, void *const objects[], size_t n)
{
        struct hand *hand = hand_of(pool);
        uint32_t has = hand ? pld_load_relaxed(&hand->n) : 0;
        for (size_t i = 0; i < n; i++)
                take_in(pool, objects[i]);
        if (pld_unlikely(!hand || n > 2 * pool->batch - has)) {
                put_slow(pool, hand, objects, n);
                return;
        }
        memcpy(hand->object + has, objects, n * sizeof *objects);
        set_n(hand, has + (uint32_t)n);
}

/* ---- Counting -------------------------------------------------------------------- */

size_t polder_pool_available(struct polder_pool *pool)
{
        size_t n = 0;
        for (uint32_t i = 0; i < pool->nmagazines; i++)
                n += pld_load_relaxed(&pld_magazine_at(pool, i)->n);
        for (uint32_t i = 0; i < pool->nhands; i++)
                n += pld_load_relaxed(&hand_at(pool, i)->n);
        return n < pool->count ? n : pool->count;
}

size_t polder_pool_in_use(struct polder_pool *pool)
{
        return pool->count - polder_pool_available(pool);
}

static void verify_objects(struct polder_pool *pool, void *const objects[], uint32_t n)
{
        for (uint32_t i = 0; i < n; i++) {
                PLD_CHECK(index_of(pool, objects[i]) < pool->count);
                PLD_CHECK(*key_of(objects[i]) == (pld_manual_key ^ (uintptr_t)objects[i])); /* P1 */
        }
}

static uint32_t verify_stack(struct polder_pool *pool, struct pld_stack *stack, uint32_t least,
                             uint32_t most)
{
        uint32_t number = (uint32_t)pld_load_relaxed(&stack->head), nfound = 0;
        for (; number; nfound++) {
                struct pld_magazine *magazine = pld_magazine_at(pool, number - 1);
                uint32_t n = pld_load_relaxed(&magazine->n);
                PLD_CHECK(number <= pool->nmagazines && nfound < pool->nmagazines);
                PLD_CHECK(n >= least && n <= most); /* P3 */
                verify_objects(pool, magazine->object, n);
                number = pld_load_relaxed(&magazine->next);
        }
        return nfound;
}

void pld_pool_verify(struct polder_pool *pool)
{
        uint32_t nfound = verify_stack(pool, &pool->full, pool->batch, pool->batch) +
                          verify_stack(pool, &pool->partial, 1, pool->batch - 1) +
                          verify_stack(pool, &pool->empty, 0, 0);
        PLD_CHECK(nfound == pool->nmagazines);
        for (uint32_t i = 0; i < pool->nhands; i++) {
                struct hand *hand = hand_at(pool, i);
                PLD_CHECK(pld_load_relaxed(&hand->owner) || pld_load_relaxed(&hand->n) == 0);
                verify_objects(pool, hand->object, pld_load_relaxed(&hand->n));
        }
}

/* ---- Making and destroying ------------------------------------------------------- */

/* How the parts of a pool lie behind its objects. */
struct plan {
        size_t stride, pool_at, hands_at, magazines_at, nbytes;
        uint32_t count, batch, nhands, nmagazines, hand_bytes, magazine_bytes;
};

static void plan_parts(struct plan *plan)
{
        plan->nhands = 2 * pld_machine.ncpus + HANDS_MORE;
        if (plan->nhands > HANDS_MOST)
                plan->nhands = HANDS_MOST;
        plan->batch = plan->count / (4 * plan->nhands); /* all hands: half of the objects */
        if (plan->batch > BATCH_MOST)
                plan->batch = BATCH_MOST;
        if (plan->batch < BATCH_LEAST) {
                plan->batch = BATCH_HANDLESS;
                plan->nhands = 0;
        }
        plan->nmagazines = plan->count / plan->batch + 1 + MAGAZINES_MORE;
        plan->hand_bytes = (uint32_t)pld_round_up(
            sizeof(struct hand) + 2 * plan->batch * sizeof(void *), PLD_CACHE_LINE);
        plan->magazine_bytes =
            (uint32_t)(sizeof(struct pld_magazine) + plan->batch * sizeof(void *));
}

/* False: it is more than any memory. */
static bool plan_pool(struct plan *plan, size_t count, size_t nbytes, size_t align)
{
        size_t objects;
        if (count > COUNT_MOST || nbytes > PTRDIFF_MAX || align > PTRDIFF_MAX)
                return false;
        plan->count = (uint32_t)count;
        plan->stride = pld_round_up(nbytes ? nbytes : 1, align < ALIGN ? ALIGN : align);
        if (__builtin_mul_overflow(count, plan->stride, &objects) || objects > PTRDIFF_MAX / 2)
                return false;
        plan_parts(plan);
        plan->pool_at = pld_round_up(objects, PLD_CACHE_LINE);
        plan->hands_at = plan->pool_at + pld_round_up(sizeof(struct polder_pool), PLD_CACHE_LINE);
        plan->magazines_at = plan->hands_at + (size_t)plan->nhands * plan->hand_bytes;
        plan->nbytes = plan->magazines_at + (size_t)plan->nmagazines * plan->magazine_bytes;
        return true;
}

static struct pld_span *take_memory(const struct plan *plan, size_t align, int node, unsigned slice)
{
        struct pld_span *span = pld_span_new(&(struct pld_span_wish){ .kind = PLD_KIND_POOL,
                                                                      .class = PLD_CLASS_LARGE,
                                                                      .nbytes = plan->nbytes,
                                                                      .align = align,
                                                                      .slice = slice,
                                                                      .strict = node >= 0 });
        if (!span)
                return NULL;
        if (!span->zeroed) /* spans of this kind are populated (span.c) */
                memset((void *)span->start, 0, plan->nbytes);
        pld_span_publish(span);
        return span;
}

/* The inverse of an odd number modulo 2^64: each step doubles the bits that are right. */
static uint64_t invert(uint64_t odd)
{
        uint64_t inverse = odd;
        for (unsigned bits = 3; bits < 64; bits *= 2)
                inverse *= 2 - odd * inverse;
        return inverse;
}

static void fill_in(struct polder_pool *pool, const struct plan *plan, struct pld_span *span)
{
        pool->start = span->start;
        pool->shift = (uint32_t)__builtin_ctzll(plan->stride);
        pool->inverse = invert(plan->stride >> pool->shift);
        pool->stride = plan->stride;
        pool->count = plan->count;
        pool->batch = plan->batch;
        pool->nhands = plan->nhands;
        pool->nmagazines = plan->nmagazines;
        pool->hand_bytes = plan->hand_bytes;
        pool->magazine_bytes = plan->magazine_bytes;
        pool->hands = (char *)span->start + plan->hands_at;
        pool->magazines = (char *)span->start + plan->magazines_at;
        pool->span = span;
}

/* The first objects are handed out first. */
static void fill_magazines(struct polder_pool *pool)
{
        uint32_t left = pool->count;
        for (uint32_t i = pool->nmagazines; i-- > 0;) {
                struct pld_magazine *magazine = pld_magazine_at(pool, i);
                uint32_t n = left % pool->batch ? left % pool->batch : left ? pool->batch : 0;
                for (uint32_t k = 0; k < n; k++) {
                        void *object = (void *)(pool->start + --left * pool->stride);
                        *key_of(object) = pld_manual_key ^ (uintptr_t)object;
                        magazine->object[k] = object;
                }
                pld_magazine_stow(pool, magazine, n);
        }
}

static void enlist(struct polder_pool *pool)
{
        pld_lock(&lock);
        pool->serial = ++last_serial; /* P6 */
        pld_list_push(&pools, &pool->link);
        pld_unlock(&lock);
}

/* 0, or what errno is to be. */
static int create(size_t count, size_t nbytes, size_t align, int node, struct polder_pool **out)
{
        struct plan plan;
        int error = pld_arena_start(NULL);
        if (error && error != -EALREADY)
                return ENOMEM;
        if (count == 0 || (align && !pld_is_pow2(align)))
                return EINVAL;
        unsigned slice = pld_machine_here();
        if (node != -1) {
                int index = node < 0 ? -1 : pld_machine_index_of(node);
                if (index < 0)
                        return EINVAL;
                slice = (unsigned)index;
        }
        if (!plan_pool(&plan, count, nbytes, align))
                return ENOMEM;
        struct pld_span *span = take_memory(&plan, align, node, slice);
        if (!span)
                return ENOMEM;
        struct polder_pool *pool = (struct polder_pool *)(span->start + plan.pool_at);
        fill_in(pool, &plan, span);
        fill_magazines(pool);
        enlist(pool);
        *out = pool;
        return 0;
}

struct polder_pool *polder_pool_create(size_t count, size_t nbytes, size_t align, int node)
{
        struct polder_pool *pool = NULL;
        int saved = errno, error = create(count, nbytes, align, node, &pool);
        errno = error ? error : saved;
        return pool;
}

size_t polder_pool_destroy(struct polder_pool *pool)
{
        if (!pool)
                return 0;
        int saved = errno;
        size_t nout = polder_pool_in_use(pool);
        pld_lock(&lock);
        pld_list_remove(&pool->link);
        pld_unlock(&lock);
        pld_span_release(pool->span);
        pld_decay_notice();
        errno = saved;
        return nout;
}

/* ---- Threads that end, and fork() ------------------------------------------------ */

void pld_pools_leave(void)
{
        if (!has_hand)
                return;
        has_hand = false;
        pld_lock(&lock);
        pld_list_each(item, &pools)
        {
                struct polder_pool *pool = pld_container_of(item, struct polder_pool, link);
                for (uint32_t i = 0; i < pool->nhands; i++)
                        if (pld_load_relaxed(&hand_at(pool, i)->owner) == &me)
                                let_go(pool, hand_at(pool, i));
        }
        pld_unlock(&lock);
        memset(seats, 0, sizeof seats);
}

/* Magazines that threads were carrying are empty; what was in them is out (P2). */
static void recover_magazines(struct polder_pool *pool)
{
        enum { LISTED = 1u << 31 };
        struct pld_stack *stacks[] = { &pool->full, &pool->partial, &pool->empty };
        for (unsigned i = 0; i < PLD_COUNT_OF(stacks); i++) {
                uint32_t number = (uint32_t)pld_load_relaxed(&stacks[i]->head);
                while (number) {
                        struct pld_magazine *magazine = pld_magazine_at(pool, number - 1);
                        pld_or_relaxed(&magazine->n, LISTED);
                        number = pld_load_relaxed(&magazine->next);
                }
        }
        for (uint32_t i = 0; i < pool->nmagazines; i++)
                if (!(pld_and_relaxed(&pld_magazine_at(pool, i)->n, ~(uint32_t)LISTED) & LISTED))
                        pld_magazine_stow(pool, pld_magazine_at(pool, i), 0);
}

void pld_pool_fork_child(void)
{
        pld_list_each(item, &pools)
        {
                struct polder_pool *pool = pld_container_of(item, struct polder_pool, link);
                recover_magazines(pool);
                for (uint32_t i = 0; i < pool->nhands; i++) {
                        const void *owner = pld_load_relaxed(&hand_at(pool, i)->owner);
                        if (owner && owner != &me)
                                let_go(pool, hand_at(pool, i));
                }
        }
}

void pld_pool_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_pool_fork_done(void)
{
        pld_lock_cede(&lock);
}
