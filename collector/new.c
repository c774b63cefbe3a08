/* new.c: collected objects, from the fast path down.
 *
 * N1  a large object's pages are found and zeroed outside of Polder, where the
 *     thread can be held for a handshake; only its publication is inside.
 * N2  the kernel is asked for memory ahead of need (arena/ahead.c), or, where that falls
 *     behind, in a blocking section, so that nobody waits for a thread that waits for
 *     zeroed pages.
 * N3  NULL comes when the last resort has been tried in vain (last_resort.c): reclaiming, and
 *     stopped collections that began after the refusal.
 * N4  an object is of the node that the thread is on. Where threads move between nodes, or
 *     somebody has to know of each object, the shortest path finds a central of which
 *     nothing is to be had, and the next one looks
 *     at the thread's CPU (arena/cache.c, K3). A run of the node that a thread has left
 *     stays where it is until a flip, or until the thread is back.
 * N5  after so many reserved bytes a thread comes the long way, where it polls, assists and
 *     waits; fewer while objects are born black, which is while there is something to assist.
 *     In between it goes from run to run of one span without. */
#include "arena/ahead.h"
#include "arena/stall.h"
#include "base/check.h"
#include "collector/last_resort.h"
#include "collector/pacer.h"
#include "collector/roots.h"
#include "collector/rules.h"
#include "collector/safepoint.h"
#include "collector/start.h"
#include "collector/thread.h"

#include <errno.h>
#include <string.h>

enum { POLL_BYTES = 16 << 10, POLL_BYTES_BLACK = 2 << 10 }; /* N5 */

static void *no_memory(int error)
{
        errno = error;
        return NULL;
}

/* Makes sure that the next span needs no system call, if that can be (N2). */
static PLD_NOINLINE void wait_for_room(struct pld_thread *self, unsigned slice)
{
        struct pld_stall_span stall = pld_stall_begin();
        pld_enter();
        pld_thread_block(self);
        pld_ahead_make_room(slice);
        pld_thread_unblock(self);
        pld_leave();
        pld_stall_end(stall, PLD_STALL_GROW);
}

static unsigned slice_now(const struct pld_thread *self)
{
        if (!self->cache)
                return pld_machine_here();
        pld_cache_follow(self->cache); /* with what malloc keeps */
        return self->cache->slice;
}

static void count_run(struct pld_thread *self, void *object, struct pld_reserved run)
{
        if (object && pld_rules_shading)
                pld_rules_clear(object, run.nbytes);
        self->unpolled += run.nbytes;
        pld_pacer_note_run(self, run);
}

/* Inside Polder. */
static void *refill(struct pld_thread *self, struct pld_shape *shape, unsigned slice, size_t asked)
{
        size_t reserved = 0;
        struct pld_central *central = pld_shape_central(shape, slice);
        if (!central)
                return NULL;
        if (!self->cache) {
                void *object = pld_bump_direct(central, self->black);
                if (object && pld_rules_shading)
                        pld_rules_clear(object, central->nbytes);
                pld_pacer_note(self, central->nbytes);
                return object;
        }
        void *object = pld_bump_refill(&self->cache->bump, central, self->black, &reserved);
        self->unpolled = 0;
        count_run(self, object, (struct pld_reserved){ reserved, central->nbytes, asked });
        return object;
}

/* From outside; inside Polder afterwards, as the object has no other keeper yet. */
static void *refill_from_outside(struct pld_thread *self, struct pld_shape *shape, size_t asked)
{
        unsigned slice = slice_now(self);
        if (pld_unlikely(pld_page_heap_is_dry(slice)))
                wait_for_room(self, slice);
        pld_enter();
        return refill(self, shape, slice, asked);
}

/* Entered and left inside Polder, but not in between. */
static PLD_NOINLINE void *new_small_resort(struct pld_thread *self, struct pld_shape *shape,
                                           size_t asked)
{
        struct pld_last_resort resort = { 0 };
        void *object = NULL;
        for (;;) {
                pld_leave();
                struct pld_stall_span stall = pld_stall_begin();
                bool hope = pld_last_resort_try(&resort, pld_classes[shape->class].nbytes);
                pld_stall_end(stall, PLD_STALL_COLLECT);
                object = refill_from_outside(self, shape, asked);
                if (object || !hope)
                        break;
        }
        pld_last_resort_end(&resort);
        return object ? object : no_memory(ENOMEM);
}

/* Entered and left inside Polder, but not in between. */
static PLD_NOINLINE void *new_small_slow(struct pld_shape *shape, size_t asked)
{
        pld_stall_start_sum();
        struct pld_thread *self = pld_thread_attach();
        if (!self)
                return NULL;
        if (pld_rules_shading)
                pld_rules_settle_newest(self);
        pld_leave(); /* a poll */
        pld_pacer_assist(self);
        void *object = refill_from_outside(self, shape, asked);
        if (pld_unlikely(!object))
                object = new_small_resort(self, shape, asked); /* N3 */
        pld_stall_sum_up();
        return object;
}

/* Inside Polder: from another run, if that need not be the long way (N5). */
static void *next_run(struct pld_cache *cache, struct pld_central *central, size_t asked)
{
        struct pld_thread *self = pld_thread_self();
        size_t reserved = 0;
        if (!self || self->unpolled >= (self->black ? POLL_BYTES_BLACK : POLL_BYTES))
                return NULL;
        void *object = pld_bump_next(&cache->bump, central, self->black, &reserved);
        if (object)
                count_run(self, object, (struct pld_reserved){ reserved, central->nbytes, asked });
        return object;
}

static void *beyond(struct pld_cache *cache, struct pld_central *central, size_t asked)
{
        void *object;
        if (pld_bump_try(&cache->bump, central, &object))
                return object;
        object = pld_bump_more(&cache->bump, central);
        return object ? object : next_run(cache, central, asked);
}

/* Entered inside Polder, left outside. */
static PLD_NOINLINE void *new_small_beyond(struct pld_shape *shape, size_t asked)
{
        struct pld_cache *cache = pld_cache_mine;
        struct pld_central *central = pld_load_acquire(&shape->central[cache->slice]);
        void *object = NULL;
        pld_look_up();
        if (pld_likely(central && !pld_cache_may_have_moved(cache))) /* N4 */
                object = beyond(cache, central, asked);
        if (pld_unlikely(!object))
                object = new_small_slow(shape, asked);
        else if (pld_unlikely(pld_rules_shading))
                pld_rules_settle_newest(pld_thread_self());
        polder_thread_.self[PLD_SELF_NEWEST] = object;
        pld_leave();
        return object;
}

static PLD_NOINLINE void *polled(void *object)
{
        polder_safepoint_slow_();
        return object;
}

/* The shortest path: true, and the object, or false and inside of Polder. No call in it needs
 * a register saved. */
static inline bool new_small_try(struct pld_shape *shape, void **object)
{
        polder_enter_();
        if (pld_unlikely(polder_flag_(&polder_thread_.asked)))
                return false; /* to look up is a call */
        pld_fence_acquire(); /* as in pld_look_up() */
        return pld_bump_try(&pld_cache_mine->bump, pld_load_acquire(&shape->rooted), object);
}

static inline void *new_small_done(void *object)
{
        polder_thread_.self[PLD_SELF_NEWEST] = object;
        pld_fence_signal();
        polder_thread_.inside = 0;
        pld_fence_signal();
        return pld_unlikely(polder_flag_(&polder_thread_.asked)) ? polled(object) : object;
}

static inline void *new_small(struct pld_shape *shape, size_t asked)
{
        void *object;
        return pld_likely(new_small_try(shape, &object)) ? new_small_done(object)
                                                         : new_small_beyond(shape, asked);
}

static PLD_NOINLINE struct pld_span *large_span(struct pld_thread *self, struct pld_shape *shape,
                                                size_t nbytes, unsigned slice, bool strict)
{
        pld_enter();
        pld_thread_block(self); /* N2 */
        struct pld_central *central = pld_shape_central(shape, slice);
        struct pld_span *span = central ? pld_central_new_large(central, nbytes, strict) : NULL;
        pld_thread_unblock(self);
        pld_leave();
        return span;
}

static PLD_NOINLINE bool large_resort_try(struct pld_last_resort *resort, size_t nbytes)
{
        struct pld_stall_span stall = pld_stall_begin();
        bool hope = pld_last_resort_try(resort, nbytes);
        pld_stall_end(stall, PLD_STALL_COLLECT);
        return hope;
}

static PLD_NOINLINE void *new_large(struct pld_shape *shape, size_t nbytes, int slice)
{
        struct pld_thread *self = pld_thread_attach();
        if (!self || nbytes > PTRDIFF_MAX)
                return no_memory(self ? EINVAL : ENOMEM);
        pld_stall_start_sum();
        if (pld_rules_shading)
                pld_rules_settle_newest(self);
        polder_safepoint();
        pld_pacer_assist(self);
        struct pld_stall_span stall = pld_stall_begin();
        unsigned on = slice < 0 ? slice_now(self) : (unsigned)slice;
        struct pld_last_resort resort = { 0 };
        struct pld_span *span = large_span(self, shape, nbytes, on, slice >= 0); /* N1 */
        for (bool hope = true; !span && hope;) { /* N3 */
                hope = large_resort_try(&resort, nbytes);
                span = large_span(self, shape, nbytes, on, slice >= 0);
        }
        pld_last_resort_end(&resort);
        if (!span)
                return no_memory(ENOMEM);
        if (!span->zeroed)
                memset((void *)span->start, 0, span->nbytes);
        pld_stall_end(stall, PLD_STALL_LARGE);
        pld_stall_sum_up();
        void *object = (void *)span->start;
        if (pld_rules_shading)
                pld_rules_clear(object, span->nbytes);
        pld_enter();
        pld_central_add_large(span->collected.central, span, self->black);
        polder_thread_.self[PLD_SELF_NEWEST] = object;
        pld_pacer_note_large(self, span->nbytes);
        pld_leave();
        return object;
}

/* ---- The public face --------------------------------------------------------------- */

void *polder_new(const struct polder_layout *layout)
{
        void *object;
        if (pld_likely(new_small_try(layout->shape, &object)))
                return new_small_done(object);
        if (layout->nbytes <= PLD_SMALL_MAX)
                return new_small_beyond(layout->shape, layout->nbytes);
        pld_leave(); /* a large one's shape has no rooted central */
        return new_large(layout->shape, layout->nbytes, -1);
}

void *polder_new_array(const struct polder_layout *element, size_t count)
{
        size_t nbytes;
        bool leaf = element->shape->kind == PLD_SHAPE_LEAF;
        if (__builtin_mul_overflow(element->nbytes, count, &nbytes) || nbytes > PTRDIFF_MAX ||
            (!leaf && element->nbytes % sizeof(void *)))
                return no_memory(EINVAL);
        unsigned class = pld_class_for(nbytes);
        struct pld_shape *shape = leaf ? pld_leaf_shape[class]
                                       : pld_layout_array_shape(element, class);
        if (!shape)
                return no_memory(ENOMEM);
        return class < PLD_NCLASSES ? new_small(shape, nbytes) : new_large(shape, nbytes, -1);
}

static void *new_plain(struct pld_shape *const shapes[], size_t nbytes)
{
        if (pld_start())
                return no_memory(ENOMEM);
        unsigned class = pld_class_for(nbytes);
        return class < PLD_NCLASSES ? new_small(shapes[class], nbytes)
                                    : new_large(shapes[class], nbytes, -1);
}

void *polder_new_leaf(size_t nbytes)
{
        return new_plain(pld_leaf_shape, nbytes);
}

void *polder_new_conservative(size_t nbytes)
{
        return new_plain(pld_conservative_shape, nbytes);
}

/* A page of that node or none, so a span of its own slice, without a cache. From outside;
 * inside afterwards. */
static void *onnode_try(struct pld_thread *self, struct pld_shape *shape, unsigned slice)
{
        pld_enter();
        struct pld_central *central = pld_shape_central(shape, slice);
        void *object = central ? pld_bump_direct(central, self->black) : NULL;
        if (object && pld_rules_shading)
                pld_rules_clear(object, central->nbytes);
        if (object && (unsigned)pld_page_heap_node_of((uintptr_t)object) != slice)
                object = NULL; /* the node was full; the cell dies with the next cycle */
        if (object)
                pld_pacer_note(self, central->nbytes);
        return object;
}

static void *new_small_onnode(struct pld_thread *self, struct pld_shape *shape, unsigned slice)
{
        struct pld_last_resort resort = { 0 };
        size_t nbytes = pld_classes[shape->class].nbytes;
        void *object = onnode_try(self, shape, slice);
        for (bool hope = true; !object && hope;) { /* N3 */
                pld_leave();
                hope = pld_last_resort_try(&resort, nbytes);
                object = onnode_try(self, shape, slice);
        }
        pld_last_resort_end(&resort);
        polder_thread_.self[PLD_SELF_NEWEST] = object;
        pld_leave();
        return object ? object : no_memory(ENOMEM);
}

void *polder_new_onnode(const struct polder_layout *layout, int node)
{
        struct pld_thread *self = pld_thread_attach();
        int slice = pld_machine_index_of(node);
        if (!self || slice < 0)
                return no_memory(self ? EINVAL : ENOMEM);
        if (layout->nbytes > PLD_SMALL_MAX)
                return new_large(layout->shape, layout->nbytes, slice);
        if (pld_rules_shading)
                pld_rules_settle_newest(self);
        polder_safepoint();
        pld_pacer_assist(self);
        return new_small_onnode(self, layout->shape, (unsigned)slice);
}

void *polder_new_uncollectable(size_t nbytes)
{
        void *object = polder_new_conservative(nbytes);
        if (!object)
                return NULL;
        pld_enter();
        int error = pld_pin_uncollectable(object);
        pld_leave();
        return error ? no_memory(ENOMEM) : object;
}

size_t polder_size_of(const void *object)
{
        if (!pld_load_acquire(&pld_started))
                return 0;
        struct pld_found found = pld_find_object((uintptr_t)object);
        return found.span ? found.span->nbytes : 0;
}
