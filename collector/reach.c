/* reach.c: breadth first, from roots to whatever they lead to.
 *
 * What was found stays in one list, each object with the place of the one that led to it: so
 * the list is the queue, too, and whoever asks has a shortest way back to a root. A value
 * that is tied to two objects is found when both are: by the one that came last. */
#include "collector/reach.h"

#include "base/check.h"
#include "collector/scan.h"
#include "collector/stack.h"
#include "collector/thread.h"
#include "collector/tie.h"
#include "numa/meta_map.h"

#include <errno.h>
#include <string.h>

enum { FIRST_ITEMS = 64 << 10, BITMAP_BYTES = PLD_HUGE_BYTES / 8 / 8 };

static size_t nbitmaps(void)
{
        return pld_range.nbytes >> PLD_HUGE_SHIFT;
}

int pld_reach_init(struct pld_reach *reach, pld_reach_found found, void *arg)
{
        *reach = (struct pld_reach){ .found = found, .arg = arg, .room = FIRST_ITEMS };
        reach->low = nbitmaps();
        reach->seen = pld_meta_map(nbitmaps() * sizeof *reach->seen);
        reach->item = pld_meta_map(reach->room * sizeof *reach->item);
        if (reach->seen && reach->item)
                return 0;
        pld_reach_free(reach);
        return -ENOMEM;
}

void pld_reach_free(struct pld_reach *reach)
{
        for (size_t i = reach->low; reach->seen && i <= reach->high; i++)
                if (reach->seen[i])
                        pld_meta_unmap(reach->seen[i], BITMAP_BYTES);
        if (reach->seen)
                pld_meta_unmap(reach->seen, nbitmaps() * sizeof *reach->seen);
        if (reach->item)
                pld_meta_unmap(reach->item, reach->room * sizeof *reach->item);
        *reach = (struct pld_reach){ 0 };
}

static void give_up(struct pld_reach *reach)
{
        reach->failed = reach->over = true;
}

static size_t bit_of(uintptr_t object)
{
        return (object & (PLD_HUGE_BYTES - 1)) / 8;
}

static uint64_t *bitmap_of(const struct pld_reach *reach, uintptr_t object)
{
        return reach->seen[(object - pld_range.base) >> PLD_HUGE_SHIFT];
}

static uint64_t *bitmap_new(struct pld_reach *reach, uintptr_t object)
{
        size_t huge = (object - pld_range.base) >> PLD_HUGE_SHIFT;
        reach->seen[huge] = pld_meta_map(BITMAP_BYTES);
        reach->low = huge < reach->low ? huge : reach->low;
        reach->high = huge > reach->high ? huge : reach->high;
        return reach->seen[huge];
}

static bool is_seen(const struct pld_reach *reach, uintptr_t object)
{
        const uint64_t *bitmap = bitmap_of(reach, object);
        return bitmap && pld_bit_get(bitmap, bit_of(object));
}

static bool make_room(struct pld_reach *reach)
{
        size_t nbytes = reach->room * sizeof *reach->item;
        struct pld_reached *more = reach->n < reach->room ? NULL : pld_meta_map(2 * nbytes);
        if (!more)
                return reach->n < reach->room;
        memcpy(more, reach->item, nbytes);
        pld_meta_unmap(reach->item, nbytes);
        reach->item = more;
        reach->room *= 2;
        return true;
}

static void reach_word(struct pld_reach *reach, uintptr_t word, size_t by)
{
        struct pld_found found = pld_find_object(word);
        if (!found.span || reach->over)
                return;
        uintptr_t object = pld_span_object(found.span, found.index);
        if (is_seen(reach, object))
                return;
        uint64_t *bitmap = bitmap_of(reach, object);
        if ((!bitmap && !(bitmap = bitmap_new(reach, object))) || !make_room(reach)) {
                give_up(reach);
                return;
        }
        pld_bit_set(bitmap, bit_of(object));
        reach->item[reach->n++] = (struct pld_reached){ object, by };
        reach->found(reach, found);
}

static void reach_slot(uintptr_t *slot, bool exact, void *arg)
{
        struct pld_reach *reach = arg;
        reach->slot = (uintptr_t)slot;
        (void)exact;
        reach_word(reach, *slot, reach->at);
}

static void reach_tied(const struct pld_tie *tie, void *arg)
{
        struct pld_reach *reach = arg;
        reach->slot = (uintptr_t)&tie->value;
        if (is_seen(reach, tie->owner->object) && is_seen(reach, tie->key))
                reach_word(reach, pld_load_relaxed(&tie->value), reach->at);
}

void pld_reach_rest(struct pld_reach *reach)
{
        for (; reach->at < reach->n && !reach->over; reach->at++) {
                reach->holder = reach->item[reach->at].object;
                pld_object_each(pld_span_of(reach->holder), reach->holder, reach_slot, reach);
                pld_ties_each(reach->holder, reach_tied, reach);
        }
}

/* ---- Roots ------------------------------------------------------------------------ */

/* One past the end of another, as in pld_shade_stack(). */
static bool keeps_the_one_before(const struct pld_root *root)
{
        return root->kind >= PLD_ROOT_STACK && root->kind < PLD_ROOT_NEWEST;
}

void pld_reach_root(struct pld_reach *reach, const struct pld_root *root)
{
        reach->holder = root->holder;
        reach->slot = root->slot;
        reach_word(reach, root->word, PLD_REACH_ROOT);
        if (keeps_the_one_before(root))
                reach_word(reach, root->word - 1, PLD_REACH_ROOT);
}

bool pld_root_leads_to(const struct pld_root *root, uintptr_t object)
{
        return pld_word_leads_to(root->word, object) ||
               (keeps_the_one_before(root) && pld_word_leads_to(root->word - 1, object));
}

static struct {
        pld_root_visit visit;
        void *arg;
        const struct pld_thread *thread;
} walk; /* threads lock */

/* Thread-local variables may lie on the stack, too. */
static enum pld_root_kind kind_of(uintptr_t slot)
{
        const struct pld_thread *thread = walk.thread;
        if (slot - (uintptr_t)&thread->registers < sizeof thread->registers)
                return PLD_ROOT_REGISTER;
        bool own = slot >= thread->stack_low && slot < thread->stack_base;
        return own ? PLD_ROOT_STACK : PLD_ROOT_OTHER_STACK;
}

/* Other people's frames: not for AddressSanitizer. */
__attribute__((no_sanitize("address", "thread"))) static void each_stack_word(uintptr_t from,
                                                                              uintptr_t to, void *unused)
{
        (void)unused;
        for (uintptr_t at = from; at + sizeof(uintptr_t) <= to; at += sizeof(uintptr_t)) {
                struct pld_root root = { .word = *(volatile uintptr_t *)at, .slot = at };
                if (!pld_range_has(root.word))
                        continue;
                root.kind = kind_of(at);
                root.thread = walk.thread->id;
                walk.visit(&root, walk.arg);
        }
}

static void visit_newest(const struct pld_thread *thread)
{
        void **slot = &thread->tls->self[PLD_SELF_NEWEST];
        struct pld_root root = { .kind = PLD_ROOT_NEWEST, .exact = true, .thread = thread->id };
        root.word = (uintptr_t)*slot;
        root.slot = (uintptr_t)slot;
        if (root.word)
                walk.visit(&root, walk.arg);
}

static void each_thread(struct pld_thread *thread)
{
        walk.thread = thread;
        pld_stack_each(thread, each_stack_word, NULL);
        visit_newest(thread);
}

void pld_threads_roots_each_locked(pld_root_visit visit, void *arg)
{
        walk.visit = visit;
        walk.arg = arg;
        pld_threads_each_locked(each_thread);
}
